"""Frames laid out by the engine: the bytes and the errors are those of the description's own `parts`."""

import array
import ctypes
import gc
import inspect
import socket
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastframe as ff
from fastframe import _engine
from support import delimiters, framings, streams

# --- The same as the description's own ---------------------------------------------------------------------------------


def own(framing: Any, payloads: Iterable[Any]) -> bytes:
    """The frames as the description itself writes them."""
    pieces: list[Any] = []
    for payload in payloads:
        pieces += framing.parts(payload)
    return b"".join(pieces)


def told(call: Any, *args: Any) -> Any:
    """What a call gives; or the type, the attributes and the text of what it raises."""
    try:
        return call(*args)
    except Exception as error:
        return type(error), error.args, str(error)


class Sub(bytes):
    """Bytes that tell lies about their length."""

    def __len__(self) -> int:
        return 1 << 40


def every_second(payload: bytes) -> memoryview:
    return memoryview(bytes(byte for byte in payload for _ in range(2)))[::2]


def halves(payload: bytes) -> Any:
    return array.array("H", payload) if len(payload) % 2 == 0 else payload


SHAPES = [bytes, bytes, bytes, bytearray, memoryview, Sub, every_second, halves]


@st.composite
def payload_lists(draw: st.DrawFn, framing: Any) -> list[Any]:
    """Payloads that the framing can carry, and others, in every kind of buffer."""
    decoder = ff.Decoder(framing)
    good = [b""]
    for data in draw(st.lists(streams(framing), max_size=2)):
        try:
            good += decoder.feed(data)
        except ff.FrameError:
            decoder = ff.Decoder(framing)
    edge = min(framing.limit, 70)
    sizes = st.sampled_from([edge, edge, max(0, edge - 1), edge + 1])
    one = st.one_of(st.sampled_from(good), st.binary(max_size=20), sizes.map(lambda n: b"x" * n))
    return [draw(st.sampled_from(SHAPES))(payload) for payload in draw(st.lists(one, max_size=6))]


@given(data=st.data())
def test_every_framing(both: Any, data: st.DataObject) -> None:
    framing = data.draw(framings())
    payloads = data.draw(payload_lists(framing))
    for engine in both:
        assert told(engine.encode_many, framing, payloads) == told(own, framing, payloads)
        assert told(engine.encode_many, framing, iter(payloads)) == told(own, framing, payloads)
        for payload in payloads:
            assert told(engine.encode, framing, payload) == told(own, framing, [payload])


@given(framing=delimiters(), payloads=st.lists(st.text("aab\r\n,\x1c", max_size=5).map(str.encode), max_size=3))
def test_ends_inside_and_across(both: Any, framing: Any, payloads: list[bytes]) -> None:
    for engine in both:
        assert told(engine.encode_many, framing, payloads) == told(own, framing, payloads)


LAYOUTS = [
    ff.LengthField(1),
    ff.LengthField(2, "little", adjustment=-2),
    ff.LengthField(3, magic=b"GE", offset=4, header_size=9, template=bytes(range(9)), trailer=b"xy"),
    ff.LengthField(8, adjustment=1),
    ff.LengthField(2, offset=50, header_size=60, template=b"t" * 60),
    ff.LengthField(4, offset=2, header_size=1000),
    ff.LengthField(2, mask=0x3FF),
    ff.LengthField(2, mask=0x3FF, template=b"\xa4\x01"),
    ff.LengthField(1, escape=(-1, 8)),
    ff.LengthField(4, signed=True, escape=(-1, 8)),
    ff.LengthField(1, escape=(100, 2), offset=1, header_size=3, template=b"abc"),
    ff.LengthField(1, escape=(0, 2)),
    ff.LengthField(4, trailer_size=2),
    ff.LengthField(2, trailer=b"t" * 100),
    ff.LengthField(2, strip=0),
    ff.LengthField(4, "little", strip=0, adjustment=-4),
    ff.LengthField(2, strip=0, mask=0x3FF, trailer=b"xy"),
    ff.LengthField(3, offset=2, header_size=7, strip=1, template=b"abcdefg"),
    ff.LengthField(3, offset=2, header_size=7, strip=6, template=b"abcdefg"),
    ff.LengthField(3, offset=2, header_size=7, strip=1, magic=b"xx"),
    ff.LengthField(3, offset=2, header_size=7, strip=2, magic=b"GE"),
    ff.LengthField(1, strip=0, escape=(0x78, 2)),
    ff.LengthField(4, strip=0, trailer_size=2),
    ff.LengthField(2, strip=0, adjustment=300),
    ff.VarintLength(),
    ff.VarintLength(3, strip=0),
    ff.VarintLength(2, offset=2, template=b"ab"),
    ff.VarintLength(10, offset=100),
    ff.AsciiLength(4),
    ff.AsciiLength(3, base=16, pad=b" "),
    ff.AsciiLength(6, pad=b" ", align="left", adjustment=-6),
    ff.AsciiLength(6, adjustment=2),
    ff.AsciiLength(200),
    ff.AsciiLength(20, separator=b" "),
    ff.AsciiLength(20, base=16, separator=b"\r\n"),
    ff.AsciiLength(9, separator=b"s" * 100, adjustment=-1),
    ff.Netstring(),
    ff.FixedSize(255),
    ff.UntilEOF(),
    ff.ContentLength(),
    ff.Delimiter(b"\n"),
    ff.Delimiter(b"\r\n", b"\n", start=b"^"),
    ff.Delimiter(b"ab", b"b", keep=True),
    ff.Delimiter(b"x" * 9),
    ff.Delimiter(b"-" * 200),
]
SIZES = [0, 1, 2, 9, 10, 15, 16, 98, 99, 100, 101, 127, 128, 254, 255, 256, 999, 1000, 1023, 1024, 4095, 4096, 9999]
SIZES += [10_000, 16_383, 16_384, 65_535, 65_536, 99_999, 100_000, 1_000_000]


@pytest.mark.parametrize("framing", LAYOUTS, ids=repr)
def test_sizes_at_which_a_header_changes(engine: Any, framing: Any) -> None:
    for byte in (b"x", b"\n", b"b"):
        good = []
        for size in SIZES:
            payload = byte * size
            expected = told(own, framing, [payload])
            assert told(engine.encode, framing, payload) == expected
            assert told(engine.encode, framing, bytearray(payload)) == expected
            assert told(engine.encode_many, framing, [payload]) == expected
            if type(expected) is bytes:
                good.append(payload)
        assert engine.encode_many(framing, good) == own(framing, good) == b"".join(map(framing.encode, good))


def test_a_buffer_whose_format_is_unknown(engine: Any) -> None:
    for payload in ((ctypes.c_int * 3)(1, 2, 3), memoryview((ctypes.c_int * 3)(1, 2, 3))):
        assert told(engine.encode, ff.Netstring(), payload) == told(own, ff.Netstring(), [payload])
        assert told(engine.encode_many, ff.Netstring(), [payload]) == told(own, ff.Netstring(), [payload])


@pytest.mark.parametrize("wrong", ["text", None, 5, [1], memoryview(b"")])
def test_what_is_no_buffer(engine: Any, wrong: Any) -> None:
    if type(wrong) is memoryview:
        wrong.release()
    for framing in LAYOUTS:
        expected = told(own, framing, [wrong])
        assert expected[0] in (TypeError, ValueError)
        assert told(engine.encode, framing, wrong) == expected
        assert told(engine.encode_many, framing, [b"", wrong])[0] in (TypeError, ValueError)
        assert told(engine.encode_many, framing, [wrong, b""]) == expected


@pytest.mark.parametrize("wrong", [None, 5, object])
def test_what_is_no_iterable(engine: Any, wrong: Any) -> None:
    assert told(engine.encode_many, ff.Netstring(), wrong) == told(own, ff.Netstring(), wrong)


@pytest.mark.parametrize("framing", LAYOUTS, ids=repr)
def test_a_writer_writes_the_same(engine: Any, framing: Any) -> None:
    ours, peers = socket.socketpair()
    with ours, peers:
        writer = engine.FrameWriter(ours, framing)
        good = []
        for size in (0, 1, 9, 10, 99, 100, 101, 127, 128, 255, 256, 1000, 1023, 1024, 4096, 5000):
            payload = b"x" * size
            expected = told(own, framing, [payload])
            if type(expected) is not bytes:
                assert told(writer.write, payload) == told(writer.write_many, [payload]) == expected
                continue
            good.append(payload)
            writer._calm()
            for write in (writer.write, lambda payload: writer._dash(payload) or writer.write(payload)):
                assert write(payload)
                assert received(peers, len(expected)) == expected
        assert writer.write_many(good)
        expected = own(framing, good)
        assert received(peers, len(expected)) == expected
        assert writer.stats.bytes >= len(expected)


def received(peers: socket.socket, size: int) -> bytes:
    """So many bytes."""
    data = b""
    while len(data) < size:
        data += peers.recv(size - len(data))
    return data


# --- What comes from others --------------------------------------------------------------------------------------------


def test_an_iterable_is_asked_no_further_than_the_payload_at_fault(engine: Any) -> None:
    for framing in (ff.Netstring(3), ff.LengthField(max_size=3), ff.FixedSize(3), ff.Delimiter(b"\n", max_size=3)):
        payloads = iter([b"abc", b"abcd", b"abc"])
        with pytest.raises(ff.FrameTooLarge) as caught:
            engine.encode_many(framing, payloads)
        assert (caught.value.size, caught.value.limit) == (4, 3)
        assert list(payloads) == [b"abc"]


def test_what_an_iterable_raises_passes(engine: Any) -> None:
    def payloads() -> Iterator[bytes]:
        yield b"abc"
        raise ZeroDivisionError("half way")

    for framing in LAYOUTS:
        if framing != ff.FixedSize(255):
            with pytest.raises((ZeroDivisionError, ValueError)):
                engine.encode_many(framing, payloads())
    with pytest.raises(ZeroDivisionError, match="half way"):
        engine.encode_many(ff.LengthField(), payloads())


def test_an_iterable_may_use_the_same_memory_again(engine: Any) -> None:
    def payloads() -> Iterator[bytearray]:
        buffer = bytearray()
        for i in range(5):
            buffer += b"%d" % i
            yield buffer

    for framing in (ff.Netstring(), ff.LengthField(2), ff.Delimiter(b"\n"), ff.ContentLength()):
        expected = own(framing, [b"0", b"01", b"012", b"0123", b"01234"])
        assert engine.encode_many(framing, payloads()) == expected


def test_lists_that_lie(engine: Any) -> None:
    class Long(list[bytes]):
        def __len__(self) -> int:
            return 1 << 60

        def __length_hint__(self) -> int:
            return -5

        def __iter__(self) -> Iterator[bytes]:
            return iter([b"other"])

    assert engine.encode_many(ff.Netstring(), Long([b"abc"])) == b"5:other,"
    assert engine.encode_many(ff.Netstring(), [Sub(b"abc")]) == b"3:abc,"
    assert engine.encode(ff.LengthField(), Sub(b"abc")) == b"\0\0\0\3abc"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no __buffer__ in Python code before 3.12")
class TestBufferCode:
    """Payloads whose __buffer__ is code."""

    def test_that_changes_the_list(self, engine: Any) -> None:
        class Growing:
            def __buffer__(self, flags: int) -> memoryview:
                del payloads[0]
                payloads.append(b"more")
                return memoryview(b"x")

        for framing in (ff.Netstring(), ff.LengthField(1), ff.Delimiter(b"\n")):
            payloads: list[Any] = [b"a", Growing(), b"b", b"c"]
            expected = own(framing, payloads)
            payloads = [b"a", Growing(), b"b", b"c"]
            assert engine.encode_many(framing, payloads) == expected == own(framing, [b"a", b"x", b"c", b"more"])

    def test_that_empties_the_list(self, engine: Any) -> None:
        class Clearing:
            def __buffer__(self, flags: int) -> memoryview:
                payloads.clear()
                gc.collect()
                return memoryview(b"x")

        payloads: list[Any] = [bytes([i]) * 1000 for i in range(9)] + [Clearing(), b"never"]
        wire = engine.encode_many(ff.LengthField(2), payloads)
        assert ff.LengthField(2).decode(wire) == [bytes([i]) * 1000 for i in range(9)] + [b"x"]

    def test_that_changes_another_payload(self, engine: Any) -> None:
        other = bytearray(b"before")

        class Changing:
            def __buffer__(self, flags: int) -> memoryview:
                other[:] = b"afterwards"
                return memoryview(b"x")

        assert engine.encode_many(ff.Netstring(), [other, Changing(), other]) == b"6:before,1:x,10:afterwards,"

    def test_that_encodes(self, engine: Any) -> None:
        framing = ff.Netstring()

        class Again:
            def __buffer__(self, flags: int) -> memoryview:
                return memoryview(engine.encode_many(framing, [b"a", bytearray(b"b")]))

        assert engine.encode_many(framing, [b"c", Again()]) == b"1:c,8:1:a,1:b,,"
        assert engine.encode(framing, Again()) == b"8:1:a,1:b,,"

    def test_that_raises(self, engine: Any) -> None:
        class Broken:
            def __buffer__(self, flags: int) -> memoryview:
                raise ZeroDivisionError

        for call, payload in ((engine.encode, Broken()), (engine.encode_many, [b"a", Broken()])):
            with pytest.raises(ZeroDivisionError):
                call(ff.Netstring(), payload)

    def test_each_buffer_is_given_back_once(self, engine: Any) -> None:
        held = 0

        class Counting:
            def __buffer__(self, flags: int) -> memoryview:
                nonlocal held
                held += 1
                return memoryview(b"abcd")

            def __release_buffer__(self, view: memoryview) -> None:
                nonlocal held
                held -= 1

        for framing in (
            ff.LengthField(),
            ff.LengthField(max_size=3),
            ff.FixedSize(9),
            ff.Delimiter(b"c"),
            ff.Netstring(),
        ):
            told(engine.encode, framing, Counting())
            told(engine.encode_many, framing, [Counting(), b"a", Counting()])
        gc.collect()
        assert held == 0


# --- Memory ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "framing", [ff.LengthField(), ff.LengthField(max_size=3), ff.FixedSize(9), ff.Computed(1, len)]
)
def test_payloads_may_change_after_the_call(engine: Any, framing: Any) -> None:
    payload = bytearray(b"abcde")
    for call, argument in ((engine.encode, payload), (engine.encode_many, [payload, payload])):
        told(call, framing, argument)
        payload += b"f"  # BufferError if it is still held


def test_frames_that_no_memory_has_room_for(engine: Any) -> None:
    payload = bytes(1 << 27)
    for framing in (ff.LengthField(max_size=1 << 27), ff.FixedSize(1 << 27)):
        with pytest.raises((MemoryError, OverflowError)):
            engine.encode_many(framing, [payload] * (1 << 20))


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="no counted references")
def test_a_description_that_has_encoded_is_freed(engine: Any) -> None:
    gc.collect()
    gc.disable()
    try:
        for make in (lambda: ff.LengthField(max_size=54_321), lambda: ff.Delimiter(b"\n", max_size=54_321)):
            framing = make()
            engine.encode(framing, b"a")
            given_ = framing._given
            before = sys.getrefcount(given_)
            del framing
            assert sys.getrefcount(given_) < before
    finally:
        gc.enable()


def test_a_description_that_has_encoded_is_the_same(engine: Any) -> None:
    for framing in LAYOUTS:
        twin = framing.replace()
        told(engine.encode, framing, b"a")
        assert (framing, hash(framing), repr(framing)) == (twin, hash(twin), repr(twin))
        assert framing.__reduce__() == twin.__reduce__()


# --- The two engines ---------------------------------------------------------------------------------------------------


def test_descriptions_encode_with_the_engine_chosen() -> None:
    assert ff.Framing._encode is _engine.encode
    assert ff.Framing._encode_many is _engine.encode_many


@pytest.mark.parametrize("name", ["encode", "encode_many"])
def test_both_are_documented_alike(both: Any, name: str) -> None:
    first, second = (getattr(engine, name) for engine in both)
    assert first.__doc__.splitlines()[-1] == second.__doc__
    assert list(inspect.signature(first).parameters) == list(inspect.signature(second).parameters)
