"""`unread(size)`: the first bytes held are taken back whatever the framing says, and the rest is parsed from there on."""

import socket
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastframe as ff


@given(st.data())
def test_any_cuts_give_the_same_bytes(engine: ModuleType, draw: st.DataObject) -> None:
    decoder = engine.Decoder(ff.FixedSize(3))
    stream, got, held = b"", b"", 0
    for _ in range(draw.draw(st.integers(1, 12))):
        piece = draw.draw(st.binary(max_size=20) | st.builds(bytes, st.sampled_from([5000, 100_000])))
        stream += piece
        decoder.push(piece)
        held += len(piece)
        size = draw.draw(st.integers(0, held))
        got += decoder.unread(size)
        held -= size
        assert decoder.buffered == held
        if draw.draw(st.booleans()) and (frame := decoder.pop()) is not None:
            got += frame
            held -= 3
    assert got + decoder.unread() == stream


def test_frames_begin_behind_it(engine: ModuleType) -> None:
    framing = ff.LengthField(4)
    decoder = engine.Decoder(framing)
    decoder.push(framing.encode(b"one") + b"raw" + framing.encode(b"two") + b"\xff" * 4)
    assert decoder.pop() == b"one"
    assert decoder.unread(3) == b"raw"
    assert decoder.pop() == b"two"
    with pytest.raises(ff.FrameTooLarge) as caught:
        decoder.pop()
    assert caught.value.offset == 7 + 3 + 7


def test_a_begun_frame_is_bytes_again(engine: ModuleType) -> None:
    framing = ff.LengthField(4)
    frame = framing.encode(bytes(200_000))
    decoder = engine.Decoder(framing)
    assert decoder.feed(frame[:150_000]) == []
    assert decoder.unread(4) == frame[:4]
    assert decoder.unread() == frame[4:150_000]


def test_an_error_that_was_not_raised_is_withdrawn(engine: ModuleType) -> None:
    framing = ff.LengthField(4)
    decoder = engine.Decoder(framing)
    assert decoder.feed(framing.encode(b"good") + b"\xff\xff\xff\xff" + framing.encode(b"more")) == [b"good"]
    assert decoder.error is not None
    assert decoder.unread(4) == b"\xff" * 4
    assert decoder.error is None
    assert decoder.pop() == b"more"


@pytest.mark.parametrize("size", [-1, 4, 2**40])
def test_more_than_is_held_is_a_value_error_and_takes_nothing(engine: ModuleType, size: int) -> None:
    decoder = engine.Decoder(ff.FixedSize(2))
    decoder.push(b"abc")
    with pytest.raises(ValueError, match="3"):
        decoder.unread(size)
    assert decoder.unread(3) == b"abc"


def test_a_size_is_an_int(engine: ModuleType) -> None:
    with pytest.raises(TypeError):
        engine.Decoder(ff.FixedSize(2)).unread(1.0)


def test_a_reader_does_it_too(engine: ModuleType) -> None:
    a, b = socket.socketpair()
    with a, b:
        reader = engine.FrameReader(a, ff.LengthField(4))
        b.sendall(ff.LengthField(4).encode(b"one") + b"raw" + ff.LengthField(4).encode(b"two"))
        assert reader.read_one() == b"one"
        assert reader.unread(3) == b"raw"
        assert reader.read_one() == b"two"
