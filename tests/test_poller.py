"""The engine's poller: it tells what is ready, and reads where a reader is."""

import errno
import os
import socket
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import fastframe as ff
from fastframe._readiness import READ, WRITE

FRAMING = ff.LengthField(4)


@pytest.fixture
def poller(engine: ModuleType) -> Iterator[Any]:
    ticks = iter(range(1000))
    made = engine.Poller(lambda: float(next(ticks)), 10)
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    a, b = socket.socketpair()
    with a, b:
        yield a, b


Pair = tuple[socket.socket, socket.socket]


def reading(poller: Any, engine: ModuleType, sock: socket.socket, target: object = "target") -> Any:
    reader = engine.FrameReader(sock, FRAMING)
    poller.watch(target, sock.fileno(), READ)
    poller.receive(sock.fileno(), reader)
    return reader


def test_without_a_reader_it_tells_the_event(poller: Any, pair: Pair) -> None:
    a, b = pair
    poller.watch("target", a.fileno(), READ)
    assert poller.poll(0) == []
    b.send(b"x")
    assert poller.poll(None) == [("target", None, READ)]
    poller.watch("target", a.fileno(), READ | WRITE)
    assert poller.poll(0) == [("target", None, READ | WRITE)]
    poller.watch("target", a.fileno(), 0)
    assert poller.poll(0) == []
    poller.watch("target", a.fileno(), WRITE)
    assert poller.poll(0) == [("target", None, WRITE)]


def test_with_a_reader_it_gives_frames(poller: Any, engine: ModuleType, pair: Pair) -> None:
    a, b = pair
    reading(poller, engine, a)
    b.send(FRAMING.encode_many([b"one", b"two"]))
    assert poller.poll(None) == [("target", [b"one", b"two"], 0)]
    assert poller.poll(0) == []


@pytest.mark.parametrize("count", [0, 1])
def test_an_unfinished_frame_is_something_to_look_at(poller: Any, engine: ModuleType, pair: Pair, count: int) -> None:
    a, b = pair
    reader = reading(poller, engine, a)
    b.send(FRAMING.encode(b"one") * count + b"\0")
    assert poller.poll(None) == [("target", [b"one"] * count, 1)]
    assert reader.buffered == 1


def test_so_is_one_that_is_received_where_it_will_be_delivered(poller: Any, engine: ModuleType, pair: Pair) -> None:
    a, b = pair
    reader = reading(poller, engine, a)
    b.send(FRAMING.encode(bytes(1 << 20))[:70_000])
    while reader.buffered < 70_000:
        assert poller.poll(None) == [("target", [], 1)]


def test_so_are_more_frames_than_asked_for(poller: Any, engine: ModuleType, pair: Pair) -> None:
    a, b = pair
    reading(poller, engine, a)
    b.send(FRAMING.encode(b"x") * 10)
    assert poller.poll(None) == [("target", [b"x"] * 10, 0)]
    b.send(FRAMING.encode(b"x") * 11)
    assert poller.poll(None) == [("target", [b"x"] * 11, 1)]


def test_so_is_an_error_behind_frames(poller: Any, engine: ModuleType, pair: Pair) -> None:
    a, b = pair
    reader = reading(poller, engine, a)
    b.send(FRAMING.encode(b"x") + b"\xff\xff\xff\xff")
    assert poller.poll(None) == [("target", [b"x"], 1)]
    assert isinstance(reader.error, ff.FrameTooLarge)


def test_what_reading_raises_is_told(poller: Any, engine: ModuleType, pair: Pair) -> None:
    a, b = pair
    reading(poller, engine, a)
    b.send(b"\xff\xff\xff\xff")
    ((target, error, odd),) = poller.poll(None)
    assert (target, type(error), odd) == ("target", ff.FrameTooLarge, 1)


def test_the_end_is_told(poller: Any, engine: ModuleType, pair: Pair) -> None:
    a, b = pair
    reading(poller, engine, a)
    b.shutdown(socket.SHUT_WR)
    ((target, error, odd),) = poller.poll(None)
    assert (target, type(error), odd) == ("target", ff.ConnectionClosed, 1)


def test_more_than_reading_is_told_and_not_read(poller: Any, engine: ModuleType, pair: Pair) -> None:
    a, b = pair
    reader = reading(poller, engine, a)
    poller.watch("target", a.fileno(), READ | WRITE)
    b.send(FRAMING.encode(b"x"))
    events = poller.poll(None)
    assert sum(event for _, what, event in events if what is None) & WRITE
    poller.receive(a.fileno(), None)
    if not any(what for _, what, _ in events):
        assert reader.read() == [b"x"]


def test_those_that_are_many_come_bit_by_bit(poller: Any, engine: ModuleType) -> None:
    pairs = [socket.socketpair() for _ in range(150)]
    for i, (a, b) in enumerate(pairs):
        reading(poller, engine, a, i)
        b.send(FRAMING.encode(b"%d" % i))
    calls = []
    while sum(map(len, calls)) < 150:
        calls.append(poller.poll(0))
    assert max(map(len, calls)) == 64
    assert sorted(target for call in calls for target, _, _ in call) == list(range(150))
    assert all(what == [b"%d" % target] and not odd for call in calls for target, what, odd in call)
    for a, b in pairs:
        a.close()
        b.close()


def test_one_that_was_forgotten_is_not_read(poller: Any, engine: ModuleType, pair: Pair) -> None:
    a, b = pair
    reader = reading(poller, engine, a)
    b.send(FRAMING.encode(b"x"))
    poller.forget("another", a.fileno())
    poller.forget("target", a.fileno())
    poller.forget("target", a.fileno())
    assert poller.poll(0) == []
    assert reader.read() == [b"x"]


@pytest.mark.skipif(os.name == "nt", reason="sockets have other numbers there")
def test_a_number_that_is_anothers_now_is_watched_anew(poller: Any, pair: Pair) -> None:
    a, _ = pair
    number = os.dup2(a.fileno(), 200)
    a.close()
    poller.watch("first", number, READ)
    os.close(number)  # behind its back: the system forgets it
    other, far = socket.socketpair()
    with other, far:
        os.dup2(other.fileno(), number)
        try:
            poller.watch("second", number, READ)
            far.send(b"x")
            assert ("second", None, READ) in poller.poll(0)
            poller.forget("first", number)
            assert ("second", None, READ) in poller.poll(0)
            poller.forget("second", number)
        finally:
            os.close(number)


def test_a_descriptor_that_was_closed_is_forgotten_in_peace(poller: Any, pair: Pair) -> None:
    a, _ = pair
    number = a.fileno()
    poller.watch("target", number, READ)
    a.close()
    poller.forget("target", number)


@pytest.mark.skipif(os.name == "nt", reason="select is asked at each call there")
def test_a_descriptor_that_cannot_be_watched_is_an_oserror(poller: Any, pair: Pair) -> None:
    number = os.dup(pair[0].fileno())
    os.close(number)
    with pytest.raises(OSError, match=r".") as caught:
        poller.watch("target", number, READ)
    assert caught.value.errno == errno.EBADF


def test_the_time_is_the_clocks_at_each_call(poller: Any, engine: ModuleType, pair: Pair) -> None:
    a, b = pair
    assert poller.now == 0.0
    reading(poller, engine, a)
    poller.poll(0)
    assert poller.now == 1.0
    assert poller.active(a.fileno()) == 0.0
    b.send(FRAMING.encode(b"x"))
    poller.poll(0)
    assert poller.active(a.fileno()) == poller.now == 2.0


def test_an_exception_of_a_clock_or_signal_handler_loses_nothing(engine: ModuleType, pair: Pair) -> None:
    a, b = pair

    class Stop(BaseException):
        pass

    answers: list[BaseException | float] = [0.0, Stop(), 1.0]

    def clock() -> float:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    poller = engine.Poller(clock, 10)
    reading(poller, engine, a)
    b.send(FRAMING.encode(b"x"))
    with pytest.raises(Stop):
        poller.poll(None)
    assert poller.poll(0) == [("target", [b"x"], 0)]
    poller.close()


def test_it_cannot_be_made_of_nonsense(engine: ModuleType) -> None:
    with pytest.raises(TypeError):
        engine.Poller(5, 10)
    with pytest.raises(TypeError):
        engine.Poller(lambda: 0.0, "x")
