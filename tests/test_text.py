"""AsciiLength, Netstring, ContentLength: lengths in characters, and all that int() takes but a length isn't."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastframe as ff
from model import fault, read
from support import WAYS, ascii_lengths, cuts, outcome

A = ff.AsciiLength

LAYOUTS: list[tuple[Any, bytes, bytes]] = [
    (A(), b"hello", b"00005hello"),
    (A(), b"", b"00000"),
    (A(10, pad=b" ", align="left"), b"hello", b"5         hello"),
    (A(10, pad=b" "), b"hello", b"         5hello"),
    (A(4, pad=b"\0"), b"hi", b"\0\0\0" + b"2hi"),
    (A(4, base=16), b"x" * 31, b"001f" + b"x" * 31),
    (A(4, base=16, pad=b" "), b"x" * 31, b"  1f" + b"x" * 31),
    (A(5, separator=b" "), b"hello", b"5 hello"),
    (A(5, separator=b" "), b"", b"0 "),
    (A(3, separator=b"\r\n", base=16), b"x" * 26, b"1a\r\n" + b"x" * 26),
    (A(4, adjustment=-4), b"hi", b"0006hi"),
    (A(4, adjustment=-4, base=16), b"x" * 12, b"0010" + b"x" * 12),
    (A(5, adjustment=1), b"hi\n", b"00002hi\n"),
    (A(5, strip=0), b"00002hi", b"00002hi"),
    (A(5, strip=0, separator=b":"), b"2:hi", b"2:hi"),
    (A(5, strip=5), b"hi", b"00002hi"),
    (A(20), b"hi", b"00000000000000000002hi"),
    (ff.Netstring(), b"hello", b"5:hello,"),
    (ff.Netstring(), b"", b"0:,"),
    (ff.Netstring(), b"1:a,", b"4:1:a,,"),
    (ff.ContentLength(), b"{}", b"Content-Length: 2\r\n\r\n{}"),
    (ff.ContentLength(), b"", b"Content-Length: 0\r\n\r\n"),
]


@pytest.mark.parametrize(("framing", "payload", "wire"), LAYOUTS, ids=[f"{f!r}-{len(p)}" for f, p, _ in LAYOUTS])
def test_layout(framing: Any, payload: bytes, wire: bytes) -> None:
    assert framing.encode(payload) == wire
    assert framing.decode(wire * 3) == [payload] * 3


# What int() or int(, 16) takes, and a length is not.
SPELLINGS = [
    b"+5",
    b"-5",
    b" 5",
    b"5 ",
    b"5_0",
    b"0x5",
    b"0X5",
    b"0b1",
    b"0o7",
    b"1e1",
    b"5.",
    b"\t5",
    b"5\n",
    b"\xb2",
    b"\xd9\xa3",
    b"",
]


@pytest.mark.parametrize("text", SPELLINGS)
@pytest.mark.parametrize("base", [10, 16])
def test_spellings_of_int_are_no_lengths(text: bytes, base: int) -> None:
    padded = A(len(text) or 1, base=base)
    separated = A(9, base=base, separator=b":")
    for framing, wire in (
        (padded, text + b"x" * 600),
        (separated, text + b":" + b"x" * 600),
        (ff.Netstring(), text + b":" + b"x" * 600),
    ):
        if text in (b"0b1", b"1e1") and base == 16:
            continue
        with pytest.raises(ff.BadLength) as caught:
            framing.decode(wire)
        assert caught.value.offset == 0


@pytest.mark.parametrize("text", [b"05", b"00", b"005"])
def test_leading_zero_before_a_separator(text: bytes) -> None:
    for framing in (A(9, separator=b":"), A(9, separator=b":", base=16), ff.Netstring()):
        with pytest.raises(ff.BadLength, match="leading zero") as caught:
            framing.decode(text + b":hello,")
        assert caught.value.header == text[:2]


def test_hex_takes_both_cases_and_writes_lower() -> None:
    framing = A(4, base=16)
    for text in (b"001f", b"001F"):
        assert framing.decode(text + bytes(31)) == [bytes(31)]
    assert framing.encode(bytes(171))[:4] == b"00ab"
    assert A(4, base=16, separator=b" ").decode(b"aB " + bytes(171)) == [bytes(171)]
    with pytest.raises(ff.BadLength, match="not decimal: 0x61 at byte 3"):
        A(4).decode(b"000a")
    with pytest.raises(ff.BadLength, match="not hexadecimal: 0x67 at byte 3"):
        framing.decode(b"000g")


@pytest.mark.parametrize(
    ("framing", "wire", "header"),
    [
        (A(4, pad=b" "), b"  x", b"  x"),
        (A(4, pad=b" "), b"  5 ", b"  5 "),
        (A(4, pad=b" "), b"    ", b"    "),
        (A(4, pad=b" "), b" 0 5", b" 0 "),
        (A(4, pad=b" ", align="left"), b"5 5 ", b"5 5"),
        (A(4, pad=b" ", align="left"), b" 5", b" "),
        (A(4, pad=b" ", align="left"), b"    ", b" "),
        (A(4), b"   5", b" "),
        (A(4), b"5   ", b"5 "),
        (A(4, pad=b"\0", align="left"), b"5\0 \0", b"5\0 "),
    ],
    ids=repr,
)
def test_padding_is_one_run_on_its_side(engine: Any, framing: Any, wire: bytes, header: bytes) -> None:
    for chunks in cuts(wire):
        frames, error = outcome(engine.Decoder(framing), chunks)
        assert frames == []
        assert error
        assert (error.kind, error.header) == (ff.BadLength, header)


def test_padded_zeros_are_digits_when_the_pad_is_another() -> None:
    assert A(4, pad=b" ").decode(b" 002hi") == [b"hi"]
    assert A(4, pad=b" ", align="left").decode(b"002 hi") == [b"hi"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"digits": 0},
        {"digits": 256},
        {"base": 8},
        {"base": 36},
        {"align": "center"},
        {"pad": b""},
        {"pad": b"  "},
        {"pad": b"5"},
        {"pad": b"0", "align": "left"},
        {"pad": b"a", "base": 16},
        {"pad": b" ", "separator": b":"},
        {"align": "left", "separator": b":"},
        {"separator": b"5"},
        {"separator": b"a:", "base": 16},
        {"strip": 1},
        {"strip": 5, "separator": b":"},
        {"strip": -1},
        {"max_size": -1},
        {"digits": 1, "adjustment": -10},
    ],
    ids=repr,
)
def test_wrong_value_is_a_value_error(wrong: Any) -> None:
    with pytest.raises(ValueError):
        A(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"digits": "5"}, {"pad": " "}, {"separator": 5}, {"adjustment": "0"}, {"other": 1}], ids=repr
)
def test_wrong_type_is_a_type_error(wrong: Any) -> None:
    with pytest.raises(TypeError):
        A(**wrong)


@pytest.mark.parametrize(
    ("framing", "limit"),
    [
        (A(1), 9),
        (A(2, base=16), 255),
        (A(3, separator=b" "), 999),
        (A(1, adjustment=-1), 8),
        (A(1, strip=0), 10),
        (A(1, strip=0, separator=b"::"), 12),
        (A(5), 99999),
        (A(9), 16 << 20),
        (A(255, max_size=1 << 40), 1 << 40),
        (ff.Netstring(), 16 << 20),
    ],
    ids=repr,
)
def test_limit_is_bounded_by_the_digits(framing: Any, limit: int) -> None:
    assert framing.limit == limit


def test_encoder_never_writes_more_digits_than_there_are() -> None:
    for framing in (A(1), A(1, separator=b":"), A(1, pad=b" "), A(1, base=16)):
        assert framing.decode(framing.encode(bytes(framing.limit))) == [bytes(framing.limit)]
        with pytest.raises(ff.FrameTooLarge):
            framing.encode(bytes(framing.limit + 1))


def test_length_that_would_be_negative() -> None:
    with pytest.raises(ValueError):
        A(3, adjustment=4).encode(b"abc")
    with pytest.raises(ff.BadLength, match="shorter than its header"):
        A(3, adjustment=-4).decode(b"003")


@pytest.mark.parametrize("framing", [A(3, separator=b":"), A(3, separator=b"::")], ids=repr)
def test_digits_without_a_separator(engine: Any, framing: Any) -> None:
    decoder = engine.Decoder(framing)
    for digit in b"123":
        assert decoder.feed(bytes([digit])) == []
    with pytest.raises(ff.BadLength, match="no end in 3 digits") as caught:
        decoder.feed(b"4")
    assert caught.value.header == b"1234"


def test_half_a_separator(engine: Any) -> None:
    framing = A(3, separator=b":;:")
    for wire, header in [(b"1:;x", b"1:;x"), (b"1::", b"1::"), (b":", b":"), (b"1;", b"1;")]:
        for chunks in cuts(wire):
            error = outcome(engine.Decoder(framing), chunks).error
            assert error
            assert (error.kind, error.header) == (ff.BadLength, header)


def test_carried_header_must_be_right() -> None:
    framing = A(3, strip=0)
    assert framing.encode(b"002hi") == b"002hi"
    for wrong in (b"", b"00", b"001hi", b"003hi", b"+02hi"):
        with pytest.raises(ValueError):
            framing.encode(wrong)


@given(framing=ascii_lengths(), text=st.text("0123456789abcABC +-_x:;,\r\n\0", max_size=9))
def test_any_text_against_the_model(engine: Any, framing: Any, text: str) -> None:
    wire = text.encode() + b"payload"
    assert outcome(engine.Decoder(framing), [wire]) == read(framing, wire)


# --- Netstring -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wire", "kind", "header"),
    [
        (b"2:hix", ff.BadTrailer, b"2:"),
        (b":", ff.BadLength, b":"),
        (b"1" * 21, ff.BadLength, b"1" * 21),
        (b"9" * 20 + b":", ff.FrameTooLarge, b"9" * 20 + b":"),
        (b"16777217:", ff.FrameTooLarge, b"16777217:"),
        (b"2,", ff.BadLength, b"2,"),
        (b"hello", ff.BadLength, b"h"),
    ],
)
def test_bad_netstring(engine: Any, wire: bytes, kind: Any, header: bytes) -> None:
    for chunks in cuts(wire):
        error = outcome(engine.Decoder(ff.Netstring()), chunks).error
        assert error
        assert (error.kind, error.header, error.offset) == (kind, header, 0)


def test_netstring_limit_counts_the_payload() -> None:
    framing = ff.Netstring(3)
    assert framing.decode(b"3:abc,") == [b"abc"]
    with pytest.raises(ff.FrameTooLarge) as caught:
        framing.decode(b"4:")
    assert (caught.value.size, caught.value.limit) == (4, 3)


# --- ContentLength ---------------------------------------------------------------------------------------------------

BLOCK = b"Content-Length: 2\r\n\r\n"


@pytest.mark.parametrize(
    "block",
    [
        BLOCK,
        b"content-length:2\r\n\r\n",
        b"CONTENT-LENGTH: \t 2 \t\r\n\r\n",
        b"Content-Length: 02\r\n\r\n",
        b"Content-Type: text/x; charset=utf-8\r\nContent-Length: 2\r\n\r\n",
        b"Content-Length: 2\r\nX-Empty:\r\nX-Odd!#$%&'*+.^_`|~9: a:b: c\r\n\r\n",
    ],
)
def test_header_block(engine: Any, block: bytes) -> None:
    for chunks in cuts(block + b"hi"):
        assert outcome(engine.Decoder(ff.ContentLength()), chunks).frames == [b"hi"]


@pytest.mark.parametrize(
    "block",
    [
        b"\r\n",
        b"Content-Type: x\r\n\r\n",
        b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n",
        b"Content-Length: 2\n",
        b"Content-Length: 2\r\r\n",
        b"Content-Length\r\n",
        b"Content-Length : 2\r\n",
        b" Content-Length: 2\r\n",
        b": 2\r\n",
        b"Content-Length: 2\r\n Folded: 1\r\n",
        b"Content-Length: +2\r\n\r\n",
        b"Content-Length: 0x2\r\n\r\n",
        b"Content-Length: 2_0\r\n\r\n",
        b"Content-Length: 2 2\r\n\r\n",
        b"Content-Length: -2\r\n\r\n",
        b"Content-Length:\r\n\r\n",
        b"Content-Length: " + b"1" * 21 + b"\r\n\r\n",
        b"X: \xff",
        b"X: \0",
        b"X\x7f",
    ],
)
def test_bad_header_block(engine: Any, block: bytes) -> None:
    for chunks in cuts(block):
        error = outcome(engine.Decoder(ff.ContentLength()), chunks, eof=False).error
        assert error
        assert (error.kind, error.header, error.offset) == (ff.BadLength, block, 0)


def test_header_block_of_at_most_8_kib(engine: Any) -> None:
    filler = b"X: " + b"y" * (8192 - len(BLOCK) - 5) + b"\r\n"
    assert len(filler + BLOCK) == 8192
    assert outcome(engine.Decoder(ff.ContentLength()), [filler + BLOCK + b"hi"]).frames == [b"hi"]
    for chunks in ([b"y" + filler + BLOCK], [b"y" * 4000, b"y" * 5000], [b"y" * 8191, b"y"]):
        error = outcome(engine.Decoder(ff.ContentLength()), chunks).error
        assert error
        assert (error.kind, len(error.header or b"")) == (ff.BadLength, 8192)
    decoder = engine.Decoder(ff.ContentLength())
    assert decoder.feed(b"y" * 8191) == []


NAMES = st.sampled_from(
    [
        b"Content-Length",
        b"content-length",
        b"CONTENT-LENGTH",
        b"cONTENT-lENGTH",
        b"Content\rLength",
        b"Content-Lengt",
        b"Content-Type",
        b"content-type",
        b"Content-Type ",
        b"X",
        b"",
    ]
)
COLONS = st.sampled_from([b":", b": ", b":\t ", b"", b"\x1a", b" :"])
SAID = st.sampled_from([b"0", b"2", b"7", b"8", b"02", b"0" * 19 + b"2", b"0" * 20 + b"2", b"9" * 19, b"9" * 20])
VALUES = st.one_of(SAID, SAID, st.sampled_from([b"", b"+2", b"2 2", b"2_0", b"a: b", b"x\t~", b"\x7f", b"\xff", b"\0"]))
BLANKS = st.sampled_from([b"", b"", b" ", b" \t", b"\x0b"])
LINE_ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n", b""])
LENGTH_LINES = st.tuples(NAMES, COLONS, SAID, BLANKS, LINE_ENDS).map(b"".join)
LINES = st.tuples(NAMES, COLONS, VALUES, BLANKS, LINE_ENDS).map(b"".join)
COMMON_LINES = st.builds(
    lambda name, colon, size, blanks, others: (
        b"".join([name, colon, b"%d" % size, blanks, b"\r\n", *others, b"\r\n"]) + bytes(size)
    ),
    st.sampled_from([b"Content-Length", b"content-length", b"CONTENT-LENGTH"]),
    st.sampled_from([b":", b": ", b":\t "]),
    st.integers(0, 8),
    st.sampled_from([b"", b" ", b"\t "]),
    st.lists(st.sampled_from([b"Content-Type: text/x; charset=utf-8\r\n", b"CONTENT-TYPE:\r\n"]), max_size=2),
)
HEADED = st.one_of(
    COMMON_LINES,
    st.tuples(LENGTH_LINES, st.lists(LINES, max_size=2).map(b"".join), LINE_ENDS, st.just(b"hi")).map(b"".join),
)


@pytest.mark.parametrize("way", WAYS)
@given(wire=st.lists(HEADED, min_size=1, max_size=4).map(b"".join))
def test_header_lines_are_judged_at_once_as_byte_by_byte(engine: Any, way: str, wire: bytes) -> None:
    framing = ff.ContentLength(7)
    wanted = outcome(engine.Decoder(framing), [wire[i : i + 1] for i in range(len(wire))], way)
    assert outcome(engine.Decoder(framing), [wire], way) == wanted == read(framing, wire)


@pytest.mark.parametrize("text", [b"Content-Type", b"Content-Type=", b"Content-Type: x\ny", b"Content-Type: \x7f"])
def test_a_second_line_must_be_one(engine: Any, text: bytes) -> None:
    wire = b"Content-Length: 2\r\n" + text + b"\r\n\r\nhi"
    with pytest.raises(ff.BadLength):
        engine.Decoder(ff.ContentLength()).feed(wire)


@pytest.mark.parametrize("size", [8191, 8192, 8193])
def test_second_line_up_to_8_kib(engine: Any, size: int) -> None:
    head, tail = b"Content-Length: 2\r\nContent-Type: ", b"\r\n\r\nhi"
    wire = head + b"x" * (size + 2 - len(head + tail)) + tail
    wanted = outcome(engine.Decoder(ff.ContentLength()), [wire[:30], wire[30:]])
    assert outcome(engine.Decoder(ff.ContentLength()), [wire]) == wanted
    assert wanted.frames == [b"hi"] * (size <= 8192)


def test_content_beyond_the_limit() -> None:
    with pytest.raises(ff.FrameTooLarge) as caught:
        ff.ContentLength(5).decode(b"Content-Length: 6\r\n\r\n")
    assert fault(caught.value)[1:5] == (0, b"Content-Length: 6\r\n\r\n", 6, 5)
