"""What docs/migrating.md gains: the page's own code, before and after, measured against each other.

    python bench/migrating.py [--rounds 5] [--only TEXT] [--write]

Messages a second, of this process' CPU time; of time by the clock where each message waits for a reply. The other end is
a process of its own that sends or takes bytes as fast as it can. Before and after take turns; the gain is the median of
the rounds' ratios. What the system and its neighbours do shows in the spread. `--write` puts the numbers into the page's
tables. Not on Windows. Pairs whose host isn't installed are left out, and named.
"""

from __future__ import annotations

import argparse
import platform
import statistics
from collections.abc import Callable, Iterator
from typing import NamedTuple

import fastframe
from carriers import FRAMINGS, WORKS, Work
from idioms import PAGE, Names, Pair, pairs

SECONDS = 0.2
"""What one measurement takes at least."""


# --- Measuring -------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """Messages a second in each round, before and after."""

    pair: Pair
    work: str
    before: list[float]
    after: list[float]

    def cells(self) -> list[str]:
        """Before, after, the gain and its spread."""
        ratios = [after / before for before, after in zip(self.before, self.after, strict=True)]
        return [rate(self.before), rate(self.after), gain(ratios), f"{text(min(ratios))} to {text(max(ratios))}"]


def text(number: float) -> str:
    """In two digits; around 1 in three."""
    return f"{number:.0f}" if number >= 9.95 else f"{number:.1f}" if number >= 1.95 else f"{number:.2f}"


def gain(ratios: list[float]) -> str:
    return f"× {text(statistics.median(ratios))}"


def rate(found: list[float]) -> str:
    """Messages a second: the median."""
    number = statistics.median(found)
    for unit, size in ((" M", 1e6), (" k", 1e3)):
        if number >= size:
            return text(number / size) + unit
    return text(number)


def enough(work: Work, code: Names, framing: fastframe.Framing, size: int) -> int:
    """How many messages take the time that one measurement is to take."""
    count = 16
    while (spent := work(code, framing, size, count) * count) < SECONDS:
        count = int(count * min(8, 1.2 * SECONDS / max(spent, 1e-9))) + 1
    return count


def measure(pair: Pair, rounds: int, step: Callable[[str], None]) -> Iterator[Row]:
    """A row for each work of a pair. ModuleNotFoundError if the host isn't there."""
    codes = pair.load()
    framing = codes[1].get("FRAMING") or FRAMINGS.get(pair.kind, fastframe.LengthField(4))
    for name, (work, size) in WORKS[pair.kind].items():
        step(f"{pair.title}: {name}")
        counts = [enough(work, code, framing, size) for code in codes]
        found: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            for code, count, rates in zip(codes, counts, found, strict=True):
                rates.append(1 / work(code, framing, size, count))
        yield Row(pair, name, *found)


# --- Telling ---------------------------------------------------------------------------------------------------------


def write(rows: list[Row]) -> None:
    """Put the gains into the page's tables: a line belongs to the section that it links to."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    for at, line in enumerate(lines):
        mine = [row for row in rows if line.startswith("| [") and f"](#{row.pair.anchor})" in line]
        if mine and mine[0].work.startswith("by the clock"):
            cells = mine[0].cells()[:3]
        else:
            cells = [row.cells()[2] for row in mine]
        old = line.split(" | ")
        if mine:
            keep = old[:2] + cells + old[2 + len(cells) :]
            lines[at] = " | ".join(keep).removesuffix(" |") + " |"
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Measure and print."""
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="pairs whose title has this in it")
    parser.add_argument("--write", action="store_true", help="put the numbers into the page")
    given = parser.parse_args()
    chosen = [pair for pair in pairs() if given.only.lower() in pair.title.lower()]
    rows: list[Row] = []
    missing: list[str] = []
    console = Console()
    # Without the thread that a bar usually has: processes are forked beside it.
    with Progress(console=console, transient=True, auto_refresh=False) as progress:
        bar = progress.add_task("", total=sum(len(WORKS[pair.kind]) for pair in chosen))

        def step(name: str) -> None:
            progress.update(bar, description=name, completed=len(rows))
            progress.refresh()

        for pair in chosen:
            try:
                rows += measure(pair, given.rounds, step)
            except ModuleNotFoundError as error:
                missing.append(f"{pair.title}: {error}")
    table = Table(title=f"{fastframe.engine} engine, {platform.python_implementation()} {platform.python_version()}")
    for name in ("", "", "before, a second", "after", "gain", "spread"):
        table.add_column(name, justify="right" if name else "left")
    for row in rows:
        table.add_row(row.pair.title, row.work, *row.cells())
    console.print(table)
    for line in missing:
        console.print(f"left out: {line}")
    if given.write:
        write(rows)


if __name__ == "__main__":
    main()
