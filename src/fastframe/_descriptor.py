"""Descriptors and files as the stream of a connection: pipes, FIFOs, terminals, file objects, one or a pair of them.

A file object over a descriptor of its own is read and written by that descriptor, with every timeout kept; what it
had read ahead comes first. Any other file object decides itself how long a read or a write takes.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from collections import deque
from itertools import chain, starmap

from ._channel import Channel
from ._engine import wait
from ._transport import Owned, Transport, look_again, lost
from .errors import ConnectionLost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LOOK = 0.005
"""Seconds after which a file that has nothing, and no descriptor to wait for, is asked again."""

_ACCESS = getattr(os, "O_ACCMODE", os.O_RDONLY | os.O_WRONLY | os.O_RDWR)


class FileChannel(Channel):
    """A binary file object without a descriptor of its own."""

    __slots__ = ("_broken", "_flush", "_is_raw", "_look", "_read", "_write", "unflushed")

    def __init__(self, file: Any) -> None:
        # read1 returns what is there; read of a buffered file waits for all that it is asked for.
        self._read: Any = getattr(file, "read1", None) or getattr(file, "read", None)
        self._look = getattr(file, "readinto1", None)
        self._write: Any = getattr(file, "write", None)
        self._flush = getattr(file, "flush", None)
        self._is_raw = isinstance(file, io.RawIOBase)
        self._broken = [False, False]
        self.unflushed = 0
        """Bytes that the file has in its buffer and can't pass on yet."""

    def receive(self, size: int) -> bytes | None:
        self._check(False)
        try:
            data = self._read(size)
            if data is not None:
                data = memoryview(data).tobytes() or self._end()
            if data is not None and len(data) > size:
                raise ValueError(f"the file gave {len(data)} bytes where {size} were wanted")
        except BlockingIOError:
            return None
        except BaseException as error:
            self._stop(False, error)
            raise
        return data  # type: ignore[no-any-return]

    def send(self, data: bytes) -> int | None:
        self._check(True)
        try:
            if not self.unflushed:
                self.unflushed = self._put(data)
            if self.unflushed and self._flush is not None:
                self._flush()
        except BlockingIOError:
            return None
        except BaseException as error:
            self._stop(True, error)
            raise
        count, self.unflushed = self.unflushed, 0
        return count or None

    def _end(self) -> bytes | None:
        """b"" if the file is at its end, None if it would have to wait: of a buffered file, read1 gives b"" for both."""
        if self._look is None:
            return b""
        byte = bytearray(1)
        count = self._look(byte)
        return None if count is None else bytes(byte[:count])

    def _put(self, data: bytes) -> int:
        try:
            count = self._write(data)
        except BlockingIOError as error:
            count = error.characters_written
        if count is None:
            # Only a raw file says by it that it would have to wait.
            return 0 if self._is_raw else len(data)
        if not 0 <= count <= len(data):
            raise ValueError(f"the file took {count} of {len(data)} bytes")
        return int(count)

    def _check(self, sending: bool) -> None:
        if self._broken[sending]:
            raise ConnectionLost(errno.EIO, "an exception broke off a call of the file, and what that did isn't known")

    def _stop(self, sending: bool, error: BaseException) -> None:
        """Raise ConnectionLost for an error of the system; note that another may have cost bytes."""
        if isinstance(error, OSError) and error.errno is not None:
            raise ConnectionLost(*lost(error)) from error
        self._broken[sending] = True


class End:
    """One direction: what was given, what the engine takes for it, and its descriptor if it has one."""

    def __init__(self, given: Any, for_write: bool) -> None:
        self.given = given
        self._for_write = for_write
        self.number = -1
        self._still_open = iter((given,))
        if isinstance(given, int):
            self.number = given
        elif not _is_file(given) or _is_plain(given):
            self.number = given.fileno()
        self.engine: Any = self.number if self.number >= 0 else FileChannel(given)

    def take_over(self) -> bytes:
        """Let the file send what it has in its buffer, or take what it has received."""
        raw = getattr(self.given, "raw", None)
        if self.number < 0 or raw is None:
            return b""
        if self._for_write:
            self.given.flush()
            return b""
        return _read_ahead(self.given, raw)

    def close(self) -> None:
        """Give back the descriptor, or whatever it is; nothing twice."""
        if isinstance(self.given, int):
            deque(map(os.close, self._still_open), 0)
        elif hasattr(self.given, "close"):
            try:
                self.given.close()
            except OSError:
                pass  # what is left in its buffer can't be sent: there is nobody to tell any more


def _unwaiting(number: int) -> Owned:
    """A nonblocking descriptor for the pipe that this blocking one is for, where the system can open one; else none.

    It is another way to the same pipe: whoever shares the first finds that as it was. Through the first no more than
    PIPE_BUF bytes may be written at once: more of them could wait for ever.
    """
    if sys.platform == "linux" and number >= 0:
        try:
            if stat.S_ISFIFO(os.fstat(number).st_mode) and os.get_blocking(number):
                return Owned(
                    starmap(os.open, ((f"/proc/self/fd/{number}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC),))
                )
        except OSError:
            pass  # nobody reads any more, or it isn't this user's
    return Owned(())


def _is_file(given: Any) -> bool:
    return hasattr(given, "write") or hasattr(given, "read")


def _is_plain(file: Any) -> bool:
    """Whether it is a descriptor's file, with a buffer for one direction at most: for two, it depends on the position."""
    raw = getattr(file, "raw", file)
    return isinstance(raw, io.FileIO) and (raw is file or not (raw.readable() and raw.writable()))


def _read_ahead(file: Any, raw: Any) -> bytes:
    """What the file object holds in its buffer; nothing is read for it."""
    # An attribute of the object comes before its type's method, and None says that there is nothing to be read now.
    raw.readinto = lambda _: None
    try:
        size = len(file.peek())
        return bytes(file.read1(size)) if size else b""
    finally:
        del raw.readinto


def modes(given: Any) -> tuple[bool, bool]:
    """Whether it can be read, and written."""
    if _is_file(given):
        if hasattr(given, "readable") and hasattr(given, "writable"):
            return given.readable(), given.writable()
        return hasattr(given, "read"), hasattr(given, "write")
    number = given if isinstance(given, int) else given.fileno()
    if os.name == "nt":
        return True, True
    from fcntl import F_GETFL, fcntl

    access = fcntl(number, F_GETFL) & _ACCESS
    return access != os.O_WRONLY, access != os.O_RDONLY


class DescriptorTransport(Transport):
    """An end for each direction, or one for both, or for one."""

    def __init__(self, source: Any, reading: End | None, writing: End | None) -> None:
        self.source = source
        self._ends = (reading, writing)
        self._unwaiting = _unwaiting(-1 if writing is None else writing.number)
        if reading is not None:
            self.receiving = reading.engine
        if writing is not None:
            self.sending = next(iter(self._unwaiting.numbers), writing.engine)
        self._half_closed = False
        # Nothing but a second descriptor wakes those who wait for a pipe.
        self._alarm = Owned(chain.from_iterable(starmap(os.pipe, ((),))))

    def fileno(self) -> int:
        reading, writing = self._ends
        end = reading or (None if self._half_closed else writing)
        return -1 if end is None else end.number

    def take_over(self) -> bytes:
        reading, writing = self._ends
        if writing is not None and writing is not reading:
            writing.take_over()
        return b"" if reading is None else reading.take_over()

    @property
    def is_committed(self) -> bool:  # type: ignore[override]
        return isinstance(self.sending, FileChannel) and self.sending.unflushed > 0

    def wait(self, for_write: bool, timeout: float | None) -> bool:
        end = self._ends[for_write]
        if end is None or end.number < 0:
            return look_again(timeout, _LOOK)
        return wait(end.number, for_write, timeout, self._alarm.numbers[0])

    def linger(self, for_write: bool, timeout: float) -> None:
        end = self._ends[for_write]
        if end is None or end.number < 0:
            look_again(timeout, _LOOK)
        else:
            wait(end.number, for_write, timeout)

    def wake(self, how: int) -> None:
        try:
            os.write(self._alarm.numbers[1], b"!")
        except OSError:
            pass  # closed already

    def half_close(self) -> bool:
        reading, writing = self._ends
        if reading is writing:
            return super().half_close()
        if writing is None:
            raise ValueError("nothing can be sent: the source isn't open for that")
        self._unwaiting.close()
        writing.close()
        self._half_closed = True
        return True

    def forked(self) -> None:
        # An alarm is for one process: its byte is never taken out.
        for new, old in zip(os.pipe(), self._alarm.numbers, strict=True):
            os.dup2(new, old, inheritable=False)
            os.close(new)

    def close(self) -> None:
        reading, writing = self._ends
        try:
            if writing is not None:
                writing.close()
        finally:
            try:
                if reading is not None and reading is not writing:
                    reading.close()
            finally:
                self._silence()

    def release(self) -> Any:
        self._silence()
        if not self._half_closed:
            return self.source
        return (self.source[0], None) if isinstance(self.source, tuple) else None

    def _silence(self) -> None:
        self._unwaiting.close()
        self._alarm.close()
