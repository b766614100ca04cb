"""One deadline for a whole call: what a timeout may be, what counts against it, and what doesn't extend it."""

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import fastframe as ff
from connections import (
    LONG,
    PROMPT,
    Thread,
    alarms,
    arrived,
    clean,
    needs_signals,
    on_engine,
    pair,
    raw,
    rest,
    take,
    tight,
    waiting,
    wire,
)

__all__ = ["alarms", "clean", "on_engine", "pair", "raw", "tight"]  # the fixtures that pytest is to find here


def test_wrong_timeouts_take_nothing(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    peer.sendall(wire(b"x"))
    arrived(conn, 5)
    calls: list[Callable[[Any], Any]] = [conn.recv, conn.recv_many, conn.recv_batch, conn.poll, conn.flush]
    calls += [conn.shutdown_send, conn.close, lambda t: conn.send(b"y", t), lambda t: conn.send_many([b"y"], t)]
    calls += [lambda t: setattr(conn, "timeout", t)]
    for call in calls:
        for wrong in (-1, -0.001, float("nan"), float("-inf")):
            with pytest.raises(ValueError, match="timeout"):
                call(wrong)
        for wrong in ("1", b"1", [], True):
            with pytest.raises(TypeError):
                call(wrong)
    assert conn.timeout == LONG
    assert conn.recv() == b"x"
    conn.send(b"z")
    assert take(peer, 5) == wire(b"z")


def test_the_default_timeout_can_be_changed(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, _ = pair
    conn.timeout = 0
    for receive in (conn.recv, conn.recv_many, conn.recv_batch, lambda: next(iter(conn))):
        with pytest.raises(ff.FrameTimeout):
            receive()
    conn.timeout = None
    assert conn.timeout is None


def test_a_wait_ends_when_the_frame_is_there(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    for receive, expected in (
        (conn.recv, b"x"),
        (conn.recv_many, [b"x"]),
        (lambda **k: list(conn.recv_batch(**k)), [b"x"]),
    ):
        for timeout in (LONG, None, float("inf")):
            thread = Thread(lambda: peer.sendall(wire(b"x")), after=0.01)
            assert receive(timeout=timeout) == expected
            thread.done()


def test_dripping_bytes_dont_extend_the_deadline(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    stop = threading.Event()

    def drip() -> None:
        peer.sendall(b"\0\0\xff\xff")
        while not stop.wait(0.01):
            peer.send(b"x")

    thread = Thread(drip)
    start = time.monotonic()
    with pytest.raises(ff.FrameTimeout):
        conn.recv(timeout=0.1)
    assert 0.08 < time.monotonic() - start < PROMPT
    stop.set()
    thread.done()


@needs_signals
def test_signals_dont_extend_deadlines(tight: tuple[ff.Connection, socket.socket], alarms: Any) -> None:
    conn, _ = tight
    seen: list[int] = []
    alarms(lambda: seen.append(1), 0.005, 0.005)
    for call, error in (
        (lambda: conn.recv(timeout=0.1), ff.FrameTimeout),
        (lambda: conn.send(bytes(500_000), timeout=0.1), ff.SendInterrupted),
        (lambda: conn.flush(timeout=0.1), ff.SendInterrupted),
    ):
        seen.clear()
        start = time.monotonic()
        with pytest.raises(error):
            call()
        assert 0.08 < time.monotonic() - start < PROMPT
        assert seen
    start = time.monotonic()
    assert not conn.poll(0.1)
    assert 0.08 < time.monotonic() - start < PROMPT


def test_the_wait_for_another_send_counts(tight: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = tight
    first = waiting(lambda: conn.send(bytes(500_000)))
    start = time.monotonic()
    for call in (lambda: conn.send(b"x", timeout=0.05), lambda: conn.flush(timeout=0.05)):
        with pytest.raises(ff.FrameTimeout):
            call()
    with pytest.raises(ff.FrameTimeout):
        conn.send(b"x", timeout=0)
    assert 0.08 < time.monotonic() - start < PROMPT
    second = waiting(lambda: conn.send(b"second", timeout=None))
    assert take(peer, 500_014) == wire(bytes(500_000), b"second")
    first.done()
    second.done()


def test_an_endless_iterator_ends_at_the_deadline(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    thread = Thread(lambda: rest(peer))
    start = time.monotonic()
    with pytest.raises(ff.SendInterrupted):
        conn.send_many(iter(lambda: b"for ever", None), timeout=0.1)
    assert time.monotonic() - start < PROMPT
    conn.close()
    assert len(thread.done()) % 12 == 0
