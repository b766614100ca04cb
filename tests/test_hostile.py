"""Hostile peers: memory follows what arrived, never what was declared; work is linear; nothing but our errors."""

import gc
import socket
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastframe as ff
from support import WAYS, by_buffer, framings, outcome

KIB = 1024
SLACK = 64 * KIB


@contextmanager
def memory() -> Iterator[Any]:
    """A function that tells the bytes in use since the start, and one for the most there were."""
    gc.collect()
    tracemalloc.start()
    base = tracemalloc.get_traced_memory()[0]
    try:
        yield lambda: tuple(value - base for value in tracemalloc.get_traced_memory())
    finally:
        tracemalloc.stop()


# --- Forged headers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "header", [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\1\0\0\1", b"\x15\3\3\0"]
)
def test_forged_length_is_refused_at_the_header_without_memory(engine: Any, header: bytes, way: str) -> None:
    decoder = engine.Decoder(ff.LengthField(4))
    assert decoder.feed(b"\0\0\0\2hi") == [b"hi"]
    with memory() as used:
        got = outcome(decoder, [header], way, eof=False)
        assert got.error
        assert got.error.kind is ff.FrameTooLarge
        assert got.error.size == int.from_bytes(header, "big")
        assert used()[1] < (SLACK if way != "buffer" else SLACK + 256 * KIB)


@pytest.mark.parametrize("width", range(1, 9))
@pytest.mark.parametrize("byteorder", ["big", "little"])
def test_limit_is_exact(engine: Any, width: int, byteorder: Any) -> None:
    framing = ff.LengthField(width, byteorder, max_size=200)
    for length in (
        0,
        1,
        199,
        200,
        201,
        255,
        256,
        257,
        (1 << 8 * width - 1) - 1,
        1 << 8 * width - 1,
        (1 << 8 * width) - 1,
    ):
        if length >= 1 << 8 * width:
            continue
        decoder = engine.Decoder(framing)
        header = length.to_bytes(width, byteorder)
        if length > 200:
            with pytest.raises(ff.FrameTooLarge) as caught:
                decoder.feed(header)
            assert (caught.value.size, caught.value.header) == (length, header)
        else:
            assert decoder.feed(header + bytes(length)) == [bytes(length)]


@pytest.mark.parametrize("adjustment", [0, -8, 100, (1 << 62), -(1 << 62)])
def test_lengths_near_the_machine_word(engine: Any, adjustment: int) -> None:
    for length in (
        [(1 << 64) - 1 - i for i in range(20)] + [(1 << 63) + i for i in range(-5, 5)] + [1 << 62, 1 << 32, 1 << 31]
    ):
        for limit in (0, 16 << 20, sys.maxsize, 1 << 70):
            framing = ff.LengthField(8, adjustment=adjustment, max_size=limit)
            decoder = engine.Decoder(framing)
            try:
                frames = decoder.feed(length.to_bytes(8, "big"))
            except ff.InvalidFrame:
                continue
            if length + adjustment == 0:
                assert frames == [b""]
                continue
            assert frames == []
            assert 0 < decoder.needed <= length + adjustment
            assert decoder.buffered == 8


@pytest.mark.parametrize("way", WAYS)
def test_payload_that_never_comes_takes_no_memory(engine: Any, way: str) -> None:
    framing = ff.LengthField(4, max_size=1 << 32)
    wire = b"\xff\xff\xff\xff" + b"x" * 5000
    with memory() as used:
        decoder = engine.Decoder(framing)
        for i in range(0, len(wire), 100):
            WAYS[way](decoder, wire[i : i + 100], [])
        assert decoder.buffered == len(wire)
        assert used()[0] < 2 * len(wire) + SLACK + (256 * KIB if way == "buffer" else 0)


@pytest.mark.parametrize("way", ["feed", "batch", "pop", "buffer"])
def test_ten_thousand_half_frames_hold_little(engine: Any, way: str) -> None:
    count = 1000
    framing = ff.LengthField(4)
    with memory() as used:
        decoders = [engine.Decoder(framing) for _ in range(count)]
        for decoder in decoders:
            WAYS[way](decoder, b"\0\xff\xff\xff" + b"half", [])
        decoders[0].feed(b"")
        assert used()[0] < count * (SLACK + 2 * KIB) + 512 * KIB
    assert all(decoder.buffered == 8 for decoder in decoders)


def test_idle_decoder_holds_no_large_buffer(engine: Any) -> None:
    framing = ff.LengthField(4)
    wire = framing.encode(bytes(1 << 20))
    for way in WAYS:
        with memory() as used:
            decoders = [engine.Decoder(framing) for _ in range(20)]
            for decoder in decoders:
                for i in range(0, len(wire), 100_000):
                    WAYS[way](decoder, wire[i : i + 100_000], [])
                WAYS[way](decoder, b"", [])
                decoder.feed(b"")
            assert used()[0] < 20 * SLACK + 512 * KIB


@pytest.mark.parametrize("size", [0, 2000, 200_000])
@pytest.mark.parametrize("method", ["read", "read_one", "read_batch"])
def test_idle_reader_holds_no_large_buffer(engine: Any, method: str, size: int) -> None:
    framing = ff.LengthField(4)
    pairs = [socket.socketpair() for _ in range(20)]
    try:
        with memory() as used:
            readers = [engine.FrameReader(ours, framing) for ours, _ in pairs]
            for reader, (_, peers) in zip(readers, pairs, strict=True):
                wire = framing.encode(bytes(size))
                while not getattr(reader, method)():
                    if wire:
                        wire = wire[peers.send(wire) :]
                    elif not size:
                        break
            assert used()[0] < 20 * 4 * KIB + 512 * KIB
    finally:
        for ours, peers in pairs:
            ours.close()
            peers.close()


def test_growing_frame_holds_at_most_twice_its_bytes(engine: Any) -> None:
    framing = ff.LengthField(4, max_size=1 << 30)
    for way in ("feed", "pop", "batch"):
        with memory() as used:
            decoder = engine.Decoder(framing)
            WAYS[way](decoder, b"\x3f\0\0\0", [])
            fed = 4
            while fed < 3_000_000:
                WAYS[way](decoder, bytes(9973), [])
                fed += 9973
                assert used()[0] < 2 * fed + 2 * SLACK


def test_million_pieces_of_a_byte_do_not_cost_an_object_each(engine: Any) -> None:
    framing = ff.LengthField(4)
    count = 100_000
    for method in ("feed", "push"):
        with memory() as used:
            decoder = engine.Decoder(framing)
            call = getattr(decoder, method)
            call(b"\0\xff\0\0")
            for i in range(count):
                call(b"%c" % (i & 255))
            assert used()[0] < 2 * count + SLACK
            assert decoder.buffered == count + 4


def test_forged_headers_leave_nothing_behind(engine: Any) -> None:
    framing = ff.LengthField(4)

    def forge(count: int) -> None:
        for _ in range(count):
            try:
                engine.Decoder(framing).feed(b"\xff\xff\xff\xff")
            except ff.FrameTooLarge:
                pass

    forge(100)
    gc.collect()
    before = sys.getallocatedblocks()
    forge(20_000)
    gc.collect()
    assert sys.getallocatedblocks() - before < 500


def test_steady_frames_leave_nothing_behind(engine: Any) -> None:
    decoder = engine.Decoder(ff.Delimiter(b"\r\n"))

    def work(count: int) -> None:
        for _ in range(count):
            decoder.feed(b"abc\r")
            decoder.push(b"\nde")
            decoder.pop()
            len(decoder.feed_batch(b"f\r\n"))
            by_buffer(decoder, b"xyz\r\n", [])

    work(100)
    gc.collect()
    before = sys.getallocatedblocks()
    work(5000)
    gc.collect()
    assert sys.getallocatedblocks() - before < 500


# --- Linear work -----------------------------------------------------------------------------------------------------


def looks(engine: Any, data: bytes, size: int) -> int:
    """How many bytes a Computed's function is asked about, for a stream in pieces of this size."""
    asked = 0

    def function(header: bytes) -> int:
        nonlocal asked
        asked += 1
        return 1000

    decoder = engine.Decoder(ff.Computed(2, function))
    for i in range(0, len(data), size):
        decoder.feed(data[i : i + size])
    return asked


def test_header_is_not_judged_again_for_each_byte(engine: Any) -> None:
    assert looks(engine, bytes(10_000), 10_000) <= 20
    assert looks(engine, bytes(10_000), 100) <= 20 + 100


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("framing", "wire"),
    [
        (ff.LengthField(4), ff.LengthField(4).encode(bytes(1_000_000))),
        (ff.Delimiter(b"\r\n"), b"x" * 1_000_000 + b"\r\n"),
        (ff.Delimiter(b"\r\n", b"\n"), b"\r" * 300_000 + b"\n"),
        (ff.Netstring(), ff.Netstring().encode(bytes(1_000_000))),
        (ff.UntilEOF(), bytes(1_000_000)),
    ],
    ids=["length", "delimiter", "ends", "netstring", "eof"],
)
def test_large_frame_in_small_pieces_ends_soon(engine: Any, framing: Any, wire: bytes, way: str) -> None:
    decoder = engine.Decoder(framing)
    frames: list[bytes] = []
    for i in range(0, len(wire), 50):
        WAYS[way](decoder, wire[i : i + 50], frames)
    frames += decoder.feed_eof()
    assert [framing.encode(frame) for frame in frames] == [wire]


@pytest.mark.parametrize("way", WAYS)
def test_header_lines_in_small_pieces_end_soon(engine: Any, way: str) -> None:
    block = b"".join(b"X-%d: %s\r\n" % (i, b"y" * 60) for i in range(100)) + b"Content-Length: 1\r\n\r\n"
    decoder = engine.Decoder(ff.ContentLength())
    frames: list[bytes] = []
    for byte in (block + b"z") * 5:
        WAYS[way](decoder, bytes([byte]), frames)
    assert frames == [b"z"] * 5


def test_many_small_frames_popped_one_by_one(engine: Any) -> None:
    decoder = engine.Decoder(ff.LengthField(1))
    decoder.push(b"\1a" * 200_000)
    count = 0
    while decoder.pop() is not None:
        count += 1
    assert count == 200_000


def test_rare_end_beside_a_frequent_one(engine: Any) -> None:
    framing = ff.Delimiter(b"\n", b"\0never")
    assert engine.Decoder(framing).feed(b"ab\n" * 200_000) == [b"ab"] * 200_000


# --- Nothing but our errors ------------------------------------------------------------------------------------------


@given(framing=framings(), data=st.binary(max_size=200), more=st.lists(st.binary(max_size=20), max_size=4))
def test_random_bytes_only_ever_raise_frame_errors(engine: Any, framing: Any, data: bytes, more: list[bytes]) -> None:
    decoder = engine.Decoder(framing)
    for chunk in [data, *more, None]:
        try:
            frames = decoder.feed_eof() if chunk is None else decoder.feed(chunk)
            assert all(type(frame) is bytes and len(frame) <= framing.limit for frame in frames)
        except ff.FrameError as error:
            assert isinstance(error, ff.InvalidFrame | ff.TruncatedFrame)  # noqa: PT017
            assert decoder.error == error  # noqa: PT017


def test_varint_cut_inside_its_prefix(engine: Any) -> None:
    framing = ff.VarintLength(4)
    wire = framing.encode(b"z" * (1 << 21))
    decoder = engine.Decoder(framing)
    frames = decoder.feed(wire[:3]) + decoder.feed(wire[3:4]) + decoder.feed(wire[4:])
    assert [len(frame) for frame in frames] == [1 << 21]


def test_tail_of_an_over_long_line_is_no_line(engine: Any) -> None:
    decoder = engine.Decoder(ff.Delimiter(b"\n", max_size=10))
    with pytest.raises(ff.FrameTooLarge):
        decoder.feed(b"x" * 11)
    with pytest.raises(ff.FrameTooLarge):
        decoder.feed(b"tail\nline\n")
