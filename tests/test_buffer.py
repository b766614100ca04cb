"""Decoder.get_buffer and buffer_updated: receive straight into the decoder, and no way to misuse it."""

import gc
from typing import Any

import pytest

import fastframe as ff

FRAMING = ff.LengthField(2)
WIRE = b"\0\5hello\0\0\0\2hi"
FRAMES = [b"hello", b"", b"hi"]


def put(decoder: Any, data: bytes) -> list[bytes]:
    with decoder.get_buffer() as view:
        view[: len(data)] = data
    return decoder.buffer_updated(len(data))


def test_frames_come_as_from_feed(engine: Any) -> None:
    for cut in range(len(WIRE) + 1):
        decoder = engine.Decoder(FRAMING)
        assert put(decoder, WIRE[:cut]) + put(decoder, WIRE[cut:]) == FRAMES
        assert decoder.stats == (3, 13, 0)


@pytest.mark.parametrize("hint", [-1, 0, 1, 100, 65536, 10_000_000, -5, 1 << 40])
def test_buffer_is_writable_bytes_whatever_the_hint(engine: Any, hint: int) -> None:
    view = engine.Decoder(FRAMING).get_buffer(hint)
    assert type(view) is memoryview
    assert (view.readonly, view.format, view.ndim, view.contiguous) == (False, "B", 1, True)
    assert 1 <= len(view) <= 1 << 20


def test_hint_is_optional_and_an_int(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    assert len(decoder.get_buffer()) >= 4096
    for wrong in ("1", None, 1.5, b""):
        with pytest.raises(TypeError):
            decoder.get_buffer(wrong)


def test_buffer_behind_pushed_and_fed_bytes(engine: Any) -> None:
    for cut in range(len(WIRE)):
        decoder = engine.Decoder(FRAMING)
        frames = decoder.feed(WIRE[:cut])
        assert frames + put(decoder, WIRE[cut:]) == FRAMES
        decoder.push(WIRE[:cut])
        assert put(decoder, WIRE[cut:]) == FRAMES


def test_nothing_written_is_nothing_fed(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    decoder.get_buffer()
    assert decoder.buffer_updated(0) == []
    assert (decoder.buffered, decoder.stats) == (0, (0, 0, 0))


def test_zero_updates_deliver_what_was_pushed(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    decoder.push(WIRE)
    assert decoder.buffer_updated(0) == FRAMES


@pytest.mark.parametrize("excess", [1, 100, 1 << 40, 1 << 70])
def test_more_than_handed_out_is_a_value_error_and_the_buffer_stays(engine: Any, excess: int) -> None:
    decoder = engine.Decoder(FRAMING)
    view = decoder.get_buffer()
    with pytest.raises((ValueError, OverflowError)):
        decoder.buffer_updated(len(view) + excess)
    with pytest.raises(ValueError):
        decoder.buffer_updated(-1)
    view[:4] = b"\0\2hi"
    assert decoder.buffer_updated(4) == [b"hi"]


def test_update_of_another_type_is_a_type_error(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    view = decoder.get_buffer()
    for wrong in ("1", None, 1.5):
        with pytest.raises(TypeError):
            decoder.buffer_updated(wrong)
    view[:4] = b"\0\2hi"
    assert decoder.buffer_updated(4) == [b"hi"]


def test_update_without_a_buffer_is_a_value_error(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    with pytest.raises(ValueError):
        decoder.buffer_updated(1)
    put(decoder, b"\0")
    with pytest.raises(ValueError):
        decoder.buffer_updated(1)
    assert decoder.buffered == 1


AFTER: dict[str, Any] = {
    "feed": lambda d: d.feed(b""),
    "feed_batch": lambda d: d.feed_batch(b""),
    "push": lambda d: d.push(b""),
    "pop": lambda d: d.pop(),
    "unread": lambda d: d.unread(),
    "feed_eof": lambda d: d.feed_eof(),
    "buffer_updated": lambda d: d.buffer_updated(3),
    "get_buffer": lambda d: d.get_buffer(),
}


@pytest.mark.parametrize("call", AFTER)
def test_buffer_is_released_by_the_next_call(engine: Any, call: str) -> None:
    decoder = engine.Decoder(FRAMING)
    view = decoder.get_buffer()
    view[:3] = b"\0\1x"
    AFTER[call](decoder)
    with pytest.raises(ValueError, match="released"):
        view[0] = 1
    with pytest.raises(ValueError, match="released"):
        bytes(view)


@pytest.mark.parametrize("call", [name for name in AFTER if name not in ("buffer_updated", "get_buffer")])
def test_update_after_another_call_is_a_value_error(engine: Any, call: str) -> None:
    decoder = engine.Decoder(FRAMING)
    decoder.get_buffer()
    AFTER[call](decoder)
    with pytest.raises(ValueError):
        decoder.buffer_updated(1)


@pytest.mark.parametrize("call", AFTER)
@pytest.mark.parametrize("held", ["view", "slice"])
def test_stale_views_reach_nothing(engine: Any, call: str, held: str) -> None:
    decoder = engine.Decoder(FRAMING)
    view = decoder.get_buffer()
    stale = view[:] if held == "slice" else memoryview(view)
    view[:9] = b"\0\1x\0\2hi\0\7"
    frames = AFTER[call](decoder)
    batch = decoder.feed_batch(b"\0\2ok" * 3) if call not in ("feed_eof", "buffer_updated") else None
    stale[:] = b"\xff" * len(stale)
    if call == "buffer_updated":
        assert frames == [b"x"]
        assert decoder.unread() == b""
    if batch is not None:
        assert list(batch) == [b"ok"] * 3
    stale[:] = b"\xee" * len(stale)
    if call != "feed_eof":
        assert decoder.feed(b"\0\3abc") == [b"abc"]


def test_stale_slice_does_not_reach_undelivered_bytes(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    view = decoder.get_buffer()
    stale = view[:20]
    view[:7] = b"\0\2hi\0\5h"
    assert decoder.buffer_updated(7) == [b"hi"]
    stale[:] = b"\xff" * 20
    assert decoder.feed(b"ello") == [b"hello"]


def test_stale_slice_does_not_reach_the_buffers_of_others(engine: Any) -> None:
    stale = []
    for _ in range(30):
        decoder = engine.Decoder(FRAMING)
        view = decoder.get_buffer()
        stale.append(view[:64])
        decoder.unread()
    del decoder, view
    gc.collect()
    other = engine.Decoder(FRAMING)
    fresh = other.get_buffer()
    fresh[:4] = b"\0\2hi"
    for view in stale:
        view[:] = b"\xff" * 64
    assert other.buffer_updated(4) == [b"hi"]


def test_released_slices_are_fine(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    for _ in range(100):
        view = decoder.get_buffer()
        part = view[: len(WIRE)]
        part[:] = WIRE
        part.release()
        view.release()
        assert decoder.buffer_updated(len(WIRE)) == FRAMES


def test_buffer_outlives_its_decoder(engine: Any) -> None:
    view = engine.Decoder(FRAMING).get_buffer()
    gc.collect()
    try:
        view[:4] = b"abcd"
    except ValueError:
        return
    assert bytes(view[:4]) == b"abcd"


def test_delivered_frames_are_never_written_over(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    kept = []
    for i in range(200):
        kept.append(put(decoder, FRAMING.encode(bytes([i % 256]) * 50))[0])
        decoder.get_buffer()[:] = bytes(len(decoder.get_buffer()))
    assert kept == [bytes([i % 256]) * 50 for i in range(200)]


def test_large_frame_is_received_in_large_pieces(engine: Any) -> None:
    framing = ff.LengthField(4)
    payload = bytes(range(256)) * 16384
    wire = framing.encode(payload) + framing.encode(b"next")
    decoder = engine.Decoder(framing)
    at = calls = 0
    frames: list[bytes] = []
    while at < len(wire):
        view = decoder.get_buffer()
        count = min(len(view), len(wire) - at)
        view[:count] = wire[at : at + count]
        frames += decoder.buffer_updated(count)
        at += count
        calls += 1
    assert frames == [payload, b"next"]
    assert calls < 80


def test_pending_fault_of_an_update(engine: Any) -> None:
    decoder = engine.Decoder(ff.LengthField(1, max_size=3))
    assert put(decoder, b"\1a\xff") == [b"a"]
    with pytest.raises(ff.FrameTooLarge):
        decoder.get_buffer()
    with pytest.raises(ff.FrameTooLarge):
        decoder.buffer_updated(0)


def test_plain_getters_keep_the_buffer(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    view = decoder.get_buffer()
    assert (decoder.buffered, decoder.error, decoder.stats, decoder.needed) == (0, None, (0, 0, 0), 2)
    view[:4] = b"\0\2hi"
    assert decoder.buffer_updated(4) == [b"hi"]
