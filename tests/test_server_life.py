"""The lives of a server's clients: handlers that do anything anywhere, ends of all kinds, clocks, and threads."""

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import fastframe as ff
from connections import needs_unix, reset, rest, take
from servers import FRAMING, LONG, ByHand, Told, on_engine, received, serving, to

__all__ = ["on_engine"]

CLOSES = int(os.environ.get("FASTFRAME_CLOSES") or 200)
"""Closes with unread input; FASTFRAME_CLOSES=10000 for the whole promise."""


def wire(*payloads: bytes) -> bytes:
    return FRAMING.encode_many(payloads)


class Silent(Told):
    """Notes, and doesn't answer."""

    def frames(self, conn: Any, frames: list[bytes]) -> None:
        self.events += [("frame", frame) for frame in frames]

    @property
    def seen(self) -> list[bytes]:
        return [event[1] for event in self.events if event[0] == "frame"]


# --- One call of the handler after the other -------------------------------------------------------------------------


def test_replies_that_wait_stay_in_order() -> None:
    inside = [0]

    class Handler:
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            inside[0] += 1
            assert inside == [1]
            for frame in frames:
                conn.send(frame * 1000)
            inside[0] -= 1

    with ByHand(Handler(), turn_frames=3) as server:
        server.service._listener._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        peer = server.peer(SO_RCVBUF=4096)
        frames = [b"%04d" % i for i in range(300)]
        peer.sendall(wire(*frames))
        decoder, replies = ff.Decoder(FRAMING), []
        peer.setblocking(False)

        def all_came() -> bool:
            try:
                replies.extend(decoder.feed(peer.recv(65536)))
            except BlockingIOError:
                pass
            return len(replies) == len(frames)

        server.until(all_came)
        assert replies == [frame * 1000 for frame in frames]


def test_a_handler_that_resumes_is_not_called_inside_itself() -> None:
    inside = [0]

    class Handler(Silent):
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            inside[0] += 1
            assert inside == [1]
            conn.pause()
            conn.resume()
            super().frames(conn, frames)
            inside[0] -= 1

    handler = Handler()
    with ByHand(handler, turn_frames=1) as server:
        frames = [b"%d" % i for i in range(2000)]
        server.peer().sendall(wire(*frames))
        server.until(lambda: len(handler.seen) == len(frames))
        assert handler.seen == frames


def test_a_handler_may_go_through_all_clients_and_end_them() -> None:
    class Handler(Told):
        def __init__(self) -> None:
            super().__init__()
            self.all: set[Any] = set()

        def connected(self, conn: Any) -> None:
            self.all.add(conn)

        def frames(self, conn: Any, frames: list[bytes]) -> None:
            for other in self.all:
                if other is not conn:
                    other.abort()
            conn.send(b"done")

        def closed(self, conn: Any, error: BaseException | None) -> None:
            self.all.remove(conn)
            super().closed(conn, error)

    handler = Handler()
    with ByHand(handler) as server:
        peers = [server.peer() for _ in range(5)]
        peers[0].sendall(wire(b"x"))
        server.until(lambda: len(handler.events) == 4)
        assert handler.events == [("closed", None)] * 4
        assert received(peers[0], 8) == wire(b"done")


def serve_again(server: ff.Server) -> None:
    with pytest.raises(ff.ConcurrentUse):
        server.serve_forever()


WHERE = ["connected", "frames", "ended", "closed"]
ACTS: dict[str, Callable[[ff.Server, Any, list[Any]], object]] = {
    "send": lambda server, conn, others: conn.send(b"act"),
    "send a lot": lambda server, conn, others: conn.send_many([bytes(60_000)] * 5),
    "send to others": lambda server, conn, others: [other.send(b"act") for other in others if not other.closed],
    "close": lambda server, conn, others: conn.close(),
    "close twice": lambda server, conn, others: (conn.close(), conn.close()),
    "close and abort": lambda server, conn, others: (conn.close(), conn.abort()),
    "abort": lambda server, conn, others: conn.abort(),
    "abort others": lambda server, conn, others: [other.abort() for other in others],
    "pause": lambda server, conn, others: (conn.pause(), conn.resume(), conn.resume()),
    "ask": lambda server, conn, others: (repr(conn), conn.stats, conn.pending, conn.closed, server.stats),
    "reframe": lambda server, conn, others: setattr(conn, "framing", FRAMING.replace(max_size=100)),
    "serve": lambda server, conn, others: serve_again(server),
    "shutdown": lambda server, conn, others: server.shutdown(),
    "close the server": lambda server, conn, others: server.close(),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("where", WHERE)
def test_a_handler_may_do_anything_anywhere(where: str, act: str) -> None:
    told, others = Told(), []
    came, has_acted = threading.Semaphore(0), threading.Event()

    class Handler(Told):
        def connected(self, conn: Any) -> None:
            told.connected(conn)
            came.release()
            self.act("connected", conn)

        def frames(self, conn: Any, frames: list[bytes]) -> None:
            self.act("frames", conn)

        def ended(self, conn: Any) -> None:
            self.act("ended", conn)
            conn.close()

        def closed(self, conn: Any, error: BaseException | None) -> None:
            self.act("closed", conn)
            told.closed(conn, error)

        def act(self, now: str, conn: Any) -> None:
            if now == where and len(told.conns) > 1 and not has_acted.is_set():
                has_acted.set()
                try:
                    ACTS[act](server, conn, others)
                except ff.ConnectionClosed:
                    assert where == "closed"

    with serving(Handler()) as server:
        with to(server):
            assert came.acquire(timeout=LONG)
            others += told.conns
            sock = socket.create_connection(server.address)
            with sock:
                sock.settimeout(LONG)
                try:
                    sock.sendall(wire(b"x"))
                    sock.shutdown(socket.SHUT_WR)
                    rest(sock)
                except OSError:
                    assert "abort" in act or where == "connected"
            assert has_acted.wait(LONG)
            told.wait()
        told.wait()
        if act not in ("shutdown", "close the server"):
            with to(server) as again:
                again.send(b"x")
            told.wait()
    assert server.stats.connections == 0
    ends = [event for event in told.events if event[0] == "closed"]
    assert len(ends) == len(told.conns)


EXCEPTIONS = [RuntimeError, StopIteration, MemoryError, ff.BadLength, ff.ConnectionLost]


@pytest.mark.parametrize("kind", EXCEPTIONS)
@pytest.mark.parametrize("where", WHERE)
def test_a_handler_that_raises_ends_its_client_only(
    where: str, kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    class Handler(Told):
        def connected(self, conn: Any) -> None:
            super().connected(conn)
            self.fail("connected", conn)

        def frames(self, conn: Any, frames: list[bytes]) -> None:
            super().frames(conn, frames)
            self.fail("frames", conn)

        def ended(self, conn: Any) -> None:
            conn.send(b"last")
            self.fail("ended", conn)
            conn.close()

        def closed(self, conn: Any, error: BaseException | None) -> None:
            super().closed(conn, error)
            self.fail("closed", conn)

        def fail(self, now: str, conn: Any) -> None:
            if now == where and conn is self.conns[0]:
                raise kind("by its own fault")

    handler = Handler()
    with ByHand(handler) as server:
        peers = [server.comer(), server.comer()]
        for peer in peers:
            peer.sendall(wire(b"x"))
            peer.shutdown(socket.SHUT_WR)
        server.until(lambda: len(handler.conns) == 2)
        server.until(lambda: not server.loop.clients)
        server.turn()
        replies = {"connected": wire(), "frames": wire(b"x")}.get(where, wire(b"x", b"last"))
        assert [rest(peer) for peer in peers] == [replies, wire(b"x", b"last")]
        assert server.service.stats.failed == int(where != "closed")
    ends = [event[1] for event in handler.events if event[0] == "closed"]
    assert sorted(type(error).__name__ for error in ends) == sorted(
        ["NoneType", "NoneType" if where == "closed" else kind.__name__]
    )
    assert len(caplog.records) == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("where", WHERE)
def test_what_is_no_exception_ends_the_server_and_the_others_get_their_replies(
    where: str, kind: type[BaseException]
) -> None:
    class Handler(Told):
        def connected(self, conn: Any) -> None:
            super().connected(conn)
            self.fail("connected", conn)

        def frames(self, conn: Any, frames: list[bytes]) -> None:
            super().frames(conn, frames)
            self.fail("frames", conn)

        def ended(self, conn: Any) -> None:
            self.fail("ended", conn)
            conn.close()

        def closed(self, conn: Any, error: BaseException | None) -> None:
            super().closed(conn, error)
            self.fail("closed", conn)

        def fail(self, now: str, conn: Any) -> None:
            if now == where and conn is not self.conns[0]:
                raise kind

    handler = Handler()
    with ff.Server(handler, ("127.0.0.1", 0), FRAMING) as server, socket.create_connection(server.address) as first:
        raised: list[BaseException] = []

        def serve() -> None:
            try:
                server.serve_forever()
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=serve)
        thread.start()
        first.settimeout(LONG)
        first.sendall(wire(b"1"))
        assert take(first, 5) == wire(b"1")
        with socket.create_connection(server.address) as second:
            second.settimeout(LONG)
            second.sendall(wire(b"2"))
            with suppress(OSError):  # it may be over
                second.shutdown(socket.SHUT_WR)
            assert rest(second) == (wire() if where == "connected" else wire(b"2"))
        thread.join(LONG)
        assert [type(error) for error in raised] == [kind]
        assert rest(first) == b""
        assert server.stats.connections == 0
    assert [event[0] for event in handler.events].count("closed") == 2


def test_a_handler_that_raises_whenever_a_client_has_gone_keeps_none_open() -> None:
    class Handler(Told):
        def closed(self, conn: Any, error: BaseException | None) -> None:
            raise SystemExit

    with ByHand(Handler()) as server:
        peers = [server.peer() for _ in range(3)]
        with pytest.raises(SystemExit):
            server.loop.drain(0)
        assert not server.loop.clients
        for peer in peers:
            assert peer.recv(1) == b""


# --- Pauses ----------------------------------------------------------------------------------------------------------


def test_who_is_paused_by_another_clients_frames_is_not_received_from() -> None:
    class Handler(Silent):
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            super().frames(conn, frames)
            for other in self.conns:
                if other is not conn:
                    other.pause()

    handler = Handler()
    with ByHand(handler) as server:
        peers = [server.peer(), server.peer()]
        for peer, frame in zip(peers, (b"1", b"2"), strict=True):
            peer.sendall(wire(frame))
            peer.shutdown(socket.SHUT_WR)
        server.turn(5)
        assert len(handler.seen) == 1
        for conn in handler.conns:
            conn.resume()
        server.until(lambda: len(handler.seen) == 2)
        server.until(lambda: not server.loop.clients)


def test_an_error_behind_frames_waits_for_who_has_paused_for_his_replies() -> None:
    class Handler(Silent):
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            super().frames(conn, frames)
            conn.pause()

    handler = Handler()
    with ByHand(handler) as server:
        peer = server.peer()
        peer.sendall(wire(b"1") + b"\xff" * 4)
        server.until(lambda: handler.seen)
        server.turn(5)
        (conn,) = handler.conns
        conn.send(b"late")
        conn.resume()
        server.until(lambda: not server.loop.clients)
        server.turn()
        assert rest(peer) == wire(b"late")
        assert isinstance(handler.error, ff.FrameTooLarge)


def test_a_half_close_waits_for_who_has_paused_for_his_replies() -> None:
    class Handler(Silent):
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            super().frames(conn, frames)
            conn.pause()
            threading.Thread(target=self.reply, args=(conn, frames)).start()

        def reply(self, conn: Any, frames: list[bytes]) -> None:
            conn.send_many(frames)
            conn.resume()

    with serving(Handler()) as server, socket.create_connection(server.address) as peer:
        peer.settimeout(LONG)
        frames = [b"%d" % i for i in range(5000)]
        peer.sendall(wire(*frames))
        peer.shutdown(socket.SHUT_WR)
        assert rest(peer) == wire(*frames)


def test_who_is_gone_while_paused_is_let_go_of_by_the_send_that_fails() -> None:
    handler = Silent()
    with ByHand(handler) as server:
        peer = server.peer()
        (conn,) = handler.conns
        conn.pause()
        peer.sendall(wire(b"before"))
        reset(peer)
        with pytest.raises(ff.ConnectionLost):
            while True:
                conn.send(bytes(100_000))
        server.until(lambda: not server.loop.clients)
        server.turn()
        assert isinstance(handler.error, ff.ConnectionLost)
        assert handler.seen == [b"before"]


# --- Ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [b"", b"\0\0", b"\0\0\0\x05he"])
def test_a_reset_comes_behind_the_frames_before_it(more: bytes) -> None:
    handler = Silent()
    with ByHand(handler, turn_frames=10) as server:
        peer = server.peer()
        (conn,) = handler.conns
        conn.pause()
        frames = [b"%d" % i for i in range(100)]
        peer.sendall(wire(*frames) + more)
        reset(peer)
        conn.resume()
        server.until(lambda: not server.loop.clients)
        server.turn()
        assert isinstance(handler.error, ff.ConnectionLost)
        assert handler.seen == frames


def test_a_reset_behind_a_half_close_is_noticed_by_the_send() -> None:
    class Handler(Silent):
        def ended(self, conn: Any) -> None:
            self.events.append(("ended",))

    handler = Handler()
    with ByHand(handler) as server:
        peer = server.peer()
        peer.shutdown(socket.SHUT_WR)
        server.until(lambda: ("ended",) in handler.events)
        reset(peer)
        (conn,) = handler.conns
        with pytest.raises(ff.ConnectionLost):
            while True:
                conn.send(bytes(100_000))
        server.until(lambda: not server.loop.clients)
        server.turn()
        assert isinstance(handler.error, ff.ConnectionLost)


def test_a_half_close_gets_all_replies_first_and_those_of_threads_if_the_handler_says_so() -> None:
    frames = [b"%d" % i for i in range(20_000)]

    class Handler(Silent):
        def ended(self, conn: Any) -> None:
            threading.Thread(target=self.reply, args=(conn,)).start()

        def reply(self, conn: Any) -> None:
            conn.send_many(self.seen)
            conn.close()

    for handler in (Told(), Handler()):
        with serving(handler) as server, socket.create_connection(server.address) as peer:
            peer.settimeout(LONG)
            peer.sendall(wire(*frames))
            peer.shutdown(socket.SHUT_WR)
            assert rest(peer) == wire(*frames)
            handler.wait()
            assert handler.error is None


@pytest.mark.parametrize("kind", ["tcp", pytest.param("unix", marks=needs_unix)])
def test_a_close_with_unread_input_delivers_every_flushed_frame(kind: str, tmp_path: Path) -> None:
    class Handler:
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            conn.send_many(replies)
            conn.close()

    replies = [b"%d" % i * 100 for i in range(100)]
    family, address = (
        (socket.AF_INET, ("127.0.0.1", 0)) if kind == "tcp" else (socket.AF_UNIX, str(tmp_path / "socket"))
    )
    with serving(Handler(), address) as server:
        for _ in range(CLOSES):
            with socket.socket(family) as peer:
                peer.settimeout(LONG)
                peer.connect(server.address)
                with suppress(BrokenPipeError):
                    peer.sendall(wire(b"x") + bytes(30_000))
                assert rest(peer) == wire(*replies)
    assert (server.stats.finished, server.stats.accepted) == (CLOSES, CLOSES)
