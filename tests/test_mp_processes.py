"""Connections of multiprocessing between threads, signals and processes, and on nonblocking descriptors; on both engines."""

import os
import pickle
import select
import socket
from collections.abc import Callable
from functools import partial
from multiprocessing import reduction

import pytest

import fastframe as ff
from connections import LONG, SOON, Thread, alarms, needs_fork, needs_signals, on_engine
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
