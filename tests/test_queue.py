"""What a stream holds: nothing is lost, doubled or shared when memory fails, a call is interrupted, or views live on."""

from __future__ import annotations

import os
import socket
import tracemalloc
from typing import Any

import pytest

import fastframe as ff

FRAMING = ff.LengthField(4)
PAYLOADS = [b"first", b"2", b"", b"the fourth frame", b"x" * 600]
WIRE = FRAMING.encode_many(PAYLOADS)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("cut", [0, 2, 7, 30])
def test_failed_allocations_lose_and_double_nothing(engine: Any, cut: int, large: bool) -> None:
    testing = pytest.importorskip("_testcapi")
    framing = ff.LengthField(4, max_size=10**6)
    payloads = [*PAYLOADS, b"y" * 300_000] if large else PAYLOADS
    wire = framing.encode_many(payloads)
    for first in range(1, 40):
        decoder = engine.Decoder(framing)
        frames: list[bytes] = []
        pieces = [wire[:cut], wire[cut : len(wire) // 2], wire[len(wire) // 2 :]]
        for piece in pieces:
            before = decoder.buffered, decoder.stats
            got: list[bytes] | None = None
            testing.set_nomemory(first, first + 1)
            try:
                got = decoder.feed(piece)
            except MemoryError:
                pass
            finally:
                testing.remove_mem_hooks()
            if got is not None:
                frames += got
                continue
            try:
                # Either nothing was taken, and the caller tries again; or it was, and an empty feed goes on;
                # or some bytes are lost, and then every call says so.
                taken = (decoder.buffered, decoder.stats) != before
                frames += decoder.feed(b"" if taken else piece)
            except MemoryError:
                with pytest.raises(MemoryError):
                    decoder.feed(b"")
                break
        else:
            frames += decoder.feed(b"")
            assert frames == payloads
        assert frames == payloads[: len(frames)]


@pytest.mark.parametrize("way", ["feed", "feed_batch", "pop"])
def test_interrupted_function_loses_nothing(engine: Any, way: str) -> None:
    calls: list[bytes] = []

    def size(header: bytes) -> int:
        calls.append(header)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return 4

    decoder = engine.Decoder(ff.Computed(1, size))
    frames: list[bytes] = []
    interrupts = 0
    for piece in [b"AaaaBbbb", b"Cccc", b"Dddd", b""]:
        if way == "pop":
            decoder.push(piece)
        todo = True
        while todo:
            try:
                if way == "pop":
                    frame = decoder.pop()
                    frames += [] if frame is None else [frame]
                    todo = frame is not None
                else:
                    frames += getattr(decoder, way)(piece)
                    todo = False
            except KeyboardInterrupt:
                interrupts += 1
                piece = b""
    assert interrupts == 1
    frames += decoder.feed(b"")
    assert frames == [b"Aaaa", b"Bbbb", b"Cccc", b"Dddd"]


def test_function_that_raised_is_asked_again(engine: Any) -> None:
    asked: list[bytes] = []

    def size(header: bytes) -> int:
        asked.append(header)
        if len(asked) == 2:
            raise LookupError
        return 4

    decoder = engine.Decoder(ff.Computed(1, size))
    assert decoder.feed(b"AaaaBb") == [b"Aaaa"]
    assert decoder.feed(b"") == []
    assert asked == [b"A", b"B", b"B"]
    assert decoder.feed(b"bb") == [b"Bbbb"]


def test_memory_behind_a_view_is_not_that_of_a_delivered_frame(engine: Any) -> None:
    decoder = engine.Decoder(ff.LengthField(4))
    decoder.feed(b"\0\2\0\0" + bytes(100_000))
    view = decoder.get_buffer()
    lender = view.obj
    count = min(len(view), 131_072 - 100_000)
    view[:count] = bytes(count)
    frames = decoder.buffer_updated(count)
    frames += decoder.feed(bytes(131_072 - 100_000 - count))
    assert frames == [bytes(131_072)]
    try:
        memoryview(lender)[:3] = b"HAX"
    except (TypeError, ValueError, BufferError):
        pass
    assert frames == [bytes(131_072)]


def test_popping_gives_memory_back(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    tracemalloc.start()
    try:
        decoder.push(FRAMING.encode(b"x" * 996) * 4000)
        for _ in range(3999):
            decoder.pop()
        assert decoder.buffered == 1000
        assert tracemalloc.get_traced_memory()[0] < 256 * 1024
    finally:
        tracemalloc.stop()


def test_a_header_is_not_judged_again_for_each_byte_behind_it(engine: Any) -> None:
    asked: list[bytes] = []

    def size(header: bytes) -> int:
        asked.append(header)
        return 2000

    decoder = engine.Decoder(ff.Computed(2, size))
    for _ in range(1999):
        decoder.push(b"x")
        assert decoder.pop() is None
    assert decoder.feed(b"x") == [b"x" * 2000]
    assert len(asked) <= 2


@pytest.mark.parametrize("method", ["read", "read_one", "read_batch"])
def test_a_large_frame_whose_long_trailer_comes_in_pieces(engine: Any, method: str) -> None:
    framing = ff.LengthField(4, trailer=b"--the end--")
    frames = [os.urandom(100_000), os.urandom(70_000)]
    wire = framing.encode_many(frames)
    ours, peers = socket.socketpair()
    with ours, peers:
        reader = engine.FrameReader(ours, framing)
        got: list[bytes] = []

        def take() -> None:
            while read := getattr(reader, method)():
                got.extend([read] if isinstance(read, bytes) else read)

        end = 100_000 + 4 + 11
        at = 0
        for stop in (*range(10_000, end - 11, 10_000), end - 11, end - 5, end - 1, end, len(wire) - 3, len(wire)):
            peers.sendall(wire[at:stop])
            at = stop
            take()
        assert got == frames
