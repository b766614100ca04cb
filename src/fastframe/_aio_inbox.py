"""What stands between a transport of an event loop and a Connection: it holds what has come, and who waits."""

from __future__ import annotations

import asyncio
import errno
import os
from functools import partial

from ._aio_link import NO_MEMORY, Link, again
from ._aio_protocol import checked
from ._aio_wait import Wait
from ._engine import Decoder
from .errors import ConcurrentUse, ConnectionClosed, ConnectionLost, FrameError
from .framing import LengthField

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from typing_extensions import Buffer

    from ._engine import FrameBatch
    from .framing import Framing

HIGH_WATER, LOW_WATER = 128 * 1024, 32 * 1024
"""Reading pauses once more bytes than these are received and not asked for, and goes on at the lower ones."""

FULL, FAULTY = 1, 2
"""Reasons to pause reading: nobody asks for what has come, or what comes can't be frames."""


class Inbox(Link):
    """Stands between the transport and a Connection, which it doesn't know: it holds what has come."""

    # Tasks need more time between two sends than the kernel for one, and a peer that waits would be woken by each.
    gathers_lists = True
    one: Callable[[], bytes | None]
    read: Callable[[], list[bytes]]
    batch: Callable[[], FrameBatch | None]

    def __init__(self, framing: Framing, send_framing: Framing | None) -> None:
        self._framing = checked(framing)
        self.send_framing = checked(framing if send_framing is None else send_framing)
        self.taken = False
        """Whether somebody receives."""
        self.free = True
        """Whether a send needs to wait for nobody."""
        self._half_closed = False
        self._turn = asyncio.Lock()
        self._queued = 0
        self._full = False
        self._room: asyncio.Future[None] | None = None

    # --- What the transport tells, and the hub

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.wait = Wait(self.loop, self._be_patient)
        self.open(self._framing, self)
        stream = self.stream
        if self.hub is None:
            self.one, self.read, self.batch = stream.pop, partial(stream.feed, b""), self._parse_batch
            return
        stream._patient = True
        self.one, self.read, self.batch = self._next, stream.read, self._next_batch
        self.hand = self.wait.give
        self.plain = True

    def bytes_received(self, data: bytes | memoryview) -> None:
        try:
            self.stream.push(data)
        except FrameError:
            self.pause(FAULTY)
            return
        if self.wait.is_awaited:
            self.wait.end()
        elif self.stream.buffered > HIGH_WATER:
            self.pause(FULL)

    def receive(self) -> list[bytes]:
        self.stream._fetch()
        return []

    def received(self, what: list[bytes] | Exception) -> None:
        stream = self.stream
        if isinstance(what, OSError) and not isinstance(what, FrameError):
            if what.errno not in NO_MEMORY:
                self._lose(ConnectionLost(what.errno, what.strerror))
        elif isinstance(stream.error, ConnectionLost):
            self._lose(stream.error)
        elif stream._at_eof:
            self.ended = True
            self.stop_reading()
        elif isinstance(what, Exception) or stream.error is not None:
            self.pause(FAULTY)  # the receiver is told
        elif stream.buffered > HIGH_WATER and not self.wait.is_awaited:
            self.pause(FULL)
        self.wait.give([] if isinstance(what, Exception) else what)

    def kept(self) -> None:
        self.wait.give([])

    def rest_received(self) -> None:
        if self.hub is None:
            super().rest_received()

    def stream_ended(self) -> bool:
        self.wait.end()
        return True

    def over(self) -> None:
        self._be_patient()  # its descriptor may be somebody else's when the receiver goes on
        self.free = False
        self.wait.end()
        self._wake_sender()

    def pause_writing(self) -> None:
        self._full = True
        self.free = False

    def resume_writing(self) -> None:
        self._full = False
        self.free = self._is_free()
        self._wake_sender()

    def _break(self, error: OSError) -> None:
        self.free = False
        self.end_in(error)
        super()._break(error)
        self.wait.end()

    def _lose(self, error: ConnectionLost) -> None:
        self.error = self.error or error
        self.free = False
        self.transport.abort()

    # --- Receiving

    def check(self) -> None:
        """Raise what a receiver has to be told at once."""
        self.check_open()
        if self.taken:
            raise ConcurrentUse

    def check_open(self) -> None:
        if self.closing:
            raise ValueError("the connection is closed")

    def go_on(self) -> None:
        """Read on, if what was held is gone."""
        if self.stream.buffered <= LOW_WATER:
            self.resume(FULL)
        if self.hub is not None and self.stream.error is None:
            self.resume(FAULTY)

    def finish(self) -> list[bytes]:
        """The frames that the end of the stream leaves, at least one; or raise what it has ended in."""
        if self.error is not None and not self.ended:
            raise again(self.error)
        decoder = self.stream
        if self.hub is not None:
            decoder = Decoder(self.stream.framing)
            decoder.push(self.stream.unread())
        frames: list[bytes] = decoder.feed_eof()
        if not frames:
            raise ConnectionClosed
        return frames

    def _be_patient(self) -> None:
        """Nobody waits for frames any more: what is received now is for the next framing to parse."""
        if self.hub is not None:
            self.stream._patient = True

    def truth(self, error: FrameError) -> BaseException:
        """What to raise: to the reader, the end of a socket that an error has closed is the stream's."""
        if self.error is None or self.ended or self.closing:
            return error
        return again(self.error)

    def _next(self) -> bytes | None:
        frames = self.wait.frames
        return frames.pop(0) if frames else self.stream.read_one()

    def _next_batch(self) -> FrameBatch | None:
        frames, self.wait.frames = self.wait.frames, []
        return batch_of(frames) if frames else self.stream._read_batch()

    def _parse_batch(self) -> FrameBatch | None:
        batch: FrameBatch = self.stream.feed_batch(b"")
        return batch if len(batch) else None

    # --- Sending

    async def put_later(self, payload: Buffer) -> None:
        """Put a frame behind what waits already, once there is room."""
        framing = self.outlet.framing
        framing.encode(payload)  # what can't be sent is told at once
        await self._put_later(self.outlet.write, payload, framing)

    async def put_many_later(self, payloads: list[Buffer]) -> None:
        """As `put_later`."""
        framing = self.outlet.framing
        framing.encode_many(payloads)
        await self._put_later(self.outlet.write_many, payloads, framing)

    async def _put_later(self, put: Callable[[Any], None], given: Any, framing: Framing) -> None:
        async with self._in_turn():
            now, self.outlet.framing = self.outlet.framing, framing
            try:
                put(given)
            finally:
                self.outlet.framing = now

    async def shutdown_send(self) -> None:
        if self._half_closed and not self.closing:
            return
        if not self.transport.can_write_eof():
            raise ValueError("TLS has no half-close in an event loop")
        async with self._in_turn(room=False):
            self._half_closed = True
            self.free = False
            self.outlet.after(self._end_sending)

    def _in_turn(self, room: bool = True) -> _Turn:
        self._check_sendable()
        return _Turn(self, room)

    def _check_sendable(self) -> None:
        self.check_open()
        if self._half_closed:
            raise ValueError("sending is shut down")
        if self.lost:
            raise again(self.error or ConnectionLost(errno.EPIPE, os.strerror(errno.EPIPE)))

    def _is_free(self) -> bool:
        return not (self._full or self._queued or self._half_closed or self.closing or self.lost)

    def _wake_sender(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    # --- The end

    def close(self, timeout: float | None) -> None:
        if self.loop.is_closed():
            self.closing = True
            return
        super().close(timeout)
        self._let_go()

    def abort(self) -> None:
        if self.loop.is_closed():
            self.closing = True
            return
        super().abort()
        self._let_go()

    def _let_go(self) -> None:
        """Wake all who wait: the connection is closed."""
        self.free = False
        self.wait.end()
        self._wake_sender()


class _Turn:
    """One sender at a time, in the order in which they came, once there is room."""

    def __init__(self, inbox: Inbox, room: bool) -> None:
        self._inbox = inbox
        self._for_room = room

    async def __aenter__(self) -> None:
        inbox = self._inbox
        inbox._queued += 1
        inbox.free = False
        try:
            await inbox._turn.acquire()
            try:
                if self._for_room:
                    await self._wait_for_room()
                if inbox.transport.is_closing() and not inbox.closing:
                    await inbox.gone()  # the transport takes nothing any more, and will tell why
                if inbox.closing:
                    raise ConnectionClosed("the connection was closed")
                inbox._check_sendable()
            except BaseException:
                inbox._turn.release()
                raise
        except BaseException:
            self._leave()
            raise

    async def _wait_for_room(self) -> None:
        inbox = self._inbox
        while inbox._full and not inbox.closing and not inbox.lost:
            inbox._room = inbox.loop.create_future()
            await inbox._room

    async def __aexit__(self, *error: object) -> None:
        self._inbox._turn.release()
        self._leave()

    def _leave(self) -> None:
        inbox = self._inbox
        inbox._queued -= 1
        inbox.free = inbox._is_free()


def batch_of(frames: list[bytes]) -> FrameBatch:
    """These frames as a batch."""
    lengths = LengthField(8, max_size=max(1, *map(len, frames)))
    return Decoder(lengths).feed_batch(lengths.encode_many(frames))
