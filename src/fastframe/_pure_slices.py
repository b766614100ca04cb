"""Payloads, as many at a time as go out together."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer

    from ._pure_writer import FrameWriter

SLICE_BYTES = 256 * 1024
SLICE_FRAMES = 1024
"""A slice ends once it has so many bytes or frames."""


class Slices:
    """The payloads of an iterable, in lists of up to 1024 or 256 KiB.

    repeatable: whether it may be iterated over again.
    done: whether all were taken.
    """

    __slots__ = ("_rest", "done", "repeatable")

    def __init__(self, payloads: Iterable[Buffer]) -> None:
        self._rest = iter(payloads)
        self.repeatable = self._rest is not payloads
        self.done = False

    def write_to(self, writer: FrameWriter) -> bool:
        """Give the writer's write_many the next slice. What the iterable raises passes, and what was taken is gone."""
        taken, size = [], 0
        for payload in self._rest:
            # The iterable may use the same memory for its next payload.
            body = payload if type(payload) is bytes else memoryview(payload).tobytes()
            taken.append(body)
            size += len(body)
            if size >= SLICE_BYTES or len(taken) >= SLICE_FRAMES:
                break
        else:
            self.done = True
        return writer.write_many(taken)
