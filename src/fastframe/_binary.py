"""Frames that say their length in binary: a field of fixed width, or a varint.

The layout of a LengthField is the one of tokio-util's and Netty's length-field
decoders; a VarintLength is an unsigned LEB128, as protobuf and MQTT write it.
"""

from __future__ import annotations

from ._description import MAX_HEADER, MAX_SIZE, Framing, flat, integer, octets
from .errors import BadLength, BadMagic, FrameTooLarge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from typing_extensions import Buffer

    from ._description import Frame

_FAR = 1 << 62


class LengthField(Framing):
    """Frames with a binary length of 1 to 8 bytes in their header.

    width, byteorder: of the length field; "big" or "little".
    signed: the field is signed; a negative length is BadLength.
    offset: where the field begins in the frame.
    header_size: the header's bytes; None is offset + width.
    adjustment: frame size = header_size + length + adjustment; -header_size for a length
        that counts the header, len(trailer) for a trailer that it doesn't count.
    strip: how many bytes of the header are not delivered; None is header_size. Never inside the field.
    trailer_size: bytes behind the payload that are not delivered; 0 is len(trailer).
    trailer: the last of these, checked when the frame is complete. Where some are not known
        (a checksum), encode is a ValueError.
    magic: what each frame begins with, before the field; checked as the bytes arrive.
    template: header_size bytes; those that are neither magic nor length are encoded from here (b"": zeros).
    mask: 2**k - 1; only these bits of the field are the length.
    escape: (value, width): a field of this value announces a wider one right behind it, of
        `width` bytes, unsigned; header, and strip if it reaches behind the field, grow by it.
    max_size: the most bytes delivered.

    Where `strip` leaves some of the header in the payload, the payload given to `encode`
    brings that part along, and the right length is written into it.
    """

    __slots__ = (
        "_behind",
        "_blind",
        "_escaped",
        "_high",
        "_low",
        "_most",
        "_reach",
        "_trailer",
        "adjustment",
        "byteorder",
        "escape",
        "header_size",
        "magic",
        "mask",
        "max_size",
        "offset",
        "signed",
        "strip",
        "template",
        "trailer",
        "trailer_size",
        "width",
    )
    _positional = ("width", "byteorder")
    _defaults = {
        "signed": False,
        "offset": 0,
        "header_size": None,
        "adjustment": 0,
        "strip": None,
        "trailer_size": 0,
        "trailer": b"",
        "magic": b"",
        "template": b"",
        "mask": None,
        "escape": None,
        "max_size": MAX_SIZE,
    }

    width: int
    byteorder: Literal["big", "little"]
    signed: bool
    offset: int
    header_size: int
    adjustment: int
    strip: int
    trailer_size: int
    trailer: bytes
    magic: bytes
    template: bytes
    mask: int | None
    escape: tuple[int, int] | None
    max_size: int
    _behind: int  # the first byte behind the field
    _blind: bool  # the trailer has bytes that nobody knows
    _escaped: int | None  # the escape's value, as the field's unsigned bytes
    _low: int  # a smaller length is BadLength
    _high: int  # a greater one is FrameTooLarge
    _most: int  # the greatest length that the field itself can say

    def __init__(
        self,
        width: int = 4,
        byteorder: Literal["big", "little"] = "big",
        *,
        signed: bool = False,
        offset: int = 0,
        header_size: int | None = None,
        adjustment: int = 0,
        strip: int | None = None,
        trailer_size: int = 0,
        trailer: bytes = b"",
        magic: bytes = b"",
        template: bytes = b"",
        mask: int | None = None,
        escape: tuple[int, int] | None = None,
        max_size: int = MAX_SIZE,
    ) -> None:
        width = integer("width", width, 1, 8)
        if byteorder not in ("big", "little"):
            raise ValueError(f'byteorder must be "big" or "little", not {byteorder!r}')
        offset = integer("offset", offset, 0, MAX_HEADER - 16)
        adjustment = integer("adjustment", adjustment, -_FAR, _FAR)
        magic, template, trailer = octets("magic", magic), octets("template", template), octets("trailer", trailer)
        given: dict[str, Any] = {
            "width": width,
            "byteorder": byteorder,
            "signed": bool(signed),
            "offset": offset,
            "header_size": header_size,
            "adjustment": adjustment,
            "strip": strip,
            "trailer_size": integer("trailer_size", trailer_size, 0, MAX_HEADER),
            "trailer": trailer,
            "magic": magic,
            "template": template,
            "mask": mask,
            "escape": escape,
            "max_size": max_size,
        }
        behind = offset + width
        header = behind if header_size is None else integer("header_size", header_size, behind, MAX_HEADER)
        stripped = header if strip is None else integer("strip", strip, 0, header)
        if offset < stripped < behind:
            raise ValueError(f"strip must not be inside the field at {offset} to {behind}: {stripped}")
        if len(magic) > offset:
            raise ValueError(f"magic of {len(magic)} bytes must lie before the field, at offset {offset}")
        if template and len(template) != header:
            raise ValueError(f"template must have header_size bytes, {header}, not {len(template)}")
        if 0 < trailer_size < len(trailer):
            raise ValueError(f"trailer_size {trailer_size} is less than the trailer's {len(trailer)} bytes")
        trailing = trailer_size or len(trailer)
        most = (1 << (8 * width - bool(signed))) - 1
        if mask is not None:
            most = integer("mask", mask, 1, (1 << 8 * width) - 1)
            if mask & (mask + 1):
                raise ValueError(f"mask must be of the form 2**k - 1, not {mask:#x}")
        escaped, widest = None, most
        if escape is not None:
            given["escape"], escaped = _escape(escape, width, mask)
            widest = max(most, (1 << 8 * given["escape"][1]) - 1)
        bare = header + adjustment - stripped - trailing
        self._keep(
            given,
            widest + bare,
            header_size=header,
            strip=stripped,
            trailer_size=trailing,
            _behind=behind,
            _blind=trailing > len(trailer),
            _escaped=escaped,
            _most=most,
            _low=max(0, trailing - adjustment),
            _trailer=trailer,
            _reach=behind + (escape[1] if escape else 0),
        )
        object.__setattr__(self, "_high", self.limit - bare)

    def _measure(self, data: bytes | bytearray, pos: int, end: int, seen: int = 0) -> Frame | int:
        have = end - pos
        if self.magic and not self.magic.startswith(bytes(data[pos : min(end, pos + len(self.magic))])):
            raise self._bad_magic(bytes(data[pos : pos + len(self.magic)]))
        header, strip, behind, high = self.header_size, self.strip, self._behind, self._high
        if have < behind:
            return header
        raw = length = int.from_bytes(data[pos + self.offset : pos + behind], self.byteorder)
        if raw == self._escaped and self.escape:
            wide = self.escape[1]
            header += wide
            if strip > self.offset:
                strip += wide
            else:
                high -= wide
            if have < behind + wide:
                return header
            length = int.from_bytes(data[pos + behind : pos + behind + wide], self.byteorder)
            behind += wide
        elif self.mask is not None:
            length = raw & self.mask
        elif self.signed and raw > self._most:
            length = raw - (1 << 8 * self.width)
            raise BadLength(f"length {length} is negative", bytes(data[pos : pos + behind]))
        size = header + length + self.adjustment
        if length < self._low:
            reason = f"frame of {size} bytes is shorter than its header and trailer, {header + self.trailer_size}"
            raise BadLength(reason, bytes(data[pos : pos + behind]))
        if length > high:
            raise FrameTooLarge(size - strip - self.trailer_size, self.limit, bytes(data[pos : pos + behind]))
        return size, strip, size - self.trailer_size, header

    def _bad_magic(self, got: bytes) -> BadMagic:
        at = next(i for i, byte in enumerate(got) if byte != self.magic[i])
        reason = f"frame begins with {got[: at + 1].hex()} instead of {self.magic.hex()}"
        return BadMagic(reason, got[: at + 1])

    def _length_header(self, data: bytes) -> bytes:
        raw = int.from_bytes(data[self.offset : self._behind], self.byteorder)
        return data[: self._reach if raw == self._escaped else self._behind]

    def parts(self, payload: Buffer) -> tuple[bytes, bytes | memoryview, bytes]:
        body = flat(payload)
        self._fits(len(body))
        if self._blind:
            known = f"{len(self.trailer)} of {self.trailer_size}"
            raise ValueError(f"this description can only decode: it knows {known} bytes of the trailer")
        length = len(body) + self.strip + self.trailer_size - self.header_size - self.adjustment
        if self.strip <= self.offset:
            return *self._rewritten(body, length), self.trailer
        if len(body) < self.header_size - self.strip:
            raise ValueError(f"the payload must begin with its header, {self.header_size - self.strip} bytes")
        return self._header(length), body, self.trailer

    def _header(self, length: int) -> bytes:
        """The stripped part of the header, the length in it."""
        if length < 0:
            raise ValueError(f"the length of this frame would be {length}")
        base = self._base()
        word = length | (int.from_bytes(base[self.offset : self._behind], self.byteorder) & ~self._bits())
        wide = b""
        if self.escape and (length > self._most or length == self._escaped):
            word = self._escaped or 0
            wide = length.to_bytes(self.escape[1], self.byteorder)
        field = word.to_bytes(self.width, self.byteorder)
        return base[: self.offset] + field + wide + base[self._behind : self.strip]

    def _rewritten(self, body: bytes | memoryview, length: int) -> tuple[bytes, bytes | memoryview]:
        """Head and body of a frame whose payload brings the field along: the right length written into it."""
        at, behind = self.offset - self.strip, self._behind - self.strip
        kept = bytes(body[: self.header_size - self.strip])
        if len(kept) < self.header_size - self.strip:
            raise ValueError(f"the payload must begin with its header, {self.header_size - self.strip} bytes")
        if not kept.startswith(self.magic[self.strip :]):
            raise ValueError(f"the payload must begin with the magic {self.magic[self.strip :].hex()}")
        raw = int.from_bytes(kept[at:behind], self.byteorder)
        width, most = self.width, self._most
        if self.escape and raw == self._escaped:
            at, width = behind, self.escape[1]
            behind, length, most, raw = at + width, length - width, (1 << 8 * width) - 1, 0
            kept = bytes(body[: self.header_size - self.strip + width])
        if length < 0 or len(kept) < behind:
            raise ValueError(f"the payload is shorter than its header and trailer: its length would be {length}")
        if length > most:
            raise FrameTooLarge(len(body), len(body) - length + most)
        if width == self.width and length == self._escaped:
            raise ValueError(f"the length {length} means an escape: the payload must bring the wider field")
        word = length | (raw & ~self._bits() if width == self.width else 0)
        head = self._base()[: self.strip] + kept[:at] + word.to_bytes(width, self.byteorder)
        return head, body[behind:]

    def _base(self) -> bytes:
        """The header without its length: template, with the magic over it."""
        base = self.template or bytes(self.header_size)
        return self.magic + base[len(self.magic) :]

    def _bits(self) -> int:
        """The bits of the field that belong to the length."""
        return (1 << 8 * self.width) - 1 if self.mask is None else self.mask


def _escape(escape: Any, width: int, mask: int | None) -> tuple[tuple[int, int], int]:
    """The checked escape, and its value as the field's unsigned bytes."""
    if mask is not None:
        raise ValueError("escape and mask can't go together")
    if not isinstance(escape, tuple | list) or len(escape) != 2:
        raise TypeError(f"escape must be a pair (value, width), not {escape!r}")
    value = integer("escape value", escape[0], -(1 << 8 * width - 1), (1 << 8 * width) - 1)
    wide = integer("escape width", escape[1], 1, 8)
    return (value, wide), value % (1 << 8 * width)


class VarintLength(Framing):
    """Frames with an unsigned LEB128 varint as their length: protobuf's delimited messages, MQTT.

    max_bytes: the most bytes of the varint, 1 to 10; one without an end in them is BadLength.
    offset: bytes before it.
    strict: a varint longer than it need be is BadLength.
    strip: None delivers the payload alone, 0 the whole frame; then the payload given to
        `encode` brings its header, which must be right.
    template: `offset` bytes to encode before the varint (b"": zeros).
    max_size: the most bytes delivered.
    """

    __slots__ = ("_reach", "max_bytes", "max_size", "offset", "strict", "strip", "template")
    _positional = ("max_bytes",)
    _defaults = {"offset": 0, "strict": True, "strip": None, "template": b"", "max_size": MAX_SIZE}

    max_bytes: int
    offset: int
    strict: bool
    strip: int | None
    template: bytes
    max_size: int

    def __init__(
        self,
        max_bytes: int = 5,
        *,
        offset: int = 0,
        strict: bool = True,
        strip: int | None = None,
        template: bytes = b"",
        max_size: int = MAX_SIZE,
    ) -> None:
        given = {
            "max_bytes": integer("max_bytes", max_bytes, 1, 10),
            "offset": integer("offset", offset, 0, MAX_HEADER - 16),
            "strict": bool(strict),
            "strip": strip if strip is None else integer("strip", strip, 0, 0),
            "template": octets("template", template),
            "max_size": max_size,
        }
        if template and len(template) != offset:
            raise ValueError(f"template must have offset bytes, {offset}, not {len(template)}")
        most = (1 << 7 * max_bytes) - 1
        self._keep(given, most if strip is None else most + offset + max_bytes, _reach=offset + max_bytes)

    def _measure(self, data: bytes | bytearray, pos: int, end: int, seen: int = 0) -> Frame | int:
        start = pos + self.offset
        if end <= start:
            return self.offset + 1
        length = 0
        for count in range(self.max_bytes):
            if start + count >= end:
                return end - pos + 1
            byte = data[start + count]
            length |= (byte & 0x7F) << 7 * count
            if byte < 0x80:
                break
        else:
            reason = f"varint has no end in {self.max_bytes} bytes"
            raise BadLength(reason, bytes(data[pos : start + self.max_bytes]))
        header = self.offset + count + 1
        if self.strict and count and not byte:
            raise BadLength(f"varint of {count + 1} bytes is not minimal", bytes(data[pos : pos + header]))
        strip = header if self.strip is None else 0
        if header - strip + length > self.limit:
            raise FrameTooLarge(header - strip + length, self.limit, bytes(data[pos : pos + header]))
        return header + length, strip, header + length, header

    def parts(self, payload: Buffer) -> tuple[bytes, bytes | memoryview, bytes]:
        body = flat(payload)
        if self.strip is not None:
            return self._carried(body)
        self._fits(len(body))
        length, digits = len(body), bytearray(self.template or bytes(self.offset))
        while length > 0x7F:
            digits.append(length & 0x7F | 0x80)
            length >>= 7
        digits.append(length)
        return bytes(digits), body, b""
