"""What the benchmark runs: the cases of each work."""

from __future__ import annotations

from collections.abc import Iterator

from results import Case

__all__ = ["SIZES", "WORKS", "cases"]

SIZES = (16, 64, 256, 1024, 4096, 65536, 1 << 20)
LARGEST = 8 << 20
"""Of which a chunk is a small part: what is copied with each chunk shows."""
UNIX_SIZES = (64, 1024, 65536)
BATCH = 1000
ECHOES = ((1, 1), (1, 16), (64, 1), (64, 16), (1024, 1), (1024, 16))
WORKS = ("receive", "send", "echo", "trip", "parse")


def cases(work: str) -> Iterator[Case]:
    """All cases of a work."""
    if work == "receive":
        yield from (Case(work, "tcp", size) for size in SIZES)
        yield from (Case(work, "unix", size) for size in UNIX_SIZES)
    elif work == "send":
        for batch in (1, BATCH):
            yield from (Case(work, "tcp", size, batch) for size in SIZES)
            yield from (Case(work, "unix", size, batch) for size in UNIX_SIZES)
    elif work == "echo":
        yield from (Case(work, "tcp", 64, 0, *load) for load in ECHOES)
        yield Case(work, "tcp", 1024, 0, 64, 16)
        yield Case(work, "unix", 64, 0, 64, 16)
    elif work == "trip":
        yield from (Case(work, transport, 64) for transport in ("tcp", "unix"))
    else:
        yield from (Case(work, "memory", size) for size in (*SIZES[:-1], LARGEST))
