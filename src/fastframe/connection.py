"""A blocking connection over a socket: frames in, frames out, each call with a deadline.

A thin face: it waits, keeps the time, lets users in one at a time, and closes without
losing what was sent. Every byte is read, parsed and written by the engine.

All timeouts are seconds of one monotonic deadline for the whole call, the wait for
another thread's send included. None waits for ever, 0 only tries.
"""

from __future__ import annotations

import socket
import sys
import warnings
from collections import namedtuple

from ._closing import reset_at_close, settle
from ._deadline import deadline_in, remaining, seconds
from ._engine import FrameReader, FrameWriter, wait
from ._gate import Gate
from ._sockets import no_delay, opened, places, stream_socket
from .errors import ConnectionClosed, ConnectionLost, FrameTimeout, SendInterrupted
from .framing import Framing

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Any, NoReturn, Self, TypeVar

    from typing_extensions import Buffer

    from ._engine import FrameBatch
    from .stats import Stats

    T = TypeVar("T")
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

SLICE_BYTES = 256 * 1024
SLICE_FRAMES = 1024
"""`send_many` takes payloads until it has so many bytes or frames, and sends these together."""


class _Own:
    __slots__ = ()

    def __repr__(self) -> str:
        return "its own"


_OWN: Any = _Own()


class ConnectionStats(namedtuple("ConnectionStats", ["received", "sent"])):
    """What a connection has carried so far: a Stats for each direction."""

    __slots__ = ()

    received: Stats
    sent: Stats


def connect(
    address: Address,
    framing: Framing,
    *,
    timeout: float | None = None,
    send_framing: Framing | None = None,
    readahead: bool = True,
) -> Connection:
    """Open a connection: to (host, port) by TCP, to a str or path by a unix socket.

    timeout: seconds for the connect, the lookup of the host's name excluded, and the default
        of every later call. All addresses of the host are tried, and share it.

    Raises the OSError of the last attempt, or FrameTimeout when the time is up. The other
    parameters are those of `wrap`.
    """
    for given in (framing, framing if send_framing is None else send_framing):
        if not isinstance(given, Framing):
            raise TypeError(f"a Framing is needed, not {type(given).__name__}")
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
        return Connection(sock, framing, send_framing=send_framing, readahead=readahead, timeout=timeout)
    except BaseException:
        sock.close()
        raise


def wrap(
    source: socket.socket,
    framing: Framing,
    *,
    send_framing: Framing | None = None,
    readahead: bool = True,
    timeout: float | None = _OWN,
) -> Connection:
    """Make a connected stream socket (TCP, unix, one of a socketpair) a connection, which owns it from now on.

    framing: of the frames received; also of those sent, unless `send_framing` says otherwise.
    readahead: False never takes a byte beyond the frame that is delivered, so that the
        socket can be handed over between two frames.
    timeout: the default of every later call, in seconds; if not given, the socket's own.

    TCP_NODELAY is switched on. Raises TypeError for what isn't such a socket; it stays the caller's then.
    """
    return Connection(source, framing, send_framing=send_framing, readahead=readahead, timeout=timeout)


class Connection:
    """Frames over a socket. `connect` and `wrap` make one.

    For one user at a time in each direction: a second receive raises ConcurrentUse; sends
    of several threads queue up, whole frame by whole frame; a signal handler that sends
    inside a send of its own thread gets ConcurrentUse. While a send waits, nobody reads:
    where both sides send much at once, receive in another thread.

    A receive raises FrameTimeout when the time is up, and nothing is lost: call again. It raises
    ConnectionClosed at the stream's normal end, TruncatedFrame, InvalidFrame or ConnectionLost
    at another, each after every complete frame. The two directions fail separately.
    Exceptions of signal handlers pass unchanged through every call, which then may be repeated.

    Once closed, every call raises ValueError; one that waits in another thread, ConnectionClosed.
    """

    _gate: Gate

    def __init__(
        self,
        source: socket.socket,
        framing: Framing,
        *,
        send_framing: Framing | None = None,
        readahead: bool = True,
        timeout: float | None = _OWN,
    ) -> None:
        if "_gate" in self.__dict__:
            raise TypeError("Connection.__init__() has been called already")
        sock = stream_socket(source)
        self._timeout = seconds(sock.gettimeout() if timeout is _OWN else timeout)
        self._reader = FrameReader(sock, framing, readahead=bool(readahead))
        self._writer = FrameWriter(sock, framing if send_framing is None else send_framing, max_pending=sys.maxsize)
        self._half_closed = False
        no_delay(sock)
        self._sock = sock
        self._gate = Gate(sock)

    # --- Receiving

    def recv(self, timeout: float | None = _OWN) -> bytes:
        """The next frame."""
        return self._receive(self._reader.read_one, timeout)

    def recv_many(self, timeout: float | None = _OWN) -> list[bytes]:
        """All frames that are there, at least one. (With readahead=False: one.)"""
        return self._receive(self._reader.read, timeout)

    def recv_batch(self, timeout: float | None = _OWN) -> FrameBatch:
        """All frames that are there, at least one, as a FrameBatch."""
        return self._receive(self._reader.read_batch, timeout)

    def __iter__(self) -> Iterator[bytes]:
        """The frames until the stream's normal end; whatever else ends it raises."""
        while True:
            try:
                frame = self.recv()
            except ConnectionClosed:
                return
            yield frame

    def poll(self, timeout: float | None = 0) -> bool:
        """True once a receive would return or raise without waiting, False when the time is up.

        `select` on the descriptor can't tell: frames may have been read already.
        """
        try:
            return self._receive(self._reader._look, timeout)
        except FrameTimeout:
            return False

    @property
    def framing(self) -> Framing:
        """Of the frames received. Assigning it parses anew every byte that isn't delivered yet."""
        return self._reader.framing

    @framing.setter
    def framing(self, framing: Framing) -> None:
        self._gate.receive(self._set_framing, framing, None)

    def unread(self) -> bytes:
        """The bytes that are received and not delivered; the connection forgets them."""
        return self._receive(self._reader.unread, None)

    # --- Sending

    def send(self, payload: Buffer, timeout: float | None = _OWN) -> None:
        """Send one frame, whole; what an interrupted send has left goes first.

        Raises FrameTimeout if none of it was sent: it is forgotten, call again. SendInterrupted
        if some of it was: the rest stays queued, flush() or the next send finishes it. FrameTooLarge,
        ValueError or TypeError for a payload that can't be sent, of which nothing is. An exception
        of a signal handler passes; `pending` then says if the frame is partly sent.
        """
        self._gate.send(self._until(timeout), self._send, payload)

    def send_many(self, payloads: Iterable[Buffer], timeout: float | None = _OWN) -> None:
        """Send a frame for each payload, in slices of up to 1024 frames or 256 KiB.

        A payload that can't be sent, or an exception of the iterable, passes: nothing of its slice
        is sent, but what was before may be. When the time is up: FrameTimeout if nothing was
        taken. Else SendInterrupted, and flush() or the next send finishes what is queued: of a list, or
        any other collection, all the rest; of an iterator, what was taken from it: it can be
        given to send_many again.
        """
        self._gate.send(self._until(timeout), self._send_slices, payloads)

    def flush(self, timeout: float | None = _OWN) -> None:
        """Send what an interrupted send has left. Raises SendInterrupted if some of it is still left."""
        self._gate.send(self._until(timeout), self._flush)

    @property
    def pending(self) -> int:
        """Bytes that an interrupted send has left."""
        return self._writer.pending

    @property
    def send_framing(self) -> Framing:
        """Of the frames sent, from the next send on."""
        return self._writer.framing

    @send_framing.setter
    def send_framing(self, framing: Framing) -> None:
        self._gate.send(self._until(_OWN), self._set_send_framing, framing)

    def shutdown_send(self, timeout: float | None = _OWN) -> None:
        """Flush, then tell the peer that nothing more will come. Receiving goes on; a send is a ValueError."""
        self._gate.send(self._until(timeout), self._shutdown_send)

    # --- The connection itself

    def close(self, timeout: float | None = CLOSE_TIMEOUT) -> None:
        """Flush, tell the peer the end, and close, so that a peer that reads gets all that was sent.

        Discards what still comes until everything is acknowledged (where the system can tell), or the peer
        ends too, or `timeout` is over. Another thread's send is told by ConnectionClosed; what it has
        begun is finished. A second close does nothing.
        """
        self._gate.close(deadline_in(seconds(timeout)), self._settle)

    def abort(self) -> None:
        """Close at once and drop everything: what was sent too, unless it has arrived. A TCP peer sees a reset."""
        if not self._gate.closed:
            reset_at_close(self._sock)
            self._gate.abort()

    @property
    def closed(self) -> bool:
        """Whether close or abort was called."""
        return self._gate.closed

    @property
    def timeout(self) -> float | None:
        """The default of every call's timeout, in seconds; None waits for ever."""
        return self._timeout

    @timeout.setter
    def timeout(self, timeout: float | None) -> None:
        self._timeout = seconds(timeout)

    @property
    def stats(self) -> ConnectionStats:
        """Frames, bytes and errors: received and sent."""
        return ConnectionStats(self._reader.stats, self._writer.stats)

    @property
    def local_address(self) -> Any:
        """This end's address, as socket.getsockname gives it."""
        return self._gate.open().getsockname()

    @property
    def peer_address(self) -> Any:
        """The other end's address, as socket.getpeername gives it."""
        return self._gate.open().getpeername()

    def fileno(self) -> int:
        """The descriptor. To wait for a frame, ask poll() before you select on it."""
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
        if gate is None or gate.closed:
            return
        shown = repr(self)
        gate.closed = True
        try:
            warnings.warn(f"unclosed {shown}", ResourceWarning, stacklevel=2, source=self)
        finally:
            self._sock.close()

    def __repr__(self) -> str:
        if "_gate" not in self.__dict__:
            return "<Connection without a socket>"
        state = "closed" if self._gate.closed else f"descriptor {self._sock.fileno()}"
        return f"<Connection {state}, {self.framing!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Connection can't be copied or pickled")

    # --- Helpers: waiting

    def _until(self, timeout: float | None) -> float | None:
        """The deadline of a call that begins now."""
        return deadline_in(self._timeout if timeout is _OWN else seconds(timeout))

    def _wait(self, for_write: bool, deadline: float | None) -> bool:
        """Wait until the socket is ready: True. False when the time is up."""
        left = remaining(deadline)
        if left == 0:
            return False
        number = self._sock.fileno()
        if number < 0:
            raise ValueError("connection is closed: somebody else has closed its socket")
        ready = wait(number, for_write, left)
        self._gate.check()
        return ready

    def _receive(self, read: Callable[[], T | None], timeout: float | None) -> T:
        """What `read` gives, once it gives something."""
        got: T = self._gate.receive(self._receiver, read, self._until(timeout))
        return got

    def _receiver(self, read: Callable[[], T | None], deadline: float | None) -> T:
        while True:
            # A signal handler may raise behind any call, and what the call gave would be lost. Not so in a for
            # loop: nothing comes between the iterator's step and the return, nor in the frames that return it.
            for got in iter(read, None):
                if got or got == b"":
                    return got
                break
            if not self._wait(False, deadline):
                raise FrameTimeout("no whole frame in time")

    def _set_framing(self, framing: Framing, deadline: float | None) -> None:
        self._reader.framing = framing

    # --- Helpers: sending. Only the one who sends calls them.

    def _send(self, deadline: float | None, payload: Buffer) -> None:
        if not self._put(deadline, self._writer.write, payload):
            if self._writer._withdraw():
                raise FrameTimeout("the frame can't be sent in time")
            raise SendInterrupted(self._writer.pending)

    def _send_slices(self, deadline: float | None, payloads: Iterable[Buffer]) -> None:
        writer, slices = self._writer, _Slices(payloads)
        first = True
        while not slices.done:
            sent = self._put(deadline, writer.write_many, slices.take())
            if not sent or (remaining(deadline) == 0 and not slices.done):
                break
            first = False
        else:
            return
        if slices.repeatable:
            if first and not sent and writer._withdraw():
                raise FrameTimeout("the frames can't be sent in time")
            while not slices.done:
                sent = writer.write_many(slices.take())
        if not sent or not slices.done:
            raise SendInterrupted(writer.pending)

    def _put(self, deadline: float | None, write: Callable[[Any], bool], what: object) -> bool:
        """Write, and wait until all of it is sent: True. False when the time is up and some of it is queued."""
        if self._half_closed:
            raise ValueError("sending is shut down")
        writer = self._writer
        before = writer.stats.frames if writer.pending else -1
        try:
            return write(what) or self._drain(deadline)
        except BaseException:
            # Only what this call has queued may be withdrawn, not the rest of an earlier one.
            if writer.error is None and writer.stats.frames != before:
                writer._withdraw()
            raise

    def _drain(self, deadline: float | None) -> bool:
        """Wait until nothing is queued: True. False when the time is up."""
        while self._wait(True, deadline):
            if self._writer.flush():
                return True
        return False

    def _flush(self, deadline: float | None) -> None:
        if not self._writer.flush() and not self._drain(deadline):
            raise SendInterrupted(self._writer.pending)

    def _set_send_framing(self, deadline: float | None, framing: Framing) -> None:
        self._writer.framing = framing

    def _shutdown_send(self, deadline: float | None) -> None:
        if self._half_closed:
            return
        self._flush(deadline)
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise ConnectionLost(*error.args) from error
        self._half_closed = True

    def _settle(self, deadline: float | None) -> None:
        settle(self._sock, self._writer, self._gate, deadline)


class _Slices:
    """An iterable's payloads, as many at a time as go out together."""

    def __init__(self, payloads: Iterable[Buffer]) -> None:
        self._rest = iter(payloads)
        self.repeatable = self._rest is not payloads
        self.done = False

    def take(self) -> Iterator[bytes]:
        """The next slice."""
        size = 0
        for count, payload in enumerate(self._rest, 1):
            if type(payload) is not bytes:
                # The iterable may use the same memory for its next payload.
                payload = memoryview(payload).tobytes()
            yield payload
            size += len(payload)
            if size >= SLICE_BYTES or count >= SLICE_FRAMES:
                return
        self.done = True
