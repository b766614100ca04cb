"""Connections for several test files: fixtures, which each file imports and names in `__all__`; and helpers."""

import gc
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import fastframe as ff
from fastframe import _descriptor, _sending, _sockets, _tls, _transport, connection
from support import tcp_pair

FRAMING = ff.LengthField(4)
SOON = 0.05
"""Seconds after which something is tried that must still be waiting."""
LONG = 20.0
"""Seconds after which a test has failed that waits for something."""
PROMPT = 5.0
"""Seconds in which what needs no waiting is done, on a busy machine too."""

needs_signals = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")
needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no unix sockets here")
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc here to count descriptors in")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

WAITING = ("_wait", "_wait_for_sender", "settle")
"""Functions of the connection in which a call waits."""


# --- Fixtures --------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def on_engine(engine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FrameReader", "FrameWriter"):
        monkeypatch.setattr(connection, name, getattr(engine, name))
    monkeypatch.setattr(_sending, "Slices", engine.Slices)
    for module in (_descriptor, _sockets, _tls, _transport):
        monkeypatch.setattr(module, "wait", engine.wait)


@pytest.fixture
def clean() -> Iterator[list[Any]]:
    """What is put in here is closed in the end."""
    things: list[Any] = []
    yield things
    for thing in things:
        if isinstance(thing, ff.Connection):
            thing.abort()
        else:
            thing.close()


def raw_pair(kind: str) -> tuple[socket.socket, socket.socket]:
    return tcp_pair() if kind == "tcp" else socket.socketpair()


@pytest.fixture(params=["tcp", "pair"])
def raw(request: pytest.FixtureRequest, clean: list[Any]) -> tuple[socket.socket, socket.socket]:
    """Two connected sockets, over TCP and of a socketpair."""
    a, b = raw_pair(request.param)
    clean += [a, b]
    b.settimeout(LONG)
    return a, b


@pytest.fixture
def pair(raw: tuple[socket.socket, socket.socket], clean: list[Any]) -> tuple[ff.Connection, socket.socket]:
    """A connection with a timeout of LONG, and the raw socket at its other end."""
    conn = ff.wrap(raw[0], FRAMING, timeout=LONG)
    clean.append(conn)
    return conn, raw[1]


@pytest.fixture
def tight(clean: list[Any]) -> tuple[ff.Connection, socket.socket]:
    """A connection whose kernel buffers hold little, and the raw socket at its other end."""
    a, b = socket.socketpair()
    a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    b.settimeout(LONG)
    conn = ff.wrap(a, FRAMING, timeout=LONG)
    clean += [conn, b]
    return conn, b


@pytest.fixture
def alarms() -> Iterator[Callable[..., None]]:
    """alarms(handler, first, interval): call handler() after `first` seconds, and then again and again.

    alarms(handler): call it once this thread waits in a connection.
    """
    before = signal.getsignal(signal.SIGALRM)
    watchers: list[Thread] = []

    def start(handler: Callable[[], Any], first: float | None = None, interval: float = 0) -> None:
        signal.signal(signal.SIGALRM, lambda *_: handler())
        if first is not None:
            signal.setitimer(signal.ITIMER_REAL, first, interval)
            return
        thread = threading.get_ident()

        def watch() -> None:
            until_it_waits(thread)
            signal.pthread_kill(thread, signal.SIGALRM)

        watchers.append(Thread(watch))

    gc.disable()  # what a handler raises in the collector's callbacks is nobody's
    yield start
    signal.setitimer(signal.ITIMER_REAL, 0)
    gc.enable()
    for watcher in watchers:
        watcher.done()
    signal.signal(signal.SIGALRM, before)


# --- Helpers ---------------------------------------------------------------------------------------------------------


def descriptors() -> dict[str, str]:
    """This process' open descriptors, and what they lead to."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass  # the one of the listing itself
    return found


def wire(*payloads: bytes) -> bytes:
    return FRAMING.encode_many(payloads)


def take(sock: socket.socket, size: int) -> bytes:
    """Exactly so many bytes, or fewer before the end."""
    data = bytearray()
    while len(data) < size and (more := sock.recv(min(size - len(data), 65_536))):
        data += more
    return bytes(data)


def rest(sock: socket.socket) -> bytes:
    """All bytes to the end."""
    return take(sock, sys.maxsize)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def arrived(conn: ff.Connection, size: int) -> None:
    """Wait until the connection's socket holds so many bytes, and take none."""
    deadline = time.monotonic() + LONG
    while not select.select([conn], [], [], LONG)[0] or len(conn._transport.sock.recv(size, socket.MSG_PEEK)) < size:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def stuff(conn: ff.Connection) -> bytes:
    """Fill the kernel's buffers until nothing can be sent at once; what of it has yet to be flushed stays."""
    sent = b""
    while True:
        sent += wire(b"x" * 1000)
        try:
            conn.send(b"x" * 1000, timeout=0)
        except ff.SendInterrupted:
            return sent
        except ff.FrameTimeout:
            return sent[: -len(wire(b"x" * 1000))]


class Thread(threading.Thread):
    """Runs `call`; `done` waits for it, and returns or raises what it did."""

    def __init__(self, call: Callable[[], Any], after: float = 0) -> None:
        super().__init__(daemon=True)
        self._call, self._after, self._error, self._value = call, after, None, None
        self.start()

    def run(self) -> None:
        time.sleep(self._after)
        try:
            self._value = self._call()
        except BaseException as error:
            self._error = error

    def done(self) -> Any:
        self.join(LONG)
        assert not self.is_alive()
        if self._error is not None:
            raise self._error
        return self._value


def is_waiting(thread: int | None) -> bool:
    """Whether the thread is in a connection where that waits: for its socket, for another send, or at its end."""
    frame = sys._current_frames().get(thread or 0)
    while frame is not None:
        if frame.f_code.co_name in WAITING and frame.f_globals["__name__"].startswith("fastframe."):
            return True
        frame = frame.f_back
    return False


def until_it_waits(thread: int | None) -> None:
    """Return once the thread waits in a connection."""
    deadline = time.monotonic() + LONG
    while not is_waiting(thread):
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    time.sleep(0.005)  # from the frame that waits into the system call itself, as good as always


def waiting(call: Callable[[], Any]) -> Thread:
    """A thread that waits in `call`."""
    thread = Thread(call)
    until_it_waits(thread.ident)
    assert thread.is_alive()
    return thread
