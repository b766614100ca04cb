"""What a stream has carried so far."""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Stats(namedtuple("Stats", ["frames", "bytes", "errors"])):
    """Counters of one direction of one stream.

    frames: frames delivered, or taken to be sent.
    bytes: their bytes on the wire, headers included.
    errors: 1 once the stream has ended in an error, else 0.
    """

    __slots__ = ()

    frames: int
    bytes: int
    errors: int


def total(all_of_them: Iterable[Stats]) -> Stats:
    """The sum of counters, of one or more."""
    return Stats(*map(sum, zip(*all_of_them, strict=True)))
