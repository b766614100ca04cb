"""One fault: which call fails how, and what may come of it."""

import errno
import os
import select
from collections.abc import Iterator
from dataclasses import dataclass

import fastframe as ff

from .errnos import ERRNOS

RECEIVING = ("recv", "recvfrom", "recvmsg", "read", "readv")
LIABLE = ("recv", "recvfrom", "read", "readv")
"""Those whose answer our own code reads: recvmsg is called, and believed, by the socket module."""
SENDING = ("send", "sendto", "sendmsg", "write", "writev")
WAITING = ("poll", "ppoll")
OPENING = ("socket", "connect", "getsockopt")
"""Calls without which there is no connection: their errors come out of connect() and wrap()."""

PASSING = frozenset((errno.ENOBUFS, errno.ENOMEM, errno.EBADF, errno.ENOTSOCK))
"""Errors that the documentation lets out as a plain OSError: nothing is lost, the call may be made again."""

REFUSED = frozenset((errno.EINVAL, errno.EPERM, errno.ETOOMANYREFS))
"""What Linux says of descriptors that it won't send, or not now."""

ORDINARY = frozenset((errno.EINTR, errno.EAGAIN))
"""What nobody is told of."""

CONSEQUENCES = frozenset((errno.ECONNRESET, errno.EPIPE))
"""What one end sees when the other one has gone because of its fault."""

MANY = 20
"""How many times running an ordinary answer is given where others are given for ever: then it wouldn't be ordinary."""

EVENTS = (0, select.POLLERR, select.POLLHUP, select.POLLNVAL, select.POLLIN | select.POLLOUT)
SIZES = (1, 2, 3, 5, 64, 1000)
LIES = (1, 100_000, -(1 << 30))


@dataclass(frozen=True)
class Fault:
    """The k-th call of a function on the descriptors of a scenario, and `times - 1` behind it; 0 times is for ever.

    kind: as shim.c has it; an errno, a number of bytes, or events of poll are its value.
    """

    call: str
    k: int
    kind: str
    value: int
    times: int = 1

    @property
    def counted_as(self) -> str:
        """The column of the count."""
        return self.call

    @property
    def name(self) -> str:
        """What happens, as one word."""
        if self.kind in ("fail", "after"):
            return errno.errorcode[self.value]
        return f"{self.kind}={self.value}"

    def __str__(self) -> str:
        often = {0: ", and ever after", 1: ""}.get(self.times, f", {self.times} times running")
        return f"{self.call} #{self.k} {self.name}{often}"

    @property
    def is_harmless(self) -> bool:
        """Whether all that is sent must arrive nevertheless, by calling again where an error says so."""
        if self.kind in ("short", "answer") or self.call in ("close", "setsockopt", "accept", "accept4"):
            return True
        if self.kind == "lie":
            return False
        if self.call in RECEIVING + SENDING:
            return self.value in ORDINARY or (self.value in PASSING and self.times > 0)
        if self.call in WAITING:
            return self.times > 0 or self.value == errno.EINTR
        if self.call == "connect":
            return self.value in (errno.EINTR, errno.EINPROGRESS)
        return False

    @property
    def spins(self) -> bool:
        """Whether it keeps TLS busy: OpenSSL takes these for an ordinary answer, and asks again."""
        return self.times == 0 and self.kind == "fail" and self.value in (errno.ENOTCONN, errno.EALREADY, errno.EPROTO)

    @property
    def is_passing(self) -> bool:
        """Whether it is an error that says nothing about the connection."""
        return self.kind == "fail" and self.value in PASSING and self.call in RECEIVING + SENDING

    def allows(self, error: Exception) -> bool:
        """Whether the documentation says that a call of a connection may raise this because of the fault."""
        if self.kind == "lie":
            return isinstance(error, ff.FrameError | OSError | SystemError | ValueError)
        if isinstance(error, ff.ConnectionLost):
            return error.errno in CONSEQUENCES or error.errno == self.value
        if isinstance(error, ff.FrameError):
            return not isinstance(error, ff.ConcurrentUse | ff.QueueFull | ff.InvalidFrame)
        is_it = isinstance(error, OSError) and error.errno == self.value
        refused = self.call == "sendmsg" and self.value in REFUSED
        return is_it and (error.errno in PASSING or self.call in WAITING or refused)

    @property
    def is_of_close(self) -> bool:
        """Whether it is the system's close that fails."""
        return self.call == "close"

    def allows_at_close(self, error: Exception) -> bool:
        """Whether close() or abort() may raise this because of the fault."""
        return self.is_of_close and isinstance(error, OSError) and error.errno == self.value

    def allows_no_connection(self, error: Exception) -> bool:
        """Whether connect() or wrap() may raise this because of the fault."""
        if self.call == "getsockopt" and isinstance(error, ValueError | TypeError):
            return True
        if self.call in WAITING:
            return isinstance(error, OSError) and error.errno == self.value
        return self.call in OPENING and isinstance(error, OSError) and error.errno == self.value


def faults_of(call: str, k: int, lies: bool, blocks: bool) -> Iterator[Fault]:
    """All that can happen to the k-th call of a function.

    lies: also answers that no kernel gives. blocks: poll's word is all that keeps a call from waiting in the kernel,
    and it is true: only of sockets select(2) says that they may turn out not to be ready.
    """
    for number in ERRNOS[call]:
        done_before = call == "close" or (call == "connect" and number in (errno.EINTR, errno.EINPROGRESS))
        kind = "after" if done_before else "fail"
        yield Fault(call, k, kind, number)
        if call in RECEIVING + SENDING + WAITING:
            yield Fault(call, k, kind, number, MANY if number in ORDINARY else 0)
    if call in RECEIVING + SENDING:
        for size in SIZES:
            yield Fault(call, k, "short", size)
            yield Fault(call, k, "short", size, 0 if size >= 64 else 10 * MANY)
        for size in LIES if lies and call in LIABLE else ():
            yield Fault(call, k, "lie", size)
    if call in WAITING:
        for events in EVENTS[:1] if blocks else EVENTS:
            yield Fault(call, k, "answer", events)
            yield Fault(call, k, "answer", events, MANY)


def described(error: BaseException) -> str:
    """The class and errno of an exception, without the exception: its traceback holds on to what is tested."""
    number = getattr(error, "errno", None)
    shown = errno.errorcode.get(number, os.strerror(number)) if isinstance(number, int) else str(error)
    return f"{type(error).__name__}({shown[:200]})"
