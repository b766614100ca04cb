"""What a frame looks like, drawn: its parts with their offsets, and what is to be said about them."""

from __future__ import annotations

import inspect
from typing import NamedTuple

from fastframe import (
    AsciiLength,
    Computed,
    ContentLength,
    Delimiter,
    FixedSize,
    Framing,
    LengthField,
    Netstring,
    VarintLength,
)

__all__ = ["layout"]


class Part(NamedTuple):
    """A part of a frame: what it is, and its size in bytes, if that is always the same; or a word about it."""

    label: str
    size: int | str


PAYLOAD = Part("payload", "")


def layout(framing: Framing) -> list[str]:
    """The lines of a drawing of a frame, and of notes under it."""
    notes = {**_notes(framing), "limit": f"{framing.limit} bytes delivered"}
    width = max(map(len, notes))
    return [*_drawing(_parts(framing)), *(f"{name:{width}}  {note}" for name, note in notes.items())]


def _drawing(parts: list[Part]) -> list[str]:
    """Boxes for the parts; above them the offsets at which they begin, as far as these are known."""
    offsets, edge, labels, sizes = "", "", "", ""
    at: int | None = 0
    for label, size in parts:
        told = size if isinstance(size, str) else f"{size} byte{'s' * (size != 1)}"
        width = max(len(label), len(told), len(str(at))) + 2
        offsets += f"{'' if at is None else at:<{width + 1}}"
        edge += "+" + "-" * width
        labels += f"| {label:{width - 1}}"
        sizes += f"| {told:{width - 1}}"
        at = at + size if at is not None and isinstance(size, int) else None
    return [offsets.rstrip(), f"{edge}+", f"{labels}|", f"{sizes}|", f"{edge}+"]


def _parts(framing: Framing) -> list[Part]:
    match framing:
        case LengthField():
            return _parts_of_field(framing)
        case VarintLength():
            length = Part("length", f"1 to {framing.max_bytes} bytes")
            return [*_others("header", framing.offset), length, PAYLOAD]
        case AsciiLength() if framing.separator:
            return [Part("length", f"1 to {framing.digits} digits"), *_known("separator", framing.separator), PAYLOAD]
        case AsciiLength():
            return [Part("length", framing.digits), PAYLOAD]
        case Netstring():
            return [Part("length", "1 to 20 digits"), *_known("colon", b":"), PAYLOAD, *_known("comma", b",")]
        case ContentLength():
            return [Part("header lines", "Content-Length: n"), *_known("empty line", b"\r\n"), PAYLOAD]
        case Delimiter():
            ends = " or ".join(end.hex(" ") for end in framing.ends)
            return [*_known("start", framing.start), PAYLOAD, Part("end", ends)]
        case Computed():
            return [Part("header", framing.header_size), Part("rest", "")]
        case FixedSize():
            return [Part("payload", framing.size)]
        case _:
            return [PAYLOAD]


def _parts_of_field(framing: LengthField) -> list[Part]:
    magic, behind = len(framing.magic), framing.offset + framing.width
    trailer = framing.trailer_size - len(framing.trailer)
    return [
        *_known("magic", framing.magic),
        *_others("header", framing.offset - magic),
        Part("length", framing.width),
        *_others("header", framing.header_size - behind),
        PAYLOAD,
        *_others("trailer", trailer),
        *_known("trailer", framing.trailer),
    ]


def _others(label: str, size: int) -> list[Part]:
    """Bytes of which the description says nothing more; none if there are none."""
    return [Part(label, size)] if size else []


def _known(label: str, data: bytes) -> list[Part]:
    """Bytes that are always the same; none if there are none."""
    shown = data[:4].hex(" ") + " ..." * (len(data) > 4)
    return [Part(f"{label} {shown}", len(data))] if data else []


def _notes(framing: Framing) -> dict[str, str]:
    match framing:
        case LengthField():
            return _notes_on_field(framing)
        case VarintLength():
            kind = "minimal" if framing.strict else "not necessarily minimal"
            whole = framing.strip == 0
            return {"length": f"unsigned LEB128, {kind}", "delivered": "the whole frame" if whole else "the payload"}
        case AsciiLength():
            kind = "hexadecimal" if framing.base == 16 else "decimal"
            if not framing.separator:
                kind += f", aligned {framing.align}, padded with {framing.pad!r}"
            notes = {"length": kind, "delivered": "the whole frame" if framing.strip == 0 else "the payload"}
            if framing.adjustment:
                notes["frame"] = f"header + {_sum(framing.adjustment)}"
            return notes
        case Delimiter():
            kept = "the payload with its end" if framing.keep else "the payload"
            last = {"error": "an error", "deliver": "delivered", "drop": "dropped"}[framing.at_eof]
            return {"delivered": kept, "at the end": f"a last frame without its end is {last}"}
        case Computed():
            doc = inspect.getdoc(framing.function) or "computed from the header"
            return {"frame": " ".join(doc.split()), "delivered": "the whole frame"}
        case _:
            return {"delivered": "the payload"}


def _notes_on_field(framing: LengthField) -> dict[str, str]:
    length = f"{framing.byteorder}-endian, {'signed' if framing.signed else 'unsigned'}"
    if framing.mask is not None:
        length += f", its bits {framing.mask:#x} alone"
    if framing.escape is not None:
        value, width = framing.escape
        length += f"; {value} means that it is in the {width} bytes behind"
    if framing.strip == framing.header_size:
        delivered = "the payload"
    elif framing.strip == 0:
        delivered = "the whole frame" if not framing.trailer_size else "the frame without its trailer"
    else:
        delivered = f"the frame from byte {framing.strip}" + ", without its trailer" * (framing.trailer_size > 0)
    return {"length": length, "frame": _sum(framing.header_size + framing.adjustment), "delivered": delivered}


def _sum(more: int) -> str:
    """So many bytes more than the length says."""
    return f"length {'+' if more > 0 else '-'} {abs(more)} bytes" if more else "length bytes"
