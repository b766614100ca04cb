"""What the decoder and the reader share: undelivered bytes, and the frames in them.

Bytes go through two places. `_queue` holds pieces that nobody has looked at, `_at` is
where the first one starts; pieces come as immutable bytes and stay as they came, small
ones are gathered in a bytearray. `_part` holds the bytes of one unfinished frame, which
has been measured: joined once, when it is complete, if its size is known; in a single
bytearray that grows if it isn't. So the time is linear in the bytes for any chunks,
and the memory is what arrived.

Frames that are parsed wait in `_out`, or `_spanned`, for the call's last step. If a signal handler or a
Computed's function raises before, the next call delivers them.
"""

from __future__ import annotations

from collections import deque

from ._pure_guard import Guarded
from ._pure_loops import loops
from .errors import FrameError, InvalidFrame
from .framing import Computed, Framing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from typing_extensions import Buffer

    from ._description import Frame
    from ._pure_loops import Frames, Spans

SMALL = 4096
"""Pieces below this many bytes are gathered."""

LARGE = 64 * 1024
"""From this many bytes on a frame isn't copied twice, and more memory isn't held for fewer bytes."""

_STEP = 2048

# How far `_run` goes: parse all frames, deliver one, or only see whether one is complete.
ALL, ONE, PEEK = -1, 1, 0


class Parser(Guarded):
    """The state of one direction of a stream, and how frames are found in it."""

    __slots__ = (
        "_at",
        "_bytes",
        "_ended",
        "_error",
        "_frames",
        "_frames_of",
        "_framing",
        "_have",
        "_least",
        "_offset",
        "_open",
        "_out",
        "_part",
        "_peeked",
        "_plan",
        "_queue",
        "_raised",
        "_seen",
        "_spanned",
        "_spans_of",
        "_trailer",
        "_want",
    )

    _framing: Framing
    _frames_of: Frames | None
    _spans_of: Spans | None
    _plan: Any
    _trailer: bytes
    _least: int  # `needed` when nothing is held
    _queue: deque[bytes | bytearray]
    _at: int
    _part: list[bytes | bytearray]
    _have: int  # bytes in _part
    _open: Frame | None  # what is known of the frame in _part
    _want: int  # if nothing is: bytes to have before it is measured again
    _seen: int  # and bytes that have been measured
    _peeked: int  # the bytes of the payload that PEEK has found
    _out: list[bytes]
    _spanned: tuple[bytes, list[int], list[int]] | None  # frames before these, of a batch that isn't made yet
    _offset: int  # of the first undelivered byte in the stream
    _frames: int
    _bytes: int
    _error: FrameError | None
    _raised: bool
    _ended: bool

    def _start(self, framing: Framing) -> None:
        """Set all state. Raises TypeError unless `framing` is a Framing."""
        plan = planned(framing)
        self._queue = deque()
        self._out, self._spanned = [], None
        self._offset = self._frames = self._bytes = self._at = 0
        self._error = None
        self._raised = self._ended = False
        self._forget()
        self._frames_of, self._spans_of, self._plan, self._trailer, self._least, self._framing = plan

    def _keep(self, data: bytes) -> None:
        """Queue bytes that came."""
        queue = self._queue
        if len(data) >= SMALL or not queue:
            queue.append(data)
        else:
            last = queue[-1]
            if type(last) is bytearray:
                last += data
            else:
                queue.append(bytearray(data))

    def _run(self, most: int) -> bool:
        """Parse what is queued, as far as `most` says; True if it found a frame, and ONE or PEEK asked for no more.

        A fault sets `_error` and keeps the bytes; PEEK says True then, and remembers nothing. Anything else that is
        raised keeps the bytes, and passes unless there are frames to return first.
        """
        queue = self._queue
        while queue:
            data, pos = queue[0], self._at
            if type(data) is bytearray:
                data = queue[0] = bytes(data)
            end = len(data)
            if pos == end:
                self._at = 0
                del queue[0]
                continue
            try:
                found = (self._resume if self._have else self._begin)(data, pos, end, most)  # type: ignore[arg-type]
            except InvalidFrame as error:
                fault = error
            except Exception as error:
                if self._out and self._is_kept(error):
                    return False
                raise
            else:
                if found and most >= 0:
                    if most == ONE and self._at == end:
                        self._at = 0
                        del queue[0]
                    return True
                continue
            if most == PEEK:
                self._peeked = -1
                return True
            self._error = fault._again() if fault.offset is not None else fault._located(self._offset, self._first())
            return False
        return False

    def _is_kept(self, error: BaseException) -> bool:
        """Whether `error` isn't raised as long as there are frames to return: asked again, it comes again."""
        return isinstance(error, MemoryError) or (type(self._framing) is Computed and isinstance(error, Exception))

    def _begin(self, data: bytes, pos: int, end: int, most: int) -> bool:
        """Parse the piece from `pos` on, where a frame starts; True if there was one."""
        if most < 0 and self._frames_of is not None:
            frames, behind = self._frames_of(data, pos, end, self._plan)
            if frames:
                moved = behind - pos
                offset, size, count = self._offset + moved, self._bytes + moved, self._frames + len(frames)
                self._out += frames
                self._at = behind
                self._offset = offset
                self._bytes = size
                self._frames = count
                if behind == end:
                    return True
                pos = behind
        measured = self._framing._measure(data, pos, end)
        have = end - pos
        if isinstance(measured, int):
            self._part = [bytearray(data[pos:])]
            self._want, self._seen = measured, have
            self._at, self._have = end, have
            return False
        total, lo, hi, _ = measured
        if total > have:
            self._part = [data[pos:]]
            self._open = measured
            self._at, self._have = end, have
            return False
        stop = pos + total
        if self._trailer and not data.endswith(self._trailer, pos, stop):
            raise self._framing._bad_trailer(data[pos:stop], self._offset)
        if most == PEEK:
            self._peeked = hi - lo
            return True
        self._deliver(data[pos + lo : pos + hi], total, stop)
        if most > 0 and stop > LARGE and stop > end - stop:
            self._queue[0] = data[stop:]
            self._at = 0
        return True

    def _resume(self, data: bytes, pos: int, end: int, most: int) -> bool:
        """Go on with the frame in `_part`, whose next bytes are the piece from `pos` on; True if it is complete."""
        measured, have, there = self._open, self._have, end - pos
        if measured is None:
            return self._measure_on(data, pos, end, most)
        need, held = measured[0] - have, have + there
        part = self._trimmed()
        if need <= there:
            if most == PEEK:
                if self._trailer:
                    self._joined(measured, data[pos : pos + need])
                self._peeked = measured[2] - measured[1]
                return True
            self._deliver(self._joined(measured, data[pos : pos + need]), measured[0], pos + need)
            return True
        piece: bytes | bytearray = data[pos:]
        last = part[-1]
        if there >= SMALL:
            part += (piece,)
        elif type(last) is bytearray:
            last += piece
        else:
            piece = bytearray(piece)
            part += (piece,)
        self._have = held
        self._at = end
        return False

    def _measure_on(self, data: bytes, pos: int, end: int, most: int) -> bool:
        """Go on with a frame whose size isn't known: the bytearray in `_part` grows."""
        have, there = self._have, end - pos
        part = self._trimmed()[0]
        assert type(part) is bytearray
        want = self._want - have
        # Measured whenever bytes came, even fewer than it asks for: a length is judged as soon as it is there.
        # And more than it asks for, so that a header without an end isn't measured byte by byte; but not all there
        # is: what lies behind this frame is better parsed where it is.
        take = min(there, max(want, have, _STEP))
        held, behind = have + take, pos + take
        part += data[pos:behind]  # what of it isn't taken in the end, `_trimmed` cuts off
        measured = self._framing._measure(part, 0, held, self._seen)
        if isinstance(measured, int):
            self._want = measured
            self._seen = held
            self._have = held
            self._at = behind
            return False
        total, lo, hi, _ = measured
        if total > held:
            self._open, self._have, self._at = measured, held, behind
            return False
        if self._trailer and not part.endswith(self._trailer, 0, total):
            raise self._framing._bad_trailer(bytes(part[:total]), self._offset)
        if most == PEEK:
            self._peeked = hi - lo
            return True
        self._deliver(bytes(memoryview(part)[lo:hi]), total, pos + total - have)
        return True

    def _trimmed(self) -> list[bytes | bytearray]:
        """`_part`, without the bytes that an exception, or PEEK, has left in it."""
        part = self._part
        if self._open is None and self._have < len(part[0]):
            del part[0][self._have :]  # type: ignore[union-attr]
        return part

    def _joined(self, measured: Frame, last: bytes) -> bytes:
        """The payload of the frame that is `_part` and `last`."""
        total, lo, hi, _ = measured
        part, trailing = self._part, total - hi
        if total >= LARGE and lo <= len(part[0]) and trailing <= len(last) and last.endswith(self._trailer):
            return b"".join((memoryview(part[0])[lo:], *part[1:], memoryview(last)[: len(last) - trailing]))
        whole = b"".join((*part, last))
        if not whole.endswith(self._trailer):
            raise self._framing._bad_trailer(whole, self._offset)
        return whole[lo:hi]

    def _deliver(self, frame: bytes, total: int, at: int) -> None:
        """Put out a frame of `total` bytes; the first piece of the queue goes on at `at`."""
        part: list[bytes | bytearray] = []
        offset, size, count = self._offset + total, self._bytes + total, self._frames + 1
        self._out += (frame,)
        self._at = at
        self._offset = offset
        self._bytes = size
        self._frames = count
        self._part = part
        self._have = self._seen = self._want = 0
        self._open = None

    def _forget(self) -> None:
        """No frame is unfinished."""
        self._part = []
        self._have = self._seen = self._want = 0
        self._open = None

    def _missing(self) -> int:
        """`needed`, if nothing is queued."""
        have = self._have
        if not have:
            return self._least
        if self._open is None:
            return self._want - have
        total, _, _, header = self._open
        return (header if have < header else total) - have

    def _pieces(self) -> list[bytes | bytearray]:
        """The queue's pieces, the first one from where it starts."""
        pieces = list(self._queue)
        if self._at:
            pieces[0] = pieces[0][self._at :]
        return pieces

    def _first(self) -> bytes:
        """The first bytes of the first undelivered frame, 8 at most."""
        first = b""
        for piece in self._trimmed() if self._have else ():
            first += piece[:8]
        at = self._at
        for piece in self._queue:
            if len(first) >= 8:
                break
            first += piece[at : at + 8]
            at = 0
        return first[:8]

    def _finish(self) -> None:
        """The stream ends here, and all is parsed: put out what the end makes of the rest, or set `_error`."""
        framing, rest = self._framing, b"".join(self._trimmed()) if self._have else b""
        try:
            frames = framing._finish(rest)
        except InvalidFrame as error:
            fault = error
        else:
            if frames is None:
                measured = self._open if self._open is not None else self._want
                self._error = framing._truncated(rest, self._offset, measured)
                return
            size, part = len(rest), list[bytes | bytearray]()
            offset, taken, count = (
                self._offset + size,
                self._bytes + (size if frames else 0),
                self._frames + len(frames),
            )
            self._out += frames
            self._offset = offset
            self._bytes = taken
            self._frames = count
            self._part = part
            self._ended = True
            self._have = self._seen = self._want = 0
            self._open = None
            return
        self._error = fault._located(self._offset, rest[:8])


def planned(framing: Framing) -> tuple[Frames | None, Spans | None, Any, bytes, int, Framing]:
    if not isinstance(framing, Framing):
        raise TypeError(f"framing must be a Framing (LengthField, Delimiter, ...), not {type(framing).__name__}")
    least = framing._measure(b"", 0, 0)
    return *loops(framing), framing._trailer, least if isinstance(least, int) else least[3] or least[0], framing


def immutable(data: Buffer) -> bytes:
    """The buffer's bytes. Raises TypeError for what isn't a buffer."""
    if type(data) is bytes:
        return data
    with memoryview(data) as view:
        return view.tobytes()
