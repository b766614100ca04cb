"""Frames by coroutines: a connection of an event loop."""

from __future__ import annotations

import warnings
from itertools import islice
from operator import itemgetter

from ._aio_inbox import FULL, batch_of
from ._aio_link import CLOSE_TIMEOUT
from ._aio_protocol import checked
from ._aio_sending import kept
from ._deadline import seconds
from .connection import ConnectionStats
from .errors import ConnectionClosed, ConnectionLost, TruncatedFrame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
    from types import TracebackType
    from typing import Any, NoReturn, Self, TypeVar

    from typing_extensions import Buffer

    from ._aio_inbox import Inbox
    from ._engine import FrameBatch
    from .framing import Framing

    T = TypeVar("T")

SLICE_FRAMES, SLICE_BYTES = 1024, 256 * 1024
"""A part of a send_many ends once it has so many frames or bytes."""


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

    # --- Receiving

    def recv(self) -> Coroutine[Any, Any, bytes]:
        """The next frame."""
        return self._receive(self._inbox.one, itemgetter(0))

    async def recv_many(self) -> list[bytes]:
        """All frames that are there, at least one."""
        # As _receive, in one piece: this is what is called for full speed.
        inbox = self._inbox
        if inbox.taken or inbox.closing:
            inbox.check()
        inbox.taken = True
        wait, hub = inbox.wait, inbox.hub
        try:
            while True:
                frames = wait.frames
                if frames:
                    wait.frames = []
                    return frames
                frames = inbox.read()
                if frames:
                    return frames
                if inbox.ended or inbox.lost:
                    return inbox.finish()
                if inbox.held:
                    inbox.resume(FULL)
                if hub is not None:
                    inbox.stream._patient = False  # the hub reads frames, and gives them
                await wait
                if inbox.closing:
                    raise ConnectionClosed("the connection was closed")
        except (ConnectionClosed, TruncatedFrame) as error:
            raise inbox.truth(error) from None
        finally:
            inbox.taken = False
            if hub is not None:
                inbox.stream._patient = True  # what is received now is for the next framing to parse
            if inbox.held:
                inbox.go_on()

    def recv_batch(self) -> Coroutine[Any, Any, FrameBatch]:
        """All frames that are there, at least one, as a FrameBatch."""
        return self._receive(self._inbox.batch, batch_of)

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The frames until the stream's normal end, or until the connection is closed here; what else ends it raises."""
        return self

    async def __anext__(self) -> bytes:
        if self._inbox.closing:
            raise StopAsyncIteration
        try:
            return await self.recv()
        except ConnectionClosed:
            raise StopAsyncIteration from None

    @property
    def framing(self) -> Framing:
        """Of the frames received. Assigning it parses anew every byte that isn't delivered yet.

        ConcurrentUse while another task receives.
        """
        return self._inbox.stream.framing  # type: ignore[no-any-return]

    @framing.setter
    def framing(self, framing: Framing) -> None:
        self._inbox.check()
        self._inbox.stream.framing = framing
        self._inbox.go_on()

    def unread(self) -> bytes:
        """The bytes that are received and not delivered; the connection forgets them. ConcurrentUse as by `framing`."""
        self._inbox.check()
        rest: bytes = self._inbox.stream.unread()
        self._inbox.go_on()
        return rest

    # --- Sending

    async def send(self, payload: Buffer) -> None:
        """Send one frame, whole.

        FrameTooLarge, ValueError or TypeError for a payload that can't be sent; ConnectionLost.
        """
        inbox = self._inbox
        if inbox.free and not inbox.transport.is_closing():
            inbox.outlet.write(payload)
        else:
            await inbox.put_later(payload)

    async def send_many(self, payloads: Iterable[Buffer]) -> None:
        """Send a frame for each payload: a list of up to 1024 at once, others in parts of up to 1024 frames or 256 KiB.

        A payload that can't be sent, an exception of the iterable, or a cancellation passes: nothing of its part is
        sent, but what was before is.
        """
        inbox = self._inbox
        at_once = isinstance(payloads, list) and len(payloads) <= SLICE_FRAMES
        parts: Iterable[Any] = (payloads,) if at_once else _parts(payloads)
        for part in parts:
            if inbox.free and not inbox.transport.is_closing():
                inbox.outlet.write_many(part)
            else:
                await inbox.put_many_later(part)

    @property
    def send_framing(self) -> Framing:
        """Of the frames sent, from the next send on."""
        return self._inbox.outlet.framing

    @send_framing.setter
    def send_framing(self, framing: Framing) -> None:
        self._inbox.send_framing = self._inbox.outlet.framing = checked(framing)

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
        received = inbox.stream.stats
        if isinstance(inbox.error, ConnectionLost) and not inbox.ended:
            received = received._replace(errors=1)
        return ConnectionStats(received, inbox.outlet.stats._replace(errors=int(inbox.error is not None)))

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

    async def _receive(self, take: Callable[[], T | None], last: Callable[[list[bytes]], T]) -> T:
        """What `take` gives, once it isn't None, or what `last` makes of the frames that the stream's end leaves."""
        inbox = self._inbox
        if inbox.taken or inbox.closing:
            inbox.check()
        inbox.taken = True
        try:
            while True:
                got = take()
                if got is not None:
                    return got
                if inbox.ended or inbox.lost:
                    return last(inbox.finish())
                if inbox.held:
                    inbox.resume(FULL)
                await inbox.wait
                if inbox.closing:
                    raise ConnectionClosed("the connection was closed")
        except (ConnectionClosed, TruncatedFrame) as error:
            raise inbox.truth(error) from None
        finally:
            inbox.taken = False
            if inbox.held:
                inbox.go_on()


def _parts(payloads: Iterable[Buffer]) -> Iterator[list[Buffer]]:
    """The payloads, as many at a time as go out together."""
    rest = iter(payloads)
    while True:
        part: list[Buffer] = []
        size = 0
        for payload in islice(rest, SLICE_FRAMES):
            body = kept(payload)
            part.append(body)
            size += len(body)
            if size >= SLICE_BYTES:
                break
        if not part:
            return
        yield part
