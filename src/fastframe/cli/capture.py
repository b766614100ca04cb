"""A recorded stream: its frames as text, what was counted, and the bytes around the place that is reached."""

from __future__ import annotations

from collections import Counter

from fastframe import Decoder, FrameError

from .formats import Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fastframe import Framing

    from .formats import Format

__all__ = ["Capture"]

_KEPT = 256


class Capture:
    """The frames of a stream, to be taken once, by `shown` or by `lengths`.

    pieces: the stream's bytes, as they come.
    count: the most frames to take, at least 1; None: all.

    sizes: how many frames there were of each size, in delivered bytes.
    """

    def __init__(self, pieces: Iterable[bytes], framing: Framing, count: int | None = None) -> None:
        self._pieces = pieces
        self._decoder = Decoder(framing)
        self._count = count
        self._before = b""
        self._piece = b""
        self._at = 0
        self.sizes: Counter[int] = Counter()
        self.frames = 0
        """How many there were so far."""

    @property
    def _is_over(self) -> bool:
        return self.frames == self._count

    def shown(self, show: Format) -> Iterator[str]:
        """What `show` makes of the frames, a text for each piece.

        Raises the FrameError that the stream ends in, once all before it was given. What the pieces raise passes.
        """
        for piece in self._to_the_end():
            texts: list[str] = []
            error: FrameError | None = None
            try:
                for frame in self._frames(piece):
                    texts.append(show(frame))
                    if self._is_over:
                        break
            except FrameError as caught:
                error = caught
            yield "".join(texts)
            if error is not None:
                raise error
            if self._is_over:
                return

    def lengths(self) -> Iterator[str]:
        """The frames' sizes in delivered bytes, each on a line of its own; a text for each piece. Raises as `shown`."""
        decoder = self._decoder
        for piece in self._to_the_end():
            if piece is None:
                sizes = [*map(len, decoder.feed_eof())]
            else:
                sizes = memoryview(decoder.feed_batch(piece).lengths).tolist()
            if self._count is not None:
                del sizes[self._count - self.frames :]
            self.frames += len(sizes)
            self.sizes.update(sizes)
            yield "".join(map("%d\n".__mod__, sizes))
            if self._is_over:
                return
            if decoder.error is not None:
                raise decoder.error

    def around(self) -> tuple[int, bytes]:
        """The bytes around the place that is reached, and the offset of the first of them."""
        return self._at - len(self._before), self._before + self._piece

    def summary(self) -> str:
        """How many frames there were, and how large."""
        if not self.frames:
            return "frames: 0"
        sizes = sorted(self.sizes)
        below = 0
        for middle in sizes:
            below += self.sizes[middle]
            if 2 * below >= self.frames:
                break
        payload = sum(size * count for size, count in self.sizes.items())
        return (
            f"frames: {self.frames}, payload bytes: {payload}, "
            f"smallest: {sizes[0]}, median: {middle}, largest: {sizes[-1]}"
        )

    def _to_the_end(self) -> Iterator[bytes | None]:
        """The pieces, the last few bytes of which are kept for `around`; None is the end."""
        for piece in self._pieces:
            self._before = (self._before + self._piece[-_KEPT:])[-_KEPT:]
            self._at += len(self._piece)
            self._piece = piece
            yield piece
        yield None

    def _frames(self, piece: bytes | None) -> Iterator[Frame]:
        """The frames that a piece, or the end, completes."""
        decoder = self._decoder
        if piece is not None:
            decoder.push(piece)
        offset = decoder.stats.bytes
        payloads = iter(decoder.pop, None) if piece is not None else decoder.feed_eof()
        for payload in payloads:
            self.frames += 1
            self.sizes[len(payload)] += 1
            yield Frame(self.frames, offset, payload)
            offset = decoder.stats.bytes
