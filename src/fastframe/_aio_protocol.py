"""Frames by callbacks: the asyncio protocol that gets a batch at a time."""

from __future__ import annotations

import asyncio
from functools import partial

from ._aio_link import CLOSE_TIMEOUT, NO_MEMORY, Link
from ._aio_sending import Outlet, Refusing
from ._deadline import seconds
from ._handler import refuse_coroutine
from ._readiness import READ
from .errors import ConnectionClosed, ConnectionLost, FrameError, InvalidFrame, TruncatedFrame
from .framing import Framing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from typing_extensions import Buffer

_NOBODY, _CLOSED = Outlet(), Refusing("the connection is closed")

ASKED, NO_ROOM = 1, 2
"""Reasons to pause reading: the user's own, and a peer that doesn't read."""


class FrameProtocol(asyncio.BufferedProtocol):
    """An asyncio protocol whose frames come in lists, for loop.create_connection, create_server and their like.

    framing: of the frames received; also of those sent, unless `send_framing` says otherwise.

    Subclasses define `frames_received`, and what else they want to know. Any call may be made inside a callback.
    What a callback raises goes to the loop's exception handler and aborts this connection.
    """

    transport: Any = None
    """The loop's transport, to ask it for what it knows. Reading, writing and closing are this protocol's."""

    def __init__(self, framing: Framing, *, send_framing: Framing | None = None) -> None:
        refuse_coroutine(self.frames_received, "start a task, or use fastframe.asyncio.start_server")
        self._link = _Link(self, framing, framing if send_framing is None else send_framing)

    # --- Callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there. Who overrides this calls super().connection_made(transport) first."""
        self.transport = transport
        self._link.attach(transport)

    def frames_received(self, frames: list[bytes]) -> None:
        """These frames have come, at least one."""

    def eof_received(self) -> bool | None:
        """The peer has ended its sending, between two frames. What is written goes out, then the connection is closed.

        True keeps it open for more, until `close` is called; TLS can't be.
        """

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is over, and all its frames were delivered.

        exc: None after a normal end or `close`; TruncatedFrame, InvalidFrame or ConnectionLost; or what a callback
        has raised.
        """

    def pause_writing(self) -> None:
        """The peer doesn't read as fast as is written: more than the transport's high water is queued. Pauses reading too."""
        self._link.pause(NO_ROOM)

    def resume_writing(self) -> None:
        """There is room again. Resumes reading, unless `pause_reading` was called."""
        self._link.resume(NO_ROOM)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Never called once the connection is made."""
        raise TypeError(f"{type(self).__name__}.connection_made must call super().connection_made(transport)")

    # --- Calls

    def write(self, payload: Buffer) -> None:
        """Send one frame; what the kernel doesn't take is queued.

        FrameTooLarge, ValueError or TypeError for a payload that can't be sent. ValueError before the connection is
        made, and after `close` or `abort`. After the peer's end it is dropped: connection_lost tells.
        """
        self._link.out.write(payload)

    def write_many(self, payloads: Iterable[Buffer]) -> None:
        """Send a frame for each payload at once; none if one of them can't be sent. As `write` else."""
        self._link.out.write_many(payloads)

    def pause_reading(self) -> None:
        """Receive nothing until `resume_reading`; the peer is held back."""
        self._link.pause(ASKED)

    def resume_reading(self) -> None:
        """Receive again."""
        self._link.resume(ASKED)

    def close(self, timeout: float | None = CLOSE_TIMEOUT) -> None:
        """Send what is queued, tell the peer the end, and close, so that a peer that reads gets all of it.

        Nothing is received any more: what comes is discarded until all is acknowledged, where the system can tell,
        or the peer ends too, or `timeout` seconds are over. connection_lost follows.
        """
        self._link.close(seconds(timeout))

    def abort(self) -> None:
        """Close at once and drop what is queued. A TCP peer sees a reset. connection_lost follows."""
        self._link.abort()

    @property
    def framing(self) -> Framing:
        """Of the frames received. Assigning it parses anew every byte behind the frames that were delivered."""
        return self._link.framing

    @framing.setter
    def framing(self, framing: Framing) -> None:
        self._link.framing = framing

    @property
    def send_framing(self) -> Framing:
        """Of the frames sent, from the next one on."""
        return self._link.send_framing

    @send_framing.setter
    def send_framing(self, framing: Framing) -> None:
        self._link.send_framing = self._link.outlet.framing = checked(framing)


def checked(framing: Framing) -> Framing:
    """What was given, if it is a Framing; TypeError if not."""
    if not isinstance(framing, Framing):
        raise TypeError(f"a Framing is needed, not {type(framing).__name__}")
    return framing


class _Link(Link):
    """Stands between the transport and a FrameProtocol."""

    def __init__(self, protocol: FrameProtocol, framing: Framing, send_framing: Framing) -> None:
        self._protocol = protocol
        self._framing = checked(framing)
        self.send_framing = checked(send_framing)
        self.out: Outlet = Refusing("not connected yet")
        """What takes what the user writes: the outlet, as long as it may."""
        self._is_open = False
        self._backlog: list[bytes] = []  # frames that came in spite of a pause
        self._reparse = False

    def attach(self, transport: Any) -> None:
        """Take the transport's calls over."""
        if self._is_open:
            raise ValueError("a FrameProtocol is for one connection")
        self._is_open = True
        transport.set_protocol(self)
        self.connection_made(transport)

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.pause_writing = self._protocol.pause_writing  # type: ignore[method-assign]
        self.resume_writing = self._protocol.resume_writing  # type: ignore[method-assign]
        self._frames_received = self._protocol.frames_received
        self.hand = partial(self.context.run, self._frames_received)  # type: ignore[call-arg]
        self.open(self._framing, self._protocol)
        self.plain = True
        self.receive = self._feed = self.stream.read if self.hub is not None else self.stream.feed
        self.out = self.outlet

    # --- Frames

    def bytes_received(self, data: bytes | memoryview) -> None:
        if self.held:
            self._keep(data)
            return
        try:
            frames = self._feed(data)
        except Exception as error:
            self._stop(error)
            return
        self._deliver(frames)

    def _keep(self, data: bytes | memoryview) -> None:
        """Keep for later what comes in spite of a pause: uvloop starts to read behind connection_made, whatever was said there."""
        try:
            self.stream.push(data)
        except Exception as error:
            self._stop(error)
            return
        self._reparse = True
        self.stop_reading()

    def received(self, what: list[bytes] | Exception) -> None:
        if self.held or self._backlog:
            if isinstance(what, Exception):
                self.stop_reading()
            else:
                self._backlog += what
            self._reparse = True
        elif isinstance(what, Exception):
            self._stop(what)
        else:
            self._deliver(what)

    def kept(self) -> None:
        self._reparse = True
        self._parse_kept()

    def failed(self, error: BaseException) -> None:
        """frames_received has raised."""
        self._blame(error)

    def _deliver(self, frames: list[bytes]) -> None:
        """Hand frames over, and look what stands behind them."""
        if frames:
            try:
                self._frames_received(frames)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                self._blame(error)
                return
        if self.stream.error is not None and not self.closing:
            self.received(self.stream.error)

    def stream_ended(self) -> bool:
        frames = None
        while frames != [] and not self.closing and self.error is None:
            try:
                frames = self.stream.feed_eof()
            except Exception as error:
                self._stop(error)
                break
            self._deliver(frames)
        return not self.closing and self.error is None and self._keeps_open()

    def rest_received(self) -> None:
        if self.hub is None:
            super().rest_received()
            return
        frames, self._backlog = self._backlog or None, []
        while frames != [] and not self.closing and self.error is None:
            if frames:
                self._deliver(frames)
            try:
                frames = self.receive()
            except (ConnectionClosed, ConnectionLost, TruncatedFrame):
                break
            except Exception as error:
                self._stop(error)
                break

    def over(self) -> None:
        self.out = _CLOSED if self.closing and self.error is None else _NOBODY
        self._protocol.connection_lost(self.error)

    @property
    def framing(self) -> Framing:
        return self._framing

    @framing.setter
    def framing(self, framing: Framing) -> None:
        checked(framing)
        if self._is_open:
            self.stream.framing = framing
            if self.stream.buffered and not self.closing and not self.lost:
                self._reparse = True
                self.loop.call_soon(self._parse_kept, context=self.context)
        self._framing = framing

    def _parse_kept(self) -> None:
        """What is held may be frames: the framing is another one, or it came in a pause."""
        if not self._reparse or self._is_stopped():
            return
        self._reparse = False
        frames, self._backlog = self._backlog, []
        self.plain = True
        if frames:
            self._deliver(frames)
        if self._is_stopped():
            self._reparse = True
        elif self.hub is None:
            self.data_received(b"")
        else:
            self.ready(None, READ)

    def _is_stopped(self) -> bool:
        return bool(self.held or self.closing or self.lost or self.ended)

    # --- Reading

    def start_reading(self) -> None:
        if self._reparse:
            self.loop.call_soon(self._parse_kept, context=self.context)
        else:
            self.plain = True
        super().start_reading()

    def stop_reading(self) -> None:
        self.plain = False
        super().stop_reading()

    # --- The end

    def close(self, timeout: float | None) -> None:
        if not self._is_open:
            raise ValueError("not connected yet")
        self.out = _CLOSED
        super().close(timeout)

    def abort(self) -> None:
        if not self._is_open:
            raise ValueError("not connected yet")
        self.out = _CLOSED
        super().abort()

    def _stop(self, error: BaseException) -> None:
        """The stream has ended, in whatever way."""
        if isinstance(error, ConnectionClosed):
            self.stop_reading()
            self.ended = True
            if not self._keeps_open() and not self.closing:
                self.outlet.after(self.transport.close)
        elif isinstance(error, OSError) and not isinstance(error, FrameError):
            if error.errno not in NO_MEMORY:
                self._stop(ConnectionLost(error.errno, error.strerror))
        elif not isinstance(error, FrameError):
            self._blame(error)
        elif self.error is None:
            self.error = error
            if not self.lost:
                self._end(error)

    def _end(self, error: FrameError) -> None:
        """Close, because of what the peer has done."""
        self.out = _NOBODY
        if isinstance(error, InvalidFrame):
            Link.close(self, CLOSE_TIMEOUT)
        elif isinstance(error, ConnectionLost):
            self.closing = True
            self.transport.abort()
        else:
            self.stop_reading()
            self.outlet.after(self.transport.close)

    def _break(self, error: OSError) -> None:
        self.out = _NOBODY
        super()._break(error)

    def _keeps_open(self) -> bool:
        """Tell the user of the stream's end; whether the connection stays open."""
        try:
            keeps_open = bool(self._protocol.eof_received()) and not self.is_tls
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._blame(error)
            return False
        if not keeps_open and not self.closing:
            self.out = _NOBODY
        return keeps_open

    def _blame(self, error: BaseException) -> None:
        """A callback has raised: it costs this connection."""
        self.error = self.error or error
        self.loop.call_exception_handler(
            {
                "message": f"{type(self._protocol).__name__} has raised, its connection is aborted",
                "exception": error,
                "transport": self.transport,
                "protocol": self._protocol,
            }
        )
        self.out = _NOBODY
        Link.abort(self)
