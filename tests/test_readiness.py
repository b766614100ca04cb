"""Readiness: the same answers from epoll, kqueue and selectors. kqueue is played where there is none."""

import select
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from fastframe import _readiness
from fastframe._readiness import READ, WRITE, Readiness, Selectors, readiness


class PlayedKqueue:
    """What kqueue.control does, by select.select: filters are added and deleted one by one, and told one by one."""

    def __init__(self) -> None:
        self.filters: set[tuple[int, int]] = set()
        self.closed = False

    def control(self, changes: list[Any] | None, most: int, timeout: float | None = None) -> list[Any]:
        for change in changes or []:
            if change.flags == KERNEL.KQ_EV_ADD:
                self.filters.add((change.ident, change.filter))
            else:
                self.filters.remove((change.ident, change.filter))  # a KeyError is the kernel's ENOENT
        if not most:
            return []
        read = [number for number, which in self.filters if which == KERNEL.KQ_FILTER_READ]
        write = [number for number, which in self.filters if which == KERNEL.KQ_FILTER_WRITE]
        readable, writable, _ = select.select(read, write, [], timeout)
        found = [kevent(number, KERNEL.KQ_FILTER_READ) for number in readable]
        return (found + [kevent(number, KERNEL.KQ_FILTER_WRITE) for number in writable])[:most]

    def close(self) -> None:
        self.closed = True


def kevent(ident: int, filter: int, flags: int = 0) -> SimpleNamespace:
    return SimpleNamespace(ident=ident, filter=filter, flags=flags)


KERNEL = SimpleNamespace(
    KQ_FILTER_READ=-1, KQ_FILTER_WRITE=-2, KQ_EV_ADD=1, KQ_EV_DELETE=2, kqueue=PlayedKqueue, kevent=kevent
)


@pytest.fixture(params=["best", "selectors", "kqueue"])
def ready(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Readiness]:
    made: Readiness
    if request.param == "kqueue" and not hasattr(select, "kqueue"):
        monkeypatch.setattr(_readiness, "select", KERNEL)
    made = {"best": readiness, "selectors": Selectors, "kqueue": _readiness.Kqueue}[request.param]()
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    a, b = socket.socketpair()
    with a, b:
        yield a, b


def test_what_is_ready_is_told_by_its_number(ready: Readiness, pair: tuple[socket.socket, socket.socket]) -> None:
    a, b = pair
    ready.watch(a.fileno(), READ, 0)
    assert ready.poll(0) == []
    assert ready.poll(0.01) == []
    b.send(b"x")
    assert ready.poll(None) == [(a.fileno(), READ)]
    assert ready.poll(0) == [(a.fileno(), READ)]  # it still is
    a.recv(1)
    assert ready.poll(0) == []


def test_what_is_waited_for_changes(ready: Readiness, pair: tuple[socket.socket, socket.socket]) -> None:
    a, b = pair
    number = a.fileno()
    b.send(b"x")

    def told() -> int:
        events = ready.poll(0)
        assert {one for one, _ in events} <= {number}
        return sum(event for _, event in events)

    ready.watch(number, WRITE, 0)
    assert told() == WRITE
    ready.watch(number, READ | WRITE, WRITE)
    assert told() == READ | WRITE
    ready.watch(number, READ, READ | WRITE)
    assert told() == READ
    ready.watch(number, 0, READ)
    assert told() == 0
    ready.watch(number, READ, 0)
    assert told() == READ


def test_nothing_is_told_of_one_that_is_not_waited_for(
    ready: Readiness, pair: tuple[socket.socket, socket.socket]
) -> None:
    a, b = pair
    ready.watch(a.fileno(), READ, 0)
    ready.watch(a.fileno(), 0, READ)
    b.close()  # epoll would tell of a hang-up, asked or not
    assert ready.poll(0) == []


def test_the_end_is_something_to_read(ready: Readiness, pair: tuple[socket.socket, socket.socket]) -> None:
    a, b = pair
    ready.watch(a.fileno(), READ, 0)
    b.close()
    ((number, event),) = ready.poll(1)
    assert number == a.fileno()
    assert event & ~WRITE


def test_many_are_told_at_once(ready: Readiness) -> None:
    pairs = [socket.socketpair() for _ in range(20)]
    for a, b in pairs:
        ready.watch(a.fileno(), READ, 0)
        b.send(b"x")
    assert sorted(ready.poll(0)) == sorted((a.fileno(), READ) for a, _ in pairs)
    for a, b in pairs:
        a.close()
        b.close()


def test_the_best_one_here_is_the_kernels_own() -> None:
    ready = readiness()
    ready.close()
    expected = "Epoll" if hasattr(select, "epoll") else "Kqueue" if hasattr(select, "kqueue") else "Selectors"
    assert type(ready).__name__ == expected
