"""Giving a source back, and failing to take one: it is the caller's, open and as it was; on both engines."""

import gc
import io
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import fastframe as ff
from connections import (
    FRAMING,
    LONG,
    SOON,
    Thread,
    clean,
    descriptors,
    needs_proc,
    on_engine,
    pair,
    raw,
    take,
    tight,
    waiting,
    wire,
)
from fastframe import connection

__all__ = ["clean", "on_engine", "pair", "raw", "tight"]  # the fixtures that pytest is to find here

Pair = tuple[ff.Connection, socket.socket]


# --- Detaching -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [None, 0.0, 2.5])
def test_a_socket_comes_back_as_it_was(raw: tuple[socket.socket, socket.socket], own: float | None) -> None:
    raw[0].settimeout(own)
    blocking = os.get_blocking(raw[0].fileno())
    conn = ff.wrap(raw[0], FRAMING, timeout=LONG)
    raw[1].sendall(wire(b"frame"))
    assert conn.recv() == b"frame"
    assert conn.detach() is raw[0]
    assert raw[0].gettimeout() == own
    assert os.get_blocking(raw[0].fileno()) == blocking
    raw[0].sendall(b"text")
    assert take(raw[1], 4) == b"text"
    with ff.wrap(raw[0], FRAMING) as again:
        again.send(b"again")
        assert take(raw[1], 9) == wire(b"again")


@pytest.mark.parametrize("blocking", [True, False])
def test_the_number_of_a_socket_comes_back(raw: tuple[socket.socket, socket.socket], blocking: bool) -> None:
    number = raw[0].detach()
    os.set_blocking(number, blocking)
    conn = ff.wrap(number, FRAMING, timeout=LONG)
    conn.send(b"x")
    assert conn.local_address == raw[1].getpeername()
    assert conn.detach() == number
    del conn
    gc.collect()
    assert os.get_blocking(number) == blocking
    os.write(number, b"y")
    assert take(raw[1], 6) == wire(b"x") + b"y"
    with ff.wrap(number, FRAMING) as again:
        again.send(b"again")
    with pytest.raises(OSError):
        os.fstat(number)


def test_afterwards_the_connection_is_closed(pair: Pair) -> None:
    conn, _ = pair
    sock = conn.detach()
    assert conn.closed
    assert repr(conn).startswith("<Connection closed")
    for call in (conn.recv, lambda: conn.send(b"x"), conn.flush, conn.detach, conn.fileno, conn.poll, conn.unread):
        with pytest.raises(ValueError, match="closed"):
            call()
    conn.close()
    conn.abort()
    assert sock.fileno() >= 0
    sock.close()


@pytest.mark.parametrize("held", ["a frame", "half a frame"])
def test_received_bytes_arent_lost(pair: Pair, held: str) -> None:
    conn, peer = pair
    data = wire(b"second") if held == "a frame" else wire(b"second")[:5]
    peer.sendall(wire(b"first") + data)
    assert conn.poll(LONG)
    assert conn.recv() == b"first"
    if held != "a frame":
        with pytest.raises(ff.FrameTimeout):
            conn.recv(timeout=0)
    for _ in range(2):
        with pytest.raises(ValueError, match=f"{len(data)} bytes were received"):
            conn.detach()
    assert not conn.closed
    conn.send(b"goes on")
    assert take(peer, 11) == wire(b"goes on")
    assert conn.unread() == data
    conn.detach().close()


def test_bytes_to_be_sent_arent_lost(tight: Pair) -> None:
    conn, peer = tight
    with pytest.raises(ff.SendInterrupted):
        conn.send(bytes(500_000), timeout=SOON)
    sent = wire(bytes(500_000))
    with pytest.raises(ValueError, match=f"{conn.pending} bytes have yet to be sent"):
        conn.detach()
    thread = Thread(lambda: take(peer, len(sent)))
    conn.flush()
    assert thread.done() == sent
    conn.detach().close()


def test_nobody_may_be_inside(tight: Pair) -> None:
    conn, peer = tight
    receiver = waiting(conn.recv)
    with pytest.raises(ff.ConcurrentUse):
        conn.detach()
    peer.sendall(wire(b"reply"))
    assert receiver.done() == b"reply"
    sender = waiting(lambda: conn.send(bytes(500_000)))
    with pytest.raises(ff.ConcurrentUse):
        conn.detach()
    assert not conn.closed
    assert take(peer, 500_004) == wire(bytes(500_000))
    sender.done()
    conn.detach().close()


def test_an_ended_stream_can_be_given_back(pair: Pair) -> None:
    conn, peer = pair
    peer.shutdown(socket.SHUT_WR)
    with pytest.raises(ff.ConnectionClosed):
        conn.recv()
    with conn.detach() as sock:
        sock.sendall(b"x")
        assert take(peer, 1) == b"x"


def test_a_context_may_end_with_a_detached_connection(raw: tuple[socket.socket, socket.socket]) -> None:
    with ff.wrap(raw[0], FRAMING) as conn:
        conn.detach()
    raw[0].sendall(b"x")
    assert take(raw[1], 1) == b"x"


# --- Failing to take -------------------------------------------------------------------------------------------------


class Fault(Exception):
    pass


def fail(*given: object, **more: object) -> None:
    raise Fault


def sources() -> Iterator[tuple[Any, list[Any], Callable[[], object]]]:
    """What is wrapped, what has to be closed then, and a check that the source is as it was."""
    for own in (None, 0.0, 2.5):
        a, b = socket.socketpair()
        a.settimeout(own)
        yield a, [a, b], lambda a=a, b=b, own=own: (a.sendall(b"x"), a.gettimeout() == own, b.recv(1) == b"x")
    a, b = socket.socketpair()
    yield a.fileno(), [a, b], lambda: (b.sendall(b"x"), a.recv(1) == b"x")
    r, w = os.pipe()
    reading, writing = io.BufferedReader(io.FileIO(r, "r")), io.BufferedWriter(io.FileIO(w, "w"))
    writing.write(b"abc\n")
    writing.flush()
    assert reading.read(1) == b"a"
    writing.write(b"held")
    yield r, [], lambda: os.fstat(r)
    yield w, [], lambda: os.fstat(w)
    yield reading, [], lambda: reading.read(3) == b"bc\n"
    yield writing, [], lambda: (writing.flush(), os.read(r, 9) == b"held")
    writing.write(b"kept")
    yield (reading, writing), [reading, writing], lambda: (writing.flush(), reading.read(4) == b"kept")
    yield io.BytesIO(b"data"), [], lambda: None


def untouched(check: Callable[[], object]) -> bool:
    answer = check()
    return all(part is not False for part in (answer if isinstance(answer, tuple) else (answer,)))


@needs_proc
@pytest.mark.parametrize("broken", [["FrameReader", "FrameWriter"], ["FrameWriter"]], ids=["reader", "writer"])
def test_what_fails_to_become_a_connection_leaves_its_source_alone(
    broken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in broken:
        monkeypatch.setattr(connection, name, fail)
    for source, rest, check in sources():
        before = descriptors()
        given, writer = source if isinstance(source, tuple) else (source, None)
        if len(broken) == 2 or isinstance(source, tuple | socket.socket):
            with pytest.raises(Fault):
                ff.wrap(given, FRAMING, writer=writer)
            gc.collect()
        assert descriptors() == before
        assert untouched(check)
        for thing in rest:
            thing.close()


@needs_proc
@pytest.mark.parametrize(
    "wrong",
    [
        {"framing": 4},
        {"framing": None},
        {"send_framing": 4},
        {"timeout": -1},
        {"timeout": "5"},
        {"frame_timeout": -1},
        {"idle_timeout": float("nan")},
        {"writer": "file"},
        {"writer": -1},
    ],
    ids=str,
)
def test_wrong_parameters_leave_the_source_alone(wrong: dict[str, Any]) -> None:
    for source, rest, check in sources():
        before = descriptors()
        given, writer = source if isinstance(source, tuple) else (source, None)
        with pytest.raises((TypeError, ValueError)):
            ff.wrap(given, **{"framing": FRAMING, "writer": writer, **wrong})
        gc.collect()
        assert descriptors() == before
        assert untouched(check)
        for thing in rest:
            thing.close()


def test_a_readahead_without_a_truth_value_leaves_the_source_alone() -> None:
    class Torn:
        def __bool__(self) -> bool:
            raise Fault

    a, b = socket.socketpair()
    number = a.detach()
    with pytest.raises(Fault):
        ff.wrap(number, FRAMING, readahead=Torn())  # type: ignore[arg-type]
    gc.collect()
    os.fstat(number)
    os.close(number)
    b.close()


def test_a_connection_without_its_init_is_harmless() -> None:
    conn = ff.Connection.__new__(ff.Connection)
    assert repr(conn) == "<Connection without a source>"
    for name in ("recv", "close", "abort", "detach", "flush", "fileno"):
        with pytest.raises(AttributeError):
            getattr(conn, name)()
    del conn
    gc.collect()


def test_a_writer_that_has_been_closed_isnt_given_back(clean: list[Any]) -> None:
    (reading, far_writing), (far_reading, writing) = os.pipe(), os.pipe()
    conn = ff.wrap(reading, FRAMING, writer=writing)
    clean.append(conn)
    conn.shutdown_send()
    taken = os.dup(far_reading)  # as good as always the number that is free now
    assert conn.detach() == (reading, None)
    for number in (reading, far_reading, far_writing, taken):
        os.close(number)
