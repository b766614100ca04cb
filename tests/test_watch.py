"""How long a peer may take for a frame, and how long nothing may come, on both engines."""

import os
import pickle
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import fastframe as ff
from connections import FRAMING, LONG, PROMPT, Thread, clean, on_engine, wire
from fastframe import connection

__all__ = ["clean", "on_engine"]  # the fixtures that pytest is to find here

SHORT = 0.1
"""Seconds after which something is given up."""

Raw = tuple[socket.socket, socket.socket]


@pytest.fixture
def raw(clean: list[Any]) -> Raw:
    """Two connected sockets."""
    pair = socket.socketpair()
    clean += pair
    return pair


@pytest.fixture(params=[True, False], ids=["ahead", "lazy"])
def watched(request: pytest.FixtureRequest, raw: Raw, clean: list[Any]) -> tuple[ff.Connection, socket.socket]:
    """A connection that waits for ever, and no longer than SHORT for a frame."""
    conn = ff.wrap(raw[0], FRAMING, readahead=request.param, frame_timeout=SHORT)
    clean.append(conn)
    return conn, raw[1]


@pytest.fixture
def idle(raw: Raw, clean: list[Any]) -> tuple[ff.Connection, socket.socket]:
    """A connection in which something has to come every SHORT seconds."""
    conn = ff.wrap(raw[0], FRAMING, idle_timeout=SHORT)
    clean.append(conn)
    return conn, raw[1]


@pytest.fixture
def drip() -> Iterator[Any]:
    """drip(sock, data, pause): send it byte by byte, in a thread."""
    stop = threading.Event()
    threads = []

    def start(sock: socket.socket, data: bytes, pause: float) -> Thread:
        def send() -> None:
            for i in range(len(data)):
                if stop.wait(pause):
                    return
                sock.sendall(data[i : i + 1])

        threads.append(Thread(send))
        return threads[-1]

    yield start
    stop.set()
    for thread in threads:
        thread.done()


# --- frame_timeout ---------------------------------------------------------------------------------------------------


def test_the_clock_begins_with_a_frames_first_byte(watched: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = watched
    with pytest.raises(ff.FrameTimeout, match="no whole frame in time"):
        conn.recv(timeout=3 * SHORT)  # nothing has begun: this isn't the frame's time
    peer.sendall(b"\0\0")
    start = time.monotonic()
    with pytest.raises(ff.FrameTimeout, match=r"2 bytes of a frame have come, .* within 0\.1 seconds"):
        conn.recv()
    assert SHORT * 0.9 < time.monotonic() - start < PROMPT


@pytest.mark.parametrize("method", ["recv", "recv_many", "recv_batch", "recv_into"])
def test_a_dripping_peer_doesnt_extend_it(watched: tuple[ff.Connection, socket.socket], drip: Any, method: str) -> None:
    conn, peer = watched
    drip(peer, wire(bytes(100)), 0.02)
    start = time.monotonic()
    with pytest.raises(ff.FrameTimeout, match="bytes of a frame"):
        getattr(conn, method)(*([bytearray(100)] if method == "recv_into" else []))
    assert time.monotonic() - start < PROMPT


def test_a_poll_says_that_there_is_nothing(watched: tuple[ff.Connection, socket.socket], drip: Any) -> None:
    conn, peer = watched
    drip(peer, wire(bytes(100)), 0.02)
    assert not conn.poll(LONG)


def test_the_next_receive_gives_up_at_once_too(watched: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = watched
    peer.sendall(wire(b"whole")[:-1])
    for _ in range(3):
        with pytest.raises(ff.FrameTimeout, match="8 bytes"):
            conn.recv()
    peer.sendall(wire(b"whole")[-1:])
    conn.frame_timeout = None
    assert conn.recv() == b"whole"


def test_a_frame_that_is_whole_is_never_too_late(watched: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = watched
    peer.sendall(wire(b"slow")[:5])
    with pytest.raises(ff.FrameTimeout):
        conn.recv(timeout=0)
    peer.sendall(wire(b"slow")[5:])
    time.sleep(2 * SHORT)
    assert conn.recv() == b"slow"


def test_each_frame_has_its_own_time(watched: tuple[ff.Connection, socket.socket], drip: Any) -> None:
    conn, peer = watched
    conn.frame_timeout = 1.0
    thread = drip(peer, wire(b"1234", b"5678", b"90ab") * 3, 0.02)  # twice as long as one may take
    assert [conn.recv() for _ in range(9)] == [b"1234", b"5678", b"90ab"] * 3
    thread.done()


def test_the_beginning_of_the_next_frame_in_the_same_chunk(watched: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = watched
    for _ in range(3):
        peer.sendall(wire(b"one") + b"\0\0\0")
        assert conn.recv() == b"one"
        with pytest.raises(ff.FrameTimeout, match="3 bytes"):
            conn.recv()
        conn.frame_timeout = LONG
        peer.sendall(b"\3two")
        assert conn.recv() == b"two"
        conn.frame_timeout = SHORT


@pytest.mark.parametrize(("frame", "own", "text"), [(SHORT, LONG, "of a frame"), (LONG, SHORT, "no whole frame")])
def test_the_sooner_of_two_times_counts(raw: Raw, frame: float, own: float, text: str, clean: list[Any]) -> None:
    conn = ff.wrap(raw[0], FRAMING, timeout=own, frame_timeout=frame)
    clean.append(conn)
    raw[1].sendall(b"\0")
    start = time.monotonic()
    with pytest.raises(ff.FrameTimeout, match=text):
        conn.recv()
    assert time.monotonic() - start < PROMPT


def test_without_time_a_receive_still_tries(raw: Raw, clean: list[Any]) -> None:
    conn = ff.wrap(raw[0], FRAMING, frame_timeout=0)
    clean.append(conn)
    raw[1].sendall(wire(b"one", b"two")[:-1])
    time.sleep(SHORT)
    assert conn.recv() == b"one"
    with pytest.raises(ff.FrameTimeout, match="6 bytes"):
        conn.recv()


# --- idle_timeout ----------------------------------------------------------------------------------------------------


def test_nothing_comes(idle: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = idle
    start = time.monotonic()
    for _ in range(2):
        with pytest.raises(ff.FrameTimeout, match=r"nothing has come for 0\.1 seconds"):
            conn.recv()
    assert SHORT * 0.9 < time.monotonic() - start < PROMPT
    peer.sendall(wire(b"late"))
    assert conn.recv() == b"late"


def test_every_byte_counts(idle: tuple[ff.Connection, socket.socket], drip: Any) -> None:
    conn, peer = idle
    conn.idle_timeout = 1.0
    drip(peer, wire(b"1234567890"), 0.12)
    assert conn.recv() == b"1234567890"


def test_what_is_sent_counts(idle: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = idle
    conn.idle_timeout = 1.0

    def send() -> None:
        for _ in range(16):
            time.sleep(0.1)
            conn.send(b"alive")
        peer.sendall(wire(b"reply"))

    thread = Thread(send)
    assert conn.recv() == b"reply"
    thread.done()


def test_what_is_there_is_received_however_long_it_took(idle: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = idle
    peer.sendall(wire(b"one", b"two"))
    time.sleep(2 * SHORT)
    assert [conn.recv(), conn.recv()] == [b"one", b"two"]


@pytest.mark.parametrize(("frame", "silence", "text"), [(SHORT, LONG, "of a frame"), (LONG, SHORT, "nothing has")])
def test_both_together(raw: Raw, frame: float, silence: float, text: str, clean: list[Any]) -> None:
    conn = ff.wrap(raw[0], FRAMING, timeout=LONG, frame_timeout=frame, idle_timeout=silence)
    clean.append(conn)
    raw[1].sendall(b"\0\0\0")
    with pytest.raises(ff.FrameTimeout, match=text):
        conn.recv()


# --- The attributes --------------------------------------------------------------------------------------------------


def test_the_attributes_say_and_take_seconds(raw: Raw) -> None:
    with ff.wrap(raw[0], FRAMING, frame_timeout=3, idle_timeout=4.5) as conn:
        assert (conn.frame_timeout, conn.idle_timeout, conn.timeout) == (3.0, 4.5, None)
        conn.frame_timeout, conn.idle_timeout = None, 1e300
        assert (conn.frame_timeout, conn.idle_timeout) == (None, None)
        for name in ("frame_timeout", "idle_timeout"):
            for wrong, error in ((-1, ValueError), (float("nan"), ValueError), ("5", TypeError), (True, TypeError)):
                with pytest.raises(error):
                    setattr(conn, name, wrong)
        raw[1].close()


@pytest.mark.parametrize("name", ["frame_timeout", "idle_timeout"])
@pytest.mark.parametrize("wrong", [-1, float("nan"), "5", True])
def test_wrong_times_leave_the_source_alone(raw: Raw, name: str, wrong: Any) -> None:
    for call in (
        lambda given: ff.wrap(raw[0], FRAMING, **given),
        lambda given: ff.connect("/nowhere", FRAMING, **given),
    ):
        with pytest.raises((TypeError, ValueError)):
            call({name: wrong})
    raw[0].sendall(b"x")
    assert raw[1].recv(1) == b"x"


def test_connect_takes_them_too(clean: list[Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        conn = connection.connect(server.getsockname(), FRAMING, frame_timeout=LONG, idle_timeout=SHORT)
        clean.append(conn)
        with pytest.raises(ff.FrameTimeout, match="nothing has come"):
            conn.recv()


def test_a_time_that_is_set_while_a_receive_waits_in_the_system(raw: Raw, clean: list[Any]) -> None:
    conn = ff.wrap(raw[0], FRAMING)
    clean.append(conn)
    thread = Thread(conn.recv)
    time.sleep(SHORT)
    conn.idle_timeout = SHORT  # from the next receive on
    raw[1].sendall(wire(b"x"))
    assert thread.done() == b"x"
    with pytest.raises(ff.FrameTimeout, match="nothing has come"):
        conn.recv()


def test_a_pipes_frames_have_times_too(clean: list[Any]) -> None:
    r, w = os.pipe()
    conn = ff.wrap(r, FRAMING, frame_timeout=SHORT, idle_timeout=LONG)
    clean.append(conn)
    os.write(w, b"\0")
    with pytest.raises(ff.FrameTimeout, match="1 bytes"):
        conn.recv()
    os.close(w)


def test_the_error_says_whose_time_is_over(raw: Raw, clean: list[Any]) -> None:
    conn = ff.wrap(raw[0], FRAMING, idle_timeout=SHORT)
    clean.append(conn)
    for clock, timeout in (("call", 0), ("call", SHORT / 10), ("idle", LONG)):
        with pytest.raises(ff.FrameTimeout) as caught:
            conn.recv(timeout=timeout)
        assert caught.value.clock == clock
    conn.frame_timeout, conn.idle_timeout = SHORT, LONG
    raw[1].sendall(b"\0")
    with pytest.raises(ff.FrameTimeout) as caught:
        conn.recv()
    assert caught.value.clock == "frame"
    again = pickle.loads(pickle.dumps(caught.value))
    assert again == caught.value
    assert again.clock == "frame"
    assert again != ff.FrameTimeout(*caught.value.args)
