"""Faults injected into connections: each system call fails, each allocation, and signals storm.

Prints how many faults there were and what was found; the exit status is 1 if anything was.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from torture import shim
from torture.count import Count
from torture.supervisor import Supervisor

Advance = Callable[[str], None]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/torture", description=__doc__)
    parser.add_argument("--engine", choices=["cython", "pure"], help="only this engine; otherwise each that is there")
    parser.add_argument("--part", choices=["calls", "memory", "decoding", "signals"], help="only this part of it")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th case of all")
    parser.add_argument("--case", type=int, metavar="NUMBER", help="only this case of each scenario")
    parser.add_argument("names", nargs="*", help="only these scenarios")
    return parser.parse_args()


def tasks(supervisor: Supervisor, given: argparse.Namespace) -> list[tuple[str, str, str]]:
    """Part, name and engine of all that is to be done. Prints what can't be done here."""
    known = supervisor.ask()
    chosen = []
    for part, names in known["parts"].items():
        if given.part not in (None, part):
            continue
        if isinstance(names, str):
            print(f"without {part}: {names}")
            continue
        wanted = [name for name in names if not given.names or name in given.names]
        engines = [engine for engine in known["engines"] if given.engine in (None, engine)]
        chosen += [(part, name, engine) for name in wanted for engine in engines]
    return chosen


def progress(number: int) -> tuple[Advance, Callable[[], None]]:
    """Functions to call with the next task's name, and in the end; a bar, if rich is installed and somebody looks."""
    try:
        from rich.progress import Progress
    except ImportError:
        return (lambda name: None), (lambda: None)
    bar = Progress(disable=not sys.stderr.isatty())
    bar.start()
    task = bar.add_task("", total=number)

    def advance(name: str) -> None:
        bar.update(task, description=name, advance=1)

    return advance, bar.stop


def run(supervisor: Supervisor, given: argparse.Namespace) -> Count:
    count = Count()
    todo = tasks(supervisor, given)
    advance, done = progress(len(todo))
    try:
        for part, name, engine in todo:
            advance(f"{part} {name}, {engine}")
            task = {"part": part, "engine": engine, "name": name, "every": given.every, "only": given.case}
            for event in supervisor.cases(task):
                count.add(part, name, engine, event)
    finally:
        done()
    return count


def show(count: Count) -> None:
    widths = [max(map(len, column)) for column in list(zip(*count.rows(), strict=True))[:2]]
    for name, number, kinds in count.rows():
        print(f"{name:<{widths[0]}}  {number:>{widths[1]}}  {kinds}")
    for finding in count.findings:
        print(f"\nFINDING {finding}")
    print(f"\n{count.total:,} faults ({count.calls:,} failed calls), {len(count.findings):,} findings")


def main() -> int:
    given = arguments()
    reason = shim.missing()
    if reason is not None:
        print(f"not here: {reason}")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        supervisor = Supervisor(shim.build(Path(folder)))
        try:
            count = run(supervisor, given)
        finally:
            supervisor.close()
    show(count)
    return int(bool(count.findings))


if __name__ == "__main__":
    sys.exit(main())
