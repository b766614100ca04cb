"""Calls on a writer in any order: what the peer gets is what the descriptions encode, of the frames that were taken."""

from __future__ import annotations

import os
import socket
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import fastframe as ff
from fuzz_input import LARGE, PATTERN

OTHERS = (ff.LengthField(4), ff.Netstring(), ff.Delimiter(b"\r\n"), ff.VarintLength(), ff.LengthField(2, trailer=b"\n"))
KINDS: tuple[Callable[[bytes], Any], ...] = (bytes, bytes, bytes, bytearray, memoryview)
KINDS += (lambda data: memoryview(bytearray(data)), lambda data: memoryview(bytes(2 * len(data)))[::2])
KINDS += (lambda data: array("B", data), lambda data: data.decode("latin-1"), lambda data: None, len)


class Play:
    """A writer, its peer, and what must have come there in the end."""

    def __init__(self, engine: Any, framing: ff.Framing, frames: list[bytes], numbers: bytes) -> None:
        self.pipe = bool(numbers[0] & 1)
        if self.pipe:
            self.theirs, self.ours = os.pipe()
        else:
            left, right = socket.socketpair()
            if numbers[0] & 2:
                left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
            self.ours, self.theirs = left.detach(), right.detach()
        os.set_blocking(self.theirs, False)
        self.limit = (1 << 24, 100_000, 300, 0)[numbers[1] & 3]
        self.writer = engine.FrameWriter(self.ours, framing, high_water=1000, low_water=10, max_pending=self.limit)
        self.frames = frames
        self.sent = bytearray()
        self.got = bytearray()

    def close(self) -> None:
        os.close(self.ours)
        os.close(self.theirs)

    def payload(self, number: int) -> bytes:
        if number & 1 and self.frames:
            return self.frames[number // 2 % len(self.frames)]
        return PATTERN[: LARGE[number // 4 % len(LARGE)] if number & 2 else number // 8]

    def call(self, method: Callable[[Any], bool], given: Any, payloads: list[Any]) -> None:
        """One write: all of it is taken, or nothing."""
        writer = self.writer
        before = writer.stats
        refused, wire = refusal(writer.framing, payloads)
        error: Exception | None = None
        try:
            done = method(given)
        except (ff.QueueFull, TypeError, ValueError) as caught:
            error = caught
        if isinstance(error, ff.QueueFull):
            assert writer.pending or method == writer.write_many, error
            assert error.size > self.limit - error.pending, error
        elif error is not None:
            # Of many, one may be too large and another one of the wrong type.
            assert refused == told(error) or (refused and len(payloads) > 1), (refused, error)
        if error is not None:
            assert writer.stats == before
            error = None  # which refers to this frame
            return
        assert not refused, refused
        assert done is (writer.pending == 0)
        assert writer.stats == (before.frames + len(payloads), before.bytes + len(wire), 0)
        self.sent += wire

    def write(self, number: int, kind: int) -> None:
        payload = KINDS[kind % len(KINDS)](self.payload(number))
        self.call(self.writer.write, payload, [payload])
        overwrite(payload)

    def write_many(self, number: int, kind: int) -> None:
        payloads = [KINDS[(kind + at * (number & 1)) % len(KINDS)](self.payload(number + at)) for at in range(kind % 7)]
        given: Any = payloads
        if kind & 0x80:
            given = iter(payloads)
        elif kind & 0x40:
            given = tuple(payloads)
        self.call(self.writer.write_many, given, payloads)
        for payload in payloads:
            overwrite(payload)

    def small_ones(self, number: int, kind: int) -> None:
        payloads = [self.payload(number & 0xFC)[:200]] * (kind * 4)
        self.call(self.writer.write_many, payloads, payloads)

    def broken_iterable(self, number: int, kind: int) -> None:
        """Which raises half-way, having written itself before."""

        def payloads() -> Iterator[bytes]:
            yield b"lost"
            self.write(number, kind)
            raise LookupError

        try:
            self.writer.write_many(payloads())
        except (LookupError, ValueError):  # an engine may look at a payload before it asks for the next one
            pass

    def flush(self, number: int, kind: int) -> None:
        assert self.writer.flush() is (self.writer.pending == 0)

    def receive(self, number: int, kind: int) -> None:
        waiting = len(self.sent) - self.writer.pending - len(self.got)
        if waiting:
            self.got += os.read(self.theirs, 1 + number * kind)

    def assign(self, number: int, kind: int) -> None:
        self.writer.framing = OTHERS[number % len(OTHERS)]

    def withdraw(self, number: int, kind: int) -> None:
        before = self.writer.stats.bytes
        if self.writer._withdraw():
            del self.sent[len(self.sent) - before + self.writer.stats.bytes :]

    def finish(self) -> None:
        while self.writer.pending:
            self.receive(255, 255)
            self.writer.flush()
        while len(self.got) < len(self.sent):
            self.receive(255, 255)
        assert self.got == self.sent, f"the peer got {bytes(self.got)!r}, not {bytes(self.sent)!r}"


def refusal(framing: ff.Framing, payloads: list[Any]) -> tuple[Any, bytes]:
    """Why these payloads can't be frames, if they can't; and the frames."""
    try:
        return None, b"".join(map(framing.encode, payloads))
    except (TypeError, ValueError) as error:
        return told(error), b""


def told(error: Exception) -> Any:
    return (type(error), error.args) if isinstance(error, ff.FrameError) else type(error)


def overwrite(payload: Any) -> None:
    """What the writer was given is its caller's again."""
    if isinstance(payload, bytearray | array):
        for at in range(min(len(payload), 64)):
            payload[at] = 0xEE
        del payload[:]  # BufferError if it were still referenced
    elif isinstance(payload, memoryview) and not payload.readonly:
        payload[:] = b"\xee" * len(payload)


CALLS: tuple[Callable[[Play, int, int], None], ...] = (
    Play.write,
    Play.write,
    Play.write,
    Play.write_many,
    Play.write_many,
    Play.small_ones,
    Play.broken_iterable,
)
CALLS += (Play.flush, Play.receive, Play.receive, Play.assign, Play.withdraw)


def check(engine: Any, framing: ff.Framing, frames: list[bytes], calls: bytes, numbers: bytes) -> None:
    """Raises AssertionError if something else arrives; `frames` are payloads that the description can carry."""
    play = Play(engine, framing, frames, numbers)
    try:
        for at in range(0, len(calls) - 2, 3):
            CALLS[calls[at] % len(CALLS)](play, calls[at + 1], calls[at + 2])
        play.finish()
    except AssertionError as error:
        error.add_note(f"framing = {framing!r}\ncalls = {calls!r}\nnumbers = {numbers!r}\nframes = {frames!r}")
        raise
    finally:
        play.close()
