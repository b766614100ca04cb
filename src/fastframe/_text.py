"""Frames that say their length in text: padded digits, digits with a separator, netstrings, header lines."""

from __future__ import annotations

from ._description import MAX_SIZE, Framing, flat, integer, octets
from .errors import BadLength, FrameTooLarge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from typing_extensions import Buffer

    from ._description import Frame

_DIGITS = {10: b"0123456789", 16: b"0123456789abcdefABCDEF"}
_FAR = 1 << 60


class AsciiLength(Framing):
    """Frames with their length as decimal or hexadecimal characters.

    digits: the characters of the length; with a separator, the most of them. 1 to 255.
    base: 10 or 16; hex is read in both cases and written in lower case.
    separator: what ends the length, which then has neither padding nor leading zeros
        (syslog's octet counting: b" "); b"": it has `digits` characters, padded.
    pad, align: the padding byte, and the side on which the digits stand.
    adjustment: frame size = header + length + adjustment.
    strip: None delivers the payload alone, 0 the whole frame; then the payload given to
        `encode` brings its header, which must be right.
    max_size: the most bytes delivered.

    Signs, blanks that aren't padding, underscores and prefixes are BadLength.
    """

    __slots__ = ("_reach", "adjustment", "align", "base", "digits", "max_size", "pad", "separator", "strip")
    _positional = ("digits",)
    _defaults = {
        "base": 10,
        "separator": b"",
        "pad": b"0",
        "align": "right",
        "adjustment": 0,
        "strip": None,
        "max_size": MAX_SIZE,
    }

    digits: int
    base: int
    separator: bytes
    pad: bytes
    align: Literal["left", "right"]
    adjustment: int
    strip: int | None
    max_size: int

    def __init__(
        self,
        digits: int = 5,
        *,
        base: int = 10,
        separator: bytes = b"",
        pad: bytes = b"0",
        align: Literal["left", "right"] = "right",
        adjustment: int = 0,
        strip: int | None = None,
        max_size: int = MAX_SIZE,
    ) -> None:
        digits = integer("digits", digits, 1, 255)
        if base not in _DIGITS:
            raise ValueError(f"base must be 10 or 16, not {base!r}")
        if align not in ("left", "right"):
            raise ValueError(f'align must be "left" or "right", not {align!r}')
        separator, pad = octets("separator", separator), octets("pad", pad)
        if len(pad) != 1:
            raise ValueError(f"pad must be one byte, not {len(pad)}")
        if separator and (pad != b"0" or align != "right"):
            raise ValueError("a length with a separator has no padding")
        if separator[:1] in [b"%c" % byte for byte in _DIGITS[base]]:
            raise ValueError(f"separator must not begin with a digit: {separator!r}")
        if pad in _DIGITS[base] and (pad != b"0" or align != "right"):
            raise ValueError(f"pad {pad!r} can't be told from a digit")
        if strip is not None:
            integer("strip", strip, 0, 0 if separator or strip != digits else digits)
        given = {
            "digits": digits,
            "base": base,
            "separator": separator,
            "pad": pad,
            "align": align,
            "adjustment": integer("adjustment", adjustment, -_FAR, _FAR),
            "strip": strip,
            "max_size": max_size,
        }
        header = digits + len(separator)
        most = base**digits - 1 + adjustment + (0 if strip != 0 else header)
        self._keep(given, most, _reach=header + 1)

    def _measure(self, data: bytes | bytearray, pos: int, end: int, seen: int = 0) -> Frame | int:
        if self.separator:
            count = _separated(data, pos, end, self.digits, self.base, self.separator)
            text = bytes(data[pos : pos + count])
        else:
            text = bytes(data[pos : min(end, pos + self.digits)])
            self._check_padded(text)
            count = self.digits if len(text) == self.digits else -self.digits
        if count < 0:
            return -count
        length = int(text.strip(self.pad) or b"0" if self.pad != b"0" else text, self.base)
        header = count + len(self.separator)
        size = header + length + self.adjustment
        start = bytes(data[pos : pos + header])
        if size < header:
            raise BadLength(f"frame of {size} bytes is shorter than its header, {header}", start)
        strip = 0 if self.strip == 0 else header
        if size - strip > self.limit:
            raise FrameTooLarge(size - strip, self.limit, start)
        return size, strip, size, header

    def _check_padded(self, text: bytes) -> None:
        """Raise BadLength at the first byte that no padded number has there."""
        if not self._is_padded(text):
            at = next(i for i in range(len(text)) if not self._is_padded(text[: i + 1]))
            raise _bad_digit(text[: at + 1], self.base)

    def _is_padded(self, text: bytes) -> bool:
        """Whether a padded number can begin like this."""
        number = text.lstrip(self.pad) if self.align == "right" else text.rstrip(self.pad)
        if number:
            return not number.translate(None, _DIGITS[self.base])
        return self.pad == b"0" or not text or (self.align == "right" and len(text) < self.digits)

    def parts(self, payload: Buffer) -> tuple[bytes, bytes | memoryview, bytes]:
        body = flat(payload)
        if self.strip == 0:
            return self._carried(body)
        self._fits(len(body))
        length = len(body) - self.adjustment
        if length < 0:
            raise ValueError(f"the length of this frame would be {length}")
        text = b"%x" % length if self.base == 16 else b"%d" % length
        if not self.separator:
            text = text.rjust(self.digits, self.pad) if self.align == "right" else text.ljust(self.digits, self.pad)
        return text + self.separator, body, b""


class Netstring(Framing):
    """`5:hello,` as at https://cr.yp.to/proto/netstrings.txt: no leading zero, at most 20 digits.

    max_size: the most bytes delivered.
    """

    __slots__ = ("max_size",)
    _defaults = {"max_size": MAX_SIZE}
    _trailer = b","
    _digits = 20
    _reach = _digits + 1

    max_size: int

    def __init__(self, max_size: int = MAX_SIZE) -> None:
        self._keep({"max_size": max_size})

    def _measure(self, data: bytes | bytearray, pos: int, end: int, seen: int = 0) -> Frame | int:
        count = _separated(data, pos, end, self._digits, 10, b":")
        if count < 0:
            return -count
        length = int(data[pos : pos + count])
        header = count + 1
        if length > self.limit:
            raise FrameTooLarge(length, self.limit, bytes(data[pos : pos + header]))
        return header + length + 1, header, header + length, header

    def parts(self, payload: Buffer) -> tuple[bytes, bytes | memoryview, bytes]:
        body = flat(payload)
        self._fits(len(body))
        return b"%d:" % len(body), body, b","


def _separated(data: bytes | bytearray, pos: int, end: int, digits: int, base: int, separator: bytes) -> int:
    """The number of digits before the separator; if that isn't there yet, minus the bytes to have before asking again."""
    stop = min(end, pos + digits + len(separator))
    count = data.find(separator, pos, stop) - pos
    text = bytes(data[pos : pos + count]) if count > 0 else b""
    if text and not text.translate(None, _DIGITS[base]) and (text[0] != 0x30 or count == 1):
        return count
    count = 0
    while pos + count < stop and count < digits and data[pos + count] in _DIGITS[base]:
        count += 1
        if count == 2 and data[pos] == 0x30:
            raise BadLength("length has a leading zero", bytes(data[pos : pos + 2]))
    rest = bytes(data[pos + count : stop])[: len(separator)]
    if rest and (not count or not separator.startswith(rest)):
        at = next((i for i, byte in enumerate(rest) if not count or byte != separator[i]), 0)
        if not at and count == digits:
            raise BadLength(f"length has no end in {digits} digits", bytes(data[pos : pos + count + 1]))
        raise _bad_digit(bytes(data[pos : pos + count + at + 1]), base)
    return -(end - pos + 1)


def _bad_digit(text: bytes, base: int) -> BadLength:
    kind = "hexadecimal" if base == 16 else "decimal"
    return BadLength(f"length is not {kind}: 0x{text[-1]:02x} at byte {len(text) - 1}", text)


class ContentLength(Framing):
    """Frames behind HTTP-like header lines: the Language Server and Debug Adapter Protocols.

    The header block, of at most 8 KiB, ends with an empty line and is not delivered. It has
    exactly one Content-Length; other fields are passed over.

    max_size: the most bytes delivered.
    """

    __slots__ = ("max_size",)
    _defaults = {"max_size": MAX_SIZE}
    _reach = 8192
    _head, _mark = b"Content-Length: ", b"\r\n\r\n"

    max_size: int

    def __init__(self, max_size: int = MAX_SIZE) -> None:
        self._keep({"max_size": max_size})

    def _measure(self, data: bytes | bytearray, pos: int, end: int, seen: int = 0) -> Frame | int:
        stop = min(end, pos + self._reach)
        if not seen and (at := data.find(self._mark, pos, stop)) >= 0:
            length = self._said(data[pos:at])
            if 0 <= length <= self.limit:
                header = at + len(self._mark) - pos
                return header + length, header, header + length, header
        line = data.rfind(b"\n", pos, pos + seen) + 1 or pos
        while (newline := data.find(b"\n", max(line, pos + seen), stop)) >= 0:
            text = bytes(data[line : newline + 1])
            _check_line(text, bytes(data[pos : newline + 1]))
            if text == b"\r\n":
                return self._judge(bytes(data[pos : newline + 1]))
            line = newline + 1
        _check_characters(bytes(data[line:stop]), bytes(data[pos:line]))
        if stop - pos == self._reach:
            raise BadLength(f"header lines have no end in {self._reach} bytes", bytes(data[pos:stop]))
        return end - pos + 1

    def _said(self, lines: bytes | bytearray) -> int:
        """What lines say that are a Content-Length and at most a Content-Type behind it; -1 for any others."""
        name, _, rest = lines.partition(b":")
        value, more, rest = rest.partition(b"\r\n")
        value = value.strip(b" \t")
        if name.lower() != b"content-length" or not value.isdigit() or len(value) > 20:
            return -1
        if more:
            name, colon, text = rest.partition(b":")
            if name.lower() != b"content-type" or not colon or text.translate(None, _TEXT):
                return -1
        return int(value)

    def _judge(self, block: bytes) -> Frame:
        fields = [line.partition(b":") for line in block.split(b"\r\n")]
        values = [value.strip(b" \t") for name, _, value in fields if name.lower() == b"content-length"]
        if len(values) != 1:
            raise BadLength(f"header has {len(values)} Content-Length fields instead of one", block)
        if not values[0].isdigit() or len(values[0]) > 20:
            raise BadLength(f"Content-Length is not a decimal number of at most 20 digits: {values[0][:40]!r}", block)
        length = int(values[0])
        if length > self.limit:
            raise FrameTooLarge(length, self.limit, block)
        return len(block) + length, len(block), len(block) + length, len(block)

    def parts(self, payload: Buffer) -> tuple[bytes, bytes | memoryview, bytes]:
        body = flat(payload)
        self._fits(len(body))
        return b"%b%d%b" % (self._head, len(body), self._mark), body, b""


_TEXT = bytes(range(0x20, 0x7F)) + b"\t"
_VISIBLE = _TEXT + b"\r\n"
# The characters of a token, RFC 9110 section 5.6.2.
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _check_characters(text: bytes, before: bytes) -> None:
    """Raise BadLength at the first byte of `text` that no header line has."""
    bad = text.translate(None, _VISIBLE)
    if bad:
        at = text.index(bad[:1])
        raise BadLength(f"header line has the byte 0x{bad[0]:02x}", before + text[: at + 1])


def _check_line(text: bytes, block: bytes) -> None:
    """Raise BadLength unless `text`, the last line of `block`, is one that a header may have."""
    _check_characters(text, block[: -len(text)])
    name, colon, value = text[:-2].partition(b":")
    if not text.endswith(b"\r\n") or b"\r" in value:
        raise BadLength("header line doesn't end with CR LF", block)
    if text != b"\r\n" and (not name or not colon or name.translate(None, _TOKEN)):
        raise BadLength("header line is not of the form `Name: value`", block)
