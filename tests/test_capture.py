"""The frames of a recorded stream: all of them, where they begin, and what is known when it breaks off."""

import importlib
import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastframe as ff
from fastframe.cli.capture import Capture
from fastframe.cli.formats import Frame, as_json
from model import fault
from support import cases, outcome

FRAMING = ff.LengthField(2)
module = importlib.import_module("fastframe.cli.capture")


@pytest.fixture(autouse=True)
def on_engine(engine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Decoder", engine.Decoder)


def all_of(texts: Iterator[str]) -> tuple[list[str], ff.FrameError | None]:
    """All texts, and the error behind them."""
    got: list[str] = []
    while True:
        try:
            got.append(next(texts))
        except StopIteration:
            return got, None
        except ff.FrameError as error:
            return got, error


def taken(pieces: list[bytes], framing: Any, count: int | None = None) -> tuple[list[Frame], Any]:
    """The frames that `shown` shows, and the error."""
    frames: list[Frame] = []
    capture = Capture(pieces, framing, count)
    got, error = all_of(capture.shown(lambda frame: frames.append(frame) or f"{frame.number}\n"))
    assert "".join(got) == "".join(f"{frame.number}\n" for frame in frames)
    assert capture.frames == len(frames)
    assert capture.sizes == Counter(len(frame.payload) for frame in frames)
    return frames, error and fault(error)


@given(cases())
def test_both_ways_agree_with_the_decoder(case: tuple[Any, list[bytes]]) -> None:
    framing, pieces = case
    expected = outcome(module.Decoder(framing), pieces)
    frames, error = taken(pieces, framing)
    assert [frame.payload for frame in frames] == expected.frames
    assert [frame.number for frame in frames] == [*range(1, len(frames) + 1)]
    assert error == expected.error

    capture = Capture(pieces, framing)
    got, caught = all_of(capture.lengths())
    assert "".join(got) == "".join(f"{len(frame)}\n" for frame in expected.frames)
    assert (caught and fault(caught)) == expected.error
    assert capture.frames == len(expected.frames)
    assert capture.sizes == Counter(map(len, expected.frames))


@given(cases())
def test_each_frame_begins_at_its_offset(case: tuple[Any, list[bytes]]) -> None:
    framing, pieces = case
    stream = b"".join(pieces)
    frames, _ = taken(pieces, framing)
    for frame in frames:
        decoder = module.Decoder(framing)
        decoder.push(stream[frame.offset :])
        first = decoder.pop()
        assert frame.payload == (first if first is not None else decoder.feed_eof()[0])
    assert [frame.offset for frame in frames] == sorted(frame.offset for frame in frames)


@given(cases(), st.integers(1, 4))
def test_no_more_than_the_count_is_taken(case: tuple[Any, list[bytes]], count: int) -> None:
    framing, pieces = case
    everything, _ = taken(pieces, framing)
    frames, error = taken(pieces, framing, count)
    assert frames == everything[:count]
    if len(everything) >= count:
        assert error is None

    capture = Capture(pieces, framing, count)
    got, caught = all_of(capture.lengths())
    assert "".join(got) == "".join(f"{len(frame.payload)}\n" for frame in frames)
    assert (caught and fault(caught)) == error
    assert capture.frames == len(frames)


@pytest.mark.parametrize("way", [lambda capture: capture.shown(str), Capture.lengths])
def test_the_rest_is_not_asked_for_when_the_count_is_reached(way: Any) -> None:
    def pieces() -> Iterator[bytes]:
        yield FRAMING.encode_many([b"a", b"b"])
        yield FRAMING.encode_many([b"c", b"d"]) + b"\xff"
        raise AssertionError("read too far")

    got, error = all_of(way(Capture(pieces(), FRAMING, 3)))
    assert len("".join(got)) > 3
    assert error is None


@pytest.mark.parametrize("way", [lambda capture: capture.shown(str), Capture.lengths])
def test_nothing_is_asked_for_behind_a_fault(way: Any) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"\1a\1b\3"
        raise AssertionError("read too far")

    capture = Capture(pieces(), ff.LengthField(1, max_size=2))
    got, error = all_of(way(capture))
    assert isinstance(error, ff.FrameTooLarge)
    assert capture.frames == 2
    assert "".join(got)
    assert capture.around() == (0, b"\1a\1b\3")


@pytest.mark.parametrize("way", [lambda capture: capture.shown(str), Capture.lengths])
def test_what_the_pieces_raise_comes_behind_the_frames(way: Any) -> None:
    def pieces() -> Iterator[bytes]:
        yield FRAMING.encode(b"a")
        raise OSError("unplugged")

    texts = way(Capture(pieces(), FRAMING))
    assert next(texts)
    with pytest.raises(OSError, match="unplugged"):
        next(texts)


def test_a_text_for_each_piece_as_soon_as_it_is_there() -> None:
    seen: list[str] = []

    def pieces() -> Iterator[bytes]:
        for number in range(3):
            assert len(seen) == number
            yield FRAMING.encode(b"%d" % number)

    texts = Capture(pieces(), FRAMING).shown(lambda frame: frame.payload.decode())
    while (text := next(texts, None)) is not None:
        seen.append(text)
    assert seen == ["0", "1", "2", ""]


@given(cases())
def test_json_lines_hold_the_whole_stream(case: tuple[Any, list[bytes]]) -> None:
    framing, pieces = case
    got, _ = all_of(Capture(pieces, framing).shown(as_json))
    lines = [json.loads(line) for line in "".join(got).splitlines()]
    payloads = [line["payload"].encode() if "payload" in line else bytes.fromhex(line["payload_hex"]) for line in lines]
    assert payloads == outcome(module.Decoder(framing), pieces).frames


@given(cases())
def test_what_is_around_is_the_stream(case: tuple[Any, list[bytes]]) -> None:
    framing, pieces = case
    capture = Capture(pieces, framing)
    all_of(capture.lengths())
    start, data = capture.around()
    assert b"".join(pieces)[start : start + len(data)] == data


def test_the_last_bytes_before_the_piece_are_around_it() -> None:
    stream = FRAMING.encode(bytes(range(256)) * 4) + b"\0\1"
    capture = Capture([stream[i : i + 1] for i in range(len(stream))], FRAMING)
    _, error = all_of(capture.lengths())
    assert isinstance(error, ff.TruncatedFrame)
    start, data = capture.around()
    assert data == stream[-257:]
    assert start == len(stream) - 257


@pytest.mark.parametrize("way", [lambda capture: capture.shown(lambda frame: "x"), Capture.lengths])
def test_memory_does_not_follow_the_stream(way: Any) -> None:
    piece = FRAMING.encode(bytes(1000)) * 200

    def peak(count: int) -> int:
        tracemalloc.start()
        for _ in way(Capture((piece for _ in range(count)), FRAMING)):
            pass
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    assert peak(60) < peak(4) + 100_000


@pytest.mark.parametrize(
    ("payloads", "told"),
    [
        ([], "frames: 0"),
        ([b""], "frames: 1, payload bytes: 0, smallest: 0, median: 0, largest: 0"),
        ([b"abc", b"a"], "frames: 2, payload bytes: 4, smallest: 1, median: 1, largest: 3"),
        ([b"a" * 9, b"a", b"aa"], "frames: 3, payload bytes: 12, smallest: 1, median: 2, largest: 9"),
        (
            [b"a", b"aa", b"aa", b"aaa", b"aaa", b"aaa"],
            "frames: 6, payload bytes: 14, smallest: 1, median: 2, largest: 3",
        ),
    ],
)
def test_summary(payloads: list[bytes], told: str) -> None:
    capture = Capture([FRAMING.encode_many(payloads)], FRAMING)
    all_of(capture.shown(str))
    assert capture.summary() == told
