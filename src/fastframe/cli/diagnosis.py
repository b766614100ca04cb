"""Why a stream can't be decoded: the error, where it is, and the bytes around it, those at fault marked."""

from __future__ import annotations

from typing import NamedTuple

from fastframe import BadMagic, BadTrailer, Computed, Decoder, InvalidFrame, TruncatedFrame

from .hexdump import WIDTH, row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastframe import Framing

__all__ = ["diagnosis"]

_CONTEXT = 16
"""Bytes shown before and behind each place of interest, at least."""
_MARKED = 48
"""Of a longer fault, the first and the last so many bytes are shown."""


class Fault(NamedTuple):
    """The bytes at fault, from `start` up to `stop`, offsets in the stream; and what they are."""

    start: int
    stop: int
    what: str


def diagnosis(
    error: InvalidFrame | TruncatedFrame, framing: Framing, number: int, around: tuple[int, bytes]
) -> Iterator[str]:
    """The lines that tell what is wrong with frame `number`, the first at fault; none has a line break.

    around: an offset in the stream, and the bytes from there on, as far as they are known.
    """
    offset = error.offset or 0
    fault = _fault_of(error, framing, offset)
    yield f"{type(error).__name__}: {error}"
    yield f"frame {number} begins at offset {offset} ({offset:#x})"
    own = error.partial if isinstance(error, TruncatedFrame) else error.header
    dump = [*_dump(_merged((offset, own), around), offset, fault)]
    if dump:
        yield from dump
        yield f"^^ {fault.what}" + ("" if fault.start == offset else "; -- the frame up to there")


def _fault_of(error: InvalidFrame | TruncatedFrame, framing: Framing, offset: int) -> Fault:
    if isinstance(error, TruncatedFrame):
        stop = offset + error.got
        return Fault(stop - 1, stop, "the last byte of the stream")
    if isinstance(error, BadTrailer):
        stop = offset + _size(framing, error.header)
        return Fault(stop - len(getattr(framing, "trailer", b",")), stop, "what should be the trailer")
    stop = offset + len(error.header)
    if stop == offset:
        return Fault(offset, offset + 1, "the first byte of the frame")
    if isinstance(framing, Computed):
        return Fault(offset, stop, "the header")
    if isinstance(error, BadMagic):
        return Fault(stop - 1, stop, "the first byte that can't be right")
    return Fault(offset + getattr(framing, "offset", 0), stop, "the length")


def _size(framing: Framing, header: bytes) -> int:
    """The whole size of a frame that has this header, up to the end of the length field."""
    size = len(header)
    decoder = Decoder(framing)
    decoder.push(header)
    while missing := decoder.needed:  # to the end of the header, then to that of the frame
        size += missing
        decoder.push(bytes(missing))
    return size


def _merged(own: tuple[int, bytes], around: tuple[int, bytes]) -> list[tuple[int, bytes]]:
    """The known stretches of the stream: what the error knows, unless it lies in what is around; one, if they meet."""
    (offset, data), (start, rest) = own, around
    if start <= offset:
        return [around]
    if start <= offset + len(data):
        return [(offset, data[: start - offset] + rest)]
    return [own, around]


def _dump(known: list[tuple[int, bytes]], offset: int, fault: Fault) -> Iterator[str]:
    """The rows around the frame's beginning and the bytes at fault, and their marks."""
    places = {offset, fault.start, min(fault.start + _MARKED, fault.stop) - 1}
    places |= {max(fault.stop - _MARKED, fault.start), fault.stop - 1}
    wanted: set[int] = set()
    for place in places:
        wanted.update(range((place - _CONTEXT) // WIDTH * WIDTH, place + _CONTEXT + 1, WIDTH))
    if fault.stop - fault.start <= 2 * _MARKED:
        wanted.update(range(fault.start // WIDTH * WIDTH, fault.stop, WIDTH))
    last = None
    for start, data in known:
        for at in sorted(wanted):
            skipped = max(start - at, 0)
            shown = data[max(at - start, 0) : max(at - start, 0) + WIDTH - skipped]
            if at < 0 or skipped >= WIDTH or not shown:
                continue
            if last is not None and at > last + WIDTH:
                yield "..."
            last = at
            yield row(at, shown, skipped)
            marks = _marks(range(at + skipped, at + skipped + len(shown)), offset, fault)
            if marks:
                yield f"{' ' * len(f'{at:08x}  ')}{'   ' * skipped}{' ' * (skipped > 7)}{marks}"


def _marks(places: range, offset: int, fault: Fault) -> str:
    """What stands under the bytes at these places of one row."""
    marks = ""
    for place in places:
        mark = "^^" if fault.start <= place < fault.stop else "--" if offset <= place < fault.start else "  "
        marks += mark + ("  " if place % WIDTH == 7 else " ")
    return marks.rstrip()
