"""The receive loop over a descriptor."""

from __future__ import annotations

import errno
import operator
import os

from ._channel import PASSING, Channel
from ._pure_batch import batch
from ._pure_core import Core
from ._pure_io import DONTWAIT, is_handlers, is_ready, not_none, opened, prime
from ._pure_parser import ALL, LARGE, ONE, PEEK
from .errors import ConnectionClosed, ConnectionLost
from .framing import UntilEOF

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterable, Iterator

    from ._pure_batch import FrameBatch
    from ._pure_io import Alias, HasFileno
    from .framing import Framing


class FrameReader(Core):
    """Reads frames from a descriptor, without ever waiting.

    source: an int, or an object with fileno(), which is kept; a stream socket, a pipe, a terminal, a file.
        The descriptor is neither closed nor made nonblocking. ValueError for a closed one, TypeError for
        a TLS or datagram socket.
    framing: what a frame looks like.
    buffer_size: the bytes to ask for in one call, at least 1.
    readahead: False never takes a byte beyond the frame it delivers, at most one frame a call; so that
        the descriptor can be shared, selected on, handed over or upgraded. It costs two system calls a
        frame, or one a byte where the size of the frame isn't in a header.

    Every complete frame comes before the error or the end: ConnectionClosed, at the end between two frames;
    TruncatedFrame, at the end inside one; ConnectionLost, with the `errno` of a broken connection; InvalidFrame.
    These stay: every later call raises an equal one. A plain OSError (ENOBUFS, ENOMEM, EBADF, ENOTSOCK)
    changes nothing, nor does an exception of a signal handler: call again.
    """

    __slots__ = (
        "_alias",
        "_at_eof",
        "_buffer_size",
        "_channel",
        "_fd",
        "_patient",
        "_readahead",
        "_receive",
        "_source",
        "_waits",
    )

    _source: int | HasFileno | Channel
    _channel: Channel | None
    _waits: bool  # the system call itself may wait, where the descriptor does
    _patient: bool  # reads don't receive, only `_fetch` does
    _at_eof: bool  # it has received the end, of which reading makes what it is
    _fd: int
    _alias: Alias | None
    _receive: Callable[..., bytes]
    _buffer_size: int
    _readahead: bool

    def __init__(
        self, source: int | HasFileno | Channel, framing: Framing, *, buffer_size: int = 262144, readahead: bool = True
    ) -> None:
        self._once()
        size = operator.index(buffer_size)
        if size < 1:
            raise ValueError(f"buffer_size must be at least 1, not {size}")
        prime()
        self._fd, self._alias = opened(source)
        self._start(framing)
        self._source, self._buffer_size, self._readahead = source, size, bool(readahead)
        self._receive = self._alias.recv if self._alias is not None else os.read
        self._channel = source if isinstance(source, Channel) else None
        self._waits = self._patient = self._at_eof = False
        self._idle = True

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    def read(self) -> list[bytes]:
        """All frames that are complete; receives once, and again only while no frame is. [] would have to wait.

        Frames already held are returned without a system call. With readahead=False, one frame at most.
        """
        try:
            del self._idle
        except AttributeError:
            raise self._taken() from None
        try:
            self._check()
            self._fill(ALL if self._readahead else ONE)
            if self._readahead:
                return self._hand_all()
            frame = self._hand_one()
            return [] if frame is None else [frame]
        finally:
            self._idle = True

    def read_batch(self) -> FrameBatch:
        """As `read`; the frames come as a batch that hasn't made objects of them. An empty one would have to wait."""
        made = self._read_batch()
        return batch(b"", [], []) if made is None else made

    def _read_batch(self) -> FrameBatch | None:
        """As `read_batch`; None would have to wait."""
        try:
            del self._idle
        except AttributeError:
            raise self._taken() from None
        try:
            self._check()
            return self._next_batch() if self._readahead else self._single_batch()
        finally:
            self._idle = True

    def read_one(self) -> bytes | None:
        """The next frame; only this one is parsed. None would have to wait."""
        try:
            del self._idle
        except AttributeError:
            raise self._taken() from None
        try:
            self._check()
            self._fill(ONE)
            return self._hand_one()
        finally:
            self._idle = True

    def _incoming(self) -> Iterable[bytes]:
        """Iterates over what `read_one` gives, as long as that isn't None; and again."""
        return _Frames(self)

    def _ready(self) -> Iterable[bytes]:
        """Iterates over frames that are there without a call of `_incoming`: none."""
        return ()

    def _iterate(self, later: Callable[[], bytes | None]) -> Iterator[bytes]:
        """An iterator over the frames that `later()` gives, until that gives None."""
        return iter(later, None)

    def _hush(self) -> None:
        """Let `_ready` have no frames: it never has."""

    def _look(self) -> int | None:
        """The bytes of the next frame, received and held; -1 if a read would raise; None if it would have to wait."""
        try:
            del self._idle
        except AttributeError:
            raise self._taken() from None
        try:
            return self._looked()
        finally:
            self._idle = True

    def _push(self, chunks: deque[bytes]) -> None:
        """Take bytes that were received by other means, behind those that are held: out of a deque, chunk by chunk."""
        try:
            del self._idle
        except AttributeError:
            raise self._taken() from None
        try:
            self._check()
            self._keep_all(chunks)
        finally:
            self._idle = True

    def _fetch(self) -> bool:
        """Receive once, for those that read later. True: something was received. False: look what has stopped it.

        Raises a plain OSError, and what parsing raises of what stands before the loss of the connection.
        """
        try:
            del self._idle
        except AttributeError:
            raise self._taken() from None
        try:
            return self._error is None and not self._at_eof and self._receive_once() and self._is_whole()
        finally:
            self._idle = True

    def _lose(self, error: int) -> None:
        """The connection is lost, as somebody else has found: behind the frames that are complete."""
        try:
            del self._idle
        except AttributeError:
            raise self._taken() from None
        try:
            if self._error is None:
                self._error = ConnectionLost(error, os.strerror(error))
                self._is_whole()
        finally:
            self._idle = True

    # What is called while the object is taken. Loops have to be here, not in the `try` of the methods above: CPython 3.13
    # leaves some of their jumps out of it, and a signal handler that raises there would leave the object taken.

    def _next_batch(self) -> FrameBatch | None:
        while True:
            for made in iter(self._hand_batch, None):
                return made
            if not self._pull():
                return None

    def _single_batch(self) -> FrameBatch | None:
        self._fill(ONE)
        out = self._out
        if out:
            made = batch(out[0], [0], [len(out[0])])
            del out[0]
            return made
        if self._error is not None:
            self._fail()
        return None

    def _looked(self) -> int | None:
        while self._error is None and not self._out and self._spanned is None and not self._run(PEEK):
            if not self._pull():
                return None
        if self._spanned is not None:
            return self._spanned[2][0] - self._spanned[1][0]
        if self._out:
            return len(self._out[0])
        return -1 if self._error is not None else self._peeked

    def _keep_all(self, chunks: deque[bytes]) -> None:
        queue = self._queue
        while chunks:
            for piece in iter(chunks.popleft, None):
                queue += (piece,)
                break

    def _fill(self, most: int) -> None:
        """Parse what is held; receive while that gives no frame."""
        while not self._out:
            self._run(most)
            if self._out or self._error is not None or not self._pull():
                return

    def _is_whole(self) -> bool:
        """False if a receive has found the end. If it has lost the connection, what was received stands before that."""
        if self._error is None:
            return not self._at_eof
        lost, self._error = self._error, None
        self._run(ALL)
        self._error = self.error or lost
        return False

    def _pull(self) -> bool:
        """Receive once; False if that would have to wait. The end, or a broken connection, is in `_error` then."""
        if not self._at_eof and (self._patient or not self._receive_once()):
            return False
        if self._at_eof:
            self._end()
        return True

    def _receive_once(self) -> bool:
        """False if that would have to wait. The end is in `_at_eof` then, a broken connection in `_error`."""
        queue, fd, alias = self._queue, self._fd, self._alias
        held, size = len(queue), self._ask()
        if self._channel is not None:
            return self._pull_from(self._channel, size)
        asks = not DONTWAIT if alias is not None else os.name != "nt" and not self._waits
        if asks and not is_ready(fd, False):
            return False
        try:
            # Received and queued in one C call: a signal handler that raises can't come between the two.
            if alias is None:
                queue.extend(map(self._receive, (fd,), (size,)))
            else:
                queue.extend(map(self._receive, (size,), (0 if self._waits else DONTWAIT,)))
        except OSError as error:
            if len(queue) > held or is_handlers(error, 1):
                raise
            if isinstance(error, BlockingIOError):
                return False
            if error.errno in PASSING:
                raise
            if error.errno != errno.EIO or alias is not None or not os.isatty(fd):
                self._error = ConnectionLost(error.errno, error.strerror)
                return True
            # So Linux tells a terminal's master that its other side has been closed.
            queue.append(b"")
        self._at_eof = not queue[-1]
        return True

    def _pull_from(self, channel: Channel, size: int) -> bool:
        """As `_pull`, from a channel."""
        queue = self._queue
        held = len(queue)
        try:
            queue.extend(not_none(map(channel.receive, (size,))))
        except ConnectionLost as error:
            self._error = error
            return True
        if len(queue) == held:
            return False
        self._at_eof = not queue[-1]
        return True

    def _end(self) -> None:
        """The end of the stream was received: what it makes of what is left, and the error that stands behind it."""
        self._run(ALL)
        self._finish()
        if self._error is None:
            self._error, self._raised = ConnectionClosed(), True

    def _ask(self) -> int:
        """How many bytes to receive."""
        # What a header declares is asked for only as far as as much has arrived.
        arrived = self._have + LARGE
        if not self._readahead:
            return self._buffer_size if type(self._framing) is UntilEOF else min(self._missing(), arrived)
        if self._open is not None:
            rest = self._open[0] - self._have
            if rest >= LARGE:
                # To the end of this frame, so that nothing of it is copied but once, into the frame.
                return min(rest, max(arrived, self._buffer_size))
        return self._buffer_size


class _Frames:
    """The iterable: a new iterator each time, of which every step is one C call."""

    __slots__ = ("_reader",)

    def __init__(self, reader: FrameReader) -> None:
        self._reader = reader

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._reader.read_one, None)
