"""Frames in an event loop: connections to await, and protocols with callbacks.

    conn = await open_connection("localhost", 9000, framing=LengthField(4))
    await conn.send(b"hello")
    reply = await conn.recv()

On asyncio's own loops, Windows' too, and on uvloop; over TCP, unix sockets and TLS. What a function takes besides is
what asyncio's own function of that name takes.
"""

from __future__ import annotations

import asyncio
from functools import partial
from inspect import iscoroutine

from ._aio_connection import Connection
from ._aio_inbox import Inbox
from ._aio_protocol import FrameProtocol, checked
from ._stream_reader import FrameStreamReader
from .errors import ConnectionClosed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from .framing import Framing

    OnClient = Callable[[Connection], Coroutine[Any, Any, object] | object]

__all__ = [
    "Connection",
    "FrameProtocol",
    "FrameStreamReader",
    "open_connection",
    "open_unix_connection",
    "start_server",
    "start_unix_server",
]

_tasks: set[asyncio.Task[None]] = set()
"""Those of the clients: the loop holds a task by a weak reference only."""


async def open_connection(
    host: Any = None,
    port: Any = None,
    *,
    framing: Framing,
    send_framing: Framing | None = None,
    **kwargs: Any,
) -> Connection:
    """Open a TCP connection.

    framing: of the frames received; also of those sent, unless `send_framing` says otherwise.
    kwargs: what loop.create_connection takes: ssl, server_hostname, sock, family, happy_eyeballs_delay, …
    """
    loop = asyncio.get_running_loop()
    _, inbox = await loop.create_connection(_inboxes(framing, send_framing), host, port, **kwargs)
    return Connection(inbox)


async def open_unix_connection(
    path: Any = None, *, framing: Framing, send_framing: Framing | None = None, **kwargs: Any
) -> Connection:
    """Open a connection to a unix socket. kwargs: what loop.create_unix_connection takes. Else as open_connection."""
    loop = asyncio.get_running_loop()
    _, inbox = await loop.create_unix_connection(_inboxes(framing, send_framing), path, **kwargs)
    return Connection(inbox)


async def start_server(
    client_connected: OnClient,
    host: Any = None,
    port: Any = None,
    *,
    framing: Framing,
    send_framing: Framing | None = None,
    **kwargs: Any,
) -> asyncio.Server:
    """Listen on TCP, and call client_connected(connection) for each client; returns the loop's own server.

    client_connected: a coroutine function, whose end closes the connection; or a plain function, which leaves that to
        others. ConnectionClosed ends it normally, as the peer's end does a loop that receives. What else it raises goes
        to the loop's exception handler, and aborts its connection.
    framing: of the frames received; also of those sent, unless `send_framing` says otherwise.
    kwargs: what loop.create_server takes: ssl, sock, backlog, reuse_port, start_serving, …
    """
    factory = _servants(client_connected, framing, send_framing)
    return await asyncio.get_running_loop().create_server(factory, host, port, **kwargs)


async def start_unix_server(
    client_connected: OnClient,
    path: Any = None,
    *,
    framing: Framing,
    send_framing: Framing | None = None,
    **kwargs: Any,
) -> asyncio.Server:
    """Listen on a unix socket. kwargs: what loop.create_unix_server takes. Else as start_server."""
    factory = _servants(client_connected, framing, send_framing)
    return await asyncio.get_running_loop().create_unix_server(factory, path, **kwargs)


# --- Helpers


def _inboxes(framing: Framing, send_framing: Framing | None) -> Callable[[], Inbox]:
    return partial(Inbox, checked(framing), None if send_framing is None else checked(send_framing))


def _servants(client_connected: OnClient, framing: Framing, send_framing: Framing | None) -> Callable[[], Inbox]:
    if not callable(client_connected):
        raise TypeError(f"client_connected must be callable, not {type(client_connected).__name__}")
    return partial(
        _Servant, client_connected, checked(framing), None if send_framing is None else checked(send_framing)
    )


class _Servant(Inbox):
    """An inbox whose connection is a server's client."""

    def __init__(self, client_connected: OnClient, framing: Framing, send_framing: Framing | None) -> None:
        super().__init__(framing, send_framing)
        self._client_connected = client_connected

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        conn = Connection(self)
        try:
            serving = self._client_connected(conn)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fail(conn, error)
            return
        if iscoroutine(serving):
            task = self.loop.create_task(self._serve(conn, serving))
            _tasks.add(task)
            task.add_done_callback(_tasks.discard)

    async def _serve(self, conn: Connection, serving: Coroutine[Any, Any, object]) -> None:
        try:
            await serving
        except ConnectionClosed:
            pass
        except (SystemExit, KeyboardInterrupt, asyncio.CancelledError):
            conn.abort()
            raise
        except BaseException as error:
            self._fail(conn, error)
            return
        await conn.close()

    def _fail(self, conn: Connection, error: BaseException) -> None:
        conn.abort()
        self.loop.call_exception_handler(
            {
                "message": "client_connected has raised, its connection is aborted",
                "exception": error,
                "transport": self.transport,
            }
        )
