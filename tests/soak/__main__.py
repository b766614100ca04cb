"""Long runs on connections, on one engine or both; the status is 1 if any has found anything. Each counts:

closes    connections closed with unread input: what was sent arrives
timeouts  receives that ran out of time at random bytes: no frame lost, doubled or reordered
cycles    connections opened, and closed or aborted under a receiver: it is woken, and sees no other connection's bytes
threads   frames sent by several threads at once, with timeouts: whole, once, in order
forks     processes forked with connections open: the parent's are unharmed
"""

import argparse
import faulthandler
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SIZES = {"closes": 10_000, "timeouts": 100_000, "cycles": 100_000, "threads": 200_000, "forks": 300}
ENGINES = {"cython": "0", "pure": "1"}
HANGS = 120.0
"""Seconds without anything done after which the process ends, with all threads' stacks."""


@contextmanager
def progress(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """A function to call with what was just done; a bar if rich is there."""

    told = 0.0

    def alive() -> None:
        nonlocal told
        if time.monotonic() - told > 1:
            told = time.monotonic()
            faulthandler.dump_traceback_later(HANGS, exit=True, file=sys.__stderr__)

    try:
        alive()
        try:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        except ImportError:
            yield lambda done: alive()
            return
        columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=total)

            def advance(done: int) -> None:
                alive()
                bar.advance(task, done)

            yield advance
    finally:
        faulthandler.cancel_dump_traceback_later()


def run(name: str, engine: str, number: int) -> int:
    """One run, on the engine of this process: how many findings."""
    from importlib import import_module

    import fastframe
    from soak.report import Report, conduct

    if fastframe.engine != engine:
        raise SystemExit(f"the {engine} engine isn't here, but {fastframe.engine}")
    start = time.monotonic()
    with progress(f"{name}, {engine}", number) as advance:
        report = Report(advance)
        conduct(import_module(f"soak.{name}").run, number, report)
    print(f"\n{name}, {engine}: {number:,} in {time.monotonic() - start:.0f} s, {len(report.findings)} findings")
    for what, value in report.lines():
        print(f"  {what:<44} {value}")
    for line, times in report.found_kinds():
        print(f"  FOUND {times:,} times: {line}")
    sys.stdout.flush()
    return len(report.findings)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="RUN", choices=[[], *SIZES], help=f"{', '.join(SIZES)}; all of them")
    parser.add_argument("--engine", choices=[*ENGINES, "both"], default="both")
    parser.add_argument("--scale", type=float, default=1.0, help="0.01 runs a hundredth of each")
    args = parser.parse_args()
    names = args.runs or list(SIZES)
    if args.engine == "both":
        again = [sys.executable, str(Path(__file__).parent), *names, "--scale", str(args.scale), "--engine"]
        codes = [subprocess.run([*again, engine], check=False).returncode for engine in ENGINES]
        return int(any(codes))
    os.environ["FASTFRAME_PURE"] = ENGINES[args.engine]
    found = sum(run(name, args.engine, max(1, round(SIZES[name] * args.scale))) for name in names)
    return 1 if found else 0


if __name__ == "__main__":
    # Run as a folder, which is then the first: the tests' helpers lie beside it.
    sys.path[0] = str(Path(__file__).parents[1])
    sys.exit(main())
