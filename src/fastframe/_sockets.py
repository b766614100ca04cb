"""Sockets before they carry frames: addresses, a connect within one deadline, what can be wrapped.

O_NONBLOCK is changed on a socket that is opened here, never on another.
"""

from __future__ import annotations

import errno
import os
import socket
from time import sleep

from ._deadline import remaining
from ._engine import wait
from .errors import FrameTimeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Place = tuple[int, int, Any]
    """Address family, protocol, and the address as the family has it."""

FIRST_LOOK, LAST_LOOK = 0.0005, 0.05
"""What the kernel doesn't announce is looked at again after so many seconds, twice as long each time."""

UNIX = getattr(socket, "AF_UNIX", None)
INTERNET = (socket.AF_INET, socket.AF_INET6)
_UNDER_WAY = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR, getattr(errno, "WSAEWOULDBLOCK", errno.EINPROGRESS))


def places(address: Any) -> list[Place]:
    """All that a connect to `address` may try, in order. Looks a host's name up, which takes the time it takes."""
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
        raise TypeError(f"address must be a tuple (host, port) or a unix socket's path, not {type(address).__name__}")
    if isinstance(address, str):
        host, colon, number = address.rpartition(":")
        if colon and number.isascii() and number.isdigit() and "/" not in host and os.sep not in host:
            raise ValueError(f"for TCP, give a tuple: ({host.strip('[]')!r}, {number}); a str is a unix socket's path")
    if UNIX is None:
        raise OSError(errno.EAFNOSUPPORT, "this platform has no unix sockets: give a tuple (host, port) for TCP")
    return [(UNIX, 0, os.fspath(address))]


def opened(place: Place, deadline: float | None) -> socket.socket:
    """A socket connected to the place. FrameTimeout when the time is up, else the OSError of the connect."""
    family, protocol, address = place
    sock = socket.socket(family, socket.SOCK_STREAM, protocol)
    try:
        sock.setblocking(False)
        code = _begin(sock, address, deadline)
        if code in _UNDER_WAY:
            if not wait(sock.fileno(), True, remaining(deadline)):
                raise FrameTimeout("not connected in time")
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


def _begin(sock: socket.socket, address: Any, deadline: float | None) -> int:
    look = FIRST_LOOK
    while True:
        code = sock.connect_ex(address)
        if code != errno.EAGAIN or sock.family != UNIX:
            return code
        # The listener's queue is full, and nothing will tell when it no longer is.
        left = remaining(deadline)
        if left == 0:
            raise FrameTimeout("not connected in time")
        sleep(look if left is None else min(look, left))
        look = min(2 * look, LAST_LOOK)


def is_acknowledged(number: int) -> bool:
    """Whether the peer's system has all that was sent by TCP, the end included. Linux only."""
    from fcntl import ioctl
    from termios import TIOCOUTQ

    return not any(ioctl(number, TIOCOUTQ, bytes(4)))


def no_delay(sock: socket.socket) -> None:
    """Let TCP send what it is given, without waiting for more."""
    if sock.family in INTERNET:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            pass  # not TCP; or reset already, which the first read or write will tell
