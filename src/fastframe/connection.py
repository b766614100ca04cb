"""A blocking connection: frames in, frames out, over whatever carries bytes, each call with a deadline.

A thin face: it waits, keeps the time, lets users in one at a time, and closes without
losing what was sent. Every byte is parsed and framed by the engine. Its halves are in
_receiving.py and _sending.py; what it stands on, in _transport.py.

All timeouts are seconds of one monotonic deadline for the whole call, the wait for
another thread's send included. None waits for ever, 0 only tries.
"""

from __future__ import annotations

import sys
import warnings
from collections import deque, namedtuple
from functools import partial

from ._calls import OWN
from ._closing import settle
from ._deadline import deadline_in, remaining, seconds
from ._engine import FrameReader, FrameWriter
from ._fork import tell
from ._gate import Gate
from ._receiving import Receiving
from ._sending import Sending
from ._sockets import opened, places
from ._sources import transport_of
from ._transport import Absent, SocketTransport
from ._watch import Watch
from .framing import Framing

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from ssl import SSLContext
    from types import TracebackType
    from typing import Any, NoReturn, Self

    from ._fds import Passing
    from .stats import Stats

    Address = (
        tuple[str | bytes | None, int | str]
        | tuple[str | bytes | None, int | str, int, int]
        | str
        | bytes
        | os.PathLike[str]
        | os.PathLike[bytes]
    )

__all__ = ["Connection", "ConnectionStats", "connect", "wrap"]

CLOSE_TIMEOUT = 5.0
"""How many seconds `close` waits for the peer, unless told."""


class ConnectionStats(namedtuple("ConnectionStats", ["received", "sent"])):
    """What a connection has carried so far: a Stats for each direction."""

    __slots__ = ()

    received: Stats
    sent: Stats


def connect(
    address: Address,
    framing: Framing,
    *,
    ssl: SSLContext | None = None,
    server_hostname: str | None = None,
    timeout: float | None = None,
    send_framing: Framing | None = None,
    readahead: bool = True,
    frame_timeout: float | None = None,
    idle_timeout: float | None = None,
) -> Connection:
    """Open a connection: to (host, port) by TCP, to a str or path by a unix socket.

    ssl: the context for TLS, as ssl.create_default_context() makes one. None: no TLS.
    server_hostname: what the server's certificate must show; the address's host if not given.
    timeout: seconds for the connect and TLS's handshake, the lookup of the host's name excluded, and the default
        of every later call. All addresses of the host are tried, and share it.

    Raises the OSError of the last attempt (ssl.SSLError is one), or FrameTimeout when the time is up. The other
    parameters are those of `wrap`.
    """
    for given in (framing, framing if send_framing is None else send_framing):
        if not isinstance(given, Framing):
            raise TypeError(f"a Framing is needed, not {type(given).__name__}")
    Watch(frame_timeout, idle_timeout)
    if ssl is None and server_hostname is not None:
        raise ValueError("server_hostname is for TLS: give ssl a context")
    timeout = seconds(timeout)
    todo = places(address)
    deadline = deadline_in(timeout)
    while True:
        place = todo.pop(0)
        left = remaining(deadline)
        try:
            sock = opened(place, deadline_in(None if left is None else left / (len(todo) + 1)))
            break
        except OSError:
            if not todo:
                raise
    try:
        if ssl is not None:
            from ._tls import handshaken

            if server_hostname is None and isinstance(address, tuple) and address[0]:
                host = address[0]
                server_hostname = host if isinstance(host, str) else host.decode("ascii")
            sock = handshaken(sock, ssl, server_hostname, deadline)
        sock.settimeout(timeout)
        return Connection(
            sock,
            framing,
            send_framing=send_framing,
            readahead=readahead,
            timeout=timeout,
            frame_timeout=frame_timeout,
            idle_timeout=idle_timeout,
        )
    except BaseException:
        sock.close()
        raise


def wrap(
    source: Any,
    framing: Framing,
    *,
    writer: Any = None,
    send_framing: Framing | None = None,
    readahead: bool = True,
    timeout: float | None = OWN,
    frame_timeout: float | None = None,
    idle_timeout: float | None = None,
) -> Connection:
    """Make a stream of bytes a connection, which owns it from now on.

    source: a connected stream socket (TCP, unix, one of a socketpair, gevent's too); an ssl.SSLSocket; the int of a
        descriptor (pipe, FIFO, terminal, socket); a binary file object; a connection of multiprocessing.
    writer: what to write to, if that is another descriptor or file than `source`.
    framing: of the frames received; also of those sent, unless `send_framing` says otherwise.
    readahead: False never takes a byte beyond the frame that is delivered, so that the
        source can be handed over between two frames.
    timeout: the default of every later call, in seconds; if not given, the socket's own. A file object without a
        descriptor of its own can't be waited for: its read and write take the time they take.
    frame_timeout: seconds from a frame's first byte to its last; a receive raises FrameTimeout when they are over,
        the next one too if the frame still isn't whole.
    idle_timeout: seconds in which no byte is received or sent; a receive that still gets none raises FrameTimeout.

    TCP_NODELAY is switched on. An SSLSocket is made nonblocking, and stays so until `detach`; no other source's
    O_NONBLOCK is changed. TLS that ends without a close_notify ends normally only if the SSLSocket's suppress_ragged_eofs is
    set, and no frame is made whole by the end; else it is ConnectionLost.

    Raises TypeError or ValueError for what can't carry frames; it stays the caller's then.
    """
    return Connection(
        source,
        framing,
        writer=writer,
        send_framing=send_framing,
        readahead=readahead,
        timeout=timeout,
        frame_timeout=frame_timeout,
        idle_timeout=idle_timeout,
    )


class Connection(Receiving, Sending):
    """Frames over a stream of bytes. `connect` and `wrap` make one.

    For one user at a time in each direction: a second receive raises ConcurrentUse; sends
    of several threads queue up, whole frame by whole frame; a signal handler that sends
    inside a send of its own thread gets ConcurrentUse. While a send waits, nobody reads:
    where both sides send much at once, receive in another thread.

    A receive raises FrameTimeout when the time is up, and nothing is lost: call again. It raises
    ConnectionClosed at the stream's normal end, TruncatedFrame, InvalidFrame or ConnectionLost
    at another, each after every complete frame. The two directions fail separately.
    Exceptions of signal handlers pass unchanged through every call. A receive may then be repeated; of a send, `stats` tells
    whether the frame counts as sent. One that breaks off a call inside TLS or a file object ends that direction.

    Once closed, every call raises ValueError; one that waits in another thread, ConnectionClosed.
    A direction that the source doesn't have is a ValueError. In a child process after a fork,
    a connection with readahead raises ConcurrentUse; one without goes on there, unless some of
    a frame is held: closing it then says nothing to the peer.
    """

    def __init__(
        self,
        source: Any,
        framing: Framing,
        *,
        writer: Any = None,
        send_framing: Framing | None = None,
        readahead: bool = True,
        timeout: float | None = OWN,
        frame_timeout: float | None = None,
        idle_timeout: float | None = None,
    ) -> None:
        if "_gate" in self.__dict__:
            raise TypeError("Connection.__init__() has been called already")
        send_framing = framing if send_framing is None else send_framing
        for given in (framing, send_framing):
            if not isinstance(given, Framing):
                raise TypeError(f"a Framing is needed, not {type(given).__name__}")
        if timeout is not OWN:
            timeout = seconds(timeout)
        self._watch = Watch(frame_timeout, idle_timeout)
        self._reads_ahead = bool(readahead)
        self._half_closed = False
        self._passing: Passing | None = None
        transport = self._transport = transport_of(source, writer)
        try:
            self._timeout = transport.timeout if timeout is OWN else timeout
            self._reader: Any = Absent(framing, "received")
            if transport.receiving is not None:
                self._reader = FrameReader(transport.receiving, framing, readahead=self._reads_ahead)
                transport.expect(framing)
            self._writer: Any = Absent(send_framing, "sent")
            if transport.sending is not None:
                self._writer = FrameWriter(transport.sending, send_framing, max_pending=sys.maxsize)
                self._writer._waits = transport.may_wait_to_send
            self._frames = self._reader._incoming()
            self._ready = self._reader._ready()
            self._find_patience()
            if ahead := transport.take_over():
                self._reader._push(deque([ahead]))
            gate = Gate(transport, self._reader, self._writer)
            tell(self)
        except BaseException:
            transport.release()
            raise
        self._gate = gate

    def close(self, timeout: float | None = CLOSE_TIMEOUT) -> None:
        """Flush, tell the peer the end, and close, so that a peer that reads gets all that was sent.

        Discards what still comes until everything is acknowledged (where the system can tell), or the peer
        ends too, or `timeout` is over. Another thread's send is told by ConnectionClosed; what it has
        begun is finished. A second close does nothing.

        OSError if the system's own close fails, as that of a file on a network may; it is closed nevertheless.
        """
        try:
            self._gate.close(deadline_in(seconds(timeout)), self._settle)
        finally:
            self._drop_fds()

    def abort(self) -> None:
        """Close at once and drop everything: what was sent too, unless it has arrived. A TCP peer sees a reset.

        OSError as by `close`.
        """
        if not self._gate.closed and not self._gate.is_inherited:
            self._transport.reset()
        try:
            self._gate.abort()
        finally:
            self._drop_fds()

    def detach(self) -> Any:
        """Give the source back, open and as it was, and end this connection: what was wrapped, a pair as a tuple.

        None stands for a writer that shutdown_send has closed.

        ValueError if that would lose bytes: received ones are taken by unread(), those to be sent go by flush().
        ConcurrentUse if another thread is inside.
        """
        source = self._gate.detach(self._check_nothing_held)
        self._drop_fds()
        return source

    @property
    def closed(self) -> bool:
        """Whether close, abort or detach was called."""
        return self._gate.is_closed

    @property
    def timeout(self) -> float | None:
        """The default of every call's timeout, in seconds; None waits for ever."""
        return self._timeout

    @timeout.setter
    def timeout(self, timeout: float | None) -> None:
        self._timeout = seconds(timeout)
        self._find_patience()

    @property
    def frame_timeout(self) -> float | None:
        """Seconds from a frame's first byte to its last; None: as many as it takes."""
        return self._watch.frame

    @frame_timeout.setter
    def frame_timeout(self, timeout: float | None) -> None:
        self._watch.frame = seconds(timeout)
        self._find_patience()

    @property
    def idle_timeout(self) -> float | None:
        """Seconds in which something has to be received or sent; None: nothing has to be."""
        return self._watch.idle

    @idle_timeout.setter
    def idle_timeout(self, timeout: float | None) -> None:
        self._watch.idle = seconds(timeout)
        self._find_patience()

    @property
    def stats(self) -> ConnectionStats:
        """Frames, bytes and errors: received and sent."""
        return ConnectionStats(self._reader.stats, self._writer.stats)

    @property
    def local_address(self) -> Any:
        """This end's address, as socket.getsockname gives it; ValueError for what isn't a socket."""
        return self._gate.open().local_address()

    @property
    def peer_address(self) -> Any:
        """The other end's address, as socket.getpeername gives it; ValueError for what isn't a socket."""
        return self._gate.open().peer_address()

    def fileno(self) -> int:
        """The descriptor that is received from; -1 if there is none. To wait for a frame, ask poll() before you select."""
        return self._gate.open().fileno()

    def __enter__(self) -> Self:
        self._gate.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close; after an exception without waiting."""
        self.close(CLOSE_TIMEOUT if kind is None else 0)

    def __del__(self) -> None:
        gate = self.__dict__.get("_gate")
        if gate is None:
            return
        if gate.is_closed:
            if gate.over:
                gate.leave()
            return
        shown = repr(self)
        gate.closed = True
        try:
            if not gate.is_inherited:
                warnings.warn(f"unclosed {shown}", ResourceWarning, stacklevel=2, source=self)
        finally:
            self._transport.close()
            self._drop_fds()

    def __repr__(self) -> str:
        if "_gate" not in self.__dict__:
            return "<Connection without a source>"
        state = "closed" if self._gate.closed else f"descriptor {self._transport.fileno()}"
        return f"<Connection {state}, {self.framing!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Connection can't be copied or pickled")

    # --- Helpers

    def _settle(self, deadline: float | None) -> None:
        settle(self._transport, self._writer, self._gate, deadline)

    def _check_nothing_held(self) -> None:
        """Raise ValueError if something would be lost without this connection."""
        if self._passing is not None:
            self._passing.settle()
        held = self._reader.buffered + self._transport.held
        if held:
            raise ValueError(f"{held} bytes were received and not delivered: take them by unread() first")
        if self._writer.pending:
            raise ValueError(f"{self._writer.pending} bytes have yet to be sent: flush() first")

    def _find_patience(self) -> None:
        self._patient = self._timeout is None and self._transport.may_wait and not self._watch

    def _in_child(self) -> None:
        if "_gate" not in self.__dict__:
            return  # `__init__` isn't through, in a thread that this process doesn't have
        held = self._reader.buffered or self._writer.pending
        if not self._gate.closed:
            self._transport.forked()
        self._gate.forked(usable=not self._reads_ahead and not held and self._transport.is_shareable)

    def _fd_passing(self) -> Passing:
        """What sends and receives descriptors; ValueError if this connection can't."""
        if self._passing is None:
            from ._fds import Passing

            transport = self._transport
            if type(transport) is not SocketTransport or not transport.is_local:
                raise ValueError("descriptors go over a unix socket only")
            self._passing = Passing(transport, self._reader)
            self._frames = self._passing
        return self._passing

    def _look(self) -> Callable[[], int | None]:
        transport = self._transport
        if self._reads_ahead or type(transport) is not SocketTransport or not transport.is_local:
            look: Callable[[], int | None] = self._reader._look
            return look
        # Descriptors may come with the frame.
        return partial(self._fd_passing().look)

    def _drop_fds(self) -> None:
        if self._passing is not None:
            self._passing.drop()
