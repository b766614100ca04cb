"""Every error: its bases, attributes and text; each pickles, copies, and equals another of the same arguments."""

import copy
import pickle
from typing import Any

import pytest

import fastframe as ff
from fastframe import errors

EXAMPLES: list[Any] = [
    ff.InvalidFrame("odd", b"\1", 3, ": looks like TLS"),
    ff.FrameTooLarge(4278190081, 1048576, b"\xff\0\0\1", 7),
    ff.FrameTooLarge(None, 10),
    ff.BadLength("length -2 is negative", b"\xff\xff\xff\xfe", 0),
    ff.BadMagic("frame begins with 00 instead of 01", b"\0"),
    ff.BadTrailer("frame ends with 00 instead of 2c", b"1:", 5),
    ff.TruncatedFrame("payload", 5, 9, b"\0\0\0\5h", 20),
    ff.TruncatedFrame("header", 2, None, b"\0\0", 0),
    ff.ConnectionClosed(),
    ff.ConnectionLost(104, "Connection reset by peer"),
    ff.FrameTimeout("no frame within 5 seconds"),
    ff.SendInterrupted(300),
    ff.ConcurrentUse(),
    ff.QueueFull(5, 100, 101),
]
BUILTIN = {
    ff.InvalidFrame: ValueError,
    ff.FrameTooLarge: ValueError,
    ff.BadLength: ValueError,
    ff.BadMagic: ValueError,
    ff.BadTrailer: ValueError,
    ff.TruncatedFrame: EOFError,
    ff.ConnectionClosed: EOFError,
    ff.ConnectionLost: ConnectionError,
    ff.FrameTimeout: TimeoutError,
}


def test_every_error_is_a_frame_error_and_public() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), ff.FrameError)
        assert getattr(ff, name) is getattr(errors, name)


@pytest.mark.parametrize(("kind", "base"), BUILTIN.items(), ids=lambda k: k.__name__)
def test_bases(kind: Any, base: Any) -> None:
    assert issubclass(kind, base)


def test_faults_of_the_bytes_are_invalid_frames() -> None:
    for kind in (ff.FrameTooLarge, ff.BadLength, ff.BadMagic, ff.BadTrailer):
        assert issubclass(kind, ff.InvalidFrame)
    for kind in (ff.TruncatedFrame, ff.ConnectionClosed, ff.ConnectionLost, ff.QueueFull):
        assert not issubclass(kind, ff.InvalidFrame)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda e: type(e).__name__)
def test_pickles_copies_and_equals(error: Any) -> None:
    twins = [pickle.loads(pickle.dumps(error, p)) for p in range(pickle.HIGHEST_PROTOCOL + 1)]
    twins += [copy.copy(error), copy.deepcopy(error), error._again()]
    for twin in twins:
        assert type(twin) is type(error)
        assert twin is not error
        assert twin == error
        assert hash(twin) == hash(error)
        assert (str(twin), repr(twin), vars(twin)) == (str(error), repr(error), vars(error))


def test_unequal_ones_are_unequal() -> None:
    for i, one in enumerate(EXAMPLES):
        for j, other in enumerate(EXAMPLES):
            assert (one == other) == (i == j)
    assert EXAMPLES[0] != "odd"
    assert ff.BadLength("x") != ff.BadMagic("x")


def test_again_has_no_traceback_or_context() -> None:
    try:
        try:
            raise LookupError
        except LookupError:
            raise EXAMPLES[1]  # noqa: B904
    except ff.FrameTooLarge as error:
        again = error._again()
    assert again.__traceback__ is None
    assert again.__context__ is None


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (EXAMPLES[0], "odd, at offset 3: looks like TLS"),
        (EXAMPLES[1], "frame of 4278190081 bytes, limit 1048576, at offset 7"),
        (EXAMPLES[2], "frame of more than 10 bytes, limit 10"),
        (EXAMPLES[6], "stream ended in the payload of a frame: 5 of 9 bytes, at offset 20"),
        (EXAMPLES[7], "stream ended in the header of a frame: 2 bytes, at offset 0"),
        (EXAMPLES[8], "the stream has ended"),
        (EXAMPLES[9], "[Errno 104] Connection reset by peer"),
        (EXAMPLES[13], "5 bytes more than 100 pending exceed 101: flush() first"),
    ],
    ids=lambda x: "" if isinstance(x, str) else type(x).__name__,
)
def test_text_gives_both_numbers(error: Any, text: str) -> None:
    assert str(error) == text


def test_send_interrupted_says_what_to_do() -> None:
    assert "300 bytes" in str(ff.SendInterrupted(300))
    assert "flush()" in str(ff.SendInterrupted(300))
    assert ff.SendInterrupted(300).pending == 300


def test_attributes() -> None:
    large = ff.FrameTooLarge(5, 4, b"\5", 9)
    assert (large.size, large.limit, large.header, large.offset) == (5, 4, b"\5", 9)
    cut = ff.TruncatedFrame("payload", 5, 9, b"abc", 20)
    assert (cut.stage, cut.got, cut.want, cut.partial, cut.offset) == ("payload", 5, 9, b"abc", 20)
    lost = ff.ConnectionLost(104, "reset")
    assert (lost.errno, lost.strerror) == (104, "reset")
    full = ff.QueueFull(1, 2, 3)
    assert (full.size, full.pending, full.limit) == (1, 2, 3)
    assert (ff.BadMagic("x").offset, ff.BadMagic("x").header) == (None, b"")


def test_located_keeps_all_else() -> None:
    error = ff.FrameTooLarge(5, 4, b"GET ")._located(0, b"GET / HT")
    assert (type(error), error.size, error.limit, error.header, error.offset) == (ff.FrameTooLarge, 5, 4, b"GET ", 0)
    assert str(error) == "frame of 5 bytes, limit 4, at offset 0: looks like HTTP"
    assert str(ff.BadLength("odd")._located(8, b"GET / HT")) == "odd, at offset 8"


@pytest.mark.parametrize(
    ("first", "hint"),
    [
        (b"\x16\x03\x01\x02\x00", "TLS"),
        (b"\x15\x03", "TLS"),
        (b"\x17\x03\x03", "TLS"),
        (b"\x14\x03\x03", "TLS"),
        (b"GET", "HTTP"),
        (b"POST / H", "HTTP"),
        (b"DELETE /", "HTTP"),
        (b"HTTP/1.1", "HTTP"),
        (b"PRI * HT", "HTTP"),
        (b"SSH-2.0-", "SSH"),
        (b"SSH", "SSH"),
        (b"PROXY TC", "the PROXY protocol"),
        (b"\r\n\r\n\0\r\nQ", "the PROXY protocol"),
        (b"", ""),
        (b"\x16", ""),
        (b"\x18\x03\x03", ""),
        (b"GE", ""),
        (b"GETS", ""),
        (b"\r\n\r", "the PROXY protocol"),
        (b"hello", ""),
    ],
)
def test_hint(first: bytes, hint: str) -> None:
    assert errors._hint(first) == (f": looks like {hint}" if hint else "")
