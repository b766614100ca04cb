"""What a call that ran out of time leaves: no byte received is lost, none is sent twice; and poll, which only looks."""

import os
import socket
import time

import pytest

import fastframe as ff
from connections import LONG, SOON, Thread, clean, on_engine, pair, raw, rest, stuff, take, tight, wire
from fastframe import _pure_slices

__all__ = ["clean", "on_engine", "pair", "raw", "tight"]  # the fixtures that pytest is to find here


# --- Receiving -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", range(len(wire(b"hello"))))
def test_a_timeout_at_any_byte_loses_nothing(pair: tuple[ff.Connection, socket.socket], cut: int) -> None:
    conn, peer = pair
    data = wire(b"first", b"hello", b"")
    place = len(wire(b"first")) + cut
    peer.sendall(data[:place])
    assert conn.recv() == b"first"
    for timeout in (0, 0.002):
        for receive in (conn.recv, conn.recv_many, conn.recv_batch):
            with pytest.raises(ff.FrameTimeout):
                receive(timeout=timeout)
    assert not conn.poll()
    peer.sendall(data[place:])
    assert [conn.recv(), conn.recv()] == [b"hello", b""]
    with pytest.raises(TimeoutError):
        conn.recv(timeout=0)


def test_poll_says_what_is_there_and_takes_nothing(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    assert not conn.poll()
    assert not conn.poll(0.01)
    peer.sendall(wire(b"one", b"two")[:-1])
    assert conn.poll(LONG)
    assert conn.poll()
    assert conn.stats.received.frames == 0
    assert conn.recv(timeout=0) == b"one"
    assert not conn.poll()
    peer.sendall(b"o")
    assert conn.poll(None)
    assert conn.recv_many(timeout=0) == [b"two"]
    peer.close()
    assert conn.poll(LONG)
    assert conn.poll()
    with pytest.raises(ff.ConnectionClosed):
        conn.recv(timeout=0)
    assert conn.poll()


def test_poll_is_true_for_a_large_frame_once_it_is_whole(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    payload = os.urandom(3_000_000)
    thread = Thread(lambda: peer.sendall(wire(payload, b"next")))
    deadline = time.monotonic() + LONG
    while not conn.poll(0.001):
        assert time.monotonic() < deadline
    assert conn.recv(timeout=0) == payload
    thread.done()
    assert conn.recv() == b"next"


@pytest.mark.parametrize(("data", "error"), [(b"\0\0\0\5he", ff.TruncatedFrame), (b"\xff" * 4, ff.FrameTooLarge)])
def test_poll_is_true_for_an_error(
    pair: tuple[ff.Connection, socket.socket], data: bytes, error: type[ff.FrameError]
) -> None:
    conn, peer = pair
    peer.sendall(wire(b"good") + data)
    peer.shutdown(socket.SHUT_WR)
    assert conn.poll(LONG)
    assert conn.recv() == b"good"
    assert conn.poll(LONG)
    with pytest.raises(error):
        conn.recv(timeout=0)
    assert conn.poll()


@pytest.mark.parametrize("readahead", [True, False])
@pytest.mark.parametrize("unread", [b"", b"this resets it"])
def test_poll_stays_true_at_the_end(engine: object, readahead: bool, unread: bytes) -> None:
    ours, peers = socket.socketpair()
    with ff.wrap(ours, ff.LengthField(4), readahead=readahead, timeout=LONG) as conn:
        conn.send(unread)
        peers.close()
        for _ in range(2):
            assert [conn.poll(LONG), conn.poll(), conn.poll()] == [True] * 3
            with pytest.raises((ff.ConnectionClosed, ff.ConnectionLost)):
                conn.recv(timeout=0)
    with pytest.raises(ValueError, match="closed"):
        conn.poll()


# --- Sending ---------------------------------------------------------------------------------------------------------


def test_an_interrupted_send_is_finished_by_flush(tight: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = tight
    payload = os.urandom(500_000)
    with pytest.raises(ff.SendInterrupted) as caught:
        conn.send(payload, timeout=SOON)
    assert 0 < caught.value.pending == conn.pending < 500_004
    for _ in range(2):
        with pytest.raises(ff.SendInterrupted) as caught:
            conn.flush(timeout=0)
        assert caught.value.pending == conn.pending
    with pytest.raises(ff.FrameTimeout):
        conn.send(b"can't start inside", timeout=0)
    with pytest.raises(ff.FrameTimeout):
        conn.send_many([b"nor", b"these"], timeout=0.01)
    thread = Thread(lambda: take(peer, 500_004))
    conn.flush()
    assert conn.pending == 0
    assert thread.done() == wire(payload)
    assert conn.stats.sent == (1, 500_004, 0)


def test_the_next_send_finishes_an_interrupted_one_first(tight: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = tight
    payload = bytearray(os.urandom(300_000))
    with pytest.raises(ff.SendInterrupted):
        conn.send(payload, timeout=0)
    expected = wire(bytes(payload), b"second", b"third", b"fourth")
    payload[:] = bytes(len(payload))
    thread = Thread(lambda: take(peer, len(expected)))
    conn.send(b"second")
    conn.send_many([b"third", b"fourth"])
    assert thread.done() == expected


def test_a_frame_of_which_nothing_was_sent_is_withdrawn(tight: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = tight
    before = stuff(conn)
    held, stats = conn.pending, conn.stats
    for timeout in (0, 0.01):
        with pytest.raises(ff.FrameTimeout):
            conn.send(b"not now", timeout=timeout)
        with pytest.raises(ff.FrameTimeout):
            conn.send_many([b"not", b"now"], timeout=timeout)
    assert (conn.pending, conn.stats) == (held, stats)
    thread = Thread(lambda: take(peer, len(before)))
    conn.flush()
    conn.send(b"now")
    assert thread.done() == before
    assert take(peer, 7) == wire(b"now")


def test_what_send_many_couldnt_send_of_a_list_stays_queued(tight: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = tight
    payloads = [os.urandom(1000) for _ in range(3000)]
    with pytest.raises(ff.SendInterrupted) as caught:
        conn.send_many(payloads, timeout=SOON)
    assert caught.value.pending == conn.pending > 2_000_000
    thread = Thread(lambda: take(peer, 3000 * 1004 + 8))
    conn.send(b"more")
    assert thread.done() == wire(*payloads, b"more")


def test_what_send_many_couldnt_send_of_an_iterator_stays_in_it(tight: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = tight
    payloads = [os.urandom(1000) for _ in range(3000)]
    left = iter(payloads)
    with pytest.raises(ff.SendInterrupted):
        conn.send_many(left, timeout=SOON)
    assert conn.pending < 2 * _pure_slices.SLICE_BYTES
    thread = Thread(lambda: take(peer, 3000 * 1004))
    conn.send_many(left)
    assert thread.done() == wire(*payloads)


def test_half_close_flushes_first(tight: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = tight
    payload = os.urandom(300_000)
    with pytest.raises(ff.SendInterrupted):
        conn.send(payload, timeout=0)
    with pytest.raises(ff.SendInterrupted):
        conn.shutdown_send(timeout=0)
    thread = Thread(lambda: rest(peer))
    conn.shutdown_send()
    assert thread.done() == wire(payload)
