"""What a decoder takes: buffers of every shape, none of them held, and nothing else."""

import array
import mmap
from typing import Any

import pytest

import fastframe as ff

FRAMING = ff.LengthField(2)
WIRE = b"\0\5hello\0\0\0\2hi"
FRAMES = [b"hello", b"", b"hi"]


@pytest.mark.parametrize("method", ["feed", "feed_batch", "push"])
def test_any_buffer_is_taken(engine: Any, method: str) -> None:
    padded = WIRE + b"\0"  # 14 bytes: an odd frame follows
    with mmap.mmap(-1, len(padded)) as mapped:
        mapped[:] = padded
        twice = bytes(byte for byte in padded for _ in range(2))
        inputs = [
            padded,
            bytearray(padded),
            memoryview(padded),
            memoryview(bytearray(padded)),
            array.array("H", padded),
            memoryview(padded).cast("B", (2, 7)),
            memoryview(array.array("H", padded)),
            memoryview(twice)[::2],
            memoryview(padded[::-1])[::-1],
            mapped,
            (type("Sub", (bytes,), {}))(padded),
        ]
        for given_data in inputs:
            decoder = engine.Decoder(FRAMING)
            got = getattr(decoder, method)(given_data)
            if method == "push":
                got = [decoder.pop() for _ in range(3)]
            assert list(got) == FRAMES
            assert decoder.unread() == b"\0"


@pytest.mark.parametrize("method", ["feed", "feed_batch", "push"])
@pytest.mark.parametrize("wrong", ["text", None, 3, 3.5, [1, 2], object()], ids=repr)
def test_what_is_no_buffer_is_a_type_error(engine: Any, method: str, wrong: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    decoder.feed(WIRE[:3])
    with pytest.raises(TypeError):
        getattr(decoder, method)(wrong)
    assert decoder.buffered == 3
    assert decoder.feed(WIRE[3:]) == FRAMES


def test_released_view_changes_nothing(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    decoder.feed(WIRE[:3])
    view = memoryview(b"abc")
    view.release()
    with pytest.raises(ValueError):
        decoder.feed(view)
    assert decoder.feed(WIRE[3:]) == FRAMES


@pytest.mark.parametrize("method", ["feed", "feed_batch", "push"])
def test_input_may_change_and_shrink_after_the_call(engine: Any, method: str) -> None:
    for cut in range(len(WIRE)):
        decoder = engine.Decoder(FRAMING)
        data = bytearray(WIRE[:cut])
        kept = getattr(decoder, method)(data)
        data[:] = b"\xff" * cut
        data.clear()  # a BufferError, if it were still held
        frames = [] if kept is None else list(kept)
        assert frames + decoder.feed(WIRE[cut:]) == FRAMES


def test_empty_input_is_nothing(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    assert decoder.feed(b"") == []
    assert len(decoder.feed_batch(b"")) == 0
    assert decoder.push(b"") is None
    assert decoder.pop() is None
    assert (decoder.buffered, decoder.needed, decoder.stats) == (0, 2, (0, 0, 0))
