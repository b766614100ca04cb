"""FrameReader: frames from a descriptor."""

import errno
import fcntl
import gc
import os
import resource
import socket
import ssl
import struct
import tracemalloc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastframe as ff
from model import fault, read
from support import all_of, cases, tcp_pair

FRAMING = ff.LengthField(2)
WIRE = b"\0\5hello\0\0\0\2hi"
FRAMES = [b"hello", b"", b"hi"]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, peers = socket.socketpair()
    with ours, peers:
        yield ours, peers


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_end, write_end = os.pipe()
    open_ones = {read_end, write_end}
    yield read_end, write_end
    for fd in open_ones:
        try:
            os.close(fd)
        except OSError:
            pass


# --- Reading ---------------------------------------------------------------------------------------------------------


def test_read_gives_all_that_is_there(engine: Any, pair: Any) -> None:
    ours, peers = pair
    reader = engine.FrameReader(ours, FRAMING)
    assert reader.read() == []
    peers.send(WIRE + b"\0")
    assert reader.read() == FRAMES
    assert (reader.buffered, reader.needed, reader.stats) == (1, 1, (3, 13, 0))
    assert reader.read() == []


def test_read_batch(engine: Any, pair: Any) -> None:
    ours, peers = pair
    reader = engine.FrameReader(ours, FRAMING)
    assert len(reader.read_batch()) == 0
    peers.send(WIRE)
    batch = reader.read_batch()
    assert type(batch) is engine.FrameBatch
    peers.send(b"\0\3new" * 20)
    assert list(reader.read_batch()) == [b"new"] * 20
    assert list(batch) == FRAMES


def test_read_one_parses_one(engine: Any, pair: Any) -> None:
    ours, peers = pair
    reader = engine.FrameReader(ours, FRAMING)
    assert reader.read_one() is None
    peers.send(WIRE)
    assert reader.read_one() == b"hello"
    assert (reader.stats.frames, reader.buffered) == (1, 6)
    assert [reader.read_one(), reader.read_one(), reader.read_one()] == [b"", b"hi", None]


def test_frames_held_come_without_a_system_call(engine: Any, pair: Any) -> None:
    ours, peers = pair
    reader = engine.FrameReader(ours, FRAMING)
    peers.send(WIRE)
    reader.read_one()
    peers.send(b"\0\1x")
    assert reader.read() == FRAMES[1:]
    assert reader.read() == [b"x"]


def test_byte_by_byte(engine: Any, pair: Any) -> None:
    ours, peers = pair
    reader = engine.FrameReader(ours, FRAMING)
    got = []
    for byte in WIRE:
        peers.send(bytes([byte]))
        got += reader.read()
    assert got == FRAMES


@given(case=cases(), size=st.sampled_from([1, 3, 64, 4096]), method=st.sampled_from(["read", "read_batch", "read_one"]))
def test_any_pieces_give_what_the_model_says(engine: Any, case: Any, size: int, method: str) -> None:
    framing, chunks = case
    ours, peers = socket.socketpair()
    with ours, peers:
        reader = engine.FrameReader(ours, framing, buffer_size=size)
        wanted = read(framing, b"".join(chunks))
        frames: list[bytes] = []
        error: Any = None
        for chunk in [*chunks, None]:
            if chunk is None:
                peers.shutdown(socket.SHUT_WR)
            else:
                peers.send(chunk)
            try:
                while error is None:
                    got = getattr(reader, method)()
                    if got is None or (method != "read_one" and not len(got)):
                        break
                    frames += [got] if method == "read_one" else got
            except ff.FrameError as caught:
                error = caught
        assert frames == wanted.frames
        if wanted.error is None:
            assert type(error) is ff.ConnectionClosed
        else:
            assert fault(error) == wanted.error
        assert reader.buffered == 0
        assert reader.stats.frames == len(frames)


def test_large_frames(engine: Any) -> None:
    framing = ff.LengthField(4)
    payloads = [bytes(range(256)) * n for n in (256, 255, 4096, 1, 3000)]
    wire = framing.encode_many(payloads)
    client, peer = tcp_pair()
    with client, peer:
        client.setblocking(False)
        for method in ("read", "read_one"):
            reader = engine.FrameReader(peer, framing)
            sent, frames = 0, []
            while len(frames) < len(payloads):
                if sent < len(wire):
                    try:
                        sent += client.send(wire[sent:])
                    except BlockingIOError:
                        pass
                got = getattr(reader, method)()
                frames += [got] if type(got) is bytes else got or []
            assert frames == payloads
            assert reader.buffered == 0


def test_forged_length_within_the_limit_takes_no_memory(engine: Any, pair: Any) -> None:
    ours, peers = pair
    reader = engine.FrameReader(ours, ff.LengthField(4, max_size=1 << 31))
    peers.send(b"\x7f\xff\xff\xff" + b"x" * 1000)
    tracemalloc.start()
    try:
        assert reader.read() == []
        peers.send(b"x" * 1000)
        assert reader.read() == []
        assert reader.read_one() is None
        assert tracemalloc.get_traced_memory()[0] < 2 * 2004 + 65536 + 262144
    finally:
        tracemalloc.stop()


def test_large_frame_does_not_take_the_next_one(engine: Any, pair: Any) -> None:
    ours, peers = pair
    framing = ff.LengthField(4)
    reader = engine.FrameReader(ours, framing)
    peers.send(framing.encode(bytes(100_000)) + framing.encode(b"abc"))
    got = []
    while len(got) < 2:
        got += reader.read()
    assert got == [bytes(100_000), b"abc"]


# --- One byte too many -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["read", "read_one", "read_batch"])
def test_without_readahead_the_rest_stays_in_the_descriptor(engine: Any, pair: Any, method: str) -> None:
    ours, peers = pair
    for framing, wire, frame in [
        (FRAMING, b"\0\5hello", b"hello"),
        (ff.Delimiter(b"\r\n"), b"line\r\n", b"line"),
        (ff.Netstring(), b"3:abc,", b"abc"),
        (ff.VarintLength(), b"\x85\x01" + b"v" * 133, b"v" * 133),
        (ff.AsciiLength(3), b"002hi", b"hi"),
        (ff.FixedSize(4), b"four", b"four"),
        (ff.ContentLength(), b"Content-Length: 2\r\n\r\nhi", b"hi"),
        (ff.LengthField(4, signed=True, escape=(-1, 8)), b"\xff\xff\xff\xff" + bytes(7) + b"\2hi", b"hi"),
        (ff.LengthField(4), b"\0\1\x86\xa0" + bytes(100_000), bytes(100_000)),
    ]:
        reader = engine.FrameReader(ours, framing, readahead=False)
        peers.send(wire * 2 + b"tail")
        for _ in range(2):
            got = getattr(reader, method)()
            while not (got is not None and len(got)):
                got = getattr(reader, method)()
            assert (got if method == "read_one" else list(got)) == (frame if method == "read_one" else [frame])
            assert reader.buffered == 0
        assert ours.recv(100) == b"tail"


def test_without_readahead_an_unfinished_frame_is_held(engine: Any, pair: Any) -> None:
    ours, peers = pair
    reader = engine.FrameReader(ours, FRAMING, readahead=False)
    got = []
    for i in range(len(WIRE)):
        peers.send(WIRE[i : i + 1])
        got += reader.read()
        assert reader.buffered == reader.stats.bytes * -1 + i + 1
    assert got == FRAMES


def test_without_readahead_the_end_is_the_same(engine: Any, pair: Any) -> None:
    ours, peers = pair
    reader = engine.FrameReader(ours, FRAMING, readahead=False)
    peers.send(WIRE + b"\0\5he")
    peers.shutdown(socket.SHUT_WR)
    frames, error = all_of(reader, engine.wait)
    assert frames == FRAMES
    assert fault(error)[5:] == ("payload", 4, 7, b"\0\5he")


def test_handing_over_the_descriptor(engine: Any, pair: Any) -> None:
    ours, peers = pair
    peers.send(b"STARTTLS\n" + WIRE)
    first = engine.FrameReader(ours, ff.Delimiter(b"\n"))
    assert first.read_one() == b"STARTTLS"
    rest = first.unread()
    assert rest == WIRE
    second = engine.Decoder(FRAMING)
    assert second.feed(rest) == FRAMES


def test_framing_can_be_assigned_between_frames(engine: Any, pair: Any) -> None:
    ours, peers = pair
    peers.send(b"\0\1a" + b"line\n" + b"3:net,")
    reader = engine.FrameReader(ours, FRAMING)
    assert reader.read_one() == b"a"
    reader.framing = ff.Delimiter(b"\n")
    assert reader.read_one() == b"line"
    reader.framing = ff.Netstring()
    assert reader.read() == [b"net"]
    with pytest.raises(TypeError):
        reader.framing = None


# --- The end ---------------------------------------------------------------------------------------------------------


def test_clean_end(engine: Any, pair: Any) -> None:
    ours, peers = pair
    reader = engine.FrameReader(ours, FRAMING)
    peers.send(WIRE)
    peers.shutdown(socket.SHUT_WR)
    assert all_of(reader, engine.wait)[0] == FRAMES
    for method in ("read", "read_batch", "read_one"):
        with pytest.raises(ff.ConnectionClosed):
            getattr(reader, method)()
    assert type(reader.error) is ff.ConnectionClosed
    assert (reader.needed, reader.buffered, reader.unread()) == (0, 0, b"")


@pytest.mark.parametrize("cut", range(1, 7))
def test_end_inside_a_frame(engine: Any, pair: Any, cut: int) -> None:
    ours, peers = pair
    reader = engine.FrameReader(ours, FRAMING)
    peers.send(WIRE + WIRE[:cut])
    peers.shutdown(socket.SHUT_WR)
    frames, error = all_of(reader, engine.wait)
    assert frames == FRAMES
    stage, want = ("header", None) if cut < 2 else ("payload", 7)
    assert fault(error) == (ff.TruncatedFrame, 13, None, None, None, stage, cut, want, WIRE[:cut])
    with pytest.raises(ff.TruncatedFrame) as again:
        reader.read()
    assert again.value == error


def test_until_eof(engine: Any, pair: Any) -> None:
    ours, peers = pair
    reader = engine.FrameReader(ours, ff.UntilEOF())
    peers.send(b"all of it")
    assert reader.read() == []
    peers.shutdown(socket.SHUT_WR)
    assert reader.read() == [b"all of it"]
    with pytest.raises(ff.ConnectionClosed):
        reader.read()


def test_good_frames_come_before_the_fault(engine: Any, pair: Any) -> None:
    ours, peers = pair
    reader = engine.FrameReader(ours, ff.LengthField(2, max_size=9))
    peers.send(WIRE + b"\xff\xffmore")
    assert reader.read() == FRAMES
    assert type(reader.error) is ff.FrameTooLarge
    for _ in range(3):
        with pytest.raises(ff.FrameTooLarge):
            reader.read()
    assert (reader.buffered, reader.stats) == (0, (3, 13, 1))


def test_reset_comes_after_the_frames(engine: Any) -> None:
    client, peer = tcp_pair()
    with peer:
        reader = engine.FrameReader(peer, FRAMING)
        client.send(WIRE + b"\0")
        assert engine.wait(peer.fileno(), False, 5)
        assert reader.read_one() == b"hello"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        assert reader.read() == FRAMES[1:]
        for _ in range(2):
            with pytest.raises(ff.ConnectionLost) as caught:
                while True:
                    assert reader.read() == []
                    engine.wait(peer.fileno(), False, 5)
            assert caught.value.errno == errno.ECONNRESET
        assert reader.error == caught.value
        assert reader.buffered == 0
        with pytest.raises(ff.ConnectionLost):
            reader.unread()


def test_closed_descriptor_is_an_os_error_and_not_sticky(engine: Any) -> None:
    read_end, write_end = os.pipe()
    spare = os.dup(read_end)
    reader = engine.FrameReader(read_end, FRAMING)
    os.write(write_end, WIRE[:3])
    assert reader.read() == []
    os.close(read_end)
    with pytest.raises(OSError) as caught:
        reader.read()
    assert not isinstance(caught.value, ff.FrameError)
    assert (reader.error, reader.buffered) == (None, 3)
    os.dup2(spare, read_end)
    os.write(write_end, WIRE[3:])
    assert reader.read() == FRAMES
    for fd in (spare, read_end, write_end):
        os.close(fd)


# --- Descriptors -----------------------------------------------------------------------------------------------------


def test_pipe(engine: Any, pipe: Any) -> None:
    read_end, write_end = pipe
    reader = engine.FrameReader(read_end, FRAMING)
    assert reader.read() == []  # it would block: the descriptor is in blocking mode
    os.write(write_end, WIRE + b"\0")
    assert reader.read() == FRAMES
    assert reader.read() == []
    os.close(write_end)
    with pytest.raises(ff.TruncatedFrame):
        reader.read()


def test_nonblocking_pipe_loses_nothing(engine: Any, pipe: Any) -> None:
    read_end, write_end = pipe
    os.set_blocking(read_end, False)
    reader = engine.FrameReader(read_end, FRAMING)
    got = []
    for i in range(len(WIRE)):
        os.write(write_end, WIRE[i : i + 1])
        got += reader.read() + reader.read()
    assert got == FRAMES


def test_regular_file(engine: Any, tmp_path: Any) -> None:
    path = tmp_path / "frames"
    path.write_bytes(WIRE * 1000)
    with path.open("rb") as file:
        frames, error = all_of(engine.FrameReader(file, FRAMING), engine.wait)
    assert frames == FRAMES * 1000
    assert type(error) is ff.ConnectionClosed


@pytest.mark.parametrize("blocking", [True, False])
def test_nonblocking_flag_is_never_changed(engine: Any, pair: Any, pipe: Any, blocking: bool) -> None:
    ours, peers = pair
    ours.setblocking(blocking)
    os.set_blocking(pipe[0], blocking)
    for fd, put in ((ours.fileno(), peers.send), (pipe[0], lambda data: os.write(pipe[1], data))):
        before = fcntl.fcntl(fd, fcntl.F_GETFL)
        for readahead in (True, False):
            reader = engine.FrameReader(fd, FRAMING, readahead=readahead)
            assert reader.read() == []
            put(b"\0\1x")
            assert reader.read() == [b"x"]
            assert fcntl.fcntl(fd, fcntl.F_GETFL) == before


class Holder:
    """An object with a descriptor, as many a library has."""

    def __init__(self, number: int) -> None:
        self.number = number

    def fileno(self) -> int:
        return self.number


def test_source_with_fileno_is_kept(engine: Any, pair: Any) -> None:
    ours, peers = pair
    holder = Holder(ours.fileno())
    kept = weakref.ref(holder)
    reader = engine.FrameReader(holder, FRAMING)
    del holder
    gc.collect()
    assert kept() is not None
    peers.send(WIRE)
    assert reader.fileno() == ours.fileno()
    assert reader.read() == FRAMES
    del reader
    gc.collect()
    assert kept() is None


def test_descriptor_beyond_1024(engine: Any, pair: Any) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2100:
        pytest.skip("not that many descriptors here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2100), hard))
    ours, peers = pair
    try:
        high = fcntl.fcntl(ours.fileno(), fcntl.F_DUPFD, 2000)
        reader = engine.FrameReader(high, FRAMING)
        assert not engine.wait(high, False, 0)
        peers.send(WIRE)
        assert engine.wait(high, False, 5)
        assert reader.read() == FRAMES
        os.close(high)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_wrong_sources(engine: Any, pair: Any) -> None:
    ours, _ = pair
    closed, other = socket.socketpair()
    closed.close()
    other.close()
    for source, kind in [(-1, ValueError), (closed, ValueError), ("3", TypeError), (None, TypeError), (3.0, TypeError)]:
        with pytest.raises(kind):
            engine.FrameReader(source, FRAMING)
    with pytest.raises((ValueError, OverflowError)):
        engine.FrameReader(1 << 40, FRAMING)
    with pytest.raises(TypeError):
        engine.FrameReader(ours, None)
    with pytest.raises(TypeError):
        engine.FrameReader(ours)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, pytest.raises(TypeError):
        engine.FrameReader(datagrams, FRAMING)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, pytest.raises(TypeError):
        engine.FrameReader(datagrams.fileno(), FRAMING)


def test_tls_socket_is_sent_to_wrap(engine: Any) -> None:
    ours, peers = socket.socketpair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    with peers, context.wrap_socket(ours, do_handshake_on_connect=False) as secure:
        with pytest.raises(TypeError, match="wrap"):
            engine.FrameReader(secure, FRAMING)


@pytest.mark.parametrize("size", [0, -1, -(1 << 40)])
def test_wrong_buffer_size(engine: Any, pair: Any, size: int) -> None:
    with pytest.raises(ValueError):
        engine.FrameReader(pair[0], FRAMING, buffer_size=size)
    with pytest.raises(TypeError):
        engine.FrameReader(pair[0], FRAMING, buffer_size="big")
    with pytest.raises(TypeError):
        engine.FrameReader(pair[0], FRAMING, 4096)
