"""Servers for several test files: on both engines, in a thread of their own or turned by hand with a clock of the test's."""

import os
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import pytest

import fastframe as ff
from conftest import MODULES
from fastframe import _loop, _session
from fastframe._listener import bound
from fastframe._service import Service, Terms

FRAMING = ff.LengthField(4)
LONG = 20.0
"""Seconds after which a test has failed that waits for something."""


@pytest.fixture(autouse=True)
def on_engine(engine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's side runs on this engine."""
    for name in ("FrameReader", "FrameWriter"):
        monkeypatch.setattr(_session, name, getattr(engine, name))
    monkeypatch.setattr(_loop, "Poller", engine.Poller)


@contextmanager
def serving(
    handler: Any, address: Any = ("127.0.0.1", 0), framing: ff.Framing = FRAMING, **given: Any
) -> Iterator[ff.Server]:
    """A server that serves in a thread, and that is shut down behind the block."""
    server = ff.Server(handler, address, framing, **given)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown(timeout=LONG)
        thread.join(LONG)
        assert not thread.is_alive()


def to(server: ff.Server, framing: ff.Framing = FRAMING, **given: Any) -> ff.Connection:
    """A client of the server."""
    return ff.connect(server.address, framing, timeout=LONG, **given)


class Told:
    """A handler that notes what it is told, and echoes."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.conns: list[Any] = []
        self.gone = threading.Semaphore(0)
        """Released when a client has gone."""

    def connected(self, conn: Any) -> None:
        self.conns.append(conn)
        self.events.append(("connected",))

    def frames(self, conn: Any, frames: list[bytes]) -> None:
        self.events += [("frame", frame) for frame in frames]
        conn.send_many(frames)

    def closed(self, conn: Any, error: BaseException | None) -> None:
        self.events.append(("closed", error))
        self.gone.release()

    def wait(self) -> None:
        """Until a client has gone."""
        assert self.gone.acquire(timeout=LONG)

    @property
    def error(self) -> BaseException | None:
        """What it was told at the end of its only client."""
        (error,) = [event[1] for event in self.events if event[0] == "closed"]
        return error


class Clock:
    """Shows the time that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class ByHand:
    """A service that is turned by the test, in its own thread, with a clock that stands still unless the test moves it."""

    def __init__(self, handler: Any, framing: ff.Framing = FRAMING, ssl: Any = None, **limits: Any) -> None:
        self.clock = Clock()
        sock = bound(("127.0.0.1", 0), False)
        sock.listen()
        self.address = sock.getsockname()
        terms = Terms(handler, framing, framing, ssl, ff.Limits(**limits))
        self.service = Service(terms, sock, self.clock)
        self.loop = self.service.loop
        self.loop.enter()
        self._peers: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *given: object) -> None:
        for client in list(self.loop.clients):
            client.abort()
        self.loop.leave()
        self.service.close()
        for peer in self._peers:
            peer.close()

    def turn(self, times: int = 3) -> None:
        """Do what there is to do, without waiting for more."""
        for _ in range(times):
            self.loop._asked.append((int, ()))
            self.loop.turn()

    def until(self, done: Callable[[], object]) -> None:
        """Turn until that is so: what a peer has sent may take a moment to come. If it takes many, the clock goes on a little."""
        for i in range(20000):
            if done():
                return
            self.turn(1)
            if i > 100:
                self.clock.now += 0.001
        raise AssertionError("it never was")

    def peer(self, **options: int) -> socket.socket:
        """A client's socket, connected and accepted."""
        before = len(self.loop.clients)
        sock = socket.socket()
        for name, value in options.items():
            sock.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        sock.connect(self.address)
        sock.settimeout(LONG)
        self._peers.append(sock)
        self.until(lambda: len(self.loop.clients) > before)
        return sock

    def comer(self) -> socket.socket:
        """A client's socket, which nobody has accepted yet."""
        sock = socket.create_connection(self.address)
        sock.settimeout(LONG)
        self._peers.append(sock)
        return sock

    def pass_time(self, seconds: float) -> None:
        """So many seconds later."""
        self.clock.now += seconds
        self.turn()


def received(sock: socket.socket, size: int) -> bytes:
    """So many bytes, or fewer at the end."""
    data = b""
    while len(data) < size and (more := sock.recv(size - len(data))):
        data += more
    return data


def in_a_process(engine: ModuleType, *script: str, **environment: str) -> None:
    """Run the parts of the script in a process of its own, on this engine."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
        "FASTFRAME_PURE": "1" if engine.__name__ == MODULES["pure"] else "0",
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(map(textwrap.dedent, script))],
        env=environment,
        capture_output=True,
        text=True,
        timeout=6 * LONG,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
