"""The end of a connection, on both engines: what was sent arrives, or the peer sees a reset; and then nothing is left."""

import errno
import gc
import os
import socket
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import fastframe as ff
from connections import FRAMING, LONG, PROMPT, Thread, clean, on_engine, pair, raw, raw_pair, reset, rest, tight, wire
from fastframe import connection
from support import tcp_pair

__all__ = ["clean", "on_engine", "pair", "raw", "tight"]  # the fixtures that pytest is to find here


# --- Closing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tcp", "pair"])
def test_close_delivers_what_was_sent_even_with_unread_input(kind: str) -> None:
    for run in range(40):
        a, b = raw_pair(kind)
        conn = ff.wrap(a, FRAMING, timeout=LONG)
        sent = [os.urandom(20_000) for _ in range(20)]

        def peer(b: socket.socket = b, run: int = run) -> bytes:
            # It sends without being read, and reads slowly.
            with b:
                b.settimeout(LONG)
                b.sendall(bytes(4096 * (run % 8)))
                data = b""
                while more := b.recv(32_768):
                    data += more
                    if run % 4 == 0:
                        time.sleep(0.001)
                return data

        thread = Thread(peer)
        if run % 2:
            time.sleep(0.002)
        conn.send_many(sent)
        conn.close()
        assert thread.done() == wire(*sent)


def test_close_frees_a_peer_that_is_stuck_in_a_send(clean: list[Any]) -> None:
    a, b = tcp_pair()
    conn = ff.wrap(a, FRAMING)
    clean += [conn, b]
    with pytest.raises(ff.SendInterrupted):
        conn.send(bytes(16_000_000), timeout=0)

    def peer() -> bytes:
        b.settimeout(LONG)
        b.sendall(bytes(16_000_000))
        return rest(b)

    thread = Thread(peer)
    conn.close(timeout=LONG)
    assert thread.done() == wire(bytes(16_000_000))


def test_close_waits_for_nobody_when_all_is_delivered(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    conn.send(b"bye")
    peer.sendall(b"never read")
    start = time.monotonic()
    conn.close(timeout=10 * PROMPT)
    if sys.platform == "linux":
        assert time.monotonic() - start < PROMPT
    assert rest(peer) == wire(b"bye")


def test_close_gives_up_at_its_deadline(tight: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = tight
    with pytest.raises(ff.SendInterrupted):
        conn.send(bytes(500_000), timeout=0)
    start = time.monotonic()
    conn.close(timeout=0.1)
    assert 0.08 < time.monotonic() - start < PROMPT
    with ff.wrap(peer, FRAMING, timeout=LONG) as other, pytest.raises(ff.TruncatedFrame):
        other.recv()


def test_a_cut_frame_isnt_taken_for_a_whole_one(clean: list[Any]) -> None:
    a, b = tcp_pair()
    conn = ff.wrap(a, ff.UntilEOF())
    clean += [conn, b]
    with pytest.raises(ff.SendInterrupted):
        conn.send(bytes(16_000_000), timeout=0)
    conn.close(timeout=0)
    with pytest.raises(ConnectionResetError):
        rest(b)


# --- Ends of other kinds ---------------------------------------------------------------------------------------------


def test_leaving_the_with_block_closes(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    with conn as same:
        assert same is conn
        conn.send(b"x")
    assert conn.closed
    assert rest(peer) == wire(b"x")
    with pytest.raises(ValueError, match="closed"), conn:
        pass


def test_leaving_the_with_block_by_an_exception_doesnt_wait(tight: tuple[ff.Connection, socket.socket]) -> None:
    conn, _ = tight
    start = time.monotonic()
    with pytest.raises(ff.SendInterrupted), conn:
        conn.send(bytes(500_000), timeout=0)
    assert time.monotonic() - start < connection.CLOSE_TIMEOUT - 1
    assert conn.closed


@pytest.mark.parametrize("end", ["close", "abort"])
def test_after_the_end_every_call_is_a_valueerror(pair: tuple[ff.Connection, socket.socket], end: str) -> None:
    conn, peer = pair
    peer.sendall(wire(b"unread"))
    conn.send(b"sent")
    number = conn.fileno()
    getattr(conn, end)()
    with pytest.raises(OSError):
        os.fstat(number)
    conn.close()
    conn.abort()
    conn.close(timeout=0)
    calls: list[Callable[[], Any]] = [conn.recv, conn.recv_many, conn.recv_batch, lambda: next(iter(conn)), conn.poll]
    calls += [lambda: conn.send(b"x"), lambda: conn.send_many([b"x"]), conn.flush, conn.shutdown_send, conn.unread]
    calls += [conn.fileno, conn.__enter__, lambda: conn.local_address, lambda: conn.peer_address]
    calls += [lambda: setattr(conn, "framing", FRAMING), lambda: setattr(conn, "send_framing", FRAMING)]
    for call in calls:
        with pytest.raises(ValueError, match="connection is closed"):
            call()
    assert conn.closed
    assert conn.stats.sent.frames == 1
    assert conn.framing == conn.send_framing == FRAMING
    assert "closed" in repr(conn)


def test_abort_resets(clean: list[Any]) -> None:
    a, b = tcp_pair()
    clean.append(b)
    conn = ff.wrap(a, FRAMING)
    conn.send(b"x")
    conn.abort()
    with pytest.raises(ConnectionResetError):
        rest(b)


@pytest.mark.parametrize("kind", ["tcp", "pair"])
def test_closing_after_the_peer_has_gone(kind: str) -> None:
    for gone in (socket.socket.close, reset):
        a, b = raw_pair(kind)
        conn = ff.wrap(a, FRAMING)
        conn.send(b"x")
        gone(b)
        start = time.monotonic()
        conn.close()
        assert time.monotonic() - start < connection.CLOSE_TIMEOUT - 1
        assert a.fileno() == -1


def test_a_forgotten_connection_warns_and_closes_without_waiting() -> None:
    a, b = socket.socketpair()
    conn = ff.wrap(a, FRAMING)
    number = conn.fileno()
    b.sendall(b"unread")
    start = time.monotonic()
    forgotten = [a, conn]
    del conn, a
    with pytest.warns(ResourceWarning, match=f"unclosed <Connection descriptor {number}"):
        forgotten.clear()
    assert time.monotonic() - start < connection.CLOSE_TIMEOUT - 1
    with pytest.raises(OSError):
        os.fstat(number)
    b.close()


def test_a_failed_or_closed_connection_doesnt_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TypeError):
            ff.Connection(object(), FRAMING)
        empty = ff.Connection.__new__(ff.Connection)
        assert "without" in repr(empty)
        del empty
        a, b = socket.socketpair()
        ff.wrap(a, FRAMING).close()
        ff.wrap(b, FRAMING).abort()
        gc.collect()


@pytest.mark.parametrize("times", [1, 3, 1000])
def test_an_error_that_passes_is_waited_for(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    a, b = tcp_pair()
    conn = ff.wrap(a, FRAMING, timeout=LONG)
    errors = [OSError(errno.ENOBUFS, "not now")] * times
    finish = conn._transport.finish

    def answer() -> bool:
        if errors:
            raise errors.pop()
        return finish()

    monkeypatch.setattr(conn._transport, "finish", answer)
    conn.send(b"x")
    conn.close(LONG)
    with b:
        b.settimeout(LONG)
        assert rest(b) == wire(b"x")
    assert errors == [] or len(errors) > 900
