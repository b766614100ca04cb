"""Connections over file objects: those of descriptors, what has been read ahead, and those that only can read and write."""

import errno
import fcntl
import gzip
import io
import os
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fastframe as ff
from connections import FRAMING, LONG, PROMPT, SOON, Thread, clean, on_engine, waiting, wire

__all__ = ["clean", "on_engine"]  # the fixtures that pytest is to find here


def pipe_files() -> tuple[io.FileIO, io.FileIO]:
    r, w = os.pipe()
    return io.FileIO(r, "r"), io.FileIO(w, "w")


# --- Files of descriptors --------------------------------------------------------------------------------------------


def test_what_a_file_has_read_ahead_comes_first(clean: list[Any]) -> None:
    raw, w = pipe_files()
    file = io.BufferedReader(raw)
    w.write(b"greeting\n" + wire(b"one", b"two") + b"\0\0")
    assert file.readline() == b"greeting\n"
    conn = ff.wrap(file, FRAMING, timeout=LONG)
    clean += [conn, w]
    assert conn.recv() == b"one"
    w.write(b"\0\5three")
    assert [conn.recv(), conn.recv()] == [b"two", b"three"]
    with pytest.raises(ff.FrameTimeout):
        conn.recv(timeout=0)


def test_what_was_read_ahead_can_be_taken_out_again(clean: list[Any]) -> None:
    raw, w = pipe_files()
    file = io.BufferedReader(raw)
    w.write(b"greeting\n" + wire(b"one", b"two"))
    file.readline()
    conn = ff.wrap(file, FRAMING, readahead=False)
    clean += [conn, file, w]
    assert conn.recv() == b"one"
    with pytest.raises(ValueError, match="7 bytes"):
        conn.detach()
    assert conn.unread() == wire(b"two")
    assert conn.detach() is file
    w.write(b"line\n")
    assert file.readline() == b"line\n"


def test_what_a_file_has_to_write_goes_first(clean: list[Any]) -> None:
    r, raw = pipe_files()
    file = io.BufferedWriter(raw)
    file.write(b"greeting\n")
    conn = ff.wrap(file, FRAMING)
    clean += [conn, r]
    conn.send(b"x")
    assert r.read(100) == b"greeting\n" + wire(b"x")
    conn.close()
    assert file.closed


def test_a_buffered_pair_of_files(clean: list[Any]) -> None:
    for_reading, w = pipe_files()
    r, for_writing = pipe_files()
    source, writer = io.BufferedReader(for_reading), io.BufferedWriter(for_writing)
    w.write(b"a" + wire(b"in"))
    assert source.read(1) == b"a"
    writer.write(b"b")
    conn = ff.wrap(source, FRAMING, writer=writer, timeout=LONG)
    clean += [conn, w, r]
    conn.send(b"out")
    assert conn.recv() == b"in"
    conn.shutdown_send()
    assert r.read(100) == b"b" + wire(b"out")
    assert r.read(100) == b""
    assert writer.closed
    assert not source.closed


def test_a_refused_writer_leaves_the_reader_as_it_was(clean: list[Any]) -> None:
    raw, w = pipe_files()
    file = io.BufferedReader(raw)
    clean += [file, w]
    w.write(b"abcdef")
    assert file.read(1) == b"a"
    for writer in ("file", io.BytesIO().getbuffer(), raw.fileno(), raw, -1):
        with pytest.raises((TypeError, ValueError)):
            ff.wrap(file, FRAMING, writer=writer)
    assert file.read(5) == b"bcdef"


def test_a_file_of_a_descriptor_keeps_timeouts(clean: list[Any]) -> None:
    raw, w = pipe_files()
    conn = ff.wrap(io.BufferedReader(raw), FRAMING)
    clean += [conn, w]
    start = time.monotonic()
    with pytest.raises(ff.FrameTimeout):
        conn.recv(timeout=SOON)
    thread = waiting(conn.recv)
    conn.close()
    with pytest.raises(ff.ConnectionClosed):
        thread.done()
    assert time.monotonic() - start < PROMPT


def test_a_file_that_doesnt_own_its_descriptor_leaves_it_open() -> None:
    r, w = os.pipe()
    with ff.wrap(open(r, "rb", closefd=False), FRAMING) as conn:
        os.write(w, wire(b"x"))
        assert conn.recv() == b"x"
    os.fstat(r)
    os.close(r)
    os.close(w)


@pytest.mark.parametrize("make", [io.BufferedRandom, lambda raw: raw], ids=["buffered", "raw"])
def test_a_file_for_both_directions_has_one_position(make: Callable[[io.FileIO], Any], tmp_path: Path) -> None:
    file = make(io.FileIO(tmp_path / "frames", "w+"))
    file.write(wire(b"first"))
    with ff.wrap(file, FRAMING) as conn:
        conn.send(b"second")
        file.seek(0)
        assert list(conn) == [b"first", b"second"]
        conn.send(b"third")
        assert conn.pending == 0
        assert (tmp_path / "frames").read_bytes() == wire(b"first", b"second", b"third")


def test_a_temporary_file_with_something_in_its_buffer() -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(wire(b"first"))
        conn = ff.wrap(file, FRAMING)
        conn.send(b"second")
        file.seek(0)
        assert list(conn) == [b"first", b"second"]
        assert conn.detach() is file


# --- Files without a descriptor --------------------------------------------------------------------------------------


def test_bytes_in_memory() -> None:
    source, sink = io.BytesIO(wire(b"one", b"", bytes(100_000))), io.BytesIO()
    conn = ff.wrap(source, FRAMING, writer=sink)
    assert conn.timeout is None
    assert conn.fileno() == -1
    assert list(conn) == [b"one", b"", bytes(100_000)]
    conn.send_many([b"a", bytes(100_000)])
    assert sink.getvalue() == wire(b"a", bytes(100_000))
    assert conn.detach() == (source, sink)


def test_bytes_in_memory_that_end_inside_a_frame() -> None:
    with ff.wrap(io.BytesIO(wire(b"one") + b"\0\0"), FRAMING) as conn:
        assert conn.recv() == b"one"
        with pytest.raises(ff.TruncatedFrame):
            conn.recv()


def test_without_readahead_no_file_is_read_beyond_the_frame() -> None:
    source = io.BytesIO(wire(b"one", b"two") + b"text")
    conn = ff.wrap(source, FRAMING, readahead=False)
    assert [conn.recv(), conn.recv()] == [b"one", b"two"]
    assert conn.detach().read() == b"text"


def test_a_compressed_file(tmp_path: Path) -> None:
    path = tmp_path / "frames.gz"
    frames = [b"%d" % i * 10 for i in range(10_000)]
    with ff.wrap(gzip.open(path, "wb"), FRAMING) as conn:
        conn.send_many(frames)
    with ff.wrap(gzip.open(path, "rb"), FRAMING) as conn:
        assert list(conn) == frames
    path.write_bytes(path.read_bytes()[:-20])
    with ff.wrap(gzip.open(path, "rb"), FRAMING) as conn:
        with pytest.raises(EOFError):
            list(conn)
        with pytest.raises(ff.ConnectionLost):
            conn.recv()


class Plain:
    """Can read and write, and nothing else."""

    def __init__(self, data: bytes = b"", portion: int = 3) -> None:
        self.data, self.portion, self.got = data, portion, bytearray()

    def read(self, size: int) -> bytes:
        take = min(size, self.portion)
        data, self.data = self.data[:take], self.data[take:]
        return data

    def write(self, data: bytes) -> None:
        self.got += data


def test_an_object_that_only_reads_and_writes() -> None:
    file = Plain(wire(b"one", b"two"))
    with ff.wrap(file, FRAMING, timeout=LONG) as conn:
        conn.send_many([b"a", bytes(100_000)])  # write gives None, and means all of it
        assert list(conn) == [b"one", b"two"]
    assert file.got == wire(b"a", bytes(100_000))


class Rationed(io.RawIOBase):
    """Takes and gives a few bytes, and every other time would have to wait."""

    def __init__(self, data: bytes) -> None:
        self.data, self.got, self.turn = data, bytearray(), 0

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def waits(self) -> bool:
        self.turn += 1
        return self.turn % 2 == 0

    def readinto(self, buffer: Any) -> int | None:
        if self.waits():
            return None
        take = min(len(buffer), 1000)
        data, self.data = self.data[:take], self.data[take:]
        memoryview(buffer)[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int | None:
        if self.waits():
            return None
        self.got += bytes(data[:1000])
        return len(data[:1000])


def test_a_raw_file_that_would_have_to_wait_is_asked_again() -> None:
    payload = os.urandom(20_000)
    file = Rationed(wire(payload, b"last"))
    with ff.wrap(file, FRAMING, timeout=LONG) as conn:
        conn.send(payload)
        assert list(conn) == [payload, b"last"]
    assert file.got == wire(payload)


def nonblocking_pair() -> tuple[io.BufferedRWPair, int, int, int]:
    """Over two pipes; their other ends; and the descriptor that it writes to."""
    (r, theirs), (ours, w) = os.pipe(), os.pipe()
    for number in (r, w, theirs, ours):
        os.set_blocking(number, False)
    return io.BufferedRWPair(io.FileIO(r, "r"), io.FileIO(w, "w")), theirs, ours, w


def test_a_nonblocking_buffered_pair_isnt_at_its_end() -> None:
    file, theirs, ours, _ = nonblocking_pair()
    conn = ff.wrap(file, FRAMING)
    with pytest.raises(ff.FrameTimeout):
        conn.recv(timeout=SOON)
    os.write(theirs, wire(b"one") + b"\0")
    assert conn.recv(timeout=LONG) == b"one"
    with pytest.raises(ff.FrameTimeout):
        conn.recv(timeout=SOON)
    os.write(theirs, b"\0\0\3two")
    os.close(theirs)
    assert list(conn) == [b"two"]
    conn.close()
    os.close(ours)


def test_a_nonblocking_buffered_pair_sends_each_byte_once() -> None:
    file, theirs, ours, _ = nonblocking_pair()
    conn = ff.wrap(file, FRAMING)
    payload = os.urandom(300_000)
    with pytest.raises(ff.SendInterrupted):
        conn.send(payload, timeout=SOON)
    with pytest.raises(ff.SendInterrupted):
        conn.send(b"queued", timeout=0)

    def receive() -> bytes:
        with ff.wrap(ours, FRAMING, timeout=LONG) as peer:
            return b"".join(peer.recv() for _ in range(3))

    thread = Thread(receive)
    conn.flush()
    conn.send(b"next")
    assert thread.done() == payload + b"queuednext"
    conn.close()
    os.close(theirs)


def test_what_an_unwilling_file_has_in_its_buffer_isnt_withdrawn() -> None:
    file, theirs, ours, number = nonblocking_pair()
    conn = ff.wrap(file, FRAMING)
    filled = 0
    try:
        while True:
            filled += os.write(number, bytes(4096))
    except BlockingIOError:
        pass
    with pytest.raises(ff.SendInterrupted):
        conn.send(b"held", timeout=0)
    with pytest.raises(ValueError, match="flush"):
        conn.detach()
    left = filled
    while left:
        left -= len(os.read(ours, left))
    conn.flush(timeout=LONG)
    assert os.read(ours, 100) == wire(b"held")
    conn.abort()
    os.close(theirs)
    os.close(ours)


def test_closing_a_file_that_cant_send_its_buffer_is_silent() -> None:
    file, theirs, ours, _ = nonblocking_pair()
    conn = ff.wrap(file, FRAMING)
    with pytest.raises(ff.SendInterrupted):
        conn.send(bytes(300_000), timeout=0)
    conn.close(timeout=0)
    assert conn.closed
    os.close(theirs)
    os.close(ours)


# --- Files that fail, and that lie -----------------------------------------------------------------------------------


class Failing(Plain):
    """Raises an exception once."""

    def __init__(self, error: BaseException, data: bytes = b"") -> None:
        super().__init__(data)
        self.errors = [error]

    def fail(self) -> None:
        if self.errors:
            raise self.errors.pop()

    def read(self, size: int) -> bytes:
        self.fail()
        return super().read(size)

    def write(self, data: bytes) -> None:
        self.fail()
        super().write(data)


@pytest.mark.parametrize("call", [lambda c: c.recv(), lambda c: c.send(b"x")], ids=["recv", "send"])
def test_an_error_of_the_system_is_a_lost_connection(call: Callable[[ff.Connection], Any]) -> None:
    with ff.wrap(Failing(OSError(errno.EIO, "broken")), FRAMING) as conn:
        for _ in range(2):
            with pytest.raises(ff.ConnectionLost) as caught:
                call(conn)
            assert caught.value.errno == errno.EIO


@pytest.mark.parametrize("error", [KeyError("theirs"), KeyboardInterrupt(), TimeoutError("a handler's"), EOFError()])
@pytest.mark.parametrize("call", [lambda c: c.recv(), lambda c: c.send(b"x")], ids=["recv", "send"])
def test_a_strange_exception_passes_and_ends_its_direction(
    call: Callable[[ff.Connection], Any], error: BaseException
) -> None:
    # Nobody knows how many bytes the file has taken or given.
    file = Failing(error, wire(b"x"))
    with ff.wrap(file, FRAMING) as conn:
        with pytest.raises(type(error)):
            call(conn)
        for _ in range(2):
            with pytest.raises(ff.ConnectionLost) as caught:
                call(conn)
            assert caught.value.errno == errno.EIO
    assert file.got == b""


def test_the_other_direction_goes_on_after_a_strange_exception() -> None:
    file = Failing(KeyError("theirs"), wire(b"x"))
    with ff.wrap(file, FRAMING) as conn:
        with pytest.raises(KeyError):
            conn.send(b"x")
        assert conn.recv() == b"x"


@pytest.mark.parametrize("answer", [5, "text", bytes(1 << 20), 1.5, [1]])
def test_a_file_that_lies_about_what_it_read(answer: Any) -> None:
    class Liar:
        def read(self, size: int) -> Any:
            return answer

    with ff.wrap(Liar(), FRAMING) as conn:
        with pytest.raises((TypeError, ValueError)):
            conn.recv(timeout=LONG)
        with pytest.raises(ff.ConnectionLost):
            conn.recv(timeout=LONG)


@pytest.mark.parametrize("answer", [-1, 1000, "5", 1.5, [1]])
def test_a_file_that_lies_about_what_it_wrote(answer: Any) -> None:
    class Liar:
        def write(self, data: bytes) -> Any:
            return answer

    with ff.wrap(Liar(), FRAMING) as conn:
        with pytest.raises((TypeError, ValueError)):
            conn.send(b"x", timeout=LONG)
        with pytest.raises(ff.ConnectionLost):
            conn.send(b"x", timeout=LONG)


def test_a_file_that_takes_nothing_keeps_timeouts() -> None:
    class Full:
        def write(self, data: bytes) -> int:
            return 0

    with ff.wrap(Full(), FRAMING) as conn, pytest.raises(ff.FrameTimeout):
        conn.send(b"x", timeout=SOON)


def test_a_file_with_a_closed_descriptor_is_refused_whole() -> None:
    r, w = os.pipe()
    number = fcntl.fcntl(w, fcntl.F_DUPFD, 500)  # one that isn't soon taken again
    file = io.FileIO(number, "w", closefd=False)
    os.close(number)
    with pytest.raises(ValueError, match=r"is (closed|not open)"):
        ff.wrap(r, FRAMING, writer=file)
    os.fstat(r)
    os.close(r)
    os.close(w)


def test_the_file_of_a_socket_is_refused(clean: list[Any]) -> None:
    a, b = socket.socketpair()
    clean += [a, b]
    for file in (a.makefile("rb"), a.makefile("wb"), a.makefile("rwb", buffering=0)):
        with pytest.raises(TypeError, match="socket itself"):
            ff.wrap(file, FRAMING)
        file.close()
