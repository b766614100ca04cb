"""What an operation leaves behind each time: references (of a debug build), the interpreter's blocks, malloc's bytes,
descriptors. The slope must be 0."""

import sys
from collections.abc import Callable
from itertools import repeat

from soak.report import descriptors
from torture.resources import memory

COUNTED = ("blocks", "bytes", "references", "descriptors")
ROUNDS = (1, 2, 1)
"""Rounds of so many times the operations asked for, behind a first one that fills caches."""

Operation = Callable[[], object]


def counted() -> tuple[int, ...]:
    return (*memory(), descriptors())


def slopes(operation: Operation, number: int) -> dict[str, float]:
    """What each of `number` operations has left behind, by what is counted: the least of the rounds.

    A cache that grows, or the allocator's own, shows in one round or another; a leak, in each.
    """
    run(operation, number)
    before = counted()
    least = [sys.float_info.max] * len(COUNTED)
    for times in ROUNDS:
        run(operation, number * times)
        after = counted()
        least = [min(slope, (b - a) / (number * times)) for slope, a, b in zip(least, before, after, strict=True)]
        before = after
    return dict(zip(COUNTED, least, strict=True))


def run(operation: Operation, number: int) -> None:
    for _ in repeat(None, number):
        operation()


def leaks(operation: Operation, number: int) -> dict[str, float]:
    """The slopes that aren't 0. Whatever looks like one is measured again, three times as long."""
    found = {name for name, slope in slopes(operation, number).items() if slope > 0}
    if not found:
        return {}
    return {name: slope for name, slope in slopes(operation, 3 * number).items() if slope > 0 and name in found}
