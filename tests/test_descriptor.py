"""Connections over pipes, pairs of descriptors, and what multiprocessing makes of them, on both engines."""

import errno
import fcntl
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
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
    descriptors,
    needs_proc,
    needs_signals,
    on_engine,
    waiting,
    wire,
)

__all__ = ["alarms", "clean", "on_engine"]  # the fixtures that pytest is to find here

Pair = tuple[ff.Connection, ff.Connection]

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="as Linux has it")


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


@pytest.fixture
def pipe(clean: list[Any]) -> Pair:
    """Who receives and who sends, over a pipe."""
    r, w = os.pipe()
    ends = ff.wrap(r, FRAMING, timeout=LONG), ff.wrap(w, FRAMING, timeout=LONG)
    clean += ends
    return ends


# --- Pipes -----------------------------------------------------------------------------------------------------------


def test_a_pipe_carries_frames_to_its_end(pipe: Pair) -> None:
    rx, tx = pipe
    tx.send_many([b"one", b"", b"three"])
    assert rx.recv() == b"one"
    tx.close()
    assert list(rx) == [b"", b"three"]
    with pytest.raises(ff.ConnectionClosed):
        rx.recv()


def test_a_pipe_has_one_direction(pipe: Pair) -> None:
    rx, tx = pipe
    sends = (lambda: rx.send(b"x"), lambda: rx.send_many([b"x"]), rx.shutdown_send, lambda: rx.send(b"x", fds=[0]))
    receives = (
        tx.recv,
        tx.recv_many,
        tx.recv_batch,
        lambda: tx.recv_into(bytearray(9)),
        tx.unread,
        tx.poll,
        tx.recv_fds,
        lambda: next(iter(tx)),
    )
    for call in (*sends, *receives):
        with pytest.raises(ValueError):
            call()
    rx.flush()
    assert rx.pending == 0
    assert (rx.stats.sent, tx.stats.received) == ((0, 0, 0), (0, 0, 0))
    tx.send(b"still")
    assert rx.recv() == b"still"


def test_only_sockets_have_addresses(pipe: Pair) -> None:
    for name in ("local_address", "peer_address"):
        with pytest.raises(ValueError, match="socket"):
            getattr(pipe[0], name)


def test_a_pipe_keeps_timeouts(pipe: Pair) -> None:
    rx, tx = pipe
    start = time.monotonic()
    with pytest.raises(ff.FrameTimeout):
        rx.recv(timeout=SOON)
    with pytest.raises(ff.SendInterrupted) as caught:
        tx.send(bytes(1_000_000), timeout=SOON)
    assert 2 * SOON <= time.monotonic() - start < PROMPT
    assert 0 < tx.pending < 1_000_004
    thread = Thread(rx.recv)
    tx.flush()
    assert thread.done() == bytes(1_000_000)
    assert caught.value.pending > 0


@needs_linux
def test_a_large_frame_goes_through_a_small_pipe(pipe: Pair) -> None:
    rx, tx = pipe
    fcntl.fcntl(tx.fileno(), fcntl.F_SETPIPE_SZ, 4096)
    payload = os.urandom(3_000_000)
    thread = Thread(rx.recv)
    tx.send(payload)
    assert thread.done() == payload


@pytest.mark.parametrize("blocking", [True, False])
def test_a_pipes_mode_is_never_changed(pipe: Pair, blocking: bool) -> None:
    rx, tx = pipe
    numbers = rx.fileno(), tx.fileno()
    for number in numbers:
        os.set_blocking(number, blocking)
    payload = os.urandom(500_000)
    thread = waiting(rx.recv)
    tx.send(payload)
    assert [os.get_blocking(number) for number in numbers] == [blocking] * 2
    assert thread.done() == payload
    with pytest.raises(ff.FrameTimeout):
        rx.recv(timeout=0)
    with pytest.raises(ff.SendInterrupted):
        tx.send(payload, timeout=SOON)
    assert [os.get_blocking(number) for number in numbers] == [blocking] * 2


@pytest.mark.parametrize("end", ["close", "abort"])
def test_the_end_wakes_who_receives_from_a_pipe(pipe: Pair, end: str) -> None:
    rx, _ = pipe
    number = rx.fileno()
    thread = waiting(rx.recv)
    start = time.monotonic()
    getattr(rx, end)()
    with pytest.raises(ff.ConnectionClosed):
        thread.done()
    assert time.monotonic() - start < PROMPT
    assert not is_open(number)


@pytest.mark.parametrize("end", [lambda conn: conn.close(timeout=SOON), ff.Connection.abort], ids=["close", "abort"])
def test_the_end_wakes_who_sends_to_a_pipe(pipe: Pair, end: Callable[[ff.Connection], None]) -> None:
    _, tx = pipe
    number = tx.fileno()
    thread = waiting(lambda: tx.send(bytes(1_000_000)))
    start = time.monotonic()
    end(tx)
    with pytest.raises(ff.ConnectionClosed):
        thread.done()
    assert time.monotonic() - start < PROMPT
    assert not is_open(number)


@needs_signals
@pytest.mark.parametrize("end", ["close", "abort"])
def test_a_handler_may_close_a_pipe_that_is_waited_for(pipe: Pair, alarms: Any, end: str) -> None:
    rx, _ = pipe
    number = rx.fileno()
    alarms(getattr(rx, end))
    with pytest.raises(ff.ConnectionClosed):
        rx.recv()
    assert not is_open(number)


def test_close_sends_what_is_left_in_a_pipe(pipe: Pair) -> None:
    rx, tx = pipe
    with pytest.raises(ff.SendInterrupted):
        tx.send(bytes(1_000_000), timeout=0)
    thread = Thread(lambda: list(rx))
    tx.close()
    assert thread.done() == [bytes(1_000_000)]


def test_a_pipe_without_a_reader_is_lost(pipe: Pair) -> None:
    rx, tx = pipe
    rx.close()
    for _ in range(2):
        with pytest.raises(ff.ConnectionLost) as caught:
            tx.send(b"anybody?")
        assert caught.value.errno == errno.EPIPE
    tx.close()


def test_a_pipe_that_ends_inside_a_frame(pipe: Pair) -> None:
    rx, tx = pipe
    with pytest.raises(ff.SendInterrupted):
        tx.send(bytes(1_000_000), timeout=0)
    tx.abort()
    with pytest.raises(ff.TruncatedFrame) as caught:
        rx.recv()
    assert caught.value.want == 1_000_004


def test_without_readahead_a_pipe_can_be_handed_over(pipe: Pair) -> None:
    rx, tx = pipe
    lazy = ff.wrap(rx.detach(), FRAMING, readahead=False, timeout=LONG)
    tx.send_many([b"first", b"second"])
    assert lazy.recv() == b"first"
    number = lazy.detach()
    assert os.read(number, 100) == wire(b"second")
    os.close(number)


@needs_proc
def test_descriptors_are_closed_once_and_nothing_else_is(clean: list[Any]) -> None:
    before = descriptors()
    closed = []
    close = os.close

    def noted(number: int) -> None:
        closed.append(number)
        close(number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "close", noted)
        for end in ("close", "abort", "detach"):
            closed.clear()
            r, w = os.pipe()
            rx, tx = ff.wrap(r, FRAMING), ff.wrap(w, FRAMING)
            tx.send(b"x")
            assert rx.recv() == b"x"
            for conn in (tx, rx):
                getattr(conn, end)()
                conn.close()
                conn.abort()
            if end == "detach":
                noted(r)
                noted(w)
            assert len(closed) == len(set(closed))
            assert {r, w} <= set(closed)
    assert descriptors() == before


def test_an_unclosed_pipe_is_closed_with_a_warning() -> None:
    r, w = os.pipe()
    conn = ff.wrap(r, FRAMING)
    with pytest.warns(ResourceWarning, match="unclosed <Connection descriptor"):
        del conn
    assert not is_open(r)
    os.close(w)


def test_half_closing_the_writing_end_is_the_end(pipe: Pair) -> None:
    rx, tx = pipe
    number = tx.fileno()
    tx.send(b"last")
    tx.shutdown_send()
    assert list(rx) == [b"last"]
    assert not is_open(number)
    assert tx.fileno() == -1
    with pytest.raises(ValueError, match="shut down"):
        tx.send(b"more")
    other = os.open(os.devnull, os.O_RDONLY)  # takes the number
    tx.close()
    assert is_open(other)
    os.close(other)


@needs_signals
def test_a_broken_pipe_signals_where_the_program_wants_it() -> None:
    # Only sockets can be written to without it; Python itself ignores the signal.
    program = """
        import os, signal, fastframe
        signal.signal(signal.SIGPIPE, signal.{})
        r, w = os.pipe()
        os.close(r)
        try:
            fastframe.wrap(w, fastframe.LengthField(4)).send(b"x")
        except fastframe.ConnectionLost as error:
            os._exit(error.errno)
    """
    codes = [
        subprocess.run([sys.executable, "-c", textwrap.dedent(program.format(action))], check=False).returncode
        for action in ("SIG_IGN", "SIG_DFL")
    ]
    assert codes == [errno.EPIPE, -signal.SIGPIPE]


# --- Pairs -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[-1, 0], ids=["buffered", "unbuffered"])
def cat(request: pytest.FixtureRequest, clean: list[Any]) -> Iterator[tuple[subprocess.Popen[bytes], ff.Connection]]:
    """A process that gives back what it was given, and a connection to it."""
    process = subprocess.Popen(
        ["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=request.param, pipesize=4096
    )
    conn = ff.wrap(process.stdout, FRAMING, writer=process.stdin, timeout=LONG)
    clean.append(conn)
    yield process, conn
    conn.abort()
    process.wait(LONG)


def test_a_process_is_spoken_to(cat: tuple[subprocess.Popen[bytes], ff.Connection]) -> None:
    process, conn = cat
    conn.send_many([b"%d" % i for i in range(1000)])
    assert [conn.recv() for _ in range(1000)] == [b"%d" % i for i in range(1000)]
    sender = Thread(lambda: conn.send(bytes(1_000_000)))
    assert conn.recv() == bytes(1_000_000)
    sender.done()
    conn.send(b"last")
    conn.shutdown_send()
    assert list(conn) == [b"last"]
    with pytest.raises(ValueError, match="shut down"):
        conn.send(b"x")
    assert process.wait(LONG) == 0
    conn.close()
    assert process.stdin is not None
    assert process.stdin.closed
    assert process.stdout is not None
    assert process.stdout.closed


def test_closing_a_pair_wakes_both_directions(cat: tuple[subprocess.Popen[bytes], ff.Connection]) -> None:
    process, conn = cat
    process.send_signal(signal.SIGSTOP)
    threads = [waiting(conn.recv), waiting(lambda: conn.send(bytes(1_000_000)))]
    conn.close(timeout=0)
    for thread in threads:
        with pytest.raises(ff.ConnectionClosed):
            thread.done()
    process.kill()


def test_the_same_descriptor_twice_is_one(clean: list[Any]) -> None:
    number = fcntl.fcntl(os.open(os.devnull, os.O_RDWR), fcntl.F_DUPFD, 300)
    conn = ff.wrap(number, FRAMING, writer=int(str(number)))
    clean.append(conn)
    with pytest.raises(ValueError, match="half-closed"):
        conn.shutdown_send()
    assert conn.detach() == number
    os.close(number)


def test_a_pair_has_a_direction_each(clean: list[Any]) -> None:
    r, w = os.pipe()
    a, b = socket.socketpair()
    clean += [a, b]
    for source, writer, wrong in ((w, r, ValueError), (a, w, TypeError), (r, b, TypeError), (r, "file", TypeError)):
        with pytest.raises(wrong):
            ff.wrap(source, FRAMING, writer=writer)
    assert is_open(r)
    assert is_open(w)
    conn = ff.wrap(r, FRAMING, writer=w, timeout=LONG)
    conn.send(b"to myself")
    assert conn.recv() == b"to myself"
    assert conn.detach() == (r, w)
    os.close(r)
    os.close(w)


# --- multiprocessing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("duplex", [True, False])
def test_multiprocessings_connections(duplex: bool, clean: list[Any]) -> None:
    a, b = multiprocessing.Pipe(duplex)
    rx, tx = ff.wrap(a, FRAMING, timeout=LONG), ff.wrap(b, FRAMING, timeout=LONG)
    clean += [rx, tx]
    thread = Thread(rx.recv)
    tx.send(bytes(1_000_000))
    assert thread.done() == bytes(1_000_000)
    if duplex:
        rx.send(b"back")
        assert tx.recv() == b"back"
        tx.shutdown_send()
    else:
        with pytest.raises(ValueError):
            rx.send(b"back")
    tx.close()
    assert list(rx) == []
    rx.close()
    assert a.closed
    assert b.closed


@pytest.mark.parametrize("duplex", [True, False])
def test_a_connection_of_multiprocessing_is_given_back(duplex: bool) -> None:
    a, b = multiprocessing.Pipe(duplex)
    conn = ff.wrap(a, FRAMING)
    assert conn.detach() is a
    conn.close()
    del conn
    b.send("an object")
    assert a.recv() == "an object"
    a.close()
    b.close()


# --- Two threads -----------------------------------------------------------------------------------------------------


def test_closing_again_and_again_never_touches_another_descriptor() -> None:
    """Pipes are opened and closed all the time while others are received from: no byte goes astray."""
    stop = threading.Event()

    def churn() -> int:
        count = 0
        while not stop.is_set():
            r, w = os.pipe()
            conn = ff.wrap(r, FRAMING)
            receiver = Thread(conn.recv)
            conn.close()
            with pytest.raises((ff.ConnectionClosed, ValueError)):
                receiver.done()
            os.close(w)
            count += 1
        return count

    churner = Thread(churn)
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        r, w = os.pipe()
        with ff.wrap(r, FRAMING, timeout=LONG) as rx, ff.wrap(w, FRAMING, timeout=LONG) as tx:
            secret = os.urandom(8)
            tx.send(secret)
            assert rx.recv() == secret
    stop.set()
    assert churner.done() > 10


@needs_proc
def test_what_the_systems_close_says_is_told_and_all_is_closed() -> None:
    before = descriptors()
    r, w = os.pipe()
    conn = ff.wrap(w, FRAMING)
    os.close(w)
    with pytest.raises(OSError, match="descriptor") as caught:
        conn.close()
    assert caught.value.errno == errno.EBADF
    assert conn.closed
    conn.close()
    os.close(r)
    assert descriptors() == before


@needs_linux
def test_a_blocking_pipe_is_filled_at_once(pipe: Pair) -> None:
    receiver, sender = pipe
    r, w = receiver.fileno(), sender.fileno()
    with pytest.raises(ff.SendInterrupted) as caught:
        sender.send(bytes(1 << 20), timeout=0)
    room = fcntl.fcntl(w, fcntl.F_GETPIPE_SZ)
    assert (1 << 20) + 4 - caught.value.pending == room
    assert os.get_blocking(r)
    assert os.get_blocking(w)
    thread = Thread(sender.flush)
    assert receiver.recv() == bytes(1 << 20)
    thread.done()


@needs_linux
def test_what_was_opened_for_a_pipe_is_closed_with_it() -> None:
    before = descriptors()
    for end in (ff.Connection.close, ff.Connection.abort, ff.Connection.detach, ff.Connection.shutdown_send):
        r, w = os.pipe()
        conn = ff.wrap(r, FRAMING, writer=w) if end is ff.Connection.shutdown_send else ff.wrap(w, FRAMING)
        end(conn)
        if end is ff.Connection.shutdown_send:
            assert os.read(r, 1) == b""
            conn.abort()
        elif end is ff.Connection.detach:
            os.close(w)
            assert os.read(r, 1) == b""
        if end is not ff.Connection.shutdown_send:
            os.close(r)
        assert descriptors() == before
