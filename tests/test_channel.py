"""What carries bytes in a descriptor's place, and what else the engine has for the connection alone: on both engines."""

import errno
import os
import random
import socket
import threading
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

import fastframe as ff
from fastframe._channel import Channel

FRAMING = ff.LengthField(2)


class Pieces(Channel):
    """Gives prepared pieces: bytes, None to wait, or an exception to raise. Takes as many bytes as the next number says."""

    def __init__(self, pieces: Any = (), room: Any = ()) -> None:
        self.pieces = deque(pieces)
        self.room = deque(room)
        self.taken = b""

    def receive(self, size: int) -> bytes | None:
        if not self.pieces:
            return None
        piece = self.pieces.popleft()
        if isinstance(piece, BaseException):
            raise piece
        if piece is not None and len(piece) > size:
            self.pieces.appendleft(piece[size:])
            piece = piece[:size]
        return piece

    def send(self, data: bytes) -> int | None:
        room = self.room.popleft() if self.room else len(data)
        if isinstance(room, BaseException):
            raise room
        if room is not None:
            room = min(room, len(data))
            self.taken += data[:room]
        return room


def drained(read: Callable[[], Any]) -> list[bytes]:
    got: list[bytes] = []
    while frames := read():
        got += frames
    return got


# --- Receiving -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("readahead", [True, False])
def test_frames_come_out_of_a_channel_whatever_the_pieces(engine: Any, readahead: bool) -> None:
    frames = [bytes([i]) * (i * 37 % 5000) for i in range(100)] + [bytes(65000)]
    wire = FRAMING.encode_many(frames)
    dice = random.Random(1)
    pieces: list[bytes | None] = []
    at = 0
    while at < len(wire):
        size = dice.choice((1, 2, 3, 100, 4096, 20_000))
        pieces += [wire[at : at + size], *([None] if dice.random() < 0.3 else [])]
        at += size
    reader = engine.FrameReader(Pieces([*pieces, b""]), FRAMING, readahead=readahead)
    got: list[bytes] = []
    with pytest.raises(ff.ConnectionClosed):
        while True:
            got += reader.read()
    assert got == frames


def test_a_channel_that_would_have_to_wait(engine: Any) -> None:
    reader = engine.FrameReader(Pieces([b"\0\5he", None, b"llo\0\1", None]), FRAMING)
    assert reader.read_one() is None
    assert reader.buffered == 4
    assert reader.read() == [b"hello"]
    assert reader.read_one() is None
    assert len(reader.read_batch()) == 0


def test_an_end_inside_a_frame(engine: Any) -> None:
    reader = engine.FrameReader(Pieces([b"\0\1a\0\5he", b""]), FRAMING)
    assert reader.read() == [b"a"]
    with pytest.raises(ff.TruncatedFrame):
        reader.read()


def test_a_lost_channel_stays_lost(engine: Any) -> None:
    reader = engine.FrameReader(Pieces([b"\0\1a\0", ff.ConnectionLost(errno.EPROTO, "alert"), b"\1b"]), FRAMING)
    assert reader.read() == [b"a"]
    for _ in range(2):
        with pytest.raises(ff.ConnectionLost, match="alert") as caught:
            reader.read()
        assert caught.value.errno == errno.EPROTO
        assert caught.value.__context__ is None
    assert reader.stats.errors == 1


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError(errno.EIO, "x"), TimeoutError("of a handler"), KeyError()]
)
def test_what_else_a_channel_raises_passes_and_changes_nothing(engine: Any, error: BaseException) -> None:
    reader = engine.FrameReader(Pieces([b"\0\2a", error, b"b"]), FRAMING)
    with pytest.raises(type(error)) as caught:
        reader.read_one()
    assert caught.value is error
    assert reader.error is None
    assert reader.read_one() == b"ab"


def test_a_channel_that_uses_its_reader_again(engine: Any) -> None:
    class Nosy(Pieces):
        def receive(self, size: int) -> bytes | None:
            with pytest.raises(ff.ConcurrentUse):
                reader.read()
            return super().receive(size)

    reader = engine.FrameReader(Nosy([b"\0\1a"]), FRAMING)
    assert reader.read() == [b"a"]


# --- Sending ---------------------------------------------------------------------------------------------------------


def test_frames_go_into_a_channel_whatever_it_takes(engine: Any) -> None:
    dice = random.Random(2)
    channel = Pieces(room=[dice.choice((0, 1, 7, 5000, None)) for _ in range(3000)])
    writer = engine.FrameWriter(channel, FRAMING)
    frames = [bytes([i % 256]) * (i * 97 % 9000) for i in range(300)]
    for i, frame in enumerate(frames):
        if i % 3:
            writer.write(frame)
        else:
            writer.write_many([frame, memoryview(frame)])
    while not writer.flush():
        pass
    assert channel.taken == FRAMING.encode_many(
        [f for i, frame in enumerate(frames) for f in [frame] * (1 + (i % 3 == 0))]
    )


def test_a_small_frame_is_one_piece(engine: Any) -> None:
    given: list[bytes] = []

    class Notes(Channel):
        def send(self, data: bytes) -> int | None:
            given.append(data)
            return len(data)

    writer = engine.FrameWriter(Notes(), FRAMING)
    assert writer.write(b"hello")
    assert writer.write_many([b"a", b"b"])
    assert given == [b"\0\5hello", b"\0\1a\0\1b"]
    assert writer.write(bytes(40_000))
    assert max(map(len, given)) <= 16_384


def test_what_wasnt_taken_is_given_again_or_more_of_it(engine: Any) -> None:
    given: list[bytes] = []

    class Busy(Channel):
        def send(self, data: bytes) -> int | None:
            given.append(data)
            return None if len(given) < 4 else len(data)

    writer = engine.FrameWriter(Busy(), FRAMING)
    for payload in (b"a", b"b", b"c"):
        assert not writer.write(payload)
    assert writer.flush()
    for before, after in pairwise(given[:4]):
        assert after.startswith(before)
    assert b"".join(given[3:]) == FRAMING.encode_many([b"a", b"b", b"c"])


def test_a_lost_channel_ends_sending(engine: Any) -> None:
    writer = engine.FrameWriter(Pieces(room=[3, ff.ConnectionLost(errno.EPIPE, "gone")]), FRAMING)
    for _ in range(2):
        with pytest.raises(ff.ConnectionLost, match="gone"):
            writer.write(b"hello")
    assert writer.pending == 0
    assert writer.error == ff.ConnectionLost(errno.EPIPE, "gone")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "x"), KeyError()])
@pytest.mark.parametrize("before", [0, 3])
def test_what_else_a_channel_raises_keeps_what_has_begun(engine: Any, error: BaseException, before: int) -> None:
    channel = Pieces(room=[*([before] if before else []), error])
    writer = engine.FrameWriter(channel, FRAMING)
    with pytest.raises(type(error)):
        writer.write(b"hello")
    assert writer.pending == (7 - before if before else 0)
    assert writer.write(b"next")
    assert channel.taken == FRAMING.encode_many([b"hello", b"next"] if before else [b"next"])


# --- What the connection asks besides --------------------------------------------------------------------------------


def test_the_next_frames_size(engine: Any) -> None:
    reader = engine.FrameReader(Pieces([b"\0", None, b"\3ab", None, b"c\0\0", b"\0\2", b"\0"]), FRAMING)
    assert reader._look() is None
    assert reader._look() is None
    assert reader._look() == 3
    assert reader._look() == 3
    assert reader.read_one() == b"abc"
    assert reader._look() == 0
    assert reader.read() == [b""]


@pytest.mark.parametrize("cut", [1, 3, 70_000])
def test_the_size_of_a_frame_in_pieces(engine: Any, cut: int) -> None:
    for framing, frame in ((ff.LengthField(4, trailer=b"!"), bytes(100_000)), (ff.Delimiter(b"\r\n"), b"line")):
        wire = framing.encode(frame)
        reader = engine.FrameReader(Pieces([wire[:cut], wire[cut:]]), framing)
        assert reader._look() == len(frame)
        assert reader.read_one() == frame


def test_a_look_at_an_error_leaves_it_to_be_withdrawn(engine: Any) -> None:
    for wire in (b"\xff\xff", b"\0\1a?"):
        framing = ff.LengthField(2, max_size=5, trailer=b"!")
        reader = engine.FrameReader(Pieces([wire]), framing)
        assert reader._look() == -1
        assert reader.unread() == wire
    reader = engine.FrameReader(Pieces([b""]), FRAMING)
    assert reader._look() == -1
    with pytest.raises(ff.ConnectionClosed):
        reader.read()


def test_bytes_that_came_by_other_means_come_first(engine: Any) -> None:
    reader = engine.FrameReader(Pieces([b"lo\0\1c"]), FRAMING)
    chunks = deque([b"\0\1a", b"\0", b"\5hel"])
    reader._push(chunks)
    assert not chunks
    assert drained(reader.read) == [b"a", b"hello", b"c"]


def test_other_means_in_the_middle_of_a_large_frame(engine: Any) -> None:
    framing = ff.LengthField(4)
    frame = os.urandom(300_000)
    wire = framing.encode(frame)
    reader = engine.FrameReader(Pieces([wire[:100_000]]), framing)
    assert reader.read_one() is None
    reader._push(deque([wire[100_000:200_000], wire[200_000:]]))
    assert reader.read_one() == frame


def test_a_frame_that_was_begun_by_other_means(engine: Any) -> None:
    channel = Pieces()
    writer = engine.FrameWriter(channel, FRAMING)
    frame = FRAMING.encode(b"hello")
    for sent in (3, 0, 7):
        channel.taken = frame[:sent]
        assert writer._resume(frame, sent) == (sent == 7)
        assert writer.pending == 7 - sent
        assert writer.write(b"next")
        assert channel.taken == frame + FRAMING.encode(b"next")
    assert writer.stats.frames == 6
    channel.room.append(None)
    writer.write(b"pending")
    for wrong in ((frame, 3), (frame, -1), (frame, 8)):
        with pytest.raises(ValueError):
            writer._resume(*wrong)


def test_iterating_goes_on_after_it_has_stopped(engine: Any) -> None:
    reader = engine.FrameReader(Pieces([b"\0\1a\0\1b", None, b"\0\1c", None, b""]), FRAMING)
    incoming = reader._incoming()
    assert list(incoming) == [b"a", b"b"]
    assert list(incoming) == [b"c"]
    with pytest.raises(ff.ConnectionClosed):
        list(incoming)


@pytest.mark.skipif(os.name == "nt", reason="on Windows no receive waits")
def test_a_receive_that_may_wait_does(engine: Any) -> None:
    ours, peers = socket.socketpair()
    with ours, peers:
        reader = engine.FrameReader(ours, FRAMING)
        assert reader.read_one() is None
        reader._waits = True
        later = threading.Timer(0.05, peers.sendall, [b"\0\1a"])
        later.start()
        assert reader.read_one() == b"a"
        later.join()
        peers.close()
        with pytest.raises(ff.ConnectionClosed):
            reader.read_one()


def test_another_descriptor_ends_a_wait(engine: Any) -> None:
    ours, peers = socket.socketpair()
    read_end, write_end = os.pipe()
    with ours, peers:
        assert not engine.wait(ours.fileno(), False, 0.01, read_end)
        os.write(write_end, b"!")
        assert engine.wait(ours.fileno(), False, None, read_end)
    os.close(read_end)
    os.close(write_end)
