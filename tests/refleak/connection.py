"""The operations of Connection, `connect` and `wrap`, each as a call without arguments. Made by the engine in use."""

import contextlib
import copy
import io
import multiprocessing
import os
import pickle
import socket
import tempfile
import threading
import warnings
from array import array
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fastframe as ff
from connections import LONG, reset, take, until_it_waits
from support import tcp_pair
from tlspairs import shaken

from .decoder import BAD, FRAMING, GOOD, byte
from .expected import broken_off, raises
from .meter import Operation
from .streams import breaking

RECEIVES: dict[str, Callable[[ff.Connection, float | None], object]] = {
    "recv": lambda conn, timeout: conn.recv(timeout),
    "recv_many": lambda conn, timeout: conn.recv_many(timeout),
    "recv_batch": lambda conn, timeout: conn.recv_batch(timeout),
    "recv_into": lambda conn, timeout: conn.recv_into(bytearray(100_000), timeout),
}
LARGE = b"x" * 600_000


def connections() -> Iterator[tuple[str, Operation]]:
    for kind in ("pair", "tcp", "tls", "pipes"):
        for end in ("close", "abort", "with", "forget"):
            yield f"{end}, {kind}", partial(round_trip, kind, end)
    for name, (framing, frames) in GOOD.items():
        if name != "UntilEOF":
            yield f"round trips, {name}", partial(round_trips, framing, frames)
    for call in RECEIVES:
        for number, (framing, data, kind) in enumerate(BAD):
            yield f"{kind.__name__} by {call}, {number}", partial(fail, framing, data, kind, call)
        for readahead in (True, False):
            yield f"timeouts and breaks of {call}, readahead={readahead}", partial(run_out, call, readahead)
    for function in OPERATIONS:
        yield function.__name__.replace("_", " "), function


@contextlib.contextmanager
def pair(framing: ff.Framing = FRAMING, **named: Any) -> Iterator[tuple[ff.Connection, socket.socket]]:
    """A connection and the socket at its other end, of a socketpair."""
    ours, theirs = socket.socketpair()
    with theirs:
        conn = ff.wrap(ours, framing, **{"timeout": LONG, **named})
        try:
            yield conn, theirs
        finally:
            conn.abort()


# --- Opening, carrying frames, closing -------------------------------------------------------------------------------


def opened(kind: str) -> tuple[ff.Connection, ff.Connection]:
    if kind == "pipes":
        (ours, its), (theirs, mine) = os.pipe(), os.pipe()
        return ff.wrap(ours, FRAMING, writer=mine), ff.wrap(theirs, FRAMING, writer=its)
    a, b = socket.socketpair() if kind == "pair" else tcp_pair()
    if kind == "tls":
        a, b = shaken(a, b)
    return ff.wrap(a, FRAMING, timeout=LONG), ff.wrap(b, FRAMING, timeout=LONG)


def round_trip(kind: str, end: str) -> None:
    """A frame both ways, some unread input, and an end of every kind."""
    conn, other = opened(kind)
    conn.send(b"question")
    other.send_many([other.recv(), b"unread", b"too"])
    assert conn.recv() == b"question"
    if end == "with":
        with conn:
            conn.send(b"more")
    elif end == "forget":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del conn
    else:
        getattr(conn, end)()
        raises(ValueError, conn.recv)
        raises(ValueError, conn.send, b"x")
    with contextlib.suppress(ff.FrameError):
        other.recv_many()
    other.abort()


def round_trips(framing: ff.Framing, frames: list[bytes]) -> None:
    """By every call, against a decoder."""
    with pair(framing) as (conn, theirs):
        wire = framing.encode_many(frames)
        theirs.sendall(wire)
        assert conn.poll()
        got = conn.recv_many()
        while len(got) < len(frames):
            got += conn.recv_many()
        theirs.sendall(wire)
        got += list(conn.recv_batch())
        while len(got) < 2 * len(frames):
            got += list(conn.recv_batch())
        assert got == frames * 2
        theirs.sendall(wire[:-1])
        with contextlib.suppress(ff.FrameTimeout):
            while conn.recv(0) is not None:
                pass
        conn.unread()
        for send in (conn.send_many, lambda frames: conn.send_many(iter(frames))):
            send(frames)
            take(theirs, len(wire))
        for frame in frames:
            conn.send(bytearray(frame))
        take(theirs, len(wire))
        conn.flush()
        conn.shutdown_send()
        raises(ValueError, conn.send, frames[0])
        theirs.sendall(wire)
        theirs.shutdown(socket.SHUT_WR)
        assert list(conn) == frames


def connect_and_refuse() -> None:
    """By TCP and by a unix socket; and where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with ff.connect(address, FRAMING, timeout=LONG) as conn:
            assert conn.peer_address == address
            assert conn.local_address
    raises(ConnectionRefusedError, ff.connect, address, FRAMING)
    raises(ConnectionRefusedError, ff.connect, address, FRAMING, timeout=LONG)
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        path = str(Path(folder) / "s")
        raises(FileNotFoundError, ff.connect, path, FRAMING)
        server.bind(path)
        server.listen()
        ff.connect(path, FRAMING, timeout=0).close()


def wrong_arguments() -> None:
    for address in (5, None, ["h", 1]):
        raises(TypeError, ff.connect, address, FRAMING)
    for address in ("localhost:80", ("h",), ("localhost", 1 << 20)):
        raises(ValueError, ff.connect, address, FRAMING)
    raises(TypeError, ff.connect, ("localhost", 80), b"x")
    raises(ValueError, ff.connect, ("localhost", 80), FRAMING, timeout=-1)
    raises(ValueError, ff.connect, ("localhost", 80), FRAMING, server_hostname="localhost")
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        for source in (None, "x", object(), True, datagrams, io.StringIO(), ours.makefile("rb")):
            raises(TypeError, ff.wrap, source, FRAMING)
        for source in (-1, 1 << 20, io.BytesIO.__new__(io.BytesIO)):
            with contextlib.suppress(ValueError):
                ff.wrap(source, FRAMING).abort()
        raises(TypeError, ff.wrap, ours, 5)
        raises(TypeError, ff.wrap, ours, FRAMING, writer=theirs)
        raises(TypeError, ff.wrap, ours, FRAMING, timeout="x")
        for name in ("timeout", "frame_timeout", "idle_timeout"):
            raises(ValueError, ff.wrap, ours, FRAMING, **{name: float("nan")})
    raises(ValueError, ff.wrap, ours, FRAMING)


def properties_and_wrong_calls() -> None:
    with pair() as (conn, _):
        for name in ("timeout", "frame_timeout", "idle_timeout"):
            for value in (1, 2.5, None):
                setattr(conn, name, value)
                assert getattr(conn, name) == value
            raises(ValueError, setattr, conn, name, -1)
            raises(TypeError, setattr, conn, name, "x")
        for call in (conn.recv, conn.recv_many, conn.recv_batch, conn.poll, conn.flush, conn.close):
            raises(ValueError, call, -1)
        for payload in (None, "x", 5, [b"x"]):
            raises(TypeError, conn.send, payload)
        raises(TypeError, conn.send_many, 5)
        raises(TypeError, conn.recv_into, b"x")
        raises(TypeError, conn.recv_into, 5)
        raises(TypeError, setattr, conn, "framing", 5)
        raises(TypeError, setattr, conn, "send_framing", 5)
        raises(TypeError, conn.__init__, 5, FRAMING)
        raises(TypeError, copy.copy, conn)
        raises(TypeError, pickle.dumps, conn)
        conn.framing = conn.send_framing = ff.Netstring()
        assert conn.framing == conn.send_framing
        assert conn.stats.received.frames == conn.pending == 0
        assert conn.fileno() > 0
        assert not conn.closed
        assert repr(conn)
    empty = ff.Connection.__new__(ff.Connection)
    assert repr(empty)


# --- Receives that fail ----------------------------------------------------------------------------------------------


def fail(framing: ff.Framing, data: bytes, kind: type[ff.FrameError], call: str) -> None:
    """A stream that breaks, or ends too early: behind its good frames, twice."""
    with pair(framing) as (conn, theirs):
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        assert conn.poll(LONG)
        try:
            while True:
                RECEIVES[call](conn, LONG)
        except kind:
            pass
        raises(kind, RECEIVES[call], conn, LONG)
        raises(kind, conn.unread)
        raises(kind, next, iter(conn))
        assert conn.poll()


def run_out(call: str, readahead: bool) -> None:
    """The time is up at every stage, a handler breaks the call off; and no byte is lost."""
    with pair(readahead=readahead) as (conn, theirs):
        data = FRAMING.encode(b"hello")
        for piece in (data[:2], data[2:6], data[6:]):
            raises(ff.FrameTimeout, RECEIVES[call], conn, 0)
            raises(ff.FrameTimeout, RECEIVES[call], conn, 0.0001)
            broken_off(RECEIVES[call], conn, LONG)
            assert not conn.poll()
            assert not conn.poll(0.0001)
            theirs.send(piece)
        assert RECEIVES[call](conn, 0)
        conn.timeout = None
        broken_off(conn.recv)
        broken_off(next, iter(conn))


def frame_and_idle_timeouts() -> None:
    with pair(frame_timeout=0.0002) as (conn, theirs):
        theirs.send(b"\0\0")
        raises(ff.FrameTimeout, conn.recv)
        raises(ff.FrameTimeout, conn.recv_many)
    with pair(idle_timeout=0.0002) as (conn, theirs):
        raises(ff.FrameTimeout, conn.recv)
        raises(ff.FrameTimeout, conn.recv_batch)


def lost_connections() -> None:
    """Resets and broken pipes."""
    ours, theirs = tcp_pair()
    conn = ff.wrap(ours, FRAMING, timeout=LONG)
    theirs.sendall(FRAMING.encode(b"x"))
    assert conn.recv() == b"x"
    reset(theirs)
    for call in (conn.recv, conn.recv_many, conn.recv_batch, conn.unread):
        raises(ff.ConnectionLost, call)
    with contextlib.suppress(ff.ConnectionLost):
        conn.send(b"x")
    for call in (conn.send, conn.recv_into):
        raises(ff.ConnectionLost, call, bytearray(10))
    raises(ff.ConnectionLost, conn.send_many, [b"x"])
    raises(ff.ConnectionLost, conn.flush)
    conn.close()
    with pair() as (conn, theirs):
        theirs.close()
        raises(ff.ConnectionLost, conn.send, b"x")
        raises(ff.ConnectionClosed, conn.recv)


def a_buffer_too_small() -> None:
    with pair() as (conn, theirs):
        theirs.sendall(FRAMING.encode(b"hello"))
        raises(ValueError, conn.recv_into, bytearray(4))
        buffer = array("B", bytes(9))
        assert conn.recv_into(buffer) == 5
        theirs.sendall(FRAMING.encode(b"hello"))
        assert conn.recv_into(memoryview(buffer)[2:]) == 5


def computed() -> None:
    """What its function raises passes; a call that comes back in is ConcurrentUse."""
    with pair(ff.Computed(1, byte)) as (conn, theirs):
        theirs.sendall(b"\x02a\xfe")
        assert conn.recv() == b"\x02a"
        for call in RECEIVES.values():
            raises(LookupError, call, conn, LONG)

        def function(header: bytes) -> int:
            for call in RECEIVES.values():
                raises(ff.ConcurrentUse, call, conn, LONG)
            raises(ff.ConcurrentUse, conn.detach)
            raise KeyboardInterrupt

        conn.framing = ff.Computed(1, function)
        for call in RECEIVES.values():
            raises(KeyboardInterrupt, call, conn, LONG)
        conn.framing = FRAMING


# --- Sends that fail -------------------------------------------------------------------------------------------------


def interrupted_sends() -> None:
    """Part of it is out; the rest is flushed, or goes with the connection."""
    with pair() as (conn, _):
        raises(ff.SendInterrupted, conn.send, LARGE, 0)
        for call in (conn.flush, conn.shutdown_send):
            raises(ff.SendInterrupted, call, 0.0001)
        for call, what in ((conn.send, b"x"), (conn.send_many, [b"x"])):
            raises(ff.FrameTimeout, call, what, 0)
            raises(ff.FrameTimeout, call, what, 0.0001)
            broken_off(call, what)
        broken_off(conn.flush)
        raises(ValueError, conn.detach)
        assert conn.pending
        conn.close(0.0001)
    with pair() as (conn, _):
        raises(ff.SendInterrupted, conn.send_many, [LARGE] * 2, 0)
        raises(ff.SendInterrupted, conn.send_many, iter([LARGE]), 0)
        broken_off(conn.close)
    with pair() as (conn, _):
        broken_off(conn.send, bytearray(LARGE))
        conn.abort()


def refused_payloads() -> None:
    with pair(ff.LengthField(1, max_size=10)) as (conn, _):
        raises(ff.FrameTooLarge, conn.send, b"x" * 11)
        raises(ff.FrameTooLarge, conn.send_many, [b"x", b"x" * 11])
        for kind in (LookupError, KeyboardInterrupt, OSError):
            raises(kind, conn.send_many, breaking(kind))
        conn.send_framing = ff.LengthField(1, trailer_size=2)
        raises(ValueError, conn.send, b"x")
        assert conn.pending == 0


def an_iterable_that_comes_back_in() -> None:
    with pair() as (conn, _):

        def payloads() -> Iterator[bytes]:
            for call in (conn.flush, conn.shutdown_send, conn.detach):
                raises(ff.ConcurrentUse, call)
            raises(ff.ConcurrentUse, conn.send, b"x")
            raises(ff.ConcurrentUse, conn.send_many, [b"x"])
            yield b"y"

        conn.send_many(payloads())


# --- Several users ---------------------------------------------------------------------------------------------------


def woken_by_the_end() -> None:
    """A receiver and a sender wait in other threads; others get ConcurrentUse, or wait too; then it is closed."""
    for end in (ff.Connection.abort, lambda conn: conn.close(0)):
        with pair() as (conn, _):
            calls = [conn.recv, lambda conn=conn: conn.send(LARGE), lambda conn=conn: conn.send(LARGE)]
            threads = [threading.Thread(target=swallow, args=[call]) for call in calls]
            for thread in threads:
                thread.start()
                until_it_waits(thread.ident)
            for call in (conn.recv, conn.recv_many, conn.recv_batch, conn.poll, conn.unread, conn.detach):
                raises(ff.ConcurrentUse, call)
            raises(ff.FrameTimeout, conn.send, b"x", 0)
            end(conn)
            for thread in threads:
                thread.join()


def swallow(call: Callable[[], object]) -> None:
    with contextlib.suppress(ff.ConnectionClosed, ff.ConnectionLost):
        call()


# --- Other sources ---------------------------------------------------------------------------------------------------


def descriptors_with_frames() -> None:
    ours, theirs = socket.socketpair()
    with (
        ff.wrap(ours, FRAMING, readahead=False, timeout=LONG) as conn,
        ff.wrap(theirs, FRAMING, readahead=False, timeout=LONG) as other,
        tempfile.TemporaryFile() as file,
    ):
        for _ in range(3):
            conn.send(b"here", fds=[file.fileno(), file.fileno()])
        frame, numbers = other.recv_fds()
        for number in numbers:
            os.close(number)
        assert frame == other.recv() == b"here"
        raises(ff.FrameTimeout, conn.recv_fds, 0)
        raises(TypeError, conn.send, b"x", fds=["x"])
        raises(ValueError, conn.send, b"x", fds=[0] * 300)
        raises(OSError, conn.send, b"x", fds=[1 << 20])
    with pair() as (conn, _):
        raises(ValueError, conn.recv_fds)


def detached() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        conn = ff.wrap(ours, FRAMING)
        theirs.sendall(FRAMING.encode(b"x")[:-1])
        raises(ff.FrameTimeout, conn.recv, 0)
        raises(ValueError, conn.detach)
        assert conn.unread()
        assert conn.detach() is ours
        raises(ValueError, conn.detach)
        raises(ValueError, conn.recv)


def files_and_pipes() -> None:
    with tempfile.TemporaryFile() as file:
        conn = ff.wrap(file, FRAMING)
        conn.send(b"x")
        assert conn.detach() is file
        file.seek(0)
        with ff.wrap(file, FRAMING) as conn:
            assert list(conn) == [b"x"]
    ff.wrap(io.BytesIO(FRAMING.encode(b"x")), FRAMING).close()
    reading, writing = os.pipe()
    with ff.wrap(reading, FRAMING) as conn, ff.wrap(writing, FRAMING) as other:
        other.send(b"x")
        assert conn.recv() == b"x"
        for call in (conn.shutdown_send, conn.flush, lambda: conn.local_address, lambda: conn.peer_address):
            with contextlib.suppress(ValueError):
                call()
        raises(ValueError, conn.send, b"x")
        raises(ValueError, other.recv)
        raises(ff.FrameTimeout, conn.recv, 0)
    with ff.wrap(multiprocessing.Pipe()[0], FRAMING) as conn:
        raises(ff.ConnectionClosed, conn.recv)


def tls_without_its_end() -> None:
    """The peer goes without a close_notify; and half-closes."""
    conn, other = opened("tls")
    other.shutdown_send()
    raises(ff.ConnectionClosed, conn.recv)
    conn.send(b"x")
    assert other.recv() == b"x"
    other.abort()
    with contextlib.suppress(ff.ConnectionLost):
        while True:
            conn.send(LARGE, 0.01)
    conn.abort()


OPERATIONS: list[Operation] = [
    connect_and_refuse,
    wrong_arguments,
    properties_and_wrong_calls,
    frame_and_idle_timeouts,
    lost_connections,
    a_buffer_too_small,
    computed,
    interrupted_sends,
    refused_payloads,
    an_iterable_that_comes_back_in,
    woken_by_the_end,
    descriptors_with_frames,
    detached,
    files_and_pipes,
    tls_without_its_end,
]
