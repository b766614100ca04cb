"""What the demo sends, and how it is verified on arrival.

A cycle of frames, the same for the same seed, is sent over and over; the last frame says how
many came before it. The receiver makes the same cycle from the seed, so it knows each frame's
size and contents and believes the sender nothing: a frame that is corrupted, lost, doubled or
out of order isn't the one that has its turn.
"""

from __future__ import annotations

import random
from itertools import cycle
from time import monotonic, perf_counter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["BATCH", "MIX", "Spoiled", "batches", "check_cost", "last_frame", "payloads", "verify"]

MIX = (
    (1200, 16, 64),
    (500, 65, 512),
    (240, 513, 4 << 10),
    (50, (4 << 10) + 1, 32 << 10),
    (10, 64 << 10, 256 << 10),
)
"""The frames of a cycle: how many, of how many bytes at least and at most. 60 %, 25 %, 12 %, 2.5 % and 0.5 %."""

BATCH = 100
"""So many frames are handed to the sender at a time."""

_TRIALS = 10


class Spoiled(Exception):
    """What arrived isn't what was to arrive."""


def payloads(seed: int) -> list[bytes]:
    """One cycle: the payloads in the order in which they are sent."""
    chance = random.Random(seed)  # noqa: S311 - not a secret: both sides make the same from the seed
    sizes = [chance.randint(least, most) for count, least, most in MIX for _ in range(count)]
    chance.shuffle(sizes)
    return [chance.randbytes(size) for size in sizes]


def last_frame(count: int) -> bytes:
    """The frame behind the `count` others."""
    return b"the last frame, behind %d others" % count


def batches(given: list[bytes], seconds: float) -> Iterator[list[bytes]]:
    """Whole cycles until the time is up, one at least, and the last frame."""
    pieces = [given[at : at + BATCH] for at in range(0, len(given), BATCH)]
    end = monotonic() + seconds
    count = 0
    while not count or monotonic() < end:
        yield from pieces
        count += len(given)
    yield [last_frame(count)]


def verify(frames: Iterable[bytes], given: list[bytes]) -> int:
    """Compare every frame with the one that has its turn: how many there were, without the last. Raises Spoiled."""
    frames = iter(frames)
    index = -1
    for index, (frame, expected) in enumerate(zip(frames, cycle(given), strict=False)):  # noqa: B007
        if frame != expected:
            break
    else:
        raise Spoiled(f"the stream ended behind {index + 1} frames, without the last frame")
    if index % len(given) or frame != last_frame(index):
        raise Spoiled(f"frame {index} isn't the one expected: {len(frame)} bytes, expected {len(expected)}")
    if next(frames, None) is not None:
        raise Spoiled(f"a frame came behind the last one, {index}")
    return index


def check_cost(given: list[bytes]) -> float:
    """Seconds of CPU that `verify` takes for a frame: the least of some trials."""
    arrived = [bytes(bytearray(payload)) for payload in given] + [last_frame(len(given))]
    trials = []
    for _ in range(_TRIALS):
        begin = perf_counter()
        verify(arrived, given)
        trials.append(perf_counter() - begin)
    return min(trials) / len(given)
