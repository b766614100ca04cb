"""What several test files share: cuts, ways to feed a decoder, sockets, and hypothesis' framings and streams."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

import fastframe as ff
from model import Fault, Outcome, fault

# --- Cuts and ways ---------------------------------------------------------------------------------------------------


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """Whole, byte by byte, and in two at every place."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for i in range(1, len(data)):
        yield [data[:i], data[i:]]


def by_feed(decoder: Any, chunk: bytes, frames: list[bytes]) -> None:
    frames += decoder.feed(chunk)


def by_batch(decoder: Any, chunk: bytes, frames: list[bytes]) -> None:
    frames += decoder.feed_batch(chunk)


def by_buffer(decoder: Any, chunk: bytes, frames: list[bytes]) -> None:
    while True:
        view = decoder.get_buffer(len(chunk))
        count = min(len(view), len(chunk))
        view[:count] = chunk[:count]
        frames += decoder.buffer_updated(count)
        chunk = chunk[count:]
        if not chunk or decoder.error is not None:
            break


def by_pop(decoder: Any, chunk: bytes, frames: list[bytes]) -> None:
    decoder.push(chunk)
    while (frame := decoder.pop()) is not None:
        frames.append(frame)


WAYS: dict[str, Callable[[Any, bytes, list[bytes]], None]] = {
    "feed": by_feed,
    "batch": by_batch,
    "buffer": by_buffer,
    "pop": by_pop,
}


def outcome(decoder: Any, chunks: list[bytes], way: str = "feed", eof: bool = True) -> Outcome:
    """What the decoder makes of these chunks, and of the end behind them if there is one."""
    frames: list[bytes] = []
    error: Fault | None = None
    try:
        for chunk in chunks:
            if decoder.error is None:
                WAYS[way](decoder, chunk, frames)
        if decoder.error is None and eof:
            frames += decoder.feed_eof()
    except ff.FrameError as caught:
        error = fault(caught)
    if decoder.error is not None:
        assert error is None or error == fault(decoder.error)
        error = fault(decoder.error)
    return Outcome(frames, error)


def result(call: Callable[..., Any], *args: Any) -> Any:
    """What a call gives or raises, in a form that two engines can be compared by."""
    try:
        value = call(*args)
    except Exception as error:
        if isinstance(error, ff.FrameError):
            return type(error), error.args, str(error)
        return type(error)
    return list(value) if type(value).__name__ == "FrameBatch" else value


# --- Sockets ---------------------------------------------------------------------------------------------------------


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection over the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        peer, _ = server.accept()
    return client, peer


def all_of(reader: Any, wait: Callable[..., bool]) -> tuple[list[bytes], ff.FrameError]:
    """Every frame that a FrameReader gives, and how its stream ends."""
    frames: list[bytes] = []
    while True:
        try:
            got = reader.read()
        except ff.FrameError as error:
            return frames, error
        frames += got
        if not got:
            assert wait(reader.fileno(), False, 10)


# --- Framings --------------------------------------------------------------------------------------------------------


def size_of_header(header: bytes) -> int:
    """For Computed: the first byte is the whole frame's size; 255 isn't one."""
    if header[0] == 255:
        raise ValueError("255 is reserved")
    return header[0]


LIMITS = st.sampled_from([1 << 24, 1 << 24, 100, 100, 12, 12, 5, 2, 1, 0])


@st.composite
def length_fields(draw: st.DrawFn) -> ff.LengthField:
    width = draw(st.integers(1, 8))
    magic = draw(st.sampled_from([b"", b"", b"M", b"\x00\x01", b"GE"]))
    offset = len(magic) + draw(st.integers(0, 2))
    header = offset + width + draw(st.integers(0, 2))
    template = draw(st.sampled_from([b"", bytes(range(0x30, 0x30 + header))]))
    strip = draw(st.sampled_from([None, None, 0, offset, offset + width, header]))
    trailer = draw(st.sampled_from([b"", b"", b"\n", b"xy"]))
    extra: dict[str, Any] = {}
    kind = draw(st.sampled_from(["", "", "signed", "mask", "escape"]))
    if kind == "mask":
        extra["mask"] = (1 << draw(st.integers(3, 8 * width))) - 1
    if kind == "escape":
        value = draw(st.sampled_from([-1, 0, 2, (1 << 8 * width) - 1]))
        extra["escape"] = (value, draw(st.sampled_from([1, 2, 4, 8])))
    try:
        return ff.LengthField(
            width,
            draw(st.sampled_from(["big", "little"])),
            signed=kind == "signed" or (kind == "escape" and draw(st.booleans())),
            offset=offset,
            header_size=draw(st.sampled_from([header, header, None])) if header == offset + width else header,
            adjustment=draw(st.sampled_from([0, 0, -header, -1, 1, len(trailer), -offset])),
            strip=strip,
            trailer=trailer,
            trailer_size=draw(st.sampled_from([0, 0, 0, len(trailer), len(trailer) + 2])),
            magic=magic,
            template=template,
            max_size=draw(LIMITS),
            **extra,
        )
    except ValueError:  # a field that can't say as much as the header and the trailer take
        return ff.LengthField(width, magic=magic, offset=offset)


@st.composite
def varints(draw: st.DrawFn) -> ff.VarintLength:
    offset = draw(st.integers(0, 2))
    return ff.VarintLength(
        draw(st.integers(1, 10)),
        offset=offset,
        strict=draw(st.booleans()),
        strip=draw(st.sampled_from([None, 0])),
        template=draw(st.sampled_from([b"", b"tuvw"[:offset]])),
        max_size=draw(LIMITS),
    )


@st.composite
def ascii_lengths(draw: st.DrawFn) -> ff.AsciiLength:
    digits = draw(st.integers(1, 6))
    shape = draw(
        st.sampled_from(
            [
                {},
                {"pad": b" "},
                {"pad": b" ", "align": "left"},
                {"pad": b"\0", "align": "left"},
                {"separator": b" "},
                {"separator": b":;:"},
                {"separator": b"\r\n"},
            ]
        )
    )
    try:
        return ff.AsciiLength(
            digits,
            base=draw(st.sampled_from([10, 16])),
            adjustment=draw(st.sampled_from([0, 0, 2, -1, -digits])),
            strip=draw(st.sampled_from([None, 0])),
            max_size=draw(LIMITS),
            **shape,
        )
    except ValueError:
        return ff.AsciiLength(digits, **shape)


@st.composite
def delimiters(draw: st.DrawFn) -> ff.Delimiter:
    ends = draw(
        st.sampled_from(
            [
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
            ]
        )
    )
    keep = draw(st.booleans())
    return ff.Delimiter(
        *ends,
        start=draw(st.sampled_from([b"", b"", b"\x0b", b"ab"])),
        keep=keep,
        at_eof=draw(st.sampled_from(["error", "deliver", "drop"])),
        max_size=max(draw(LIMITS), max(map(len, ends)) if keep else 0),
    )


def framings() -> st.SearchStrategy[Any]:
    """Descriptions of every class, with every parameter."""
    return st.one_of(
        length_fields(),
        length_fields(),
        varints(),
        ascii_lengths(),
        delimiters(),
        LIMITS.map(ff.Netstring),
        LIMITS.map(ff.ContentLength),
        LIMITS.map(ff.UntilEOF),
        st.integers(1, 9).map(ff.FixedSize),
        st.builds(ff.Computed, st.integers(1, 3), st.just(size_of_header), LIMITS),
    )


# --- Streams ---------------------------------------------------------------------------------------------------------

NOISE = st.one_of(
    st.binary(max_size=12),
    st.text("0123456789abAB+-_ x:,\r\n\0", max_size=12).map(str.encode),
    st.sampled_from(
        [b"\0", b"\1", b"\0\0\0\1", b"\xff" * 9, b"\x80" * 6, b"GET / HTTP/1.1", b"\x16\x03\x01", b"5:hello,"]
    ),
    st.sampled_from(
        [b"Content-Length: 3\r\n\r\nabc", b"X: y\r\n", b"Content-Length: 0\r\n\r\n", b"content-length:1\r\n\r\n"]
    ),
)


@st.composite
def streams(draw: st.DrawFn, framing: Any) -> bytes:
    """Frames, good and broken, and noise."""
    pieces = []
    for _ in range(draw(st.integers(0, 5))):
        piece = draw(NOISE)
        if draw(st.integers(0, 7)):
            try:
                piece = framing.encode(piece)
            except ValueError:
                pass
        pieces.append(piece)
    data = b"".join(pieces)
    if data and draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(data) - 1))
        data = data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
    if data and draw(st.integers(0, 3)) == 0:
        data = data[: draw(st.integers(0, len(data)))]
    return data


@st.composite
def pieces_of(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The same bytes in pieces, some of them empty."""
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, list[bytes]]:
    """A framing, and a stream for it in pieces."""
    framing = draw(framings())
    return framing, draw(pieces_of(draw(streams(framing))))
