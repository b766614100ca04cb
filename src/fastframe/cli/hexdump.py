"""Hex dumps: as `hexdump -C` prints them, and as it, `xxd` and `od -A x -t x1` can be read back."""

from __future__ import annotations

import re
from itertools import chain, dropwhile, filterfalse, islice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Line = tuple[int, bytes]
    """Its number, from 1, and its text or a part of it; only a text without a line break goes on in the next."""

__all__ = ["WIDTH", "DumpError", "bytes_of", "row", "rows"]

WIDTH = 16
"""Bytes in a row."""

_SHOWN = bytes(byte if 0x20 <= byte < 0x7F else ord(".") for byte in range(256))
_GATHERED = 1 << 16

# An offset and a colon, as xxd writes it; without one, as hexdump and od do.
_COLON = re.compile(rb"\s*([0-9A-Fa-f]+):(?:\s|$)")
_BARE = re.compile(rb"\s*([0-9A-Fa-f]+)(?:\s|$)")
# The characters beside the bytes: hexdump -C puts them between |, od -t x1z between > and <.
_COLUMN = re.compile(rb"\s[|>].*$")


class DumpError(ValueError):
    """The text is no hex dump. The message names the line."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")


# --- Writing ---


def rows(data: bytes) -> Iterator[str]:
    """The rows of a dump of `data`, whose first byte is at 0; none has a line break."""
    return (row(at, data[at : at + WIDTH]) for at in range(0, len(data), WIDTH))


def row(at: int, data: bytes, skipped: int = 0) -> str:
    """One row of at most WIDTH bytes, of which the first `skipped` are blank; `at` is the offset of the row itself."""
    words = f"{'   ' * skipped}{data.hex(' ')}"
    text = data.translate(_SHOWN).decode("ascii")
    return f"{at:08x}  {words[:24]:24} {words[24:]:23}  {' ' * skipped}|{text}|"


# --- Reading ---


def bytes_of(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes that a dump shows, in pieces.

    lines: of the dump; a line may come in parts, then only the last of them has a line break.

    The dump is plain hex, with or without white space between bytes; or its lines begin with hexadecimal offsets,
    and `*` stands for repetitions of the line before. A line begins with an offset if there is a colon behind it, if
    the characters stand beside the bytes, or if the next line's is greater by as many bytes as this line has.
    The first offset may be any.

    Raises DumpError for all else, when the bytes before it were given.
    """
    numbered = dropwhile(_is_blank, _numbered(lines))
    first = list(islice(numbered, 2))
    whole = chain(first, numbered)
    return _gathered(_dumped(whole) if _has_offsets([text for _, text in first]) else _plain(whole))


def _numbered(lines: Iterable[bytes]) -> Iterator[Line]:
    number = 1
    for text in lines:
        yield number, text
        number += text.endswith(b"\n")


def _is_blank(line: Line) -> bool:
    return not line[1].strip()


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in fewer pieces."""
    held = bytearray()
    try:
        for piece in pieces:
            held += piece
            if len(held) >= _GATHERED:
                yield bytes(held)
                held.clear()
    except Exception:
        if held:
            yield bytes(held)
        raise
    if held:
        yield bytes(held)


def _has_offsets(lines: list[bytes]) -> bool:
    """Whether the first two lines of a dump begin with offsets."""
    if not lines:
        return False
    if _COLON.match(lines[0]):
        return True
    first = _BARE.match(lines[0])
    if first is None:
        return False
    if _COLUMN.search(lines[0]):
        return True
    if len(lines) < 2:
        return False
    digits = len(b"".join(lines[0].split()[1:]))
    second = _BARE.match(lines[1])
    if second is None:
        return lines[1].strip() == b"*"
    return digits > 0 and int(second[1], 16) - int(first[1], 16) == digits // 2


def _plain(lines: Iterator[Line]) -> Iterator[bytes]:
    """Of plain hex. A line may be of any length: half a byte at the end of a part waits for the next."""
    half = b""
    number = 0
    for number, text in lines:
        text = half + text
        half = b""
        if not text[-1:].isspace() and len(text.split()[-1]) % 2:  # the last word may go on
            text, half = text[:-1], text[-1:]
        yield _unhexed(number, text)
    if half:
        raise DumpError(number, "the last byte has one digit")


def _dumped(lines: Iterator[Line]) -> Iterator[bytes]:
    """Of lines with offsets."""
    expected: int | None = None
    before = b""
    starred = 0
    for number, text in filterfalse(_is_blank, lines):
        if text.strip() == b"*":
            if not before or starred:
                raise DumpError(number, "* has no line before it to repeat")
            starred = number
            continue
        offset, data = _line(number, text)
        if expected is not None and offset != expected:
            count, rest = divmod(offset - expected, len(before)) if starred else (-1, 0)
            if count < 0 or rest:
                raise DumpError(number, _gap(offset, expected))
            yield from _repeated(before, count)
        if data:
            yield data
        before, expected, starred = data, offset + len(data), 0
    if starred:
        raise DumpError(starred, "* is the last line: how many lines it stands for, the next one's offset would tell")


def _line(number: int, text: bytes) -> tuple[int, bytes]:
    """Offset and bytes of one line of a dump."""
    if found := _COLON.match(text):
        words, _, column = text[found.end() :].rstrip(b"\r\n").partition(b"  ")
        data = _unhexed(number, words)
        # xxd's column has no mark of its own, and xxd -e turns the bytes of a word around.
        if column.strip() != data.translate(_SHOWN).strip() and column.strip():
            raise DumpError(number, "the characters beside the bytes are others than the bytes")
    elif found := _BARE.match(text):
        words = _COLUMN.sub(b"", text[found.end() :].rstrip())
        wide = next((word for word in words.split() if len(word) != 2), None)
        if wide is not None:
            raise DumpError(number, f"{_start(wide)} is not a byte of two digits, as hexdump -C or od -t x1 write it")
        data = _unhexed(number, words)
    else:
        raise DumpError(number, f"{_start(text)} is no offset")
    return int(found[1], 16), data


def _repeated(line: bytes, count: int) -> Iterator[bytes]:
    """`line` so many times, however often that is."""
    most = max(1, _GATHERED // len(line))
    while count > 0:
        yield line * min(count, most)
        count -= most


def _unhexed(number: int, text: bytes) -> bytes:
    try:
        return bytes.fromhex(text.decode("ascii"))
    except ValueError:
        word = next((word for word in text.split() if not re.fullmatch(rb"(?:[0-9A-Fa-f]{2})+", word)), text)
        if re.fullmatch(rb"[0-9A-Fa-f]+", word):
            reason = (
                f"{_start(word)} has an odd number of digits; an offset, if it is one, must be hexadecimal (od -A x)"
            )
        else:
            reason = f"{_start(word)} is not hexadecimal"
        raise DumpError(number, reason) from None


def _start(text: bytes) -> str:
    """The first word of `text`, fit to be shown."""
    return ascii((text.split() or [b""])[0][:20].decode("latin-1"))


def _gap(offset: int, expected: int) -> str:
    return f"offset {offset:#x} where {expected:#x} is expected: lines are missing, or offsets aren't hexadecimal (od -A x)"
