"""What a frame looks like: one immutable description for each way to tell where a frame ends.

    frame on the wire = header_size + length value + adjustment     bytes
    delivered         = frame[strip : len(frame) - trailer_size]
    defaults          header_size = offset + width, strip = header_size, trailer_size = len(trailer)

`max_size` limits the bytes delivered, in both directions. All sizes are bytes.
"""

from __future__ import annotations

import operator

from ._binary import LengthField, VarintLength
from ._delimited import Delimiter
from ._description import MAX_HEADER, MAX_SIZE, Framing, flat, integer
from ._text import AsciiLength, ContentLength, Netstring
from .errors import BadLength, FrameTooLarge, InvalidFrame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from typing_extensions import Buffer

    from ._description import Frame

__all__ = [
    "AsciiLength",
    "Computed",
    "ContentLength",
    "Delimiter",
    "FixedSize",
    "Framing",
    "LengthField",
    "Netstring",
    "UntilEOF",
    "VarintLength",
]


class FixedSize(Framing):
    """Frames of `size` bytes each, at least 1, without a header."""

    __slots__ = ("size",)
    _positional = ("size",)

    size: int

    def __init__(self, size: int) -> None:
        self._keep({"size": integer("size", size, 1)}, limit=size)
        if size > self.limit:
            raise ValueError(f"size must be at most {self.limit}, not {size}")

    def _measure(self, data: bytes | bytearray, pos: int, end: int, seen: int = 0) -> Frame | int:
        return self.size, 0, self.size, 0

    def parts(self, payload: Buffer) -> tuple[bytes, bytes | memoryview, bytes]:
        body = flat(payload)
        self._fits(len(body))
        if len(body) < self.size:
            raise ValueError(f"the payload must have {self.size} bytes, not {len(body)}")
        return b"", body, b""


class UntilEOF(Framing):
    """All bytes until the peer's half-close: exactly one frame, even an empty one.

    max_size: the most bytes delivered.
    """

    __slots__ = ("max_size",)
    _defaults = {"max_size": MAX_SIZE}

    max_size: int

    def __init__(self, max_size: int = MAX_SIZE) -> None:
        self._keep({"max_size": max_size})

    def _measure(self, data: bytes | bytearray, pos: int, end: int, seen: int = 0) -> Frame | int:
        if end - pos > self.limit:
            raise FrameTooLarge(None, self.limit)
        return end - pos + 1

    def _finish(self, rest: bytes) -> list[bytes]:
        return [rest]

    def parts(self, payload: Buffer) -> tuple[bytes, bytes | memoryview, bytes]:
        body = flat(payload)
        self._fits(len(body))
        return b"", body, b""

    def encode_many(self, payloads: Iterable[Buffer]) -> bytes:
        given = list(payloads)
        if len(given) > 1:
            raise ValueError(f"a stream until its end is one frame, not {len(given)}")
        return super().encode_many(given)


class Computed(Framing):
    """Frames whose size a function tells: the documented slow way out, for what no other class can say.

    header_size: the bytes that the function needs, at least 1.
    function: called with them as bytes, once or more for a frame; returns the whole
        frame's size in bytes, header included. A ValueError from it is BadLength; anything
        else it raises passes through, nothing is lost, and the next call asks it again.
    max_size: the most bytes delivered, which is the whole frame, header included.

    The payload given to `encode` is the whole frame too; its header must be right.
    """

    __slots__ = ("_reach", "function", "header_size", "max_size")
    _positional = ("header_size", "function")
    _defaults = {"max_size": MAX_SIZE}

    header_size: int
    function: Callable[[bytes], int]
    max_size: int

    def __init__(self, header_size: int, function: Callable[[bytes], int], max_size: int = MAX_SIZE) -> None:
        header_size = integer("header_size", header_size, 1, MAX_HEADER)
        if not callable(function):
            raise TypeError(f"function must be callable, not {type(function).__name__}")
        given = {"header_size": header_size, "function": function, "max_size": max_size}
        self._keep(given, _reach=header_size)

    def _measure(self, data: bytes | bytearray, pos: int, end: int, seen: int = 0) -> Frame | int:
        if end - pos < self.header_size:
            return self.header_size
        header = bytes(data[pos : pos + self.header_size])
        try:
            size = operator.index(self.function(header))
        except InvalidFrame as error:
            args: tuple[Any, ...] = (*error.args[:-3], header)
            raise type(error)(*args) from error
        except ValueError as error:
            raise BadLength(f"header can't be read: {str(error)!a}", header) from error
        if size < self.header_size:
            raise BadLength(f"frame of {size} bytes is shorter than its header, {self.header_size}", header)
        if size > self.limit:
            raise FrameTooLarge(size, self.limit, header)
        return size, 0, size, self.header_size

    def parts(self, payload: Buffer) -> tuple[bytes, bytes | memoryview, bytes]:
        return self._carried(flat(payload))
