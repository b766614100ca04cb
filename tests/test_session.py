"""A client in the server's loop, turned by hand: clocks, fairness, backpressure, and its end. The time is the test's."""

import socket
from typing import Any

import pytest

import fastframe as ff
from servers import FRAMING, ByHand, Told, on_engine, received

__all__ = ["on_engine"]  # the fixture that pytest is to find here

NEVER = {"frame_timeout": None, "idle_timeout": None}


# --- Clocks ----------------------------------------------------------------------------------------------------------


def test_a_frame_has_to_be_whole_in_time() -> None:
    told = Told()
    with ByHand(told, frame_timeout=10) as server:
        sock = server.peer()
        sock.sendall(b"\0\0")
        server.until(lambda: server.loop.held)
        server.pass_time(9.5)
        assert not told.conns[0].closed
        server.pass_time(0.5)
        server.until(lambda: told.events[-1][0] == "closed")
    assert isinstance(told.error, ff.FrameTimeout)
    assert told.error.clock == "frame"


def test_bytes_of_the_same_frame_do_not_put_its_end_off() -> None:
    told = Told()
    with ByHand(told, frame_timeout=10) as server:
        sock = server.peer()
        for i in range(10):
            sock.sendall(FRAMING.encode(b"x" * 100)[i : i + 1])
            server.until(lambda i=i: server.loop.held == i + 1)
            server.pass_time(1)
        server.until(lambda: told.events[-1][0] == "closed")
    assert isinstance(told.error, ff.FrameTimeout)


def test_each_frame_has_its_own_time() -> None:
    told = Told()
    with ByHand(told, frame_timeout=10) as server:
        sock = server.peer()
        wire = FRAMING.encode(b"ab")
        sock.sendall(wire[:1])
        for i in range(5):
            server.until(lambda: server.loop.held == 1)
            server.pass_time(6)
            sock.sendall(wire[1:] + wire[:1])
            server.until(lambda i=i: told.events.count(("frame", b"ab")) == i + 1)
        assert not told.conns[0].closed


def test_between_frames_there_is_no_hurry() -> None:
    told = Told()
    with ByHand(told, frame_timeout=10) as server:
        sock = server.peer()
        sock.sendall(FRAMING.encode(b"x"))
        server.until(lambda: len(told.events) == 2)
        server.pass_time(1000)
        assert not told.conns[0].closed


@pytest.mark.parametrize("active", [True, False])
def test_who_is_idle_for_too_long_is_closed(active: bool) -> None:
    told = Told()
    with ByHand(told, idle_timeout=10) as server:
        sock = server.peer()
        for i in range(5):
            if active or not i:
                sock.sendall(FRAMING.encode(b"x"))
                server.until(lambda i=i: told.events.count(("frame", b"x")) == i + 1)
            server.pass_time(9 if active else 5)
        assert told.conns[0].closed == (not active)
        if not active:
            server.until(lambda: told.events[-1][0] == "closed")
            assert isinstance(told.error, ff.FrameTimeout)
            assert told.error.clock == "idle"


def test_a_paused_client_is_not_blamed_for_an_unfinished_frame() -> None:
    told = Told()
    with ByHand(told, frame_timeout=10) as server:
        sock = server.peer()
        sock.sendall(FRAMING.encode(b"abc")[:5])
        server.until(lambda: server.loop.held)
        told.conns[0].pause()
        sock.sendall(FRAMING.encode(b"abc")[5:])
        server.pass_time(100)
        assert not told.conns[0].closed
        told.conns[0].resume()
        server.until(lambda: ("frame", b"abc") in told.events)


def test_who_does_not_take_his_end_is_cut_off() -> None:
    class Deaf(Told):
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            conn.send(bytes(10 << 20))
            conn.close()

    told = Deaf()
    with ByHand(told, close_timeout=5) as server:
        sock = server.peer(SO_RCVBUF=4096)
        sock.sendall(FRAMING.encode(b"x"))
        server.until(lambda: told.conns and told.conns[0].closed)
        server.pass_time(4.5)
        assert server.service.stats.connections == 1
        server.pass_time(1)
        server.until(lambda: not server.loop.clients)
        assert server.service.stats[:5] == (0, 1, 0, 1, 0)
        with pytest.raises(ConnectionResetError):
            while sock.recv(65536):
                pass


# --- Fairness and backpressure ---------------------------------------------------------------------------------------


def test_who_sends_much_gets_a_share_only() -> None:
    turns: list[str] = []

    class Handler:
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            turns.append(f"{frames[0].decode()[0]}{len(frames)}")
            conn.send_many(frames[:1])

    with ByHand(Handler(), turn_frames=100) as server:
        greedy, polite = server.peer(), server.peer()
        greedy.sendall(FRAMING.encode(b"g") * 1000)
        server.until(lambda: turns)
        polite.sendall(FRAMING.encode(b"p"))
        server.until(lambda: "p1" in turns)
        assert turns.index("p1") < 9
        server.until(lambda: turns.count("g100") == 10)
    assert set(turns) == {"g100", "p1"}


def test_while_replies_wait_nothing_is_received_from_that_client() -> None:
    handled = []

    def handler(frame: bytes) -> bytes:
        handled.append(frame)
        return bytes(100_000)

    with ByHand(handler, high_water=200_000, low_water=50_000, turn_frames=1, **NEVER) as server:
        sock = server.peer(SO_RCVBUF=4096)
        sock.sendall(FRAMING.encode(b"x") * 1000)
        server.turn(500)
        (client,) = server.loop.clients
        assert client.pending > 200_000
        count = len(handled)
        assert count < 100
        assert server.loop.held >= client.pending
        server.turn(10)
        assert len(handled) == count
        for _ in range(200):
            received(sock, 100_004)
            server.turn()
        assert len(handled) > count + 100


def test_a_reader_that_lets_too_much_wait_is_closed() -> None:
    class Flood(Told):
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            for _ in range(1000):
                conn.send(bytes(100_000))

    told = Flood()
    with ByHand(told, max_pending=1_000_000, **NEVER) as server:
        sock = server.peer(SO_RCVBUF=4096)
        sock.sendall(FRAMING.encode(b"x"))
        server.until(lambda: told.events and told.events[-1][0] == "closed")
    assert isinstance(told.error, ff.QueueFull)
    assert told.error.limit == 1_000_000


def test_if_all_hold_too_much_those_that_hold_most_are_closed() -> None:
    told = Told()
    with ByHand(told, max_held=1_000_000, **NEVER) as server:
        socks = [server.peer() for _ in range(5)]
        for i, sock in enumerate(socks):
            sock.sendall(FRAMING.encode(bytes(1 << 20))[: 100_000 * (i + 1)])
            server.until(lambda i=i: server.loop.held >= min(100_000 * (i + 1) * (i + 2) // 2, 1_000_000) or i == 4)
        server.until(lambda: len(server.loop.clients) == 3)
        server.until(lambda: server.loop.held == 600_000)
    errors = [event[1] for event in told.events if event[0] == "closed" and event[1] is not None]
    assert [type(error) for error in errors] == [ff.QueueFull, ff.QueueFull]
    assert all(error.size >= 300_000 and error.limit == 1_000_000 for error in errors)


def test_what_is_held_is_given_back() -> None:
    told = Told()
    with ByHand(told, **NEVER) as server:
        sock = server.peer()
        sock.sendall(FRAMING.encode(bytes(1000))[:500])
        server.until(lambda: server.loop.held == 500)
        sock.sendall(FRAMING.encode(bytes(1000))[500:])
        server.until(lambda: len(told.events) == 2)
        assert server.loop.held == 0
        sock.sendall(b"\0")
        server.until(lambda: server.loop.held == 1)
        sock.close()
        server.until(lambda: not server.loop.clients)
        assert server.loop.held == 0


# --- The end ---------------------------------------------------------------------------------------------------------


def test_who_half_closes_gets_all_replies() -> None:
    with ByHand(lambda frame: bytes(100_000), high_water=10_000, low_water=0, **NEVER) as server:
        sock = server.peer(SO_RCVBUF=4096)
        sock.sendall(FRAMING.encode(b"x") * 50)
        sock.shutdown(socket.SHUT_WR)
        sock.setblocking(False)
        size = 0
        ended = []

        def take() -> bool:
            nonlocal size
            try:
                data = sock.recv(1 << 20)
            except BlockingIOError:
                return False
            size += len(data)
            if not data:
                ended.append(True)
            return bool(ended)

        server.until(take)
        assert size == 50 * 100_004
        assert server.service.stats[:5] == (0, 1, 1, 0, 0)


def test_a_handler_that_asks_for_it_may_reply_behind_the_peers_end() -> None:
    class Late(Told):
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            pass

        def ended(self, conn: Any) -> None:
            self.events.append(("ended",))

    told = Late()
    with ByHand(told, **NEVER) as server:
        sock = server.peer()
        sock.sendall(FRAMING.encode(b"x"))
        sock.shutdown(socket.SHUT_WR)
        server.until(lambda: ("ended",) in told.events)
        server.turn(100)
        assert server.service.stats.connections == 1
        told.conns[0].send(b"late")
        told.conns[0].close()
        server.until(lambda: len(told.events) == 3)
        assert received(sock, 100) == FRAMING.encode(b"late")
    assert told.events == [("connected",), ("ended",), ("closed", None)]


def test_frames_before_a_reset_are_handled() -> None:
    told = Told()
    with ByHand(told) as server:
        sock = server.peer()
        sock.sendall(FRAMING.encode(b"a") + FRAMING.encode(b"b"))
        server.until(lambda: len(told.events) == 3)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
        server.until(lambda: not server.loop.clients)
    assert told.events[:3] == [("connected",), ("frame", b"a"), ("frame", b"b")]
    assert isinstance(told.error, ff.ConnectionLost)


def test_a_close_with_unread_input_loses_nothing_that_was_sent() -> None:
    class Last(Told):
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            conn.send(bytes(300_000))
            conn.close()

    with ByHand(Last(), turn_bytes=1000) as server:
        sock = server.peer()
        sock.sendall(FRAMING.encode(b"x") + bytes(50_000))
        sock.setblocking(False)
        data = b""

        def take() -> bool:
            nonlocal data
            try:
                data += sock.recv(1 << 20)
            except BlockingIOError:
                server.clock.now += 0.001
            return len(data) >= 300_004

        server.until(take)
        sock.close()
        server.clock.now += 1
        server.until(lambda: not server.loop.clients)
    assert data == FRAMING.encode(bytes(300_000))


def test_frames_behind_a_close_do_not_come() -> None:
    class Once(Told):
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            super().frames(conn, frames)
            conn.close()

    told = Once()
    with ByHand(told, turn_frames=1) as server:
        sock = server.peer()
        sock.sendall(FRAMING.encode(b"a") * 10)
        server.until(lambda: told.events and told.events[-1][0] == "closed")
        assert received(sock, 100) == FRAMING.encode(b"a")
    assert told.events == [("connected",), ("frame", b"a"), ("closed", None)]


# --- Framing ---------------------------------------------------------------------------------------------------------


def test_the_handler_may_change_the_framing() -> None:
    class Upgrade(Told):
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            super().frames(conn, frames)
            if frames == [b"lines"]:
                conn.framing = conn.send_framing = ff.Delimiter(b"\n")

    told = Upgrade()
    with ByHand(told) as server:
        sock = server.peer()
        sock.sendall(FRAMING.encode(b"lines"))
        server.until(lambda: len(told.events) == 2)
        sock.sendall(b"one\ntwo\n")
        server.until(lambda: len(told.events) == 4)
        assert received(sock, 17) == FRAMING.encode(b"lines") + b"one\ntwo\n"
        assert told.conns[0].framing == told.conns[0].send_framing == ff.Delimiter(b"\n")
