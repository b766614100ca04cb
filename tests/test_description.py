"""What all descriptions share: immutable, hashable, comparable, picklable, their repr evaluates back; encode and decode."""

import array
import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastframe as ff
from fastframe._description import MAX_SIZE
from support import framings, size_of_header, streams

EVERY: list[Any] = [
    ff.LengthField(),
    ff.LengthField(2, "little", signed=True, offset=1, header_size=5, adjustment=-5, strip=0, max_size=9, magic=b"M"),
    ff.LengthField(1, trailer=b"end", trailer_size=3, template=b"x", mask=127),
    ff.LengthField(4, escape=(-1, 8), signed=True),
    ff.VarintLength(),
    ff.VarintLength(3, offset=1, strict=False, strip=0, template=b"t", max_size=10),
    ff.AsciiLength(),
    ff.AsciiLength(6, base=16, pad=b" ", align="left", adjustment=-2, strip=0, max_size=10),
    ff.AsciiLength(9, separator=b" "),
    ff.Netstring(),
    ff.Netstring(7),
    ff.Delimiter(b"\n"),
    ff.Delimiter(b"\r\n", b"\n", start=b"^", keep=True, at_eof="drop", max_size=10),
    ff.FixedSize(12),
    ff.UntilEOF(),
    ff.UntilEOF(max_size=5),
    ff.ContentLength(),
    ff.ContentLength(max_size=5),
    ff.Computed(3, size_of_header),
    ff.Computed(3, size_of_header, max_size=40),
]
WITH_LIMIT = [framing for framing in EVERY if not isinstance(framing, ff.FixedSize)]
each = pytest.mark.parametrize("framing", EVERY, ids=repr)


@each
def test_repr_evaluates_back(framing: Any) -> None:
    again = eval(repr(framing), {**vars(ff), "size_of_header": size_of_header})
    assert again == framing
    assert repr(again) == repr(framing)


@given(framing=framings())
def test_repr_pickle_and_copy_of_any(framing: Any) -> None:
    again = eval(repr(framing), {**vars(ff), "size_of_header": size_of_header})
    for twin in (
        again,
        pickle.loads(pickle.dumps(framing)),
        framing.replace(),
        copy.copy(framing),
        copy.deepcopy(framing),
    ):
        assert type(twin) is type(framing)
        assert twin == framing
        assert hash(twin) == hash(framing)
        assert (twin.limit, repr(twin)) == (framing.limit, repr(framing))


def test_repr_is_short() -> None:
    assert repr(ff.LengthField()) == "LengthField(4, 'big')"
    assert repr(ff.LengthField(2, strip=0)) == "LengthField(2, 'big', strip=0)"
    assert repr(ff.Delimiter(b"\r\n", b"\n", keep=True)) == "Delimiter(b'\\r\\n', b'\\n', keep=True)"
    assert repr(ff.Netstring()) == "Netstring()"
    assert repr(ff.Computed(3, size_of_header)) == "Computed(3, size_of_header)"


def test_different_ones_are_unequal() -> None:
    assert len(set(EVERY)) == len(EVERY)
    for i, one in enumerate(EVERY):
        for j, other in enumerate(EVERY):
            assert (one == other) == (i == j)
    assert ff.Netstring() != 3
    assert ff.Netstring(5) != ff.ContentLength(5)


def test_different_spellings_of_a_default_are_different_givens() -> None:
    assert ff.LengthField(4, max_size=MAX_SIZE) == ff.LengthField()


@each
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(framing: Any, protocol: int) -> None:
    assert pickle.loads(pickle.dumps(framing, protocol)) == framing


@each
def test_immutable(framing: Any) -> None:
    before = repr(framing)
    for name in ("limit", "max_size", "size", "ends", "width", "_given", "new"):
        with pytest.raises(AttributeError):
            setattr(framing, name, 3)
        with pytest.raises(AttributeError):
            delattr(framing, name)
    assert not hasattr(framing, "__dict__")
    assert repr(framing) == before


def test_replace() -> None:
    framing = ff.LengthField(1, max_size=300)
    assert framing.limit == 255
    wide = framing.replace(width=8)
    assert (wide.width, wide.max_size, wide.limit) == (8, 300, 300)
    assert framing.width == 1
    assert ff.Delimiter(b"\n").replace(ends=[b"\0"]) == ff.Delimiter(b"\0")
    assert ff.Delimiter(b"\n").replace(keep=True) == ff.Delimiter(b"\n", keep=True)
    assert ff.FixedSize(3).replace(size=4) == ff.FixedSize(4)
    assert ff.LengthField(2, offset=1).replace(offset=2).header_size == 4


def test_replace_raises_as_the_class_does() -> None:
    with pytest.raises(ValueError):
        ff.LengthField().replace(width=9)
    with pytest.raises(TypeError):
        ff.LengthField().replace(nonsense=1)
    with pytest.raises(ValueError):
        ff.Delimiter(b"\n").replace(ends=[])


@pytest.mark.parametrize("framing", WITH_LIMIT, ids=repr)
def test_max_size(framing: Any) -> None:
    cls = type(framing)
    assert framing.replace(max_size=0 if not getattr(framing, "keep", False) else 2).limit in (0, 2)
    for wrong in (-1, -(1 << 70)):
        with pytest.raises(ValueError):
            framing.replace(max_size=wrong)
    for wrong in ("1", None, 1.5, True):
        with pytest.raises(TypeError):
            framing.replace(max_size=wrong)
    huge = framing.replace(max_size=1 << 100)
    assert huge.max_size == 1 << 100
    assert 0 < huge.limit < 1 << 63
    assert cls is type(huge)


@pytest.mark.parametrize("framing", WITH_LIMIT, ids=repr)
def test_default_limit_is_16_mib(framing: Any) -> None:
    assert framing.max_size in (16 * 1024 * 1024, 5, 7, 9, 10, 40)


def test_base_class_is_not_made_or_extended() -> None:
    with pytest.raises(TypeError):
        ff.Framing()
    for base in {type(framing) for framing in EVERY} | {ff.Framing}:
        with pytest.raises(TypeError, match="Computed"):
            type("Mine", (base,), {})


def test_every_description_is_a_framing() -> None:
    assert all(isinstance(framing, ff.Framing) for framing in EVERY)


# --- encode and decode are inverse -----------------------------------------------------------------------------------


@given(framing=framings(), payloads=st.lists(st.binary(max_size=20), max_size=4))
def test_decode_is_the_inverse_of_encode(framing: Any, payloads: list[bytes]) -> None:
    good = []
    for payload in payloads:
        try:
            wire = framing.encode(payload)
        except ValueError as error:
            assert not isinstance(error, ff.FrameTooLarge) or error.size > error.limit  # noqa: PT017
            continue
        got = framing.decode(wire)
        if isinstance(framing, ff.LengthField) and framing.strip <= framing.offset:
            assert len(got) == 1  # the right length was written into it
            assert len(got[0]) == len(payload)
            assert framing.encode(got[0]) == wire
            payload = got[0]
        assert got == [payload]
        good.append(payload)
    if not isinstance(framing, ff.UntilEOF):
        assert framing.decode(framing.encode_many(good)) == good


@given(data=st.data())
def test_encode_is_the_inverse_of_decode(data: st.DataObject) -> None:
    framing = data.draw(framings())
    wire = data.draw(streams(framing))
    try:
        frames = framing.decode(wire)
    except ff.FrameError:
        return
    try:
        again = framing.encode_many(frames)
    except ValueError:
        return  # trailers that nobody knows, masked bits, one-way ends
    assert framing.decode(again) == frames


@given(framing=framings(), payload=st.binary(max_size=20))
def test_parts_joined_are_encode(framing: Any, payload: bytes) -> None:
    for given_payload in (payload, bytearray(payload), memoryview(payload)):
        try:
            parts = framing.parts(given_payload)
        except ValueError as error:
            with pytest.raises(type(error)):
                framing.encode(payload)
        else:
            assert len(parts) == 3
            assert b"".join(parts) == framing.encode(payload) == framing.encode_many([given_payload])


@pytest.mark.parametrize(
    "framing",
    [ff.LengthField(), ff.Netstring(), ff.Delimiter(b"\n"), ff.VarintLength(), ff.AsciiLength(), ff.ContentLength()],
    ids=repr,
)
def test_body_is_the_payload_itself(framing: Any) -> None:
    payload = bytes(1000)
    assert framing.parts(payload)[1] is payload
    mutable = bytearray(1000)
    body = framing.parts(mutable)[1]
    assert type(body) is memoryview
    assert body.obj is mutable


def test_payload_of_every_shape() -> None:
    framing = ff.Netstring()
    for payload in [
        b"abcdef",
        bytearray(b"abcdef"),
        memoryview(b"abcdef"),
        memoryview(b"abcdef").cast("B", (2, 3)),
        memoryview(b"a-b-c-d-e-f-")[::2],
        memoryview(b"fedcba")[::-1],
        array.array("B", b"abcdef"),
        array.array("H", b"abcdef"),
    ]:
        assert framing.encode(payload) == b"6:abcdef,"
    assert framing.encode(memoryview(b"").cast("B")) == framing.encode(array.array("I")) == b"0:,"


@each
def test_payload_must_be_a_buffer(framing: Any) -> None:
    for wrong in ("text", None, 5, [1], 2.5):
        with pytest.raises(TypeError):
            framing.encode(wrong)
        with pytest.raises(TypeError):
            framing.parts(wrong)
        with pytest.raises(TypeError):
            framing.encode_many([wrong])
    with pytest.raises(TypeError):
        framing.decode("text")


@pytest.mark.parametrize("limit", [0, 1, 5])
def test_oversized_payload_is_frame_too_large(limit: int) -> None:
    for base in (
        ff.LengthField(),
        ff.VarintLength(),
        ff.AsciiLength(),
        ff.Netstring(),
        ff.Delimiter(b"\n"),
        ff.UntilEOF(),
    ):
        framing = base.replace(max_size=limit)
        assert framing.decode(framing.encode(b"x" * limit)) == [b"x" * limit]
        with pytest.raises(ff.FrameTooLarge) as caught:
            framing.encode(b"x" * (limit + 1))
        assert (caught.value.size, caught.value.limit, caught.value.offset) == (limit + 1, limit, None)


def test_encode_many_takes_any_iterable_and_passes_its_exception() -> None:
    framing = ff.Netstring()
    assert framing.encode_many([]) == b""
    assert framing.encode_many(iter([b"a", b"bc"])) == b"1:a,2:bc,"
    with pytest.raises(ZeroDivisionError):
        framing.encode_many(b"x" * (1 // i) for i in (1, 0))
    with pytest.raises(TypeError):
        framing.encode_many(None)


def test_decode_of_a_whole_buffer() -> None:
    framing = ff.LengthField(1, max_size=9)
    assert framing.decode(b"") == []
    assert framing.decode(bytearray(b"\1a\0\2bc")) == [b"a", b"", b"bc"]
    with pytest.raises(ff.TruncatedFrame) as cut:
        framing.decode(b"\1a\2b")
    assert (cut.value.offset, cut.value.got, cut.value.want, cut.value.partial) == (2, 2, 3, b"\2b")
    with pytest.raises(ff.FrameTooLarge) as large:
        framing.decode(b"\1a\x0ab")
    assert (large.value.offset, large.value.size) == (2, 10)
    assert ff.UntilEOF().decode(b"") == [b""]
    assert ff.Delimiter(b"\n", at_eof="deliver").decode(b"a\nb") == [b"a", b"b"]
