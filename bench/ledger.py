"""Frames in great number through a server, and each of them accounted for.

    python bench/ledger.py [--frames N] [--through server|server-tls|asyncio|uvloop] [--seed S] [--processes P]

Each frame has its connection's secret, a number and a checksum; each byte that comes back is compared with what was sent, and
where one differs, these tell what has happened: a frame was lost, doubled, altered, or crossed from another connection. The
clients come, go, stall (some with small buffers, so that the server has to wait for them), half-close and reset at random.
Until it resets, all that comes back to a client must be what it sent; if it half-closes, all of it must come.

Exit status 1 at the first discrepancy.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

HERE = Path(__file__).parent
CERTIFICATE = HERE.parent / "tests" / "data" / "localhost.pem"
KINDS = {
    "server": ("object", "function"),
    "server-tls": ("object", "function"),
    "asyncio": ("connection", "protocol"),
    "uvloop": ("connection", "protocol"),
}
PATIENCE = 60.0
"""Seconds in which servers come to their end."""
COUNTS = ("connections", "resets", "half-closes", "half-closes inside a frame", "stalls")

Pipe = "queue.SimpleQueue[tuple[int, dict[str, int | str] | None]]"


class Discrepancy(Exception):
    """The books don't balance."""


class Program:
    """A process, which doesn't outlive the stack."""

    def __init__(self, stack: ExitStack, name: str, *given: str) -> None:
        # A pipe would fill up, and hold it.
        self._said = stack.enter_context(tempfile.TemporaryFile("w+"))  # noqa: SIM115 - the stack closes it
        pipe = subprocess.PIPE
        command = [sys.executable, str(HERE / name), *given]
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self._said, text=True)
        stack.callback(self._end)

    def line(self) -> str:
        """The next that it prints; Discrepancy if it ends instead."""
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            return line
        raise Discrepancy(f"a process has ended: {self.said()}")

    def rest(self) -> str:
        """End its input; what it prints from now on."""
        return self._process.communicate(timeout=PATIENCE)[0]

    def said(self) -> str:
        """Its errors and warnings."""
        self._said.seek(0)
        return self._said.read().strip()

    def listen(self, number: int, told: Pipe) -> None:
        """Pass on the lines of JSON that it prints; None where others are to be expected."""
        try:
            while True:
                told.put((number, json.loads(self.line())))
        except Discrepancy:
            told.put((number, None))

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()


def balanced(server: Program) -> list[str]:
    """End a server, in which there must be nobody left, and which may have warned: of what."""
    printed, said = server.rest(), server.said()
    lines = said.splitlines()
    if not printed or not all(line.startswith("WARNING") for line in lines):
        raise Discrepancy(f"a server says:\n{said[-4000:]}")
    if left := json.loads(printed)["left"]:
        raise Discrepancy(f"{left} clients, bytes or descriptors are left in a server, and all clients have gone")
    return lines


def run(frames: int, through: str, seed: int, processes: int, console: Console) -> tuple[Counter[str], Counter[str]]:
    """The counts, of frames that came back right and of what else happened, and warnings. Discrepancy if something is wrong."""
    counts: list[dict[str, int | str]] = [{} for _ in range(processes)]
    told: Pipe = queue.SimpleQueue()
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    certificate = [str(CERTIFICATE)] if through == "server-tls" else []
    options = ["--certificate", *certificate] if certificate else []
    options += ["--loop", "uvloop"] if through == "uvloop" else []
    with ExitStack() as stack:
        servers: list[Program] = []
        clients: list[Program] = []
        for number in range(processes):
            own = [Program(stack, "ledger_server.py", kind, *options) for kind in KINDS[through]]
            ports = ",".join(server.line().strip() for server in own)
            share = str(-(-frames // processes))
            servers += own
            clients.append(
                Program(stack, "ledger_clients.py", ports, share, str(seed * processes + number), *certificate)
            )
            threading.Thread(target=clients[-1].listen, args=(number, told), daemon=True).start()
        bar = stack.enter_context(
            Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)
        )
        task = bar.add_task("", total=frames)
        running = processes
        while running:
            number, line = told.get()
            if line is None:
                running -= 1
                continue
            counts[number] = line
            if "found" in line:
                raise Discrepancy(str(line["found"]))
            done = sum(int(line.get("frames", 0)) for line in counts)
            bar.update(task, completed=done, description=f"{done:,} frames")
        total: Counter[str] = Counter()
        for line in counts:
            total.update({name: int(value) for name, value in line.items()})
        if total["frames"] < frames:
            said = "".join(one.said() for one in clients)
            raise Discrepancy(f"the clients have ended with {total['frames']:,} of {frames:,} frames: {said}")
        return total, Counter(line for server in servers for line in balanced(server))


@click.command(help=__doc__.partition("\n")[0])
@click.option("--frames", default=1_000_000, show_default=True, type=click.IntRange(1), help="To come back, at least.")
@click.option("--through", default="server", show_default=True, type=click.Choice(list(KINDS)), help="What serves.")
@click.option("--seed", type=click.IntRange(0), help="Of what clients do; when it happens, isn't said by it.")
@click.option(
    "--processes", default=1, show_default=True, type=click.IntRange(1), help="Of clients; each has its own servers."
)
def main(frames: int, through: str, seed: int | None, processes: int) -> None:
    """Run, and tell."""
    console = Console(highlight=False, soft_wrap=True)
    seed = int.from_bytes(os.urandom(3), "big") if seed is None else seed
    begun = time.monotonic()
    try:
        total, warnings = run(frames, through, seed, processes, console)
    except Discrepancy as found:
        console.print(f"[bold red]FOUND[/] through {through}, seed {seed}: ", end="")
        console.print(str(found), markup=False)
        raise SystemExit(1) from None
    took = time.monotonic() - begun
    rest = ", ".join(f"{total[name]:,} {name}" for name in COUNTS)
    console.print(
        f"{through}, seed {seed}: {total['frames']:,} frames in {took:.0f} s ({total['frames'] / took:,.0f} a second), {rest}: "
        "nothing lost, doubled, altered or crossed"
    )
    for warning, times in warnings.most_common():
        console.print(f"a server has said {times:,} times: {warning}", markup=False)


if __name__ == "__main__":
    main()
