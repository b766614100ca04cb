"""Descriptors for the pure engine: what one is, whether it is ready, and waiting for it.

O_NONBLOCK belongs to everyone who shares a descriptor: it is never changed. A socket is
used through an alias, a socket object of our own for the same descriptor, which has no
timeout, whatever the user's has, and never closes what it doesn't own.
"""

from __future__ import annotations

import _socket
import errno
import operator
import os
import select
import stat
import sys
import time
from functools import cache, partial
from itertools import filterfalse, starmap

from ._channel import Channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Protocol, TypeVar

    T = TypeVar("T")

    class HasFileno(Protocol):
        """An object with a descriptor."""

        def fileno(self) -> int: ...


DONTWAIT: int = getattr(_socket, "MSG_DONTWAIT", 0)
NOSIGNAL: int = getattr(_socket, "MSG_NOSIGNAL", 0)

not_none: Callable[[Iterable[T | None]], Iterator[T]] = partial(filterfalse, partial(operator.is_, None))
"""What a channel gives or takes, as long as that isn't None; all in one C call, which no signal handler breaks up."""

_LONGEST = 1e6  # seconds a single poll waits: its argument is an int of milliseconds


@cache
def prime() -> None:
    """Before the first receive: show the C library a block that is mapped and freed.

    glibc maps each block of 128 KiB or more, and so what each receive returns, until it has seen a larger one freed; and
    gives the end of its heap back to the system whenever as much is free there. Others don't care.
    """
    bytes(4 << 20)


class Alias(_socket.socket):
    """A socket object that never closes its descriptor."""

    def __del__(self) -> None:
        self.detach()


def opened(source: int | HasFileno | Channel) -> tuple[int, Alias | None]:
    """The descriptor of `source`, and an alias if it is a socket; -1 for a channel.

    Raises ValueError for one that is negative or closed, TypeError for a TLS socket, for a
    socket that isn't a stream, and for what is neither an int nor has a fileno().
    """
    tls = sys.modules.get("ssl")
    if isinstance(source, Channel):
        return -1, None
    if tls is not None and isinstance(source, tls.SSLSocket):
        raise TypeError("a TLS socket has no frames on its descriptor: use fastframe.wrap()")
    if isinstance(source, bool):
        raise TypeError("a descriptor must be an int, not a bool")
    if isinstance(source, int):
        fd = source
    elif hasattr(source, "fileno"):
        fd = operator.index(source.fileno())
    else:
        raise TypeError(f"an int or an object with fileno() is needed, not {type(source).__name__}")
    if fd < 0:
        raise ValueError(f"the descriptor is closed: {fd}" if fd == -1 else f"no descriptor is negative: {fd}")
    alias = None
    if os.name == "nt":
        try:
            alias = _alias(fd)
        except OSError:
            pass
    try:
        if alias is None and stat.S_ISSOCK(os.fstat(fd).st_mode):
            alias = _alias(fd)
    except OverflowError as error:
        raise ValueError(f"no descriptor is as high as {fd}") from error
    except OSError as error:
        if error.errno == errno.EBADF:
            raise ValueError(f"the descriptor {fd} is closed") from error
        raise
    if alias is not None and alias.type != _socket.SOCK_STREAM:
        raise TypeError("the socket must be a stream: datagrams have their own boundaries")
    return fd, alias


def _alias(fd: int) -> Alias:
    before = _socket.getdefaulttimeout()
    if sys.implementation.name != "cpython" and os.name != "nt":
        # PyPy makes the descriptor what the new object is: blocking.
        blocking = os.get_blocking(fd)
        alias = Alias(-1, -1, -1, fd)
        os.set_blocking(fd, blocking)
        return alias
    if before is None:
        return Alias(-1, -1, -1, fd)
    # A default timeout would make the descriptor nonblocking. It is out of the way for the length of one C call,
    # in which no other Python code runs.
    made: list[Any] = []
    steps = (_socket.setdefaulttimeout, None), (Alias, -1, -1, -1, fd), (_socket.setdefaulttimeout, before)
    try:
        made.extend(starmap(operator.call, steps))
    finally:
        if len(made) < len(steps):
            _socket.setdefaulttimeout(before)
    shy: Alias = made[1]
    return shy


def _asking(fd: int, for_write: bool, other: int = -1) -> Callable[[float], object]:
    """A function that waits so many seconds for the descriptor, or the other, and returns whether one is ready."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(fd, select.POLLOUT if for_write else select.POLLIN)
        if other >= 0:
            poll.register(other, select.POLLIN)
        return lambda seconds: poll.poll(seconds * 1000)
    read, write = ([], [fd]) if for_write else ([fd], [])
    if other >= 0:
        read.append(other)
    return lambda seconds: any(select.select(read, write, [fd], seconds))


def is_ready(fd: int, for_write: bool) -> bool:
    """Whether the descriptor is ready now, or has an error."""
    try:
        return bool(_asking(fd, for_write)(0))
    except OSError as error:
        if is_handlers(error, 2):
            raise
        return False  # what is wrong with poll says nothing of the descriptor: whoever waits for it meets it again


def is_handlers(error: OSError, depth: int) -> bool:
    """Whether an exception, caught where the system call is `depth` frames deep, comes from a signal handler."""
    trace = error.__traceback__
    while trace is not None:
        trace, depth = trace.tb_next, depth - 1
    return depth < 0


def wait(fd: int, for_write: bool, timeout: float | None, other: int = -1) -> bool:
    """Wait until the descriptor is readable, or writable, or has an error: True; False once the time is over.

    timeout: in seconds; None waits for ever, 0 doesn't wait. ValueError if it is negative or NaN.
    other: a second descriptor, which ends the wait once it is readable. -1: none.

    Signal handlers run, and what they raise passes; the time is monotonic, and they don't extend it.
    """
    deadline = None
    if timeout is not None:
        if not timeout >= 0:
            raise ValueError(f"timeout must be at least 0, not {timeout}")
        deadline = time.monotonic() + timeout
    ask = _asking(fd, for_write, other)
    while True:
        left = _LONGEST if deadline is None else min(max(deadline - time.monotonic(), 0), _LONGEST)
        if ask(left):
            return True
        if deadline is not None and time.monotonic() >= deadline:
            return False


def gathered(buffers: list[Any], most: int) -> bytes:
    """The first bytes of the buffers, joined, `most` at most."""
    data = b""
    for buffer in buffers:
        if len(data) == most:
            break
        data += buffer[: most - len(data)]
    return data
