"""FixedSize, UntilEOF and Computed; and the promise that all descriptions are public."""

from typing import Any

import pytest

import fastframe as ff
from fastframe import framing as module
from support import size_of_header


def test_every_description_is_public() -> None:
    assert len(module.__all__) == 10
    for name in module.__all__:
        assert getattr(ff, name) is getattr(module, name)


# --- FixedSize -------------------------------------------------------------------------------------------------------


def test_fixed_size() -> None:
    framing = ff.FixedSize(3)
    assert framing.limit == 3
    assert framing.encode_many([b"abc", b"def"]) == b"abcdef"
    assert framing.decode(b"abcdef") == [b"abc", b"def"]
    with pytest.raises(ValueError, match="must have 3 bytes, not 2"):
        framing.encode(b"ab")
    with pytest.raises(ff.FrameTooLarge):
        framing.encode(b"abcd")
    with pytest.raises(ff.TruncatedFrame) as caught:
        framing.decode(b"abcd")
    assert (caught.value.stage, caught.value.got, caught.value.want, caught.value.offset) == ("payload", 1, 3, 3)


@pytest.mark.parametrize("size", [0, -1, 1 << 80])
def test_fixed_size_must_be_positive(size: int) -> None:
    with pytest.raises(ValueError):
        ff.FixedSize(size)
    with pytest.raises(TypeError):
        ff.FixedSize("3")
    with pytest.raises(TypeError):
        ff.FixedSize()


# --- UntilEOF --------------------------------------------------------------------------------------------------------


def test_until_eof() -> None:
    framing = ff.UntilEOF(5)
    assert framing.encode(b"abc") == b"abc"
    assert framing.decode(b"abc") == [b"abc"]
    assert framing.decode(b"") == [b""]
    assert framing.decode(b"12345") == [b"12345"]
    with pytest.raises(ff.FrameTooLarge) as caught:
        framing.decode(b"123456")
    assert (caught.value.size, caught.value.limit, caught.value.header) == (None, 5, b"")


def test_until_eof_is_one_frame() -> None:
    framing = ff.UntilEOF()
    assert framing.encode_many([b"a"]) == b"a"
    assert framing.encode_many([]) == b""
    with pytest.raises(ValueError, match="one frame, not 2"):
        framing.encode_many([b"a", b"b"])


def test_until_eof_judges_as_bytes_arrive(engine: Any) -> None:
    decoder = engine.Decoder(ff.UntilEOF(3))
    assert [decoder.feed(b"x") for _ in range(3)] == [[], [], []]
    with pytest.raises(ff.FrameTooLarge):
        decoder.feed(b"x")


# --- Computed --------------------------------------------------------------------------------------------------------


def test_computed() -> None:
    framing = ff.Computed(1, size_of_header)
    assert framing.decode(b"\1\3ab\2c") == [b"\1", b"\3ab", b"\2c"]
    assert framing.encode(b"\3ab") == b"\3ab"
    for wrong in (b"", b"\3a", b"\3abc", b"\0", b"\xff"):
        with pytest.raises(ValueError):
            framing.encode(wrong)


def test_computed_says_what_the_function_said() -> None:
    framing = ff.Computed(1, size_of_header)
    with pytest.raises(ff.BadLength, match="255 is reserved") as caught:
        framing.decode(b"\2a\xff")
    assert (caught.value.header, caught.value.offset) == (b"\xff", 2)
    with pytest.raises(ff.BadLength, match="frame of 0 bytes is shorter than its header, 1"):
        framing.decode(b"\0")
    with pytest.raises(ff.FrameTooLarge) as large:
        ff.Computed(1, size_of_header, max_size=5).decode(b"\6")
    assert (large.value.size, large.value.limit, large.value.header) == (6, 5, b"\6")


def test_computed_keeps_the_class_of_an_invalid_frame() -> None:
    def function(header: bytes) -> int:
        if header == b"M":
            return 1
        if header == b"L":
            raise ff.FrameTooLarge(99, 5)
        raise ff.BadMagic("not mine")

    framing = ff.Computed(1, function)
    with pytest.raises(ff.BadMagic, match="not mine, at offset 1") as caught:
        framing.decode(b"M?")
    assert (caught.value.header, caught.value.offset) == (b"?", 1)
    with pytest.raises(ff.FrameTooLarge) as large:
        framing.decode(b"ML")
    assert (large.value.size, large.value.limit, large.value.header, large.value.offset) == (99, 5, b"L", 1)


def test_computed_message_is_escaped() -> None:
    def function(header: bytes) -> int:
        raise ValueError(header.decode("latin-1") + "\n\x1b[31m")

    with pytest.raises(ff.BadLength) as caught:
        ff.Computed(1, function).decode(b"\xff")
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("args", "kind"),
    [
        ((0, size_of_header), ValueError),
        ((-1, size_of_header), ValueError),
        ((1 << 20, size_of_header), ValueError),
        ((1, None), TypeError),
        ((1, 5), TypeError),
        (("1", size_of_header), TypeError),
        ((1,), TypeError),
    ],
)
def test_wrong_computed(args: Any, kind: Any) -> None:
    with pytest.raises(kind):
        ff.Computed(*args)


def test_computed_passes_what_else_a_function_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        ff.Computed(1, lambda header: 1 // 0).decode(b"a")
    with pytest.raises(TypeError):
        ff.Computed(1, lambda header: "5").decode(b"a")
    with pytest.raises(ZeroDivisionError):
        ff.Computed(1, lambda header: 1 // 0).encode(b"a")
