"""One thread that serves one listening socket, from the first client to the last."""

from __future__ import annotations

from collections import namedtuple
from time import monotonic

from ._fork import tell
from ._limits import Limits
from ._listener import Listener
from ._loop import Loop
from ._session import Session
from ._transport import SocketTransport
from .errors import ConcurrentUse
from .stats import Stats, total

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from ssl import SSLContext
    from typing import Any, NamedTuple

    from .framing import Framing

    class Terms(NamedTuple):
        """How clients are served."""

        handler: Any
        framing: Framing
        send_framing: Framing
        ssl: SSLContext | None
        limits: Limits
else:
    Terms = namedtuple("Terms", ["handler", "framing", "send_framing", "ssl", "limits"])


FOREIGN = "the server belongs to the process that this one was forked from"


class ServerStats(
    namedtuple("ServerStats", ["connections", "accepted", "finished", "aborted", "failed", "held", "received", "sent"])
):
    """What a server has done so far.

    connections: clients now. accepted: all that came. Those that left: finished, with everything that was sent to them; aborted, cut off
    before that; failed, because of an error of theirs, a limit, or the handler.
    held: bytes of unfinished frames, and those that wait to be sent. received, sent: frames, bytes and errors of all clients.
    """

    __slots__ = ()

    connections: int
    accepted: int
    finished: int
    aborted: int
    failed: int
    held: int
    received: Stats
    sent: Stats


class Service:
    """A loop, its listener, and its clients."""

    def __init__(self, terms: Terms, sock: socket.socket, clock: Callable[[], float] = monotonic) -> None:
        """sock: listens; it is closed in the end. clock: of all timeouts, in seconds."""
        self._terms = terms
        self._is_stopping = self._is_foreign = False
        self._patience = terms.limits.close_timeout
        self.loop = Loop(terms.handler, terms.limits, clock)
        try:
            self._listener = Listener(sock, self.loop, self._accepted)
        except BaseException:
            self.loop.close()
            raise
        tell(self)

    def run(self) -> None:
        """Serve, until `stop` or an exception; then let the clients have what was sent to them, and close."""
        loop = self.loop
        loop.enter()
        try:
            self._turn()
        finally:
            try:
                self._listener.close()
                loop.drain(self._patience)
            finally:
                loop.leave()
                self.close()

    def stop(self, timeout: float | None) -> None:
        """Have `run` come to its end, in so many seconds at most. Any thread may."""
        self._patience = timeout
        self._is_stopping = True
        self.loop.wake()

    @property
    def is_inside(self) -> bool:
        """Whether the calling thread is the one in `run`."""
        return self.loop.is_inside

    def close(self) -> None:
        """Give all descriptors back. Not while it runs."""
        # The poller first: in a child process it watches for the parent, too, and mustn't be told to forget anything.
        self.loop.close()
        self._listener.close()

    @property
    def stats(self) -> ServerStats:
        """What has been done so far."""
        loop = self.loop
        clients = list(loop.clients)
        received, sent = [loop.received], [loop.sent]
        for client in clients:
            for all_of_them, stats in zip((received, sent), client.stats, strict=True):
                all_of_them.append(stats)
        return ServerStats(
            len(clients),
            self._listener.accepted,
            loop.finished,
            loop.aborted,
            loop.failed,
            loop.held,
            total(received),
            total(sent),
        )

    def _in_child(self) -> None:
        """After a fork: clients, their descriptors and the poller are the parent's, who mustn't notice."""
        self._is_stopping = self._is_foreign = True
        for client in list(self.loop.clients):
            client.disown()
        self.loop.disown()
        self.close()

    def _turn(self) -> None:
        while not self._is_stopping:
            self.loop.turn()
        if self._is_foreign:
            raise ConcurrentUse(FOREIGN)

    def _accepted(self, sock: socket.socket, address: Any) -> None:
        """A client has come."""
        loop, terms = self.loop, self._terms
        try:
            transport = SocketTransport(sock) if terms.ssl is None else _secured(sock, terms.ssl)
            session = Session(loop, transport, address, terms.framing, terms.send_framing)
        except (OSError, ValueError, MemoryError) as error:
            # It has gone already, or there are no descriptors or no memory for it.
            sock.close()
            loop.failed += 1
            loop.log.refused(error)
            return
        loop.add(session)


def _secured(sock: socket.socket, context: SSLContext) -> SocketTransport:
    from ._tls import TLSTransport

    sock.setblocking(False)
    tls = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
    try:
        return TLSTransport(tls)
    except BaseException:
        tls.close()
        raise
