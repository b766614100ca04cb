"""multiprocessing's connections on this package's engine: change the import, keep the code.

    from fastframe.multiprocessing import Client, Connection, Listener, Pipe, get_context, wait

The same: names, signatures, exceptions, bytes on the wire, the handshake with an authkey, pickling to other processes,
select, `wait`, descriptors passed between two messages, ends that several processes share. Either end may be the
host's. The classes are the host's subclasses. `get_context(method)` gives a context, as multiprocessing's gives it, whose
Pipe, Queue, JoinableQueue, SimpleQueue and Pool use them.

Better: one system call for a message that is sent, whatever its size; a large message is received into its place, once; memory
follows what arrived, never what a header declares; a receive or send that an exception breaks off goes on where it was;
sends of several threads queue up; a descriptor that another thread uses is closed when that thread is through. With
`readahead=True` a burst of small messages costs a fifteenth; `poll` and `wait` here know what is held.

On purpose different: a length of less than -1 is OSError, not an empty message; so is an end right behind a header, not EOFError;
what a nonblocking descriptor can't do at once is BlockingIOError with nothing lost, or SendInterrupted; two threads that
receive at once are ConcurrentUse. On Windows all of it is the host's own.
"""

from __future__ import annotations

import os
import socket
import sys
from functools import cache
from multiprocessing import connection as host
from multiprocessing import get_context as host_context
from time import monotonic

from ._mp_connection import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = ["Client", "Connection", "Listener", "Pipe", "get_context", "wait"]


# As they are now: who puts these functions in their place mustn't make them call themselves.
_host_client, _host_wait = host.Client, host.wait


def Pipe(duplex: bool = True, *, readahead: bool = False) -> tuple[Connection, Connection]:
    """A pair of connections: what is sent by one is received by the other; not duplex: by the first, from the second.

    readahead: of both ends, as Connection has it.
    """
    if duplex:
        one, other = socket.socketpair()
        for end in (one, other):
            end.setblocking(True)  # whatever socket.setdefaulttimeout says
        return Connection(one.detach(), readahead=readahead), Connection(other.detach(), readahead=readahead)
    reading, writing = os.pipe()
    return (
        Connection(reading, writable=False, readahead=readahead),
        Connection(writing, readable=False, readahead=readahead),
    )


class Listener(host.Listener):
    """The host's Listener, which accepts connections of this package.

    authkey: bytes that both ends have; the handshake is the host's.
    readahead: of each connection, as Connection has it.
    """

    def __init__(
        self,
        address: Any = None,
        family: str | None = None,
        backlog: int = 1,
        authkey: bytes | None = None,
        *,
        readahead: bool = False,
    ) -> None:
        _check(authkey)
        super().__init__(address, family, backlog)
        self._key, self._readahead = authkey, bool(readahead)

    def accept(self) -> Connection:
        """The next connection, once its client has shown the key; AuthenticationError for a wrong one."""
        accepted = _taken_over(super().accept(), self._readahead)
        if self._key is not None:
            try:
                host.deliver_challenge(accepted, self._key)
                host.answer_challenge(accepted, self._key)
            except BaseException:
                accepted.close()
                raise
        return accepted


def Client(
    address: Any, family: str | None = None, authkey: bytes | None = None, *, readahead: bool = False
) -> Connection:
    """A connection to the Listener at this address; AuthenticationError if that has another key.

    readahead: as Connection has it.
    """
    _check(authkey)
    opened = _taken_over(_host_client(address, family), readahead)
    if authkey is not None:
        try:
            host.answer_challenge(opened, authkey)
            host.deliver_challenge(opened, authkey)
        except BaseException:
            opened.close()
            raise
    return opened


def wait(object_list: Iterable[Any], timeout: float | None = None) -> list[Any]:
    """Those of the objects that are ready to be received from, in their order; [] once `timeout` seconds are over.

    A connection with readahead is ready when a whole message, the end or an error is there; any other, and
    whatever else has a descriptor, when that is readable.
    """
    objects = list(object_list)
    ahead = {id(one): one for one in objects if isinstance(one, Connection) and one.readahead and one.readable}
    if not ahead:
        return _host_wait(objects, timeout)
    deadline = None if timeout is None else monotonic() + timeout
    while True:
        whole = {key for key, one in ahead.items() if one.poll()}
        left = 0.0 if whole else None if deadline is None else max(0.0, deadline - monotonic())
        readable = {id(one) for one in _host_wait(objects, left)}
        ready = [one for one in objects if id(one) in (whole if id(one) in ahead else readable)]
        if ready or (deadline is not None and monotonic() >= deadline):
            return ready


def get_context(method: str | None = None) -> Any:
    """A context of multiprocessing whose pipes, queues and pools are of this package; all else is the host's.

    method: how it starts processes, as multiprocessing.get_context takes it. ValueError for one that there isn't.
    """
    kind: Any = type(host_context(method))
    return _context(kind)


class _Context:
    """What differs from the host's context."""

    def get_context(self, method: str | None = None) -> Any:
        return self if method is None else get_context(method)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return get_context, (self.get_start_method(),)  # type: ignore[attr-defined]

    def Pipe(self, duplex: bool = True) -> tuple[Connection, Connection]:
        return Pipe(duplex)

    def Queue(self, *args: Any, **kwargs: Any) -> Any:
        return _on_ours(super().Queue(*args, **kwargs))  # type: ignore[misc]

    def JoinableQueue(self, *args: Any, **kwargs: Any) -> Any:
        return _on_ours(super().JoinableQueue(*args, **kwargs))  # type: ignore[misc]

    def SimpleQueue(self) -> Any:
        return _on_ours(super().SimpleQueue())  # type: ignore[misc]


@cache
def _context(kind: Any) -> Any:
    return type(kind.__name__, (_Context, kind), {})()


def _on_ours(queue: Any) -> Any:
    """A new queue of the host's, with its pipe replaced by one of ours."""
    queue._reader, queue._writer = _taken_over(queue._reader), _taken_over(queue._writer)
    if hasattr(queue, "_reset"):
        queue._reset()
    queue._poll = queue._reader.poll
    return queue


def _check(authkey: bytes | None) -> None:
    if authkey is not None and not isinstance(authkey, bytes):
        raise TypeError("authkey should be a byte string")


def _taken_over(given: Any, readahead: bool = False) -> Connection:
    """A connection of ours for the descriptor of the host's, which is closed."""
    with given:
        return Connection(os.dup(given.fileno()), given.readable, given.writable, readahead=readahead)


if sys.platform == "win32":
    from multiprocessing import get_context
    from multiprocessing.connection import Client, Connection, Listener, Pipe, wait
