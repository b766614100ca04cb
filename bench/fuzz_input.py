"""What the fuzzer's bytes mean: a description, a stream for it, cuts of that stream, and calls.

An input begins with the description (FRAMING bytes), numbers (NUMBERS bytes) and calls, most often none; the rest is a little program that writes the stream: raw bytes, frames, broken frames, repetitions, large
frames. Every input means something, so that no mutation is wasted, and the same input always means the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import fastframe as ff

T = TypeVar("T")

FRAMING = 14
NUMBERS = 8
CALLS_FROM = 0xE0  # of the byte that counts their bytes: most inputs have none
MOST_BYTES = 1 << 18  # of a stream
MOST_LARGE = 2  # large frames in it
MOST_REPEATED = 512  # bytes
LONG = 4096  # bytes; a longer stream is cut and given in fewer ways


class Tape:
    """Numbers and bytes read from an input, zeros behind its end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def byte(self) -> int:
        at, self.at = self.at, self.at + 1
        return self.data[at] if at < len(self.data) else 0

    def take(self, count: int) -> bytes:
        at, self.at = self.at, self.at + count
        return self.data[at : at + count]

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.byte() % len(choices)]

    def more(self) -> bool:
        return self.at < len(self.data)


class Case(NamedTuple):
    """What an input says."""

    framing: ff.Framing
    stream: bytes
    numbers: bytes
    calls: bytes


def case_of(data: bytes) -> Case:
    framing, wire = framing_of(data[:FRAMING])
    tape = Tape(data)
    tape.at = FRAMING
    numbers = tape.take(NUMBERS).ljust(NUMBERS, b"\0")
    count = tape.byte()
    calls = tape.take(count & 31) if count >= CALLS_FROM else b""
    return Case(framing, stream_of(tape, wire), numbers, calls)


# --- Descriptions ----------------------------------------------------------------------------------------------------

LIMITS = (*[1 << 24] * 24, 0, 1, 2, 3, 5, 12, 20, 100, 300)
LIMITS += (65535, 65536, 65537, 100_000, 1 << 31, 1 << 40, 1 << 70)
MAGICS = (b"", b"", b"", b"M", b"\0\1", b"GE", b"\x16\x03", b"0123456789" * 7)
TRAILERS = (b"", b"", b"", b"\n", b"xy", b"\0\0\0", b"abcdefghij" * 7)
ENDS: tuple[tuple[bytes, ...], ...] = (
    (b"\n",),
    (b"\r\n",),
    (b"\r\n", b"\n"),
    (b"\x1c\r",),
    (b"aab",),
    (b"abab",),
    (b",", b";", b"\r", b"\n"),
    (b"aaa", b"ab"),
    (b"b", b"ab", b"aab"),
    (b"aba", b"bb"),
    (b"end of a frame\0",),
)
SHAPES: tuple[dict[str, Any], ...] = (
    {},
    {"pad": b" "},
    {"pad": b" ", "align": "left"},
    {"pad": b"\0", "align": "left"},
    {"pad": b"\0"},
    {"separator": b" "},
    {"separator": b":;:"},
    {"separator": b"\r\n"},
)


def size_of_header(header: bytes) -> int:
    """The first byte is the whole frame's size; 255 isn't one."""
    if header[0] == 255:
        raise ValueError("255 is reserved")
    return header[0]


def size_behind(header: bytes) -> int:
    """The header is the size of what follows it."""
    return len(header) + int.from_bytes(header, "big")


def length_field(tape: Tape) -> ff.Framing:
    width, flags = 1 + tape.byte() % 8, tape.byte()
    magic, trailer = tape.pick(MAGICS), tape.pick(TRAILERS)
    offset = len(magic) + tape.pick((0, 0, 0, 1, 2, 3, 70))
    header = offset + width + tape.pick((0, 0, 0, 1, 2, 5, 70))
    kind = tape.byte()
    extra: dict[str, Any] = {}
    if kind % 4 == 1:
        extra["mask"] = (1 << 1 + (kind >> 2) % (8 * width)) - 1
    elif kind % 4 == 2:
        extra["escape"] = ((-1, 0, 2, 5, 127)[(kind >> 2) % 5], (1, 2, 4, 8, 3)[(kind >> 5) % 5])
    elif kind % 8 == 3:
        extra["template"] = bytes(0x30 + at % 70 for at in range(header))
    return ff.LengthField(
        width,
        "little" if flags & 1 else "big",
        signed=bool(flags & 2) and kind % 4 != 1,
        offset=offset,
        header_size=header,
        adjustment=tape.pick((0, 0, 0, -header, -1, 1, len(trailer), -2, -offset, 3, -1000, 1000, 1 << 33, -(1 << 33))),
        strip=tape.pick((None, None, 0, offset, offset + width, header)),
        trailer=trailer,
        trailer_size=tape.pick((0, 0, 0, len(trailer), len(trailer) + 2, 100)),
        magic=magic,
        max_size=tape.pick(LIMITS),
        **extra,
    )


def plain(tape: Tape) -> ff.Framing:
    return ff.LengthField(1 + tape.byte() % 8, tape.pick(("big", "little")), max_size=tape.pick(LIMITS))


def varint(tape: Tape) -> ff.Framing:
    offset = tape.pick((0, 0, 1, 2, 70))
    return ff.VarintLength(
        1 + tape.byte() % 10,
        offset=offset,
        strict=bool(tape.byte() & 1),
        strip=tape.pick((None, None, 0)),
        template=tape.pick((b"", bytes(0x30 + at % 70 for at in range(offset)))),
        max_size=tape.pick(LIMITS),
    )


def ascii_length(tape: Tape) -> ff.Framing:
    digits = tape.pick((1, 2, 2, 3, 5, 10, 20))
    return ff.AsciiLength(
        digits,
        base=tape.pick((10, 16)),
        adjustment=tape.pick((0, 0, 0, -1, 2, -digits, 100)),
        strip=tape.pick((None, None, 0)),
        max_size=tape.pick(LIMITS),
        **tape.pick(SHAPES),
    )


def delimiter(tape: Tape) -> ff.Framing:
    ends, keep = tape.pick(ENDS), bool(tape.byte() & 1)
    return ff.Delimiter(
        *ends,
        start=tape.pick((b"", b"", b"", b"\x0b", b"ab", b"begin " * 12)),
        keep=keep,
        at_eof=tape.pick(("error", "deliver", "drop")),
        max_size=max(tape.pick(LIMITS), max(map(len, ends)) if keep else 0),
    )


def computed(tape: Tape) -> ff.Framing:
    return ff.Computed(1 + tape.byte() % 4, tape.pick((size_of_header, size_behind)), tape.pick(LIMITS))


def named(tape: Tape) -> ff.Framing:
    framing = ff.preset(tape.pick(ff.presets()))
    limit = tape.byte()
    return framing.replace(max_size=LIMITS[limit % len(LIMITS)]) if limit & 1 else framing


KINDS: tuple[Callable[[Tape], ff.Framing], ...] = (
    *[plain] * 2,
    *[length_field] * 5,
    *[varint, ascii_length, delimiter, named] * 2,
    computed,
    lambda tape: ff.Netstring(tape.pick(LIMITS)),
    lambda tape: ff.ContentLength(tape.pick(LIMITS)),
    lambda tape: ff.FixedSize(tape.pick((1, 2, 3, 7, 64, 65536, 70_000))),
    lambda tape: ff.UntilEOF(tape.pick(LIMITS)),
)

Wire = Callable[[bytes], bytes]


@lru_cache(1 << 13)
def framing_of(data: bytes) -> tuple[ff.Framing, Wire]:
    """The description that these bytes stand for, and what makes a frame of a payload."""
    tape = Tape(data)
    try:
        framing = tape.pick(KINDS)(tape)
    except ValueError:  # no frame could be like this
        framing = ff.LengthField(1 + data[1] % 8) if len(data) > 1 else ff.LengthField()
    return framing, maker_of(framing)


SAMPLES = (
    b"0009hello0000",
    b"8=FIX.4.0\x019=5\x0135=0\x0110=161\x01",
    b"PYRO\1\xf6\4\2\0\0\0\1\0\0\0\5\0\0\0\3" + bytes(16) + b"\0\0\x4d\xc5" + b"ANNhello",
    b"B\4\1\1\0\0\0\5\0\0\0\7\0\0\0\11" + b"\1\1o\0\0\0\0\1/" + bytes(7) + b"hello",
)


def maker_of(framing: Any) -> Wire:
    """What writes a frame that carries a payload, or something like one: the header it must bring is added."""
    framings = [framing]
    head = b""
    if isinstance(framing, ff.Computed):
        size = framing.header_size
        if framing.function is size_of_header:
            return lambda payload: bytes((min(size + len(payload), 255),)).ljust(size, b"\0") + payload
        if framing.function is size_behind:
            return lambda payload: (len(payload) % 256**size).to_bytes(size, "big") + payload
        return lambda payload: SAMPLES[len(payload) % len(SAMPLES)] if len(payload) % 2 else payload
    if isinstance(framing, ff.LengthField):
        head = (framing.magic + bytes(framing.header_size))[framing.strip : framing.header_size]
        if framing.trailer_size > len(framing.trailer):
            known = bytes(framing.trailer_size - len(framing.trailer)) + framing.trailer
            framings.append(framing.replace(trailer=known))
    elif getattr(framing, "strip", None) == 0:
        framings.append(framing.replace(strip=None))

    if isinstance(framing, ff.FixedSize):
        return lambda payload: payload.ljust(framing.size, b"~")[: framing.size]

    def wire(payload: bytes) -> bytes:
        for description in framings:
            for body in (head + payload, payload, head + payload[:9], head):
                try:
                    return bytes(description.encode(body))
                except ValueError:
                    pass
        return payload

    return wire


# --- Streams ---------------------------------------------------------------------------------------------------------

NOISE: tuple[bytes, ...] = (
    b"\0",
    b"\1",
    b"\xff",
    b"\x80",
    b"\0\1",
    b"\xff\xff",
    b"\x80\1",
    b"\xff" * 9,
    b"\x80" * 10,
    b"0",
    b"5",
    b"12",
)
NOISE += (b"a", b"ab", b"aa", b"b", b"\r", b"\n", b"\r\n", b":", b",", b" ", b"00", b"99999999999999999999")
NOISE += (b"\xff" * 9 + b"\1", b"\x80" * 9 + b"\0", b"\x81\0", b"7fffffff", b"-1", b"+1")
NOISE += (b"GET / HT", b"\x16\x03\x01", b"SSH-2.0-", b"Content-Length: 2\r\n", b"X: y\r\n", b"\r\n\r\n", b"f", b";")
SIZES = (33, 64, 65, 80, 99, 100, 126, 127, 128, 129, 200, 254, 255, 256, 300, 1000)
LARGE = (4095, 4096, 4097, 65535, 65536, 65537, 70_000, 131_072)
PATTERN = bytes(range(1, 10)) + bytes(range(11, 32)) + b"the payload of a large frame " * 5000


def stream_of(tape: Tape, wire: Wire) -> bytes:
    """What the rest of the tape writes: four bits of a byte say what, four how much of it. Most of it is frames."""
    pieces: list[bytes] = []
    size = large = 0
    piece = b""
    while tape.more() and size < MOST_BYTES:
        word = tape.byte()
        what, count = word & 15, word >> 4
        if what < 8:
            piece = wire(tape.take(count))
        elif what == 8:
            piece = wire(bytes(count))
        elif what < 11:
            piece = wire(tape.pick(NOISE))
        elif what == 11:
            piece = (piece * (count + 1))[:MOST_REPEATED]
        elif what == 12 or (what == 13 and (count & 1 or large == MOST_LARGE)):
            piece = wire(PATTERN[: SIZES[count]])
        elif what == 13:
            piece = wire(PATTERN[: tape.pick(LARGE)])
            large += 1
        elif what == 14:
            piece = tape.take(count)
        else:
            piece = broken(wire(tape.take(count)), tape)
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)[:MOST_BYTES]


def broken(frame: bytes, tape: Tape) -> bytes:
    """The frame cut short, changed in one byte, or noise instead of it."""
    how = tape.byte()
    if how & 3 == 0:
        return tape.pick(NOISE)
    if how & 3 == 1:
        return frame[: len(frame) - 1 - how // 4 % 8]
    return changed(frame, how // 4, tape.byte())


def changed(data: bytes, at: int, by: int) -> bytes:
    """With one byte of it changed."""
    if not data:
        return data
    at %= len(data)
    return data[:at] + bytes((data[at] ^ (by or 1),)) + data[at + 1 :]


# --- Cuts ------------------------------------------------------------------------------------------------------------

SINGLE = 20  # bytes that come one by one; the rest of a longer stream comes at once
LAST = 10  # bytes at its end that come one by one again
PLACES = 48  # where a stream is cut in two; that which fails, which takes longer, at a quarter of them
AHEAD = 20  # bytes behind its last good frame that this one is cut in

Cut = tuple[list[bytes], int]


def cuts_of(stream: bytes, numbers: bytes, last: int, failing: bool) -> Iterator[Cut]:
    """Different ways to cut the same bytes into pieces, some of them empty; and in how many ways to give these.

    last, failing: where its last good frame ends, and whether the stream fails behind that.
    """
    size = len(stream)
    if size < 2:
        yield [stream], 4
        yield [b"", stream, b""], 3
        return
    ways = 1 if failing or size >= LONG else 2
    yield [stream], 2 * ways
    for place in places_of(size, numbers, last if failing else size, PLACES // 4 if failing else PLACES):
        yield [stream[:place], stream[place:]], ways
    if size > 2:
        scale = max(1, size // 64) if numbers[2] & 2 else 1
        yield list(pieces_of(stream, [1 + (number & 15) * scale for number in numbers[3:7]])), 2 * ways
        yield singles(stream), ways


def singles(stream: bytes) -> list[bytes]:
    """Single bytes; of a longer stream, the first and the last."""
    last = max(SINGLE, len(stream) - LAST)
    parts = stream[:SINGLE], stream[last:]
    first, end = ([part[at : at + 1] for at in range(len(part))] for part in parts)
    return [*first, stream[SINGLE:last], *end]


def places_of(size: int, numbers: bytes, last: int, count: int) -> Iterable[int]:
    """Where to cut it in two: everywhere, or at so many places."""
    first = int.from_bytes(numbers[:2], "little")
    if size >= LONG:
        return (1 + first % 80, size - 1 - first % 80, 1 + (first << 2) % (size - 1))
    most = min(size - 1, last + AHEAD)
    if most <= count:
        return range(1, most + 1)
    return {1 + (first + most * number // count) % most for number in range(count)}


def pieces_of(stream: bytes, sizes: list[int]) -> Iterator[bytes]:
    """Pieces of these sizes, again and again, an empty one now and then; of a long stream, the rest at once."""
    at = 0
    for number in range(SINGLE):
        size = sizes[number % len(sizes)]
        yield stream[at : at + size]
        at += size
        if size == 1:
            yield b""
        if at >= len(stream):
            return
    yield stream[at:]
