"""A reader that is patient: reads give what was fetched before, and never receive."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastframe as ff
from fastframe._readiness import READ

FRAMING = ff.LengthField(4, max_size=1 << 20)
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    a, b = socket.socketpair()
    with a, b:
        yield a, b


@pytest.fixture
def tcp() -> Iterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        a = socket.create_connection(server.getsockname())
        b, _ = server.accept()
    with a, b:
        yield a, b


def patient(engine: ModuleType, source: Any, framing: ff.Framing = FRAMING, **options: Any) -> Any:
    reader = engine.FrameReader(source, framing, **options)
    reader._patient = True
    return reader


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_it_reads_what_was_fetched_only(engine: ModuleType, pair: Pair) -> None:
    reader = patient(engine, pair[0])
    assert not reader._fetch()
    pair[1].send(FRAMING.encode_many([b"one", b"two", b"three"]))
    assert reader.read() == []
    assert reader.read_one() is None
    assert len(reader.read_batch()) == 0
    assert reader.buffered == 0
    assert reader._fetch()
    assert reader.buffered == 23
    assert reader.read_one() == b"one"
    pair[1].send(FRAMING.encode(b"four"))
    assert list(reader.read_batch()) == [b"two", b"three"]
    assert reader.read() == []
    assert reader._fetch()
    assert reader.read() == [b"four"]
    assert reader.stats == (4, 31, 0)


def test_what_is_fetched_is_parsed_by_the_framing_of_the_read(engine: ModuleType, pair: Pair) -> None:
    reader = patient(engine, pair[0])
    pair[1].send(FRAMING.encode(b"one") + b"two\r\nthree\r\n")
    assert reader._fetch()
    assert reader.read_one() == b"one"
    reader.framing = ff.Delimiter(b"\r\n")
    assert reader.read() == [b"two", b"three"]
    pair[1].send(b"rest")
    pair[1].close()
    assert reader._fetch()
    assert not reader._fetch()
    assert reader.unread() == b"rest"


@given(st.lists(st.integers(0, 300) | st.just(100_000), min_size=1, max_size=5), st.integers(50, 70_000))
def test_any_pieces_give_all_frames(engine: ModuleType, sizes: list[int], piece: int) -> None:
    a, b = socket.socketpair()
    with a, b:
        reader = patient(engine, a)
        frames = [bytes([size % 251]) * size for size in sizes]
        stream, got = FRAMING.encode_many(frames), []
        for at in range(0, len(stream), piece):
            b.sendall(stream[at : at + piece])
            assert reader._fetch()
            while reader._fetch():
                pass
            if at % 3:
                got += reader.read()
        b.close()
        assert not reader._fetch()
        got += reader.read() if reader.buffered else []
        assert got == frames
        with pytest.raises(ff.ConnectionClosed):
            reader.read()


@pytest.mark.parametrize("way", ["read", "read_one", "read_batch"])
def test_the_end_comes_behind_the_frames(engine: ModuleType, pair: Pair, way: str) -> None:
    reader = patient(engine, pair[0])
    pair[1].send(FRAMING.encode(b"one") + b"\0")
    pair[1].close()
    assert reader._fetch()
    assert not reader._fetch()
    assert reader.error is None
    got = getattr(reader, way)()
    assert (got if way == "read_one" else next(iter(got))) == b"one"
    with pytest.raises(ff.TruncatedFrame):
        getattr(reader, way)()
    assert not reader._fetch()


def test_the_end_makes_the_rest_a_frame(engine: ModuleType, pair: Pair) -> None:
    reader = patient(engine, pair[0], ff.UntilEOF())
    pair[1].send(b"all of it")
    pair[1].close()
    while reader._fetch():
        assert reader.read() == []
    assert reader.read() == [b"all of it"]
    with pytest.raises(ff.ConnectionClosed):
        reader.read()


@pytest.mark.parametrize("way", ["read", "read_one", "read_batch"])
@pytest.mark.parametrize("count", [0, 2])
def test_a_reset_comes_behind_the_frames(engine: ModuleType, tcp: Pair, way: str, count: int) -> None:
    reader = patient(engine, tcp[0])
    tcp[1].send(FRAMING.encode_many([b"frame"] * count) + b"\0\0")
    assert reader._fetch()
    reset(tcp[1])
    assert not reader._fetch()
    assert isinstance(reader.error, ff.ConnectionLost)
    got: list[bytes] = []
    with pytest.raises(ff.ConnectionLost) as caught:
        while True:
            one = getattr(reader, way)()
            got += [one] if way == "read_one" else one
    assert got == [b"frame"] * count
    assert caught.value.errno == reader.error.errno
    assert not reader._fetch()
    assert reader.stats.errors == 1


def test_what_cannot_be_a_frame_stands_before_a_reset(engine: ModuleType, tcp: Pair) -> None:
    reader = patient(engine, tcp[0])
    tcp[1].send(FRAMING.encode(b"one") + b"\xff" * 4)
    assert reader._fetch()
    reset(tcp[1])
    assert not reader._fetch()
    assert reader.read() == [b"one"]
    with pytest.raises(ff.FrameTooLarge):
        reader.read()


@pytest.mark.parametrize("framing", [FRAMING, ff.UntilEOF()], ids=repr)
@pytest.mark.parametrize("fetches", [1, 2])
def test_a_loss_that_others_have_found_comes_behind_the_frames(
    engine: ModuleType, pair: Pair, framing: ff.Framing, fetches: int
) -> None:
    reader = patient(engine, pair[0], framing)
    pair[1].send(FRAMING.encode_many([b"one", b"two"]) + b"\0")
    pair[1].close()
    for _ in range(fetches):
        reader._fetch()
    reader._lose(errno.ECONNRESET)
    assert reader.error.errno == errno.ECONNRESET
    if framing is FRAMING:
        assert reader.read_one() == b"one"
        assert reader.read() == [b"two"]
    for _ in range(2):
        with pytest.raises(ff.ConnectionLost):
            reader.read()
    reader._lose(errno.EPIPE)
    assert reader.error.errno == errno.ECONNRESET


def test_a_closed_descriptor_is_told_and_changes_nothing(engine: ModuleType) -> None:
    read, write = os.pipe()
    reader = patient(engine, read)
    os.write(write, FRAMING.encode(b"one"))
    assert reader._fetch()
    os.close(read)
    os.close(write)
    with pytest.raises(OSError, match="descriptor"):
        reader._fetch()
    assert reader.read() == [b"one"]


def test_the_poller_only_tells(engine: ModuleType, pair: Pair) -> None:
    poller = engine.Poller(lambda: 0.0, 10)
    reader = patient(engine, pair[0])
    poller.watch("target", pair[0].fileno(), READ)
    poller.receive(pair[0].fileno(), reader)
    pair[1].send(FRAMING.encode(b"one"))
    assert poller.poll(0) == [("target", None, READ)]
    assert reader.buffered == 0
    assert reader._fetch()
    reader._patient = False
    pair[1].send(FRAMING.encode(b"two"))
    assert poller.poll(0) == [("target", [b"one"], 0)]
    assert poller.poll(0) == [("target", [b"two"], 0)]
    poller.close()


def test_a_poller_can_be_watched(engine: ModuleType, pair: Pair) -> None:
    outer, poller = engine.Poller(lambda: 0.0, 10), engine.Poller(lambda: 0.0, 10)
    try:
        number = poller.fileno()
    except OSError:
        pytest.skip("no such descriptor here")
    outer.watch("poller", number, READ)
    poller.watch("target", pair[0].fileno(), READ)
    assert outer.poll(0) == []
    pair[1].send(b"x")
    assert outer.poll(0) == [("poller", None, READ)]
    assert poller.poll(0) == [("target", None, READ)]
    outer.close()
    poller.close()
