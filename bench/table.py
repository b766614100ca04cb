"""The results as tables, and below them what a sceptic looks for: what was left out, and what fastframe loses."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bars import BARS, PYTHON, judge
from results import REFERENCE, Case, Ratio, Results, Row, number_text, size_text, time_text

__all__ = ["column", "heading", "show"]

PIPED_WIDTH = 160  # columns, where no terminal says how many
SPREAD = 1.1  # from which max / min on it is shown
SPREAD_WIDTH = 120  # columns, below which there is no room for it

WORKS = {
    "receive": "Receiving",
    "send": "Sending",
    "echo": "Echo server",
    "trip": "Blocking round trips",
    "parse": "Parsing",
}
TRANSPORTS = {"tcp": "over TCP", "unix": "over a unix socket", "memory": "in memory"}
UNIT = (
    "CPU time a frame, in multiples of C's in the same round: the median, and min–max where they are 10 % apart "
    f"(on {SPREAD_WIDTH} columns)"
)


def show(results: Results, console: Console) -> None:
    """Prints everything."""
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    for name, value in {**results.machine, **results.versions}.items():
        console.print(f"[dim]{escape(name)}[/] {escape(str(value))}", highlight=False)
    console.print(f"[dim]{escape(' '.join(results.command))}, {results.date}, {results.rounds} rounds[/]\n")
    console.print(f"{UNIT}.\n", highlight=False)
    groups: dict[str, list[Row]] = {}
    for row in sorted(results.rows, key=lambda row: [*WORKS].index(row.work)):
        groups.setdefault(heading(row.case), []).append(row)
    for title, rows in groups.items():
        console.print(f"[bold]{title}[/]")
        console.print(grid(rows, lambda row: cell(results, row, console.width >= SPREAD_WIDTH)))
        notes(console, rows)
    listing(console, "Left out", (f"{title}: {why}" for title, why in results.missing.items()))
    console.print("[bold]What fastframe loses[/]")
    lost = losses(results)
    for title, table in lost.items():
        console.print(title)
        console.print(table)
    if not lost:
        console.print("  to no rival that was measured")
    console.print("[dim]Against C itself, every ratio above 1 in the tables is lost.[/]\n")
    bars(console, results)


def heading(case: Case) -> str:
    """The table that it belongs to."""
    text = f"{WORKS[case.work]} {TRANSPORTS[case.transport]}"
    if case.work == "send":
        text += ", one by one" if case.batch == 1 else f", {case.batch} frames a call"
    if case.work == "echo":
        text += f", frames of {size_text(case.size)}, connections × frames in flight"
    return text


def column(case: Case) -> str:
    return f"{case.connections}×{case.in_flight}" if case.work == "echo" else size_text(case.size)


def grid(rows: list[Row], text: Callable[[Row], str]) -> Table:
    """A line for each contender, a column for each case; C's own time first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", overflow="fold")
    cases = sorted({row.case for row in rows}, key=lambda case: (case.in_flight, case.connections, case.size))
    for case in cases:
        table.add_column(column(case), justify="right", no_wrap=True)
    lines: dict[str, dict[Case, Row]] = {REFERENCE: {}}
    for row in rows:
        lines.setdefault(row.contender, {})[row.case] = row
    for line in filter(None, lines.values()):
        first = next(iter(line.values()))
        cells = [text(line[case]) if case in line else "" for case in cases]
        table.add_row(escape(first.title), *cells, style="bold cyan" if first.engine else None)
    return table


def cell(results: Results, row: Row, roomy: bool) -> str:
    """The ratio to C; without one, and for C itself, the time."""
    ratio = results.ratio(row)
    if ratio and row.contender != REFERENCE:
        wide = roomy and ratio.high > SPREAD * ratio.low
        return number_text(ratio.median) + (f" [not bold dim]{spread(ratio)}[/]" if wide else "")
    if row.median_ns is None:
        return "[red]failed[/]" if row.failure else "–"
    return f"[dim]{time_text(row.median_ns)}[/]"


def spread(ratio: Ratio) -> str:
    return f"{number_text(ratio.low)}–{number_text(ratio.high)}"


def notes(console: Console, rows: list[Row]) -> None:
    """What a reader must know of these rows, and which failed."""
    lines = [f"{row.title}: {row.note}" for row in rows if row.note]
    lines += [f"failed: {row.title}, {column(row.case)}: {row.failure}" for row in rows if row.failure]
    for line in dict.fromkeys(lines):
        console.print(f"  [dim]{escape(line)}[/]", highlight=False)
    console.print()


def place(case: Case) -> str:
    return f"{column(case)} at {size_text(case.size)}" if case.work == "echo" else size_text(case.size)


def listing(console: Console, title: str, lines: Iterable[str]) -> None:
    """The lines under their title; "none" where there is no line."""
    console.print(f"[bold]{escape(title)}[/]")
    for line in [*lines] or ["none"]:
        console.print(f"  {escape(line)}", highlight=False)
    console.print()


def losses(results: Results) -> dict[str, Table]:
    """For each kind of work: what fastframe's best row needs, in multiples of each rival that needs less."""
    groups: dict[str, dict[tuple[str, str], list[str]]] = {}
    for ours, rival, ratio in results.losses():
        text = f"{ratio.median:.2f} times {rival.title}" + (f" ({rival.note})" if rival.note else "")
        if ratio.low <= 1:
            text += ", within the spread"
        groups.setdefault(heading(ours), {}).setdefault((column(ours.case), ours.title), []).append(text)
    tables = {}
    for title, lines in groups.items():
        tables[title] = table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("", "fastframe's best row", "needs"):
            table.add_column(name, overflow="fold")
        for (where, best), rivals in lines.items():
            table.add_row(where, escape(best), escape("\n".join(rivals)))
    return tables


def bars(console: Console, results: Results) -> None:
    """Which of the bars are missed, and which weren't measured."""
    if PYTHON not in results.versions.get("python", ""):
        console.print(f"The bars are for {PYTHON}: none is judged here.")
        return
    judged = judge(results)
    missed = [
        f"{one.bar.title}, {place(one.case)}: {one.ratio.median:.2f} times {one.against} ({spread(one.ratio)}), "
        f"the bar is {one.limit}"
        for one in judged
        if not one.met
    ]
    met = len(judged) - len(missed)
    listing(console, f"Bars over TCP: {met} of {len(judged)} that were measured are met. Missed", missed)
    unknown = [bar.title for bar in BARS if bar not in {one.bar for one in judged}]
    listing(console, "Bars that weren't measured", unknown)
