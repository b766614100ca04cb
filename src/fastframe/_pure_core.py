"""The calls that the decoder and the reader share: what is seen of a stream, and how its frames are handed over."""

from __future__ import annotations

import operator
from collections import deque

from ._pure_batch import batch
from ._pure_parser import ALL, ONE, PEEK, Parser, planned
from .errors import ConnectionClosed, FrameError, InvalidFrame
from .framing import Framing
from .stats import Stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from ._pure_batch import FrameBatch


class Core(Parser):
    """What both are made of."""

    __slots__ = ()

    # The face that both share.

    @property
    def framing(self) -> Framing:
        """What a frame looks like. Assignable: every byte not yet delivered is parsed anew, from the last boundary.

        Assigning raises TypeError for what isn't a Framing, ConcurrentUse, and the error that the stream has ended in;
        one that hasn't been raised yet is withdrawn.
        """
        return self._framing

    @framing.setter
    def framing(self, framing: Framing) -> None:
        plan = planned(framing)
        try:
            del self._idle
        except AttributeError:
            raise self._taken() from None
        try:
            self._called()
            if self._raised and type(self._error) is not ConnectionClosed:
                self._fail()
            queue = deque((*self._trimmed(), *self._pieces())) if self._have else self._queue
            part: list[bytes | bytearray] = []
            if not self._raised:
                self._error = None
            if self._have:
                self._at = 0
            self._queue = queue
            self._part = part
            self._have = self._seen = self._want = 0
            self._open = None
            self._frames_of, self._spans_of, self._plan, self._trailer, self._least, self._framing = plan
        finally:
            self._idle = True

    @property
    def needed(self) -> int:
        """Bytes still missing: to the end of the header, then of the frame; 1 if unknown.

        0 if a complete frame waits for `pop()` or `read_one()`, after an error, and after the end. Raises
        ConcurrentUse if bytes that nobody has looked at would have to be measured, and what a Computed's function
        raises.
        """
        if self._error is not None or self._ended or self._out or self._spanned is not None:
            return 0
        if self._queue:
            try:
                del self._idle
            except AttributeError:
                raise self._taken() from None
            try:
                if self._run(PEEK):
                    return 0
            finally:
                self._idle = True
        return self._missing()

    @property
    def buffered(self) -> int:
        """Bytes held: what isn't delivered yet, headers included."""
        return self._have + sum(map(len, self._queue)) - self._at

    @property
    def error(self) -> FrameError | None:
        """The error this stream has ended in, or None.

        It is here at once, even if a call that returned frames has yet to raise it.
        """
        return self._error

    @property
    def stats(self) -> Stats:
        """Frames delivered, their bytes on the wire, and errors (0 or 1) so far."""
        bad = self._error is not None and type(self._error) is not ConnectionClosed
        return Stats(self._frames, self._bytes, int(bad))

    def unread(self, size: int | None = None) -> bytes:
        """The bytes held, which are forgotten: for an upgrade to another protocol.

        size: only the first so many; ValueError if fewer are held.

        An error that hasn't been raised yet is withdrawn: these bytes were simply not frames. b"" after a clean
        end. Raises the error that the stream has ended in, ConcurrentUse.
        """
        try:
            del self._idle
        except AttributeError:
            raise self._taken() from None
        try:
            self._called()
            if self._raised and type(self._error) is not ConnectionClosed:
                self._fail()
            if size is not None:
                return self._unread_first(operator.index(size))
            rest = b"".join((*(self._trimmed() if self._have else ()), *self._pieces()))
            offset, queue, part = self._offset + len(rest), deque[bytes | bytearray](), list[bytes | bytearray]()
            if not self._raised:
                self._error = None
            self._queue = queue
            self._at = 0
            self._offset = offset
            self._part = part
            self._have = self._seen = self._want = 0
            self._open = None
            return rest
        finally:
            self._idle = True

    def _unread_first(self, size: int) -> bytes:
        queue, at = self._queue, self._at
        end = at + size
        if self._have or not queue or not at <= end < len(queue[0]):
            held = self._have + sum(map(len, queue)) - at
            if not 0 <= size <= held:
                raise ValueError(f"{size} bytes can't be taken of {held}")
            rest = b"".join((*(self._trimmed() if self._have else ()), *self._pieces()))
            queue, at, end = deque[bytes | bytearray]((rest,)), 0, size
        data = bytes(queue[0][at:end])
        offset = self._offset + size
        if not self._raised:
            self._error = None
        if end == len(queue[0]):
            queue, end = deque(), 0
        self._queue = queue
        self._at = end
        self._offset = offset
        self._part = []
        self._have = self._seen = self._want = 0
        self._open = None
        return data

    # What the subclasses' methods are made of; all of it is called while the object is taken.

    def _called(self) -> None:
        """A method that ends the life of what the last one gave out has been called."""

    def _check(self) -> None:
        """What a call that delivers begins with: the frames of an interrupted one come first, then the error."""
        if self._spanned is not None:
            data, starts, stops = self._spanned
            frames = [*map(data.__getitem__, map(slice, starts, stops)), *self._out]
            self._out = frames
            self._spanned = None
        if self._error is not None and not self._out:
            self._fail()

    def _hand_all(self) -> list[bytes]:
        """The frames parsed, all of them; or raise the error that is there instead."""
        out = self._out
        if not out and self._error is not None:
            self._fail()
        self._out = []
        return out

    def _hand_one(self) -> bytes | None:
        """The first frame parsed; or raise the error that is there instead; or None."""
        out = self._out
        if out:
            frame = out[0]
            del out[0]
            return frame
        if self._error is not None:
            self._fail()
        return None

    def _hand_batch(self) -> FrameBatch | None:
        """Parse all that is queued, and give the frames as a batch, None without any; or raise the error that is there."""
        data, starts, stops = b"", [], []
        queue = self._queue
        if self._have and len(queue) == 1 and not self._out:
            self._run(ONE)
        if len(queue) == 1 and len(self._out) <= 1 and self._error is None and not self._have:
            data = bytes(queue[0])
            pos = self._at
            if self._out:
                # The frame that this piece finished, and the rest behind it.
                first = self._out[0]
                data, pos = first + data[pos:], len(first)
                starts, stops = [0], [pos]
            begins, ends, behind = (self._spans_of or self._spans)(data, pos, len(data), self._plan)
            starts += begins
            stops += ends
            moved = behind - pos
            offset, size, count = self._offset + moved, self._bytes + moved, self._frames + len(begins)
            none, spanned = list[bytes](), (data, starts, stops) if starts else None
            queue[0] = data
            self._out, self._spanned = none, spanned
            self._at = behind
            self._offset = offset
            self._bytes = size
            self._frames = count
        try:
            self._run(ALL)
        except Exception as error:
            if not starts or not self._is_kept(error):
                raise
        if self._error is not None and not starts and not self._out:
            self._fail()
        out: list[bytes] = []
        if not starts and not self._out:
            return None
        if self._out:
            made = _joined_batch([*map(data.__getitem__, map(slice, starts, stops)), *self._out])
        else:
            made = batch(data, starts, stops)
        self._spanned, self._out = None, out
        return made

    def _spans(self, data: bytes, pos: int, end: int, plan: object) -> tuple[list[int], list[int], int]:
        """As the loops of _pure_loops do it, for any framing."""
        starts: list[int] = []
        stops: list[int] = []
        while pos < end:
            try:
                measured = self._framing._measure(data, pos, end)
            except Exception as error:
                if isinstance(error, InvalidFrame) or self._is_kept(error):
                    break
                raise
            if isinstance(measured, int) or pos + measured[0] > end:
                break
            total, lo, hi, _ = measured
            if self._trailer and not data.endswith(self._trailer, pos, pos + total):
                break
            starts.append(pos + lo)
            stops.append(pos + hi)
            pos += total
        return starts, stops, pos

    def _fail(self) -> NoReturn:
        """Raise the error that the stream has ended in, and hold nothing any more."""
        assert self._error is not None
        self._raised = True
        self._queue.clear()
        self._at = 0
        self._forget()
        raise self._error._again()


def _joined_batch(frames: list[bytes]) -> FrameBatch:
    starts, stops, behind = [], [], 0
    for frame in frames:
        starts.append(behind)
        behind += len(frame)
        stops.append(behind)
    return batch(b"".join(frames), starts, stops)
