"""Messages over a descriptor: the host's contract, its faults that are errors here, and what only ours does; on both engines."""

import array
import gc
import mmap
import multiprocessing
import os
import select
import socket
import struct
import tracemalloc
import warnings
from multiprocessing import connection as host
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastframe as ff
from connections import LONG, Thread, alarms, on_engine
from fastframe import _mp_connection
from fastframe.multiprocessing import Connection, Pipe, wait
from mppairs import ahead, duplex, ends, pair, raw, raw_file, same_engine_for_wait, until_it_waits

__all__ = ["ahead", "alarms", "duplex", "ends", "on_engine", "pair", "same_engine_for_wait"]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the host's own there")

SIZES = [0, 1, 63, 64, 4095, 4096, *range(16378, 16392), 65535, 65536, 262144, 1 << 20]
"""Around what the host sends in one piece, and what buffers and pipes hold."""


# --- The host's contract ---------------------------------------------------------------------------------------------


def test_objects_and_bytes(ends: tuple[Connection, Connection]) -> None:
    reading, writing = ends
    writing.send({"a": [1, 2.5, None]})
    writing.send_bytes(b"hello")
    writing.send_bytes(b"")
    assert reading.recv() == {"a": [1, 2.5, None]}
    assert reading.recv_bytes() == b"hello"
    assert reading.recv_bytes() == b""
    assert isinstance(reading, host.Connection)


@pytest.mark.parametrize(
    "payload", [bytearray(b"0123456789"), memoryview(b"0123456789"), b"0123456789"], ids=lambda p: type(p).__name__
)
def test_a_part_of_a_buffer(ends: tuple[Connection, Connection], payload: Any) -> None:
    reading, writing = ends
    writing.send_bytes(payload)
    writing.send_bytes(payload, 2)
    writing.send_bytes(payload, 2, 3)
    assert [reading.recv_bytes() for _ in range(3)] == [b"0123456789", b"23456789", b"234"]
    for wrong in ((-1,), (11,), (0, -1), (5, 6)):
        with pytest.raises(ValueError):
            writing.send_bytes(payload, *wrong)
    with pytest.raises(TypeError):
        writing.send_bytes("text")  # type: ignore[arg-type]


def test_an_array_is_sent_by_its_bytes(ends: tuple[Connection, Connection]) -> None:
    reading, writing = ends
    numbers = array.array("i", range(4))
    writing.send_bytes(numbers)
    into = array.array("i", [0] * 6)
    assert reading.recv_bytes_into(into, 4) == 16
    assert list(into) == [0, 0, 1, 2, 3, 0]


def test_a_buffer_that_is_too_short_gets_nothing(ends: tuple[Connection, Connection]) -> None:
    reading, writing = ends
    for message in (b"latin", b"next"):
        writing.send_bytes(message)
    into = bytearray(4)
    with pytest.raises(multiprocessing.BufferTooShort) as caught:
        reading.recv_bytes_into(into)
    assert caught.value.args == (b"latin",)
    assert into == bytes(4)
    assert reading.recv_bytes_into(into) == 4
    assert into == b"next"
    for offset in (-1, 5):
        with pytest.raises(ValueError, match="offset"):
            reading.recv_bytes_into(into, offset)


@pytest.mark.parametrize("wrong", [bytes(9), memoryview(bytearray(9))[::2]], ids=["read-only", "with gaps"])
def test_a_buffer_that_takes_nothing_costs_nothing(ends: tuple[Connection, Connection], wrong: Any) -> None:
    reading, writing = ends
    writing.send_bytes(b"message")
    with pytest.raises(TypeError):
        reading.recv_bytes_into(wrong)
    assert reading.recv_bytes() == b"message"


def test_directions_and_closing(duplex: bool) -> None:
    reading, writing = Pipe(duplex=False)
    assert (reading.readable, reading.writable, writing.readable, writing.writable) == (True, False, False, True)
    for call in (
        lambda: reading.send(1),
        lambda: reading.send_bytes(b""),
        writing.recv,
        writing.recv_bytes,
        writing.poll,
    ):
        with pytest.raises(OSError, match="-only"):
            call()
    number = reading.fileno()
    with reading:
        assert not reading.closed
    reading.close()
    assert reading.closed
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(number)
    for late in (
        reading.fileno,
        reading.recv,
        reading.recv_bytes,
        reading.poll,
        lambda: reading.recv_bytes_into(bytearray()),
    ):
        with pytest.raises(OSError, match="handle is closed"):
            late()
    writing.close()
    with pytest.raises(OSError, match="handle is closed"):
        writing.send(1)


@pytest.mark.parametrize("used", [False, True])
def test_what_is_forgotten_is_closed(used: bool) -> None:
    one, other = Pipe()
    number = one.fileno()
    if used:
        one.send(1)
        assert other.recv() == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del one
        gc.collect()
    with pytest.raises(OSError):
        os.fstat(number)
    with pytest.raises(EOFError):
        other.recv()
    other.close()


def test_a_handle_is_judged_as_the_host_judges_it() -> None:
    with pytest.raises(ValueError, match="invalid handle"):
        Connection(-1)
    with pytest.raises(ValueError, match="at least one"):
        Connection(0, readable=False, writable=False)
    with open(os.devnull, "rb") as file:
        nobodys = Connection(file.fileno())
    assert nobodys.poll()
    for call in (nobodys.recv_bytes, lambda: nobodys.send_bytes(b""), nobodys.close):
        with pytest.raises(OSError, match="Bad file descriptor"):
            call()
    assert nobodys.closed


def test_a_clean_end_is_eof_again_and_again(ends: tuple[Connection, Connection]) -> None:
    reading, writing = ends
    writing.send_bytes(b"last")
    writing.close()
    assert reading.recv_bytes() == b"last"
    for _ in range(2):
        assert reading.poll()
        with pytest.raises(EOFError):
            reading.recv_bytes()
        with pytest.raises(EOFError):
            reading.recv()


def test_nobody_reads_any_more(ends: tuple[Connection, Connection]) -> None:
    reading, writing = ends
    reading.close()
    for _ in range(2):
        with pytest.raises(BrokenPipeError):
            writing.send_bytes(b"x")


def test_a_reset_is_the_hosts_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        peer, _ = listener.accept()
        with Connection(client.detach()) as connection:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            with pytest.raises(ConnectionResetError):
                connection.recv_bytes()


def test_select_knows_all_that_is_there(ends: tuple[Connection, Connection]) -> None:
    reading, writing = ends
    for message in (b"one", b"two"):
        writing.send_bytes(message)
    for message in (b"one", b"two"):
        assert select.select([reading], [], [], LONG)[0] == [reading]
        assert reading.recv_bytes() == message
    assert select.select([reading], [], [], 0)[0] == []
    assert not reading.poll()
    assert not reading.poll(-1)
    writing.send_bytes(b"")
    assert reading.poll()
    assert reading.poll(None)


# --- The wire --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ours_sends", [True, False])
def test_the_host_on_the_other_end(duplex: bool, ours_sends: bool, size: int) -> None:
    one, sender = Pipe(duplex) if ours_sends else host.Pipe(duplex)
    with one:
        receiver = (host.Connection if ours_sends else Connection)(os.dup(one.fileno()), writable=False)
    message = os.urandom(size)
    thread = Thread(lambda: [sender.send_bytes(message), sender.send(message), sender.close()])
    with receiver:
        assert receiver.recv_bytes() == message
        assert receiver.recv() == message
        with pytest.raises(EOFError):
            receiver.recv_bytes()
    thread.done()


def test_from_2_gib_on_the_length_is_announced(
    ends: tuple[Connection, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    with mmap.mmap(-1, 2**31 + 1) as memory, memoryview(memory) as view:  # pages that nobody touches
        for size, framing, header in (
            (2**31 - 1, _mp_connection._BELOW_2_GIB, b"\x7f\xff\xff\xff"),
            (2**31 - 1, _mp_connection._ANY_SIZE, b"\x7f\xff\xff\xff"),
            (2**31, _mp_connection._ANY_SIZE, b"\xff\xff\xff\xff\0\0\0\0\x80\0\0\0"),
            (2**31 + 1, _mp_connection._ANY_SIZE, b"\xff\xff\xff\xff\0\0\0\0\x80\0\0\x01"),
        ):
            with view[:size] as message:
                head, body, tail = framing.parts(message)
                assert (head, len(body), tail) == (header, size, b"")
                if body is not message:
                    body.release()
        with pytest.raises(ff.FrameTooLarge):
            _mp_connection._BELOW_2_GIB.parts(view[: 2**31])
    # A message beyond the one limit is sent by the other description.
    monkeypatch.setattr(_mp_connection, "_BELOW_2_GIB", ff.LengthField(4, signed=True, max_size=10))
    reading, writing = ends
    for size in (10, 11, 10):
        writing.send_bytes(bytes(size))
        assert reading.recv_bytes() == bytes(size)


@pytest.mark.parametrize("kind", [host.Connection, Connection])
@pytest.mark.parametrize("size", [0, 11, 16384, 300_000])
def test_a_length_may_be_announced_though_it_is_small(duplex: bool, size: int, kind: Any) -> None:
    message = os.urandom(size)
    one, other = Pipe(duplex)
    with one, other, kind(os.dup(one.fileno()), writable=False) as receiver, raw_file(other) as file:
        sending = Thread(lambda: [file.write(struct.pack("!iQ", -1, size) + message), file.flush()])
        assert receiver.recv_bytes() == message
        sending.done()


@pytest.mark.parametrize("kind", [host.Connection, Connection])
@pytest.mark.parametrize("announced", [2**31 - 1, 2**31, 2**31 + 1])
def test_both_read_a_length_around_2_gib_alike(announced: int, kind: Any) -> None:
    one, other = Pipe()
    with one, other, kind(os.dup(one.fileno())) as receiver:
        raw(other, struct.pack("!i", announced) if announced < 2**31 else struct.pack("!iQ", -1, announced))
        with pytest.raises(OSError, match="bad message length"):
            receiver.recv_bytes(2**31 - 2)


@pytest.mark.parametrize("announced", [2**31 - 1, 2**31, 2**31 + 1, 2**32, 2**62])
def test_a_forged_length_costs_no_memory(pair: tuple[Connection, Connection], announced: int) -> None:
    reading, writing = pair
    raw(writing, (struct.pack("!i", announced) if announced < 2**31 else struct.pack("!iQ", -1, announced)) + b"some")
    writing.close()
    tracemalloc.start()
    with pytest.raises(OSError, match="got end of file during message"):
        reading.recv_bytes()
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("announced", [2**31 - 1, 2**31, 2**62])
def test_a_forged_length_beyond_maxlength(pair: tuple[Connection, Connection], announced: int) -> None:
    reading, writing = pair
    raw(writing, struct.pack("!i", announced) if announced < 2**31 else struct.pack("!iQ", -1, announced))
    with pytest.raises(OSError, match="bad message length"):
        reading.recv_bytes(256)


@pytest.mark.parametrize("announced", [-2, -(2**31), -3])
def test_a_length_below_the_announcement_is_an_error(ends: tuple[Connection, Connection], announced: int) -> None:
    reading, writing = ends
    writing.send_bytes(b"good")
    raw(writing, struct.pack("!i", announced) + bytes(8))
    assert reading.recv_bytes() == b"good"
    with pytest.raises(OSError, match="bad message length"):
        reading.recv_bytes()
    with pytest.raises(OSError, match="write-only" if reading.writable else "handle is closed"):
        reading.recv_bytes()


@pytest.mark.parametrize("cut", [1, 3, 4, 5, 8])
def test_an_end_inside_a_message_is_no_clean_end(ends: tuple[Connection, Connection], cut: int) -> None:
    reading, writing = ends
    raw(writing, b"\0\0\0\x05hello"[:cut])
    writing.close()
    for _ in range(2):
        with pytest.raises(OSError, match="got end of file during message"):
            reading.recv_bytes()


def test_a_message_of_more_than_maxlength(ends: tuple[Connection, Connection]) -> None:
    reading, writing = ends
    for message in (b"12345", b"1234", b"123456", b"123456"):
        writing.send_bytes(message)
    assert reading.recv_bytes(5) == b"12345"
    assert reading.recv_bytes(4) == b"1234"
    assert reading.recv_bytes() == b"123456"
    with pytest.raises(ValueError, match="negative maxlength"):
        reading.recv_bytes(-1)
    with pytest.raises(OSError, match="bad message length"):
        reading.recv_bytes(5)
    with pytest.raises(OSError, match="write-only" if reading.writable else "handle is closed"):
        reading.recv_bytes()


@given(messages=st.lists(st.binary(max_size=300), max_size=8), cuts=st.lists(st.integers(1, 40), max_size=30))
def test_any_cut_gives_the_same_messages(engine: Any, messages: list[bytes], cuts: list[int]) -> None:
    wire = b"".join(struct.pack("!i", len(message)) + message for message in messages)
    for readahead in (False, True):
        one, other = Pipe(readahead=readahead)
        with one, other:

            def send(number: int = other.fileno()) -> None:
                at = 0
                for cut in [*cuts, len(wire)]:
                    os.write(number, wire[at : at + cut])
                    at += cut

            thread = Thread(send)
            assert [one.recv_bytes() for _ in messages] == messages
            thread.done()
            assert not one.poll()


# --- Readahead, poll and wait ----------------------------------------------------------------------------------------


def test_readahead_takes_a_burst_at_once(ahead: tuple[Connection, Connection]) -> None:
    one, other = ahead
    for number in range(100):
        other.send_bytes(b"%d" % number)
    assert one.recv_bytes() == b"0"
    assert select.select([one], [], [], 0)[0] == []
    assert one.poll()
    assert wait([one], 0) == [one]
    assert [one.recv_bytes(5) for _ in range(99)] == [b"%d" % number for number in range(1, 100)]
    assert not one.poll()
    assert wait([one], 0) == []
    other.close()
    assert one.poll(None)
    assert wait([one]) == [one]
    with pytest.raises(EOFError):
        one.recv()


def test_readahead_polls_for_whole_messages(ahead: tuple[Connection, Connection]) -> None:
    one, other = ahead
    for byte in b"\0\0\0\x02o":
        raw(other, bytes([byte]))
        assert not one.poll()
        assert wait([one], 0) == []
    raw(other, b"k")
    assert one.poll()
    assert one.recv_bytes() == b"ok"


def test_readahead_gives_what_came_before_a_fault(ahead: tuple[Connection, Connection]) -> None:
    one, other = ahead
    raw(other, b"\0\0\0\x01a\0\0\0\x01b\xff\xff\xff\xfe")
    assert one.recv_bytes() == b"a"
    assert one.recv_bytes() == b"b"
    assert one.poll()
    with pytest.raises(OSError, match="bad message length"):
        one.recv_bytes()


def test_wait_for_all_kinds_at_once(ahead: tuple[Connection, Connection], pair: tuple[Connection, Connection]) -> None:
    one, other = ahead
    plain, peer = pair
    theirs, its_peer = host.Pipe()
    sock, sock_peer = socket.socketpair()
    objects = [one, plain, theirs, sock, sock.fileno()]
    with theirs, its_peer, sock, sock_peer:
        assert wait(objects[:4], 0) == []
        other.send(1)
        other.send(2)
        assert wait(objects[:4]) == [one]
        assert one.recv() == 1
        peer.send(3)
        its_peer.send(4)
        assert wait(objects[:4], LONG) == [one, plain, theirs]
        assert one.recv() == 2
        sock_peer.send(b"x")
        assert wait([sock, theirs, one, plain]) == [sock, theirs, plain]
        raw(other, b"\0")
        assert wait([one], 0.01) == []
        assert wait([], 0) == []


def test_wait_is_woken(ahead: tuple[Connection, Connection]) -> None:
    one, other = ahead
    thread = Thread(lambda: wait([one], LONG))
    until_it_waits(thread)
    raw(other, b"\0\0\0")
    raw(other, b"\x01")
    assert thread.is_alive()
    raw(other, b"x")
    assert thread.done() == [one]


def test_wait_for_what_can_only_be_sent_by() -> None:
    reading, writing = Pipe(duplex=False, readahead=True)
    with reading, writing:
        assert wait([reading, writing], 0) == []
        writing.send(1)
        assert wait([reading, writing], 0) == [reading]


def test_poll_finds_what_an_interrupted_receive_has_left(pair: tuple[Connection, Connection]) -> None:
    reading, writing = pair
    os.set_blocking(reading.fileno(), False)
    raw(writing, b"\0\0\0\x02o")
    with pytest.raises(BlockingIOError):
        reading.recv_bytes()
    assert not reading.poll()
    raw(writing, b"k")
    assert reading.poll()
    assert reading.recv_bytes() == b"ok"
