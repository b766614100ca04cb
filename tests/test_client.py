"""What a handler can do with a client: send, close, pause, and ask."""

import socket
import threading
from typing import Any

import pytest

import fastframe as ff
from servers import FRAMING, LONG, ByHand, Told, on_engine, received, serving, to

__all__ = ["on_engine"]  # the fixture that pytest is to find here


def test_it_tells_its_addresses_and_what_it_has_carried() -> None:
    told = Told()
    with ByHand(told) as server:
        sock = server.peer()
        server.until(lambda: told.conns)
        (conn,) = told.conns
        assert conn.peer_address == sock.getsockname()
        assert conn.local_address == sock.getpeername() == server.address
        sock.sendall(FRAMING.encode(b"abc"))
        server.until(lambda: len(told.events) == 2)
        assert conn.stats == ((1, 7, 0), (1, 7, 0))
        assert (conn.pending, conn.closed, conn.framing, conn.send_framing) == (0, False, FRAMING, FRAMING)
        assert "descriptor" in repr(conn)
        conn.close()
        assert "closed" in repr(conn)


def test_the_handler_may_keep_something_with_it() -> None:
    class Counts(Told):
        def connected(self, conn: Any) -> None:
            assert conn.state is None
            conn.state = 0

        def frames(self, conn: Any, frames: list[bytes]) -> None:
            conn.state += len(frames)
            conn.send(b"%d" % conn.state)

    with serving(Counts()) as server, to(server) as a, to(server) as b:
        for conn, count in ((a, b"1"), (b, b"1"), (a, b"2"), (a, b"3"), (b, b"2")):
            conn.send(b"x")
            assert conn.recv() == count


@pytest.mark.parametrize(
    ("payload", "kind"), [("text", TypeError), (None, TypeError), (5, TypeError), (bytes(101), ff.FrameTooLarge)]
)
@pytest.mark.parametrize("many", [False, True])
def test_what_cannot_be_sent_is_refused_and_nothing_is_taken(payload: Any, kind: type[Exception], many: bool) -> None:
    told = Told()
    with ByHand(told, ff.LengthField(4, max_size=100)) as server:
        sock = server.peer()
        server.until(lambda: told.conns)
        (conn,) = told.conns
        with pytest.raises(kind):
            if many:
                conn.send_many([b"good", payload])
            else:
                conn.send(payload)
        conn.send(b"next")
        assert received(sock, 8) == FRAMING.encode(b"next")


@pytest.mark.parametrize("way", ["close", "abort"])
def test_once_closed_nothing_can_be_sent(way: str) -> None:
    told = Told()
    with ByHand(told) as server:
        sock = server.peer()
        server.until(lambda: told.conns)
        (conn,) = told.conns
        conn.send(b"last")
        getattr(conn, way)()
        for send in (conn.send, lambda payload: conn.send_many([payload])):
            with pytest.raises(ff.ConnectionClosed):
                send(b"x")
        getattr(conn, way)()
        assert conn.closed
        if way == "close":
            assert received(sock, 100) == FRAMING.encode(b"last")
            sock.close()
        server.until(lambda: told.events[-1] == ("closed", None))
    assert told.events == [("connected",), ("closed", None)]


def test_an_abort_drops_what_waits() -> None:
    class Drop(Told):
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            conn.send(bytes(10 << 20))
            conn.abort()

    with ByHand(Drop()) as server:
        sock = server.peer()
        sock.sendall(FRAMING.encode(b"x"))
        with pytest.raises(ConnectionResetError):
            server.until(lambda: not server.loop.clients)
            while sock.recv(1 << 20):
                pass
        assert server.service.stats[:5] == (0, 1, 0, 1, 0)


def test_more_than_may_wait_is_refused_and_ends_it() -> None:
    told = Told()
    with ByHand(told, max_pending=100_000) as server:
        server.peer(SO_RCVBUF=4096)
        server.until(lambda: told.conns)
        (conn,) = told.conns
        with pytest.raises(ff.QueueFull) as caught:
            for _ in range(1000):
                conn.send(bytes(50_000))
        assert caught.value.limit == 100_000
        assert conn.closed
        server.turn(1)
        assert told.events[-1] == ("closed", caught.value)
        with pytest.raises(ff.QueueFull):
            conn.send(b"x")


def test_a_paused_client_sends_into_the_systems_buffers_only() -> None:
    told = Told()
    with ByHand(told) as server:
        sock = server.peer()
        server.until(lambda: told.conns)
        (conn,) = told.conns
        conn.pause()
        sock.sendall(FRAMING.encode(b"x"))
        server.turn(100)
        assert told.events == [("connected",)]
        conn.pause()
        conn.resume()
        conn.resume()
        server.until(lambda: ("frame", b"x") in told.events)


def test_who_pauses_while_frames_come_gets_the_rest_later() -> None:
    class Slow(Told):
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            super().frames(conn, frames)
            conn.pause()

    told = Slow()
    with ByHand(told, turn_frames=3) as server:
        sock = server.peer()
        sock.sendall(b"".join(FRAMING.encode(b"%d" % i) for i in range(7)))
        server.until(lambda: len(told.events) == 4)
        server.turn(100)
        assert len(told.events) == 4
        told.conns[0].resume()
        server.until(lambda: len(told.events) == 7)
        told.conns[0].resume()
        server.until(lambda: len(told.events) == 8)
    assert [event[1] for event in told.events[1:8]] == [b"%d" % i for i in range(7)]


@pytest.mark.parametrize("act", ["close", "abort", "pause", "resume", "send"])
def test_any_thread_may(act: str) -> None:
    class Busy(Told):
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            conn.send_many(frames)

    told = Busy()
    with serving(told) as server, to(server) as peer:
        peer.send(b"a")
        assert peer.recv() == b"a"
        (conn,) = told.conns
        method = getattr(conn, act)
        thread = threading.Thread(target=method, args=[b"b"] if act == "send" else [])
        thread.start()
        thread.join()
        if act == "send":
            assert peer.recv() == b"b"
        elif act == "close":
            assert list(peer) == []
        elif act == "abort":
            with pytest.raises(ff.FrameError):
                peer.recv()
        elif act == "pause":
            conn.resume()
            peer.send(b"c")
            assert peer.recv() == b"c"


def test_what_waits_is_sent_though_a_thread_has_sent_it() -> None:
    told = Told()
    with serving(told) as server, to(server) as peer:
        peer.send(b"a")
        assert peer.recv() == b"a"
        thread = threading.Thread(target=told.conns[0].send, args=[bytes(8 << 20)])
        thread.start()
        thread.join()
        assert len(peer.recv()) == 8 << 20


def test_a_send_to_who_has_gone_is_told_and_logged_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    class Talks(Told):
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            while True:
                conn.send(bytes(100_000))

    told = Talks()
    with serving(told, limits=ff.Limits(max_pending=1 << 40)) as server:
        sock = socket.create_connection(server.address)
        sock.sendall(FRAMING.encode(b"x"))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        assert len(received(sock, 100_000)) == 100_000
        sock.close()
        told.wait()
    assert isinstance(told.error, ff.ConnectionLost)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_threads_that_wait_for_nothing_are_left() -> None:
    before = threading.active_count()
    with serving(bytes.upper) as server, to(server) as conn:
        conn.send(b"x")
        conn.recv(timeout=LONG)
    assert threading.active_count() == before
