"""Decoder: bytes in, frames out, whatever the pieces; what it holds, needs and counts; its end."""

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastframe as ff
from model import read
from support import WAYS, cases, cuts, framings, outcome, streams

FRAMING = ff.LengthField(2)
WIRE = b"\0\5hello\0\0\0\2hi"
FRAMES = [b"hello", b"", b"hi"]


# --- Chunks don't matter ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@given(case=cases(), eof=st.booleans())
def test_any_pieces_give_what_the_model_says(engine: Any, way: str, case: Any, eof: bool) -> None:
    framing, chunks = case
    assert outcome(engine.Decoder(framing), chunks, way, eof) == read(framing, b"".join(chunks), eof)


@given(data=st.data(), eof=st.booleans())
def test_every_cut_gives_what_the_model_says(engine: Any, data: st.DataObject, eof: bool) -> None:
    framing = data.draw(framings())
    stream = data.draw(streams(framing))
    wanted = read(framing, stream, eof)
    for chunks in cuts(stream):
        assert outcome(engine.Decoder(framing), chunks, "feed", eof) == wanted


@given(case=cases(), ways=st.lists(st.sampled_from(["feed", "batch", "buffer", "pop"]), min_size=8, max_size=8))
def test_ways_can_be_mixed(engine: Any, case: Any, ways: list[str]) -> None:
    framing, chunks = case
    decoder = engine.Decoder(framing)
    frames = []
    for way, chunk in zip(ways, chunks, strict=False):
        got = outcome(decoder, [chunk], way, eof=False)
        frames += got.frames
        if got.error:
            break
    else:
        got = outcome(decoder, [], eof=True)
        frames += got.frames
    assert (frames, got.error) == read(framing, b"".join(chunks))


@given(case=cases())
def test_all_cuts_of_a_short_stream(engine: Any, case: Any) -> None:
    framing, chunks = case
    data = b"".join(chunks)[:6]
    wanted = read(framing, data)
    for places in range(1 << max(0, len(data) - 1)):
        pieces, start = [], 0
        for i in range(1, len(data)):
            if places >> (i - 1) & 1:
                pieces.append(data[start:i])
                start = i
        assert outcome(engine.Decoder(framing), [*pieces, data[start:]]) == wanted


@given(data=st.data())
def test_decoder_gives_back_what_was_encoded(engine: Any, data: st.DataObject) -> None:
    framing = data.draw(framings())
    payloads = []
    for payload in data.draw(st.lists(st.binary(max_size=20), max_size=4)):
        try:
            framing.encode(payload)
        except ValueError:
            continue
        payloads.append(payload)
    if isinstance(framing, ff.UntilEOF):
        payloads = payloads[:1] or [b""]
    elif isinstance(framing, ff.LengthField) and framing.strip <= framing.offset:
        return  # the length is written into the payload: test_binary
    assert outcome(engine.Decoder(framing), [framing.encode_many(payloads)]) == (payloads, None)


# --- Frames come as soon as they are there ---------------------------------------------------------------------------


def test_frame_comes_with_its_last_byte(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    assert [decoder.feed(WIRE[i : i + 1]) for i in range(7)] == [[]] * 6 + [[b"hello"]]
    assert decoder.feed(WIRE[7:8]) == []
    assert decoder.feed(WIRE[8:9]) == [b""]


def test_frames_are_bytes(engine: Any) -> None:
    for way in WAYS:
        frames: list[bytes] = []
        WAYS[way](engine.Decoder(FRAMING), bytearray(WIRE), frames)
        assert [type(frame) for frame in frames] == [bytes] * 3


def test_zero_length_frames_are_frames(engine: Any) -> None:
    assert engine.Decoder(ff.LengthField(4)).feed(bytes(40)) == [b""] * 10
    assert engine.Decoder(ff.Netstring()).feed(b"0:,0:,") == [b"", b""]
    assert engine.Decoder(ff.Delimiter(b"\n")).feed(b"\n\n") == [b"", b""]


def test_million_zero_length_frames(engine: Any) -> None:
    decoder = engine.Decoder(ff.LengthField(1))
    assert decoder.feed(bytes(1_000_000)) == [b""] * 1_000_000
    assert len(decoder.feed_batch(bytes(1_000_000))) == 1_000_000
    assert decoder.stats == (2_000_000, 2_000_000, 0)


def test_until_eof_gives_one_frame_at_the_end(engine: Any) -> None:
    decoder = engine.Decoder(ff.UntilEOF())
    assert decoder.feed(b"some") == decoder.feed(b"thing") == []
    assert decoder.needed == 1
    assert decoder.feed_eof() == [b"something"]
    assert decoder.feed_eof() == []
    assert engine.Decoder(ff.UntilEOF()).feed_eof() == [b""]


def test_large_frame_in_pieces(engine: Any) -> None:
    payload = bytes(range(256)) * 4096
    wire = ff.LengthField(4).encode(payload)
    for size in (1000, 4096, 65536, 300_000):
        for way in WAYS:
            chunks = [wire[i : i + size] for i in range(0, len(wire), size)]
            assert outcome(engine.Decoder(ff.LengthField(4)), [*chunks, b"\0\0\0\1x"], way).frames == [payload, b"x"]


# --- Lazy and ahead --------------------------------------------------------------------------------------------------


def test_pop_parses_one_frame(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    decoder.push(WIRE + b"\0")
    assert decoder.pop() == b"hello"
    assert decoder.buffered == 7
    assert decoder.stats == (1, 7, 0)
    assert [decoder.pop(), decoder.pop(), decoder.pop(), decoder.pop()] == [b"", b"hi", None, None]
    assert decoder.buffered == 1


def test_push_only_keeps(engine: Any) -> None:
    decoder = engine.Decoder(ff.LengthField(2, max_size=9))
    assert decoder.push(b"\xff\xff") is None
    assert decoder.error is None
    with pytest.raises(ff.FrameTooLarge):
        decoder.pop()


def test_pop_finds_the_fault_only_where_it_comes_to_it(engine: Any) -> None:
    decoder = engine.Decoder(ff.LengthField(2, max_size=9))
    decoder.push(WIRE + b"\xff\xff")
    assert [decoder.pop() for _ in range(3)] == FRAMES
    assert decoder.error is None
    with pytest.raises(ff.FrameTooLarge) as caught:
        decoder.pop()
    assert caught.value.offset == len(WIRE)


def test_feed_takes_what_was_pushed_first(engine: Any) -> None:
    for cut in range(len(WIRE) + 1):
        decoder = engine.Decoder(FRAMING)
        decoder.push(WIRE[:cut])
        assert decoder.feed(WIRE[cut:]) == FRAMES
        decoder.push(WIRE[:cut])
        assert list(decoder.feed_batch(WIRE[cut:])) == FRAMES


def test_feed_of_nothing_delivers_what_was_pushed(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    decoder.push(WIRE)
    assert decoder.feed(b"") == FRAMES
    decoder.push(WIRE)
    assert decoder.feed_eof() == FRAMES


# --- needed, buffered, stats, unread ---------------------------------------------------------------------------------


def test_needed_counts_to_the_end_of_the_header_then_of_the_frame(engine: Any) -> None:
    decoder = engine.Decoder(ff.LengthField(2, header_size=4))
    seen = [decoder.needed]
    for byte in b"\0\2abxy":
        decoder.feed(bytes([byte]))
        seen.append(decoder.needed)
    assert seen == [4, 3, 2, 1, 2, 1, 4]


def test_needed_is_one_where_nobody_knows(engine: Any) -> None:
    for framing, start in [
        (ff.Delimiter(b"\r\n"), b"ab"),
        (ff.VarintLength(), b"\x80"),
        (ff.Netstring(), b"12"),
        (ff.UntilEOF(), b"abc"),
        (ff.ContentLength(), b"Content-"),
    ]:
        decoder = engine.Decoder(framing)
        assert decoder.needed == 1
        decoder.feed(start)
        assert decoder.needed == 1


def test_needed_grows_by_an_escape(engine: Any) -> None:
    decoder = engine.Decoder(ff.LengthField(4, signed=True, escape=(-1, 8)))
    decoder.feed(b"\xff\xff\xff\xff")
    assert decoder.needed == 8
    decoder.feed(bytes(7) + b"\5")
    assert decoder.needed == 5


def test_needed_is_zero_when_a_frame_waits(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    decoder.push(WIRE)
    assert decoder.needed == 0
    for _ in range(2):
        decoder.pop()
        assert decoder.needed == 0
    decoder.pop()
    assert decoder.needed == 2


def test_needed_sees_a_fault_but_does_not_remember_it(engine: Any) -> None:
    decoder = engine.Decoder(ff.LengthField(2, max_size=1))
    decoder.push(b"\0\2")
    assert decoder.needed == 0
    assert decoder.error is None
    decoder.framing = FRAMING
    assert decoder.needed == 2


@given(data=st.data())
def test_needed_bytes_at_a_time_never_reach_into_the_next_frame(engine: Any, data: st.DataObject) -> None:
    framing = data.draw(framings())
    stream = data.draw(streams(framing))
    wanted = read(framing, stream, eof=False)
    decoder = engine.Decoder(framing)
    frames: list[bytes] = []
    at = 0
    while decoder.needed and at < len(stream):
        needed = decoder.needed
        try:
            got = decoder.feed(stream[at : at + needed])
        except ff.FrameError:
            break
        at += needed
        assert len(got) <= 1
        assert not got or not decoder.buffered
        frames += got
    assert frames == wanted.frames


@given(case=cases())
def test_buffered_and_stats_add_up(engine: Any, case: Any) -> None:
    framing, chunks = case
    decoder = engine.Decoder(framing)
    fed = count = 0
    for chunk in chunks:
        try:
            count += len(decoder.feed(chunk))
        except ff.FrameError:
            break
        fed += len(chunk)
        assert decoder.stats.frames == count
        assert decoder.stats.errors == (decoder.error is not None)
        assert decoder.stats.bytes + decoder.buffered == fed
    else:
        assert len(decoder.unread()) == fed - decoder.stats.bytes if decoder.error is None else True


def test_stats_is_a_named_tuple_and_no_live_view(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    before = decoder.stats
    decoder.feed(WIRE)
    assert type(before) is ff.Stats
    assert before == (0, 0, 0)
    assert decoder.stats == ff.Stats(frames=3, bytes=13, errors=0)


@pytest.mark.parametrize("cut", range(8))
def test_unread_gives_the_bytes_back(engine: Any, cut: int) -> None:
    decoder = engine.Decoder(FRAMING)
    decoder.feed(WIRE[:cut])
    whole = WIRE[:cut] if cut < 7 else b""
    assert decoder.buffered == len(whole)
    rest = decoder.unread()
    assert (rest, type(rest)) == (whole, bytes)
    assert (decoder.buffered, decoder.needed, decoder.unread()) == (0, 2, b"")
    assert decoder.feed(WIRE) == FRAMES


def test_unread_takes_pushed_frames_too(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    decoder.push(WIRE)
    decoder.pop()
    assert decoder.unread() == WIRE[7:]
    assert decoder.pop() is None


def test_offset_counts_what_was_unread(engine: Any) -> None:
    decoder = engine.Decoder(ff.LengthField(2, max_size=9))
    decoder.feed(WIRE + b"\0")
    assert decoder.unread() == b"\0"
    with pytest.raises(ff.FrameTooLarge) as caught:
        decoder.feed(b"\xff\xff")
    assert caught.value.offset == len(WIRE) + 1


# --- framing ---------------------------------------------------------------------------------------------------------


def test_framing_can_be_assigned(engine: Any) -> None:
    decoder = engine.Decoder(framing=FRAMING)
    assert decoder.framing is FRAMING
    lines = ff.Delimiter(b"\n")
    decoder.framing = lines
    assert decoder.framing is lines
    assert decoder.feed(b"a\nb\n") == [b"a", b"b"]


@given(data=st.data())
def test_assigning_framing_parses_anew_from_the_last_frame(engine: Any, data: st.DataObject) -> None:
    first, second = data.draw(framings()), data.draw(framings())
    stream = data.draw(streams(first)) + data.draw(streams(second))
    cut = data.draw(st.integers(0, len(stream)))
    decoder = engine.Decoder(first)
    try:
        decoder.feed(stream[:cut])
    except ff.FrameError:
        return
    start = decoder.stats.bytes
    decoder.framing = second
    assert decoder.buffered == cut - start
    got = outcome(decoder, [stream[cut:]])
    wanted = read(second, stream[start:])
    assert got.frames == wanted.frames
    if wanted.error:
        assert got.error == wanted.error._replace(offset=wanted.error.offset + start)


def test_limit_lowered_and_raised_while_bytes_are_held(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    decoder.feed(WIRE[:4])
    decoder.framing = FRAMING.replace(max_size=1)
    assert decoder.needed == 0
    decoder.framing = FRAMING
    assert decoder.feed(WIRE[4:]) == FRAMES
    decoder.feed(WIRE[:4])
    decoder.framing = FRAMING.replace(max_size=4)
    with pytest.raises(ff.FrameTooLarge, match="frame of 5 bytes, limit 4"):
        decoder.feed(b"")


def test_framing_after_each_popped_frame(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    decoder.push(b"\0\1a" + b"line\n" + b"3:net," + b"rest")
    assert decoder.pop() == b"a"
    decoder.framing = ff.Delimiter(b"\n")
    assert decoder.pop() == b"line"
    decoder.framing = ff.Netstring()
    assert decoder.pop() == b"net"
    assert decoder.unread() == b"rest"


@pytest.mark.parametrize("wrong", [None, 4, b"\n", "LengthField", ff.LengthField, object()])
def test_framing_must_be_a_framing(engine: Any, wrong: Any) -> None:
    with pytest.raises(TypeError):
        engine.Decoder(wrong)
    decoder = engine.Decoder(FRAMING)
    decoder.feed(WIRE[:3])
    with pytest.raises(TypeError):
        decoder.framing = wrong
    assert decoder.framing is FRAMING
    assert decoder.feed(WIRE[3:]) == FRAMES


def test_framing_cannot_be_deleted(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    with pytest.raises((AttributeError, TypeError)):
        del decoder.framing
    assert decoder.feed(WIRE) == FRAMES


@pytest.mark.parametrize("name", ["needed", "buffered", "error", "stats"])
def test_other_attributes_are_read_only(engine: Any, name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(engine.Decoder(FRAMING), name, 1)


# --- Life ------------------------------------------------------------------------------------------------------------


def test_copy_and_pickle_are_refused(engine: Any) -> None:
    for thing in (engine.Decoder(FRAMING), engine.Decoder(FRAMING).feed_batch(WIRE)):
        for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError):
                attempt(thing)


METHODS = [
    ("feed", b"x"), ("feed_batch", b"x"), ("push", b"x"), ("pop",), ("feed_eof",), ("get_buffer",), ("buffer_updated", 0),
    ("unread",),
]  # fmt: skip


@pytest.mark.parametrize("call", METHODS, ids=lambda call: call[0])
def test_use_without_init_is_a_clean_error(engine: Any, call: Any) -> None:
    raw = engine.Decoder.__new__(engine.Decoder)
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        getattr(raw, call[0])(*call[1:])
    for name in ("framing", "needed", "buffered", "error", "stats"):
        try:
            getattr(raw, name)
        except (TypeError, ValueError, RuntimeError, AttributeError):
            pass
    raw.__init__(FRAMING)
    assert raw.feed(WIRE) == FRAMES


def test_second_init_is_refused_and_changes_nothing(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    decoder.feed(WIRE[:3])
    with pytest.raises(TypeError):
        decoder.__init__(ff.Delimiter(b"\n"))
    assert decoder.framing is FRAMING
    assert decoder.feed(WIRE[3:]) == FRAMES


def test_init_that_failed_can_be_repeated(engine: Any) -> None:
    raw = engine.Decoder.__new__(engine.Decoder)
    with pytest.raises(TypeError):
        raw.__init__(None)
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        raw.feed(b"")


@pytest.mark.parametrize("args", [(), (FRAMING, 1), ("framing",)])
def test_constructor_takes_one_framing(engine: Any, args: Any) -> None:
    with pytest.raises(TypeError):
        engine.Decoder(*args)
    with pytest.raises(TypeError):
        engine.Decoder(FRAMING, limit=3)


def test_decoders_do_not_share_anything(engine: Any) -> None:
    decoders = [engine.Decoder(FRAMING) for _ in range(50)]
    for i in range(7):
        for decoder in decoders:
            assert decoder.feed(WIRE[i : i + 1]) == ([b"hello"] if i == 6 else [])
