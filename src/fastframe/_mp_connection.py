"""Messages over a descriptor, as multiprocessing.connection.Connection has them."""

from __future__ import annotations

import errno
import os
import sys
from functools import lru_cache
from multiprocessing import BufferTooShort, connection, reduction
from multiprocessing.connection import wait as wait_for_any

from ._engine import wait
from ._fork import tell
from ._transport import Transport
from .connection import Connection as Frames
from .errors import ConnectionClosed, ConnectionLost, FrameError, FrameTimeout, InvalidFrame, TruncatedFrame
from .framing import LengthField
from .presets import preset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn

    from typing_extensions import Buffer

    from .framing import Framing

__all__ = ["Connection"]

_ANY_SIZE = preset("mp_connection").replace(max_size=sys.maxsize)
_BELOW_2_GIB = LengthField(4, signed=True, max_size=2**31 - 1)  # the same bytes, without a way to say more
_FOR_EVER = 1e9  # seconds


class _Handle(Transport):
    """A descriptor that other processes may have too: it isn't changed, and nothing is said to the peer at its close."""

    may_wait = True
    may_wait_to_send = True

    def __init__(self, number: int, readable: bool, writable: bool) -> None:
        self.source = self._number = number
        if readable:
            self.receiving = number
        if writable:
            self.sending = number

    def fileno(self) -> int:
        return self._number

    def wait(self, for_write: bool, timeout: float | None) -> bool:
        # Where no time is kept, a blocking descriptor has waited in the system call itself, as long as its socket lets it.
        return timeout is not None and wait(self._number, for_write, timeout)

    def close(self) -> None:
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)

    def abandon(self) -> None:
        self._number = -1


class _Messages(Frames):
    """Messages over a descriptor that a Connection owns, which closes it; without that, it is somebody else's."""

    def __del__(self) -> None:
        """Leave it open."""

    def _drain(self, deadline: float | None) -> bool:
        # The descriptor itself waits, if it is blocking: whatever stops it in the middle, it goes on while it takes something.
        before = -1
        while before != self._writer.pending:
            before = self._writer.pending
            if self._writer.flush():
                return True
        return False

    def _into(self, view: memoryview) -> int | None:
        size: int | None = self._reader._look()
        if size is None:
            return None
        for message in self._frames:
            if size > len(view):
                raise BufferTooShort(message)
            view[:size] = message
            return size
        return None


class Connection(connection.Connection):
    """The host's Connection, whose messages go through this package's engine.

    handle: a descriptor, which belongs to the connection from now on.
    readahead: True receives as much as is there at once. It is for an end that nobody else reads: ask this connection's
        `poll` and this package's `wait`, not select; a process that is forked once it was used can't use it (ConcurrentUse);
        it can be given to another process only while it holds nothing (ValueError).

    Raises what the host raises: EOFError at a clean end; OSError for a message that is cut off, a length that can't
    be, or is more than `maxlength`, a broken connection, a closed one.

    On a nonblocking descriptor, or a socket with a timeout of its own (SO_RCVTIMEO), BlockingIOError where a receive would
    have to wait longer, or a send of which nothing is taken: call again. A send of which some is taken is
    SendInterrupted: don't repeat it, the next send finishes it.
    Two threads that receive at once are ConcurrentUse; those that send queue up.
    """

    if TYPE_CHECKING:  # the host's own, which typeshed doesn't tell
        _handle: int
        _readable: bool
        _writable: bool

        def _check_closed(self) -> None: ...
        def _check_readable(self) -> None: ...
        def _check_writable(self) -> None: ...
        def _bad_message_length(self) -> NoReturn: ...

    _frames: _Messages | None = None
    _ready: Iterable[bytes] = ()
    _maxlength: int | None = None

    def __init__(self, handle: int, readable: bool = True, writable: bool = True, *, readahead: bool = False) -> None:
        super().__init__(handle, readable, writable)
        self._readahead = bool(readahead)

    @property
    def readahead(self) -> bool:
        """Whether it receives more than the message that is asked for."""
        return self._readahead

    def send_bytes(self, buf: Buffer, offset: int = 0, size: int | None = None) -> None:
        """Send bytes, or a part of them, as one message."""
        if offset or size is not None or type(buf) is not bytes:
            super().send_bytes(buf, offset, size)
            return
        self._check_closed()
        self._check_writable()
        self._send_bytes(buf)

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """The next message. OSError if it has more than `maxlength` bytes: nothing more can be received then."""
        if maxlength == self._maxlength:
            for message in self._ready:
                return message
        self._check_closed()
        self._check_readable()
        if maxlength is not None and maxlength < 0:
            raise ValueError("negative maxlength")
        return self._receive(maxlength)

    def recv_bytes_into(self, buf: Buffer, offset: int = 0) -> int:
        """Put the next message into a writable buffer, from `offset` on: how many bytes it has.

        BufferTooShort, with the message as its argument, if there isn't room for it.
        """
        self._check_closed()
        self._check_readable()
        view = memoryview(buf).cast("B")
        try:
            if offset < 0:
                raise ValueError("negative offset")
            if offset > len(view):
                raise ValueError("offset too large")
            # Nothing comes behind it: a signal handler's exception would lose the message that is in the buffer by then.
            return self._receive_into(view[offset:])
        except BaseException:
            view.release()
            raise

    def recv(self) -> Any:
        """The next object. It is unpickled: receive from those you trust."""
        self._check_closed()
        self._check_readable()
        while True:
            # Behind a call a signal handler may raise, and what it gave would be lost; not so behind an iterator's step.
            for got in map(reduction.ForkingPickler.loads, iter(self._receive, None)):
                return got

    # --- What the host's class calls

    def _send_bytes(self, buf: bytes | memoryview) -> None:
        frames = self._frames or self._open()
        try:
            if len(buf) > _BELOW_2_GIB.max_size:
                frames.send_framing = _ANY_SIZE
            frames.send(buf)
        except (FrameError, ValueError) as error:
            self._fail(error)

    def _poll(self, timeout: float | None) -> bool:
        frames = self._frames
        if not self._readahead and (frames is None or not frames._reader.buffered):
            return bool(wait_for_any([self], timeout))
        return self._has_message(timeout)

    def _close(self) -> None:
        # From here on nobody can make what isn't there yet.
        frames: Frames | None = self.__dict__.setdefault("_frames", None)
        if frames is None:
            os.close(self._handle)
        else:
            # Once nobody is inside any more.
            frames.abort()

    def __del__(self) -> None:
        frames = self._frames
        if frames is None:
            super().__del__()
        elif frames._transport.fileno() >= 0:
            # Also if a signal handler's exception has broken off a close.
            frames.abort()

    # --- Helpers

    def _open(self) -> _Messages:
        """What receives and sends; made when it is needed first, so that a child process may be the first."""
        number = self._handle
        self._check_closed()
        os.fstat(number)
        tell(self)
        transport = _Handle(number, self._readable, self._writable)
        try:
            made = _Messages(transport, _ANY_SIZE, send_framing=_BELOW_2_GIB, readahead=self._readahead, timeout=None)
        except ValueError:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None  # closed in the meantime
        # Another thread may be faster.
        frames: _Messages | None = self.__dict__.setdefault("_frames", made)
        if frames is None:
            raise OSError("handle is closed")
        self._ready = frames._ready
        return frames

    def _limited(self, maxlength: int | None) -> _Messages:
        """What receives, messages of at most so many bytes."""
        frames = self._frames or self._open()
        if maxlength != self._maxlength:
            frames.framing = _ANY_SIZE if maxlength is None else _at_most(maxlength)
            self._maxlength = maxlength
        return frames

    def _receive(self, maxlength: int | None = None) -> bytes:
        try:
            frames = self._frames
            if frames is None or maxlength != self._maxlength:
                frames = self._limited(maxlength)
            return frames.recv()
        except (FrameError, ValueError) as error:
            self._fail(error)

    def _receive_into(self, view: memoryview) -> int:
        try:
            return self._limited(None).recv_into(view)
        except (FrameError, ValueError) as error:
            self._fail(error)

    def _has_message(self, timeout: float | None) -> bool:
        """Whether a receive wouldn't wait, in this many seconds: what is there is received for it."""
        frames = self._frames or self._open()
        try:
            return frames.poll(_FOR_EVER if timeout is None else max(timeout, 0))
        except (FrameError, ValueError) as error:
            self._fail(error)

    def _fail(self, error: FrameError | ValueError) -> NoReturn:
        """Raise it as the host does."""
        if self.closed:
            raise OSError("handle is closed") from None
        if isinstance(error, FrameTimeout):
            raise BlockingIOError(errno.EAGAIN, "the descriptor waits no longer; nothing is lost: call again") from None
        if isinstance(error, ConnectionClosed):
            raise EOFError from None
        if isinstance(error, TruncatedFrame):
            raise OSError("got end of file during message") from error
        if isinstance(error, ConnectionLost):
            raise OSError(error.errno, error.strerror) from None
        if isinstance(error, InvalidFrame):
            self._bad_message_length()
        raise error

    def _in_child(self) -> None:
        frames = self._frames
        if frames is None:
            return
        if self.closed:
            # The parent's threads may be in it still; here it is nobody's.
            frames._transport.close()
        elif not self._readahead:
            # Whatever was under way when the process forked, its thread isn't here: start anew, between two messages.
            frames._transport.abandon()
            del self._frames
            self._ready, self._maxlength = (), None


@lru_cache(16)
def _at_most(size: int) -> Framing:
    return _ANY_SIZE.replace(max_size=size)


def _reduced(given: Connection) -> tuple[Callable[..., Connection], tuple[Any, ...]]:
    """How another process gets it."""
    frames = given._frames
    held = 0 if frames is None else frames._reader.buffered + frames.pending
    if held:
        raise ValueError(f"the connection holds {held} bytes, which another process wouldn't get")
    return _rebuilt, (reduction.DupFd(given.fileno()), given.readable, given.writable, given.readahead)


def _rebuilt(handle: Any, readable: bool, writable: bool, readahead: bool) -> Connection:
    return Connection(handle.detach(), readable, writable, readahead=readahead)


if sys.platform != "win32":
    reduction.register(Connection, _reduced)
