"""Connections over FIFOs, terminals, devices and regular files, on both engines."""

import errno
import os
import sys
import termios
import tty
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import fastframe as ff
from connections import FRAMING, LONG, SOON, Thread, clean, on_engine, waiting

__all__ = ["clean", "on_engine"]  # the fixtures that pytest is to find here

Pair = tuple[ff.Connection, ff.Connection]

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="as Linux has it")


@pytest.fixture
def terminal(clean: list[Any]) -> Pair:
    """The two sides of a terminal in raw mode: first the master."""
    master, slave = os.openpty()
    tty.setraw(slave)
    ends = ff.wrap(master, FRAMING, timeout=LONG), ff.wrap(slave, FRAMING, timeout=LONG)
    clean += ends
    return ends


def test_a_fifo_for_both_directions_gives_back_what_it_was_given(tmp_path: Path, clean: list[Any]) -> None:
    os.mkfifo(tmp_path / "fifo")
    conn = ff.wrap(os.open(tmp_path / "fifo", os.O_RDWR), FRAMING, timeout=LONG)
    clean.append(conn)
    conn.send(b"round")
    assert conn.recv() == b"round"
    with pytest.raises(ValueError, match="half-closed"):
        conn.shutdown_send()
    conn.send(b"again")
    assert conn.recv() == b"again"


def test_a_fifo_ends_with_its_writer(tmp_path: Path, clean: list[Any]) -> None:
    os.mkfifo(tmp_path / "fifo")
    rx = ff.wrap(os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK), FRAMING, timeout=LONG)
    tx = ff.wrap(os.open(tmp_path / "fifo", os.O_WRONLY), FRAMING, timeout=LONG)
    clean += [rx, tx]
    tx.send(b"through")
    assert rx.recv() == b"through"
    tx.close()
    assert list(rx) == []


def test_a_terminal_carries_frames_both_ways(terminal: Pair) -> None:
    master, slave = terminal
    payload = bytes(range(256)) * 100
    for a, b in (terminal, (slave, master)):
        thread = Thread(b.recv)
        a.send(payload)
        assert thread.done() == payload
    with pytest.raises(ff.FrameTimeout):
        master.recv(timeout=SOON)


def test_closing_wakes_who_waits_for_a_terminal(terminal: Pair) -> None:
    thread = waiting(terminal[0].recv)
    terminal[0].close()
    with pytest.raises(ff.ConnectionClosed):
        thread.done()


@needs_linux
def test_all_frames_come_before_a_terminals_hangup(terminal: Pair) -> None:
    master, slave = terminal
    slave.send_many([b"last", b"words"])
    slave.close()
    assert [master.recv(), master.recv()] == [b"last", b"words"]
    with pytest.raises(ff.ConnectionClosed):
        master.recv()


@needs_linux
def test_a_hangup_inside_a_frame_is_no_clean_end(terminal: Pair) -> None:
    master, slave = terminal
    os.write(slave.fileno(), b"\0\0")
    slave.close()
    with pytest.raises(ff.TruncatedFrame):
        master.recv()


@needs_linux
@pytest.mark.parametrize("side", [0, 1], ids=["master", "slave"])
def test_a_full_terminal_keeps_nobody_beyond_the_time(side: int, clean: list[Any]) -> None:
    for size in range(20_000, 24_000, 137):
        ends = os.openpty()
        tty.setraw(ends[1])
        conn, other = ff.wrap(ends[side], FRAMING), ends[1 - side]
        clean.append(conn)
        os.set_blocking(other, False)
        for _ in range(3):
            with pytest.raises((ff.FrameTimeout, ff.SendInterrupted)):
                conn.send(bytes(size), timeout=0.001)
            with suppress(BlockingIOError):
                os.read(other, 300)
        conn.abort()
        os.close(other)


@needs_linux
def test_the_masters_end_is_a_terminals_end(terminal: Pair) -> None:
    master, slave = terminal
    master.close()
    with pytest.raises(ff.ConnectionClosed):
        slave.recv()
    with pytest.raises(ff.ConnectionLost) as caught:
        slave.send(b"anybody?")
    assert caught.value.errno == errno.EIO


def test_the_settings_of_a_terminal_stay(terminal: Pair) -> None:
    number = terminal[1].fileno()
    before = termios.tcgetattr(number)
    terminal[1].send(b"x")
    assert terminal[0].recv() == b"x"
    assert terminal[1].detach() == number
    assert termios.tcgetattr(number) == before
    os.close(number)


@needs_linux
def test_a_full_device_is_lost(clean: list[Any]) -> None:
    conn = ff.wrap(os.open("/dev/full", os.O_RDWR), FRAMING)
    clean.append(conn)
    for _ in range(2):
        with pytest.raises(ff.ConnectionLost) as caught:
            conn.send(b"x")
        assert caught.value.errno == errno.ENOSPC
    assert conn.recv() == b""  # it reads as zeros


def test_a_regular_file_is_a_stream_with_an_end(tmp_path: Path) -> None:
    path = tmp_path / "frames"
    with ff.wrap(os.open(path, os.O_WRONLY | os.O_CREAT), FRAMING) as conn:
        conn.send_many([b"%d" % i for i in range(10_000)])
        conn.send(bytes(1_000_000))
    with ff.wrap(os.open(path, os.O_RDONLY), FRAMING) as conn:
        assert list(conn) == [*(b"%d" % i for i in range(10_000)), bytes(1_000_000)]


def test_a_directory_isnt_a_stream(tmp_path: Path) -> None:
    with ff.wrap(os.open(tmp_path, os.O_RDONLY), FRAMING) as conn, pytest.raises(ff.ConnectionLost) as caught:
        conn.recv()
    assert caught.value.errno == errno.EISDIR
