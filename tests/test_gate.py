"""Who is inside a connection: threads and signal handlers, who is let in, who is woken, and the descriptor's end."""

import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import fastframe as ff
from connections import (
    FRAMING,
    LONG,
    PROMPT,
    SOON,
    Thread,
    alarms,
    clean,
    needs_signals,
    on_engine,
    pair,
    raw,
    rest,
    take,
    tight,
    waiting,
    wire,
)

__all__ = ["alarms", "clean", "on_engine", "pair", "raw", "tight"]  # the fixtures that pytest is to find here


# --- Threads ---------------------------------------------------------------------------------------------------------


def test_a_second_receive_is_an_error_and_the_first_unharmed(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    first = waiting(conn.recv)
    for call in (conn.recv, conn.recv_many, conn.recv_batch, conn.poll, conn.unread, lambda: next(iter(conn))):
        with pytest.raises(ff.ConcurrentUse):
            call()
    with pytest.raises(ff.ConcurrentUse):
        conn.framing = FRAMING
    conn.send(b"the other direction is free")
    peer.sendall(wire(b"first", b"second"))
    assert first.done() == b"first"
    assert conn.recv() == b"second"


def test_sends_of_several_threads_never_mix(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    threads, count = 4, 100

    def send(i: int) -> None:
        for j in range(count):
            payload = bytes([i]) * (1 + j * 997 % 60_000)
            if j % 3:
                conn.send(payload)
            else:
                conn.send_many([payload, payload])

    def receive() -> list[bytes]:
        with ff.wrap(peer, FRAMING, timeout=LONG) as other:
            return list(other)

    receiver = Thread(receive)
    for thread in [Thread(lambda i=i: send(i)) for i in range(threads)]:
        thread.done()
    conn.close()
    got = receiver.done()
    assert len(got) == threads * (count + 34)
    assert all(len(set(frame)) == 1 for frame in got)


@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize("method", ["recv", "recv_many", "recv_batch", "poll"])
def test_the_end_wakes_who_receives(pair: tuple[ff.Connection, socket.socket], end: str, method: str) -> None:
    conn, _ = pair
    number = conn.fileno()
    thread = waiting(lambda: getattr(conn, method)(timeout=LONG))
    start = time.monotonic()
    getattr(conn, end)()
    with pytest.raises(ff.ConnectionClosed):
        thread.done()
    assert time.monotonic() - start < PROMPT
    with pytest.raises(OSError):
        os.fstat(number)


@pytest.mark.parametrize("end", [lambda conn: conn.close(timeout=0.1), ff.Connection.abort], ids=["close", "abort"])
def test_the_end_wakes_who_sends(tight: tuple[ff.Connection, socket.socket], end: Callable[..., None]) -> None:
    conn, peer = tight
    number = conn.fileno()
    threads = [waiting(lambda: conn.send(bytes(500_000), timeout=None)) for _ in range(3)]
    end(conn)
    for thread in threads:
        with pytest.raises((ff.ConnectionClosed, ff.ConnectionLost)):
            thread.done()
    with pytest.raises(OSError):
        os.fstat(number)
    with ff.wrap(peer, FRAMING, timeout=LONG) as other, pytest.raises((ff.TruncatedFrame, ff.ConnectionLost)):
        other.recv()


def test_close_finishes_what_another_thread_has_begun_to_send(tight: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = tight
    sender = waiting(lambda: conn.send(bytes(500_000)))
    reader = Thread(lambda: rest(peer), after=SOON)
    conn.close(timeout=LONG)
    with pytest.raises(ff.ConnectionClosed):
        sender.done()
    assert reader.done() == wire(bytes(500_000))


def test_closing_in_many_threads_closes_once() -> None:
    for _ in range(100):
        a, b = socket.socketpair()
        conn = ff.wrap(a, FRAMING, timeout=LONG)
        receiver = Thread(conn.recv)
        closers = [Thread(conn.close), Thread(conn.abort), Thread(conn.close)]
        conn.close()
        for thread in closers:
            thread.done()
        with pytest.raises((ff.ConnectionClosed, ValueError)):
            receiver.done()
        assert a.fileno() == -1
        b.close()


# --- Signals ---------------------------------------------------------------------------------------------------------


class Interrupt(BaseException):
    pass


def interrupt() -> None:
    raise Interrupt


@needs_signals
def test_a_storm_of_signals_changes_nothing(pair: tuple[ff.Connection, socket.socket], alarms: Any) -> None:
    conn, peer = pair
    sent = [os.urandom(i * 7919 % 90_000) for i in range(200)]

    def echo() -> None:
        with ff.wrap(peer, FRAMING, timeout=LONG) as other:
            for frame in other:
                other.send(frame)

    thread = Thread(echo)
    alarms(lambda: None, 0.001, 0.001)
    for payload in sent:
        conn.send(payload)
        assert conn.recv() == payload
    conn.close()
    alarms(lambda: None, 0)
    thread.done()


@needs_signals
def test_an_exception_of_a_handler_passes_through_recv(pair: tuple[ff.Connection, socket.socket], alarms: Any) -> None:
    conn, peer = pair
    peer.sendall(wire(b"hello")[:-2])
    for receive in (conn.recv, conn.recv_many, conn.recv_batch, lambda: conn.poll(None)):
        alarms(interrupt)
        with pytest.raises(Interrupt):
            receive()
    peer.sendall(b"lo")
    assert conn.recv() == b"hello"


@needs_signals
def test_a_storm_of_exceptions_loses_no_frame(pair: tuple[ff.Connection, socket.socket], alarms: Any) -> None:
    conn, peer = pair
    sent = [b"%d" % i * (1 + i % 50) for i in range(3000)]
    got: list[bytes] = []
    inside: list[int] = []
    interrupts = 0

    def feed() -> None:
        data = wire(*sent)
        for at in range(0, len(data), 777):
            peer.sendall(data[at : at + 777])
            time.sleep(0.0005)

    def handler() -> None:
        if inside:
            inside.clear()
            raise Interrupt

    thread = Thread(feed)
    alarms(handler, 0.001, 0.0005)
    while len(got) < len(sent):
        try:
            inside.append(1)
            # What is received is noted by the same C call, so that no handler comes in between out here.
            got.extend(map(conn.recv, (LONG,)))
            inside.clear()
        except Interrupt:
            interrupts += 1
    alarms(lambda: None, 0)
    thread.done()
    assert interrupts
    assert got == sent


@needs_signals
def test_a_handlers_exception_in_a_send(tight: tuple[ff.Connection, socket.socket], alarms: Any) -> None:
    conn, peer = tight
    alarms(interrupt)
    with pytest.raises(Interrupt):
        conn.send(bytes(100_000))
    assert 0 < conn.pending < 100_004
    # Of this one nothing is sent: it is forgotten.
    held = conn.pending
    alarms(interrupt)
    with pytest.raises(Interrupt):
        conn.send(b"forgotten")
    alarms(interrupt)
    with pytest.raises(Interrupt):
        conn.send_many([b"forgotten", b"too"])
    assert conn.pending == held
    thread = Thread(lambda: take(peer, 100_004 + 8))
    conn.send(b"last")
    assert thread.done() == wire(bytes(100_000), b"last")


@needs_signals
def test_a_handler_that_sends_inside_a_send_gets_an_error(
    tight: tuple[ff.Connection, socket.socket], alarms: Any
) -> None:
    conn, peer = tight
    seen: list[Exception] = []
    handled = threading.Event()

    def handler() -> None:
        for call in (lambda: conn.send(b"x"), lambda: conn.send_many([b"x"]), conn.flush, conn.shutdown_send):
            try:
                call()
            except ff.ConcurrentUse as error:
                seen.append(error)
        handled.set()

    alarms(handler)
    thread = Thread(lambda: handled.wait(LONG) and take(peer, 500_004))
    conn.send(bytes(500_000))
    assert thread.done() == wire(bytes(500_000))
    assert len(seen) == 4


@needs_signals
def test_a_handler_may_send_inside_a_receive(pair: tuple[ff.Connection, socket.socket], alarms: Any) -> None:
    conn, peer = pair
    alarms(lambda: conn.send(b"alive"))
    thread = Thread(lambda: (take(peer, 9), peer.sendall(wire(b"reply"))))
    assert conn.recv() == b"reply"
    thread.done()


@needs_signals
@pytest.mark.parametrize("end", ["close", "abort"])
def test_a_handler_may_close(pair: tuple[ff.Connection, socket.socket], alarms: Any, end: str) -> None:
    conn, _ = pair
    number = conn.fileno()
    alarms(getattr(conn, end))
    with pytest.raises(ff.ConnectionClosed):
        conn.recv()
    with pytest.raises(OSError):
        os.fstat(number)


@needs_signals
@pytest.mark.parametrize("end", ["close", "abort"])
def test_a_handler_may_close_inside_a_send(tight: tuple[ff.Connection, socket.socket], alarms: Any, end: str) -> None:
    conn, _ = tight
    number = conn.fileno()
    alarms(getattr(conn, end))
    start = time.monotonic()
    with pytest.raises(ff.ConnectionClosed):
        conn.send(bytes(500_000))
    assert time.monotonic() - start < PROMPT
    with pytest.raises(OSError):
        os.fstat(number)


@needs_signals
def test_an_interrupted_close_closes(tight: tuple[ff.Connection, socket.socket], alarms: Any) -> None:
    conn, _ = tight
    number = conn.fileno()
    with pytest.raises(ff.SendInterrupted):
        conn.send(bytes(500_000), timeout=0)
    alarms(interrupt)
    with pytest.raises(Interrupt):
        conn.close(timeout=LONG)
    assert conn.closed
    with pytest.raises(OSError):
        os.fstat(number)


# --- Iterating -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize("waits", [True, False])
def test_iterating_ends_with_the_connection(pair: tuple[ff.Connection, socket.socket], end: str, waits: bool) -> None:
    conn, peer = pair
    peer.sendall(wire(b"one", b"two"))
    frames = iter(conn)
    assert next(frames) == b"one"
    if waits:
        assert next(frames) == b"two"
        thread = waiting(lambda: list(frames))
        getattr(conn, end)()
        assert thread.done() == []
    else:
        getattr(conn, end)()
        assert list(frames) == []
    with pytest.raises(ValueError, match="closed"):
        next(iter(conn))


def test_a_close_that_was_broken_off_is_finished_by_another(
    pair: tuple[ff.Connection, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    conn, peer = pair
    close, calls = conn._transport.close, []

    def once() -> None:
        calls.append(conn)
        if len(calls) == 1:
            raise KeyboardInterrupt
        close()

    monkeypatch.setattr(conn._transport, "close", once)
    with pytest.raises(KeyboardInterrupt):
        conn.close()
    assert conn.closed
    conn.close()
    conn.close()
    assert len(calls) == 2
    assert peer.recv(1) == b""
