"""Connections of multiprocessing between threads, signals and processes, and on nonblocking descriptors; on both engines."""

import gc
import os
import pickle
import platform
import select
import signal
import socket
import struct
from collections.abc import Callable
from functools import partial
from multiprocessing import reduction
from typing import Any

import pytest

import fastframe as ff
from connections import LONG, SOON, Thread, alarms, needs_fork, needs_signals, on_engine
from fastframe import _mp_connection
from fastframe.multiprocessing import Connection
from mppairs import ahead, duplex, ends, pair, raw, same_engine_for_wait, until_it_waits

__all__ = ["ahead", "alarms", "duplex", "ends", "on_engine", "pair", "same_engine_for_wait"]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the host's own there")

# --- Nonblocking descriptors, signals, threads -----------------------------------------------------------------------


def test_a_nonblocking_descriptor_loses_nothing(ends: tuple[Connection, Connection]) -> None:
    reading, writing = ends
    os.set_blocking(reading.fileno(), False)
    wire = b"\0\0\0\x05hello\0\0\0\x02ok"
    got = []
    for at in range(len(wire)):
        with pytest.raises(BlockingIOError):
            reading.recv_bytes()
        raw(writing, wire[at : at + 1])
        if at in (8, 14):
            assert reading.poll()
            got.append(reading.recv_bytes())
    assert got == [b"hello", b"ok"]


def test_a_send_on_a_full_nonblocking_descriptor(ends: tuple[Connection, Connection]) -> None:
    reading, writing = ends
    os.set_blocking(writing.fileno(), False)
    message = bytes(range(256)) * 2048
    with pytest.raises(ff.SendInterrupted) as caught:
        writing.send_bytes(message)
    assert 0 < caught.value.pending < len(message) + 4
    with pytest.raises(BlockingIOError):
        writing.send_bytes(b"next")
    thread = Thread(lambda: [reading.recv_bytes(), reading.recv_bytes()])
    while True:
        try:
            writing.send_bytes(b"next")
            break
        except BlockingIOError:
            select.select([], [writing], [], LONG)
    assert thread.done() == [message, b"next"]


@needs_signals
def test_a_signal_handler_that_raises_costs_nothing(
    ends: tuple[Connection, Connection], alarms: Callable[..., None]
) -> None:
    reading, writing = ends

    def handler() -> None:
        raise ZeroDivisionError

    raw(writing, b"\0\0\0\x05hel")
    for _ in range(3):
        alarms(handler, SOON)
        with pytest.raises(ZeroDivisionError):
            reading.recv_bytes()
    raw(writing, b"lo")
    assert reading.recv_bytes() == b"hello"


def test_a_time_that_the_socket_keeps(pair: tuple[Connection, Connection]) -> None:
    one, other = pair
    with socket.socket(fileno=os.dup(one.fileno())) as alias:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            alias.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", 0, 20_000))
    large = bytes(5_000_000)
    with pytest.raises(ff.SendInterrupted):
        one.send_bytes(large)
    with pytest.raises(BlockingIOError):
        one.send_bytes(b"too early")
    thread = Thread(lambda: [other.recv_bytes(), other.recv_bytes()])
    while True:
        try:
            one.send_bytes(b"next")
            break
        except BlockingIOError:
            pass
    assert thread.done() == [large, b"next"]
    raw(other, b"\0\0\0\x02o")
    with pytest.raises(BlockingIOError):
        one.recv_bytes()
    raw(other, b"k")
    assert one.recv_bytes() == b"ok"


@needs_signals
@pytest.mark.skipif(platform.python_implementation() != "CPython", reason="a signal comes inside the unpickling there")
@pytest.mark.parametrize("into", [True, False])
def test_no_message_is_lost_to_a_signal(ends: tuple[Connection, Connection], into: bool) -> None:
    reading, writing = ends
    buffer = bytearray(100)

    def handler(number: int, frame: Any) -> None:
        inside = False
        while frame is not None:
            inside = inside or "fastframe" in frame.f_globals["__name__"]
            if inside and frame.f_code is receive.__code__:
                raise ZeroDivisionError
            frame = frame.f_back

    def receive() -> bytes:
        while True:
            try:
                if into:
                    size = reading.recv_bytes_into(buffer)
                    return bytes(buffer[:size])
                return pickle.dumps(reading.recv())
            except ZeroDivisionError:
                pass

    before = signal.signal(signal.SIGALRM, handler)
    try:
        writing.send(0)
        for number in range(1500):
            writing.send(number + 1)
            signal.setitimer(signal.ITIMER_REAL, 1e-6 * (number % 50 + 1))
            got = receive()
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert pickle.loads(got) == number
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_exception_in_the_first_use_leaves_it_open(
    ends: tuple[Connection, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = ends
    made = _mp_connection._Messages

    def broken_off(*args: Any, **kwargs: Any) -> None:
        made(*args, **kwargs)
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(_mp_connection, "_Messages", broken_off)
        with pytest.raises(ZeroDivisionError):
            writing.send_bytes(b"not sent")
    gc.collect()
    writing.send_bytes(b"sent")
    assert reading.recv_bytes() == b"sent"


@pytest.mark.parametrize("before", [True, False])
def test_a_close_in_the_first_use_is_the_only_one(
    ends: tuple[Connection, Connection], monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    reading, _ = ends
    made, number = _mp_connection._Messages, reading.fileno()

    def meanwhile(*args: Any, **kwargs: Any) -> Any:
        if before:
            reading.close()
        frames = made(*args, **kwargs)
        reading.close()
        return frames

    monkeypatch.setattr(_mp_connection, "_Messages", meanwhile)
    with pytest.raises(OSError, match="Bad file descriptor" if before else "handle is closed"):
        reading.recv_bytes()
    # The number is somebody else's from now on.
    another = os.open(os.devnull, os.O_RDONLY)
    os.dup2(another, number)
    gc.collect()
    reading.close()
    os.fstat(number)
    for given in {another, number}:
        os.close(given)


def test_two_threads_that_receive_are_an_error(ends: tuple[Connection, Connection]) -> None:
    reading, writing = ends
    thread = Thread(reading.recv_bytes)
    until_it_waits(thread)
    with pytest.raises(ff.ConcurrentUse):
        reading.recv_bytes()
    writing.send_bytes(b"for the first")
    assert thread.done() == b"for the first"


def test_sends_of_several_threads_queue_up(ends: tuple[Connection, Connection]) -> None:
    reading, writing = ends
    messages = [bytes([number]) * 200_000 for number in range(6)]
    threads = [Thread(partial(writing.send_bytes, message)) for message in messages]
    got = [reading.recv_bytes() for _ in messages]
    for thread in threads:
        thread.done()
    assert sorted(got) == messages


def test_a_descriptor_that_a_thread_uses_is_closed_when_it_is_through(ends: tuple[Connection, Connection]) -> None:
    reading, writing = ends
    number = reading.fileno()
    thread = Thread(reading.recv_bytes)
    until_it_waits(thread)
    reading.close()
    assert reading.closed
    os.fstat(number)
    writing.send_bytes(b"late")
    assert thread.done() == b"late"
    with pytest.raises(OSError):
        os.fstat(number)


# --- Other processes -------------------------------------------------------------------------------------------------


def child(call: Callable[[], bool]) -> bool:
    """Whether it gives True in a child process."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            code = 0 if call() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@needs_fork
def test_both_processes_go_on_after_a_fork(ends: tuple[Connection, Connection]) -> None:
    reading, writing = ends
    for number in range(4):
        writing.send(number)
    assert reading.recv() == 0
    assert child(lambda: reading.recv() == 1)
    assert reading.recv() == 2
    assert child(lambda: reading.close() is None)
    assert reading.recv() == 3


@needs_fork
@pytest.mark.filterwarnings("ignore:This process")
def test_a_child_may_use_what_a_thread_was_in_when_it_forked(pair: tuple[Connection, Connection]) -> None:
    one, other = pair
    thread = Thread(one.recv_bytes)
    until_it_waits(thread)
    large = bytes(1 << 20)
    sending = Thread(lambda: one.send_bytes(large))
    until_it_waits(sending)

    def call() -> bool:
        other.send_bytes(b"from the child")
        return other.recv_bytes() == large

    assert child(call)
    sending.done()
    assert thread.done() == b"from the child"


@needs_fork
@pytest.mark.filterwarnings("ignore:This process")
@pytest.mark.parametrize("readahead", [False, True])
def test_what_is_closed_is_closed_in_a_child(
    pair: tuple[Connection, Connection], ahead: tuple[Connection, Connection], readahead: bool
) -> None:
    one, other = ahead if readahead else pair
    thread = Thread(one.recv_bytes)
    until_it_waits(thread)
    number = one.fileno()
    one.close()
    os.fstat(number)

    def call() -> bool:
        with pytest.raises(OSError):
            os.fstat(number)
        return True

    assert child(call)
    other.send_bytes(b"late")
    assert thread.done() == b"late"


@needs_fork
def test_readahead_after_a_fork(ahead: tuple[Connection, Connection]) -> None:
    one, other = ahead
    other.send(1)
    assert child(lambda: one.recv() == 1)
    for number in (2, 3):
        other.send(number)
    assert one.recv() == 2

    def refused() -> bool:
        with pytest.raises(ff.ConcurrentUse):
            one.recv()
        one.close()
        return True

    assert child(refused)
    assert one.recv() == 3


def test_another_process_gets_a_duplicate(ends: tuple[Connection, Connection]) -> None:
    reading, writing = ends
    writing.send_bytes(b"before")
    assert reading.recv_bytes() == b"before"
    copy = pickle.loads(reduction.ForkingPickler.dumps(reading))
    with copy:
        assert type(copy) is Connection
        assert (copy.readable, copy.writable, copy.readahead) == (reading.readable, reading.writable, False)
        writing.send_bytes(b"behind")
        assert copy.recv_bytes() == b"behind"


def test_what_is_held_keeps_a_connection_here(ahead: tuple[Connection, Connection]) -> None:
    one, other = ahead
    for message in (b"one", b"two"):
        other.send_bytes(message)
    assert one.recv_bytes() == b"one"
    with pytest.raises(ValueError, match="holds 7 bytes"):
        reduction.ForkingPickler.dumps(one)
    assert one.recv_bytes() == b"two"
    with pickle.loads(reduction.ForkingPickler.dumps(one)) as copy:
        assert copy.readahead


@pytest.mark.skipif(not hasattr(socket, "SCM_RIGHTS"), reason="no descriptors are passed here")
def test_descriptors_go_between_two_messages(pair: tuple[Connection, Connection]) -> None:
    one, other = pair
    reading, writing = os.pipe()
    one.send("a pipe comes")
    reduction.send_handle(one, writing, os.getpid())
    one.send("it is there")
    assert other.recv() == "a pipe comes"
    passed = reduction.recv_handle(other)
    assert other.recv() == "it is there"
    os.write(passed, b"through it")
    assert os.read(reading, 100) == b"through it"
    for number in (reading, writing, passed):
        os.close(number)
