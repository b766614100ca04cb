"""The operations of Decoder and FrameBatch, each as a call without arguments."""

import copy
import pickle
from array import array
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import fastframe as ff
from support import WAYS

from .expected import raises
from .meter import Operation


def byte(header: bytes) -> int:
    """The size of a Computed frame: its first byte, which may also say what to raise."""
    if header[0] == 255:
        raise ValueError("no size")
    if header[0] == 254:
        raise LookupError("of the user's")
    return header[0]


GOOD: dict[str, tuple[ff.Framing, list[bytes]]] = {
    "LengthField": (ff.LengthField(4), [b"", b"a", b"b" * 5000, b"c" * 90_000]),
    "LengthField with all": (
        ff.LengthField(2, "little", offset=2, magic=b"FR", trailer=b"\r\n", escape=(65_535, 4)),
        [b"", b"a" * 70_000, b"b"],
    ),
    "VarintLength": (ff.VarintLength(), [b"", b"a" * 300]),
    "AsciiLength": (ff.AsciiLength(5), [b"", b"a" * 300]),
    "AsciiLength to a separator": (ff.AsciiLength(5, separator=b" "), [b"", b"a" * 300]),
    "Netstring": (ff.Netstring(), [b"", b"a" * 300]),
    "Delimiter": (ff.Delimiter(b"\r\n", b"\n"), [b"", b"a" * 300, b"b" * 70_000]),
    "Delimiter with a start": (ff.Delimiter(b"\x1c\r", start=b"\x0b", keep=True), [b"\x0ba\x1c\r"]),
    "FixedSize": (ff.FixedSize(9), [b"a" * 9] * 3),
    "UntilEOF": (ff.UntilEOF(), [b"a" * 70_000]),
    "ContentLength": (ff.ContentLength(), [b"", b"a" * 300]),
    "Computed": (ff.Computed(1, byte), [b"\x05abcd", b"\x01"]),
}

SIZE, LENGTH, MAGIC, TRAILER, CUT = (
    ff.FrameTooLarge,
    ff.BadLength,
    ff.BadMagic,
    ff.BadTrailer,
    ff.TruncatedFrame,
)
BAD: list[tuple[ff.Framing, bytes, type[ff.FrameError]]] = [
    (ff.LengthField(4, max_size=10), b"\0\0\0\1a\xff\0\0\0", SIZE),
    (ff.LengthField(4), b"\x16\x03\x01\x02", SIZE),
    (ff.VarintLength(max_size=10), b"\x01a\x0b", SIZE),
    (ff.AsciiLength(2, max_size=10), b"01a11", SIZE),
    (ff.Netstring(max_size=10), b"1:a,11:", SIZE),
    (ff.Delimiter(b"\n", max_size=10), b"a\n" + b"b" * 30, SIZE),
    (ff.ContentLength(max_size=10), b"Content-Length: 11\r\n\r\n", SIZE),
    (ff.UntilEOF(max_size=10), b"a" * 11, SIZE),
    (ff.Computed(1, byte, max_size=10), b"\x02a\x0b", SIZE),
    (ff.LengthField(2, signed=True), b"\0\1a\xff\xfe", LENGTH),
    (ff.LengthField(2, adjustment=-9), b"\0\1", LENGTH),
    (ff.VarintLength(2), b"\x01a\x80\x80\x80", LENGTH),
    (ff.AsciiLength(2), b"01aGE", LENGTH),
    (ff.AsciiLength(5, separator=b" "), b"1 a01 a", LENGTH),
    (ff.Netstring(), b"1:a,01:a,", LENGTH),
    (ff.ContentLength(), b"Host: a\r\n\r\n", LENGTH),
    (ff.Computed(2, byte), b"\x02a\x01b", LENGTH),
    (ff.Computed(1, byte), b"\x02a\xff", LENGTH),
    (ff.LengthField(1, magic=b"MA", offset=2), b"MA\1aMB", MAGIC),
    (ff.Delimiter(b"\n", start=b"\x0b"), b"\x0ba\nGET / HTTP/1.1", MAGIC),
    (ff.LengthField(1, adjustment=2, trailer=b"\r\n"), b"\1a\r\n\1a\r\r", TRAILER),
    (ff.Netstring(), b"1:a,1:b;", TRAILER),
    (ff.LengthField(4), b"\0\0\0\1a\0\0", CUT),
    (ff.LengthField(4), b"\0\0\0\5ab", CUT),
    (ff.LengthField(4), b"\0\1\x86\xa0" + b"b" * 80_000, CUT),
    (ff.Delimiter(b"\n"), b"a\nb", CUT),
    (ff.Netstring(), b"1:a,5:a", CUT),
    (ff.ContentLength(), b"Content-Length: 5\r\n\r\nabc", CUT),
]

FRAMING = ff.LengthField(4)
WIRE = FRAMING.encode_many([b"one", b"", b"three" * 50])


# --- Decoder ---------------------------------------------------------------------------------------------------------


def decoders(engine: Any) -> Iterator[tuple[str, Operation]]:
    for name, (framing, frames) in GOOD.items():
        for way in WAYS:
            yield f"{way}, {name}", partial(decode, engine, framing, frames, way, 1)
            yield f"{way} in pieces, {name}", partial(decode, engine, framing, frames, way, 30)
        yield f"put down, {name}", partial(put_down, engine, framing, frames)
        yield f"framing assigned, {name}", partial(assign, engine, framing, frames)
    for number, (framing, data, kind) in enumerate(BAD):
        for way in WAYS:
            yield f"{kind.__name__} by {way}, {number}", partial(fail, engine, framing, data, kind, way)
    for name, operation in OPERATIONS.items():
        yield name, partial(operation, engine)


def decode(engine: Any, framing: ff.Framing, frames: list[bytes], way: str, pieces: int) -> None:
    """All frames of a stream in so many pieces, and its clean end."""
    decoder, got = engine.Decoder(framing), []
    data = framing.encode_many(frames)
    step = len(data) // pieces + 1
    for at in range(0, len(data), step):
        WAYS[way](decoder, data[at : at + step], got)
    got += decoder.feed_eof()
    assert got == frames
    assert decoder.error is None
    raises(ff.ConnectionClosed, decoder.feed, b"x")
    raises(ff.ConnectionClosed, decoder.get_buffer)


def put_down(engine: Any, framing: ff.Framing, frames: list[bytes]) -> None:
    """A decoder that goes with all that it holds: bytes not parsed, a frame not taken, one not whole."""
    data = framing.encode_many(frames)
    decoder = engine.Decoder(framing)
    decoder.feed(data[: len(data) // 2])
    decoder.push(data[len(data) // 2 :])
    decoder.push(data[: len(data) // 2])
    assert decoder.needed >= 0
    view = decoder.get_buffer(100)
    view[:1] = b"x"


def assign(engine: Any, framing: ff.Framing, frames: list[bytes]) -> None:
    """Another framing in the middle of a frame, and the first one again; then the bytes back."""
    data = framing.encode_many(frames)
    decoder = engine.Decoder(framing)
    decoder.push(data)
    decoder.pop()
    decoder.framing = ff.FixedSize(3)
    assert decoder.pop() is None or len(data) >= 3
    decoder.framing = framing
    assert decoder.framing is framing
    held = decoder.buffered
    assert len(decoder.unread()) == held
    raises(TypeError, setattr, decoder, "framing", 5)


def fail(engine: Any, framing: ff.Framing, data: bytes, kind: type[ff.FrameError], way: str) -> None:
    """A stream that breaks, or ends too early; the error twice, and in every form."""
    decoder, got = engine.Decoder(framing), []
    try:
        WAYS[way](decoder, data, got)
        if kind is CUT:
            got += decoder.feed_eof()
    except kind:
        pass
    error = decoder.error
    if error is None:
        raises(kind, decoder.feed_eof)
        error = decoder.error
    assert type(error) is kind
    for call in (
        lambda: decoder.feed(b"x"),
        lambda: decoder.push(b"x"),
        decoder.pop,
        decoder.get_buffer,
        decoder.unread,
    ):
        raises(kind, call)
    raises(kind, decoder.buffer_updated, 0)
    raises(kind, setattr, decoder, "framing", framing)
    assert str(error)
    assert decoder.stats.errors == 1
    assert decoder.needed == 0


def many(engine: Any) -> None:
    """A thousand frames in one call, and in one batch."""
    data = FRAMING.encode_many([b"x" * 16] * 1000)
    assert len(engine.Decoder(FRAMING).feed(data)) == len(engine.Decoder(FRAMING).feed_batch(data)) == 1000


def wrong_arguments(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    for value in (None, "text", 5, [b"x"], array("i", [1, 2])[0]):
        for call in (decoder.feed, decoder.feed_batch, decoder.push):
            raises(TypeError, call, value)
    for value in (-1, 1, 1 << 40):
        raises(ValueError, decoder.buffer_updated, value)
    for value in ("x", None, 1.5):
        raises(TypeError, decoder.buffer_updated, value)
        raises(TypeError, decoder.get_buffer, value)
    raises(TypeError, engine.Decoder)
    raises(TypeError, engine.Decoder, 5)
    raises(TypeError, engine.Decoder, FRAMING, 5)
    raises(TypeError, engine.Decoder, framing=b"x")
    raises(TypeError, decoder.__init__, FRAMING)
    raises(TypeError, copy.copy, decoder)
    raises(TypeError, pickle.dumps, decoder)
    raises(AttributeError, setattr, decoder, "stats", 1)
    raises(AttributeError, getattr, decoder, "nothing")


def released_and_odd_buffers(engine: Any) -> None:
    view = memoryview(b"abc")
    view.release()
    decoder = engine.Decoder(FRAMING)
    raises(ValueError, decoder.feed, view)
    for data in (bytearray(WIRE), memoryview(WIRE), array("B", WIRE), memoryview(WIRE + WIRE)[::2]):
        engine.Decoder(ff.FixedSize(1)).feed(data)
        engine.Decoder(ff.FixedSize(1)).feed_batch(data)


def without_init(engine: Any) -> None:
    for kind in (engine.Decoder, engine.FrameReader, engine.FrameWriter):
        empty = kind.__new__(kind)
        for name in ("feed", "feed_batch", "push", "write", "write_many"):
            if hasattr(kind, name):
                raises(TypeError, getattr(empty, name), b"x")
        for name in ("pop", "feed_eof", "unread", "read", "read_one", "read_batch", "flush", "get_buffer"):
            if hasattr(kind, name):
                raises(TypeError, getattr(empty, name))


def exceptions_of_computed(engine: Any) -> None:
    """They pass, nothing is lost, and the next call asks again."""
    decoder = engine.Decoder(ff.Computed(1, byte))
    assert decoder.feed(b"\x02a\xfe") == [b"\x02a"]
    raises(LookupError, decoder.feed, b"b")
    raises(LookupError, decoder.pop)
    raises(LookupError, decoder.feed_eof)
    raises(LookupError, decoder.feed_batch, b"c")
    raises(TypeError, engine.Decoder(ff.Computed(1, lambda header: "x")).feed, b"a")
    raises(KeyboardInterrupt, engine.Decoder(ff.Computed(1, interrupted)).feed, b"a")


def interrupted(header: bytes) -> int:
    raise KeyboardInterrupt


def concurrent_use(engine: Any) -> None:
    """A function that comes back in."""
    calls: list[Callable[[], object]] = []

    def function(header: bytes) -> int:
        for call in calls:
            raises(ff.ConcurrentUse, call)
        raise KeyboardInterrupt

    decoder = engine.Decoder(ff.Computed(1, function))
    calls += [lambda: decoder.feed(b"x"), lambda: decoder.feed_batch(b"x"), lambda: decoder.push(b"x"), decoder.pop]
    calls += [decoder.feed_eof, decoder.get_buffer, lambda: decoder.buffer_updated(0), decoder.unread]
    calls += [lambda: setattr(decoder, "framing", FRAMING)]
    raises(KeyboardInterrupt, decoder.feed, b"a")
    calls.clear()


# --- FrameBatch ------------------------------------------------------------------------------------------------------


def batch(engine: Any) -> None:
    """All that a batch gives, which outlives it."""
    decoder = engine.Decoder(FRAMING)
    assert len(decoder.feed_batch(WIRE[:-3])) == 2
    assert len(decoder.feed_batch(WIRE[-3:])) == 1
    made = engine.Decoder(FRAMING).feed_batch(bytearray(WIRE))
    frames, views = list(made), list(made.views())
    assert made[0] == frames[0] == made[-3]
    assert made[:2] == frames[:2]
    assert made[::-1] == frames[::-1]
    assert b"one" in made
    buffer, offsets, lengths = map(memoryview, (made.buffer, made.offsets, made.lengths))
    assert repr(made)
    del made
    assert bytes(buffer[offsets[0] :][: lengths[0]]) == b"one"
    assert [bytes(view) for view in views] == frames
    assert [len(view) for view in views] == list(map(len, frames))
    assert views[0] == b"one" == memoryview(views[0])
    assert views[0] != b"two"
    assert views[0] != 5


def wrong_use_of_batch(engine: Any) -> None:
    made = engine.Decoder(FRAMING).feed_batch(WIRE)
    for index in (3, -4, 1 << 40):
        raises(IndexError, made.__getitem__, index)
    for index in ("x", 1.5, None):
        raises(TypeError, made.__getitem__, index)
    raises(TypeError, engine.FrameBatch)
    raises(TypeError, copy.copy, made)
    raises(TypeError, pickle.dumps, made)
    next(iter(made))
    next(made.views())


OPERATIONS: dict[str, Callable[[Any], None]] = {
    function.__name__.replace("_", " "): function
    for function in (
        many,
        wrong_arguments,
        released_and_odd_buffers,
        without_init,
        exceptions_of_computed,
        concurrent_use,
        batch,
        wrong_use_of_batch,
    )
}
