"""Many clients in one thread, or in one process per core: what is done with a frame is yours, all else is here.

A handler is a function that is called with each frame; what it returns is sent: bytes, a list of them, or nothing for None. Or
it is an object, which gets the frames of a client together, as they come:

    connected(conn)         a client is there, its TLS handshake over
    frames(conn, frames)    one frame or more. What it returns is ignored: replies go by `conn.send` and `conn.send_many`
    ended(conn)             it will send nothing more, and can be sent to until it is closed. Without this method it is
                            closed at once, when it has everything
    closed(conn, error)     it has gone. error: None if it ended between two frames, or was closed here; else why

`conn` is a Client; only `frames` is needed. A handler that raises closes that client, is logged once, and the server goes on. It
runs in the server's thread: while it waits, everybody does; and none of its methods is called inside another. Replies may come
later, from other threads, by `conn.send`.
"""

from __future__ import annotations

import os
import sys
import threading

from ._calls import OWN
from ._client import Client
from ._deadline import seconds
from ._fork import tell
from ._handler import Calls
from ._limits import Limits
from ._listener import SocketFile, bound
from ._service import FOREIGN, ServerStats, Service, Terms
from .errors import ConcurrentUse
from .framing import Framing

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from ssl import SSLContext
    from types import TracebackType
    from typing import Any, Self

    from ._handler import Handler
    from ._workers import Workers
    from .connection import Address

__all__ = ["Client", "Limits", "Server", "ServerStats", "serve"]

_LIMITS = Limits()
_SHARES = sys.platform == "linux"
"""Whether the system shares clients out among sockets that listen at the same port. Elsewhere workers share one socket."""


def serve(
    handler: Handler,
    address: Address | int | socket.socket,
    framing: Framing,
    *,
    send_framing: Framing | None = None,
    ssl: SSLContext | None = None,
    workers: int = 1,
    limits: Limits = _LIMITS,
) -> None:
    """Serve clients, until an exception comes (KeyboardInterrupt for one); then close as Server.shutdown does. The parameters are Server's."""
    with Server(
        handler, address, framing, send_framing=send_framing, ssl=ssl, workers=workers, limits=limits
    ) as server:
        server.serve_forever()


class Server:
    """Listens from the start, and serves while `serve_forever` runs: once.

    handler: a function of a frame, or an object with `frames(conn, frames)`; help(fastframe.server) has all of it.
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
        limits: Limits = _LIMITS,
    ) -> None:
        send_framing = framing if send_framing is None else send_framing
        for given in (framing, send_framing):
            if not isinstance(given, Framing):
                raise TypeError(f"a Framing is needed, not {type(given).__name__}")
        if not isinstance(limits, Limits):
            raise TypeError(f"limits must be a Limits, not {type(limits).__name__}")
        _check_workers(workers)
        if ssl is not None:
            _check_context(ssl)
        Calls(handler)
        self._terms = Terms(handler, framing, send_framing, ssl, limits)
        self._lock = threading.RLock()  # a signal handler may shut it down at any place
        self._over = threading.Event()
        self._over.set()
        self._is_closed = self._is_foreign = False
        self._socks = [bound(address, workers > 1 and isinstance(address, tuple) and _SHARES)]
        self._work: Service | Workers
        try:
            self._address = self._socks[0].getsockname()
            self._file = SocketFile(self._socks[0])
            if workers > 1 and isinstance(address, tuple) and _SHARES:
                self._socks += [bound(self._address, True) for _ in range(workers - 1)]
            for sock in self._socks:
                sock.listen(limits.backlog)
            if workers == 1:
                self._work = Service(self._terms, self._socks[0])
            else:
                from ._workers import Workers

                self._work = Workers(self._socks if len(self._socks) > 1 else self._socks * workers, self._terms)
        except BaseException:
            self._close_socks()
            raise
        tell(self)

    @property
    def address(self) -> Any:
        """Where it listens, as socket.getsockname gives it: with the port, if 0 was asked for."""
        return self._address

    @property
    def stats(self) -> ServerStats:
        """What it has done so far. With workers: what those have done that have ended well."""
        return self._work.stats

    def serve_forever(self) -> None:
        """Serve until `shutdown`, or until an exception comes: a signal handler's, or of the handler what isn't an Exception.

        In the end clients get what was sent to them, as by `shutdown`, before the exception passes. ValueError if the server is closed,
        ConcurrentUse if it serves already, or in a child process after a fork.
        """
        with self._lock:
            self._check_foreign()
            if self._is_closed:
                raise ValueError("the server is closed")
            if not self._over.is_set():
                raise ConcurrentUse("the server serves already")
            self._over.clear()
        try:
            self._work.run()
        finally:
            self._is_closed = True
            self._close_socks()
            if not self._is_foreign:
                self._file.remove()
            self._over.set()

    def shutdown(self, timeout: float | None = OWN) -> None:
        """Stop: accept nobody, handle what has come, deliver what was sent, and close; after `timeout` seconds cut off who is left.

        timeout: Limits.close_timeout if not given; None: as long as it takes. `stats` tells how many were finished, and how many aborted.
        Returns when that is done; at once, if it is called by the handler, or by a signal handler in the server's thread.
        """
        timeout = self._terms.limits.close_timeout if timeout is OWN else seconds(timeout)
        self._check_foreign()
        with self._lock:
            is_running = not self._over.is_set()
            if not is_running and not self._is_closed:
                self._is_closed = True
                self._work.close()
                self._close_socks()
                self._file.remove()
        if is_running:
            self._work.stop(timeout)
            if not self._work.is_inside:
                self._over.wait()

    def close(self) -> None:
        """Stop as `shutdown` does. A second close does nothing; one in a child process after a fork only closes the descriptors there."""
        if not self._is_foreign:
            self.shutdown()
        elif not self._is_closed:
            self._is_closed = True
            self._close_socks()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Server at {self._address!r}{', closed' if self._is_closed else ''}>"

    # --- Helpers

    def _close_socks(self) -> None:
        for sock in self._socks:
            sock.close()

    def _check_foreign(self) -> None:
        if self._is_foreign:
            raise ConcurrentUse(FOREIGN)

    def _in_child(self) -> None:
        self._is_foreign = True


def _check_workers(workers: object) -> None:
    if isinstance(workers, bool) or not isinstance(workers, int):
        raise TypeError(f"workers must be an int, not {type(workers).__name__}")
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    if workers > 1 and not hasattr(os, "fork"):
        raise ValueError(f"workers must be 1 where there is no fork, not {workers}")


def _check_context(context: object) -> None:
    from ssl import PROTOCOL_TLS_CLIENT, SSLContext

    if not isinstance(context, SSLContext):
        raise TypeError(f"ssl must be an SSLContext, not {type(context).__name__}")
    if context.protocol == PROTOCOL_TLS_CLIENT:
        raise ValueError("ssl is a client's context: make it with ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)")
