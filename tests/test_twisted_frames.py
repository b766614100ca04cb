"""What a Twisted receiver holds: frames parsed and not delivered, and the bytes behind them."""

from types import ModuleType

import pytest

import fastframe as ff
import fastframe._twisted_frames
from fastframe._twisted_frames import Undelivered

FRAMING = ff.LengthField(2)


@pytest.fixture(autouse=True)
def on_engine(engine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastframe._twisted_frames, "Decoder", engine.Decoder)


def wire(*payloads: bytes) -> bytes:
    return FRAMING.encode_many(payloads)


def test_frames_are_those_that_are_left_then_those_that_come() -> None:
    held = Undelivered(FRAMING)
    frames = held.frames(wire(b"a", b"b", b"c") + b"\0")
    assert next(frames) == b"a"
    assert list(held.frames(b"\1d")) == [b"b", b"c"]
    assert held.added
    held.finish()
    assert list(held.frames(b"")) == [b"d"]


def test_unread_gives_all_and_takes_nothing() -> None:
    held = Undelivered(FRAMING, b"\0")
    frames = held.frames(b"\1a" + wire(b"b", b"c") + b"\0\5x")
    next(frames)
    for _ in range(2):
        assert held.unread() == wire(b"b", b"c") + b"\0\5x"
    assert list(frames) == [b"b", b"c"]
    assert held.unread() == b"\0\5x"
    held.finish()
    assert held.unread() == b"\0\5x"
    assert list(held.frames(b"1234")) == [b"x1234"]


def test_a_frame_that_is_put_back_comes_again() -> None:
    held = Undelivered(FRAMING)
    frames = held.frames(wire(b"a", b"b", b"c"))
    for frame in (b"a", b"b", b"c"):
        assert next(frames) == frame
        for _ in range(2):
            held.put_back()
            frames = held.frames(b"")
            assert next(frames) == frame
    assert list(frames) == []


@pytest.mark.parametrize("taken", range(1, 10))
def test_stopping_loses_no_frame_and_lets_go_of_those_delivered(taken: int) -> None:
    payloads = [b"%d" % i * 10 for i in range(10)]
    held = Undelivered(FRAMING)
    frames = held.frames(wire(*payloads))
    for _ in range(taken):
        next(frames)
    held.stop()
    assert len(held._batch) < 2 * (10 - taken) or taken < 5
    assert list(held.frames(wire(b"more"))) == payloads[taken:]
    held.finish()
    assert list(held.frames(b"")) == [b"more"]


def test_who_iterates_over_dropped_frames_finds_no_more() -> None:
    held = Undelivered(FRAMING)
    frames = held.frames(wire(b"a", b"b", b"c"))
    assert next(frames) == b"a"
    other = held.replaced(ff.LengthField(1), b"\1x\2")
    assert list(frames) == []
    assert list(other.frames(b"yz")) == [b"x", b"yz"]


@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("cut", range(11))
def test_a_wrong_length_keeps_its_bytes(cut: int, added: bool) -> None:
    data = b"\0\2ok\0\1.\0\x09bad"
    held, frames = Undelivered(ff.LengthField(2, max_size=8)), []
    for piece in (data[:cut], data[cut:]):
        if added:
            held.add(piece)
        frames += held.frames(b"" if added else piece)
        held.finish()
    frames += held.frames(b"")
    assert frames == [b"ok", b"."]
    assert isinstance(held.fault, ff.FrameTooLarge)
    assert held.fault.size == 9
    assert held.unread() == b"\0\x09bad"
    assert list(held.frames(b"more")) == []
    assert held.unread() == b"\0\x09badmore"


def test_buffered_counts_the_bytes_behind_the_frames() -> None:
    held = Undelivered(FRAMING)
    for data, buffered, most in [(b"\0", 1, 1), (b"\4a", 3, 3), (b"bcd", 0, 6), (b"\0\1x\0\0\0", 1, 6)]:
        longest = max(map(len, held.frames(data)), default=0)
        held.finish()
        assert held.buffered == buffered
        assert longest <= held.most == most
