"""LengthField and VarintLength: every parameter, drawn as bytes on the wire."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastframe as ff
from model import read
from support import length_fields

L = ff.LengthField

# (framing, payload as delivered, frame on the wire)
LAYOUTS: list[tuple[Any, bytes, bytes]] = [
    (L(), b"hello", b"\0\0\0\5hello"),
    (L(4, "little"), b"hello", b"\5\0\0\0hello"),
    (L(1), b"", b"\0"),
    (L(2), b"x" * 300, b"\x01\x2c" + b"x" * 300),
    (L(3), b"hi", b"\0\0\2hi"),
    (L(8, "little"), b"hi", b"\2" + bytes(7) + b"hi"),
    (L(2, offset=1), b"hi", b"\0\0\2hi"),
    (L(2, offset=1, template=b"T__"), b"hi", b"T\0\2hi"),
    (L(2, header_size=4), b"hi", b"\0\2\0\0hi"),
    (L(2, header_size=4, template=b"__ab"), b"hi", b"\0\2abhi"),
    (L(2, adjustment=-2), b"hi", b"\0\4hi"),
    (L(2, adjustment=3), b"hello", b"\0\2hello"),
    (L(2, strip=0), b"\0\2hi", b"\0\2hi"),
    (L(2, offset=1, strip=1), b"\0\2hi", b"\0\0\2hi"),
    (L(2, header_size=4, strip=2), b"abhi", b"\0\2abhi"),
    (L(2, offset=1, header_size=4, strip=3), b"chi", b"\0\0\2chi"),
    (L(2, trailer=b"\n"), b"hi", b"\0\3hi\n"),
    (L(2, trailer=b"\n", adjustment=1), b"hi", b"\0\2hi\n"),
    (L(2, offset=2, magic=b"MG"), b"hi", b"MG\0\2hi"),
    (L(2, offset=3, magic=b"MG", template=b"__v__"), b"hi", b"MGv\0\2hi"),
    (L(2, offset=2, magic=b"MG", strip=0), b"MG\0\2hi", b"MG\0\2hi"),
    (L(2, mask=0x0FFF, template=b"\x50\0"), b"hi", b"\x50\2hi"),
    (L(2, "little", mask=0x0FFF, template=b"\0\x50"), b"hi", b"\2\x50hi"),
    (L(2, mask=0x0FFF, strip=0), b"\x70\2hi", b"\x70\2hi"),
    (L(4, signed=True, escape=(-1, 8)), b"hi", b"\0\0\0\2hi"),
    (L(1, escape=(255, 2)), b"x" * 254, b"\xfe" + b"x" * 254),
    (L(1, escape=(255, 2)), b"x" * 255, b"\xff\0\xff" + b"x" * 255),
    (L(1, escape=(0, 2)), b"", b"\0\0\0"),
    (L(1, signed=True, escape=(-1, 2)), b"x" * 128, b"\xff\0\x80" + b"x" * 128),
    (L(1, header_size=2, escape=(255, 2), template=b"_h"), b"x" * 255, b"\xff\0\xffh" + b"x" * 255),
    (L(2, header_size=6, strip=6, trailer=b"\0\xffEND", adjustment=5), b"p", b"\0\1\0\0\0\0p\0\xffEND"),
]
ids = [f"{framing!r}-{len(payload)}" for framing, payload, _ in LAYOUTS]


@pytest.mark.parametrize(("framing", "payload", "wire"), LAYOUTS, ids=ids)
def test_layout(framing: Any, payload: bytes, wire: bytes) -> None:
    assert framing.encode(payload) == wire
    assert framing.decode(wire) == [payload]
    assert framing.decode(wire * 3) == [payload] * 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0},
        {"width": 9},
        {"width": -1},
        {"byteorder": "middle"},
        {"byteorder": None},
        {"offset": -1},
        {"offset": 1 << 20},
        {"header_size": 3},
        {"header_size": 0},
        {"header_size": 1 << 20},
        {"strip": 5},
        {"strip": -1},
        {"strip": 1},
        {"strip": 3},
        {"offset": 2, "strip": 3},
        {"trailer": b"abc", "trailer_size": 2},
        {"trailer_size": -1},
        {"magic": b"M"},
        {"magic": b"MG", "offset": 1},
        {"template": b"abc"},
        {"template": b"abcde"},
        {"mask": 0},
        {"mask": -1},
        {"mask": 5},
        {"mask": 0xFF00},
        {"mask": 1 << 32},
        {"mask": 255, "escape": (1, 8)},
        {"escape": (1 << 32, 8)},
        {"escape": (-(1 << 31) - 1, 8)},
        {"escape": (1, 0)},
        {"escape": (1, 9)},
        {"max_size": -1},
        {"adjustment": -(1 << 40)},
        {"width": 1, "adjustment": -300},
        {"adjustment": 1 << 63},
        {"trailer": bytes(70_000)},
    ],
    ids=repr,
)
def test_wrong_value_is_a_value_error(wrong: Any) -> None:
    with pytest.raises(ValueError):
        L(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": "4"},
        {"width": True},
        {"width": 4.0},
        {"width": None},
        {"offset": "1"},
        {"header_size": "5"},
        {"strip": "x"},
        {"trailer": "x"},
        {"trailer_size": 1.0},
        {"magic": 5},
        {"template": "abcd"},
        {"mask": "1"},
        {"escape": 5},
        {"escape": (1,)},
        {"escape": (1, 2, 3)},
        {"escape": ("1", 2)},
        {"max_size": None},
        {"adjustment": 0.5},
        {"nonsense": 1},
    ],
    ids=repr,
)
def test_wrong_type_is_a_type_error(wrong: Any) -> None:
    with pytest.raises(TypeError):
        L(**wrong)


def test_most_parameters_are_keywords() -> None:
    assert L(2, "little") == L(width=2, byteorder="little")
    with pytest.raises(TypeError):
        L(2, "little", True)
    with pytest.raises(TypeError):
        ff.VarintLength(5, 1)


def test_defaults_follow_from_the_field() -> None:
    framing = L(3, offset=2, trailer=b"ab")
    assert (framing.header_size, framing.strip, framing.trailer_size) == (5, 5, 2)
    assert L(2, trailer_size=4).trailer_size == 4


def test_bytes_like_parameters_become_bytes() -> None:
    framing = L(2, offset=2, magic=bytearray(b"MG"), trailer=memoryview(b"x"), template=bytearray(4))
    assert (framing.magic, framing.trailer, framing.template) == (b"MG", b"x", bytes(4))
    assert framing == L(2, offset=2, magic=b"MG", trailer=b"x", template=bytes(4))


@pytest.mark.parametrize(
    ("framing", "limit"),
    [
        (L(), 16 << 20),
        (L(1), 255),
        (L(1, max_size=256), 255),
        (L(1, max_size=254), 254),
        (L(1, signed=True), 127),
        (L(2), 65535),
        (L(1, adjustment=-1), 254),
        (L(1, adjustment=10), 265),
        (L(1, strip=0), 256),
        (L(1, trailer=b"xy"), 253),
        (L(2, mask=0xFF), 255),
        (L(1, escape=(255, 2)), 65535),
        (L(1, signed=True, escape=(-1, 1)), 255),
        (L(8, max_size=1 << 62), 1 << 62),
        (ff.VarintLength(1), 127),
        (ff.VarintLength(2), 16383),
        (ff.VarintLength(1, offset=2, strip=0), 130),
    ],
    ids=repr,
)
def test_limit_is_bounded_by_what_the_field_can_say(framing: Any, limit: int) -> None:
    assert framing.limit == limit


def test_limit_is_never_a_machine_word_or_more() -> None:
    assert (1 << 62) < L(8, max_size=1 << 80).limit < 1 << 63


@pytest.mark.parametrize(
    "framing", [L(1), L(1, signed=True), L(1, mask=63), L(1, trailer=b"zz"), ff.VarintLength(1)], ids=repr
)
def test_encoder_never_writes_what_the_field_cannot_hold(framing: Any) -> None:
    assert framing.decode(framing.encode(bytes(framing.limit))) == [bytes(framing.limit)]
    with pytest.raises(ff.FrameTooLarge):
        framing.encode(bytes(framing.limit + 1))


def test_length_that_would_be_negative_is_not_written() -> None:
    framing = L(2, adjustment=3)
    assert framing.encode(b"abc") == b"\0\0abc"
    with pytest.raises(ValueError):
        framing.encode(b"ab")


def test_size_limit_is_judged_after_the_adjustment() -> None:
    framing = L(2, adjustment=-2, max_size=4)
    assert framing.decode(b"\0\6abcd") == [b"abcd"]
    with pytest.raises(ff.FrameTooLarge) as caught:
        framing.decode(b"\0\7")
    assert (caught.value.size, caught.value.limit) == (5, 4)


def test_size_limit_counts_delivered_bytes_in_both_directions() -> None:
    for framing in (
        L(2, strip=0, max_size=6),
        L(2, strip=0, trailer=b"xyz", max_size=6),
        L(2, offset=3, strip=3, max_size=6),
    ):
        payload = framing.decode(framing.encode(b"\0\0abcd"))[0]
        assert len(payload) == 6
        with pytest.raises(ff.FrameTooLarge):
            framing.encode(b"\0\0abcde")
        wide = framing.replace(max_size=7).encode(b"\0\0abcde")
        with pytest.raises(ff.FrameTooLarge) as caught:
            framing.decode(wide)
        assert (caught.value.size, caught.value.limit) == (7, 6)


@pytest.mark.parametrize("value", [-1, -2, -(1 << 31)])
def test_negative_length_is_bad_length(value: int) -> None:
    with pytest.raises(ff.BadLength, match=f"length {value} is negative"):
        L(4, signed=True).decode(value.to_bytes(4, "big", signed=True))


def test_unsigned_length_with_the_top_bit_is_large_not_negative() -> None:
    with pytest.raises(ff.FrameTooLarge) as caught:
        L(4).decode(b"\x80\0\0\0")
    assert caught.value.size == 1 << 31


@pytest.mark.parametrize(
    ("framing", "wire"),
    [
        (L(2, adjustment=-2), b"\0\1"),
        (L(1, adjustment=-4, header_size=4), b"\3"),
        (L(1, trailer=b"xyz"), b"\2"),
        (L(1, trailer_size=9), b"\x08"),
    ],
    ids=repr,
)
def test_frame_shorter_than_header_and_trailer_is_bad_length(framing: Any, wire: bytes) -> None:
    with pytest.raises(ff.BadLength) as caught:
        framing.decode(wire)
    assert caught.value.header == wire
    assert framing.decode(framing.encode(b"") if not framing.trailer_size else b"") in ([b""], [])


# --- magic and trailer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("good", range(4))
def test_magic_is_checked_as_its_bytes_arrive(engine: Any, good: int) -> None:
    decoder = engine.Decoder(L(2, offset=4, magic=b"MAGI"))
    for i in range(good):
        assert decoder.feed(b"MAGI"[i : i + 1]) == []
    with pytest.raises(ff.BadMagic) as caught:
        decoder.feed(b"?")
    assert caught.value.header == b"MAGI"[:good] + b"?"


@pytest.mark.parametrize("wire", [b"\0\3hi?", b"\0\3hi\0"])
def test_trailer_is_checked_when_the_frame_is_complete(engine: Any, wire: bytes) -> None:
    decoder = engine.Decoder(L(2, trailer=b"\n"))
    assert decoder.feed(wire[:-1]) == []
    assert decoder.error is None
    with pytest.raises(ff.BadTrailer) as caught:
        decoder.feed(wire[-1:])
    assert (caught.value.header, caught.value.offset) == (b"\0\3", 0)


def test_only_the_known_end_of_a_trailer_is_checked() -> None:
    framing = L(1, trailer=b"\n", trailer_size=3)
    assert framing.decode(b"\5hi12\n") == [b"hi"]
    with pytest.raises(ff.BadTrailer):
        framing.decode(b"\5hi12x")


def test_description_that_cannot_know_its_trailer_can_only_decode() -> None:
    framing = L(1, trailer_size=4)
    assert framing.decode(b"\6hi\1\2\3\4") == [b"hi"]
    for call in (framing.encode, framing.parts, lambda p: framing.encode_many([p])):
        with pytest.raises(ValueError, match="only decode: it knows 0 of 4 bytes"):
            call(b"hi")


# --- What strip keeps ------------------------------------------------------------------------------------------------


def test_right_length_is_written_into_a_kept_header() -> None:
    framing = L(2, offset=1, header_size=4, strip=0)
    assert framing.encode(b"k\xff\xff_hello") == b"k\0\5_hello"
    assert framing.encode(b"k\0\0_") == b"k\0\0_"


def test_kept_header_must_be_there_and_right() -> None:
    framing = L(2, offset=2, header_size=5, strip=0, magic=b"M")
    assert framing.encode(b"Mx\0\0_") == b"Mx\0\0_"
    for payload in (b"", b"Mx\0\0", b"Nx\0\0_"):
        with pytest.raises(ValueError):
            framing.encode(payload)
    with pytest.raises(ValueError):
        L(2, header_size=4, strip=2).encode(b"x")


def test_masked_bits_of_a_kept_field_are_kept() -> None:
    framing = L(2, mask=0x0FFF, strip=0)
    assert framing.encode(b"\xf0\0ab") == b"\xf0\2ab"
    assert framing.decode(b"\xf0\2ab") == [b"\xf0\2ab"]


def test_escaped_field_that_is_kept() -> None:
    framing = L(1, escape=(255, 2), strip=0)
    assert framing.encode(b"\xff\0\0ab") == b"\xff\0\2ab"
    assert framing.decode(b"\xff\0\2ab\2cd") == [b"\xff\0\2ab", b"\2cd"]
    with pytest.raises(ValueError, match="escape"):
        framing.encode(b"\0" + bytes(255))


def test_escape_is_written_only_when_needed() -> None:
    framing = L(4, signed=True, escape=(-1, 8), max_size=1 << 40)
    assert framing.parts(bytes(10))[0] == b"\0\0\0\x0a"
    view = memoryview(bytes(8)).cast("B")
    assert framing.parts(view)[0] == b"\0\0\0\x08"


def test_escaped_length_may_be_larger_than_needed() -> None:
    assert L(1, escape=(255, 2)).decode(b"\xff\0\2hi") == [b"hi"]


@given(framing=length_fields(), payload=st.binary(max_size=40))
def test_any_layout_against_the_model(framing: Any, payload: bytes) -> None:
    try:
        wire = framing.encode(payload)
    except ValueError:
        return
    frames, error = read(framing, wire)
    assert error is None
    assert [len(frame) for frame in frames] == [len(payload)]


# --- VarintLength ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, b"\0"),
        (1, b"\1"),
        (127, b"\x7f"),
        (128, b"\x80\1"),
        (300, b"\xac\2"),
        (16383, b"\xff\x7f"),
        (16384, b"\x80\x80\1"),
    ],
)
def test_varint(size: int, header: bytes) -> None:
    framing = ff.VarintLength()
    assert framing.encode(bytes(size)) == header + bytes(size)
    assert framing.decode(header + bytes(size)) == [bytes(size)]


def test_varint_behind_an_offset() -> None:
    framing = ff.VarintLength(4, offset=1, template=b"\x30")
    assert framing.encode(b"hi") == b"\x30\2hi"
    assert ff.VarintLength(4, offset=1).encode(b"hi") == b"\0\2hi"
    assert framing.decode(b"\x99\2hi") == [b"hi"]


def test_varint_with_its_header_kept() -> None:
    framing = ff.VarintLength(4, offset=1, strip=0)
    assert framing.decode(b"\x30\2hi") == [b"\x30\2hi"]
    assert framing.encode(b"\x30\2hi") == b"\x30\2hi"
    for wrong in (b"", b"\x30", b"\x30\3hi", b"\x30\1hi", b"\x30\x80"):
        with pytest.raises(ValueError):
            framing.encode(wrong)


@pytest.mark.parametrize("wire", [b"\x80\0", b"\x81\0", b"\xff\x80\0", b"\x80\x80\x80\x80\0"])
def test_varint_that_is_not_minimal(wire: bytes) -> None:
    with pytest.raises(ff.BadLength, match="not minimal") as caught:
        ff.VarintLength().decode(wire + bytes(300))
    assert caught.value.header == wire
    size = wire[0] & 127
    assert ff.VarintLength(strict=False).decode(wire + bytes(size)) == [bytes(size)]


@pytest.mark.parametrize("most", range(1, 11))
def test_varint_without_an_end(engine: Any, most: int) -> None:
    decoder = engine.Decoder(ff.VarintLength(most))
    for _ in range(most - 1):
        assert decoder.feed(b"\xff") == []
    with pytest.raises(ff.BadLength) as caught:
        decoder.feed(b"\xff")
    assert caught.value.header == b"\xff" * most


def test_largest_varint() -> None:
    with pytest.raises(ff.FrameTooLarge) as caught:
        ff.VarintLength(10).decode(b"\xff" * 9 + b"\x7f")
    assert caught.value.size == (1 << 70) - 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_bytes": 0},
        {"max_bytes": 11},
        {"offset": -1},
        {"strip": 1},
        {"template": b"x"},
        {"offset": 2, "template": b"x"},
        {"max_size": -1},
    ],
    ids=repr,
)
def test_wrong_varint(wrong: Any) -> None:
    with pytest.raises(ValueError):
        ff.VarintLength(**wrong)
