"""Frames by coroutines: a connection of an event loop."""

from __future__ import annotations

import asyncio
import errno
import os
import warnings
from functools import partial
from itertools import islice
from operator import itemgetter

from ._aio_link import CLOSE_TIMEOUT, Link, again
from ._aio_protocol import checked
from ._deadline import seconds
from ._engine import Decoder
from .connection import ConnectionStats
from .errors import ConcurrentUse, ConnectionClosed, ConnectionLost, FrameError
from .framing import LengthField
from .stats import Stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
    from types import TracebackType
    from typing import Any, NoReturn, Self, TypeVar

    from typing_extensions import Buffer

    from ._engine import FrameBatch
    from .framing import Framing

    T = TypeVar("T")

HIGH_WATER, LOW_WATER = 128 * 1024, 32 * 1024
"""Reading pauses once more bytes than these are received and not asked for, and goes on at the lower ones."""
SLICE_FRAMES, SLICE_BYTES = 1024, 256 * 1024
"""A part of a send_many ends once it has so many frames or bytes."""

FULL, FAULTY = 1, 2
"""Reasons to pause reading: nobody asks for what has come, or what comes can't be frames."""


class Connection:
    """Frames over a connection of an event loop. `open_connection` and `start_server` make one.

    For one receiver at a time: a second one raises ConcurrentUse. Sends of several tasks queue up, whole frame by whole
    frame. Neither holds up the other direction.

    A receive may be cancelled or timed out at any time, by asyncio.timeout and wait_for too: nothing is lost, the next
    one goes on. It raises ConnectionClosed at the stream's normal end, TruncatedFrame, InvalidFrame or ConnectionLost
    at another, each after every complete frame. The two directions fail separately.

    A send waits while the peer reads too slowly, and then hands its frame over, whole. One that is cancelled has sent
    nothing; one that returns may still lie in the queue, which `close` sends.

    Once closed, every call raises ValueError; one that waits in another task, ConnectionClosed. To be used in the loop
    and the thread that it was made in.
    """

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._pop = inbox.decoder.pop
        self._all = partial(inbox.decoder.feed, b"")
        self._parse = partial(inbox.decoder.feed_batch, b"")

    # --- Receiving

    def recv(self) -> Coroutine[Any, Any, bytes]:
        """The next frame."""
        return self._receive(self._pop, itemgetter(0))

    def recv_many(self) -> Coroutine[Any, Any, list[bytes]]:
        """All frames that are there, at least one."""
        return self._receive(self._all, list, [])

    def recv_batch(self) -> Coroutine[Any, Any, FrameBatch]:
        """All frames that are there, at least one, as a FrameBatch."""
        return self._receive(self._batch, _batch_of)

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The frames until the stream's normal end, or until the connection is closed here; what else ends it raises."""
        return self

    async def __anext__(self) -> bytes:
        if self._inbox.closing:
            raise StopAsyncIteration
        try:
            return await self._receive(self._pop, itemgetter(0))
        except ConnectionClosed:
            raise StopAsyncIteration from None

    @property
    def framing(self) -> Framing:
        """Of the frames received. Assigning it parses anew every byte that isn't delivered yet.

        ConcurrentUse while another task receives.
        """
        return self._inbox.decoder.framing

    @framing.setter
    def framing(self, framing: Framing) -> None:
        self._inbox.check()
        self._inbox.decoder.framing = framing
        self._inbox.go_on()

    def unread(self) -> bytes:
        """The bytes that are received and not delivered; the connection forgets them. ConcurrentUse as by `framing`."""
        self._inbox.check()
        rest = self._inbox.decoder.unread()
        self._inbox.go_on()
        return rest

    # --- Sending

    async def send(self, payload: Buffer) -> None:
        """Send one frame, whole.

        FrameTooLarge, ValueError or TypeError for a payload that can't be sent; ConnectionLost.
        """
        inbox = self._inbox
        data = inbox.send_framing.encode(payload)
        if inbox.free and not inbox.transport.is_closing():
            inbox.put(data, 1)
        else:
            await inbox.put_later(data, 1)

    async def send_many(self, payloads: Iterable[Buffer]) -> None:
        """Send a frame for each payload: a list of up to 1024 at once, others in parts of up to 1024 frames or 256 KiB.

        A payload that can't be sent, an exception of the iterable, or a cancellation passes: nothing of its part is
        sent, but what was before is.
        """
        inbox = self._inbox
        at_once = isinstance(payloads, list) and len(payloads) <= SLICE_FRAMES
        parts: Iterable[Any] = (payloads,) if at_once else _parts(payloads)
        for part in parts:
            data = inbox.send_framing.encode_many(part)
            if inbox.free and not inbox.transport.is_closing():
                inbox.put(data, len(part))
            else:
                await inbox.put_later(data, len(part))

    @property
    def send_framing(self) -> Framing:
        """Of the frames sent, from the next send on."""
        return self._inbox.send_framing

    @send_framing.setter
    def send_framing(self, framing: Framing) -> None:
        self._inbox.send_framing = checked(framing)

    async def shutdown_send(self) -> None:
        """Tell the peer that nothing more will come, behind all that was sent. Receiving goes on; a send is a ValueError.

        ValueError over TLS, which has no half-close in an event loop.
        """
        await self._inbox.shutdown_send()

    # --- The end

    async def close(self, timeout: float | None = CLOSE_TIMEOUT) -> None:  # noqa: ASYNC109 - a cancelled close goes on
        """Send what is queued, tell the peer the end, and close, so that a peer that reads gets all that was sent.

        Discards what still comes until everything is acknowledged (where the system can tell), or the peer ends too, or
        `timeout` seconds are over. It goes on by itself if it is cancelled. A second close waits for the first.
        """
        timeout = seconds(timeout)
        self._inbox.close(timeout)
        await self._inbox.gone()

    def abort(self) -> None:
        """Close at once and drop everything: what was sent too, unless it has arrived. A TCP peer sees a reset."""
        self._inbox.abort()

    @property
    def closed(self) -> bool:
        """Whether close or abort was called."""
        return self._inbox.closing

    async def __aenter__(self) -> Self:
        self._inbox.check_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close; after an exception without waiting."""
        await self.close(CLOSE_TIMEOUT if kind is None else 0)

    def __del__(self) -> None:
        inbox = self.__dict__.get("_inbox")
        if inbox is None or inbox.closing or inbox.lost:
            return
        try:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
        finally:
            inbox.abort()

    # --- What it is

    @property
    def stats(self) -> ConnectionStats:
        """Frames, bytes and errors: received and sent."""
        inbox = self._inbox
        received = inbox.decoder.stats
        if isinstance(inbox.error, ConnectionLost) and not inbox.ended:
            received = received._replace(errors=1)
        return ConnectionStats(received, Stats(inbox.frames, inbox.bytes, int(inbox.error is not None)))

    @property
    def local_address(self) -> Any:
        """This end's address, as socket.getsockname gives it."""
        return self._inbox.transport.get_extra_info("sockname")

    @property
    def peer_address(self) -> Any:
        """The other end's address, as socket.getpeername gives it."""
        return self._inbox.transport.get_extra_info("peername")

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the loop's transport knows: "socket", "ssl_object", "peercert", … `default` for what it doesn't."""
        return self._inbox.transport.get_extra_info(name, default)

    def __repr__(self) -> str:
        inbox = self.__dict__.get("_inbox")
        if inbox is None:
            return "<Connection without a transport>"
        state = "closed" if inbox.closing else "lost" if inbox.lost else f"descriptor {inbox.fileno()}"
        return f"<asyncio Connection {state}, {self.framing!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Connection can't be copied or pickled")

    # --- Helpers

    async def _receive(
        self, take: Callable[[], T | None], last: Callable[[list[bytes]], T], nothing: T | None = None
    ) -> T:
        """What `take` gives, once it isn't `nothing`, or what `last` makes of the frames that the stream's end leaves."""
        inbox = self._inbox
        if inbox.taken or inbox.closing:
            inbox.check()
        inbox.taken = True
        try:
            while True:
                got = take()
                if got != nothing:
                    return got  # type: ignore[return-value]
                if inbox.ended or inbox.lost:
                    return last(inbox.finish())
                await inbox.more()
                if inbox.closing:
                    raise ConnectionClosed("the connection was closed")
        finally:
            inbox.taken = False
            if inbox._held:
                inbox.go_on()

    def _batch(self) -> FrameBatch | None:
        batch = self._parse()
        return batch if len(batch) else None


class Inbox(Link):
    """Stands between the transport and a Connection, which it doesn't know: it holds what has come."""

    def __init__(self, framing: Framing, send_framing: Framing | None) -> None:
        self.decoder = Decoder(framing)
        self.send_framing = checked(framing if send_framing is None else send_framing)
        self.taken = False
        """Whether somebody receives."""
        self.free = True
        """Whether a send needs to wait for nobody."""
        self.frames = self.bytes = 0
        self._half_closed = False
        self._waiter: asyncio.Future[None] | None = None
        self._turn = asyncio.Lock()
        self._queued = 0
        self._full = False
        self._room: asyncio.Future[None] | None = None

    # --- What the transport tells

    def data_received(self, data: bytes | memoryview) -> None:
        if self.closing:
            return
        try:
            self.decoder.push(data)
        except FrameError:
            self.pause(FAULTY)
            return
        if self._waiter is not None:
            self._wake()
        elif self.decoder.buffered > HIGH_WATER:
            self.pause(FULL)

    def stream_ended(self) -> bool:
        self._wake()
        return True

    def over(self) -> None:
        self.free = False
        self._wake()
        self._wake_sender()

    def pause_writing(self) -> None:
        self._full = True
        self.free = False

    def resume_writing(self) -> None:
        self._full = False
        self.free = self._is_free()
        self._wake_sender()

    # --- Receiving

    def check(self) -> None:
        """Raise what a receiver has to be told at once."""
        self.check_open()
        if self.taken:
            raise ConcurrentUse

    def check_open(self) -> None:
        if self.closing:
            raise ValueError("the connection is closed")

    def more(self) -> Awaitable[None]:
        """Wait for more, or for the end."""
        if self._held:
            self.resume(FULL)
        self._waiter = self.loop.create_future()
        return self._waiter

    def go_on(self) -> None:
        """Read on, if what was held is gone."""
        if self.decoder.buffered <= LOW_WATER:
            self.resume(FULL)

    def finish(self) -> list[bytes]:
        """The frames that the end of the stream leaves, at least one; or raise what it has ended in."""
        if self.error is not None and not self.ended:
            raise again(self.error)
        frames: list[bytes] = self.decoder.feed_eof()
        if not frames:
            raise ConnectionClosed
        return frames

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # --- Sending

    def put(self, data: bytes, frames: int) -> None:
        """Hand encoded frames to the transport, all at once."""
        self.frames += frames
        self.bytes += len(data)
        self.transport.write(data)

    async def put_later(self, data: bytes, frames: int) -> None:
        """As `put`, behind those who wait already, once there is room."""
        async with self._in_turn():
            self.put(data, frames)

    async def shutdown_send(self) -> None:
        if self._half_closed and not self.closing:
            return
        if not self.transport.can_write_eof():
            raise ValueError("TLS has no half-close in an event loop")
        async with self._in_turn(room=False):
            self._half_closed = True
            self.free = False
            try:
                self.transport.write_eof()
            except OSError:
                pass  # a reset, of which receiving tells

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
        self._wake()
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


def _parts(payloads: Iterable[Buffer]) -> Iterator[list[Buffer]]:
    """The payloads, as many at a time as go out together."""
    rest = iter(payloads)
    while True:
        part: list[Buffer] = []
        size = 0
        for payload in islice(rest, SLICE_FRAMES):
            # The iterable may use the same memory for its next payload.
            body = payload if type(payload) is bytes else bytes(memoryview(payload))
            part.append(body)
            size += len(body)
            if size >= SLICE_BYTES:
                break
        if not part:
            return
        yield part


def _batch_of(frames: list[bytes]) -> FrameBatch:
    """These frames as a batch."""
    lengths = LengthField(8, max_size=max(1, *map(len, frames)))
    return Decoder(lengths).feed_batch(lengths.encode_many(frames))
