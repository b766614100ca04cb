"""Log records over a stream: a receiver for `logging.handlers.SocketHandler` that never runs what it is sent, and a sender.

    with fastframe.logging.RecordServer(("127.0.0.1", 9020)):   # the records go to the loggers of their names
        ...
    logger.addHandler(fastframe.logging.SocketHandler("127.0.0.1", 9020, format="json"))

The same as the host's: the wire, a big-endian length of four bytes and a pickle of the record's dict, so that either end may be
the host's SocketHandler or the receiver of its cookbook; SocketHandler's signature, methods and back-off; and that a record which
was received is handled by the logger of its name, whose level isn't asked again.

Better: the receiver doesn't unpickle. A pickle or JSON of plain values is read, checked to be a record's, and limited in size,
depth, numbers and growth; everything else is BadRecord: it is told and skipped, and the records behind it are handled. One
thread or an event loop serves all clients. A short read is no end. A send that was broken off leaves no half record in front of
the next one, and a forked process opens a connection of its own.

Different on purpose: a record larger than `max_size` isn't sent, handleError gets FrameTooLarge; one that comes nevertheless
closes its client. A record with an extra that isn't plain, like a datetime, is skipped if it comes as a pickle; as JSON it holds
the extra's str. The names that peers send make no loggers here: a name that nobody has used is handled by those above it.
"""

from __future__ import annotations

import logging.handlers
import threading

from ._fork import tell
from ._limits import Limits
from ._logging_records import MAX_SIZE, BadRecord, checked, dumps, loads
from .presets import preset
from .server import Server, ServerStats

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from ssl import SSLContext
    from types import TracebackType
    from typing import Any, Literal, Self

    from typing_extensions import Buffer

    from ._client import Client
    from ._logging_aio import RecordProtocol, start_server
    from .connection import Address

__all__ = ["BadRecord", "RecordProtocol", "RecordServer", "SocketHandler", "loads", "start_server"]

_LIMITS = Limits()


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in ("RecordProtocol", "start_server"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import _logging_aio  # and asyncio, which a SocketHandler doesn't need

    return getattr(_logging_aio, name)


class RecordServer:
    """Receives records in a thread of its own, from now until it is closed.

    address: (host, port), port 0 for any; a path for a unix socket; a listening socket, or its descriptor. As fastframe.Server's.
    handle: called with each record, in that thread: while it waits, all clients do. What it raises is logged and closes the client.
        By default the record goes to the logger of its name, as logging.getLogger(record.name).handle.
    max_size: bytes of a record. One that is larger closes its client: so it says the logger `fastframe.server`, at INFO.
    ssl, limits: as fastframe.Server's.

    What is no record, or holds what isn't plain, is skipped: so it says that logger, at WARNING, ten lines a second at most in all.
    Anybody who reaches the address can log: let it be a trusted network's, or use `ssl` with client certificates.
    """

    def __init__(
        self,
        address: Address | int | socket.socket,
        *,
        handle: Callable[[logging.LogRecord], object] | None = None,
        max_size: int = MAX_SIZE,
        ssl: SSLContext | None = None,
        limits: Limits = _LIMITS,
    ) -> None:
        framing = preset("logging_socket").replace(max_size=max_size)
        self._server = Server(_Records(checked(handle)), address, framing, ssl=ssl, limits=limits)
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="fastframe.logging", daemon=True)
        self._thread.start()

    @property
    def address(self) -> Any:
        """Where it listens, as socket.getsockname gives it: with the port, if 0 was asked for."""
        return self._server.address

    @property
    def stats(self) -> ServerStats:
        """What it has done so far."""
        return self._server.stats

    def close(self) -> None:
        """Accept nobody any more, handle the records that have come, and close. A second close does nothing."""
        self._is_closed = True
        self._server.close()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        try:
            self._server.serve_forever()
        except ValueError:
            if not self._is_closed:  # before it could begin
                raise


class SocketHandler(logging.handlers.SocketHandler):
    """Sends records to a receiver, as logging.handlers.SocketHandler does: the same calls, attributes and back-off.

    host, port: of a TCP receiver; with port None, host is the path of a unix socket.
    format: "pickle", which every receiver takes; or "json", for fastframe's and those that aren't Python's: the same keys, and
        values that JSON can't hold by their str.
    max_size: bytes of a record. One that is larger goes to handleError, with FrameTooLarge, and nothing of it is sent.
    """

    def __init__(
        self, host: str, port: int | None, *, format: Literal["pickle", "json"] = "pickle", max_size: int = MAX_SIZE
    ) -> None:
        if format not in ("pickle", "json"):
            raise ValueError(f"format must be 'pickle' or 'json', not {format!r}")
        self._framing = preset("logging_socket").replace(max_size=max_size)
        self._is_json = format == "json"
        super().__init__(host, port)
        tell(self)

    def makePickle(self, record: logging.LogRecord) -> bytes:
        """The whole frame of a record, in the format of this handler."""
        if not self._is_json:
            return self._framing.encode(super().makePickle(record)[4:])
        if record.exc_info:
            self.format(record)  # which makes exc_text
        return self._framing.encode(dumps(record))

    def send(self, s: Buffer) -> None:
        """Send a frame, if there is a connection or it is time to try for one; else it is dropped, as the host does.

        What breaks it off, an exception of a signal handler too, ends the connection: nothing may follow half a record.
        """
        if self.sock is None:
            self.createSocket()
        if self.sock is None:
            return
        try:
            self.sock.sendall(s)
        except BaseException as error:
            self._drop()
            if not isinstance(error, OSError):
                raise

    def _drop(self) -> None:
        sock, self.sock = self.sock, None
        if sock is not None:
            sock.close()

    def _in_child(self) -> None:
        """After a fork: the connection is the parent's."""
        self._drop()


class _Records:
    """A server's handler, which makes records of frames."""

    def __init__(self, handle: Callable[[logging.LogRecord], object]) -> None:
        self._handle = handle

    def frames(self, conn: Client, frames: list[bytes]) -> None:
        """Handle what they hold; tell of those that hold no record."""
        for frame in frames:
            try:
                record = loads(frame)
            except BadRecord as error:
                conn._loop.log.skipped(conn, error)
            else:
                self._handle(record)
