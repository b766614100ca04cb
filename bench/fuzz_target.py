"""What the fuzzer does with an input: many decoder runs, each of which must come out as the pure engine's single one.

A run is one stream through one fresh Decoder or FrameReader, in pieces, up to and beyond its end. The frames, the
error with all that it tells, the counters and what is left must not depend on the pieces or on the way they are
given. What they must be is what the pure engine makes of the stream in one piece, and for short streams what
tests/model.py says. Calls in odd orders are made on both engines side by side.
"""

from __future__ import annotations

import os
import socket
import zlib
from collections.abc import Callable
from itertools import cycle
from typing import Any, NamedTuple, NoReturn

import fastframe as ff
import fuzz_calls
import fuzz_writer
import model
from fastframe import _pure
from fuzz_input import LONG, case_of, cuts_of, size_of_header

Frames = list[bytes]
Way = Callable[[Any, list[bytes], Frames], None]

READERS = 2  # each on another cut
FEW = 60  # frames; more of them aren't looked at one by one
MANY = 500  # frames; more of them come in one piece only
MODEL = 120  # bytes; longer streams take the model too long
CLOSED = ff.ConnectionClosed()
OTHER = ff.Delimiter(b"\n", b"\r\n", max_size=3)


class Outcome(NamedTuple):
    """What must come out of a stream."""

    frames: Frames
    error: ff.FrameError | None
    stats: Any


# --- Ways to give the pieces -----------------------------------------------------------------------------------------


def by_feed(decoder: Any, chunks: list[bytes], frames: Frames) -> None:
    for chunk in chunks:
        frames += decoder.feed(chunk)


def by_mutable(decoder: Any, chunks: list[bytes], frames: Frames) -> None:
    """From memory that is overwritten and given back at once."""
    for chunk in chunks:
        memory = bytearray(chunk)
        frames += decoder.feed(memory)
        memory[:] = b"\xee" * len(memory)
        memory.clear()  # BufferError if it were still referenced


def by_batch(decoder: Any, chunks: list[bytes], frames: Frames) -> None:
    for chunk in chunks:
        frames += decoder.feed_batch(chunk)


def by_strided(decoder: Any, chunks: list[bytes], frames: Frames) -> None:
    for chunk in chunks:
        doubled = bytearray(2 * len(chunk))
        doubled[::2] = chunk
        frames += decoder.feed_batch(memoryview(doubled)[::2])
        doubled.clear()


def by_pop(decoder: Any, chunks: list[bytes], frames: Frames) -> None:
    pop = decoder.pop
    for chunk in chunks:
        decoder.push(chunk)
        while (frame := pop()) is not None:
            frames.append(frame)


def by_lazy_pop(decoder: Any, chunks: list[bytes], frames: Frames) -> None:
    """One frame a piece; the rest comes at the end."""
    for chunk in chunks:
        decoder.push(chunk)
        if (frame := decoder.pop()) is not None:
            frames.append(frame)


def by_push(decoder: Any, chunks: list[bytes], frames: Frames) -> None:
    for chunk in chunks:
        decoder.push(chunk)


def by_buffer(decoder: Any, chunks: list[bytes], frames: Frames) -> None:
    for chunk in chunks:
        fill(decoder, chunk, frames)


def fill(decoder: Any, chunk: bytes, frames: Frames) -> None:
    while True:
        view = decoder.get_buffer(len(chunk))
        size = min(len(view), len(chunk))
        view[:size] = chunk[:size]
        if size < len(view):
            view[-1:] = b"\xee"  # all of it may be written to
        frames += decoder.buffer_updated(size)
        chunk = chunk[size:]
        if not chunk:
            return


def by_kept_buffer(decoder: Any, chunks: list[bytes], frames: Frames) -> None:
    """Through buffers that stay in use, and are overwritten later."""
    kept: list[memoryview] = []
    for chunk in chunks[:4]:
        view = decoder.get_buffer()
        size = min(len(view), len(chunk))
        part = view[:size]
        part[:] = chunk[:size]
        kept.append(part)
        frames += decoder.buffer_updated(size)
        for part in kept[-2:]:
            part[:] = b"\xee" * len(part)
        if size < len(chunk):
            frames += decoder.feed(chunk[size:])
    by_feed(decoder, chunks[4:], frames)


def by_all(decoder: Any, chunks: list[bytes], frames: Frames) -> None:
    """Every way in turn."""
    for chunk, turn in zip(chunks, cycle(range(6)), strict=False):
        if turn == 0:
            decoder.push(chunk)
        elif turn == 1:
            frames += decoder.feed_batch(chunk)
        elif turn == 2:
            fill(decoder, chunk, frames)
        elif turn == 3:
            decoder.push(chunk)
            if (frame := decoder.pop()) is not None:
                frames.append(frame)
        elif turn == 4:
            decoder.get_buffer()
            frames += decoder.feed(chunk)
        else:
            frames += decoder.feed(bytearray(chunk))


def by_reframing(decoder: Any, chunks: list[bytes], frames: Frames) -> None:
    """Each piece is looked at anew: another framing comes and goes, unused, then the same one again."""
    framing = decoder.framing
    for number, chunk in enumerate(chunks):
        if number & 1:
            decoder.framing = OTHER
        decoder.framing = framing
        frames += decoder.feed_batch(chunk) if number & 2 else decoder.feed(chunk)


OFTEN: tuple[Way, ...] = (by_feed, by_batch, by_buffer, by_pop, by_all, by_lazy_pop, by_mutable, by_push)
WAYS = (*OFTEN, by_kept_buffer, *OFTEN, by_reframing, *OFTEN, by_strided)


# --- Runs ------------------------------------------------------------------------------------------------------------


def outcome_of(framing: ff.Framing, stream: bytes) -> Outcome:
    """What the pure engine makes of the stream in one piece."""
    decoder = _pure.Decoder(framing)
    frames: Frames = []
    try:
        frames += decoder.feed(stream)
        frames += decoder.feed_eof()
    except ff.FrameError:
        pass
    return Outcome(frames, decoder.error, decoder.stats)


def shifted(error: ff.FrameError | None, by: int) -> ff.FrameError | None:
    """The same error so many bytes further on. (Equal errors may differ in their hints.)"""
    if error is None or not by:
        return error
    args = list(error.args)
    if isinstance(error, ff.InvalidFrame):
        args[-2:] = args[-2] + by, ""
    elif isinstance(error, ff.TruncatedFrame):
        args[-1] += by
    return type(error)(*args)


def found(what: str, framing: ff.Framing, chunks: list[bytes], expected: Any, *got: Any) -> NoReturn:
    """What must not be, with all that it takes to see it again."""
    lines = [f"{what}:", f"framing = {framing!r}", f"chunks = {shown(chunks)}", f"expected {shown(expected)}"]
    raise AssertionError("\n".join([*lines, *(f"got {shown(value)}" for value in got)]))


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 4000 else f"{text[:2000]} ... {text[-1000:]}"


class Target:
    """Takes inputs; counts the runs made of them."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.inputs = 0
        self.runs = 0
        self.writers = 0

    def __call__(self, data: bytes) -> None:
        """All that is done with one input. Raises AssertionError, or whatever else should not come out."""
        self.inputs += 1
        framing, stream, numbers, calls = case_of(data)
        expected = outcome_of(framing, stream)
        turn, also = numbers[7], zlib.crc32(data)
        if len(expected.frames) > MANY:
            self.run(WAYS[turn % len(WAYS)], framing, [stream], expected)
            return
        cuts = list(cuts_of(stream, numbers, expected.stats.bytes, expected.error is not None))
        for chunks, ways in cuts:
            for way in range(turn, turn + ways):
                self.run(WAYS[way % len(WAYS)], framing, chunks, expected)
            turn += ways
        if len(stream) <= MODEL and not also & 15:
            self.check_model(framing, stream, expected)
        if len(stream) <= MODEL and not also & 0x30:
            self.run_exact(framing, stream, expected)
        if len(expected.frames) < FEW and not also & 0xC0:
            self.run_views(framing, chunks, expected)
        if not also & 0x300:
            self.run_unread(framing, chunks, expected)
        if len(stream) >= LONG or not also & 0x1C00:
            for number in range(READERS):
                self.run_reader(framing, cuts[((also >> 20) + number) % len(cuts)][0], expected, (also >> 16) + number)
        if calls and not also & 0x6000:
            self.runs += 1
            fuzz_calls.compare(self.engine, _pure, framing, stream, calls)
        if calls and not also & 0x7000:
            self.writers += 1
            fuzz_writer.check(self.engine, framing, expected.frames, calls, numbers)

    def check_model(self, framing: ff.Framing, stream: bytes, expected: Outcome) -> None:
        if isinstance(framing, ff.Computed) and framing.function is not size_of_header:
            return
        frames, error = model.read(framing, stream)
        if frames != expected.frames or error != (expected.error and model.fault(expected.error)):
            found("the model differs", framing, [stream], expected, frames, error)

    def run(self, way: Way, framing: ff.Framing, chunks: list[bytes], expected: Outcome) -> None:
        self.runs += 1
        decoder = self.engine.Decoder(framing)
        frames: Frames = []
        try:
            way(decoder, chunks, frames)
            frames += decoder.feed_eof()
        except ff.FrameError:
            pass
        if frames != expected.frames or decoder.error != expected.error:
            found(way.__name__, framing, chunks, expected, frames, decoder.error)
        if not self.runs & 3:
            self.check_end(decoder, framing, chunks, expected)

    def check_end(self, decoder: Any, framing: ff.Framing, chunks: list[bytes], expected: Outcome) -> None:
        """The counters are right; behind the end every call raises the same again, and keeps nothing."""
        if decoder.stats != expected.stats or (decoder.error is None and decoder.buffered):
            found("state", framing, chunks, expected, decoder.error, decoder.stats, decoder.buffered)
        try:
            decoder.feed(b"more") if self.runs & 4 else decoder.push(b"more")
        except ff.FrameError as error:
            if error != (expected.error or CLOSED) or error is decoder.error:
                found("raised at last", framing, chunks, expected, error)
        else:
            found("took bytes behind the end", framing, chunks, expected)
        if decoder.buffered or decoder.needed:
            found("kept something behind the end", framing, chunks, expected, decoder.buffered, decoder.needed)

    def run_views(self, framing: ff.Framing, chunks: list[bytes], expected: Outcome) -> None:
        """Batches and all that they give are looked at when the decoder has gone."""
        self.runs += 1
        decoder = self.engine.Decoder(framing)
        kept = []
        last: Frames = []
        try:
            for number, chunk in enumerate(chunks):
                batch = decoder.feed_batch(bytearray(chunk) if number & 1 else chunk)
                kept.append((batch.buffer, batch.offsets, batch.lengths, list(batch.views())))
                del batch
            last = decoder.feed_eof()
        except ff.FrameError:
            pass
        error = decoder.error
        del decoder
        frames = [bytes(view) for *_, views in kept for view in views]
        if frames + last != expected.frames or error != expected.error:
            found("views", framing, chunks, expected, frames, last, error)
        for buffer, offsets, lengths, views in kept:
            parts = [buffer[at : at + size] for at, size in zip(offsets, lengths, strict=True)]
            if parts != views or any(memoryview(view) != part for view, part in zip(views, parts, strict=True)):
                found("offsets", framing, chunks, expected, parts, list(offsets), list(lengths))

    def run_exact(self, framing: ff.Framing, stream: bytes, expected: Outcome) -> None:
        """Exactly what is needed, each time: that is never more than one frame."""
        self.runs += 1
        decoder = self.engine.Decoder(framing)
        frames: Frames = []
        at = 0
        try:
            while at < len(stream) and decoder.error is None:
                needed = decoder.needed
                got = decoder.feed(stream[at : at + needed])
                at += needed
                if needed < 1 or len(got) > 1 or (got and decoder.buffered):
                    found(f"needed {needed} bytes", framing, [stream[:at]], expected, got)
                frames += got
            frames += decoder.feed_eof()
        except ff.FrameError:
            pass
        if frames != expected.frames or decoder.error != expected.error:
            found("needed", framing, [stream], expected, frames, decoder.error)

    def run_unread(self, framing: ff.Framing, chunks: list[bytes], expected: Outcome) -> None:
        """What isn't delivered is taken back each time, and given again: the stream is that much longer."""
        self.runs += 1
        decoder = self.engine.Decoder(framing)
        frames: Frames = []
        moved = 0
        try:
            for chunk in chunks:
                rest = decoder.unread()
                moved += len(rest)
                frames += decoder.feed(rest + chunk)
            frames += decoder.feed_eof()
        except ff.FrameError:
            pass
        if frames != expected.frames or decoder.error != shifted(expected.error, moved):
            found(f"unread, {moved} bytes in all", framing, chunks, expected, frames, decoder.error)

    def run_reader(self, framing: ff.Framing, chunks: list[bytes], expected: Outcome, choice: int) -> None:
        """The same bytes through a socket or a pipe."""
        self.runs += 1
        pipe, options = choice & 1, {"readahead": bool(choice & 6), "buffer_size": (1, 3, 64, 1 << 18)[choice >> 3 & 3]}
        if pipe:
            ours, theirs = os.pipe()
            os.set_blocking(theirs, False)
            send, close = (lambda data: os.write(theirs, data)), os.close
        else:
            left, right = socket.socketpair()
            right.setblocking(False)
            ours, theirs, send, close = left.detach(), right.fileno(), right.send, lambda number: None
        frames: Frames = []
        error: ff.FrameError | None = None
        try:
            reader = self.engine.FrameReader(ours, framing, **options)
            for chunk in chunks:
                rest = memoryview(chunk)
                while rest:
                    try:
                        rest = rest[send(rest) :]
                    except BlockingIOError:
                        if not self.drain(reader, frames, choice >> 5):
                            found("the reader of a full channel takes nothing", framing, chunks, expected, options)
                self.drain(reader, frames, choice >> 5)
            close(theirs) if pipe else right.close()
            theirs = -1
            while True:
                self.drain(reader, frames, choice >> 5)
        except ff.FrameError as caught:
            error = caught
        finally:
            os.close(ours)
            if theirs >= 0:
                close(theirs) if pipe else right.close()
        if (frames, error, reader.stats) != (expected.frames, expected.error or CLOSED, expected.stats):
            found(f"reader, {options}, {choice}", framing, chunks, expected, frames, error, reader.stats)

    def drain(self, reader: Any, frames: Frames, choice: int) -> bool:
        """Read until it would have to wait; whether it took anything."""
        before = reader.buffered + reader.stats.bytes
        while True:
            method = choice % 3
            choice = choice * 5 + 1 & 0xFFFF
            if method == 0:
                got = reader.read()
            elif method == 1:
                got = [bytes(view) for view in reader.read_batch().views()]
            else:
                frame = reader.read_one()
                got = [] if frame is None else [frame]
            if not got:
                return reader.buffered + reader.stats.bytes > before
            frames += got
