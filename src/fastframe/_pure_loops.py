"""The tight loops of the pure engine: complete frames of the common layouts, cut out of one piece of bytes.

Each is called with a piece, the place where a frame starts in it, the piece's end and a
plan (what the loop needs of the description). It stops in front of the first frame that
isn't complete or looks wrong in any way, and leaves that one to `Framing._measure`: so
nothing here raises, and errors come from one place.
"""

from __future__ import annotations

import struct

from .framing import ContentLength, Delimiter, FixedSize, LengthField

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .framing import Framing

    Frames = Callable[[bytes, int, int, Any], tuple[list[bytes], int]]
    """The payloads, and where the next frame starts."""

    Spans = Callable[[bytes, int, int, Any], tuple[list[int], list[int], int]]
    """Where the payloads start, where they stop, and where the next frame starts."""

_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
STRUCTS = {
    (order, width): struct.Struct(sign + code)
    for order, sign in (("big", ">"), ("little", "<"))
    for width, code in _CODES.items()
}


def loops(framing: Framing) -> tuple[Frames | None, Spans | None, Any]:
    """The loops that know `framing`, and the plan they are called with; None for a layout that has none."""
    if type(framing) is LengthField:
        f = framing
        if f.magic or f.trailer or f.mask is not None or f.escape is not None:
            return None, None, None
        packed = STRUCTS.get((f.byteorder, f.width))
        bare = f.header_size + f.adjustment
        plan = (f._low, f._high, f.offset, f.header_size, bare, f.strip, f.trailer_size)
        if packed is None:
            return _odd_frames, _odd_spans, (f.width, f.byteorder, *plan)
        if (f.offset, f.header_size, f.strip, f.adjustment, f.trailer_size) == (0, f.width, f.width, 0, 0):
            return _short_frames, _field_spans, (packed.unpack_from, *plan)
        return _field_frames, _field_spans, (packed.unpack_from, *plan)
    if type(framing) is Delimiter and len(framing.ends) == 1 and not framing.start:
        return _split_frames, _split_spans, (framing.ends[0], framing.keep, framing.limit)
    if type(framing) is FixedSize:
        return _fixed_frames, _fixed_spans, framing.size
    if type(framing) is ContentLength:
        return _headed_frames, _headed_spans, (framing._said, framing._mark, framing._reach, framing.limit)
    return None, None, None


def _short_frames(data: bytes, pos: int, end: int, plan: Any) -> tuple[list[bytes], int]:
    """Nothing but a length in front of the payload: the most common layout, without a branch too many."""
    if plan[2] < end:
        return _field_frames(data, pos, end, plan)
    # No payload that fits in this piece is beyond the limit.
    unpack, header = plan[0], plan[4]
    frames: list[bytes] = []
    append = frames.append
    try:
        while True:
            (length,) = unpack(data, pos)
            start = pos + header
            stop = start + length
            if stop > end:
                break
            append(data[start:stop])
            pos = stop
    except struct.error:
        pass
    return frames, pos


def _field_frames(data: bytes, pos: int, end: int, plan: Any) -> tuple[list[bytes], int]:
    unpack, low, high, offset, header, bare, strip, trailing = plan
    frames: list[bytes] = []
    append = frames.append
    last = end - header
    while pos <= last:
        (length,) = unpack(data, pos + offset)
        stop = pos + bare + length
        if stop > end or not low <= length <= high:
            break
        append(data[pos + strip : stop - trailing])
        pos = stop
    return frames, pos


def _field_spans(data: bytes, pos: int, end: int, plan: Any) -> tuple[list[int], list[int], int]:
    unpack, low, high, offset, header, bare, strip, trailing = plan
    starts: list[int] = []
    stops: list[int] = []
    last = end - header
    while pos <= last:
        (length,) = unpack(data, pos + offset)
        stop = pos + bare + length
        if stop > end or not low <= length <= high:
            break
        starts.append(pos + strip)
        stops.append(stop - trailing)
        pos = stop
    return starts, stops, pos


def _odd_frames(data: bytes, pos: int, end: int, plan: Any) -> tuple[list[bytes], int]:
    starts, stops, pos = _odd_spans(data, pos, end, plan)
    return [data[start:stop] for start, stop in zip(starts, stops, strict=True)], pos


def _odd_spans(data: bytes, pos: int, end: int, plan: Any) -> tuple[list[int], list[int], int]:
    """Widths that `struct` has no code for."""
    width, order, low, high, offset, header, bare, strip, trailing = plan
    number = int.from_bytes
    starts: list[int] = []
    stops: list[int] = []
    last = end - header
    while pos <= last:
        field = pos + offset
        length = number(data[field : field + width], order)
        stop = pos + bare + length
        if stop > end or not low <= length <= high:
            break
        starts.append(pos + strip)
        stops.append(stop - trailing)
        pos = stop
    return starts, stops, pos


def _split_frames(data: bytes, pos: int, end: int, plan: Any) -> tuple[list[bytes], int]:
    mark, keep, limit = plan
    frames = data[pos:].split(mark)
    behind = end - len(frames.pop())
    longest = limit - len(mark) if keep else limit
    if frames and max(map(len, frames)) > longest:
        good = next(i for i, frame in enumerate(frames) if len(frame) > longest)
        del frames[good:]
        behind = pos + sum(map(len, frames)) + good * len(mark)
    return [frame + mark for frame in frames] if keep else frames, behind


def _split_spans(data: bytes, pos: int, end: int, plan: Any) -> tuple[list[int], list[int], int]:
    mark, keep, limit = plan
    starts: list[int] = []
    stops: list[int] = []
    size, kept = len(mark), len(mark) if keep else 0
    while (at := data.find(mark, pos, end)) >= 0 and at + kept - pos <= limit:
        starts.append(pos)
        stops.append(at + kept)
        pos = at + size
    return starts, stops, pos


def _fixed_frames(data: bytes, pos: int, end: int, size: Any) -> tuple[list[bytes], int]:
    behind = end - (end - pos) % size
    return [data[at : at + size] for at in range(pos, behind, size)], behind


def _fixed_spans(data: bytes, pos: int, end: int, size: Any) -> tuple[list[int], list[int], int]:
    behind = end - (end - pos) % size
    return list(range(pos, behind, size)), list(range(pos + size, behind + 1, size)), behind


def _headed_frames(data: bytes, pos: int, end: int, plan: Any) -> tuple[list[bytes], int]:
    starts, stops, pos = _headed_spans(data, pos, end, plan)
    return [data[start:stop] for start, stop in zip(starts, stops, strict=True)], pos


def _headed_spans(data: bytes, pos: int, end: int, plan: Any) -> tuple[list[int], list[int], int]:
    """Header lines of the common kind."""
    said, mark, reach, limit = plan
    size = len(mark)
    starts: list[int] = []
    stops: list[int] = []
    while (at := data.find(mark, pos, pos + reach)) >= 0:
        length = said(data[pos:at])
        start = at + size
        if not 0 <= length <= limit or start + length > end:
            break
        pos = start + length
        starts.append(start)
        stops.append(pos)
    return starts, stops, pos
