"""How a decoder ends: faults behind good frames, the end of the stream, any call after any other's failure."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastframe as ff
from model import fault
from support import WAYS, cuts, outcome

FRAMING = ff.LengthField(2, max_size=9)
GOOD = b"\0\2hi"
FORGED = b"\xff\xff"


def faulty(engine: Any, stream: bytes = GOOD + FORGED + b"more") -> Any:
    """A decoder with frames delivered and an error pending."""
    decoder = engine.Decoder(FRAMING)
    assert decoder.feed(stream) == [b"hi"]
    return decoder


# --- Good frames come first ------------------------------------------------------------------------------------------


def test_fault_without_frames_is_raised_at_once(engine: Any) -> None:
    for method in ("feed", "feed_batch"):
        decoder = engine.Decoder(FRAMING)
        with pytest.raises(ff.FrameTooLarge) as caught:
            getattr(decoder, method)(FORGED)
        assert fault(caught.value)[:5] == (ff.FrameTooLarge, 0, FORGED, 65535, 9)
        assert decoder.error == caught.value


def test_fault_behind_frames_is_seen_at_once_and_raised_by_the_next_call(engine: Any) -> None:
    decoder = faulty(engine)
    assert type(decoder.error) is ff.FrameTooLarge
    assert (decoder.needed, decoder.stats.errors) == (0, 1)
    with pytest.raises(ff.FrameTooLarge) as caught:
        decoder.feed(b"")
    assert caught.value == decoder.error
    assert caught.value.offset == 4


def test_fault_behind_a_batch(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    assert list(decoder.feed_batch(GOOD * 2 + FORGED)) == [b"hi", b"hi"]
    assert decoder.error.offset == 8
    with pytest.raises(ff.FrameTooLarge):
        decoder.feed_batch(b"")


def test_pending_fault_still_holds_its_bytes(engine: Any) -> None:
    decoder = faulty(engine)
    assert decoder.buffered == 6
    assert decoder.stats == (1, 4, 1)


def test_unread_withdraws_a_pending_fault(engine: Any) -> None:
    decoder = faulty(engine)
    assert decoder.unread() == FORGED + b"more"
    assert (decoder.error, decoder.buffered, decoder.needed) == (None, 0, 2)
    assert decoder.stats.errors == 0
    assert decoder.feed(GOOD) == [b"hi"]


def test_assigning_framing_withdraws_a_pending_fault(engine: Any) -> None:
    decoder = faulty(engine, GOOD + b"HELLO\n")
    decoder.framing = ff.Delimiter(b"\n")
    assert (decoder.error, decoder.stats.errors) == (None, 0)
    assert decoder.feed(b"") == [b"HELLO"]


def test_assigning_a_framing_that_fails_too(engine: Any) -> None:
    decoder = faulty(engine)
    decoder.framing = ff.Netstring()
    with pytest.raises(ff.BadLength) as caught:
        decoder.pop()
    assert (caught.value.offset, caught.value.header) == (4, b"\xff")


def test_wrong_framing_does_not_withdraw(engine: Any) -> None:
    decoder = faulty(engine)
    with pytest.raises(TypeError):
        decoder.framing = None
    assert type(decoder.error) is ff.FrameTooLarge


NEXT_CALLS = [
    ("feed", b""),
    ("feed", b"x"),
    ("feed_batch", b""),
    ("push", b""),
    ("push", b"x"),
    ("pop",),
    ("get_buffer",),
    ("buffer_updated", 0),
    ("feed_eof",),
]


@pytest.mark.parametrize("call", NEXT_CALLS, ids=str)
def test_any_next_call_raises_a_pending_fault(engine: Any, call: Any) -> None:
    decoder = faulty(engine)
    with pytest.raises(ff.FrameTooLarge):
        getattr(decoder, call[0])(*call[1:])
    assert (decoder.buffered, decoder.needed) == (0, 0)


@pytest.mark.parametrize("call", [*NEXT_CALLS, ("unread",)], ids=str)
def test_raised_fault_is_raised_for_ever_equal_and_fresh(engine: Any, call: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    seen = []
    with pytest.raises(ff.FrameTooLarge) as caught:
        decoder.feed(FORGED)
    seen.append(caught.value)
    for _ in range(3):
        with pytest.raises(ff.FrameTooLarge) as caught:
            getattr(decoder, call[0])(*call[1:])
        seen.append(caught.value)
        assert (decoder.buffered, decoder.needed) == (0, 0)
    assert all(error == seen[0] for error in seen)
    assert len({id(error) for error in seen}) == 4
    assert decoder.stats == (0, 0, 1)


def test_raised_fault_cannot_be_assigned_away(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    with pytest.raises(ff.FrameTooLarge):
        decoder.feed(FORGED)
    with pytest.raises(ff.FrameTooLarge):
        decoder.framing = ff.Netstring()
    assert decoder.framing is FRAMING


def test_nothing_is_kept_after_a_fault(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    for _ in range(50):
        with pytest.raises(ff.FrameTooLarge):
            decoder.feed(FORGED + bytes(100_000))
        assert decoder.buffered == 0


@given(more=st.lists(st.binary(max_size=20), max_size=5), way=st.sampled_from(list(WAYS)))
def test_more_bytes_after_an_error_change_nothing(engine: Any, more: list[bytes], way: str) -> None:
    decoder = engine.Decoder(FRAMING)
    with pytest.raises(ff.FrameTooLarge) as caught:
        decoder.feed(FORGED)
    for chunk in more:
        with pytest.raises(ff.FrameTooLarge) as again:
            WAYS[way](decoder, chunk, [])
        assert again.value == caught.value


def test_traceback_of_one_raise_is_not_in_the_next(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    depths = []
    for _ in range(5):
        with pytest.raises(ff.FrameTooLarge) as caught:
            decoder.feed(FORGED)
        depths.append(len(caught.traceback))
        assert caught.value.__context__ is None
    assert len(set(depths[1:])) == 1  # the first one may come from deeper inside


# --- What a fault says -----------------------------------------------------------------------------------------------

FAULTS = [
    (ff.LengthField(4), b"\xff\0\0\1", "frame of 4278190081 bytes, limit 16777216, at offset 0"),
    (ff.LengthField(4, signed=True), b"\xff\xff\xff\xfe", "length -2 is negative, at offset 0"),
    (ff.LengthField(8), b"\x80" + bytes(7), f"frame of {1 << 63} bytes, limit 16777216, at offset 0"),
    (ff.LengthField(8), b"\xff" * 8, f"frame of {(1 << 64) - 1} bytes, limit 16777216, at offset 0"),
    (ff.LengthField(4, signed=True, escape=(-1, 8)), b"\xff" * 4 + b"@" + bytes(7), f"frame of {1 << 62} bytes"),
    (ff.LengthField(8, header_size=100), b"\xff" * 8, f"frame of {(1 << 64) - 1} bytes"),
    (ff.LengthField(1, adjustment=-2), b"\1", "frame of 0 bytes is shorter than its header and trailer, 1"),
    (ff.LengthField(1, trailer=b"xy"), b"\1", "is shorter than its header and trailer, 3"),
    (ff.LengthField(1, trailer=b"x"), b"\1y", "frame ends with 79 instead of 78"),
    (ff.LengthField(1, offset=2, magic=b"AB"), b"AC", "frame begins with 4143 instead of 4142"),
    (ff.Delimiter(b"\n", max_size=2), b"abc", "frame of more than 2 bytes, limit 2"),
    (ff.Netstring(), b"2:abc", "frame ends with 63 instead of 2c"),
    (ff.Netstring(), b"02:", "length has a leading zero"),
    (ff.VarintLength(), b"\xff" * 5, "varint has no end in 5 bytes"),
    (ff.VarintLength(), b"\x80\0", "varint of 2 bytes is not minimal"),
    (ff.UntilEOF(2), b"abc", "frame of more than 2 bytes, limit 2"),
    (ff.AsciiLength(), b"12x", "length is not decimal: 0x78 at byte 2"),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("framing", "wire", "text"), FAULTS, ids=[f"{t[0]!r}"[:40] for t in FAULTS])
def test_fault_says_both_numbers_whatever_the_chunks(
    engine: Any, framing: Any, wire: bytes, text: str, way: str
) -> None:
    seen = set()
    for chunks in cuts(wire):
        decoder = engine.Decoder(framing)
        outcome(decoder, chunks, way, eof=False)
        assert isinstance(decoder.error, ff.InvalidFrame)
        seen.add((str(decoder.error), decoder.error.args))
    assert len(seen) == 1
    assert text in seen.pop()[0]


@given(junk=st.binary(min_size=1, max_size=30))
def test_message_never_has_raw_bytes_of_the_peer(engine: Any, junk: bytes) -> None:
    for framing in (ff.Netstring(), ff.ContentLength(), ff.AsciiLength(), ff.LengthField(offset=1, magic=b"\xfe")):
        decoder = engine.Decoder(framing)
        outcome(decoder, [junk])
        assert decoder.error is not None or framing == ff.ContentLength() or not junk.strip(b"0123456789:,")
        text = str(decoder.error)
        assert text.isascii()
        assert text.isprintable()


FOREIGN = [
    (b"\x16\x03\x01\x02\0\1\0\1\xfc\x03\x03", "TLS"),
    (b"\x15\x03\x03\0\2\2\x28", "TLS"),
    (b"GET / HTTP/1.1\r\n", "HTTP"),
    (b"POST /x HTTP/1.1\r\n", "HTTP"),
    (b"HTTP/1.1 400 Bad Request\r\n", "HTTP"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
    (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "the PROXY protocol"),
    (b"\r\n\r\n\0\r\nQUIT\n\x21\x11", "the PROXY protocol"),
]


@pytest.mark.parametrize(("wire", "name"), FOREIGN, ids=[w[:5].hex() for w, _ in FOREIGN])
@pytest.mark.parametrize(
    "framing",
    [ff.LengthField(4), ff.Netstring(), ff.LengthField(offset=4, magic=b"MAGI"), ff.VarintLength(3, max_size=9)],
    ids=repr,
)
def test_hint_names_the_foreign_protocol(engine: Any, framing: Any, wire: bytes, name: str) -> None:
    texts = set()
    for chunks in ([wire], [wire[:8], wire[8:]], [bytes([b]) for b in wire]):
        decoder = engine.Decoder(framing)
        with pytest.raises(ff.InvalidFrame) as caught:
            for chunk in chunks:
                decoder.feed(chunk)
        if isinstance(framing, ff.LengthField) and not framing.magic:
            assert str(caught.value).endswith(f": looks like {name}")
        texts.add(str(caught.value))
    assert framing != ff.LengthField(4) or len(texts) == 1


@pytest.mark.parametrize("method", ["feed", "feed_batch"])
def test_hint_sees_what_was_pushed_before(engine: Any, method: str) -> None:
    for cut in range(9):
        decoder = engine.Decoder(ff.Netstring())
        decoder.push(b"SSH-2.0-x"[:cut])
        with pytest.raises(ff.BadLength, match="looks like SSH"):
            getattr(decoder, method)(b"SSH-2.0-x"[cut:])


@pytest.mark.parametrize("escape", [(-1, 8), (5, 8), (-1, 1), (5, 1)])
def test_negative_length_beside_an_escape(engine: Any, escape: Any) -> None:
    framing = ff.LengthField(1, signed=True, escape=escape, max_size=1 << 40)
    for way in WAYS:
        decoder = engine.Decoder(framing)
        got = outcome(decoder, [b"\x80\1"], way, eof=False)
        assert got.error
        assert (got.error.kind, got.error.header) == (ff.BadLength, b"\x80")


def test_hint_only_for_the_first_frame(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    decoder.feed(GOOD + b"GET / HTTP/1.1")
    assert "looks like" not in str(decoder.error)


def test_little_endian_length_read_as_big_endian(engine: Any) -> None:
    with pytest.raises(ff.FrameTooLarge, match="frame of 83886080 bytes"):
        engine.Decoder(ff.LengthField(4)).feed(b"\5\0\0\0hello")


@pytest.mark.parametrize("bit", range(8 * 8))
def test_single_bit_flips_are_never_delivered_as_the_frame(engine: Any, bit: int) -> None:
    framing = ff.LengthField(1, offset=2, magic=b"MG", trailer=b"END", max_size=50)
    good = framing.encode(b"ab")
    flipped = bytearray(good)
    flipped[bit // 8] ^= 128 >> bit % 8
    got = outcome(engine.Decoder(framing), [good + flipped])
    assert got.frames[0] == b"ab"
    if bit // 8 in (3, 4):
        assert len(got.frames) == 2  # the payload itself: that is what checksums are for
    else:
        assert len(got.frames) == 1
        assert got.error
        assert got.error.offset == len(good)


# --- The end of the stream -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", range(len(GOOD)))
def test_end_at_each_place(engine: Any, cut: int) -> None:
    for before in (b"", GOOD):
        decoder = engine.Decoder(FRAMING)
        decoder.feed(before + GOOD[:cut])
        if cut == 0:
            assert decoder.feed_eof() == []
            assert decoder.error is None
            continue
        with pytest.raises(ff.TruncatedFrame) as caught:
            decoder.feed_eof()
        error = caught.value
        assert (error.stage, error.got) == ("header" if cut < 2 else "payload", cut)
        assert error.want == (None if cut < 2 else 4)
        assert (error.partial, error.offset) == (GOOD[:cut], len(before))
        assert (decoder.error, decoder.buffered, decoder.needed) == (error, 0, 0)
        assert decoder.stats.errors == 1


def test_frames_held_at_the_end_come_before_the_truncation(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    decoder.push(GOOD * 2 + b"\0")
    assert decoder.feed_eof() == [b"hi", b"hi"]
    assert type(decoder.error) is ff.TruncatedFrame
    for _ in range(2):
        with pytest.raises(ff.TruncatedFrame):
            decoder.feed_eof()
    with pytest.raises(ff.TruncatedFrame):
        decoder.pop()


def test_fault_held_at_the_end(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    decoder.push(GOOD + FORGED)
    assert decoder.feed_eof() == [b"hi"]
    assert type(decoder.error) is ff.FrameTooLarge
    with pytest.raises(ff.FrameTooLarge):
        decoder.feed_eof()


def test_after_a_clean_end(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    decoder.feed(GOOD)
    for _ in range(2):
        assert decoder.feed_eof() == []
        assert decoder.pop() is None
        assert decoder.feed(b"") == []
        assert len(decoder.feed_batch(b"")) == 0
        assert decoder.push(b"") is None
        assert decoder.unread() == b""
        assert decoder.buffer_updated(0) == []
        assert (decoder.error, decoder.needed, decoder.buffered) == (None, 0, 0)
        for method in ("feed", "feed_batch", "push"):
            with pytest.raises(ff.ConnectionClosed):
                getattr(decoder, method)(b"x")
        with pytest.raises(ff.ConnectionClosed):
            decoder.get_buffer()
        with pytest.raises(ValueError):
            decoder.buffer_updated(1)
    assert decoder.stats == (1, 4, 0)


@pytest.mark.parametrize(("at_eof", "wanted"), [("error", None), ("deliver", [b"rest"]), ("drop", [])])
def test_rest_of_a_delimited_stream(engine: Any, at_eof: Any, wanted: Any) -> None:
    decoder = engine.Decoder(ff.Delimiter(b"\n", at_eof=at_eof))
    assert decoder.feed(b"line\nrest") == [b"line"]
    if wanted is None:
        with pytest.raises(ff.TruncatedFrame) as caught:
            decoder.feed_eof()
        assert fault(caught.value)[5:] == ("payload", 4, None, b"rest")
    else:
        assert decoder.feed_eof() == wanted
        assert decoder.error is None
        assert decoder.stats == (1 + len(wanted), 5 + 4 * len(wanted), 0)


def test_rest_beyond_the_limit_is_too_large_at_the_end(engine: Any) -> None:
    decoder = engine.Decoder(ff.Delimiter(b"\r\n", at_eof="deliver", max_size=3))
    assert decoder.feed(b"abc\r") == []
    with pytest.raises(ff.FrameTooLarge):
        decoder.feed_eof()
    assert decoder.stats.errors == 1


def test_multiprocessing_end_right_after_a_header_is_no_clean_end(engine: Any) -> None:
    decoder = engine.Decoder(ff.LengthField(4, signed=True, escape=(-1, 8)))
    decoder.feed(b"\0\0\0\5")
    with pytest.raises(ff.TruncatedFrame) as caught:
        decoder.feed_eof()
    assert (caught.value.got, caught.value.want) == (4, 9)


# --- Any call after any other's failure ------------------------------------------------------------------------------

FAILURES: dict[str, Any] = {
    "fault": lambda d: d.feed(FORGED),
    "fault in batch": lambda d: d.feed_batch(FORGED),
    "fault behind frames": lambda d: d.feed(GOOD + FORGED),
    "pushed fault": lambda d: (d.push(FORGED), d.pop()),
    "truncated": lambda d: (d.feed(b"\0"), d.feed_eof()),
    "after the end": lambda d: (d.feed_eof(), d.feed(b"x")),
    "no buffer": lambda d: d.feed(None),
    "no framing": lambda d: setattr(d, "framing", 1),
    "beyond the buffer": lambda d: d.buffer_updated(1 << 40),
    "negative": lambda d: d.buffer_updated(-1),
    "huge": lambda d: d.buffer_updated(1 << 100),
    "hint": lambda d: d.get_buffer("x"),
    "huge hint": lambda d: d.get_buffer(1 << 100),
    "arguments": lambda d: d.feed(),
}
CALLS: dict[str, Any] = {
    "feed": lambda d: d.feed(GOOD),
    "feed_batch": lambda d: list(d.feed_batch(GOOD)),
    "push": lambda d: d.push(GOOD),
    "pop": lambda d: d.pop(),
    "feed_eof": lambda d: d.feed_eof(),
    "get_buffer": lambda d: d.get_buffer().release(),
    "buffer_updated": lambda d: d.buffer_updated(0),
    "unread": lambda d: d.unread(),
    "framing": lambda d: setattr(d, "framing", FRAMING),
    "needed": lambda d: d.needed,
    "getters": lambda d: (d.buffered, d.error, d.stats, d.framing),
    "repr": repr,
}
PROMISED = (ff.FrameError, TypeError, ValueError, OverflowError)


@pytest.mark.parametrize("failure", FAILURES)
def test_any_two_calls_after_a_failure(engine: Any, failure: str) -> None:
    for first, second in itertools.product(CALLS, CALLS):
        decoder = engine.Decoder(FRAMING)
        for call in (FAILURES[failure], CALLS[first], CALLS[second], FAILURES[failure], CALLS[first]):
            try:
                call(decoder)
            except PROMISED:
                pass
            assert decoder.buffered >= 0
            assert decoder.stats.errors == (decoder.error is not None)


@pytest.mark.parametrize(
    "failure", ["no buffer", "no framing", "beyond the buffer", "negative", "huge", "hint", "arguments"]
)
def test_misuse_changes_nothing(engine: Any, failure: str) -> None:
    for cut in range(len(GOOD)):
        decoder = engine.Decoder(FRAMING)
        decoder.feed(GOOD[:cut])
        with pytest.raises((TypeError, ValueError, OverflowError)):
            FAILURES[failure](decoder)
        assert (decoder.error, decoder.buffered) == (None, cut)
        assert decoder.feed(GOOD[cut:]) == [b"hi"]
