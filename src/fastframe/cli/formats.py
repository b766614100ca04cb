"""How frames are shown: each format makes text of one frame, with line breaks, and none lets a control character through."""

from __future__ import annotations

import codecs
import json
from typing import NamedTuple

from .hexdump import rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Format = Callable[["Frame"], str]

__all__ = ["ESCAPE", "FORMATS", "Frame", "as_hex", "as_json", "as_text", "escaped"]


class Frame(NamedTuple):
    """A frame of a stream: its number, from 1; where it begins, in bytes from the stream's start; what it delivers."""

    number: int
    offset: int
    payload: bytes

    def __str__(self) -> str:
        return f"frame {self.number} at offset {self.offset}, {len(self.payload)} bytes"


def as_hex(frame: Frame) -> str:
    """A line about the frame, and a hex dump of its payload, with offsets from the payload's start."""
    return "\n".join((str(frame), *rows(frame.payload), ""))


def as_text(frame: Frame) -> str:
    """One line, the payload `escaped`."""
    return f"{frame}: {escaped(frame.payload)}\n"


def as_json(frame: Frame) -> str:
    """One line, a JSON object: frame, offset, size, and payload if it is UTF-8, else payload_hex."""
    facts: dict[str, object] = {"frame": frame.number, "offset": frame.offset, "size": len(frame.payload)}
    try:
        facts["payload"] = frame.payload.decode("utf-8")
    except UnicodeDecodeError:
        facts["payload_hex"] = frame.payload.hex()
    return f"{json.dumps(facts)}\n"


FORMATS: dict[str, Format] = {"hex": as_hex, "text": as_text, "json": as_json}


# --- Text that a terminal only shows ---

ESCAPE = "fastframe.escape"
"""What `errors` of an output is to be: a character that its encoding doesn't have is shown as one that isn't printable."""


def _bytes_shown(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode("utf-8", "surrogateescape"))


def _escape_unencodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return _bytes_shown(error.object[error.start : error.end]), error.end


codecs.register_error(ESCAPE, _escape_unencodable)


class _Escapes(dict[int, str]):
    """What each character is shown as."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        return char if char.isprintable() else _bytes_shown(char)


_ESCAPES = _Escapes({ord("\\"): "\\\\", ord("\t"): "\\t", ord("\n"): "\\n", ord("\r"): "\\r"})


def escaped(data: bytes) -> str:
    """`data` as printable characters on one line, from which it can be had back.

    What is UTF-8 and printable stays; tab, line feed, carriage return and backslash are `\\t`, `\\n`, `\\r` and `\\\\`,
    and every other byte is `\\xhh`.
    """
    text = data.decode("utf-8", "surrogateescape")
    return text if text.isprintable() and "\\" not in text else text.translate(_ESCAPES)
