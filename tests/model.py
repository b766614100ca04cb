"""What a stream means: a third implementation, slow and plain, written from the design's section 2 alone.

`read` looks at the whole stream, one byte after the other, as a blocking program without
any buffer would. Whatever an engine makes of the same bytes, in any pieces, must equal this.
"""

from typing import Any, NamedTuple

import fastframe as ff


class Fault(NamedTuple):
    """An error: its class and its attributes, those that it hasn't got being None."""

    kind: type[ff.FrameError]
    offset: int
    header: bytes | None = None
    size: int | None = None
    limit: int | None = None
    stage: str | None = None
    got: int | None = None
    want: int | None = None
    partial: bytes | None = None


def fault(error: ff.FrameError) -> Fault:
    """The same of an exception."""
    return Fault(type(error), *(getattr(error, name, None) for name in Fault._fields[1:]))


class Outcome(NamedTuple):
    frames: list[bytes]
    error: Fault | None


class Bad(Exception):
    """kind of the error, and size and limit if it is a FrameTooLarge."""


class End(Exception):
    """The stream has no byte left."""


class Frame:
    """A frame being read: its bytes so far, and what is known of it."""

    def __init__(self, data: bytes, start: int) -> None:
        self.data = data
        self.start = self.at = start
        self.stage = "header"
        self.want: int | None = None

    @property
    def bytes(self) -> bytes:
        return self.data[self.start : self.at]

    def take(self, count: int = 1) -> bytes:
        """The next bytes, one by one: what is there is taken even if the rest never comes."""
        for _ in range(count):
            if self.at == len(self.data):
                raise End
            self.at += 1
        return self.data[self.at - count : self.at]

    def payload(self, framing: Any, total: int, strip: int = 0, trailer: int = 0) -> bytes:
        """The rest of a frame of `total` bytes, of which the first `strip` and the last `trailer` aren't delivered."""
        size = total - strip - trailer
        if size > framing.limit:
            raise Bad(ff.FrameTooLarge, size, framing.limit)
        self.want = total
        self.take(total - len(self.bytes))
        return self.bytes[strip : total - trailer]


def read(framing: ff.Framing, data: bytes, eof: bool = True) -> Outcome:
    """The frames in `data`, and the error in which it ends; with `eof` the stream ends behind it."""
    frames: list[bytes] = []
    at = 0
    parse = PARSERS[type(framing)]
    while at < len(data) or type(framing) is ff.UntilEOF:
        frame = Frame(data, at)
        length_field = b""
        try:
            payload = parse(framing, frame)
        except End:
            if eof:
                try:
                    last = at_end(framing, frame)
                except Bad as bad:
                    return Outcome(frames, Fault(bad.args[0], at, framing.start, *bad.args[1:]))
                if last is None:
                    got = len(frame.bytes)
                    return Outcome(
                        frames,
                        Fault(ff.TruncatedFrame, at, None, None, None, frame.stage, got, frame.want, frame.bytes),
                    )
                frames += last
            return Outcome(frames, None)
        except Bad as bad:
            length_field = getattr(frame, "length_field", frame.bytes)
            return Outcome(frames, Fault(bad.args[0], at, length_field, *bad.args[1:]))
        frames.append(payload)
        at = frame.at
    return Outcome(frames, None)


def at_end(framing: Any, frame: Frame) -> list[bytes] | None:
    """What the end makes of the last, unfinished frame: the frames of it, or None if it is truncated."""
    if isinstance(framing, ff.UntilEOF):
        return [frame.bytes]
    if isinstance(framing, ff.Delimiter):
        rest = frame.bytes[len(framing.start) :]
        if framing.at_eof == "drop":
            return []
        if framing.at_eof == "deliver" and frame.stage == "payload":
            if len(rest) > framing.limit:
                raise Bad(ff.FrameTooLarge, None, framing.limit)
            return [rest] if rest else []
    return None


def expect(frame: Frame, wanted: bytes) -> None:
    for byte in wanted:
        if frame.take() != bytes([byte]):
            raise Bad(ff.BadMagic)


def length_field(f: ff.LengthField, frame: Frame) -> bytes:
    expect(frame, f.magic)
    frame.take(f.offset - len(f.magic))
    field = frame.take(f.width)
    length = int.from_bytes(field, f.byteorder, signed=f.signed)
    header, strip = f.header_size, f.strip
    if f.escape and field == (f.escape[0] % 256**f.width).to_bytes(f.width, f.byteorder):
        length = int.from_bytes(frame.take(f.escape[1]), f.byteorder)
        header += f.escape[1]
        strip += f.escape[1] if strip > f.offset else 0
    elif f.mask is not None:
        length = int.from_bytes(field, f.byteorder) & f.mask
    if length < 0:
        raise Bad(ff.BadLength)
    total = header + length + f.adjustment
    trailer = f.trailer_size or len(f.trailer)
    if total < header + trailer:
        raise Bad(ff.BadLength)
    if total - strip - trailer > f.limit:
        raise Bad(ff.FrameTooLarge, total - strip - trailer, f.limit)
    frame.length_field = frame.bytes  # type: ignore[attr-defined]
    frame.want = total
    frame.take(header - len(frame.bytes))
    frame.stage = "payload"
    payload = frame.payload(f, total, strip, trailer)
    if not frame.bytes.endswith(f.trailer):
        raise Bad(ff.BadTrailer)
    return payload


def varint(f: ff.VarintLength, frame: Frame) -> bytes:
    frame.take(f.offset)
    length = 0
    for shift in range(f.max_bytes):
        byte = frame.take()[0]
        length += byte % 128 * 128**shift
        if byte < 128:
            break
    else:
        raise Bad(ff.BadLength)
    if f.strict and shift > 0 and byte == 0:
        raise Bad(ff.BadLength)
    frame.stage = "payload"
    header = len(frame.bytes)
    return frame.payload(f, header + length, header if f.strip is None else 0)


def is_digit(byte: bytes, base: int) -> bool:
    return byte in [b"%x" % i for i in range(base)] + [b"%X" % i for i in range(base)]


def separated(frame: Frame, digits: int, base: int, separator: bytes) -> int:
    """The number before the separator: no sign, no padding, no leading zero, at most so many digits."""
    text = b""
    while is_digit(byte := frame.take(), base):
        if text == b"0" or len(text) == digits:
            raise Bad(ff.BadLength)
        text += byte
    while byte == separator[:1] and text and len(separator) > 1:
        byte, separator = frame.take(), separator[1:]
    if byte != separator or not text:
        raise Bad(ff.BadLength)
    return int(text, base)


def padded(frame: Frame, f: ff.AsciiLength) -> int:
    """The number of `digits` characters, on the right or the left a run of padding, at least one digit."""
    text = b""
    for i in range(f.digits):
        byte = frame.take()
        last = i == f.digits - 1
        if f.pad == b"0" or (f.align == "right" and not text):
            fine = is_digit(byte, f.base) or (byte == f.pad and not last)
        elif f.align == "right":
            fine = is_digit(byte, f.base)
        else:
            fine = is_digit(byte, f.base) and len(text) == i or byte == f.pad and i > 0
        if not fine:
            raise Bad(ff.BadLength)
        if is_digit(byte, f.base):
            text += byte
    return int(text, f.base)


def ascii_length(f: ff.AsciiLength, frame: Frame) -> bytes:
    length = separated(frame, f.digits, f.base, f.separator) if f.separator else padded(frame, f)
    header = len(frame.bytes)
    if length + f.adjustment < 0:
        raise Bad(ff.BadLength)
    frame.stage = "payload"
    return frame.payload(f, header + length + f.adjustment, 0 if f.strip == 0 else header)


def netstring(f: ff.Netstring, frame: Frame) -> bytes:
    length = separated(frame, 20, 10, b":")
    frame.length_field = frame.bytes  # type: ignore[attr-defined]
    frame.stage = "payload"
    payload = frame.payload(f, len(frame.bytes) + length + 1, len(frame.bytes), 1)
    if not frame.bytes.endswith(b","):
        raise Bad(ff.BadTrailer)
    return payload


def delimiter(f: ff.Delimiter, frame: Frame) -> bytes:
    expect(frame, f.start)
    frame.length_field = frame.bytes  # type: ignore[attr-defined]
    frame.stage = "payload"
    body = b""
    while True:
        found = [end for end in f.ends if body.endswith(end)]
        if found:
            payload = body if f.keep else body.removesuffix(max(found, key=len))
            if len(payload) > f.limit:
                raise Bad(ff.FrameTooLarge, None, f.limit)
            return payload
        # The smallest frame that this could still become.
        begun = [(end, k) for end in f.ends for k in range(len(end)) if body.endswith(end[:k])]
        if min(len(body) + len(end) - k if f.keep else len(body) - k for end, k in begun) > f.limit:
            raise Bad(ff.FrameTooLarge, None, f.limit)
        body += frame.take()


def fixed_size(f: ff.FixedSize, frame: Frame) -> bytes:
    frame.stage = "payload"
    return frame.payload(f, f.size)


def until_eof(f: ff.UntilEOF, frame: Frame) -> bytes:
    frame.length_field = b""  # type: ignore[attr-defined]
    while True:
        frame.take()
        if len(frame.bytes) > f.limit:
            raise Bad(ff.FrameTooLarge, None, f.limit)


def content_length(f: ff.ContentLength, frame: Frame) -> bytes:
    token = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    lengths = []
    line = ""
    while line != "\r\n":
        line = ""
        while not line.endswith("\n"):
            if len(frame.bytes) == 8192:
                raise Bad(ff.BadLength)
            line += frame.take().decode("latin-1")
            if line[-1] not in "\t\r\n" and not " " <= line[-1] <= "~":
                raise Bad(ff.BadLength)
        if line != "\r\n":
            name, colon, value = line.removesuffix("\r\n").partition(":")
            if not name or set(name) - set(token) or not colon or "\r" in value or not line.endswith("\r\n"):
                raise Bad(ff.BadLength)
            if name.lower() == "content-length":
                lengths.append(value.strip(" \t"))
    if len(lengths) != 1 or not lengths[0].isdigit() or len(lengths[0]) > 20:
        raise Bad(ff.BadLength)
    frame.stage = "payload"
    return frame.payload(f, len(frame.bytes) + int(lengths[0]), len(frame.bytes))


def computed(f: ff.Computed, frame: Frame) -> bytes:
    header = frame.take(f.header_size)
    try:
        total = f.function(header)
    except ValueError:
        raise Bad(ff.BadLength) from None
    if total < f.header_size:
        raise Bad(ff.BadLength)
    frame.stage = "payload"
    return frame.payload(f, total)


PARSERS: dict[type, Any] = {
    ff.LengthField: length_field,
    ff.VarintLength: varint,
    ff.AsciiLength: ascii_length,
    ff.Netstring: netstring,
    ff.Delimiter: delimiter,
    ff.FixedSize: fixed_size,
    ff.UntilEOF: until_eof,
    ff.ContentLength: content_length,
    ff.Computed: computed,
}
