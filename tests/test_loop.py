"""The server's loop: turns, calls from other threads, and what an exception leaves."""

import threading
from typing import Any

import pytest

from fastframe._loop import Waker
from servers import FRAMING, LONG, ByHand, Told, on_engine, received, serving

__all__ = ["on_engine"]  # the fixture that pytest is to find here


def test_what_other_threads_ask_for_is_done_in_the_loops() -> None:
    told = Told()
    with serving(told) as server:
        loop = server._work.loop  # type: ignore[union-attr]
        seen: list[int] = []
        done = threading.Event()

        def note() -> None:
            seen.append(threading.get_ident())
            done.set()

        loop.call(note)
        assert done.wait(LONG)
    assert seen[0] != threading.get_ident()


def test_what_the_loops_thread_asks_for_is_done_at_once() -> None:
    with ByHand(Told()) as server:
        seen: list[int] = []
        server.loop.call(seen.append, 5)
        assert seen == [5]
        assert server.loop.is_inside


def test_what_an_exception_leaves_of_a_turn_is_handled_in_the_next() -> None:
    class Stop(BaseException):
        pass

    class Once(Told):
        stopped = False

        def frames(self, conn: Any, frames: list[bytes]) -> None:
            if not self.stopped:
                self.stopped = True
                raise Stop
            super().frames(conn, frames)

    told = Once()
    with ByHand(told) as server:
        peers = [server.peer() for _ in range(5)]
        server.until(lambda: len(told.conns) == 5)
        for peer in peers:
            peer.sendall(FRAMING.encode(b"x"))

        def stops() -> bool:
            try:
                server.turn(1)
            except Stop:
                return True
            return False

        while not stops():
            pass
        server.until(lambda: told.events.count(("frame", b"x")) == 4)
        answers = [
            received(peer, 5)
            for peer in peers
            if peer.getsockname() in {c.peer_address for c in told.conns if not c.closed}
        ]
    assert answers == [FRAMING.encode(b"x")] * 4


def test_a_waker_is_not_blocked_however_often_it_is_asked() -> None:
    waker = Waker()
    try:
        for _ in range(100_000):
            waker.wake()
        for _ in range(100):
            waker.ready(None, 1)
        with pytest.raises(BlockingIOError):
            waker._ends[0].recv(1)
    finally:
        waker.close()
    waker.wake()
