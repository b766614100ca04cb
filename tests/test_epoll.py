"""The poller's waits, and events that are no more when their turn comes: the engine asks epoll itself on Linux."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import fastframe as ff
from connections import alarms, needs_signals
from fastframe._readiness import READ, WRITE

__all__ = ["alarms"]  # a fixture that pytest is to find here

FRAMING = ff.LengthField(4)
Pair = tuple[socket.socket, socket.socket]
MANY = 100
"""More than a poller reads from at once, and no more than it is told of at once."""


@pytest.fixture
def poller(engine: ModuleType) -> Iterator[Any]:
    made = engine.Poller(lambda: 0.0, 10)
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    a, b = socket.socketpair()
    with a, b:
        yield a, b


def watched(poller: Any, engine: ModuleType, sock: socket.socket, target: object) -> Any:
    reader = engine.FrameReader(sock, FRAMING)
    poller.watch(target, sock.fileno(), READ)
    poller.receive(sock.fileno(), reader)
    return reader


@needs_signals
def test_a_signal_does_not_end_a_wait(poller: Any, engine: ModuleType, pair: Pair, alarms: Callable[..., None]) -> None:
    a, b = pair
    rings: list[int] = []

    def ring() -> None:
        rings.append(1)
        if len(rings) == 3:
            b.send(FRAMING.encode(b"x"))

    watched(poller, engine, a, "target")
    for timeout in (None, 60):
        rings.clear()
        alarms(ring, 0.001, 0.001)
        assert poller.poll(timeout) == [("target", [b"x"], 0)]
        assert len(rings) >= 3


@needs_signals
def test_what_a_signal_handler_raises_ends_a_wait_and_loses_nothing(
    poller: Any, engine: ModuleType, pair: Pair, alarms: Callable[..., None]
) -> None:
    a, b = pair

    def ring() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        b.send(FRAMING.encode(b"x"))
        raise KeyboardInterrupt

    watched(poller, engine, a, "target")
    for timeout in (None, 60):
        alarms(ring, 0.001)
        with pytest.raises(KeyboardInterrupt):
            poller.poll(timeout)
        assert poller.poll(0) == [("target", [b"x"], 0)]


def test_a_wait_ends_without_events(poller: Any, engine: ModuleType, pair: Pair) -> None:
    watched(poller, engine, pair[0], "target")
    for timeout in (0, 0.0, 0.001, 1e-9):
        assert poller.poll(timeout) == []


@pytest.mark.parametrize("wrong", ["x", b"1", []])
def test_what_is_no_time_is_refused(poller: Any, engine: ModuleType, pair: Pair, wrong: Any) -> None:
    watched(poller, engine, pair[0], "target")
    with pytest.raises(TypeError):
        poller.poll(wrong)


def test_events_of_those_that_were_forgotten_since_are_dropped(poller: Any, engine: ModuleType) -> None:
    pairs = [socket.socketpair() for _ in range(MANY)]
    for i, (a, b) in enumerate(pairs):
        watched(poller, engine, a, i)
        b.send(FRAMING.encode(b"x"))
    first = [target for target, _, _ in poller.poll(0)]
    rest = sorted(set(range(MANY)) - set(first))
    assert rest
    for i in rest[::2]:
        poller.forget(i, pairs[i][0].fileno())
        pairs[i][0].close()
    assert sorted(poller.poll(0)) == [(i, [b"x"], 0) for i in rest[1::2]]
    assert poller.poll(0) == []
    for a, b in pairs:
        a.close()
        b.close()


@pytest.mark.skipif(os.name == "nt", reason="sockets have other numbers there")
def test_an_event_of_a_number_that_is_anothers_by_now_does_no_harm(poller: Any, engine: ModuleType) -> None:
    pairs = [socket.socketpair() for _ in range(MANY)]
    for i, (a, b) in enumerate(pairs):
        watched(poller, engine, a, i)
        b.send(FRAMING.encode(b"old"))
    first = [target for target, _, _ in poller.poll(0)]
    rest = sorted(set(range(MANY)) - set(first))
    for i in rest:
        number = pairs[i][0].fileno()
        poller.forget(i, number)
        a, b = socket.socketpair()
        os.dup2(a.fileno(), number)
        a.close()
        pairs[i][1].close()
        pairs[i] = pairs[i][0], b
        watched(poller, engine, pairs[i][0], -i)
    for target, what, _ in poller.poll(0):
        assert what == []  # it was looked at, and there is nothing
        assert -target in rest
    for i in rest:
        pairs[i][1].send(FRAMING.encode(b"new"))
    told: list[Any] = []
    while len(told) < len(rest):
        told += [(target, what) for target, what, _ in poller.poll(0) if what]
    assert sorted(told) == sorted((-i, [b"new"]) for i in rest)
    for a, b in pairs:
        a.close()
        b.close()


@pytest.mark.skipif(os.name == "nt", reason="sockets have other numbers there")
def test_numbers_may_be_large_and_have_gaps(poller: Any, engine: ModuleType, pair: Pair) -> None:
    number = os.dup2(pair[0].fileno(), 900)
    try:
        poller.watch("target", number, WRITE)
        assert poller.poll(0) == [("target", None, WRITE)]
        for unknown in (899, 901, 100_000):
            with pytest.raises(KeyError):
                poller.receive(unknown, None)
            with pytest.raises(KeyError):
                poller.active(unknown)
            poller.forget("target", unknown)
        poller.forget("target", number)
        with pytest.raises(KeyError):
            poller.active(number)
    finally:
        os.close(number)


@pytest.mark.parametrize("wrong", [-1, -(2**31)])
def test_a_negative_number_is_refused(poller: Any, wrong: int) -> None:
    with pytest.raises((ValueError, OSError)):
        poller.watch("target", wrong, READ)


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="only epoll can tell")
def test_after_close_it_waits_for_nothing(poller: Any, engine: ModuleType, pair: Pair) -> None:
    a, b = pair
    watched(poller, engine, a, "target")
    b.send(b"x")
    poller.close()
    poller.close()
    for call in (lambda: poller.poll(0), poller.fileno, lambda: poller.watch("target", a.fileno(), READ)):
        with pytest.raises(ValueError, match="closed"):
            call()
    poller.forget("target", a.fileno())
