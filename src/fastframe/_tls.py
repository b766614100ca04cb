"""TLS: the bytes of an ssl.SSLSocket, its handshake, and its half-close.

OpenSSL's objects aren't for two threads at once, so every call is made under one lock and none of them waits:
the socket is nonblocking as long as it is wrapped. Either direction may have to wait for the other's event
(a key update, a renegotiation); `wait` does.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import threading

from ._channel import Channel
from ._closing import delivers_rest
from ._deadline import remaining
from ._engine import wait
from ._transport import DONTWAIT, Owned, SocketTransport, lost
from .errors import ConnectionLost, FrameError, FrameTimeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .framing import Framing

_NOTIFY_BYTES = 4096
"""More than a close_notify takes."""

_NOSIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)


def handshaken(sock: socket.socket, context: ssl.SSLContext, name: str | None, deadline: float | None) -> ssl.SSLSocket:
    """TLS over a connected nonblocking socket, whose owner the result is from now on.

    name: the server's, which its certificate must show if the context checks it.

    Raises ssl.SSLError, OSError, or FrameTimeout; the socket is closed then.
    """
    tls = context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)
    try:
        while True:
            try:
                tls.do_handshake()
                return tls
            except ssl.SSLWantReadError:
                for_write = False
            except ssl.SSLWantWriteError:
                for_write = True
            if not wait(tls.fileno(), for_write, remaining(deadline)):
                raise FrameTimeout("no TLS handshake in time")
    except BaseException:
        tls.close()
        raise


class TLSChannel(Channel):
    """What is inside of an SSLSocket."""

    __slots__ = ("_broken", "_calls", "_lock", "_offered", "_sock", "_tls", "ahead", "crossed", "ragged")

    def __init__(self, sock: ssl.SSLSocket, ragged: bool) -> None:
        self._sock = sock
        # The SSLSocket's own methods go on in plain text once both sides have ended.
        self._tls: Any = getattr(sock, "_sslobj")  # noqa: B009
        self._lock = threading.RLock()
        self.crossed = [False, False]
        """Whether receiving has to wait until something can be sent, and sending until something has come."""
        self.ragged = ragged
        """Whether an end of the stream without a close_notify is an ordinary one."""
        self.ahead = b""
        """Decrypted bytes that had to be read before they were asked for."""
        self._offered = b""
        self._broken = [False, False]
        self._calls = 0

    @property
    def is_committed(self) -> bool:
        """Whether OpenSSL has made a record of bytes that it didn't take: they have to go out."""
        return bool(self._offered)

    def receive(self, size: int) -> bytes | None:
        self._check(False)
        try:
            with self._lock:
                if self.ahead:
                    data, self.ahead = self.ahead[:size], self.ahead[size:]
                else:
                    data = self._call(self._tls.read, size)
            return data
        except ssl.SSLWantReadError:
            self.crossed[False] = False
            return None
        except ssl.SSLWantWriteError:
            self.crossed[False] = True
            return None
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLEOFError as error:
            if self.ragged:
                return b""
            raise ConnectionLost(errno.EPROTO, "TLS ended without a close_notify") from error
        except BaseException as error:
            self._stop(False, error)
            raise

    def send(self, data: bytes) -> int | None:
        self._check(True)
        if not data.startswith(self._offered):
            # An exception has made the engine forget them.
            self._broken[True] = True
            self._check(True)
        try:
            with self._lock:
                count: int = self._call(self._tls.write, data)
            self._offered = b""
            return count
        except ssl.SSLWantWriteError:
            self.crossed[True] = False
            self._offered = data
            return None
        except ssl.SSLWantReadError:
            self.crossed[True] = True  # a handshake, which comes before the record
            return None
        except BaseException as error:
            self._stop(True, error)
            raise

    def close_notify(self) -> bytes | None:
        """The record that ends this direction, for the socket to send as it is; None while a handshake has to wait.

        OSError if there are no descriptors left; nothing is changed then.
        """
        self._check(True)
        with self._lock:
            if not self.shake():
                return None
            if os.name == "nt":
                self._end()
                return b""
            # To end it is also to read: data of the peer that is there already would be a fatal error, and lost. So
            # OpenSSL is given another socket for the moment, one on which nothing comes. The number stays taken.
            number = self._sock.fileno()
            inheritable = os.get_inheritable(number)
            ours, other = socket.socketpair()
            with ours, other:
                ours.setblocking(False)
                other.setblocking(False)
                kept = Owned(map(os.dup, (number,)))
                try:
                    self._read_ahead()
                    os.dup2(ours.fileno(), number, inheritable)
                    try:
                        self._end()
                    finally:
                        os.dup2(kept.numbers[0], number, inheritable)
                    return other.recv(_NOTIFY_BYTES)
                except BlockingIOError:
                    return b""  # TLS had failed before
                except BaseException:
                    self._broken = [True, True]
                    raise
                finally:
                    kept.close()

    def _read_ahead(self) -> None:
        while size := self._tls.pending():
            self.ahead += self._call(self._tls.read, size)

    def shake(self) -> bool:
        """Bring the handshake on, which may not even have begun: whether it is over."""
        try:
            with self._lock:
                self._call(self._tls.do_handshake)
        except ssl.SSLWantReadError:
            self.crossed[True] = True
            return False
        except ssl.SSLWantWriteError:
            self.crossed[True] = False
            return False
        except BaseException as error:
            self._stop(True, error)
            raise
        self.crossed[True] = False
        return True

    def _call(self, act: Callable[..., Any], *given: object) -> Any:
        while True:
            self._calls += 1
            calls = self._calls
            try:
                return act(*given)
            except OSError as error:
                # Where a signal handler calls OpenSSL inside, this error tells what became of the handler's call.
                if self._calls == calls or not _is_openssls(error):
                    raise

    def _end(self) -> None:
        try:
            self._call(self._tls.shutdown)
        except OSError as error:
            # The peer hasn't ended; or TLS had failed before, which the next receive tells.
            if not _is_openssls(error):
                raise

    def _check(self, sending: bool) -> None:
        if self._broken[sending]:
            raise ConnectionLost(errno.EIO, "an exception broke off a call inside TLS, and what that did isn't known")

    def _stop(self, sending: bool, error: BaseException) -> None:
        """Raise ConnectionLost if that is what the exception of a call means; note that it may have cost bytes if not."""
        if not isinstance(error, OSError) or not _is_openssls(error):
            # A signal handler's, or there was no memory.
            self._broken[sending] = True
        elif isinstance(error, ssl.SSLZeroReturnError):
            raise ConnectionLost(errno.EPIPE, os.strerror(errno.EPIPE)) from error
        elif isinstance(error, ssl.SSLError):
            raise ConnectionLost(errno.EPROTO, str(error.reason or error)) from error
        else:
            raise ConnectionLost(*lost(error)) from error


def _is_openssls(error: OSError) -> bool:
    """Whether the call itself has raised it, and not a signal handler that ran in between."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return isinstance(error, ssl.SSLError) or (trace is not None and trace.tb_frame.f_globals is globals())


class TLSTransport(SocketTransport):
    """An ssl.SSLSocket."""

    can_wake_first = False  # to OpenSSL an end of TCP is an error, after which nothing can be sent
    is_plain = False
    is_shareable = False  # two processes would use the same keys for different records

    def __init__(self, sock: ssl.SSLSocket) -> None:
        if getattr(sock, "_sslobj", sock) is None:
            raise ValueError("the SSLSocket isn't connected, or has been unwrapped")
        super().__init__(sock)
        # The SSLSocket's own methods speak TLS, or end it: these are for what is below.
        plain: Any = super(ssl.SSLSocket, sock)
        self._shutdown, self._receive, self._send = plain.shutdown, plain.recv, plain.send
        tls: Any = sock  # typeshed doesn't know its suppress_ragged_eofs
        self._ragged: bool = tls.suppress_ragged_eofs
        self._tls = tls
        self._channel = TLSChannel(sock, self._ragged)
        self._notify: bytes | None = None
        self.receiving = self.sending = self._channel
        self.may_wait = False
        # What is waited for: close_notify puts another socket behind the number for a moment, and who begins to wait
        # just then would wait for that one.
        self._copy = Owned(map(os.dup, () if os.name == "nt" else (sock.fileno(),)))
        self._number = sock.fileno() if os.name == "nt" else self._copy.numbers[0]
        tls.suppress_ragged_eofs = False
        sock.setblocking(False)

    @property
    def is_committed(self) -> bool:  # type: ignore[override]
        return self._channel.is_committed

    def wait(self, for_write: bool, timeout: float | None) -> bool:
        if self.sock.fileno() < 0:
            raise ValueError("connection is closed: somebody else has closed its socket")
        return wait(self._number, self.awaits(for_write), timeout)

    @property
    def watched(self) -> int:
        return self._number

    def awaits(self, for_write: bool) -> bool:
        return for_write ^ self._channel.crossed[for_write]

    def shake(self) -> bool:
        return self._channel.shake()

    def half_close(self) -> bool:
        # The TCP direction stays open: OpenSSL may have to answer the peer.
        if self._notify is None:
            self._notify = self._channel.close_notify()
            if self._notify is None:
                return False
        while self._notify:
            try:
                self._notify = self._notify[self._send(self._notify, DONTWAIT | _NOSIGNAL) :]
            except BlockingIOError:
                return False
        return True

    def finish(self) -> bool:
        try:
            if self._tls.version() is not None and not self.half_close():
                return False
        except (OSError, FrameError):
            pass  # the peer sees the end of TCP then, after all that was sent
        return super().finish()

    @property
    def held(self) -> int:
        return len(self._channel.ahead)

    def unread(self) -> bytes:
        ahead, self._channel.ahead = self._channel.ahead, b""
        return ahead

    def expect(self, framing: Framing) -> None:
        # Anybody can end TCP. Where the end makes a frame whole, only the peer's own word for it will do.
        self._channel.ragged = self._ragged and not delivers_rest(framing)

    def close(self) -> None:
        try:
            self._copy.close()
        finally:
            super().close()

    def release(self) -> Any:
        self._copy.close()
        self._tls.suppress_ragged_eofs = self._ragged
        self._tls.settimeout(self.timeout)
        return super().release()
