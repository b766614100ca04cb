"""Records and receivers for several test files."""

import logging
import logging.handlers
import pickle
import queue
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import fastframe as ff
from fastframe.logging import RecordServer
from servers import LONG, received

FRAMING = ff.preset("logging_socket")
LARGEST = 1 << 20


def made(message: str = "hello", *args: Any, **given: Any) -> logging.LogRecord:
    record = logging.LogRecord("app.part", logging.WARNING, "/srv/part.py", 7, message, args, None, "greet")
    record.__dict__.update(given)
    return record


class Received:
    """What a receiver hands over."""

    def __init__(self) -> None:
        self._records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        self.put = self._records.put

    def next(self) -> logging.LogRecord:
        return self._records.get(timeout=LONG)

    @property
    def empty(self) -> bool:
        return self._records.empty()


@contextmanager
def ours(handle: Callable[[logging.LogRecord], object], **given: Any) -> Iterator[Any]:
    """Our receiver's address."""
    with RecordServer(("127.0.0.1", 0), handle=handle, **given) as server:
        yield server.address


@contextmanager
def cookbook(handle: Callable[[logging.LogRecord], object]) -> Iterator[Any]:
    """The address of a receiver as the logging cookbook shows it."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while len(header := self.connection.recv(4)) == 4:
                (size,) = struct.unpack(">L", header)
                data = self.connection.recv(size)
                while len(data) < size:
                    data += self.connection.recv(size - len(data))
                handle(logging.makeLogRecord(pickle.loads(data)))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """What handlers have given up a record for."""
    found: list[BaseException] = []

    def note(handler: logging.Handler, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        assert error is not None
        found.append(error)

    monkeypatch.setattr(logging.Handler, "handleError", note)
    return found


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the server has said of its clients at INFO and above."""
    return [f"{record.levelname} {record.getMessage()}" for record in caplog.records if record.levelno >= logging.INFO]


def send(address: Any, *payloads: bytes) -> bytes:
    """Send these, and nothing more; all that comes back, up to the end."""
    with socket.create_connection(address, timeout=LONG) as sock:
        sock.sendall(FRAMING.encode_many(payloads))
        sock.shutdown(socket.SHUT_WR)
        return received(sock, 1)


def good(message: str = "hello") -> bytes:
    return logging.handlers.SocketHandler("", 0).makePickle(made(message))[4:]
