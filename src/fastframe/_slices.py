"""Payloads for `send_many`: as many at a time as go out together."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from typing_extensions import Buffer

SLICE_BYTES = 256 * 1024
SLICE_FRAMES = 1024
"""A slice ends once it has so many bytes or frames."""


class Slices:
    """An iterable's payloads."""

    def __init__(self, payloads: Iterable[Buffer]) -> None:
        self._rest = iter(payloads)
        self.repeatable = self._rest is not payloads
        self.done = False

    def take(self) -> Iterator[bytes]:
        """The next slice."""
        size = 0
        for count, payload in enumerate(self._rest, 1):
            if type(payload) is not bytes:
                # The iterable may use the same memory for its next payload.
                payload = memoryview(payload).tobytes()
            yield payload
            size += len(payload)
            if size >= SLICE_BYTES or count >= SLICE_FRAMES:
                return
        self.done = True
