"""Calls on a decoder in any order, sensible or not, made on two engines side by side.

What each call gives or raises and the state behind it must be the same on both. Buffers, batches and views are kept
beyond their time, overwritten, and looked at in the end; functions of a Computed call back into the decoder.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import islice
from typing import Any

import fastframe as ff

FILLED = 32768  # bytes; every get_buffer has room for so many, but in a large frame's end


class Play:
    """A decoder, the stream that is fed to it, and what it has lent and given."""

    current: Any = None  # the decoder that a call is running on

    def __init__(self, engine: Any, framing: ff.Framing, stream: bytes, sizes: list[int]) -> None:
        self.sizes = sizes  # what the first engine's buffers had room for: the second one has the same calls
        self.filled = 0
        self.decoder = engine.Decoder(framing)
        self.framing = framing
        self.stream = stream
        self.at = 0
        self.lent: list[memoryview] = []
        self.batches: list[tuple[Any, list[Any], list[bytes]]] = []

    def chunk(self, number: int, most: int = 1 << 20) -> bytes:
        """The next bytes of the stream: a few, or many."""
        size = min(most, number & 15 if number < 0xC0 else (number & 63) << 11)
        at, self.at = self.at, self.at + size
        return self.stream[at : at + size]

    def keep(self, batch: Any) -> Any:
        frames = list(batch)
        self.batches.append((batch, list(batch.views()), frames))
        return frames

    def fill(self, number: int, part: bool) -> Any:
        view = self.decoder.get_buffer()
        if self.filled == len(self.sizes):
            self.sizes.append(min(len(view), FILLED))
        chunk = self.chunk(number, self.sizes[self.filled])
        self.filled += 1
        view[: len(chunk)] = chunk
        self.lent.append(view[: len(chunk)] if part else view)
        return self.decoder.buffer_updated(len(chunk))

    def scribble(self) -> list[Any]:
        """Write to what was lent and must not be used any more."""
        told: list[Any] = []
        for view in self.lent[-4:]:
            try:
                view[:] = b"\xee" * len(view)
                told.append(None)
            except ValueError as error:
                told.append(str(error))
        return told


# --- What the function of a Computed may do --------------------------------------------------------------------------

FORBIDDEN: tuple[Callable[[Any], Any], ...] = (
    lambda d: d.feed(b"x"),
    lambda d: d.feed_batch(b"x"),
    lambda d: d.push(b"x"),
    lambda d: d.pop(),
    lambda d: d.get_buffer(),
    lambda d: d.buffer_updated(0),
    lambda d: d.feed_eof(),
    lambda d: d.unread(),
    lambda d: setattr(d, "framing", ff.FixedSize(1)),
)
RAISED: tuple[Exception, ...] = (LookupError("mine"), ff.BadMagic("mine"), ValueError("mine"), ff.QueueFull(1, 2, 3))
ODD: tuple[Any, ...] = (-1, 0, None, 5.0, "5", 1 << 70, True)


def meddle(header: bytes) -> Any:
    """The first byte says the size, the second what else happens."""
    what = header[1]
    if what < 32:
        try:
            FORBIDDEN[what % len(FORBIDDEN)](Play.current)
        except ff.ConcurrentUse:
            pass
        else:
            raise AssertionError(f"a call within a call: {what}")
    elif what < 40:
        raise RAISED[what % len(RAISED)]
    elif what < 48:
        return ODD[what % len(ODD)]
    elif what < 56:
        decoder = Play.current
        decoder.buffered, decoder.stats, decoder.error, decoder.framing  # noqa: B018
    return header[0]


MEDDLING = ff.Computed(2, meddle)


# --- Calls -----------------------------------------------------------------------------------------------------------

FRAMINGS: tuple[Any, ...] = (
    None,
    MEDDLING,
    ff.LengthField(2),
    ff.Delimiter(b"\n", max_size=20),
    ff.FixedSize(3),
    ff.UntilEOF(40),
)
FRAMINGS += (ff.LengthField(1, trailer=b"\n"), ff.Netstring(70_000), ff.VarintLength(3), ff.ContentLength(), MEDDLING)
WRONG: tuple[Any, ...] = (None, "text", 3, [], [b"x"], object)


def assign(play: Play, number: int) -> None:
    play.decoder.framing = FRAMINGS[number % len(FRAMINGS)] or play.framing


def limit(play: Play, number: int) -> None:
    if not isinstance(play.framing, ff.FixedSize):
        play.decoder.framing = play.framing.replace(max_size=number)


def wrong(play: Play, number: int) -> Any:
    decoder = play.decoder
    value = WRONG[number % len(WRONG)]
    calls = (decoder.feed, decoder.feed_batch, decoder.push, decoder.__init__, decoder.get_buffer, copy.copy)
    if number >= 0xF0:
        del decoder.framing
    if number >= 0xE0:
        decoder.framing = value
    method = calls[number // 8 % len(calls)]
    got = method(decoder if method is copy.copy else value)
    return len(got) > 0 if isinstance(got, memoryview) else got


CALLS: tuple[Callable[[Play, int], Any], ...] = (
    lambda play, number: play.decoder.feed(play.chunk(number)),
    lambda play, number: play.decoder.feed(memoryview(bytearray(play.chunk(number)))),
    lambda play, number: play.keep(play.decoder.feed_batch(play.chunk(number))),
    lambda play, number: play.keep(play.decoder.feed_batch(bytearray(play.chunk(number)))),
    lambda play, number: play.decoder.push(play.chunk(number)),
    lambda play, number: play.decoder.pop(),
    lambda play, number: play.fill(number, False),
    lambda play, number: play.fill(number, True),
    lambda play, number: play.scribble(),
    lambda play, number: len(play.decoder.get_buffer(number - 3)) > 0,
    lambda play, number: play.decoder.buffer_updated((-1, 0, 0, 1 << 40, 1 << 70)[number % 5]),
    lambda play, number: play.decoder.needed,
    lambda play, number: play.decoder.unread(),
    lambda play, number: play.decoder.feed(play.decoder.unread()),
    assign,
    assign,
    limit,
    wrong,
    lambda play, number: play.decoder.feed_eof() if number & 1 else play.decoder.buffered,
    lambda play, number: play.batches.clear(),
    lambda play, number: play.lent.clear(),
    lambda play, number: [batch[: number % 5] for batch, *_ in play.batches] + [len(b) for b, *_ in play.batches],
    lambda play, number: list(islice(play.decoder.feed_batch(play.chunk(number)), number % 3)),
)


def told(error: BaseException | None) -> Any:
    if isinstance(error, ff.FrameError):
        return type(error), error.args, str(error)
    return None if error is None else type(error)


def trace(engine: Any, framing: ff.Framing, stream: bytes, calls: bytes, sizes: list[int]) -> list[Any]:
    """What each call gave or raised, and the state behind it."""
    play = Play(engine, framing, stream, sizes)
    decoder = Play.current = play.decoder
    seen: list[Any] = []
    for at in range(0, len(calls), 2):
        try:
            seen.append(CALLS[calls[at] % len(CALLS)](play, calls[at + 1] if at + 1 < len(calls) else 0))
        except AssertionError:
            raise
        except BaseException as error:
            seen.append(told(error))
        seen += (decoder.buffered, decoder.stats, told(decoder.error))
    for last in (lambda: decoder.needed, decoder.pop, decoder.unread):
        try:
            seen.append(last())
        except BaseException as error:
            seen.append(told(error))
    Play.current = play.decoder = decoder = None
    for batch, views, frames in play.batches:
        assert list(batch) == frames, "a batch has changed"
        assert list(map(bytes, views)) == frames, "views have changed"
    return seen


def compare(engine: Any, other: Any, framing: ff.Framing, stream: bytes, calls: bytes) -> None:
    """Raises AssertionError if the two engines differ."""
    if calls[0] & 0x80 and isinstance(framing, ff.Computed):
        framing = MEDDLING
    sizes: list[int] = []
    first, second = (trace(each, framing, stream, calls, sizes) for each in (engine, other))
    if first != second:
        at = next((at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), -1)
        raise AssertionError(
            f"calls differ at {at // 4}, {at % 4}:\nframing = {framing!r}\nstream = {stream!r}\ncalls = {calls!r}"
            f"\nthis  {first[at]!r}\nother {second[at]!r}"
        )
