"""Listening sockets: made, inherited, accepted from, and what happens when the system has no descriptors left."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys

from ._readiness import READ
from ._sockets import UNIX, places

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ._loop import Loop

_AT_ONCE = 64
"""Clients to accept before it is the others' turn."""
_PAUSE = 0.1
"""Seconds to wait before the next try, when the system has no descriptors left, say. A client that leaves ends it."""
_EXCLUSIVE: int = getattr(socket, "SO_EXCLUSIVEADDRUSE", 0)
_GONE = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)
"""Somebody has closed the socket, or shut it down."""
_MISFORTUNES = frozenset(
    getattr(errno, name, -1)
    for name in (
        *("ECONNABORTED", "EPROTO", "EPERM", "ENOPROTOOPT", "EOPNOTSUPP", "ETIMEDOUT", "ECONNRESET"),
        *("ENETDOWN", "ENETUNREACH", "ENONET", "EHOSTDOWN", "EHOSTUNREACH"),
    )
)
"""What has become of one client, on its way in."""


def bound(address: Any, balanced: bool) -> socket.socket:
    """A socket that can listen: for (host, port), for a unix socket's path, or the one that a descriptor or a socket is, which listens.

    balanced: other processes bind the same port too, and the system shares clients out among all that listen.
    """
    if isinstance(address, socket.socket) or (isinstance(address, int) and not isinstance(address, bool)):
        return _inherited(address)
    if isinstance(address, tuple) and address and address[0] in ("", None):
        address = ("0.0.0.0", *address[1:])  # every interface, as the socket module has it
    family, protocol, place = places(address)[0]
    if family == UNIX:
        _remove_stale(place)
    sock = socket.socket(family, socket.SOCK_STREAM, protocol)
    try:
        if family != UNIX:
            # Windows means something else by SO_REUSEADDR: that others may take the port over.
            sock.setsockopt(socket.SOL_SOCKET, _EXCLUSIVE or socket.SO_REUSEADDR, 1)
        if balanced:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            sock.bind(place)
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror}: can't listen at {place!r}") from None
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _inherited(source: Any) -> socket.socket:
    try:
        sock = source if isinstance(source, socket.socket) else socket.socket(fileno=source)
    except OSError as error:
        raise ValueError(
            f"an int is a listening socket's descriptor, which {source} isn't; for TCP give (host, port)"
        ) from error
    try:
        if sock.type != socket.SOCK_STREAM:
            raise TypeError(f"only stream sockets can listen, not {sock.type!r}")
        if sys.platform != "darwin" and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ValueError("the socket isn't listening")
        sock.setblocking(False)
    except BaseException:
        if sock is not source:
            sock.detach()
        raise
    return sock


def _remove_stale(path: Any) -> None:
    """Take a unix socket's file away that nobody listens at any more. OSError if somebody does, or it is another kind of file."""
    name = os.fsdecode(path)
    if not name or name.startswith("\0"):
        return
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise OSError(errno.EEXIST, f"{os.strerror(errno.EEXIST)}, and isn't a socket", name)
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), name)


class SocketFile:
    """The file of a unix socket, if it has one. That one is removed, and no other that has taken its place."""

    def __init__(self, sock: socket.socket) -> None:
        self._name = sock.getsockname() if sock.family == UNIX else ""
        self._found = self._identity()

    def remove(self) -> None:
        """Remove it, once."""
        if self._found is not None and self._identity() == self._found:
            os.unlink(self._name)
        self._found = None

    def _identity(self) -> tuple[int, int] | None:
        if not self._name or self._name[:1] in ("\0", b"\0"):
            return None
        try:
            found = os.stat(self._name)
        except OSError:
            return None
        return found.st_dev, found.st_ino


class Listener:
    """A listening socket in a loop."""

    plain = False

    def __init__(self, sock: socket.socket, loop: Loop, accepted: Callable[[socket.socket, Any], None]) -> None:
        """accepted: takes a new client's socket, and its address."""
        self.alarm: float | None = None
        self.accepted = 0
        """How many have come."""
        self._sock = sock
        self._loop = loop
        self._take = accepted
        self._number = sock.fileno()
        self._is_watched = False
        self._is_told = False  # that nobody can be accepted, since all were that came
        loop.vacant = self.resume
        self.resume()

    def ready(self, what: object, event: int) -> None:
        """Somebody wants to come in."""
        for _ in range(_AT_ONCE):
            if not self._is_watched:
                return
            if self._is_full():
                self._pause()
                return
            try:
                sock, address = self._sock.accept()
            except BlockingIOError:
                self._is_told = False
                return
            except OSError as error:
                if error.errno in _MISFORTUNES:
                    continue
                self._not_accepted(error)
                return
            self.accepted += 1
            self._take(sock, address)

    def look(self) -> None:
        """The pause is over."""
        self.resume()

    def resume(self) -> None:
        """Accept again, if there is room."""
        if not self._is_watched and self._sock.fileno() >= 0 and not self._is_full():
            try:
                self._loop.poller.watch(self, self._number, READ)
            except OSError as error:
                self._not_accepted(error)
            else:
                self._is_watched = True

    def close(self) -> None:
        """Accept nobody any more."""
        self._pause()
        self._loop.vacant = None
        self._loop.alarms.forget(self)
        try:
            self._sock.close()
        except OSError:
            pass  # somebody else has

    def _is_full(self) -> bool:
        most = self._loop.limits.max_connections
        return most is not None and len(self._loop.clients) >= most

    def _pause(self) -> None:
        if self._is_watched:
            self._is_watched = False
            self._loop.poller.forget(self, self._number)

    def _not_accepted(self, error: OSError) -> None:
        self._pause()
        if not self._is_told:
            self._is_told = True
            self._loop.log.exhausted(error)
        if error.errno not in _GONE:
            self._loop.alarms.set(self, self._loop.now + _PAUSE)
            return
        # Those who are in are served on.
        if error.errno != errno.EINVAL:
            self._sock.detach()
        self.close()
