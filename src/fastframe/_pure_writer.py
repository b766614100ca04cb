"""The send loop over a descriptor.

What is to be sent is queued first and sent from the queue: `_pieces[_next]`, from `_at`
on, is the next to go. How many bytes the kernel took is put into `_sent` by the same C
call that made it take them; so whatever a signal handler raises, no byte is sent twice.
"""

from __future__ import annotations

import operator
import os
import select
import stat

from ._channel import PASSING, Channel
from ._pure_guard import Guarded
from ._pure_io import DONTWAIT, NOSIGNAL, gathered, is_handlers, is_ready, not_none, opened
from ._pure_loops import STRUCTS
from .errors import ConnectionLost, QueueFull
from .framing import Framing, LengthField
from .stats import Stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from typing_extensions import Buffer

    from ._pure_io import Alias, HasFileno
    from .errors import FrameError

SMALL = 4096
"""Pieces below this many bytes are copied together, larger ones are sent from where they are."""

_GATHERED = 64 * 1024
_IOV_MAX = 1024
_PIPE_BUF: int = getattr(select, "PIPE_BUF", 512)
_TERMINAL_BUF = 256
"""A terminal that takes some bytes may wait for room for more than these."""
_FLAGS = DONTWAIT | NOSIGNAL
_CHANNEL_BYTES = 16 * 1024
"""What a channel is given at once: the payload of one TLS record."""


class FrameWriter(Guarded):
    """Writes frames to a descriptor, without ever waiting: what the kernel doesn't take is queued.

    sink: an int, or an object with fileno(), which is kept; a stream socket, a pipe, a terminal, a file.
        The descriptor is neither closed nor made nonblocking. ValueError for a closed one, TypeError for
        a TLS or datagram socket.
    framing: what a frame looks like.
    high_water, low_water: `writable` is False from more than high_water pending bytes on, until they are
        low_water or less.
    max_pending: the most bytes to queue; a call that could queue more takes nothing and is QueueFull. Only
        when nothing is pending, `write` takes a frame of any size.

    A broken connection is ConnectionLost, with its `errno`; it stays, every later call raises an equal one, and what
    was pending is dropped. A plain OSError (ENOBUFS, ENOMEM, EBADF, ENOTSOCK) and what a signal handler raises keep
    what is queued. A second call while one is running is ConcurrentUse and changes nothing.
    """

    __slots__ = (
        "_alias",
        "_at",
        "_bytes",
        "_channel",
        "_error",
        "_fd",
        "_frames",
        "_framing",
        "_full",
        "_high_water",
        "_is_file",
        "_last",
        "_low_water",
        "_max_pending",
        "_next",
        "_pending",
        "_pieces",
        "_plan",
        "_sent",
        "_sink",
        "_waits",
    )

    _sink: int | HasFileno | Channel
    _channel: Channel | None
    _waits: bool  # the system call itself may wait, where the descriptor does
    _fd: int
    _alias: Alias | None
    _is_file: bool
    _high_water: int
    _low_water: int
    _max_pending: int
    _framing: Framing
    _plan: tuple[Callable[[int], bytes], int, int] | None
    _pieces: list[bytes | bytearray | memoryview]
    _next: int
    _at: int
    _pending: int
    _sent: list[int]
    _full: bool
    _last: tuple[int, int]  # frames and bytes of the last write
    _frames: int
    _bytes: int
    _error: FrameError | None

    def __init__(
        self,
        sink: int | HasFileno | Channel,
        framing: Framing,
        *,
        high_water: int = 65536,
        low_water: int = 16384,
        max_pending: int = 16777216,
    ) -> None:
        self._once()
        high, low, most = map(operator.index, (high_water, low_water, max_pending))
        if not 0 <= low <= high:
            raise ValueError(f"low_water must be 0 to high_water, {high}, not {low}")
        if most < 0:
            raise ValueError(f"max_pending must be at least 0, not {most}")
        plan = _plan(framing)
        self._fd, self._alias = opened(sink)
        self._channel = sink if isinstance(sink, Channel) else None
        self._is_file = self._fd >= 0 and self._alias is None and stat.S_ISREG(os.fstat(self._fd).st_mode)
        self._high_water, self._low_water, self._max_pending = high, low, most
        self._plan, self._framing, self._sink = plan, framing, sink
        self._pieces, self._sent, self._full, self._error, self._waits = [], [], False, None, False
        self._next = self._at = self._pending = self._frames = self._bytes = 0
        self._last, self._idle = (0, 0), True

    @property
    def framing(self) -> Framing:
        """What the next frame looks like. Assignable: TypeError for what isn't a Framing, ConcurrentUse."""
        return self._framing

    @framing.setter
    def framing(self, framing: Framing) -> None:
        plan = _plan(framing)
        try:
            del self._idle
        except AttributeError:
            raise self._taken() from None
        try:
            if self._error is not None:
                raise self._error._again()
            self._plan, self._framing = plan, framing
        finally:
            self._idle = True

    @property
    def pending(self) -> int:
        """Bytes that the kernel hasn't taken yet."""
        return self._pending - sum(self._sent)

    @property
    def writable(self) -> bool:
        """Whether more may be written without the queue growing too long."""
        return not self._full

    @property
    def error(self) -> FrameError | None:
        """The ConnectionLost that this direction has ended in, or None."""
        return self._error

    @property
    def stats(self) -> Stats:
        """Frames taken, their bytes on the wire, and errors (0 or 1) so far."""
        return Stats(self._frames, self._bytes, int(self._error is not None))

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    def write(self, payload: Buffer) -> bool:
        """Send the frame that carries `payload`, in one system call; True if all that was written is with the kernel.

        Nothing is taken if it raises FrameTooLarge, ValueError or TypeError, as the framing's `encode` does; QueueFull;
        or, with bytes pending, what `flush` raises. A payload that isn't `bytes` may be changed after the call.
        """
        try:
            del self._idle
        except AttributeError:
            raise self._taken() from None
        try:
            self._ready()
            head, body, tail = self._parts(payload)
            size = len(head) + len(body) + len(tail)
            if size < SMALL:
                return self._write([b"".join((head, body, tail))] if size else [], size, 1, True)
            # No comprehension with an `if`: CPython 3.13 leaves its jump out of the `try`, and a signal handler may raise there.
            return self._write(list(filter(len, (head, body, tail))), size, 1, True)
        finally:
            self._idle = True

    def write_many(self, payloads: Iterable[Buffer]) -> bool:
        """Send the frames of all payloads, in order and in few system calls; True if all is with the kernel.

        Nothing is taken if the iterable raises, or one of the payloads isn't taken, as by `write`.
        """
        try:
            del self._idle
        except AttributeError:
            pass  # who uses it may be done when the iterable is
        else:
            self._last = (0, 0)
            self._idle = True
        # The iterable may use the same memory for its next payload: what isn't bytes is copied now.
        items = [payload if type(payload) is bytes else memoryview(payload).tobytes() for payload in payloads]
        try:
            del self._idle
        except AttributeError:
            raise self._taken() from None
        try:
            self._ready()
            pieces, size = self._encoded(items)
            return self._write(pieces, size, len(items), False)
        finally:
            self._idle = True

    def flush(self) -> bool:
        """Send what is pending, as far as the kernel takes it; True if nothing is left.

        Raises ConnectionLost, a plain OSError that changes nothing, ConcurrentUse.
        """
        try:
            del self._idle
        except AttributeError:
            raise self._taken() from None
        try:
            if self._error is not None:
                raise self._error._again()
            self._drain()
            return not self._pending
        finally:
            self._idle = True

    def _dash(self, payload: object) -> bool | None:
        """What the other engine can do fast: False, `write` or `write_many` has to do it."""
        return False

    _rush = _fits = _dash

    def _calm(self) -> None:
        """Let everybody do so: nobody does."""

    def _still(self, alone: bool = False) -> None:
        """Wait for those who do."""

    def _withdraw(self) -> bool:
        """Take the last write back, if none of its bytes has been sent: True if so."""
        try:
            del self._idle
        except AttributeError:
            raise self._taken() from None
        try:
            return self._take_back()
        finally:
            self._idle = True

    def _resume(self, frame: bytes, sent: int) -> bool:
        """Count a frame as written, `sent` bytes of it by other means, and queue the rest. Nothing may be pending.

        True if nothing is left.
        """
        try:
            del self._idle
        except AttributeError:
            raise self._taken() from None
        try:
            self._ready()
            size = len(frame)
            if self._pending or not 0 <= sent <= size:
                raise ValueError(f"{self._pending} bytes are pending, and {sent} of {size} were sent")
            self._pieces, self._next, self._at = [frame] if sent < size else [], 0, sent if sent < size else 0
            self._pending = size - sent
            self._frames += 1
            self._bytes += size
            self._last = (1, size)
            self._mark()
            return not self._pending
        finally:
            self._idle = True

    def _take_back(self) -> bool:
        if self._sent:
            self._settle()
        frames, size = self._last
        if self._error is not None or not frames or self._pending < size:
            return False
        left = self._pending - size
        whole: list[bytes | bytearray | memoryview] = []
        at = self._at
        for piece in self._pieces[self._next :]:
            if left:
                kept = piece if len(piece) - at <= left and not at else bytes(piece[at : at + left])
                whole.append(kept)
                left -= len(kept)
            at = 0
        self._pieces, self._next, self._at = whole, 0, 0
        self._pending -= size
        self._frames -= frames
        self._bytes -= size
        self._last = (0, 0)
        self._mark()
        return True

    def _ready(self) -> None:
        """What a write begins with."""
        if self._error is not None:
            raise self._error._again()
        self._last = (0, 0)

    def _parts(self, payload: Buffer) -> tuple[bytes, bytes | memoryview, bytes]:
        """As the framing has them."""
        plan = self._plan
        if plan is not None and type(payload) is bytes:
            pack, adjustment, limit = plan
            size = len(payload)
            if size <= limit and size >= adjustment:
                return pack(size - adjustment), payload, b""
        return self._framing.parts(payload)

    def _encoded(self, payloads: list[bytes]) -> tuple[list[bytes | bytearray | memoryview], int]:
        """The frames of all payloads in few pieces, and their bytes."""
        pieces: list[bytes | bytearray | memoryview] = []
        small: list[bytes | memoryview] = []
        size = 0
        for payload in payloads:
            for part in self._parts(payload):
                size += len(part)
                if len(part) < SMALL:
                    small.append(part)
                    continue
                if small:
                    pieces.append(b"".join(small))
                    small = []
                pieces.append(part)
        if small:
            pieces.append(b"".join(small))
        return [piece for piece in pieces if piece], size

    def _write(self, pieces: list[bytes | bytearray | memoryview], size: int, count: int, single: bool) -> bool:
        """Take encoded frames, and send them if nothing is pending; an empty queue takes any `single` frame."""
        if self._pending:
            self._drain()
        before = self._pending
        if before + size > self._max_pending and (before or not single):
            raise QueueFull(size, before, self._max_pending)
        queued = self._pieces
        last = queued[-1] if queued else None
        if before and size < SMALL:
            # Many small frames that wait don't cost an object each.
            piece = pieces[0] if pieces else b""
            if type(last) is bytearray and len(last) < _GATHERED:
                last += piece
                pieces = []
            else:
                pieces = [bytearray(piece)]
        try:
            queued += pieces
            self._pending = before + size
            self._frames += count
            self._bytes += size
            self._last = (count, size)
            if not before:
                self._drain()
        except BaseException:
            # Before the first byte nothing is taken: the caller may try again.
            self._take_back()
            raise
        finally:
            self._own()
            self._mark()
        return not self._pending

    def _own(self) -> None:
        """Copy what is left of memory that belongs to the caller."""
        pieces = self._pieces
        for index in range(self._next, len(pieces)):
            piece = pieces[index]
            if type(piece) is memoryview:
                if index == self._next:
                    piece = bytes(piece[self._at :])
                    pieces[index] = piece
                    self._at = 0
                else:
                    pieces[index] = bytes(piece)

    def _mark(self) -> None:
        """Set `writable`."""
        if self._pending > self._high_water:
            self._full = True
        elif self._pending <= self._low_water:
            self._full = False

    def _drain(self) -> None:
        """Send until nothing is pending or the kernel takes no more."""
        if self._sent:
            self._settle()
        while self._pending:
            sent: list[int] = self._sent
            try:
                if not self._send(sent):
                    break
            except ConnectionLost as error:
                lost = error
            except OSError as error:
                if sent or self._channel is not None or is_handlers(error, 2):
                    raise
                if isinstance(error, BlockingIOError):
                    break
                if error.errno in PASSING:
                    raise
                lost = ConnectionLost(error.errno, error.strerror)
            else:
                if not self._settle():
                    break
                continue
            self._error = lost
            self._pieces, self._next, self._at, self._pending = [], 0, 0, 0
            self._mark()
            raise lost._again()
        self._mark()

    def _settle(self) -> int:
        """Take from the queue what the kernel took; how many bytes that was."""
        count = left = sum(self._sent)
        pieces, index, at = self._pieces, self._next, self._at
        while left and left >= len(pieces[index]) - at:
            left -= len(pieces[index]) - at
            index, at = index + 1, 0
        at += left
        if index == len(pieces):
            pieces, index = [], 0
        elif index > _IOV_MAX and index > len(pieces) // 2:
            pieces, index = pieces[index:], 0
        self._pieces, self._next, self._at = pieces, index, at
        self._pending -= count
        self._sent = []
        return count

    def _send(self, sent: list[int]) -> bool:
        """Offer the first pieces to the kernel, once; False if it isn't ready. The bytes it took go to `sent`."""
        alias, fd, most = self._alias, self._fd, 0
        if self._channel is not None:
            most = _CHANNEL_BYTES
        elif alias is None and os.name == "nt":
            # Windows can't ask whether a pipe has room, nor gather.
            most = _PIPE_BUF
        else:
            if alias is None and not self._is_file and not self._waits and os.get_blocking(fd):
                most = _TERMINAL_BUF if os.isatty(fd) else _PIPE_BUF
            if (most or (alias is not None and not DONTWAIT)) and not is_ready(fd, True):
                return False
            if not hasattr(os, "writev"):
                most = _GATHERED
        pieces, index = self._pieces, self._next
        stop = min(len(pieces), index + _IOV_MAX)
        if type(pieces[stop - 1]) is bytearray:
            # It still grows, which memory that has been offered can't.
            if stop - index > 1:
                stop -= 1
            else:
                pieces[index] = bytes(pieces[index])
        first: bytes | bytearray | memoryview = pieces[index]
        if self._at:
            first = memoryview(first)[self._at :]
        if stop - index == 1 or most:
            if most:
                first = gathered([first, *pieces[index + 1 : stop]], most)
            if self._channel is not None:
                sent.extend(not_none(map(self._channel.send, (bytes(first),))))
            elif alias is None:
                sent.extend(map(os.write, (fd,), (first,)))
            else:
                sent.extend(map(alias.send, (first,), (NOSIGNAL if self._waits else _FLAGS,)))
        else:
            buffers = [first, *pieces[index + 1 : stop]]
            if alias is None:
                sent.extend(map(os.writev, (fd,), (buffers,)))
            else:
                sent.extend(map(alias.sendmsg, (buffers,), ((),), (NOSIGNAL if self._waits else _FLAGS,)))
        return True


def _plan(framing: Framing) -> tuple[Callable[[int], bytes], int, int] | None:
    """How the header of the most common layout is packed: the function, the adjustment, the most bytes."""
    if not isinstance(framing, Framing):
        raise TypeError(f"framing must be a Framing (LengthField, Delimiter, ...), not {type(framing).__name__}")
    if type(framing) is not LengthField:
        return None
    f = framing
    if f.offset or f.template or f.trailer_size or f.escape is not None or f.mask is not None:
        return None
    packed = STRUCTS.get((f.byteorder, f.width))
    if packed is None or not f.width == f.header_size == f.strip:
        return None
    return packed.pack, f.adjustment, f.limit
