"""A server and a crowd: what many clients, slow ones or a greedy one cost the others, against its bars.

    python bench/crowd.py many|slow|greedy|memory [--connections N] [--seconds S] [--pairs P] [--json FILE]

The server runs on one processor and its clients, in C, on another. Runs come in pairs, without what is feared and with it,
in turns of which comes first; what is told is the median of the pairs. Latencies are of single requests, from the moment
at which each was due. A request that isn't answered, an answer that is wrong, a client that is refused or lost: exit status 1.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from build import build
from machine import machine, versions

HERE = Path(__file__).parent
BUILT = HERE.parent / "build" / "bench" / "crowd"
FEW = 1000
"""Connections beside which many are measured."""
POLITE = 100
"""Honest clients beside the slow ones."""
WARM = 1.0
"""Seconds before latencies count."""
TIMES = 3.0
"""So many times as long, at most, is the 99th percentile of latencies."""
HEAP = 4096
"""Bytes of Python's heap that an idle connection may hold."""
INTERVAL = 10.0
"""Seconds between a slow client's bytes."""
SPREAD = 0.2
"""The part of their deadline over which their first bytes are spread."""
DISTURBED = 0.001
"""Seconds by which the clients themselves are late, in the 99th percentile, where something else was running."""
LATE = 1.0
"""Seconds behind its deadline, at most, when a slow client is closed."""

Run = dict[str, Any]
Step = Callable[[str], None]


class Bar(NamedTuple):
    """A number and its bar."""

    what: str
    value: float
    bar: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether the number is at most its bar."""
        return self.value <= self.bar


class Wrong(Exception):
    """Something didn't happen as it should: there is no number."""


class Crowd:
    """Starts servers and their clients."""

    def __init__(self) -> None:
        self._clients = build("crowd", BUILT)
        cpus = sorted(os.sched_getaffinity(0))
        self._all, self._servers, self._others = set(cpus), set(cpus[:1]), set(cpus[-1:])

    def run(self, connections: int, rate: float, seconds: float, *beside: object, frame_timeout: float = 60.0) -> Run:
        """Latencies of so many requests a second on so many connections, with what is beside them."""
        with self._server(frame_timeout) as (server, port):
            given = (port, connections, rate, min(WARM, seconds), seconds, *beside)
            ran: Run = json.loads(self._finished(self._started([*self._clients, *map(str, given)], self._others)))
            counts = asked(server)
        check(ran, counts, connections + (beside[:1] == ("greedy",)), frame_timeout)
        return ran

    def idle(self, connections: int, *how: str) -> Run:
        """What the server holds before and behind the coming of so many clients, who have all had a frame echoed."""
        with self._server(60.0, *how) as (server, port):
            before = asked(server)
            clients = self._started([*self._clients, str(port), "idle", str(connections)], self._others)
            assert clients.stdout is not None
            line = clients.stdout.readline()
            if not line:
                self._finished(clients)
            behind = asked(server)
            if behind["connections"] != connections:
                raise Wrong(f"{behind['connections']} clients are there of {connections}")
            self._finished(clients)
        return {"before": before, "behind": behind, **json.loads(line)}

    @contextmanager
    def _server(self, frame_timeout: float, *how: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
        command = [sys.executable, str(HERE / "crowd_server.py"), str(frame_timeout), *how]
        server = self._started(command, self._servers)
        assert server.stdout is not None
        try:
            line = server.stdout.readline()
            if not line:
                self._finished(server)
            yield server, int(line)
            self._finished(server)
        finally:
            server.kill()
            server.communicate()

    def _started(self, command: list[str], cpus: set[int]) -> subprocess.Popen[str]:
        # A child inherits it: nothing has to run between its fork and its exec.
        os.sched_setaffinity(0, cpus)
        try:
            pipe = subprocess.PIPE
            return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        finally:
            os.sched_setaffinity(0, self._all)

    def _finished(self, process: subprocess.Popen[str]) -> str:
        """What a process has printed, whose input is over."""
        printed, told = process.communicate()
        if process.returncode or told:
            raise Wrong((told.strip().splitlines() or [f"exit status {process.returncode}"])[-1])
        return printed


def check(ran: Run, counts: Run, clients: int, frame_timeout: float) -> None:
    """Wrong, unless each request was answered, each of the clients beside the slow ones stayed, and the slow ones were closed in time."""
    slow = ran.get("slow", {"connected": 0, "closed": 0, "earliest": frame_timeout})
    if ran["unanswered"] or ran["lost"]:
        raise Wrong(f"{ran['unanswered']} of {ran['requests']} requests weren't answered, {ran['lost']} clients lost")
    if counts["accepted"] != clients + slow["connected"]:
        raise Wrong(f"{counts['accepted']} clients were accepted of {clients + slow['connected']}")
    if slow["closed"] != slow["connected"]:
        raise Wrong(f"{slow['closed']} slow clients of {slow['connected']} were closed")
    if slow["earliest"] < frame_timeout:
        raise Wrong(f"a slow client was closed after {slow['earliest']:g} s already")


def asked(server: subprocess.Popen[str]) -> Run:
    """What the server says of itself."""
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write("\n")
    server.stdin.flush()
    answer: Run = json.loads(server.stdout.readline())
    return answer


class Pairs:
    """Runs without and with something, side by side."""

    def __init__(self, without: Callable[[], Run], with_it: Callable[[], Run], names: tuple[str, str]) -> None:
        self.names = names
        self.runs: list[dict[str, Run]] = []
        self._ways = dict(zip(names, (without, with_it), strict=True))

    def measure(self, pairs: int, console: Console) -> None:
        """Run so many pairs."""
        with progress(console, 2 * pairs) as step:
            for number in range(pairs):
                pair = {}
                for name in self.names if number % 2 == 0 else self.names[::-1]:
                    step(name)
                    pair[name] = self._ways[name]()
                self.runs.append(pair)

    def bar(self) -> Bar:
        """How many times as long the 99th percentile is."""
        ratios = [with_it["latency"]["p99"] / without["latency"]["p99"] for without, with_it in self._each()]
        without, with_it = self.names
        return Bar(f"p99, {with_it}, against {without}", statistics.median(ratios), TIMES, "times")

    def show(self, console: Console) -> None:
        """All runs."""
        table = Table(
            "", "p50", "p99", "p99.9", "longest", "sent late, p99", "connected in", box=None, title="ms, but the last"
        )
        for pair in self.runs:
            for name in self.names:
                run = pair[name]
                latencies = [f"{run['latency'][key] * 1000:.3f}" for key in ("p50", "p99", "p999", "most")]
                table.add_row(name, *latencies, f"{run['lag']['p99'] * 1000:.3f}", f"{run['connect']:.1f} s")
        console.print(table)
        if disturbed := sum(run["lag"]["p99"] > DISTURBED for pair in self.runs for run in pair.values()):
            console.print(
                f"[bold red]{disturbed} of {2 * len(self.runs)} runs were disturbed[/]: their clients couldn't keep up themselves"
            )

    def _each(self) -> Iterator[tuple[Run, Run]]:
        for pair in self.runs:
            yield pair[self.names[0]], pair[self.names[1]]


@contextmanager
def progress(console: Console, steps: int) -> Iterator[Step]:
    """Gives what is to be called before each step."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Told when it changes, and not in between: a thread that draws would take its time from the clients.
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("", total=steps, completed=-1)

        def move(text: str) -> None:
            bar.update(task, description=text, advance=1)
            bar.refresh()

        yield move


def tell(bars: list[Bar], runs: object, output: Path | None, console: Console) -> None:
    """Print and save."""
    told = Table("", "", "bar", "", box=None)
    for bar in bars:
        number = (f"{bar.value:,.2f} {bar.unit}", f"{bar.bar:,g}")
        told.add_row(bar.what, *number, "[green]met[/]" if bar.met else "[bold red]missed[/]")
    console.print(told)
    if output:
        saved = {
            "command": sys.argv,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "versions": versions(),
            "bars": [{**bar._asdict(), "met": bar.met} for bar in bars],
            "runs": runs,
        }
        output.write_text(json.dumps(saved, indent=1) + "\n", encoding="utf-8")


def options(connections: int, seconds: float, pairs: int, rate: float) -> Callable[[Any], Any]:
    """Those of each command, with these defaults."""
    how: dict[str, Any] = {"show_default": True}
    all_of_them = [
        click.option(
            "--connections", default=connections, type=click.IntRange(1), help="Clients that are feared.", **how
        ),
        click.option(
            "--seconds", default=seconds, type=click.FloatRange(0.1), help="Of each run, after its warm-up.", **how
        ),
        click.option("--pairs", default=pairs, type=click.IntRange(1), help="Runs without and with them.", **how),
        click.option(
            "--rate", default=rate, type=click.FloatRange(1), help="Requests a second of all honest clients.", **how
        ),
        click.option("--json", "output", type=click.Path(path_type=Path), help="Where the raw numbers go."),
    ]

    def decorate(command: Any) -> Any:
        for option in reversed(all_of_them):
            command = option(command)
        return command

    return decorate


@click.group(help=__doc__.partition("\n")[0])
def main() -> None:
    """The commands."""


@main.command()
@options(19_000, 8.0, 5, 20_000)
def many(connections: int, seconds: float, pairs: int, rate: float, output: Path | None) -> None:
    """So many clients at once, and 1,000 (or a tenth, of fewer) with the same requests a second."""
    console, crowd = Console(highlight=False), Crowd()
    few = min(FEW, max(1, connections // 10))
    both = Pairs(
        lambda: crowd.run(few, rate, seconds),
        lambda: crowd.run(connections, rate, seconds),
        (f"{few:,} clients", f"{connections:,} clients"),
    )
    both.measure(pairs, console)
    both.show(console)
    tell([both.bar()], both.runs, output, console)


@main.command()
@options(10_000, 30.0, 3, 10_000)
@click.option("--deadline", default=20.0, show_default=True, type=click.FloatRange(0.1), help="Limits.frame_timeout.")
def slow(connections: int, seconds: float, pairs: int, rate: float, output: Path | None, deadline: float) -> None:
    """So many clients that send a byte every ten seconds, beside 100 honest ones.

    Their first bytes are spread over a fifth of the deadline: the seconds should be more than both together.
    """
    console, crowd = Console(highlight=False), Crowd()
    both = Pairs(
        lambda: crowd.run(POLITE, rate, seconds, frame_timeout=deadline),
        lambda: crowd.run(
            POLITE, rate, seconds, "slow", connections, SPREAD * deadline, INTERVAL, frame_timeout=deadline
        ),
        (f"{POLITE} honest clients", f"beside {connections:,} slow ones"),
    )
    both.measure(pairs, console)
    latest = max(pair[both.names[1]]["slow"]["latest"] for pair in both.runs)
    late = Bar("the last slow client was closed behind its deadline", latest - deadline, LATE, "s")
    both.show(console)
    tell([both.bar(), late], both.runs, output, console)


@main.command()
@options(999, 8.0, 7, 10_000)
def greedy(connections: int, seconds: float, pairs: int, rate: float, output: Path | None) -> None:
    """One client that sends as fast as it can, beside so many polite ones."""
    console, crowd = Console(highlight=False), Crowd()
    both = Pairs(
        lambda: crowd.run(connections, rate, seconds),
        lambda: crowd.run(connections, rate, seconds, "greedy"),
        (f"{connections:,} polite clients", "beside a greedy one"),
    )
    both.measure(pairs, console)
    frames = statistics.median(pair[both.names[1]]["greedy"] for pair in both.runs)
    both.show(console)
    tell([both.bar()], both.runs, output, console)
    console.print(f"the greedy one got {frames:,.0f} frames a second back")


@main.command()
@click.option("--connections", default=19_000, show_default=True, type=click.IntRange(1), help="Idle clients.")
@click.option("--json", "output", type=click.Path(path_type=Path), help="Where the raw numbers go.")
def memory(connections: int, output: Path | None) -> None:
    """What an idle client holds, that has had a frame echoed."""
    console, crowd = Console(highlight=False), Crowd()
    traced, plain = crowd.idle(connections, "traced"), crowd.idle(connections)
    heap = (traced["behind"]["traced"] - traced["before"]["traced"]) / connections
    bar = Bar(f"Python's heap for each of {connections:,} idle clients", heap, HEAP, "bytes")
    tell([bar], {"traced": traced, "plain": plain}, output, console)
    resident = (plain["behind"]["resident"] - plain["before"]["resident"]) / connections
    console.print(
        f"resident memory for each of them: {resident:,.0f} bytes; all were connected in {plain['connect']:.1f} s"
    )


if __name__ == "__main__":
    try:
        main()
    except Wrong as error:
        Console(highlight=False).print(f"[bold red]FAILED[/] {error}")
        raise SystemExit(1) from None
