"""Receiving: frames into memory of one's own, and receives that wait in the system call itself; on both engines."""

import array
import os
import socket
import time
from collections.abc import Callable
from itertools import starmap
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
    arrived,
    clean,
    needs_signals,
    on_engine,
    pair,
    raw,
    reset,
    wire,
)

__all__ = ["alarms", "clean", "on_engine", "pair", "raw"]  # the fixtures that pytest is to find here

Pair = tuple[ff.Connection, socket.socket]


# --- recv_into -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 5, 100_000])
@pytest.mark.parametrize("more", [0, 1, 100])
def test_a_frame_goes_to_the_start_of_the_buffer(pair: Pair, size: int, more: int) -> None:
    conn, peer = pair
    payload = os.urandom(size)
    thread = Thread(lambda: peer.sendall(wire(payload, b"next")))
    buffer = bytearray(b"\xaa" * (size + more))
    assert conn.recv_into(buffer) == size
    assert buffer == payload + b"\xaa" * more
    thread.done()
    assert conn.recv() == b"next"


@pytest.mark.parametrize("readahead", [True, False])
def test_a_frame_too_large_for_the_buffer_is_still_the_next(
    raw: tuple[socket.socket, socket.socket], readahead: bool, clean: list[Any]
) -> None:
    conn = ff.wrap(raw[0], FRAMING, readahead=readahead, timeout=LONG)
    clean.append(conn)
    raw[1].sendall(wire(b"12345", b"6", b"78"))
    for _ in range(2):
        buffer = bytearray(4)
        with pytest.raises(ValueError, match="the next frame has 5 bytes, the buffer 4"):
            conn.recv_into(buffer)
        assert buffer == bytes(4)
    assert conn.stats.received.frames == 0
    assert conn.recv() == b"12345"
    assert conn.recv_into(buffer) == 1
    assert conn.recv_many() == [b"78"]


@pytest.mark.parametrize(
    "buffer",
    [b"12345678", memoryview(b"12345678"), memoryview(bytearray(16))[::2], "text", None, 8, [0] * 8],
    ids=["bytes", "readonly view", "strides", "str", "None", "int", "list"],
)
def test_what_cant_be_written_into_is_refused(pair: Pair, buffer: Any) -> None:
    conn, peer = pair
    peer.sendall(wire(b"frame"))
    with pytest.raises(TypeError):
        conn.recv_into(buffer)
    assert conn.recv() == b"frame"


def test_items_of_several_bytes_and_several_dimensions(pair: Pair) -> None:
    conn, peer = pair
    peer.sendall(wire(b"12345678", b"abcd", b"ABCDEFGH", b""))
    numbers = array.array("i", [0, 0, -1])
    assert conn.recv_into(numbers) == 8
    assert numbers.tobytes() == b"12345678\xff\xff\xff\xff"
    assert conn.recv_into(memoryview(numbers)[1:2]) == 4
    assert numbers.tobytes() == b"1234abcd\xff\xff\xff\xff"
    grid = memoryview(bytearray(12)).cast("h", (3, 2))
    assert conn.recv_into(grid) == 8
    assert grid.tobytes() == b"ABCDEFGH" + bytes(4)
    assert conn.recv_into(array.array("d")) == 0


def test_the_buffer_is_free_again_whatever_comes(pair: Pair) -> None:
    conn, peer = pair
    buffer = bytearray(3)
    peer.sendall(wire(b"abc", b"too long"))
    assert conn.recv_into(buffer) == 3
    with pytest.raises(ValueError, match="8 bytes"):
        conn.recv_into(buffer)
    conn.recv()
    with pytest.raises(ff.FrameTimeout):
        conn.recv_into(buffer, timeout=0)
    buffer += b"x"  # a BufferError if something still held it


def test_errors_come_where_the_frame_would(pair: Pair) -> None:
    conn, peer = pair
    conn.framing = ff.LengthField(4, max_size=100)
    peer.sendall(wire(b"good") + b"\xff\0\0\0")
    buffer = bytearray(4)
    assert conn.recv_into(buffer) == 4
    for _ in range(2):
        with pytest.raises(ff.FrameTooLarge):
            conn.recv_into(buffer)
    assert buffer == b"good"


@pytest.mark.parametrize("end", ["clean", "inside", "reset"])
def test_the_end_comes_behind_the_frames(pair: Pair, end: str) -> None:
    conn, peer = pair
    peer.sendall(wire(b"last") + (b"\0\0" if end == "inside" else b""))
    arrived(conn, 8)
    assert conn.poll()
    expected: dict[str, Any] = {"clean": ff.ConnectionClosed, "inside": ff.TruncatedFrame, "reset": ff.FrameError}
    reset(peer) if end == "reset" else peer.close()
    buffer = bytearray(10)
    assert conn.recv_into(buffer) == 4
    for _ in range(2):
        with pytest.raises(expected[end]):
            conn.recv_into(buffer)


def test_the_rest_before_the_end_is_a_frame_too(pair: Pair) -> None:
    conn, peer = pair
    conn.framing = ff.Delimiter(b"\n", at_eof="deliver")
    peer.sendall(b"line\nrest")
    peer.close()
    buffer = bytearray(4)
    assert conn.recv_into(buffer) == 4
    assert buffer == b"line"
    with pytest.raises(ValueError, match="the buffer 3"):
        conn.recv_into(memoryview(buffer)[:3])
    assert conn.recv_into(buffer) == 4
    assert buffer == b"rest"
    with pytest.raises(ff.ConnectionClosed):
        conn.recv_into(buffer)


def test_a_closed_connection_refuses_it(pair: Pair) -> None:
    conn, _ = pair
    conn.close()
    with pytest.raises(ValueError, match="closed"):
        conn.recv_into(bytearray(9))


# --- Waiting in the system call --------------------------------------------------------------------------------------


@pytest.fixture
def endless(raw: tuple[socket.socket, socket.socket], clean: list[Any]) -> Pair:
    """A connection without any time: its receives wait in the system call."""
    conn = ff.wrap(raw[0], FRAMING)
    clean.append(conn)
    assert conn.timeout is None
    return conn, raw[1]


RECEIVES: list[Callable[[ff.Connection], Any]] = [
    lambda conn: conn.recv(),
    lambda conn: conn.recv_many(),
    lambda conn: conn.recv_batch(),
    lambda conn: conn.recv_into(bytearray(100)),
    lambda conn: next(iter(conn)),
]


def asleep(call: Callable[[], Any]) -> Thread:
    """A thread that waits in the system, which no frame of Python shows."""
    thread = Thread(call)
    time.sleep(SOON)
    assert thread.is_alive()
    return thread


@pytest.mark.parametrize("receive", RECEIVES[:-1])  # to an iteration it is the end
@pytest.mark.parametrize("end", ["close", "abort"])
def test_the_end_wakes_who_waits_in_the_system(
    endless: Pair, receive: Callable[[ff.Connection], Any], end: str
) -> None:
    conn, _ = endless
    number = conn.fileno()
    thread = asleep(lambda: receive(conn))
    start = time.monotonic()
    getattr(conn, end)()
    with pytest.raises(ff.ConnectionClosed):
        thread.done()
    assert time.monotonic() - start < PROMPT
    with pytest.raises(OSError):
        os.fstat(number)


@pytest.mark.parametrize("receive", RECEIVES)
def test_a_frame_in_pieces_is_waited_for(endless: Pair, receive: Callable[[ff.Connection], Any]) -> None:
    conn, peer = endless
    thread = asleep(lambda: receive(conn))
    data = wire(b"frame")
    for i in range(len(data)):
        time.sleep(0.002)
        peer.sendall(data[i : i + 1])
    got = thread.done()
    assert got == 5 if isinstance(got, int) else got == b"frame" or list(got) == [b"frame"]


def test_a_time_for_one_call_counts_all_the_same(endless: Pair) -> None:
    conn, peer = endless
    start = time.monotonic()
    for call in (conn.recv, conn.recv_many, conn.recv_batch):
        with pytest.raises(ff.FrameTimeout):
            call(timeout=SOON)
    assert not conn.poll(SOON)
    assert not conn.poll()
    with pytest.raises(ff.FrameTimeout):
        conn.recv_into(bytearray(1), timeout=SOON)
    peer.sendall(b"\0\0")
    with pytest.raises(ff.FrameTimeout):
        conn.recv(timeout=0)
    conn.timeout = SOON
    with pytest.raises(ff.FrameTimeout):
        conn.recv()
    assert time.monotonic() - start < PROMPT
    conn.timeout = None
    thread = asleep(conn.recv)
    peer.sendall(b"\0\1x")
    assert thread.done() == b"x"


def test_none_for_one_call_waits_for_ever(pair: Pair) -> None:
    conn, peer = pair
    conn.timeout = 0
    thread = asleep(lambda: conn.recv(timeout=None))
    peer.sendall(wire(b"x"))
    assert thread.done() == b"x"


def test_unread_and_framing_never_wait(endless: Pair) -> None:
    conn, peer = endless
    assert conn.unread() == b""
    peer.sendall(b"\0\0")
    arrived(conn, 2)
    with pytest.raises(ff.FrameTimeout):
        conn.recv(timeout=0)
    conn.framing = ff.LengthField(2)
    assert conn.recv() == b""


class Interrupt(Exception):
    pass


def interrupt() -> None:
    raise Interrupt


@needs_signals
@pytest.mark.parametrize("receive", RECEIVES)
def test_a_handler_runs_inside_of_the_system_call(
    endless: Pair, alarms: Any, receive: Callable[[ff.Connection], Any]
) -> None:
    conn, peer = endless
    seen: list[int] = []

    def handler() -> None:
        seen.append(1)
        if len(seen) == 3:
            peer.sendall(wire(b"frame"))

    alarms(handler, 0.02, 0.02)
    assert receive(conn)
    assert len(seen) >= 3


@needs_signals
@pytest.mark.parametrize("receive", RECEIVES)
def test_a_handlers_exception_leaves_the_system_call(
    endless: Pair, alarms: Any, receive: Callable[[ff.Connection], Any]
) -> None:
    conn, peer = endless
    peer.sendall(b"\0\0\0")
    alarms(interrupt, SOON)
    with pytest.raises(Interrupt):
        receive(conn)
    peer.sendall(b"\3one")
    assert conn.recv() == b"one"


@needs_signals
@pytest.mark.parametrize("end", ["close", "abort"])
def test_a_handler_may_close_in_the_system_call(endless: Pair, alarms: Any, end: str) -> None:
    conn, _ = endless
    alarms(getattr(conn, end), SOON)
    with pytest.raises(ff.ConnectionClosed):
        conn.recv()
    assert conn.closed


@needs_signals
def test_a_storm_of_raising_handlers_loses_no_frame(endless: Pair, alarms: Any) -> None:
    conn, peer = endless
    sent = [bytes([i % 256]) * (i * 37 % 5000) for i in range(1500)]
    inside: list[bool] = []
    got: list[bytes] = []
    interrupts = 0

    def handler() -> None:
        if inside:
            inside.clear()
            raise Interrupt

    def send() -> None:
        data = b"".join(map(FRAMING.encode, sent))
        for i in range(0, len(data), 1777):
            peer.sendall(data[i : i + 1777])

    thread = Thread(send)
    alarms(handler, 0.0005, 0.0005)
    while len(got) < len(sent):
        try:
            inside.append(True)
            got.extend(starmap(conn.recv, [()]))  # noted by the same C call, so that no handler comes in between here
            inside.clear()
        except Interrupt:
            interrupts += 1
    alarms(lambda: None, 0)
    thread.done()
    assert interrupts
    assert got == sent
