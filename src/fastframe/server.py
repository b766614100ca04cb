"""Many clients in one thread, or in one process per core: what handles each frame is yours, all else is here.

A handler is a function, called with each frame; what it returns is sent: bytes, a list of them, or nothing for None. Or it is
an object, which gets the frames of a client together, as they come:

    connected(conn)         a client is there, its TLS handshake over
    frames(conn, frames)    one frame or more
    ended(conn)             it will send nothing more; `conn` can be sent to until it is closed. Without this method it is closed at
                            once, when it has everything
    closed(conn, error)     it has gone. error: None, if it ended between two frames, or was closed here; else why

`conn` is a Client; only `frames` is needed. A handler that raises closes that client, is logged once, and the server goes on. It runs
in the server's thread: while it waits, everybody does. Replies may come later, from other threads, by `conn.send`.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections import namedtuple

from ._client import Client
from ._deadline import deadline_in, seconds
from ._fork import tell
from ._handler import Calls
from ._limits import Limits
from ._listener import Listener, listening
from ._loop import Loop
from ._session import Session
from ._transport import SocketTransport
from .errors import ConcurrentUse
from .framing import Framing
from .stats import Stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssl import SSLContext
    from types import TracebackType
    from typing import Any, Self

    from ._handler import Handler
    from .connection import Address

__all__ = ["Client", "Limits", "Server", "ServerStats", "serve"]

_AS_LIMITED = object()


class ServerStats(namedtuple("ServerStats", "connections accepted finished aborted failed held received sent")):
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


def serve(
    handler: Handler,
    address: Address | int | socket.socket,
    framing: Framing,
    *,
    send_framing: Framing | None = None,
    ssl: SSLContext | None = None,
    workers: int = 1,
    limits: Limits = Limits(),  # noqa: B008 (it is immutable)
) -> None:
    """Serve clients until an exception comes, KeyboardInterrupt for one; then close as `Server.shutdown` does. The parameters are Server's."""
    with Server(
        handler, address, framing, send_framing=send_framing, ssl=ssl, workers=workers, limits=limits
    ) as server:
        server.serve_forever()


class Server:
    """Listens from the start, and serves while `serve_forever` runs: once.

    handler: a function of a frame, or an object; see above.
    address: (host, port) for TCP, port 0 for any; a path for a unix socket, whose file is removed in the end; or the descriptor of a
        listening socket, or the socket, which belongs to the server from now on.
    framing: of the frames that come, and of those that are sent unless `send_framing` says otherwise.
    ssl: the context for TLS, as ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) makes one, with a certificate loaded.
    workers: processes that serve, each in one thread. Beyond 1 they are forked by `serve_forever`, and the handler with them:
        a worker knows nothing of the others' clients. One that dies is replaced. ValueError where there is no fork.
    limits: what clients are allowed.

    Raises OSError if it can't listen there, TypeError or ValueError for what can't be meant.
    """

    def __init__(
        self,
        handler: Handler,
        address: Address | int | socket.socket,
        framing: Framing,
        *,
        send_framing: Framing | None = None,
        ssl: SSLContext | None = None,
        workers: int = 1,
        limits: Limits = Limits(),  # noqa: B008 (it is immutable)
    ) -> None:
        send_framing = framing if send_framing is None else send_framing
        for given in (framing, send_framing):
            if not isinstance(given, Framing):
                raise TypeError(f"a Framing is needed, not {type(given).__name__}")
        if not isinstance(limits, Limits):
            raise TypeError(f"limits must be a Limits, not {type(limits).__name__}")
        if isinstance(workers, bool) or not isinstance(workers, int):
            raise TypeError(f"workers must be an int, not {type(workers).__name__}")
        if workers < 1 or (workers > 1 and not hasattr(os, "fork")):
            raise ValueError(f"workers must be 1{' or more' if hasattr(os, 'fork') else ' on this platform'}, not {workers}")
        Calls(handler)
        self._handler, self._framing, self._send_framing = handler, framing, send_framing
        self._ssl, self._limits, self._workers = ssl, limits, workers
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._over.set()
        self._is_closed = self._is_stopping = self._is_foreign = False
        self._patience = limits.close_timeout
        self._loop: Loop | None = None
        self._listener: Listener | None = None
        self._sock = listening(address, limits.backlog)
        self._address = self._sock.getsockname()
        tell(self)

    @property
    def address(self) -> Any:
        """Where it listens, as socket.getsockname gives it: with the port, if 0 was asked for."""
        return self._address

    @property
    def stats(self) -> ServerStats:
        """What it has done so far. With workers, what those did that have ended."""
        loop = self._loop
        if loop is None:
            return ServerStats(0, 0, 0, 0, 0, 0, Stats(0, 0, 0), Stats(0, 0, 0))
        clients = list(loop.clients)
        received, sent = [loop.received], [loop.sent]
        for client in clients:
            for total, stats in zip((received, sent), client.stats, strict=True):
                total.append(list(stats))
        return ServerStats(
            len(clients),
            self._listener.accepted if self._listener is not None else 0,
            loop.finished,
            loop.aborted,
            loop.failed,
            loop.held,
            Stats(*map(sum, zip(*received, strict=True))),
            Stats(*map(sum, zip(*sent, strict=True))),
        )

    def serve_forever(self) -> None:
        """Serve until `shutdown` is called, or an exception comes: a signal handler's, or what isn't an Exception from the handler.

        ValueError if the server is closed, ConcurrentUse if it serves already.
        """
        with self._lock:
            if self._is_foreign:
                raise ConcurrentUse("the server belongs to the process that this one was forked from")
            if self._is_closed:
                raise ValueError("the server is closed")
            if not self._over.is_set():
                raise ConcurrentUse("the server serves already")
            self._over.clear()
        try:
            self._serve()
        finally:
            self._is_closed = True
            self._over.set()

    def shutdown(self, timeout: float | None = _AS_LIMITED) -> None:  # type: ignore[assignment]
        """Stop: accept nobody, handle what has come, deliver what was sent, and close; after `timeout` seconds cut off who is left.

        timeout: Limits.close_timeout if not given; None: as long as it takes. `stats` tells how many were finished, and aborted.
        Waits until that is done, unless it is called by the handler, or by a signal handler in the server's thread.
        """
        self._patience = self._limits.close_timeout if timeout is _AS_LIMITED else seconds(timeout)
        self._is_stopping = True
        loop = self._loop
        if loop is not None and not self._is_foreign:
            if loop.is_inside():
                return
            loop.call(int)
            self._over.wait()
        self.close()

    def close(self) -> None:
        """Stop, as `shutdown` does, and listen no more. A second close does nothing."""
        if not self._over.is_set() and not self._is_foreign:
            self.shutdown()
        self._is_closed = True
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Server at {self._address!r}{', closed' if self._is_closed else ''}>"

    # --- Helpers

    def _serve(self) -> None:
        loop = self._loop = Loop(self._handler, self._limits)
        loop.enter()
        try:
            self._listener = Listener(self._sock, loop, self._accepted)
            try:
                while not self._is_stopping:
                    loop.turn()
            finally:
                self._listener.close()
                self._drain(loop)
        finally:
            loop.leave()
            loop.close()

    def _accepted(self, sock: socket.socket) -> None:
        """A client has come."""
        loop = self._loop
        assert loop is not None
        try:
            transport = SocketTransport(sock) if self._ssl is None else self._secured(sock, self._ssl)
            loop.add(Session(loop, transport, self._framing, self._send_framing))
        except (OSError, ValueError, MemoryError) as error:
            # It has gone already, or there are no descriptors or no memory for it.
            sock.close()
            if isinstance(error, OSError):
                loop.log.refused(error)

    def _secured(self, sock: socket.socket, context: SSLContext) -> SocketTransport:
        from ._tls import TLSTransport

        sock.setblocking(False)
        tls = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        try:
            return TLSTransport(tls)
        except BaseException:
            tls.close()
            raise

    def _drain(self, loop: Loop) -> None:
        """Let the clients have what was sent to them, as long as there is time; then cut them off."""
        deadline = deadline_in(self._patience)
        loop.patience = self._patience
        try:
            for client in list(loop.clients):
                client.stop()
            while loop.clients and (deadline is None or loop.clock() < deadline):
                loop.turn()
        finally:
            for client in list(loop.clients):
                client.cut_off()

    def _in_child(self) -> None:
        self._is_foreign = True
