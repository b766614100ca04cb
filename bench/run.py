"""The benchmark: fastframe and what people use instead do the same work, and C does it too.

    python bench/run.py [--work receive] [--size 64] [--contender reader] [--json FILE] [--charts FOLDER]

README.md in this folder says what a contender is, and what is measured.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from build import Missing
from contenders import CONTENDERS, Contender
from fit import Fit
from machine import machine, versions
from plan import SIZES, WORKS, cases
from programs import Failed, Programs, Unsupported
from results import REFERENCE, Case, Results, Row
from table import column, heading, show

BUILT = Path(__file__).parents[1] / "build" / "bench"
"""Programs stay there, until their sources change."""

Step = Callable[[str], None]


@click.command()
@click.option("--work", "works", multiple=True, type=click.Choice(WORKS), help="Only these. Default: all.")
@click.option("--size", "sizes", multiple=True, type=int, help=f"Only payloads of so many bytes. Default: {SIZES}.")
@click.option("--transport", "transports", multiple=True, type=click.Choice(["tcp", "unix", "memory"]))
@click.option("--contender", "names", multiple=True, help="Only these, and C. `contenders.py` names them.")
@click.option(
    "--rounds", default=5, show_default=True, type=click.IntRange(1), help="Interleaved; their median is told."
)
@click.option("--seconds", default=0.1, show_default=True, type=click.FloatRange(0.001), help="CPU seconds of a run.")
@click.option("--json", "output", type=click.Path(path_type=Path), help="Where the raw numbers go.")
@click.option("--charts", type=click.Path(path_type=Path), help="The folder where charts go, as SVG and PNG.")
@click.option("--show", "saved", type=click.Path(exists=True, path_type=Path), help="Run nothing: show these numbers.")
def main(
    works: tuple[str, ...],
    sizes: tuple[int, ...],
    transports: tuple[str, ...],
    names: tuple[str, ...],
    rounds: int,
    seconds: float,
    output: Path | None,
    charts: Path | None,
    saved: Path | None,
) -> None:
    """Measure CPU time per frame, and compare it with a C program's."""
    console = Console(highlight=False)
    if unknown := set(names) - {contender.name for contender in CONTENDERS}:
        raise click.BadParameter(f"no contender is called {', '.join(sorted(unknown))}", param_hint="--contender")
    if saved:
        results = Results.load(saved)
    else:
        chosen = [one for one in CONTENDERS if not names or one.name in names or one.name == REFERENCE]
        todo = [
            case
            for work in works or WORKS
            for case in cases(work)
            if (not sizes or case.size in sizes) and (not transports or case.transport in transports)
        ]
        results = Results(
            machine=machine(), versions=versions(), command=sys.argv, date=_now(), rounds=rounds, rows=[], missing={}
        )
        with tempfile.TemporaryDirectory() as folder:
            console.print("Building the contenders…")
            programs = Programs(Path(folder), BUILT)
            present = _present(programs, chosen, results)
            _measure(programs, todo, present, results, seconds, console)
        if output:
            results.save(output)
    show(results, console)
    if charts:
        from charts import draw

        for path in draw(results, charts):
            console.print(path)
    if failed := [row for row in results.rows if row.failure]:
        for row in failed:
            console.print(
                f"[bold red]FAILED[/] {row.title}, {row.work} {row.size} B over {row.transport}: {row.failure}"
            )
        raise click.exceptions.Exit(1)


def _present(programs: Programs, chosen: list[Contender], results: Results) -> list[Contender]:
    """Those that can run here; the results say of the others what they lack."""
    present = []
    for contender in chosen:
        lacking = [name for name in contender.needs if not _importable(name)]
        try:
            if lacking:
                raise Missing(f"no {', '.join(lacking)}")
            programs.command(contender.program)
        except Missing as error:
            results.missing[contender.title] = str(error)
        else:
            present.append(contender)
    return present


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _measure(
    programs: Programs, todo: list[Case], present: list[Contender], results: Results, seconds: float, console: Console
) -> None:
    """Add the rows: for each case, round by round, one contender after another."""
    fit = Fit(programs, seconds)
    with _progress(console, len(todo) * results.rounds) as step:
        for case in todo:
            doing = [one for one in present if case.work in one.works]
            rows = [_row(case, contender) for contender in doing]
            results.rows += rows
            for number in range(results.rounds):
                step(f"{heading(case)}: {column(case)}")
                for contender, row in zip(doing, rows, strict=True):
                    if row.failure:
                        continue
                    try:
                        frames = fit.frames(contender, case)
                        measured = programs.measure(contender, case, frames)
                    except Unsupported as error:
                        results.missing[f"{row.title}, {case.work} over {case.transport}"] = str(error)
                        row.failure = str(error)
                        results.rows.remove(row)
                        continue
                    except (Failed, ValueError, KeyError) as error:
                        row.failure = f"in round {number + 1}: {error or repr(error)}"
                        continue
                    row.ns.append(measured.cpu / measured.frames * 1e9)
                    row.wall.append(measured.wall / measured.frames * 1e9)
                    fit.learn(contender, case, measured.cpu / measured.frames)


def _row(case: Case, contender: Contender) -> Row:
    engine = ""
    if contender.program.startswith("python/fastframe_"):
        engine = "pure" if contender.name.startswith("pure-") else "cython"
    return Row(
        **case._asdict(),
        contender=contender.name,
        title=contender.title,
        engine=engine,
        ns=[],
        wall=[],
        note=contender.note,
    )


@contextmanager
def _progress(console: Console, steps: int) -> Iterator[Step]:
    """Gives what is to be called before each step: a bar moves, or where there is no terminal, a line tells each case."""
    if not console.is_terminal:
        told: list[str] = []

        def tell(text: str) -> None:
            if text not in told:
                told.append(text)
                console.print(text)

        yield tell
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Told when it changes, and not in between: a thread that draws would take its time from a contender.
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, auto_refresh=False) as progress:
        task = progress.add_task("", total=steps, completed=-1)

        def move(text: str) -> None:
            progress.update(task, description=text, advance=1)
            progress.refresh()

        yield move


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    main()
