"""A blocking connection over a socket: frames in, frames out, each call with a deadline.

A thin face: it waits, keeps the time, lets users in one at a time, and closes without
losing what was sent. Every byte is read, parsed and written by the engine. A socket's
O_NONBLOCK is never changed, unless `connect` opened it.

All timeouts are seconds of one monotonic deadline for the whole call, the wait for
another thread's send included. None waits for ever, 0 only tries.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
import warnings
from collections import namedtuple
from time import monotonic, sleep

from ._engine import FrameReader, FrameWriter, wait
from .errors import ConcurrentUse, ConnectionClosed, ConnectionLost, FrameError, FrameTimeout, SendInterrupted
from .framing import Framing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Any, NoReturn, ParamSpec, Self, TypeVar

    from typing_extensions import Buffer

    from ._engine import FrameBatch
    from .stats import Stats

    P = ParamSpec("P")
    T = TypeVar("T")
    TcpAddress = tuple[str | bytes | None, int | str] | tuple[str | bytes | None, int | str, int, int]

__all__ = ["Connection", "ConnectionStats", "connect", "wrap"]

CLOSE_TIMEOUT = 5.0
"""How many seconds `close` waits for the peer, unless told."""

SLICE_BYTES = 256 * 1024
SLICE_FRAMES = 1024
"""`send_many` takes payloads until it has so many bytes or frames, and sends these together."""

# While something is waited for that the kernel doesn't announce, it is looked at after these many seconds.
_FIRST_LOOK, _LAST_LOOK = 0.0005, 0.05

_DISCARD = 64 * 1024
_DISCARDS = 16

_UNIX = getattr(socket, "AF_UNIX", None)
_INTERNET = (socket.AF_INET, socket.AF_INET6)
_DONTWAIT = getattr(socket, "MSG_DONTWAIT", 0)
_UNDER_WAY = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR, getattr(errno, "WSAEWOULDBLOCK", errno.EINPROGRESS))


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
    address: TcpAddress | str | bytes | os.PathLike[str] | os.PathLike[bytes],
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
    _check_framing(framing, send_framing)
    seconds = _seconds(timeout)
    places = _places(address)
    deadline = None if seconds is None else monotonic() + seconds
    while True:
        family, protocol, place = places.pop(0)
        share = deadline
        if deadline is not None and places:
            share = deadline - (deadline - monotonic()) * len(places) / (len(places) + 1)
        sock = None
        try:
            sock = socket.socket(family, socket.SOCK_STREAM, protocol)
            _establish(sock, place, share)
            return Connection(sock, framing, send_framing=send_framing, readahead=readahead, timeout=seconds)
        except BaseException as error:
            if sock is not None:
                sock.close()
            if not places or not isinstance(error, OSError):
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

    # True until there is something to close, for __del__.
    _closed = True

    def __init__(
        self,
        source: socket.socket,
        framing: Framing,
        *,
        send_framing: Framing | None = None,
        readahead: bool = True,
        timeout: float | None = _OWN,
    ) -> None:
        if "_sock" in self.__dict__:
            raise TypeError("a Connection can't be initialised twice")
        _check_framing(framing, send_framing)
        sock = _stream_socket(source)
        self._timeout = _seconds(sock.gettimeout() if timeout is _OWN else timeout)
        self._reader = FrameReader(sock, framing, readahead=bool(readahead))
        self._writer = FrameWriter(sock, framing if send_framing is None else send_framing, max_pending=sys.maxsize)
        # Who is inside: a flag for the one who receives, a lock for those who send. A signal handler may
        # raise behind any call, so neither is ever taken by a call whose result has yet to be noted.
        self._receiving = False
        self._sending = threading.RLock()
        self._half_closed = False
        if sock.family in _INTERNET:
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:
                pass  # not TCP, or reset already, which the first call will tell
        self._sock = sock
        self._closed = False

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
            return self._receive(self._look, timeout)
        except FrameTimeout:
            return False

    @property
    def framing(self) -> Framing:
        """Of the frames received. Assigning it parses anew every byte that isn't delivered yet."""
        return self._reader.framing

    @framing.setter
    def framing(self, framing: Framing) -> None:
        self._alone(setattr, self._reader, "framing", framing)

    def unread(self) -> bytes:
        """The bytes that are received and not delivered; the connection forgets them."""
        return self._alone(self._reader.unread)

    # --- Sending

    def send(self, payload: Buffer, timeout: float | None = _OWN) -> None:
        """Send one frame, whole; what an interrupted send has left goes first.

        Raises FrameTimeout if none of it was sent: it is forgotten, call again. SendInterrupted
        if some of it was: the rest stays queued, flush() or the next send finishes it. FrameTooLarge,
        ValueError or TypeError for a payload that can't be sent, of which nothing is. An exception
        of a signal handler passes; `pending` then says if the frame is partly sent.
        """
        self._as_sender(self._until(timeout), self._send, payload)

    def send_many(self, payloads: Iterable[Buffer], timeout: float | None = _OWN) -> None:
        """Send a frame for each payload, in slices of up to 1024 frames or 256 KiB.

        A payload that can't be sent, or an exception of the iterable, passes: nothing of its slice
        is sent, but what was before may be. When the time is up: FrameTimeout if nothing was
        taken. Else SendInterrupted, and flush() or the next send finishes what is queued: of a list, or
        any other collection, all the rest; of an iterator, what was taken from it: it can be
        given to send_many again.
        """
        self._as_sender(self._until(timeout), self._send_slices, payloads)

    def flush(self, timeout: float | None = _OWN) -> None:
        """Send what an interrupted send has left. Raises SendInterrupted if some of it is still left."""
        self._as_sender(self._until(timeout), self._flush)

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
        self._as_sender(self._until(_OWN), self._set_send_framing, framing, even_half_closed=True)

    def shutdown_send(self, timeout: float | None = _OWN) -> None:
        """Flush, then tell the peer that nothing more will come. Receiving goes on; a send is a ValueError."""
        self._as_sender(self._until(timeout), self._shutdown_send, even_half_closed=True)

    # --- The connection itself

    def close(self, timeout: float | None = CLOSE_TIMEOUT) -> None:
        """Flush, tell the peer the end, and close, so that a peer that reads gets all that was sent.

        Discards what still comes until everything is acknowledged (where the system can tell), or the peer
        ends too, or `timeout` is over. A second close does nothing.
        """
        seconds = _seconds(timeout)
        if self._closed:
            return
        self._closed = True
        try:
            self._settle(None if seconds is None else monotonic() + seconds)
        finally:
            self._wake()
            self._release()

    def abort(self) -> None:
        """Close at once and drop everything: what was sent too, unless it has arrived. TCP peers see a reset."""
        if self._closed:
            return
        self._closed = True
        self._reset()
        self._wake(abort=True)
        self._release()

    @property
    def closed(self) -> bool:
        """Whether close or abort was called."""
        return self._closed

    @property
    def timeout(self) -> float | None:
        """The default of every call's timeout, in seconds; None waits for ever."""
        return self._timeout

    @timeout.setter
    def timeout(self, timeout: float | None) -> None:
        self._timeout = _seconds(timeout)

    @property
    def stats(self) -> ConnectionStats:
        """Frames, bytes and errors: received and sent."""
        return ConnectionStats(self._reader.stats, self._writer.stats)

    @property
    def local_address(self) -> Any:
        """This end's address, as socket.getsockname gives it."""
        return self._open().getsockname()

    @property
    def peer_address(self) -> Any:
        """The other end's address, as socket.getpeername gives it."""
        return self._open().getpeername()

    def fileno(self) -> int:
        """The descriptor. To wait for a frame, ask poll() before you select on it."""
        return self._open().fileno()

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close; after an exception without waiting."""
        self.close(CLOSE_TIMEOUT if kind is None else 0)

    def __del__(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
        finally:
            self._sock.close()

    def __repr__(self) -> str:
        if "_sock" not in self.__dict__:
            return "<Connection without a socket>"
        state = "closed" if self._closed else f"descriptor {self._sock.fileno()}"
        return f"<Connection {state}, {self.framing!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Connection can't be copied or pickled")

    # --- Helpers: one user at a time, deadlines

    def _open(self) -> socket.socket:
        """The socket, if it isn't closed."""
        if self._closed:
            raise ValueError("connection is closed")
        return self._sock

    def _until(self, timeout: float | None) -> float | None:
        """The deadline of a call that begins now."""
        seconds = self._timeout if timeout is _OWN else _seconds(timeout)
        return None if seconds is None else monotonic() + seconds

    def _wait(self, for_write: bool, deadline: float | None) -> bool:
        """Wait until the socket is ready: True. False when the time is up."""
        remaining = None
        if deadline is not None:
            remaining = deadline - monotonic()
            if remaining <= 0:
                return False
        number = self._sock.fileno()
        if number < 0:
            raise ValueError("connection is closed: somebody else has closed its socket")
        ready = wait(number, for_write, remaining)
        if self._closed:
            raise ConnectionClosed("the connection was closed during the call")
        return ready

    def _receive(self, read: Callable[[], T | None], timeout: float | None) -> T:
        """What `read` gives, once it gives something, as the only one who receives."""
        deadline = self._until(timeout)
        if self._receiving:
            raise ConcurrentUse
        self._receiving = True
        try:
            if self._closed:
                raise ValueError("connection is closed")
            while True:
                got = read()
                if got or got == b"":
                    return got  # type: ignore[return-value]
                if not self._wait(False, deadline):
                    raise FrameTimeout("no whole frame in time")
        finally:
            self._receiving = False
            if self._closed:
                self._release()

    def _look(self) -> bool:
        """Receive what is there and deliver nothing: whether read_one would return or raise."""
        return self._reader._fill()

    def _alone(self, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do something as the only one who receives."""
        if self._receiving:
            raise ConcurrentUse
        self._receiving = True
        try:
            self._open()
            return act(*args, **kwargs)
        finally:
            self._receiving = False
            if self._closed:
                self._release()

    def _as_sender(
        self, deadline: float | None, act: Callable[..., None], *args: object, even_half_closed: bool = False
    ) -> None:
        """Do something as the only one who sends, behind those who came before."""
        sending = self._sending
        if sending._is_owned():  # type: ignore[attr-defined]
            raise ConcurrentUse
        try:
            self._open()
            if not sending.acquire(False):
                if not sending.acquire(timeout=_remaining(deadline)):
                    raise FrameTimeout("another send isn't through in time")
                if self._closed:
                    raise ConnectionClosed("the connection was closed during the call")
            self._open()
            if self._half_closed and not even_half_closed:
                raise ValueError("sending is shut down")
            act(deadline, *args)
        finally:
            try:
                sending.release()
            except RuntimeError:
                pass  # this thread doesn't have it
            if self._closed:
                self._release()

    # --- Helpers: sending. Only the one who sends calls them.

    def _send(self, deadline: float | None, payload: Buffer) -> None:
        if not self._put(deadline, self._writer.write, payload):
            if self._writer._withdraw():
                raise FrameTimeout("the frame can't be sent in time")
            raise SendInterrupted(self._writer.pending)

    def _set_send_framing(self, deadline: float | None, framing: Framing) -> None:
        self._writer.framing = framing

    def _send_slices(self, deadline: float | None, payloads: Iterable[Buffer]) -> None:
        writer = self._writer
        rest = iter(payloads)
        iterator = rest is payloads
        first, late = True, False
        for payloads_of_slice in _slices(rest):
            if late:
                writer.write_many(payloads_of_slice)
                continue
            late = not first and deadline is not None and monotonic() >= deadline
            late |= not self._put(deadline, writer.write_many, payloads_of_slice)
            if late and iterator:
                raise SendInterrupted(writer.pending)
            if late and first and writer._withdraw():
                raise FrameTimeout("the frames can't be sent in time")
            first = False
        if writer.pending:
            raise SendInterrupted(writer.pending)

    def _put(self, deadline: float | None, write: Callable[[Any], bool], what: object) -> bool:
        """Write, and wait until all of it is sent: True. False when the time is up and some of it is queued."""
        writer = self._writer
        before = writer.stats.frames if writer.pending else -1
        try:
            return write(what) or self._drain(deadline)
        except BaseException:
            # Only what this call has queued may be withdrawn, not the rest of an earlier one.
            if writer.stats.frames != before:
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

    def _shutdown_send(self, deadline: float | None) -> None:
        if self._half_closed:
            return
        self._flush(deadline)
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise ConnectionLost(*error.args) from error
        self._half_closed = True

    # --- Helpers: closing

    def _settle(self, deadline: float | None) -> None:
        """Wait until everything has arrived at the peer, or can't, or the time is up."""
        sending = self._sending
        if sending._is_owned():  # type: ignore[attr-defined]
            return  # a signal handler closes inside its own thread's send, which will see that
        try:
            if not sending.acquire(timeout=_remaining(deadline)):
                return
            look = _FIRST_LOOK
            while not self._settled():
                remaining = None if deadline is None else deadline - monotonic()
                if remaining is not None and remaining <= 0:
                    break
                wait(self._sock.fileno(), self._writer.pending > 0, look if remaining is None else min(look, remaining))
                look = min(2 * look, _LAST_LOOK)
            if self._writer.pending and _delivers_rest(self._writer.framing):
                self._reset()  # or the peer would take the cut frame for a whole one
        except (FrameError, OSError):
            pass  # there is nobody to deliver to any more
        finally:
            try:
                sending.release()
            except RuntimeError:
                pass

    def _settled(self) -> bool:
        """Flush, shut down, discard, without waiting; whether nothing can get lost any more by closing."""
        local = self._sock.family == _UNIX
        if self._writer.flush():
            if local:
                # What was sent has arrived. Nothing may come any more, or what is unread would make a reset.
                self._sock.shutdown(socket.SHUT_RDWR)
            elif not self._half_closed:
                self._sock.shutdown(socket.SHUT_WR)
            self._half_closed = True
        ended = local if self._receiving else self._discard()
        return self._half_closed and (ended or _acknowledged(self._sock))

    def _discard(self) -> bool:
        """Throw away what the peer has sent; whether that was all."""
        for _ in range(_DISCARDS):
            if not wait(self._sock.fileno(), False, 0):
                return False
            try:
                if not self._sock.recv(_DISCARD, _DONTWAIT):
                    return True
            except BlockingIOError:
                return False
        return False

    def _wake(self, abort: bool = False) -> None:
        """Make a call return that is still waiting, in another thread or below this one."""
        sender = self._is_sending()
        if sender or self._receiving:
            try:
                # What is aborted must not look ended to the peer, unless that is what it takes to wake a sender.
                self._sock.shutdown(socket.SHUT_RD if abort and not sender else socket.SHUT_RDWR)
            except OSError:
                pass

    def _is_sending(self) -> bool:
        """Whether anybody is inside a send."""
        sending = self._sending
        if sending._is_owned() or not sending.acquire(False):  # type: ignore[attr-defined]
            return True
        sending.release()
        return False

    def _reset(self) -> None:
        """Make the descriptor's close a reset, which drops what isn't delivered."""
        on_for_no_time = b"".join(n.to_bytes(2 if sys.platform == "win32" else 4, sys.byteorder) for n in (1, 0))
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, on_for_no_time)
        except OSError:
            pass

    def _release(self) -> None:
        """Close the descriptor, if nobody is inside; else the last one who leaves does it."""
        sending = self._sending
        if sending._is_owned():  # type: ignore[attr-defined]
            return
        while not self._receiving and sending.acquire(False):
            try:
                if not self._receiving:
                    self._sock.close()
                    return
            finally:
                sending.release()


# --- Helpers: what is checked before anything is done


def _seconds(timeout: Any) -> float | None:
    """A timeout in seconds, checked; None for ever, and for what no clock reaches."""
    if timeout is None:
        return None
    if isinstance(timeout, str | bytes | bool) or not hasattr(timeout, "__float__"):
        raise TypeError(f"timeout must be a number of seconds or None, not {type(timeout).__name__}")
    seconds = float(timeout)
    if not seconds >= 0:
        raise ValueError(f"timeout must be at least 0 seconds, not {timeout}")
    return seconds if seconds < threading.TIMEOUT_MAX else None


def _check_framing(framing: object, send_framing: object) -> None:
    if not isinstance(framing, Framing):
        raise TypeError(f"framing must be a Framing, not {type(framing).__name__}")
    if send_framing is not None and not isinstance(send_framing, Framing):
        raise TypeError(f"send_framing must be a Framing or None, not {type(send_framing).__name__}")


def _stream_socket(source: object) -> socket.socket:
    """The source, if it is a socket that a connection can stand on."""
    if not isinstance(source, socket.socket):
        raise TypeError(f"only sockets can be wrapped for now, not {type(source).__name__}")
    ssl = sys.modules.get("ssl")
    if ssl is not None and isinstance(source, ssl.SSLSocket):
        raise TypeError("TLS sockets can't be wrapped for now, only TCP and unix sockets")
    if source.type != socket.SOCK_STREAM:
        raise TypeError(f"only stream sockets can be wrapped, not {source.type!r}")
    if source.fileno() < 0:
        raise ValueError("the socket is closed")
    return source


def _places(address: Any) -> list[tuple[int, int, Any]]:
    """The (family, protocol, address) that a connect tries, one after the other."""
    if isinstance(address, tuple):
        if len(address) not in (2, 4):
            raise ValueError(f"a TCP address is (host, port), or for IPv6 also with flowinfo and scope: {address!r}")
        host, port, *scope = address
        if isinstance(port, int) and not 0 <= port < 1 << 16:
            raise ValueError(f"port must be 0 to 65535, not {port}")
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        return [
            (family, protocol, (*place[:2], *scope) if scope and family == socket.AF_INET6 else place)
            for family, _, protocol, _, place in found
        ]
    if not isinstance(address, str | bytes | os.PathLike):
        raise TypeError(f"address must be a tuple (host, port) or the path of a unix socket: {type(address).__name__}")
    path = os.fspath(address)
    if isinstance(address, str):
        host, colon, port = address.rpartition(":")
        if colon and port.isascii() and port.isdigit() and "/" not in host and os.sep not in host:
            raise ValueError(f"for TCP, give a tuple: ({host.strip('[]')!r}, {port}); a str is a unix socket's path")
    if _UNIX is None:
        raise OSError(errno.EAFNOSUPPORT, "this platform has no unix sockets: give a tuple (host, port) for TCP")
    return [(_UNIX, 0, path)]


# --- Helpers: the socket


def _establish(sock: socket.socket, place: Any, deadline: float | None) -> None:
    """Connect a socket that is ours alone."""
    sock.setblocking(False)
    look = _FIRST_LOOK
    while True:
        code = sock.connect_ex(place)
        if code != errno.EAGAIN or sock.family != _UNIX:
            break
        # The listener's queue is full, and nothing tells when it isn't any more.
        remaining = look if deadline is None else deadline - monotonic()
        if remaining <= 0:
            raise FrameTimeout("not connected in time")
        sleep(min(look, remaining))
        look = min(2 * look, _LAST_LOOK)
    if code in _UNDER_WAY:
        remaining = None if deadline is None else max(0.0, deadline - monotonic())
        if not wait(sock.fileno(), True, remaining):
            raise FrameTimeout("not connected in time")
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _acknowledged(sock: socket.socket) -> bool:
    """Whether the peer's system has acknowledged everything, the end included; False where that can't be known."""
    if sys.platform != "linux" or sock.family not in _INTERNET:
        return False
    from fcntl import ioctl
    from termios import TIOCOUTQ

    return not any(ioctl(sock.fileno(), TIOCOUTQ, bytes(4)))


# --- Helpers: sending


def _remaining(deadline: float | None) -> float:
    """Seconds until the deadline, as a lock's acquire wants them."""
    return -1 if deadline is None else max(0.0, deadline - monotonic())


def _slices(payloads: Iterator[Buffer]) -> Iterator[list[Buffer]]:
    """The payloads, as many at a time as go out together."""
    some: list[Buffer] = []
    size = 0
    for payload in payloads:
        some.append(payload)
        # What has no length isn't a buffer, which the writer says better.
        size += len(payload) if hasattr(payload, "__len__") else 0
        if size >= SLICE_BYTES or len(some) >= SLICE_FRAMES:
            yield some
            some = []
            size = 0
    if some:
        yield some


def _delivers_rest(framing: Framing) -> bool:
    """Whether a peer takes what comes before the end for a whole frame."""
    try:
        return bool(framing._finish(b"\0"))
    except FrameError:
        return False
