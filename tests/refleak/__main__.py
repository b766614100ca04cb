"""What each operation leaves behind: `python tests/refleak`. The status is 1 if any leaves anything.

Counted are the interpreter's blocks, malloc's bytes (glibc), descriptors, and on a debug build of Python references;
each after N operations that don't count, then after N, 2 N and N more. A leak is what grows in all of the three. Debian's
python3.11-dbg is a debug build: give its `-m venv` what the tests need, with python3.11-dev for the extension.
"""

import argparse
import gc
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ENGINES = {"cython": "0", "pure": "1"}
SLOW = 0.02
"""Seconds of an operation that is done a tenth as often."""


def operations() -> Iterator[tuple[str, object]]:
    """All, by name."""
    from fastframe import _engine
    from refleak import connection, decoder, streams

    for kind, found in {
        "decoder": decoder.decoders(_engine),
        "stream": streams.streams(_engine),
        "connection": connection.connections(),
    }.items():
        for name, operation in found:
            yield f"{kind}: {name}", operation


def run(engine: str, pattern: str, number: int) -> int:
    """All operations of this process' engine whose name matches: how many leak."""
    import fastframe
    from refleak.meter import COUNTED, leaks

    if fastframe.engine != engine:
        raise SystemExit(f"the {engine} engine isn't here, but {fastframe.engine}")
    chosen = [(name, operation) for name, operation in operations() if re.search(pattern, name)]
    begun = time.monotonic()
    gc.collect()
    gc.freeze()  # what is here already need not be looked through each time
    leaking = 0
    for name, operation in chosen:
        start = time.monotonic()
        operation()
        often = number if time.monotonic() - start < SLOW else -(-number // 10)
        found = leaks(operation, often)
        if found:
            leaking += 1
            print(
                f"LEAK {name}: {', '.join(f'{slope:g} {what}' for what, slope in found.items())} each time", flush=True
            )
    counted = [what for what in COUNTED if what != "references" or hasattr(sys, "gettotalrefcount")]
    print(
        f"{engine}, Python {sys.version.split()[0]}: {len(chosen)} operations, {number} times and more in "
        f"{time.monotonic() - begun:.0f} s: {leaking} leak {', '.join(counted)}",
        flush=True,
    )
    return leaking


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pattern", nargs="?", default="", help="only operations whose name matches this")
    parser.add_argument("--engine", choices=[*ENGINES, "both"], default="both")
    parser.add_argument("--number", type=int, default=200, help="how often each is done in a round")
    args = parser.parse_args()
    if args.engine == "both":
        again = [sys.executable, str(Path(__file__).parent), args.pattern, "--number", str(args.number), "--engine"]
        codes = [subprocess.run([*again, engine], check=False).returncode for engine in ENGINES]
        return int(any(codes))
    os.environ["FASTFRAME_PURE"] = ENGINES[args.engine]
    return int(run(args.engine, args.pattern, args.number) > 0)


if __name__ == "__main__":
    # Run as a folder, which is then the first: the tests' helpers lie beside it.
    sys.path[0] = str(Path(__file__).parents[1])
    sys.exit(main())
