"""asyncio's StreamReader on the engine's buffer, for code that exists."""

from __future__ import annotations

import sys
from asyncio import IncompleteReadError, LimitOverrunError, StreamReader
from functools import lru_cache

from ._engine import Decoder
from .framing import Delimiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future, ReadTransport

    from typing_extensions import Buffer

    from .framing import Framing

__all__ = ["FrameStreamReader"]

LIMIT = 65_536
"""The host's default: the most bytes of a line, without its end."""
LINE = b"\n"


@lru_cache(64)
def separated(ends: tuple[bytes, ...]) -> Delimiter:
    """Frames that end, with their end, where the first of `ends` is complete. Their size isn't limited."""
    if not ends:
        raise ValueError("Separator should contain at least one element")
    if b"" in ends:
        raise ValueError("Separator should be at least one-byte string")
    # One that holds another before its last byte is never the first to be complete.
    first = {end for end in ends if not any(other in end[:-1] for other in ends)}
    return Delimiter(*sorted(first), keep=True, max_size=sys.maxsize)


class FrameStreamReader(StreamReader):
    """A StreamReader that holds its bytes in a Decoder: the same methods, exceptions and limits.

    It goes where the host's reader goes:

        reader = FrameStreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.create_connection(lambda: protocol, host, port)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)

    limit: the most bytes of a line or of what comes before a separator; as with the host, `read` and `readexactly`
        take any size. Beyond twice as many bytes held the transport is paused, until no more than `limit` are.

    It does better than the host in three things. Who waits in `readexactly` or `read()` is woken once, when all is
    there, and the transport isn't paused in between. A `read()` that is cancelled or fails loses nothing: the bytes are
    still there for the next one. And the rest of a line over the limit, for which `readline` has raised its
    ValueError, is dropped when the next `readline` finds it, not taken for a line of its own; any other read gets it.

    For one task at a time, as the host's.
    """

    _limit: int
    _loop: AbstractEventLoop
    _eof: bool
    _waiter: Future[None] | None
    _exception: BaseException | None
    _transport: ReadTransport | None
    _paused: bool

    def __init__(self, limit: int = LIMIT, loop: AbstractEventLoop | None = None) -> None:
        self._decoder = Decoder(separated((LINE,)))
        self._held = 0
        self._goal = 0  # how many bytes have to be held before the waiter is woken
        self._inside_line = False  # whether what comes is the rest of a line over the limit
        super().__init__(limit, loop)

    # --- From the transport

    def feed_data(self, data: Buffer) -> None:  # type: ignore[override]
        """Take bytes that arrived."""
        assert not self._eof, "feed_data after feed_eof"
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        if not data:
            return
        self._decoder.push(data)
        self._held += len(data)
        if self._waiter is not None:
            if self._held < self._goal:
                return
            self._wakeup_waiter()  # type: ignore[attr-defined]
        if self._held > 2 * self._limit and self._transport is not None and not self._paused:
            try:
                self._transport.pause_reading()
            except NotImplementedError:
                self._transport = None  # it can't be paused: don't try again
            else:
                self._paused = True

    def at_eof(self) -> bool:
        """Whether the stream has ended and nothing is held."""
        return self._eof and not self._held

    # --- To the user

    async def read(self, n: int = -1) -> bytes:
        """Up to `n` bytes, at least one, b"" at the end; all until the end if `n` is negative."""
        if self._exception is not None:
            raise self._exception
        if n == 0:
            return b""
        self._inside_line = False
        if n < 0:
            while not self._eof:
                await self._more("read", sys.maxsize)
            return self._cut(self._held)
        if not self._held and not self._eof:
            await self._more("read", 1)
        return self._cut(min(n, self._held))

    async def readexactly(self, n: int) -> bytes:
        """Exactly `n` bytes. Raises IncompleteReadError if the stream ends before, which has those that came."""
        if n < 0:
            raise ValueError("readexactly size can not be less than zero")
        if self._exception is not None:
            raise self._exception
        if n == 0:
            return b""
        self._inside_line = False
        while self._held < n:
            if self._eof:
                raise IncompleteReadError(self._cut(self._held), n)
            await self._more("readexactly", n)
        return self._cut(n)

    async def readuntil(self, separator: Buffer | tuple[Buffer, ...] = LINE) -> bytes:
        """All up to the separator, and it; of several, given as a tuple, the one that is complete first.

        Raises IncompleteReadError if the stream ends before, which has the bytes that came; LimitOverrunError if there are more
        than `limit` before the separator: they are held then, `consumed` of them can't be part of it. ValueError for
        an empty separator, or none.
        """
        if type(separator) is bytes:
            ends: tuple[bytes, ...] = (separator,)
        else:
            given = separator if isinstance(separator, tuple) else (separator,)
            ends = tuple(bytes(memoryview(end)) for end in given)
        framing = separated(ends)
        if self._exception is not None:
            raise self._exception
        self._inside_line = False
        while (frame := self._pop(framing)) is None:
            passed = self._held + 1 - max(map(len, ends))
            if passed > self._limit:
                raise LimitOverrunError("Separator is not found, and chunk exceed the limit", passed)
            if self._eof:
                raise IncompleteReadError(self._cut(self._held), None)
            await self._more("readuntil", 1)
        if len(frame) > self._limit:
            before = len(frame) - min(len(end) for end in ends if frame.endswith(end))
            if before > self._limit:
                self._put_back(frame)
                raise LimitOverrunError("Separator is found, but chunk is longer than limit", before)
        self._taken(len(frame))
        return frame

    async def readline(self) -> bytes:
        """The next line with its line feed, which the last one may lack; b"" at the end.

        Raises ValueError for a line of more than `limit` bytes before its line feed, and drops it.
        """
        if self._inside_line:
            await self._end_line()
        try:
            return await self.readuntil(LINE)
        except IncompleteReadError as error:
            return error.partial
        except LimitOverrunError as error:
            self._inside_line = True
            self._drop_line()
            raise ValueError(error.args[0]) from None

    # --- Helpers

    def _pop(self, framing: Framing) -> bytes | None:
        """The next frame, which still counts as held; or None."""
        decoder = self._decoder
        if decoder.framing is not framing:
            decoder.framing = framing
        return decoder.pop()

    def _cut(self, size: int) -> bytes:
        """Take so many of the bytes held."""
        data = self._decoder.unread(size)
        self._taken(size)
        return data

    def _taken(self, size: int) -> None:
        """So many bytes aren't held any more."""
        self._held -= size
        if self._paused:
            self._maybe_resume_transport()

    def _put_back(self, frame: bytes) -> None:
        rest = self._decoder.unread()
        self._decoder.push(frame)
        self._decoder.push(rest)

    async def _end_line(self) -> None:
        """Wait for the end of a line over the limit, and drop it."""
        while self._inside_line and not self._drop_line():
            if self._eof:
                self._inside_line = False
            else:
                await self._more("readline", 1)

    def _drop_line(self) -> bool:
        """Forget what is held up to a line feed, and it: True. Without one forget all."""
        line = self._pop(separated((LINE,)))
        if line is not None:
            self._inside_line = False
            self._taken(len(line))
            return True
        self._cut(self._held)
        return False

    async def _more(self, caller: str, goal: int) -> None:
        """Wait until `goal` bytes are held, or the end."""
        if self._waiter is not None:
            raise RuntimeError(f"{caller}() called while another coroutine is already waiting for incoming data")
        self._goal = goal
        self._waiter = self._loop.create_future()
        if self._paused:
            self._resume()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _maybe_resume_transport(self) -> None:
        if self._paused and self._held <= self._limit:
            self._resume()

    def _resume(self) -> None:
        self._paused = False
        assert self._transport is not None
        self._transport.resume_reading()

    @property
    def _buffer(self) -> _Held:
        """What the host looks into when it starts TLS or shows a reader."""
        held = self._decoder.unread()
        self._decoder.push(held)
        return _Held(held, self)

    @_buffer.setter
    def _buffer(self, data: bytearray) -> None:
        self._decoder.unread()
        self._decoder.push(data)
        self._held = len(data)


class _Held(bytearray):
    """A copy of the bytes held; clearing it makes the reader forget them."""

    def __init__(self, data: bytes, reader: FrameStreamReader) -> None:
        super().__init__(data)
        self._reader = reader

    def clear(self) -> None:
        super().clear()
        self._reader._buffer = self
