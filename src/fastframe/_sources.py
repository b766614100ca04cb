"""Which transport a source gets: what can be wrapped, and what can't."""

from __future__ import annotations

import io
import os
import socket
import stat
import sys

from ._descriptor import DescriptorTransport, End, modes
from ._transport import GeventTransport, SocketTransport, Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def transport_of(source: Any, writer: Any = None) -> Transport:
    """The transport for what `wrap` was given. TypeError or ValueError for what can't carry frames; nothing is changed then."""
    if isinstance(source, Transport):
        return source
    if writer is not None:
        if source is writer or (isinstance(source, int) and source == writer):
            return transport_of(source)
        return DescriptorTransport((source, writer), _end(source, False), _end(writer, True))
    if _is_socket(source):
        return _of_socket(source)
    _check(source)
    number = _descriptor_of(source)
    if number is not None and _is_sockets(number):
        sock = _same(number)
        try:
            return _of_socket(sock, source)
        except BaseException:
            sock.detach()
            raise
    readable, writable = modes(source)
    if not (readable or writable):
        raise ValueError("the source can be neither read nor written")
    reading = End(source, False) if readable else None
    writing = reading if readable and writable else End(source, True) if writable else None
    return DescriptorTransport(source, reading, writing)


def _of_socket(sock: Any, source: Any = None) -> SocketTransport:
    if sock.type != socket.SOCK_STREAM:
        raise TypeError(f"only stream sockets can be wrapped, not {sock.type!r}")
    if sock.fileno() < 0:
        raise ValueError("the socket is closed")
    ssl = sys.modules.get("ssl")
    if ssl is not None and isinstance(sock, ssl.SSLSocket):
        from ._tls import TLSTransport

        return TLSTransport(sock)
    if type(sock).__module__.partition(".")[0] == "gevent":
        if hasattr(sock, "_sslobj"):
            raise TypeError("gevent's TLS sockets can't be wrapped, only its plain ones and ssl.SSLSocket")
        return GeventTransport(sock, source)
    return SocketTransport(sock, source)


def _end(given: Any, for_write: bool) -> End:
    """One of a pair."""
    if _is_socket(given):
        raise TypeError("a socket is for both directions: wrap it without a writer")
    _check(given)
    if not modes(given)[for_write]:
        raise ValueError(f"{given!r} isn't open for {'writing' if for_write else 'reading'}")
    return End(given, for_write)


def _is_socket(source: Any) -> bool:
    return isinstance(source, socket.socket) or (
        type(source).__module__.partition(".")[0] == "gevent" and hasattr(source, "recv")
    )


def _check(source: Any) -> None:
    """TypeError or ValueError for what is no open binary source."""
    if isinstance(source, io.TextIOBase):
        raise TypeError("frames are bytes: wrap the binary file, as in sys.stdin.buffer, not the text")
    if isinstance(source, bool) or not (
        isinstance(source, int) or any(hasattr(source, name) for name in ("fileno", "read", "write"))
    ):
        raise TypeError(
            f"a socket, an SSLSocket, a descriptor, a pipe, or a binary file is needed, not {type(source).__name__}"
        )
    if isinstance(getattr(source, "raw", source), socket.SocketIO):
        raise TypeError("wrap the socket itself, not a file made from it")
    if getattr(source, "closed", False) is True:
        raise ValueError("the source is closed")
    number = _descriptor_of(source)
    if number is not None:
        try:
            os.fstat(number)
        except (OSError, OverflowError) as error:
            raise ValueError(f"the descriptor {number} is not open") from error


def _descriptor_of(source: Any) -> int | None:
    """The descriptor of what is one, or has one and isn't a file, as multiprocessing's connections are."""
    if isinstance(source, int):
        return source
    if hasattr(source, "read") or hasattr(source, "write") or os.name == "nt":
        return None
    number: int = source.fileno()
    return number


def _is_sockets(number: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(number).st_mode)
    except OSError:
        return False


def _same(number: int) -> socket.socket:
    """A socket object for a descriptor, which stays as blocking as it is."""
    blocking = os.get_blocking(number)
    sock = socket.socket(fileno=number)
    try:
        if os.get_blocking(number) != blocking:
            os.set_blocking(number, blocking)
    except BaseException:
        sock.detach()
        raise
    return sock
