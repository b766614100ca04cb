"""Where and why a stream breaks off: the right bytes are marked, for every error, however the stream came."""

import importlib
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given

import fastframe as ff
from fastframe.cli.capture import Capture
from fastframe.cli.diagnosis import diagnosis
from support import cases

module = importlib.import_module("fastframe.cli.diagnosis")
capturing = importlib.import_module("fastframe.cli.capture")


@pytest.fixture(autouse=True)
def on_engine(engine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Decoder", engine.Decoder)
    monkeypatch.setattr(capturing, "Decoder", engine.Decoder)


def told(framing: Any, pieces: list[bytes]) -> tuple[list[str], Any]:
    """The diagnosis of a stream, and the error; none if there is none."""
    capture = Capture(pieces, framing)
    try:
        for _ in capture.lengths():
            pass
    except (ff.InvalidFrame, ff.TruncatedFrame) as error:
        return [*diagnosis(error, framing, capture.frames + 1, capture.around())], error
    return [], None


def marked(lines: list[str], mark: str = "^^") -> dict[int, int]:
    """The bytes with a mark under them, by their offset in the stream."""
    found = {}
    for above, below in pairwise(lines):
        if not below.strip() or set(below) - set("^- "):
            continue
        at, start = int(above.split()[0], 16), above.index("  ") + 2
        for place in range(16):
            column = start + 3 * place + (place > 7)
            if below[column : column + 2] == mark:
                found[at + place] = int(above[column : column + 2], 16)
    return found


def places(lines: list[str], mark: str = "^^") -> list[int]:
    return [*marked(lines, mark)]


LARGE = b"\0\0\0\5hello" * 3

SCENES = {
    "a length that is too large": (
        ff.LengthField(4, max_size=1000),
        LARGE + b"\0\0\x10\0abcdef",
        [
            "FrameTooLarge: frame of 4096 bytes, limit 1000, at offset 27",
            "frame 4 begins at offset 27 (0x1b)",
            "00000000  00 00 00 05 68 65 6c 6c  6f 00 00 00 05 68 65 6c  |....hello....hel|",
            "00000010  6c 6f 00 00 00 05 68 65  6c 6c 6f 00 00 10 00 61  |lo....hello....a|",
            "                                            ^^ ^^ ^^ ^^",
            "00000020  62 63 64 65 66                                    |bcdef|",
            "^^ the length",
        ],
    ),
    "another protocol": (
        ff.LengthField(4),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        [
            "FrameTooLarge: frame of 1195725856 bytes, limit 16777216, at offset 0: looks like HTTP",
            "frame 1 begins at offset 0 (0x0)",
            "00000000  47 45 54 20 2f 20 48 54  54 50 2f 31 2e 31 0d 0a  |GET / HTTP/1.1..|",
            "          ^^ ^^ ^^ ^^",
            "00000010  48 6f 73 74 3a 20 78 0d  0a 0d 0a                 |Host: x....|",
            "^^ the length",
        ],
    ),
    "a length behind other bytes": (
        ff.preset("amqp091"),
        b"\1\0\0\xff\xff\xff\xff" + bytes(9),
        [
            "FrameTooLarge: frame of 4294967302 bytes, limit 131079, at offset 0",
            "frame 1 begins at offset 0 (0x0)",
            "00000000  01 00 00 ff ff ff ff 00  00 00 00 00 00 00 00 00  |................|",
            "          -- -- -- ^^ ^^ ^^ ^^",
            "^^ the length; -- the frame up to there",
        ],
    ),
    "a trailer that isn't one": (
        ff.Netstring(),
        b"5:hello,5:worldly",
        [
            "BadTrailer: frame ends with 6c instead of 2c, at offset 8",
            "frame 2 begins at offset 8 (0x8)",
            "00000000  35 3a 68 65 6c 6c 6f 2c  35 3a 77 6f 72 6c 64 6c  |5:hello,5:worldl|",
            "                                   -- -- -- -- -- -- -- ^^",
            "00000010  79                                                |y|",
            "^^ what should be the trailer; -- the frame up to there",
        ],
    ),
    "a stream that ends": (
        ff.Delimiter(b"\n"),
        b"one\ntwo",
        [
            "TruncatedFrame: stream ended in the payload of a frame: 3 bytes, at offset 4",
            "frame 2 begins at offset 4 (0x4)",
            "00000000  6f 6e 65 0a 74 77 6f                              |one.two|",
            "                      -- -- ^^",
            "^^ the last byte of the stream; -- the frame up to there",
        ],
    ),
}


@pytest.mark.parametrize(("framing", "stream", "lines"), SCENES.values(), ids=list(SCENES))
def test_scenes(framing: ff.Framing, stream: bytes, lines: list[str]) -> None:
    assert told(framing, [stream])[0] == lines


@pytest.mark.parametrize(
    ("framing", "stream", "fault"),
    [
        # --- magic: the first byte that can't be right ---
        (ff.preset("redis_cluster_bus"), b"RCxx\0\0\0\x09x", [2]),
        (ff.preset("mllp"), b"\x0bok\x1c\rno\x1c\r", [5]),
        # --- lengths ---
        (ff.LengthField(4, signed=True), b"\xff\xff\xff\xfe..", [0, 1, 2, 3]),
        (ff.LengthField(1, offset=2, adjustment=-3), b"\0\0\2...", [2]),
        (ff.VarintLength(2, offset=1), b"a\x81\x80\0", [1, 2]),
        (ff.VarintLength(), b"\x81\0a", [0, 1]),
        (ff.AsciiLength(4), b"0001a00b2..", [5, 6, 7]),
        (ff.Netstring(), b"3:abc,05:hello,", [6, 7]),
        (ff.Netstring(3), b"3:abc,4:abcd,", [6, 7]),
        (ff.ContentLength(), b"Content-Length: 1\r\nX\0", [*range(21)]),
        (ff.preset("git_pktline"), b"0005a0003", [5, 6, 7, 8]),
        (ff.preset("pyro5"), b"PYRX" + bytes(40), [*range(40)]),
        # --- trailers ---
        (ff.preset("rpyc"), b"\0\0\0\2\0ok?", [7]),
        (ff.preset("tuya_6699"), b"\0\0\x66\x99" + bytes(10) + b"\0\0\0\3abc\0\0\0\0", [21, 22, 23, 24]),
        (ff.LengthField(2, signed=True, escape=(-1, 4), trailer=b"!!"), b"\xff\xff\0\0\0\3a!?", [7, 8]),
        # --- no header to speak of ---
        (ff.Delimiter(b"\n", max_size=4), b"abcd\nabcde", [5]),
        (ff.UntilEOF(max_size=4), b"abcde", [0]),
        # --- the end ---
        (ff.LengthField(4), b"\0\0\0", [2]),
        (ff.FixedSize(4), b"abcdabc", [6]),
    ],
    ids=repr,
)
def test_the_bytes_at_fault_are_marked(framing: ff.Framing, stream: bytes, fault: list[int]) -> None:
    for pieces in ([stream], [stream[i : i + 1] for i in range(len(stream))]):
        lines, error = told(framing, pieces)
        assert marked(lines) == {at: stream[at] for at in fault}
        assert lines[1].endswith(f"begins at offset {error.offset} ({error.offset:#x})")


def test_a_frame_larger_than_what_is_kept_shows_both_its_ends() -> None:
    framing = ff.Netstring()
    stream = framing.encode(b"first") + b"5000:" + bytes(5000) + b"!" + b"more"
    lines, _ = told(framing, [stream])
    assert marked(lines) == {len(stream) - 5: ord("!")}
    assert "..." in lines
    assert 8 in places(lines, "--")
    assert len(lines) < 20
    # Piece by piece its beginning has gone, but for the header, which the error holds.
    lines, _ = told(framing, [stream[i : i + 1] for i in range(len(stream))])
    assert marked(lines) == {len(stream) - 5: ord("!")}
    assert [*marked(lines, "--").items()][:5] == [(8, 0x35), (9, 0x30), (10, 0x30), (11, 0x30), (12, 0x3A)]


def test_of_a_long_fault_both_ends_are_shown() -> None:
    stream = b"X-Filler: " + b"x" * 8000 + b"\r\n\x07"
    for pieces in ([stream], [stream[i : i + 1] for i in range(len(stream))]):
        lines, _ = told(ff.ContentLength(), pieces)
        assert {0, 47, len(stream) - 48, len(stream) - 1} <= set(places(lines))
        assert "..." in lines
        assert len(lines) < 30


def test_offsets_beyond_four_gigabytes_stay_in_line() -> None:
    error = ff.BadMagic("bad", b"ab", 1 << 36)
    lines = [*diagnosis(error, ff.LengthField(1, offset=2, magic=b"aa"), 9, ((1 << 36) - 8, b"x" * 8 + b"ab"))]
    assert marked(lines) == {(1 << 36) + 1: ord("b")}


def test_nothing_is_shown_where_nothing_is_known() -> None:
    lines, _ = told(ff.Delimiter(b"\n", max_size=5000), [b"x" * 100] * 60)
    assert lines == [
        "FrameTooLarge: frame of more than 5000 bytes, limit 5000, at offset 0",
        "frame 1 begins at offset 0 (0x0)",
    ]


@given(cases())
def test_any_fault_is_told_and_shown_as_it_is(case: tuple[Any, list[bytes]]) -> None:
    framing, pieces = case
    stream = b"".join(pieces)
    lines, error = told(framing, pieces)
    assert all(line.isprintable() and line.isascii() and len(line) <= 200 for line in lines)
    if error is None:
        return
    assert lines[0] == f"{type(error).__name__}: {error}"
    assert lines[-1].startswith("^^ ")
    found = marked(lines) | marked(lines, "--")
    assert marked(lines)
    assert all(stream[at] == byte for at, byte in found.items())
    assert error.offset in found
    assert min(found) == error.offset


@given(cases())
def test_the_bytes_around_are_shown(case: tuple[Any, list[bytes]]) -> None:
    framing, pieces = case
    lines, error = told(framing, pieces)
    if error is None or not isinstance(error, ff.InvalidFrame):
        return
    shown = [line for line in lines[2:] if "|" in line]
    stream = b"".join(pieces)
    context = "".join(line.partition("|")[2][:-1] for line in shown)
    wanted = stream[max(0, error.offset - 1) : error.offset + len(error.header)]
    assert "".join(chr(byte) if 32 <= byte < 127 else "." for byte in wanted) in context
