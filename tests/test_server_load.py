"""A server whose clients are slow, greedy, many, or all at once; its clocks; and its stop."""

import os
import random
import socket
import threading
import time
from typing import Any

import pytest

import fastframe as ff
from connections import needs_proc, reset, rest
from servers import FRAMING, LONG, ByHand, Told, on_engine, received, serving, to
from tlspairs import none_left

__all__ = ["on_engine"]

FRAMES = int(os.environ.get("FASTFRAME_STORM") or 2000)
"""Frames that each thread of a storm sends."""


def wire(*payloads: bytes) -> bytes:
    return FRAMING.encode_many(payloads)


def causes(told: Told) -> list[BaseException | None]:
    return [event[1] for event in told.events if event[0] == "closed"]


class Silent(Told):
    """Notes, and doesn't answer."""

    def frames(self, conn: Any, frames: list[bytes]) -> None:
        self.events += [("frame", frame) for frame in frames]


# --- Clocks ----------------------------------------------------------------------------------------------------------


def test_a_byte_now_and_then_doesnt_keep_a_frame_open() -> None:
    told = Silent()
    with ByHand(told, frame_timeout=60, idle_timeout=20) as server:
        slow = [server.peer() for _ in range(20)]
        honest = server.peer()
        data = wire(bytes(256))
        for n in range(6):
            for peer in slow:
                peer.sendall(data[n : n + 1])
            honest.sendall(wire(b"x"))
            server.until(lambda n=n: len(told.events) == 22 + n)
            server.pass_time(9.9)
        assert not any(conn.closed for conn in told.conns)
        server.pass_time(1)
        server.until(lambda: len(causes(told)) == 20)
        assert {type(error) for error in causes(told)} == {ff.FrameTimeout}
        assert {error.clock for error in causes(told) if isinstance(error, ff.FrameTimeout)} == {"frame"}
        assert len(server.loop.clients) == 1


def test_a_frame_that_the_handler_has_let_wait_has_its_whole_time_again() -> None:
    told = Silent()
    with ByHand(told, frame_timeout=60) as server:
        peer = server.peer()
        peer.sendall(b"\0")
        server.turn()
        (conn,) = told.conns
        conn.pause()
        server.pass_time(100)
        conn.resume()
        server.turn()
        server.pass_time(59)
        assert not conn.closed
        peer.sendall(b"\0")
        server.turn()
        server.pass_time(2)
        server.until(lambda: causes(told))
        assert isinstance(told.error, ff.FrameTimeout)


def test_who_takes_what_is_sent_isnt_idle() -> None:
    told = Silent()
    with ByHand(told, idle_timeout=10) as server:
        server.peer()
        (conn,) = told.conns
        for _ in range(10):
            server.pass_time(6)
            conn.send(b"news")
        assert not conn.closed
        server.pass_time(10)
        server.pass_time(10.5)
        server.until(lambda: causes(told))
        assert isinstance(told.error, ff.FrameTimeout)
        assert told.error.clock == "idle"


def test_who_has_just_sent_isnt_idle_while_it_is_paused() -> None:
    told = Silent()
    with ByHand(told, idle_timeout=10) as server:
        peer = server.peer()
        server.pass_time(9)
        peer.sendall(wire(b"x"))
        server.until(lambda: len(told.events) == 2)
        (conn,) = told.conns
        conn.pause()
        server.pass_time(5)
        assert not conn.closed


def test_another_clock_that_rings_doesnt_make_a_client_busy() -> None:
    told = Silent()
    with ByHand(told, idle_timeout=100, frame_timeout=60) as server:
        peer = server.peer()
        peer.sendall(wire(b"x")[:2])
        server.turn()
        peer.sendall(wire(b"x")[2:])
        server.until(lambda: len(told.events) == 2)
        server.pass_time(61)
        server.pass_time(40)
        assert told.conns[0].closed


def test_a_peer_that_takes_nothing_more_is_let_go_of_in_time() -> None:
    told = Silent()
    with ByHand(told, idle_timeout=30, close_timeout=5, max_pending=1 << 30) as server:
        peer = server.peer(SO_RCVBUF=4096)
        (conn,) = told.conns
        while not conn.pending:
            conn.send(bytes(100_000))
        server.turn()
        server.pass_time(31)
        server.pass_time(31)
        assert conn.closed
        server.pass_time(6)
        assert not server.loop.clients
        with pytest.raises(ConnectionResetError):
            rest(peer)


WAITS = ["idle", "in a frame", "paused", "paused, and gone", "half-closed", "not reading", "being closed"]


@pytest.mark.parametrize("what", WAITS)
def test_a_client_that_waits_costs_no_turns(what: str) -> None:
    class Handler(Silent):
        def ended(self, conn: Any) -> None:
            self.events.append(("ended",))

    told = Handler()
    with ByHand(told, max_pending=1 << 30) as server:
        peer = server.peer(SO_RCVBUF=4096)
        (conn,) = told.conns
        if what == "in a frame":
            peer.sendall(wire(bytes(100))[:50])
        elif what.startswith("paused"):
            conn.pause()
            peer.sendall(wire(b"x"))
            if "gone" in what:
                reset(peer)
        elif what == "half-closed":
            peer.shutdown(socket.SHUT_WR)
            server.until(lambda: told.events[-1] == ("ended",))
        elif what in {"not reading", "being closed"}:
            peer.sendall(wire(b"x") * 10)
            while not conn.pending > 100_000:
                conn.send(bytes(100_000))
            if what == "being closed":
                conn.close()
        server.turn(20)
        while server.loop._asked or server.loop._again:
            server.turn(1)
        assert len(server.loop.clients) == 1
        for _ in range(3):
            assert server.loop.poller.poll(0.01) == []


# --- Fairness --------------------------------------------------------------------------------------------------------


def test_a_greedy_client_gets_a_turn_as_the_others_do() -> None:
    served: list[tuple[Any, int]] = []

    class Handler(Told):
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            served.append((conn, len(frames)))

    handler = Handler()
    with ByHand(handler, turn_frames=10, turn_bytes=4096) as server:
        greedy = server.peer()
        polite = [server.peer() for _ in range(20)]
        greedy.sendall(wire(*[b""] * 10_000))
        server.turn(2)
        for n in range(1, 6):
            for peer in polite:
                peer.sendall(wire(b"x"))
            del served[:]
            server.until(lambda: len([conn for conn, _ in served if conn is not handler.conns[0]]) == 20)
            turns = [count for conn, count in served if conn is handler.conns[0]]
            assert max(turns, default=0) <= 10
            assert sum(turns) <= 10 * 3 * n


def test_who_holds_most_goes_first_when_all_hold_too_much() -> None:
    told = Silent()
    with ByHand(told, max_held=400_000, max_pending=1 << 30, frame_timeout=None) as server:
        peers = [server.peer() for _ in range(4)]
        sizes = 10_000, 300_000, 50_000, 200_000
        for peer, size in zip(peers, sizes, strict=True):
            threading.Thread(target=peer.sendall, args=((1 << 20).to_bytes(4, "big") + bytes(size),)).start()
        server.until(lambda: causes(told))
        server.turn(20)
        left = {conn.stats is not None and conn for conn in server.loop.clients}
        assert left == {told.conns[0], told.conns[2], told.conns[3]}
        assert isinstance(causes(told)[0], ff.QueueFull)
        assert server.loop.held == sum(conn.held for conn in left)


# --- Storms ----------------------------------------------------------------------------------------------------------


def test_frames_of_many_threads_and_of_the_handler_are_whole_and_in_order() -> None:
    class Handler(Told):
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            if conn.state is None:
                conn.state = [threading.Thread(target=self.reply, args=(conn, n)) for n in range(4)]
                for thread in conn.state:
                    thread.start()
            for frame in frames:
                conn.send(b"handler-" + frame)

        def reply(self, conn: Any, number: int) -> None:
            for n in range(FRAMES):
                if n % 3:
                    conn.send(b"%d-%d" % (number, n))
                else:
                    conn.send_many([b"%d-%d" % (number, n)])

    with serving(Handler(), limits=ff.Limits(max_pending=1 << 30)) as server, to(server) as conn:
        sender = threading.Thread(target=lambda: [conn.send(b"%d" % n) for n in range(FRAMES)])
        sender.start()
        seen: dict[bytes, int] = {}
        for _ in range(5 * FRAMES):
            who, number = conn.recv().split(b"-")
            assert int(number) == seen.get(who, -1) + 1
            seen[who] = int(number)
        sender.join(LONG)


def test_threads_that_do_anything_at_any_time_do_no_harm() -> None:
    told, chance = Told(), random.Random(1)
    acts = ["send", "send_many", "close", "abort", "pause", "resume", "ask"]
    weights = [100, 50, 1, 1, 20, 60, 20]
    over = threading.Event()

    def storm(seed: int) -> None:
        chance = random.Random(seed)
        while not over.is_set():
            for conn in list(told.conns)[-8:]:
                (act,) = chance.choices(acts, weights)
                try:
                    if act == "send":
                        conn.send(bytes(chance.randrange(2000)))
                    elif act == "send_many":
                        conn.send_many([bytes(chance.randrange(2000))] * 5)
                    elif act == "ask":
                        assert conn.pending >= 0
                        assert repr(conn)
                        assert server.stats.connections >= 0
                    else:
                        getattr(conn, act)()
                except (ff.ConnectionClosed, ff.ConnectionLost, ff.QueueFull):
                    pass
                except BaseException as error:
                    wrong.append(error)
                    raise
            time.sleep(0)

    wrong: list[BaseException] = []
    with serving(told, limits=ff.Limits(max_pending=1 << 20, idle_timeout=LONG)) as server:
        threads = [threading.Thread(target=storm, args=(seed,)) for seed in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(40):
            with socket.create_connection(server.address) as sock:
                sock.settimeout(LONG)
                try:
                    for _ in range(20):
                        sock.sendall(wire(*[b"x" * chance.randrange(500)] * 5))
                        sock.recv(chance.randrange(1, 10_000))
                    if chance.random() < 0.5:
                        reset(sock)
                except OSError:
                    pass
        over.set()
        for thread in threads:
            thread.join(LONG)
    assert not wrong
    assert len(causes(told)) == len(told.conns)
    assert all(error is None or isinstance(error, ff.FrameError) for error in causes(told))
    assert server.stats.held == 0
    assert server.stats.accepted == sum(server.stats[2:5]) == 40


# --- Stops -----------------------------------------------------------------------------------------------------------


def test_a_stop_counts_who_got_everything_and_who_did_not() -> None:
    came = threading.Semaphore(0)

    class Handler(Told):
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            super().frames(conn, frames)
            if frames == [b"much"]:
                conn.send_many([bytes(1 << 20)] * 15)
            came.release()

    handler = Handler()
    with serving(handler, limits=ff.Limits(max_pending=1 << 30)) as server:
        socks = [socket.create_connection(server.address) for _ in range(6)]
        for n, sock in enumerate(socks):
            sock.settimeout(LONG)
            sock.sendall(wire(b"much" if n % 3 == 0 else b"few"))
            assert came.acquire(timeout=LONG)
        server.shutdown(timeout=0.2)
        stats = server.stats
        assert (stats.connections, stats.accepted, stats.finished, stats.aborted, stats.failed) == (0, 6, 4, 2, 0)
        assert causes(handler) == [None] * 6
        for n, sock in enumerate(socks):
            with sock:
                if n % 3:
                    assert rest(sock) == wire(b"few")
                else:
                    with pytest.raises(ConnectionResetError):
                        rest(sock)


@needs_proc
def test_nothing_is_left_behind() -> None:
    threads = threading.active_count()
    with none_left():
        with serving(Told()) as server:
            for n in range(20):
                sock = socket.create_connection(server.address)
                sock.settimeout(LONG)
                sock.sendall(wire(b"x"))
                if n % 2:
                    assert received(sock, 5) == wire(b"x")
                if n % 3:
                    sock.close()
                else:
                    reset(sock)
    assert threading.active_count() == threads
    assert server.stats.accepted == sum(server.stats[2:5])
