"""The verb `demo`: frames from one process to another, by hand and by fastframe, measured on this machine.

It is over in 30 seconds, whatever the machine does: no round begins that may take too long,
and every process has a deadline.
"""

from __future__ import annotations

import math
import os
import platform
import sys
import textwrap
from contextlib import contextmanager
from statistics import mean, median
from time import monotonic

import click
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from fastframe import __version__, engine

from .contenders import CONTENDERS
from .pair import EngineMissing, Failed, Measured, measure
from .traffic import BATCH, check_cost, payloads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .contenders import Contender

__all__ = ["demo"]

ROUNDS = 3
WHOLE = 28.0
"""Seconds that all rounds together may take."""
SLACK = 5.0
"""Seconds that a run may take beyond those in which frames are sent: two interpreters start, and the last frames arrive."""
MOST_SECONDS = 4.0
WIDTH = 80


class Row:
    """What is known of a contender: its runs so far, or why there are none."""

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        self.runs: list[Measured] = []
        self.missing = False
        self.failure = ""

    def middle(self, number: Callable[[Measured], float]) -> float:
        """The median of a number of each run."""
        return median(map(number, self.runs))

    @property
    def is_measured(self) -> bool:
        return bool(self.runs) and not self.failure

    @property
    def receiver_cpu(self) -> float:
        """Seconds for a frame."""
        return self.middle(lambda run: run.receiver_cpu / run.frames)

    @property
    def sender_cpu(self) -> float:
        """Seconds for a frame."""
        return self.middle(lambda run: run.sender_cpu / run.frames)


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(0.05, MOST_SECONDS),
    default=2.0,
    show_default=True,
    help="How long each contender sends, all rounds together.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="What the frames are made from.")
def demo(seconds: float, seed: int) -> None:
    """Send frames from one process to another and measure it.

    The Socket HOWTO's two loops and both engines send the same frames, of 16 bytes to 256 KiB, over TCP on the
    loopback interface; every frame is compared on arrival. Takes less than 30 seconds. The exit status is 1 if a
    frame is corrupted, lost or doubled.
    """
    if math.isnan(seconds):
        raise click.BadParameter("nan is not a number of seconds", param_hint="--seconds")
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    console.print(f"[bold]fastframe {__version__}[/], {engine} engine, on {_machine()}", soft_wrap=True)
    console.print()
    rows = [Row(contender) for contender in CONTENDERS]
    rounds = _run(rows, seconds / ROUNDS, seed, console)
    console.print(_table(rows))
    for paragraph in _caption(payloads(seed), seed, rounds, seconds / ROUNDS):
        _say(console, paragraph, "dim")
    _say(console, _conclusion(rows), "bold")
    failed = [row for row in rows if row.failure]
    for row in failed:
        _say(console, f"FAILED: {row.contender.name}: {row.failure}", "bold red")
    if failed:
        raise click.exceptions.Exit(1)


def _run(rows: list[Row], seconds: float, seed: int, console: Console) -> int:
    """Fill the rows: each contender sends for `seconds` in each round. Returns how many rounds there were time for."""
    start = monotonic()
    longest = 0.0
    with _progress(console, ROUNDS * len(rows)) as step:
        for number in range(1, ROUNDS + 1):
            begin = monotonic()
            if begin - start + longest > WHOLE:
                return number - 1
            for row in rows:
                step(f"round {number} of {ROUNDS}", row.contender.name)
                if row.missing or row.failure:
                    continue
                limit = min(seconds + SLACK, WHOLE - (monotonic() - start))
                try:
                    if limit <= seconds:
                        raise Failed("no time was left")
                    row.runs.append(measure(row.contender, seed, seconds, limit))
                except EngineMissing:
                    row.missing = True
                except Failed as failure:
                    row.failure = str(failure)
            longest = max(longest, monotonic() - begin)
    return ROUNDS


@contextmanager
def _progress(console: Console, steps: int) -> Iterator[Callable[[str, str], None]]:
    """Gives what is to be called before each step: a bar moves, or where there is no terminal, a line tells each round."""
    if not console.is_interactive:
        told = []

        def tell(part: str, name: str) -> None:
            if part not in told:
                told.append(part)
                console.print(part)

        yield tell
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, refresh_per_second=4) as progress:
        task = progress.add_task("", total=steps)
        done = -1

        def move(part: str, name: str) -> None:
            nonlocal done
            done += 1
            progress.update(task, description=f"{part}: {name:29}", completed=done)

        yield move


def _table(rows: list[Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    for name in ("frames/s", "MB/s", "receive\nCPU, µs", "send\nCPU, µs", "receive\nvs. HOWTO"):
        table.add_column(name, justify="right", vertical="bottom", no_wrap=True)
    base = rows[0]
    for row in rows:
        name = row.contender.name
        if row.failure:
            table.add_row(name, "FAILED", style="bold red")
        elif not row.runs:
            table.add_row(name, "not installed", style="dim")
        else:
            table.add_row(
                name,
                f"{row.middle(lambda run: run.frames / run.seconds):,.0f}",
                f"{row.middle(lambda run: run.size / run.seconds) / 1e6:,.0f}",
                f"{row.receiver_cpu * 1e6:.2f}",
                f"{row.sender_cpu * 1e6:.2f}",
                "" if row is base or not base.is_measured else _against(base.receiver_cpu, row.receiver_cpu),
            )
    return table


def _against(base: float, own: float) -> str:
    """How `own` compares with the base."""
    if not base or not own:
        return "?"  # too short for the clock
    ratio = max(base, own) / min(base, own)
    if ratio < 1.05:
        return "the same"
    return f"{ratio:.1f}× less" if own < base else f"{ratio:.1f}× more"


def _caption(given: list[bytes], seed: int, rounds: int, seconds: float) -> list[str]:
    sizes = sorted(map(len, given))
    frames = (
        "A row is a sender process and a receiver process, over TCP on 127.0.0.1. All send the same "
        f"{len(given):,} frames over and over, made from seed {seed}: {sizes[0]} to {sizes[-1]:,} bytes, half of them "
        f"up to {sizes[len(sizes) // 2]}, {mean(sizes):,.0f} on average. MB: 10^6 bytes of payload. CPU: the process's "
        f"µs per frame. All numbers: medians of {rounds} interleaved rounds, {seconds:.2g} s of sending each."
    )
    programs = (
        "Socket HOWTO: sendall(header + payload) for each frame; recv until the header is there, and until the "
        f'payload is. fastframe: send_many of {BATCH} payloads, recv_many. For loop: send_many, "for frame in conn". '
        "One by one: send for each frame, and the for loop. fastframe sets TCP_NODELAY: each frame leaves at once, and where the "
        "receiver is faster than the sender, both mostly pay for packets and wake-ups."
    )
    check = (
        "The receiver makes each frame from the seed and compares it with what arrives. That costs about "
        f"{check_cost(given) * 1e6:.2f} µs a frame, which is in the receiver's CPU of every row."
    )
    return [frames, programs, check]


def _conclusion(rows: list[Row]) -> str:
    """What came out, the unfavourable included, for the better engine that is there."""
    base = rows[0]
    shown = [row for row in rows if row.is_measured and row.contender.engine == "cython"]
    shown = shown or [row for row in rows if row.is_measured and row.contender.engine]
    if not base.is_measured or not shown:
        return "There is nothing to compare."
    found = [
        f"{row.contender.name}: {_against(base.receiver_cpu, row.receiver_cpu)} to receive, "
        f"{_against(base.sender_cpu, row.sender_cpu)} to send"
        for row in shown
    ]
    return f"CPU per frame in this run, against the Socket HOWTO's loops: {'; '.join(found)}."


def _say(console: Console, text: str, style: str) -> None:
    """A paragraph, with an empty line before it."""
    lines = textwrap.fill(text, min(console.width, WIDTH))
    console.print(f"\n{lines}", style=style, markup=False, soft_wrap=True)


def _machine() -> str:
    if sys.platform == "linux":
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    cpus = "1 CPU" if count == 1 else f"{count} CPUs"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, {platform.system()} {platform.machine()}, {cpus}"
