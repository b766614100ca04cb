"""Cost grows linearly, whatever the shape of the input: cases of any size, counted in instructions and in time.

    python bench/linear.py          # a table, on both engines

The claim is about instructions: twice the size needs at most LIMIT times as many. They are counted at a size that
callgrind has through in seconds; the CPU time is that of the full size, up to 64 MiB in chunks of a byte.
"""

from __future__ import annotations

import importlib
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import track
from rich.table import Table

import callgrind
import fastframe as ff

LIMIT = 2.2
MIB = 1024 * 1024
HUGE = 1 << 30
U32 = ff.LengthField(4, max_size=HUGE)
PIECE = 64 * 1024


class Case(NamedTuple):
    """Work of a size, on an engine's module; it checks its answer."""

    run: Callable[[Any, int], None]
    unit: str
    counted: int
    """The size at which instructions are counted, and twice it."""
    full: int
    """The size that is timed."""


def fed(engine: Any, framing: ff.Framing, wire: bytes, size: int) -> int:
    """How many frames a Decoder has found when all chunks are fed."""
    feed = engine.Decoder(framing).feed
    return sum(len(feed(wire[at : at + size])) for at in range(0, len(wire), size))


def expect(found: int, wanted: int) -> None:
    """ValueError if it isn't what is wanted."""
    if found != wanted:
        raise ValueError(f"{found} instead of {wanted}")


# --- A Decoder -------------------------------------------------------------------------------------------------------


def small_frames_byte_by_byte(engine: Any, n: int) -> None:
    expect(fed(engine, U32, U32.encode(b"x" * 60) * (n // 64), 1), n // 64)


def large_frame_byte_by_byte(engine: Any, n: int) -> None:
    expect(fed(engine, U32, U32.encode(bytes(n)), 1), 1)


def large_frame_in_small_chunks(engine: Any, n: int) -> None:
    expect(fed(engine, U32, U32.encode(bytes(n)), 100), 1)


def large_frame(engine: Any, n: int) -> None:
    expect(fed(engine, U32, U32.encode(bytes(n)), HUGE), 1)


def empty_frames(engine: Any, n: int) -> None:
    expect(fed(engine, U32, bytes(4 * n), PIECE), n)


def frames_of_five_bytes(engine: Any, n: int) -> None:
    expect(fed(engine, U32, b"\0\0\0\1x" * (n // 5), HUGE), n // 5)


def popped_one_by_one(engine: Any, n: int) -> None:
    decoder = engine.Decoder(U32)
    decoder.push(b"\0\0\0\1x" * n)
    count = 0
    while decoder.pop() is not None:
        count += 1
    expect(count, n)


def no_end_in_small_chunks(engine: Any, n: int) -> None:
    expect(fed(engine, ff.Delimiter(b"\r\n", max_size=HUGE), b"abcdefg\r" * (n // 8), 16), 0)


def end_that_never_comes_beside_many(engine: Any, n: int) -> None:
    framing = ff.Delimiter(b"\n", b"\0never", max_size=HUGE)
    expect(fed(engine, framing, b"ab\n" * n + b"the last" * (n // 4) + b"\n", HUGE), n + 1)


# --- A FrameReader ---------------------------------------------------------------------------------------------------


def received(engine: Any, wire: bytes, size: int, method: str = "read") -> int:
    """How many frames a FrameReader gives if it is asked after each chunk that was sent."""
    ours, peers = socket.socketpair()
    with ours, peers:
        read = getattr(engine.FrameReader(ours, U32), method)
        count = 0
        for at in range(0, len(wire), size):
            peers.sendall(wire[at : at + size])
            while frames := read():
                count += len(frames)
        return count


def reading_byte_by_byte(engine: Any, n: int) -> None:
    expect(received(engine, U32.encode(b"x" * 60) * (n // 64), 1), n // 64)


def reading_empty_frames(engine: Any, n: int) -> None:
    expect(received(engine, bytes(4 * n), PIECE), n)


def reading_a_large_frame(engine: Any, n: int) -> None:
    expect(received(engine, U32.encode(bytes(n)), PIECE), 1)


def reading_a_large_frame_in_small_chunks(engine: Any, n: int) -> None:
    expect(received(engine, U32.encode(bytes(n)), 100, "read_batch"), 1)


# --- All of them -----------------------------------------------------------------------------------------------------

CASES = {
    "small frames, byte by byte": Case(small_frames_byte_by_byte, "bytes", 8_000, 64 * MIB),
    "one large frame, byte by byte": Case(large_frame_byte_by_byte, "bytes", 10_000, 64 * MIB),
    "one large frame in chunks of 100": Case(large_frame_in_small_chunks, "bytes", 300_000, 64 * MIB),
    "one large frame": Case(large_frame, "bytes", 4 * MIB, 64 * MIB),
    "empty frames": Case(empty_frames, "frames", 20_000, 1_000_000),
    "frames of 5 bytes at once": Case(frames_of_five_bytes, "bytes", 128 * 1024, 64 * MIB),
    "frames of 5 bytes, popped": Case(popped_one_by_one, "frames", 2_000, 1_000_000),
    "no end, in chunks of 16": Case(no_end_in_small_chunks, "bytes", 32_000, 64 * MIB),
    "an end that never comes beside many": Case(end_that_never_comes_beside_many, "frames", 5_000, 1_000_000),
    "reader: byte by byte": Case(reading_byte_by_byte, "bytes", 2_000, MIB),
    "reader: empty frames": Case(reading_empty_frames, "frames", 20_000, 1_000_000),
    "reader: one large frame": Case(reading_a_large_frame, "bytes", 4 * MIB, 64 * MIB),
    "reader: one large frame in chunks of 100": Case(reading_a_large_frame_in_small_chunks, "bytes", 200_000, 16 * MIB),
}
ENGINES = {"cython": "fastframe._speedups", "pure": "fastframe._pure"}


def growth(engine: str) -> dict[str, float]:
    """How many times as many instructions each case needs for twice the size."""
    [counts] = callgrind.count([sys.executable, __file__, engine])
    # Each case has three stretches: its size, twice its size, and what lies between it and the next.
    pairs = zip(counts[0::3], counts[1::3], strict=True)
    return {name: twice / once for name, (once, twice) in zip(CASES, pairs, strict=True)}


def work(engine: str) -> None:
    """All cases, between marks."""
    module = importlib.import_module(ENGINES[engine])
    for case in CASES.values():
        case.run(module, case.counted // 4)
        for size in (case.counted, 2 * case.counted):
            callgrind.mark()
            case.run(module, size)
        callgrind.mark()
    callgrind.mark()


def cpu_time(module: Any, case: Case) -> float:
    """Seconds that the full size takes this process."""
    start = time.process_time()
    case.run(module, case.full)
    return time.process_time() - start


def table(grown: dict[tuple[str, str], float], times: dict[tuple[str, str], float]) -> Table:
    """A row for each case and engine; `grown` may be empty."""
    rows = Table(title="Linear growth")
    for heading in ("case", "engine", "instructions for 2n / n", "full size", "CPU s", "ns each"):
        rows.add_column(heading, justify="left" if heading in ("case", "engine") else "right")
    for (name, engine), seconds in times.items():
        case = CASES[name]
        ratio = f"{grown[name, engine]:.3f}" if grown else "not counted"
        each = f"{seconds / case.full * 1e9:,.2f}"
        rows.add_row(name, engine, ratio, f"{case.full:,} {case.unit}", f"{seconds:.2f}", each)
    return rows


def main() -> int:
    why = callgrind.missing()
    if why:
        print(f"Instructions aren't counted: {why}", file=sys.stderr)
    grown = {} if why else {(name, engine): ratio for engine in ENGINES for name, ratio in growth(engine).items()}
    wanted = [(name, engine) for name in CASES for engine in ENGINES]
    times = {}
    for name, engine in track(wanted, "timing", console=Console(stderr=True)):
        times[name, engine] = cpu_time(importlib.import_module(ENGINES[engine]), CASES[name])
    Console(width=None if sys.stdout.isatty() else 110).print(table(grown, times))
    worse = {key: ratio for key, ratio in grown.items() if ratio > LIMIT}
    for (name, engine), ratio in worse.items():
        print(f"error: {name}, {engine}: {ratio:.2f} times the instructions for twice the size", file=sys.stderr)
    return 1 if worse else 2 if why else 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(sys.argv[1])
    else:
        sys.exit(main())
