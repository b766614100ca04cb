"""`for frame in conn`: frames come one by one, however many lie there, and anything may be called between two of them."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import fastframe as ff
from connections import LONG, SOON, Thread, clean, needs_fork, on_engine, pair, raw, wire

__all__ = ["clean", "on_engine", "pair", "raw"]  # the fixtures that pytest is to find here

Pair = tuple[ff.Connection, socket.socket]

WORDS = [b"", b"a", b"bc", b"def" * 100, b"g" * 5000]


def begun(conn: ff.Connection, peer: socket.socket, *payloads: bytes) -> Iterator[bytes]:
    """An iteration that has given one frame, b"first"; the payloads lie behind it."""
    peer.sendall(wire(b"first", *payloads))
    while conn._reader.buffered == 0:
        conn.poll(SOON)
    frames = iter(conn)
    assert next(frames) == b"first"
    return frames


def test_frames_come_in_order_until_the_end(pair: Pair) -> None:
    conn, peer = pair
    frames = begun(conn, peer, *WORDS)
    peer.shutdown(socket.SHUT_WR)
    assert list(frames) == WORDS
    assert list(frames) == []
    assert conn.stats.received == ff.Stats(6, len(wire(b"first", *WORDS)), 0)


def test_two_iterations_share_the_frames(pair: Pair) -> None:
    conn, peer = pair
    one = begun(conn, peer, *WORDS)
    two = iter(conn)
    assert [next(two), next(one), next(two)] == WORDS[:3]


CALLS: dict[str, Callable[[ff.Connection], Any]] = {
    "recv": lambda conn: conn.recv(),
    "recv_many": lambda conn: conn.recv_many(),
    "recv_batch": lambda conn: list(conn.recv_batch()),
    "poll": lambda conn: conn.poll(),
    "unread": lambda conn: conn.unread(),
}


@pytest.mark.parametrize("name", CALLS)
def test_other_calls_go_on_where_the_iteration_is(pair: Pair, name: str) -> None:
    conn, peer = pair
    frames = begun(conn, peer, b"second", b"third")
    assert next(frames) == b"second"
    expected = {
        "recv": b"third",
        "recv_many": [b"third"],
        "recv_batch": [b"third"],
        "poll": True,
        "unread": wire(b"third"),
    }
    assert CALLS[name](conn) == expected[name]
    peer.sendall(wire(b"fourth"))
    if name == "poll":
        assert next(frames) == b"third"
    assert next(frames) == b"fourth"


def test_a_changed_framing_counts_for_the_next_frame(pair: Pair) -> None:
    conn, peer = pair
    frames = begun(conn, peer)
    peer.sendall(b"\x00\x00\x00\x02{}" + b"\x03two" + b"\x05three")
    assert next(frames) == b"{}"
    conn.framing = ff.LengthField(1)
    assert [next(frames), next(frames)] == [b"two", b"three"]


def test_an_error_comes_behind_the_good_frames_and_stays(pair: Pair) -> None:
    conn, peer = pair
    frames = begun(conn, peer, b"good")
    peer.sendall(b"\xff\xff\xff\xff")
    assert next(frames) == b"good"
    for _ in range(2):
        with pytest.raises(ff.FrameTooLarge):
            next(frames)


def test_a_timeout_may_be_followed_by_another_step(pair: Pair) -> None:
    conn, peer = pair
    frames = begun(conn, peer)
    conn.timeout = SOON
    with pytest.raises(ff.FrameTimeout):
        next(frames)
    peer.sendall(wire(b"late"))
    conn.timeout = LONG
    assert next(frames) == b"late"


@pytest.mark.parametrize("end", ["close", "abort"])
def test_it_ends_where_the_connection_is_closed(pair: Pair, end: str) -> None:
    conn, peer = pair
    frames = begun(conn, peer, *WORDS)
    assert next(frames) == WORDS[0]
    conn.close(0) if end == "close" else conn.abort()
    assert list(frames) == []
    with pytest.raises(ValueError, match="connection is closed"):
        iter(conn)


def test_it_ends_where_another_thread_closes_the_connection(pair: Pair) -> None:
    conn, peer = pair
    frames = begun(conn, peer, *WORDS)
    Thread(lambda: conn.close(0)).done()
    assert list(frames) == []


def test_while_another_thread_receives_it_is_concurrent_use(pair: Pair) -> None:
    conn, peer = pair
    frames = begun(conn, peer, b"second")
    assert next(frames) == b"second"
    thread = Thread(conn.recv)
    time.sleep(SOON)
    with pytest.raises(ff.ConcurrentUse):
        next(frames)
    peer.sendall(wire(b"third"))
    assert thread.done() == b"third"


def test_threads_that_iterate_together_lose_and_double_nothing(pair: Pair) -> None:
    conn, peer = pair
    sent = [b"%d" % number for number in range(20_000)]
    got: list[bytes] = []

    def take() -> None:
        frames = iter(conn)
        while True:
            try:
                for frame in frames:
                    got.append(frame)  # noqa: PERF402 - a thread may be stopped behind each
                return
            except ff.ConcurrentUse:
                time.sleep(0)

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    peer.sendall(wire(*sent))
    peer.shutdown(socket.SHUT_WR)
    for thread in threads:
        thread.join(LONG)
    assert sorted(got, key=int) == sent


@needs_fork
def test_a_child_process_gets_nothing_of_what_was_read_ahead(pair: Pair) -> None:
    conn, peer = pair
    frames = begun(conn, peer, *WORDS)
    assert next(frames) == WORDS[0]
    child = os.fork()
    if child == 0:
        try:
            next(frames)
        except ff.ConcurrentUse:
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert next(frames) == WORDS[1]
