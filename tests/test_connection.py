"""The blocking connection, on both engines: frames in, frames out, what ends a direction, and framings that change."""

import copy
import errno
import pickle
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import fastframe as ff
from connections import FRAMING, LONG, Thread, arrived, clean, on_engine, pair, raw, reset, rest, take, wire
from fastframe import _pure_slices
from support import tcp_pair

__all__ = ["clean", "on_engine", "pair", "raw"]  # the fixtures that pytest is to find here


# --- Receiving -------------------------------------------------------------------------------------------------------


def test_many_and_batch_give_all_that_is_there(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    peer.sendall(wire(b"1", b"", b"3"))
    arrived(conn, 14)
    assert conn.recv_many() == [b"1", b"", b"3"]
    peer.sendall(wire(b"4", b"5"))
    arrived(conn, 10)
    assert list(conn.recv_batch()) == [b"4", b"5"]
    peer.sendall(wire(b"6", b"7", b"8"))
    arrived(conn, 15)
    assert conn.recv() == b"6"
    assert conn.recv_many() == [b"7", b"8"]
    assert conn.stats.received == (8, 8 * 4 + 7, 0)


def test_iteration_goes_to_the_clean_end(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    peer.sendall(wire(b"a", b"", b"c"))
    peer.shutdown(socket.SHUT_WR)
    assert list(conn) == [b"a", b"", b"c"]
    assert list(conn) == []
    with pytest.raises(ff.ConnectionClosed):
        conn.recv()
    conn.send(b"the other direction goes on")
    assert take(peer, 31) == wire(b"the other direction goes on")


def test_iteration_raises_what_isnt_the_clean_end(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    peer.sendall(wire(b"whole") + b"\0\0")
    peer.shutdown(socket.SHUT_WR)
    frames = iter(conn)
    assert next(frames) == b"whole"
    with pytest.raises(ff.TruncatedFrame) as caught:
        next(frames)
    assert (caught.value.stage, caught.value.got, caught.value.partial, caught.value.offset) == (
        "header",
        2,
        b"\0\0",
        9,
    )
    with pytest.raises(ff.TruncatedFrame):
        conn.recv_many()


@pytest.mark.parametrize("method", ["recv", "recv_many", "recv_batch"])
def test_good_frames_come_before_a_forged_header(pair: tuple[ff.Connection, socket.socket], method: str) -> None:
    conn, peer = pair
    conn.framing = ff.LengthField(4, max_size=100)
    peer.sendall(wire(b"good", b"too") + b"\xff\0\0\1")
    receive = getattr(conn, method)
    got: list[bytes] = []
    with pytest.raises(ff.FrameTooLarge) as caught:
        while True:
            frames = receive()
            got += [frames] if isinstance(frames, bytes) else list(frames)
    assert got == [b"good", b"too"]
    assert (caught.value.size, caught.value.limit, caught.value.offset) == (0xFF000001, 100, 15)
    with pytest.raises(ff.FrameTooLarge):
        conn.recv()
    assert conn.stats.received.errors == 1
    conn.send(b"ok")
    assert take(peer, 6) == wire(b"ok")


def test_good_frames_come_before_a_reset(clean: list[Any]) -> None:
    a, b = tcp_pair()
    conn = ff.wrap(a, FRAMING, timeout=LONG)
    clean.append(conn)
    b.sendall(wire(b"one", b"two") + b"\0\0\0\5th")
    arrived(conn, 20)
    assert conn.recv() == b"one"
    reset(b)
    assert conn.recv() == b"two"
    for _ in range(2):
        with pytest.raises(ff.ConnectionLost) as caught:
            conn.recv()
        assert caught.value.errno == errno.ECONNRESET


def test_the_directions_fail_separately(clean: list[Any]) -> None:
    a, b = socket.socketpair()
    conn = ff.wrap(a, FRAMING, timeout=LONG)
    clean.append(conn)
    b.sendall(wire(b"last words", b"."))
    b.close()
    for _ in range(2):
        with pytest.raises(ff.ConnectionLost) as caught:
            conn.send(b"anybody?")
        assert caught.value.errno == errno.EPIPE
    assert list(conn) == [b"last words", b"."]


def test_without_readahead_nothing_behind_the_frame_is_taken(raw: tuple[socket.socket, socket.socket]) -> None:
    conn = ff.wrap(raw[0], FRAMING, readahead=False, timeout=LONG)
    raw[1].sendall(wire(b"one", b"two") + b"rest")
    arrived(conn, 18)
    assert conn.recv() == b"one"
    assert conn.poll()
    assert conn.recv_many() == [b"two"]
    assert raw[0].recv(100) == b"rest"
    conn.abort()


# --- Framings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("polled", [False, True])
def test_framing_covers_all_that_isnt_delivered(pair: tuple[ff.Connection, socket.socket], polled: bool) -> None:
    conn, peer = pair
    peer.sendall(wire(b"text") + b"\0\0\0\4line\nand another\n")
    assert conn.poll(LONG) if polled else True
    assert conn.recv() == b"text"
    if polled:
        assert conn.poll(LONG)
    conn.framing = ff.Delimiter(b"\n")
    assert conn.framing == ff.Delimiter(b"\n")
    assert conn.recv() == b"\0\0\0\4line"
    assert conn.recv() == b"and another"
    assert conn.send_framing == FRAMING
    with pytest.raises(TypeError):
        conn.framing = 4  # type: ignore[assignment]


def test_unread_gives_all_that_isnt_delivered(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    peer.sendall(wire(b"one", b"two") + b"\0\0")
    arrived(conn, 16)
    assert conn.recv() == b"one"
    assert conn.poll()
    assert conn.unread() == wire(b"two") + b"\0\0"
    assert conn.unread() == b""
    peer.sendall(wire(b"new"))
    assert conn.recv() == b"new"


def test_the_directions_may_have_different_framings(raw: tuple[socket.socket, socket.socket]) -> None:
    with ff.wrap(raw[0], ff.Delimiter(b"\n"), send_framing=ff.Netstring(), timeout=LONG) as conn:
        conn.send(b"hello")
        assert take(raw[1], 8) == b"5:hello,"
        raw[1].sendall(b"line\n")
        assert conn.recv() == b"line"
        conn.send_framing = FRAMING
        conn.send(b"hello")
        assert take(raw[1], 9) == wire(b"hello")
        assert (conn.framing, conn.send_framing) == (ff.Delimiter(b"\n"), FRAMING)
        with pytest.raises(TypeError):
            conn.send_framing = None  # type: ignore[assignment]
        raw[1].close()


# --- Sending ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", ["text", 5, None, [1]])
def test_wrong_payloads_change_nothing(pair: tuple[ff.Connection, socket.socket], payload: Any) -> None:
    conn, peer = pair
    with pytest.raises(TypeError):
        conn.send(payload)
    with pytest.raises(TypeError):
        conn.send_many([b"good", payload, b"good"])
    with pytest.raises(TypeError):
        conn.send_many(5)  # type: ignore[arg-type]
    assert conn.stats.sent == (0, 0, 0)
    conn.send(b"ok")
    assert take(peer, 6) == wire(b"ok")


def test_a_payload_over_the_limit_is_refused_whole(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    conn.send_framing = ff.LengthField(4, max_size=3)
    with pytest.raises(ff.FrameTooLarge):
        conn.send(b"four")
    with pytest.raises(ff.FrameTooLarge):
        conn.send_many([b"abc", b"four"])
    conn.send(b"abc")
    assert take(peer, 7) == wire(b"abc")


def test_send_many_takes_any_iterable(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    count = 5000
    expected = b"".join(wire(b"%d" % i) for i in range(count))
    for payloads in ([b"%d" % i for i in range(count)], (b"%d" % i for i in range(count))):
        thread = Thread(lambda: take(peer, len(expected)))
        conn.send_many(payloads)
        assert thread.done() == expected
    conn.send_many([])
    conn.send_many(iter(()))
    assert conn.stats.sent.frames == 2 * count


def test_send_many_may_be_given_the_same_memory_again_and_again(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    memory = bytearray(10_000)

    def payloads() -> Iterator[bytearray]:
        for i in range(100):
            memory[:] = bytes([i]) * 10_000
            yield memory

    expected = b"".join(wire(bytes([i]) * 10_000) for i in range(100))
    thread = Thread(lambda: take(peer, len(expected)))
    conn.send_many(payloads())
    assert thread.done() == expected


def test_send_many_sends_a_slice_before_it_takes_the_next(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    size = _pure_slices.SLICE_BYTES
    reader: list[Thread] = []

    def payloads() -> Iterator[bytes]:
        for _ in range(3):
            reader.append(Thread(lambda: take(peer, size + 4)))
            yield bytes(size)
            assert reader[-1].done() == wire(bytes(size))
        raise LookupError("there is no fourth")

    with pytest.raises(LookupError):
        conn.send_many(payloads())
    assert len(reader) == 3


def test_a_bad_payload_takes_nothing_of_its_slice(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    with pytest.raises(TypeError):
        conn.send_many(["bad" if i == 2000 else b"" for i in range(5000)])  # type: ignore[misc]
    conn.send(b"next")
    got = take(peer, 4 * _pure_slices.SLICE_FRAMES + 8)
    assert got == bytes(4 * _pure_slices.SLICE_FRAMES) + wire(b"next")


def test_half_close_ends_one_direction(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    conn.send(b"request")
    conn.shutdown_send()
    conn.shutdown_send()
    assert rest(peer) == wire(b"request")
    peer.sendall(wire(b"reply"))
    assert conn.recv() == b"reply"
    for call in (lambda: conn.send(b"x"), lambda: conn.send_many([b"x"])):
        with pytest.raises(ValueError, match="shut down"):
            call()
    conn.flush()
    peer.close()
    with pytest.raises(ff.ConnectionClosed):
        conn.recv()


# --- The object ------------------------------------------------------------------------------------------------------


def test_a_connection_can_be_neither_copied_nor_made_twice(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    for call in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            call(conn)
    with pytest.raises(TypeError):
        conn.__init__(peer, FRAMING)  # type: ignore[misc]
    conn.send(b"x")
    assert take(peer, 5) == wire(b"x")


def test_a_socket_closed_by_somebody_else_is_noticed(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, _ = pair
    conn._transport.sock.close()
    with pytest.raises((ValueError, OSError)):
        conn.recv(timeout=0.01)
    conn.close()
