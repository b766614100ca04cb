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
from ._deadline import remaining
from ._engine import wait
from ._transport import DONTWAIT, SocketTransport, lost
from .errors import ConnectionLost, FrameTimeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar("T")

_NOTIFY_BYTES = 4096
"""More than a close_notify takes."""

_NOSIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)


def handshaken(
    sock: socket.socket, context: ssl.SSLContext, name: str | None, deadline: float | None, ragged: bool
) -> ssl.SSLSocket:
    """TLS over a connected nonblocking socket, whose owner the result is from now on.

    name: the server's, which its certificate must show if the context checks it.
    ragged: whether an end of the stream without a close_notify is an ordinary one.

    Raises ssl.SSLError, OSError, or FrameTimeout; the socket is closed then.
    """
    tls = context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False, suppress_ragged_eofs=ragged)
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

    __slots__ = ("_broken", "_ended", "_lock", "_ragged", "_sock", "crossed", "is_committed")

    def __init__(self, sock: ssl.SSLSocket, ragged: bool) -> None:
        self._sock = sock
        self._lock = threading.RLock()
        self.crossed = [False, False]
        """Whether receiving has to wait until something can be sent, and sending until something has come."""
        self.is_committed = False
        self._ragged = ragged
        self._ended = False
        self._broken = [False, False]

    def receive(self, size: int) -> bytes | None:
        with self._lock:
            self._check(False)
            if self._ended:
                return b""
            try:
                data = self._sock.recv(size)
            except ssl.SSLWantReadError:
                self.crossed[False] = False
                return None
            except ssl.SSLWantWriteError:
                self.crossed[False] = True
                return None
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLEOFError as error:
                if self._ragged:
                    return b""
                raise ConnectionLost(errno.EPROTO, "TLS ended without a close_notify") from error
            except BaseException as error:
                self._stop(False, error)
                raise
            return data

    def send(self, data: bytes) -> int | None:
        with self._lock:
            self._check(True)
            try:
                count = self._sock.send(data)
            except ssl.SSLWantWriteError:
                self.crossed[True] = False
            except ssl.SSLWantReadError:
                self.crossed[True] = True
            except BaseException as error:
                self._stop(True, error)
                raise
            else:
                self.is_committed = False
                return count
            # OpenSSL has made a record of them, which has to go out.
            self.is_committed = True
            return None

    def close_notify(self) -> bytes:
        """The record that ends this direction, for the socket to send as it is."""
        with self._lock:
            if os.name == "nt":
                self._unwrap()
                return b""
            # unwrap() also reads: data of the peer that is there already would be a fatal error, and lost. So it is
            # given another socket for the moment, one on which nothing comes. The number stays taken all the time.
            number = self._sock.fileno()
            inheritable = os.get_inheritable(number)
            ours, other = socket.socketpair()
            with ours, other:
                ours.setblocking(False)
                other.setblocking(False)
                kept = os.dup(number)
                try:
                    os.dup2(ours.fileno(), number, inheritable)
                    try:
                        self._unwrap()
                    finally:
                        os.dup2(kept, number, inheritable)
                finally:
                    os.close(kept)
                try:
                    return other.recv(_NOTIFY_BYTES)
                except BlockingIOError:
                    return b""

    def _unwrap(self) -> None:
        try:
            self._sock.unwrap()
            self._ended = True  # the peer had ended before
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self._ended = True

    def _check(self, sending: bool) -> None:
        if self._broken[sending]:
            raise ConnectionLost(errno.EIO, "an exception broke off a call inside TLS, and what that did isn't known")

    def _stop(self, sending: bool, error: BaseException) -> None:
        """Raise ConnectionLost if that is what the exception of a call means; note that it may have cost bytes if not."""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        if not isinstance(error, OSError) or trace is None or trace.tb_frame.f_globals.get("__name__") != ssl.__name__:
            # A signal handler's, or there was no memory.
            self._broken[sending] = True
        elif isinstance(error, ssl.SSLZeroReturnError):
            raise ConnectionLost(errno.EPIPE, os.strerror(errno.EPIPE)) from error
        elif isinstance(error, ssl.SSLError):
            raise ConnectionLost(errno.EPROTO, str(error.reason or error)) from error
        else:
            raise ConnectionLost(*lost(error)) from error


class TLSTransport(SocketTransport):
    """An ssl.SSLSocket."""

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
        tls.suppress_ragged_eofs = False
        sock.setblocking(False)

    @property
    def is_committed(self) -> bool:  # type: ignore[override]
        return self._channel.is_committed

    def wait(self, for_write: bool, timeout: float | None) -> bool:
        return super().wait(for_write ^ self._channel.crossed[for_write], timeout)

    def half_close(self) -> bool:
        # The TCP direction stays open: OpenSSL may have to answer the peer.
        if self._notify is None:
            self._notify = self._channel.close_notify()
        while self._notify:
            try:
                self._notify = self._notify[self._send(self._notify, DONTWAIT | _NOSIGNAL) :]
            except BlockingIOError:
                return False
        return True

    def finish(self) -> bool:
        return self.half_close() and super().finish()

    def release(self) -> Any:
        self._tls.suppress_ragged_eofs = self._ragged
        self._tls.settimeout(self.timeout)
        return super().release()
