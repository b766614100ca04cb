"""What an operation leaves behind each time: the interpreter's blocks, malloc's bytes (glibc), references (of a debug
build of Python), descriptors. It must be nothing."""

import sys
from collections.abc import Callable, Iterable
from itertools import repeat

from soak.report import descriptors

COUNTED = ("blocks", "bytes", "references", "descriptors")
ROUNDS = (1, 2, 1)
"""Rounds of so many times the operations asked for, behind a first one that fills caches."""
AGAIN = (1, 4, 16)
"""Whatever looks like a leak is measured again, so many times as long."""
LEAST = 0.5
"""An operation does the same each time: it leaves a whole number behind, or nothing."""

Operation = Callable[[], object]


def counted() -> tuple[int, ...]:
    from torture.resources import memory  # not on every system

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


def leaks(operation: Operation, number: int, what: Iterable[str] = COUNTED) -> dict[str, float]:
    """The slopes that aren't 0, however often one looks."""
    found = dict.fromkeys(what, 0.0)
    for times in AGAIN:
        measured = slopes(operation, number * times)
        found = {name: measured[name] for name in found if measured[name] >= LEAST}
        if not found:
            break
    return found
