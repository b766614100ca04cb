"""A connection of an event loop, seen from below: how bytes come in and go out, pauses, and how it ends.

The loop's transport carries the bytes, whatever it is: TCP, unix sockets, TLS, on any loop. Or a hub receives them from the
transport's descriptor, which is faster. What is done with what comes, the subclasses say: _aio_protocol.py and
_aio_connection.py.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import sys
import threading
from collections import deque
from contextvars import copy_context

from ._aio_hub import Hub, hub_of
from ._aio_sending import Direct, Encoding, Outlet
from ._closing import delivers_rest
from ._engine import Decoder, FrameReader
from ._readiness import READ, WRITE
from ._sockets import FIRST_LOOK, LAST_LOOK, UNIX, is_acknowledged
from ._transport import lost
from .errors import ConnectionLost, FrameError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextvars import Context
    from typing import Any

    from .framing import Framing

CLOSE_TIMEOUT = 5.0
"""How many seconds a close waits for the peer, unless told."""

NO_MEMORY = (errno.ENOBUFS, errno.ENOMEM)
"""What the system says when it has none just now: the stream goes on."""

_SHARED_BYTES = 320 * 1024
"""More than asyncio decrypts at once: TLS that ends while it fills a buffer to the brim drops the rest."""
_CHUNK = 64 * 1024
_MOST_CHUNKS = 256
"""How much is read at most of what a lost connection, or one that closes, has left in the kernel."""


class _Shared(threading.local):
    """One buffer for all connections of a thread: each takes its bytes out before another one uses it."""

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(_SHARED_BYTES))

    def of(self, size: int) -> memoryview:
        if size > len(self.buffer):
            self.buffer = memoryview(bytearray(size))
        return self.buffer


_shared = _Shared()


def reads_itself(link: Link) -> bool:
    """Whether a hub receives and sends, in the place of the transport, if there can be one.

    That halves what is done for a readiness. TLS has no descriptor to read frames from.
    """
    return not link.is_tls and link.fileno() >= 0


class Link(asyncio.BufferedProtocol, asyncio.Protocol):
    """What the transport calls. asyncio sees a BufferedProtocol, uvloop a Protocol: each is the faster one there."""

    transport: Any
    loop: asyncio.AbstractEventLoop
    context: Context
    """What callbacks run in."""
    send_framing: Framing
    """Of the frames sent."""
    error: BaseException | None = None
    """What the connection has ended in, unless that is its normal end."""
    broken: OSError | None = None
    """What a send past the transport has found."""
    is_tls = False
    hub: Hub | None = None
    """What receives and sends; None: the transport does."""
    number = -1
    """The descriptor that it watches."""
    stream: Any
    """The FrameReader of that, or the Decoder that is fed."""
    gathers_lists = False
    """Whether what write_many is given in a turn of the hub is sent at its end."""
    plain = False
    """Whether frames can be handed over with nothing else to be seen to."""
    ended = False
    """Whether the peer has ended its sending."""
    closing = False
    """Whether the connection is being closed here: what still comes is thrown away."""
    lost = False
    """Whether the transport is done with it."""
    held = 0
    """The reasons for which nothing is received."""
    _is_watched = False
    _wants = 0
    _is_at_end = False
    _deadline: float | None = None
    _timer: asyncio.TimerHandle | None = None
    _gone: asyncio.Future[None] | None = None
    outlet: Outlet = Outlet()
    """What sends."""

    # --- What subclasses do

    def bytes_received(self, data: bytes | memoryview) -> None:
        """The transport has received these; `data` is valid in this call only."""
        raise NotImplementedError

    hand: Callable[[list[bytes]], object]
    """Takes frames that the hub has received."""

    def failed(self, error: BaseException) -> None:
        """`hand` has raised."""
        raise error

    def received(self, what: list[bytes] | Exception) -> None:
        """The hub has: these frames, or what the stream has ended in."""
        raise NotImplementedError

    def kept(self) -> None:
        """The transport has received before the hub did, and the reader holds that."""
        raise NotImplementedError

    receive: Callable[[], list[bytes]]
    """Receives from the descriptor, once."""

    def stream_ended(self) -> bool:
        """The peer has ended its sending: whether the connection stays open for ours."""
        raise NotImplementedError

    def rest_received(self) -> None:
        """The connection is lost: take what it had received nevertheless."""
        for data in self.rest():
            self.bytes_received(data)

    def over(self) -> None:
        """The transport is done, `error` says why."""
        raise NotImplementedError

    # --- What the transport calls

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.loop = asyncio.get_running_loop()
        self.is_tls = transport.get_extra_info("sslcontext") is not None
        self.context = copy_context()

    def open(self, framing: Framing, protocol: asyncio.BaseProtocol) -> None:
        """Choose what receives and sends. protocol: whose pause_writing and resume_writing are called."""
        hub = hub_of(self.loop) if reads_itself(self) else None
        if hub is None:
            self.stream = Decoder(framing)
            self.outlet = Encoding(self.transport, self.send_framing)
            return
        self.hub, self.number = hub, self.fileno()
        self.stream = FrameReader(self.number, framing)
        self.outlet = Direct(
            hub,
            self.loop,
            self.number,
            self.send_framing,
            protocol,
            self._watch_writing,
            self._break,
            self.gathers_lists,
        )
        hub.add(self, self.number, self.stream)
        self._wants = READ
        self.transport.pause_reading()
        # uvloop begins to read behind connection_made, whatever was said there.
        self.loop.call_soon(self._begin)

    def _begin(self) -> None:
        if self.lost or self.transport.is_closing():
            return
        self._is_watched = True
        if not self.closing:
            self.transport.pause_reading()
            if self.stream.buffered:
                self.kept()
        self._watch(self._wants)

    # --- What the hub calls

    def ready(self, what: list[bytes] | Exception | None, event: int) -> None:
        """So the poller says of the descriptor: what was read, or which event there is."""
        if self.lost or self.broken is not None:
            return
        if what is None:
            if event & ~READ and self._wants & WRITE:
                self.outlet.writable()
            if not event & ~WRITE or not self._wants & READ:
                return
            try:
                what = self.receive()
            except Exception as error:
                what = error
        if not self.closing:
            self.received(what)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _shared.of(sizehint + _CHUNK)

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(_shared.buffer[:nbytes])

    def data_received(self, data: bytes | memoryview) -> None:
        if self.closing:
            pass
        elif self.hub is None:
            self.bytes_received(data)
        else:
            self.stream._push(deque((bytes(data),)))

    def eof_received(self) -> bool:
        if self.hub is not None and not self.closing:
            return True  # the hub will see it too
        if self.closing:
            self.ended = True
            return self.outlet.pending > 0  # `_look` closes it then
        if self.is_tls and not self._is_notified():
            self.error = ConnectionLost(errno.EPROTO, "TLS ended without a close_notify")
            return False
        self.ended = True
        # TLS in a loop has no half-close.
        return self.stream_ended() and not self.is_tls

    def connection_lost(self, exc: Exception | None) -> None:
        exc = exc or self.broken
        if self.error is None and not self.closing:
            if exc is not None:
                self.end_in(exc)
            elif self.is_tls and not self.ended:
                self.error = ConnectionLost(errno.EPROTO, "TLS ended without a close_notify")
        self.lost = True
        self.plain = False
        self.outlet.stop()
        if self.hub is not None:
            self.hub.remove(self, self.number)
        if self._timer is not None:
            self._timer.cancel()
        self.over()
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def end_in(self, error: BaseException) -> None:
        """The connection is lost by this. What had been received before is taken."""
        if not self.ended and not self.is_tls:
            self.held = 0
            number = getattr(error, "errno", None) or errno.ECONNABORTED
            if self.hub is None:
                self.rest_received()
            else:
                self._fetch_rest()
            # Behind any other error the system's next answer is an end too, whatever the peer has sent.
            self.ended = self._is_at_end and number == errno.EPIPE
            if self.hub is not None:
                if not self.ended:
                    self.stream._lose(number)
                self.rest_received()
        if self.error is None:
            self.error = lost_error(error)

    def _is_notified(self) -> bool:
        """Whether TLS has been ended by the peer, and not by somebody who has cut the connection."""
        try:
            self.transport.get_extra_info("ssl_object").read(1)
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError:
            pass
        return True

    # --- Pauses. Each has a reason, and reading goes on when none is left.

    def pause(self, reason: int) -> None:
        """Let nothing be received any more."""
        if not self.held:
            self.stop_reading()
        self.held |= reason

    def resume(self, reason: int) -> None:
        """Take a reason to pause away."""
        if self.held & reason:
            self.held &= ~reason
            if not self.held and not self.closing and not self.lost:
                self.start_reading()

    def stop_reading(self) -> None:
        if self.hub is None:
            self.transport.pause_reading()
        else:
            self._watch(self._wants & ~READ)

    def start_reading(self) -> None:
        if self.ended:
            pass
        elif self.hub is None:
            self.transport.resume_reading()
        else:
            self._watch(self._wants | READ)

    def _watch_writing(self, on: bool) -> None:
        self._watch(self._wants | WRITE if on else self._wants & ~WRITE)

    def _watch(self, wants: int) -> None:
        """Have the hub wait for this."""
        self._wants = wants
        if self._is_watched and self.hub is not None and not self.lost:
            try:
                self.hub.watch(self, self.number, wants)
            except OSError as error:
                self._break(error)

    # --- The end

    def close(self, timeout: float | None) -> None:
        """Send what is queued, tell the peer the end, and close once all has arrived, or the peer ends, or time is up."""
        if self.closing or self.lost:
            self.closing = True
            return
        self.closing = True
        self.plain = False
        self._deadline = None if timeout is None else self.loop.time() + timeout
        if not self.transport.is_closing() and not self.ended:
            self.stop_reading()
            self.transport.resume_reading()
            if self.transport.can_write_eof():
                self.outlet.after(self._end_sending)
        self._look(FIRST_LOOK)

    def abort(self) -> None:
        """Close at once and drop everything. A TCP peer sees a reset."""
        if self.lost:
            self.closing = True
            return
        self.closing = True
        self.plain = False
        self.outlet.stop()
        self._reset()
        self.transport.abort()

    async def gone(self) -> None:
        """Wait until the transport is done; not if the loop was closed under it."""
        if not self.lost and not self.loop.is_closed():
            if self._gone is None:
                self._gone = self.loop.create_future()
            await asyncio.shield(self._gone)

    def _fetch_rest(self) -> None:
        self.stream._patient = True
        for _ in range(_MOST_CHUNKS):
            try:
                more = self.stream._fetch()
            except OSError:
                return
            if not more:
                self._is_at_end = self.stream._at_eof
                return

    def rest(self) -> Iterator[bytes]:
        """What the kernel has received and nobody has read, of a transport that reads no more."""
        number = self.fileno()
        if number < 0 or os.name == "nt":
            return
        for _ in range(_MOST_CHUNKS):
            try:
                data = os.read(number, _CHUNK)
            except OSError:
                return
            if not data:
                self._is_at_end = True
                return
            yield data

    def fileno(self) -> int:
        """The socket's descriptor, -1 if there is none. It is the transport's, and valid until connection_lost is over."""
        sock = None if self.lost else self.transport.get_extra_info("socket")
        return -1 if sock is None else int(sock.fileno())

    def _break(self, error: OSError) -> None:
        """Nothing can be sent any more. What came is received before connection_lost tells."""
        self.broken = error
        self.transport.abort()

    def _end_sending(self) -> None:
        if self.lost or self.transport.is_closing():
            return
        try:
            self.transport.write_eof()
        except OSError:
            pass  # a reset, of which reading will tell

    def _look(self, pause: float) -> None:
        """See how far the close is, now and later."""
        transport = self.transport
        if self.lost:
            return
        held = self.outlet.pending
        sent = not held and not transport.get_write_buffer_size()
        if not transport.is_closing() and not held and (self.ended or (sent and self._has_arrived())):
            transport.close()
        left = None if self._deadline is None else self._deadline - self.loop.time()
        if left is not None and left <= 0:
            if sent and not self.is_tls:
                transport.close()
            else:
                if not sent and delivers_rest(self.send_framing):
                    self._reset()  # or the peer would take the cut frame for a whole one
                transport.abort()
            return
        pause = pause if left is None else min(pause, left)
        self._timer = self.loop.call_later(pause, self._look, min(2 * pause, LAST_LOOK))

    def _has_arrived(self) -> bool:
        """Whether the peer's system has all that the kernel was given; False where that can't be known."""
        number, sock = self.fileno(), self.transport.get_extra_info("socket")
        if number < 0:
            return True
        if sock.family == UNIX:
            # What a unix socket sent has arrived. Left unread, what comes now would make its close a reset.
            if not self.is_tls:
                _shut(number)
                for _ in self.rest():
                    pass
            return True
        if sys.platform != "linux":
            return self.is_tls
        return is_acknowledged(number)

    def _reset(self) -> None:
        """Make the close a reset, if there is such a thing."""
        sock = None if self.lost else self.transport.get_extra_info("socket")
        if sock is None:
            return
        width = 2 if sys.platform == "win32" else 4
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, (1).to_bytes(width, sys.byteorder) + bytes(width))
        except OSError:
            pass


def lost_error(error: BaseException) -> ConnectionLost:
    """The ConnectionLost of what a transport has ended in."""
    if isinstance(error, ssl.SSLError):
        found = ConnectionLost(errno.EPROTO, str(getattr(error, "reason", None) or error))
    elif isinstance(error, OSError) and error.errno is not None:
        found = ConnectionLost(*lost(error))
    else:
        number = errno.ECONNRESET if isinstance(error, ConnectionError) else errno.EIO
        found = ConnectionLost(number, str(error) or os.strerror(number))
    found.__cause__ = error
    return found


def again(error: BaseException) -> BaseException:
    """What to raise for an error that stays: an equal, fresh one."""
    return error._again() if isinstance(error, FrameError) else error


def _shut(number: int) -> None:
    """Shut a socket down, in both directions."""
    sock = socket.socket(fileno=number)
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    finally:
        sock.detach()
