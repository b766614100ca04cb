"""Frames that end where certain bytes stand: lines, CRLF, MLLP."""

from __future__ import annotations

from ._description import MAX_SIZE, Framing, flat, octets
from .errors import BadMagic, FrameTooLarge, TruncatedFrame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, Self

    from typing_extensions import Buffer

    from ._description import Frame


class Delimiter(Framing):
    """Frames that end with one of several byte sequences.

    A frame ends at the first byte that completes any of the ends; the longest end that
    completes there is removed.

    ends: one or more sequences; none may contain another other than as its suffix.
        The first one is what `encode` writes.
    start: what each frame begins with; never delivered.
    keep: deliver the end with the frame; then the payload given to `encode` brings it along.
    at_eof: what the end of the stream makes of a last frame without an end: "error" is
        TruncatedFrame, "deliver" gives the rest unless it is empty, "drop" forgets it.
    max_size: the most bytes delivered.
    """

    __slots__ = ("_longest", "_reach", "_shortest", "at_eof", "ends", "keep", "max_size", "start")
    _defaults = {"start": b"", "keep": False, "at_eof": "error", "max_size": MAX_SIZE}

    ends: tuple[bytes, ...]
    start: bytes
    keep: bool
    at_eof: Literal["error", "deliver", "drop"]
    max_size: int
    _shortest: tuple[bytes, ...]  # the ends that have no other end as their suffix
    _longest: int

    def __init__(
        self,
        *ends: bytes,
        start: bytes = b"",
        keep: bool = False,
        at_eof: Literal["error", "deliver", "drop"] = "error",
        max_size: int = MAX_SIZE,
    ) -> None:
        ends = tuple(octets("end", end) for end in ends)
        if not ends or b"" in ends:
            raise ValueError("a delimiter needs one or more ends, none of them empty")
        if len(set(ends)) < len(ends):
            raise ValueError("the same end is given twice")
        for outer in ends:
            for inner in ends:
                if inner in outer[:-1]:
                    raise ValueError(f"the end {outer!r} can't be found: it contains {inner!r} before its last byte")
        if at_eof not in ("error", "deliver", "drop"):
            raise ValueError(f'at_eof must be "error", "deliver" or "drop", not {at_eof!r}')
        start = octets("start", start)
        given = {"ends": ends, "start": start, "keep": bool(keep), "at_eof": at_eof, "max_size": max_size}
        self._keep(
            given,
            _shortest=tuple(end for end in ends if not any(end != o and end.endswith(o) for o in ends)),
            _longest=max(map(len, ends)),
            _reach=len(start),
        )

    def __repr__(self) -> str:
        words = [*map(repr, self.ends)]
        words += [f"{k}={self._given[k]!r}" for k, default in self._defaults.items() if self._given[k] != default]
        return f"Delimiter({', '.join(words)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._given,)

    def replace(self, **changes: Any) -> Self:
        return _rebuild({**self._given, **changes})  # type: ignore[return-value]

    def _measure(self, data: bytes | bytearray, pos: int, end: int, seen: int = 0) -> Frame | int:
        head = len(self.start)
        got = bytes(data[pos : min(end, pos + head)])
        if not self.start.startswith(got):
            raise self._bad_start(got)
        if len(got) < head:
            return head
        body = pos + head
        found = self._find(data, body, max(body, pos + seen - self._longest + 1), end)
        if found is None:
            if end > body:
                self._check_open(bytes(data[max(body, end - self._longest) : end]), end - body)
            return end - pos + 1
        after, mark = found
        stop = after if self.keep else after - mark
        if stop - body > self.limit:
            raise FrameTooLarge(None, self.limit, self.start)
        return after - pos, head, stop - pos, head

    def _find(self, data: bytes | bytearray, body: int, begin: int, end: int) -> tuple[int, int] | None:
        """The place behind the first end at or behind `begin`, and that end's size. The payload begins at `body`."""
        # With several ends the search goes window by window: else a rare end costs a look at all the data for each frame.
        window = 256 if len(self._shortest) > 1 else end - begin
        while begin < end:
            stop = min(end, begin + window)
            places = [at + len(mark) for mark in self._shortest if (at := data.find(mark, begin, stop)) >= 0]
            if places:
                after = min(places)
                return after, max([len(e) for e in self.ends if data.endswith(e, body, after)])
            if stop == end:
                break
            begin, window = max(begin + 1, stop - self._longest + 1), max(2 * window, 2 * self._longest)
        return None

    def _check_open(self, tail: bytes, size: int) -> None:
        """Raise FrameTooLarge if `size` bytes without an end, the last of them `tail`, can't become a frame any more."""
        if size <= self.limit - self.keep * self._longest:
            return
        # What the frame has at least, if the end completes that is nearest to it.
        if self.keep:
            least = size + min(len(end) - _begun(end, tail) for end in self.ends)
        else:
            least = size - max(_begun(end, tail) for end in self.ends)
        if least > self.limit:
            raise FrameTooLarge(None, self.limit, self.start)

    def _bad_start(self, got: bytes) -> BadMagic:
        at = next(i for i, byte in enumerate(got) if byte != self.start[i])
        return BadMagic(f"frame begins with {got[: at + 1].hex()} instead of {self.start.hex()}", got[: at + 1])

    def _finish(self, rest: bytes) -> list[bytes] | None:
        if not rest or self.at_eof == "drop":
            return []
        if self.at_eof == "error" or len(rest) < len(self.start):
            return None
        if len(rest) - len(self.start) > self.limit:
            raise FrameTooLarge(None, self.limit, self.start)
        return [rest[len(self.start) :]] if len(rest) > len(self.start) else []

    def _truncated(self, rest: bytes, offset: int, measured: Frame | int) -> TruncatedFrame:
        stage: Literal["header", "payload"] = "header" if len(rest) < len(self.start) else "payload"
        return TruncatedFrame(stage, len(rest), None, rest, offset)

    def parts(self, payload: Buffer) -> tuple[bytes, bytes | memoryview, bytes]:
        body = flat(payload)
        self._fits(len(body))
        tail = b"" if self.keep else self.ends[0]
        whole = bytes(body) + tail
        found = self._find(whole, 0, 0, len(whole))
        if found is None:
            raise ValueError("the payload must bring its end along")
        if found[0] != len(whole) or found[1] != (len(tail) or found[1]):
            raise ValueError(f"the payload can't be delimited: it has an end at byte {found[0] - found[1]}")
        return self.start, body, tail


def _rebuild(given: dict[str, Any]) -> Delimiter:
    return Delimiter(*given["ends"], **{name: value for name, value in given.items() if name != "ends"})


def _begun(mark: bytes, tail: bytes) -> int:
    """How many bytes of `mark`, but not all, `tail` ends with."""
    return next(k for k in range(min(len(mark) - 1, len(tail)), -1, -1) if tail.endswith(mark[:k]))
