"""TLS with everybody at it at once, on both engines: threads, signal handlers that send or raise, forks."""

import gc
import os
import random
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

import fastframe as ff
from connections import FRAMING, LONG, Thread, alarms, clean, needs_signals, on_engine, take, wire
from fastframe._tls import TLSChannel
from support import tcp_pair
from tlspairs import ends, shaken, version

__all__ = ["alarms", "clean", "ends", "on_engine", "version"]  # the fixtures that pytest is to find here

Ends = tuple[ff.Connection, ssl.SSLSocket]
Alarms = Callable[..., None]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@pytest.fixture
def no_garbage() -> Iterator[None]:
    """What a handler raises inside a finalizer is lost: so that none runs."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


STORM = 0.0007
"""Seconds between two signals."""


class Stop(Exception):
    """What a signal handler raises."""


# --- Threads ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tcp", "pair"])
def test_both_directions_of_both_ends_at_once(version: str, kind: str, clean: list[Any]) -> None:
    a, b = socket.socketpair() if kind == "pair" else tcp_pair()
    conns = [ff.wrap(sock, FRAMING, timeout=LONG) for sock in shaken(a, b, version)]
    clean += conns
    chance = random.Random(2)
    frames = [chance.randbytes(chance.choice([1, 300, 5000, 40_000])) for _ in range(600)]
    threads = []
    for conn in conns:
        threads.append(Thread(lambda conn=conn: [conn.recv() for _ in range(2 * len(frames))]))
        # Two threads send: whole frames, in any order.
        threads += [Thread(lambda conn=conn: [conn.send(frame) for frame in frames]) for _ in range(2)]
    for thread in threads:
        got = thread.done()
        assert got[0] is None or sorted(got) == sorted(2 * frames)


def test_close_from_a_third_thread(version: str, clean: list[Any]) -> None:
    for run in range(10):
        a, b = shaken(*tcp_pair(), version)
        conn, peer = (ff.wrap(sock, FRAMING, timeout=LONG) for sock in (a, b))
        clean += [conn, peer]
        frame = bytes(100_000)
        got: list[bytes] = []

        def send(conn: ff.Connection = conn, frame: bytes = frame) -> int:
            count = 0
            try:
                while True:
                    conn.send(frame)
                    count += 1
            except (ff.ConnectionClosed, ValueError):
                return count

        def receive(conn: ff.Connection = conn) -> None:
            with pytest.raises((ff.ConnectionClosed, ValueError)):
                while True:
                    conn.recv()

        ours = [Thread(send), Thread(receive)]
        theirs = [Thread(lambda peer=peer, got=got: got.extend(peer)), Thread(lambda peer=peer: flood(peer))]
        time.sleep(0.002 * run)
        conn.close(LONG)
        count = ours[0].done()
        ours[1].done()
        for thread in theirs:
            thread.done()
        assert got == [frame] * len(got)
        assert len(got) >= count


def flood(conn: ff.Connection) -> None:
    """Send until the other end has had enough."""
    try:
        while True:
            conn.send(bytes(1000))
    except ff.ConnectionLost:
        pass


# --- Signals ---------------------------------------------------------------------------------------------------------


@needs_signals
def test_a_signal_handler_sends_inside_a_receive(ends: Ends, alarms: Alarms) -> None:
    conn, other = ends
    alarms(lambda: conn.send(b"from the handler"))
    echo = Thread(lambda: other.sendall(take(other, 20)))
    assert conn.recv() == b"from the handler"
    echo.done()


@needs_signals
def test_a_storm_of_signals_whose_handler_sends(ends: Ends, alarms: Alarms, clean: list[Any]) -> None:
    conn, other = ends
    peer = ff.wrap(other, FRAMING, timeout=LONG)
    clean.append(peer)
    frames = [bytes([size % 256]) * size for size in range(0, 60_000, 40)]
    handled = []

    def handler() -> None:
        try:
            conn.send(b"now")
            handled.append(b"now")
        except ff.ConcurrentUse:
            pass  # inside the send of another handler

    sender, reading = Thread(lambda: peer.send_many(frames)), Thread(lambda: list(peer))
    alarms(handler, STORM, STORM)
    assert [conn.recv() for _ in frames] == frames
    signal.setitimer(signal.ITIMER_REAL, 0)
    conn.shutdown_send()
    sender.done()
    assert reading.done() == handled
    assert handled


class Storm:
    """A handler that raises Stop, once in each call that is made by `run`."""

    def __init__(self, alarms: Alarms) -> None:
        self.stopped = 0
        self._armed = False
        alarms(self._handle, STORM, STORM)

    def _handle(self) -> None:
        if self._armed:
            self._armed = False
            raise Stop

    def run(self, got: list[Any], call: Callable[[Any], Any], given: Any) -> bool:
        """Put what call(given) returns into `got`; False if the handler has raised, be it behind that."""
        try:
            self._armed = True
            got.extend(map(call, (given,)))
        except Stop:
            self.stopped += 1
            return False
        finally:
            self._armed = False
        return True


@needs_signals
@pytest.mark.usefixtures("no_garbage")
@pytest.mark.parametrize("pause", [0, 0.0002])
def test_a_receive_goes_on_after_what_a_handler_raises_or_says_that_it_can_not(
    ends: Ends, alarms: Alarms, pause: float
) -> None:
    conn, other = ends
    frames = [random.Random(size).randbytes(size) for size in range(0, 40_000, 50)]

    def peer() -> None:
        with suppress(OSError):
            for frame in frames:
                time.sleep(pause)
                other.sendall(wire(frame))

    storm, got, sender = Storm(alarms), [], Thread(peer)
    lost = False
    while len(got) < len(frames) and not lost:
        try:
            storm.run(got, conn.recv, LONG)
        except ff.ConnectionLost as error:
            lost = "exception" in str(error)
            assert lost
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert storm.stopped
    assert got == frames[: len(got)]
    conn.abort()
    sender.done()


@needs_signals
@pytest.mark.usefixtures("no_garbage")
@pytest.mark.parametrize("size", [30, 5000, 100_000])
def test_a_send_goes_on_after_what_a_handler_raises_or_says_that_it_can_not(
    version: str, size: int, alarms: Alarms, clean: list[Any]
) -> None:
    a, b = socket.socketpair()
    a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    ours, other = shaken(a, b, version)
    conn, peer = ff.wrap(ours, FRAMING, timeout=LONG), ff.wrap(other, FRAMING, timeout=LONG)
    clean += [conn, peer]
    frames = [number.to_bytes(4) + random.Random(number).randbytes(size) for number in range(400_000 // size + 40)]
    got: list[bytes] = []

    def receive() -> None:
        with suppress(ff.ConnectionLost, ff.TruncatedFrame):
            got.extend(peer)

    receiver, storm = Thread(receive), Storm(alarms)
    sure, maybe = set(), set()
    try:
        for frame in frames:
            maybe.add(frame)
            taken = conn.stats.sent.frames
            if storm.run([], conn.send, frame) or conn.stats.sent.frames > taken:
                sure.add(frame)
        signal.setitimer(signal.ITIMER_REAL, 0)
        conn.shutdown_send()
    except ff.ConnectionLost as error:
        assert "exception" in str(error)  # noqa: PT017
        sure.clear()
        conn.abort()
    signal.setitimer(signal.ITIMER_REAL, 0)
    receiver.done()
    # What arrives was sent, whole, once and in its place.
    place = iter(frames)
    assert all(any(frame == one for one in place) for frame in got)
    assert sure <= set(got) <= maybe


class Raising:
    """A lock, in whose release a signal handler raises."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        raise Stop


def test_an_exception_behind_openssls_call_ends_the_direction(ends: Ends) -> None:
    conn, other = ends
    channel = conn._transport._channel  # type: ignore[attr-defined]
    lock = channel._lock
    other.sendall(wire(b"lost"))
    channel._lock = Raising(lock)
    for call in (conn.recv, lambda: conn.send(b"sent")):
        with pytest.raises(Stop):
            call()
    channel._lock = lock
    for call in (conn.recv, lambda: conn.send(b"never twice")):
        with pytest.raises(ff.ConnectionLost, match="exception"):
            call()
    conn.close()
    assert take(other, 8) == wire(b"sent")
    other.suppress_ragged_eofs = False  # type: ignore[attr-defined]
    with pytest.raises(OSError):
        other.recv(1)


def test_a_record_that_the_engine_forgets_is_followed_by_nothing_else(
    version: str, monkeypatch: pytest.MonkeyPatch, clean: list[Any]
) -> None:
    a, b = socket.socketpair()
    a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    ours, other = shaken(a, b, version)
    conn = ff.wrap(ours, FRAMING, timeout=0)
    clean += [conn, other]
    before = TLSChannel.send

    def send(self: TLSChannel, data: bytes) -> int | None:
        if (count := before(self, data)) is None:
            raise Stop
        return count

    monkeypatch.setattr(TLSChannel, "send", send)
    sent = 0
    with pytest.raises(Stop):
        while True:
            conn.send(bytes(1000))
            sent += 1
    monkeypatch.undo()
    got = bytearray()

    def receive() -> None:
        with suppress(OSError):
            while more := other.recv(65_536):
                got.extend(more)

    reader = Thread(receive)
    conn.timeout = LONG
    if not conn.pending:
        with pytest.raises(ff.ConnectionLost, match="exception"):
            conn.send(b"another one")
    conn.close()
    reader.done()
    assert got[: sent * 1004] == wire(bytes(1000)) * sent
    assert wire(bytes(1000)).startswith(got[sent * 1004 :])


# --- Processes -------------------------------------------------------------------------------------------------------


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("readahead", [True, False])
@pytest.mark.parametrize("end", ["nothing", "close", "abort"])
def test_a_fork_leaves_tls_to_the_parent(version: str, readahead: bool, end: str, clean: list[Any]) -> None:
    # Two processes with one key and one count of records would encrypt two texts alike.
    ours, other = shaken(*tcp_pair(), version)
    conn = ff.wrap(ours, FRAMING, readahead=readahead, timeout=LONG)
    clean += [conn, other]
    other.sendall(wire(b"one", b"two"))
    assert conn.recv() == b"one"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for call in (conn.recv, lambda: conn.send(b"from the child"), conn.shutdown_send):
                try:
                    call()
                except ff.ConcurrentUse:
                    code = 0
                else:
                    code = 2
                    break
            if end != "nothing":
                getattr(conn, end)()
            del conn
            gc.collect()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert conn.recv() == b"two"
    conn.send(b"from the parent")
    assert take(other, 19) == wire(b"from the parent")
    other.sendall(wire(b"three"))
    assert conn.recv() == b"three"


def test_who_begins_to_wait_during_a_half_close_is_woken(monkeypatch: pytest.MonkeyPatch, clean: list[Any]) -> None:
    swapped, ended = threading.Event(), threading.Event()
    end = TLSChannel._end

    def slowly(channel: Any) -> None:
        swapped.set()
        assert ended.wait(LONG)
        end(channel)

    monkeypatch.setattr(TLSChannel, "_end", slowly)
    ours, other = shaken(*tcp_pair(), "1.3")
    conn = ff.wrap(ours, FRAMING, timeout=LONG)
    clean += [conn, other]
    transport = conn._transport
    assert not conn.poll(0.05)  # but OpenSSL has the server's tickets now
    half_close = Thread(conn.shutdown_send)
    assert swapped.wait(LONG)
    waits = Thread(lambda: transport.wait(False, None))
    time.sleep(0.1)  # into the system call
    ended.set()
    half_close.done()
    assert waits.is_alive()
    other.sendall(wire(b"hello"))
    assert waits.done()
    assert conn.recv() == b"hello"
