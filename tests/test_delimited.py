"""Delimiter: one end or several, overlapping ones, kept ends, starts, and the last frame without an end."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastframe as ff
from model import read
from support import cuts, delimiters, outcome

D = ff.Delimiter


@pytest.mark.parametrize(
    ("framing", "wire", "frames"),
    [
        (D(b"\n"), b"a\n\nbc\n", [b"a", b"", b"bc"]),
        (D(b"\r\n"), b"a\nb\r\n\rc\r\r\n", [b"a\nb", b"\rc\r"]),
        (D(b"\r\n", b"\n"), b"a\r\nb\n\r\n\n", [b"a", b"b", b"", b""]),
        (D(b"\n", b"\r\n"), b"a\r\nb\n", [b"a", b"b"]),
        (D(b"\n", keep=True), b"a\n\n", [b"a\n", b"\n"]),
        (D(b"\r\n", b"\n", keep=True), b"a\r\nb\n", [b"a\r\n", b"b\n"]),
        (D(b",", b";"), b"a,b;c,", [b"a", b"b", b"c"]),
        (D(b"aab"), b"aaab" + b"xaabaab", [b"a", b"x", b""]),
        (D(b"abab"), b"abababab" + b"aabab", [b"", b"", b"a"]),
        (D(b"aaa"), b"aaaaaaa" + b"b" + b"aaa", [b"", b"", b"ab"]),
        (D(b"aba", b"bb"), b"ababb" + b"abba", [b"", b"", b"a"]),
        (D(b"b", b"ab", b"aab"), b"aaabxabb", [b"a", b"x", b""]),
        (D(b"\x1c\r", start=b"\x0b"), b"\x0bhl7\x1c\r\x0b\x1c\r", [b"hl7", b""]),
        (D(b"\x1c\r", start=b"\x0b", keep=True), b"\x0bhl7\x1c\r", [b"hl7\x1c\r"]),
        (D(b"\0"), b"\xff\0\0", [b"\xff", b""]),
        (D(b"x" * 5000), b"y" * 9000 + b"x" * 5000, [b"y" * 9000]),
    ],
    ids=lambda x: repr(x)[:40],
)
def test_layout(engine: Any, framing: Any, wire: bytes, frames: list[bytes]) -> None:
    for chunks in cuts(wire) if len(wire) < 1000 else [[wire], [wire[:9500], wire[9500:]]]:
        got = outcome(engine.Decoder(framing), chunks, eof=False)
        if framing == D(b"aba", b"bb"):
            assert got == read(framing, wire, eof=False)
        else:
            assert got == (frames, None)


def test_frame_ends_at_the_first_byte_that_completes_an_end() -> None:
    assert D(b"ab", b"xyz").decode(b"1xyz2ab3xyz") == [b"1", b"2", b"3"]


def test_longest_end_completing_there_is_removed() -> None:
    assert D(b"\n", b"\r\n").decode(b"x\r\n") == [b"x"]
    assert D(b"\n").decode(b"x\r\n") == [b"x\r"]


def test_ends_are_not_found_across_the_start() -> None:
    framing = D(b"ab", start=b"a")
    assert framing.decode(b"aab") == [b""]
    assert framing.decode(b"abab") == [b"b"]


@pytest.mark.parametrize(
    "ends",
    [
        (),
        (b"",),
        (b"a", b""),
        (b"a", b"a"),
        (b"ab", b"a"),
        (b"abc", b"b"),
        (b"\r\n", b"\r"),
        (b"xax", b"xa"),
        (b"aa", b"a", b"aa"),
    ],
    ids=repr,
)
def test_ends_that_cannot_be_told_apart(ends: Any) -> None:
    with pytest.raises(ValueError):
        D(*ends)


@pytest.mark.parametrize("ends", [(b"\r\n", b"\n"), (b"ba", b"a"), (b"aab", b"ab", b"b"), (b"ab", b"cd")], ids=repr)
def test_an_end_may_be_the_suffix_of_another(ends: Any) -> None:
    for order in (ends, ends[::-1]):
        framing = D(*order)
        assert framing.encode(b"x") == b"x" + order[0]
        assert framing.decode(framing.encode_many([b"x", b"", b"yy"])) == [b"x", b"", b"yy"]


def test_end_that_repeats_itself_is_fine() -> None:
    assert D(b"aa").decode(b"aaaa") == [b"", b""]


@pytest.mark.parametrize("wrong", [{"at_eof": "explode"}, {"at_eof": None}, {"max_size": -1}], ids=repr)
def test_wrong_value_is_a_value_error(wrong: Any) -> None:
    with pytest.raises(ValueError):
        D(b"\n", **wrong)


@pytest.mark.parametrize("wrong", [("\n",), (10,), (None,)])
def test_ends_are_bytes(wrong: Any) -> None:
    with pytest.raises(TypeError):
        D(*wrong)
    with pytest.raises(TypeError):
        D(b"\n", start="x")


# --- encode ----------------------------------------------------------------------------------------------------------


def test_encode_writes_the_first_end() -> None:
    assert D(b"\r\n", b"\n").encode(b"x") == b"x\r\n"
    assert D(b"\n", b"\r\n", start=b"<").encode(b"x") == b"<x\n"


@pytest.mark.parametrize(
    ("framing", "payload"),
    [
        (D(b"\n"), b"a\nb"),
        (D(b"\n"), b"\n"),
        (D(b"\r\n", b"\n"), b"a\nb"),
        (D(b"\n", b"\r\n"), b"a\r"),
        (D(b"aab"), b"xaaby"),
        (D(b"aa"), b"a"),
        (D(b"abab"), b"xab"),
        (D(b",", b";"), b"a;"),
    ],
    ids=repr,
)
def test_encode_refuses_a_payload_whose_end_would_be_found_too_early(framing: Any, payload: bytes) -> None:
    with pytest.raises(ValueError, match="delimited"):
        framing.encode(payload)


def test_encode_takes_what_only_looks_like_an_end() -> None:
    for framing, payload in [(D(b"\r\n"), b"a\rb\n\r"), (D(b"aab"), b"a"), (D(b"aab"), b"aa"), (D(b"abab"), b"abax")]:
        try:
            wire = framing.encode(payload)
        except ValueError:
            pytest.fail(f"{framing} refuses {payload!r}")
        assert framing.decode(wire) == [payload]


def test_kept_end_is_brought_along() -> None:
    framing = D(b"\r\n", b"\n", keep=True)
    for payload in (b"a\r\n", b"a\n", b"\n"):
        assert framing.encode(payload) == payload
        assert framing.decode(payload) == [payload]
    for wrong in (b"", b"a", b"a\nb", b"a\nb\n", b"a\n\n"):
        with pytest.raises(ValueError):
            framing.encode(wrong)


@given(framing=delimiters(), payload=st.text("ab\r\n,;x\x1c", max_size=6).map(str.encode))
def test_encode_refuses_exactly_what_does_not_come_back(framing: Any, payload: bytes) -> None:
    tail = b"" if framing.keep else framing.ends[0]
    comes_back = read(framing, framing.start + payload + tail) == ([payload], None)
    if framing.keep and framing.at_eof == "deliver":
        comes_back = comes_back and any(payload.endswith(end) for end in framing.ends)
    try:
        wire = framing.encode(payload)
    except ValueError:
        assert not comes_back
    else:
        assert comes_back
        assert wire == framing.start + payload + tail


# --- Limits ----------------------------------------------------------------------------------------------------------


def test_limit_counts_delivered_bytes(engine: Any) -> None:
    for framing, good, bad in [
        (D(b"\n", max_size=3), b"abc\n", b"abcd"),
        (D(b"\r\n", max_size=3), b"abc\r\n", b"abcd"),
        (D(b"\r\n", max_size=3), b"ab\r\r\n", b"abc\rx"),
        (D(b"\n", keep=True, max_size=3), b"ab\n", b"abc"),
        (D(b"\r\n", b"\n", keep=True, max_size=4), b"abc\n", b"abc\rx"),
        (D(b"\n", start=b"<<", max_size=3), b"<<abc\n", b"<<abcd"),
        (D(b"\n", max_size=0), b"\n", b"a"),
    ]:
        for chunks in cuts(good):
            assert outcome(engine.Decoder(framing), chunks).error is None
        for chunks in cuts(bad):
            decoder = engine.Decoder(framing)
            with pytest.raises(ff.FrameTooLarge) as caught:
                for i, chunk in enumerate(chunks):
                    assert decoder.feed(chunk) == []
                    assert i < len(chunks) - 1
            assert (caught.value.size, caught.value.limit) == (None, framing.limit)
            assert caught.value.header == framing.start


def test_limit_is_the_whole_of_it_even_without_an_end(engine: Any) -> None:
    decoder = engine.Decoder(D(b"\r\n", max_size=10))
    for _ in range(10):
        assert decoder.feed(b"x") == []
    assert decoder.feed(b"\r") == []
    with pytest.raises(ff.FrameTooLarge):
        decoder.feed(b"x")


# --- Start and end ---------------------------------------------------------------------------------------------------


def test_start_is_checked_as_it_arrives(engine: Any) -> None:
    for wire, header in [(b"x", b"x"), (b"<x", b"<x"), (b"<-x", b"<-x")]:
        for chunks in cuts(wire):
            error = outcome(engine.Decoder(D(b"\n", start=b"<--")), chunks).error
            assert error
            assert (error.kind, error.header) == (ff.BadMagic, header)


@pytest.mark.parametrize(
    ("at_eof", "rest", "frames", "truncated"),
    [
        ("error", b"", [], False),
        ("error", b"<", [], True),
        ("error", b"<<abc", [], True),
        ("deliver", b"", [], False),
        ("deliver", b"<", [], True),
        ("deliver", b"<<", [], False),
        ("deliver", b"<<abc\r", [b"abc\r"], False),
        ("drop", b"", [], False),
        ("drop", b"<", [], False),
        ("drop", b"<<abc", [], False),
    ],
)
def test_end_of_the_stream(engine: Any, at_eof: Any, rest: bytes, frames: list[bytes], truncated: bool) -> None:
    framing = D(b"\r\n", start=b"<<", at_eof=at_eof)
    for chunks in cuts(b"<<x\r\n" + rest):
        got = outcome(engine.Decoder(framing), chunks)
        assert got.frames == [b"x", *frames]
        if not truncated:
            assert got.error is None
        else:
            assert got.error
            assert (got.error.kind, got.error.offset, got.error.partial) == (ff.TruncatedFrame, 5, rest)
            assert got.error.stage == ("header" if len(rest) < 2 else "payload")


@given(framing=delimiters(), text=st.text("ab\r\n,;x\x1c\x0b", max_size=14))
def test_any_text_against_the_model(engine: Any, framing: Any, text: str) -> None:
    wire = text.encode()
    for chunks in cuts(wire):
        assert outcome(engine.Decoder(framing), chunks) == read(framing, wire)
