"""What a Twisted receiver has got and its callback hasn't: frames, and behind them bytes."""

from __future__ import annotations

from operator import length_hint

from ._engine import Decoder
from .errors import InvalidFrame
from .framing import UntilEOF

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .framing import Framing

UNLIMITED = 1 << 64
"""A max_size that doesn't limit: receivers judge sizes themselves, by what they say at that moment."""

_NONE: Iterator[bytes] = iter(())
_RAW = UntilEOF(max_size=UNLIMITED)


class Undelivered:
    """One connection's frames that are parsed and not delivered, then the bytes behind them, in a decoder.

    framing: what a frame looks like. data: bytes to begin with.

    fault: the InvalidFrame that comes behind the frames, or None. From then on the bytes are kept as they are,
    those at fault first if it is the length that is wrong.
    """

    __slots__ = ("_batch", "_frames", "_framing", "added", "buffered", "decoder", "fault", "most")

    buffered: int
    """Bytes behind the frames, header included; those that were added last are not counted yet."""
    fault: InvalidFrame | None
    most: int
    """No frame of the batch has more bytes."""
    added: bool
    """Bytes have come that `frames` hasn't looked at."""
    decoder: Decoder
    _batch: list[bytes]
    _frames: Iterator[bytes]
    _framing: Framing

    def __init__(self, framing: Framing, data: bytes = b"") -> None:
        self._framing = framing
        self.decoder = Decoder(framing)
        self._batch = []
        self.added = False
        self.fault = None
        self.buffered = self.most = 0
        if data:
            self.add(data)

    def add(self, data: bytes) -> None:
        """Take bytes, for `frames` to parse."""
        self.decoder.push(data)
        self.added = True

    def frames(self, data: bytes) -> Iterator[bytes]:
        """Take bytes; the frames of the last batch that are left, else all that are complete now.

        Who has delivered them all says so with `finish`.
        """
        if self._batch:
            self.add(data)
            return self._frames
        decoder = self.decoder
        if self.added:
            self.added = False
            # What is at fault in added bytes would be gone with the error: they are parsed as if they came now.
            if self.fault is None and not decoder.needed:
                data = decoder.unread() + data
            self.buffered = decoder.buffered
        self.most = self.buffered + len(data)
        try:
            batch = self._batch = decoder.feed(data)
        except InvalidFrame as error:
            self._end(error, error.header + data[max(0, len(error.header) - self.buffered) :])
            return _NONE
        self.buffered = decoder.buffered
        if self.buffered and isinstance(decoder.error, InvalidFrame):
            self._end(decoder.error, decoder.unread())
        if not batch:
            return _NONE
        frames = self._frames = iter(batch)
        return frames

    def _end(self, fault: InvalidFrame, rest: bytes) -> None:
        # Another one: the frames of its own traceback, and of its context's, hold the bytes that it came of.
        self.fault = fault._again()
        self.decoder = Decoder(_RAW)
        self.decoder.push(rest)
        self.buffered = len(rest)

    def finish(self) -> None:
        """All frames of the batch are delivered: let go of them."""
        self._batch = []

    def stop(self) -> None:
        """No more frames are delivered for now: let go of those that were, unless most of the batch is left."""
        at = len(self._batch) - length_hint(self._frames)
        if 2 * at >= len(self._batch):
            self._begin_at(at)

    def put_back(self) -> None:
        """The frame that was taken last comes first again."""
        self._begin_at(len(self._batch) - length_hint(self._frames) - 1)

    def _begin_at(self, at: int) -> None:
        if at:
            self._batch = self._batch[at:]
        self._frames = iter(self._batch)

    def drop(self) -> None:
        """Forget the frames; who iterates over them finds no more."""
        self._batch.clear()

    def unread(self) -> bytes:
        """All that isn't delivered, as it came; it stays."""
        rest = self.decoder.unread()
        if rest:
            self.decoder.push(rest)
        if not self._batch:
            return rest
        return self._framing.encode_many(self._batch[len(self._batch) - length_hint(self._frames) :]) + rest

    def replaced(self, framing: Framing, data: bytes) -> Undelivered:
        """Another one with `data` in the place of this one, whose frames are forgotten."""
        self.drop()
        return Undelivered(framing, data)
