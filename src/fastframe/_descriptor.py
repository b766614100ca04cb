"""Descriptors and files as the stream of a connection: pipes, FIFOs, terminals, file objects, one or a pair of them.

A file object over a descriptor of its own is read and written by that descriptor, with every timeout kept; what it
had read ahead comes first. Any other file object decides itself how long a read or a write takes.
"""

from __future__ import annotations

import io
import os

from ._channel import Channel
from ._engine import wait
from ._transport import Transport, look_again, lost
from .errors import ConnectionLost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LOOK = 0.005
"""Seconds after which a file that has nothing, and no descriptor to wait for, is asked again."""

_ACCESS = getattr(os, "O_ACCMODE", os.O_RDONLY | os.O_WRONLY | os.O_RDWR)


class FileChannel(Channel):
    """A binary file object without a descriptor of its own."""

    __slots__ = ("_flush", "_read", "_write")

    def __init__(self, file: Any) -> None:
        # read1 returns what is there; read of a buffered file waits for all that it is asked for.
        self._read: Any = getattr(file, "read1", None) or getattr(file, "read", None)
        self._write: Any = getattr(file, "write", None)
        self._flush = getattr(file, "flush", None)

    def receive(self, size: int) -> bytes | None:
        try:
            data = self._read(size)
        except BlockingIOError:
            return None
        except OSError as error:
            raise ConnectionLost(*lost(error)) from error
        return data if data is None else bytes(data)

    def send(self, data: bytes) -> int | None:
        try:
            count = self._write(data)
            if self._flush is not None:
                self._flush()
        except BlockingIOError as error:
            return error.characters_written or None
        except OSError as error:
            raise ConnectionLost(*lost(error)) from error
        return None if count is None else int(count)


class End:
    """One direction: what was given, what the engine takes for it, and its descriptor if it has one."""

    def __init__(self, given: Any, for_write: bool) -> None:
        self.given = given
        self.ahead = b""
        self.number = -1
        if isinstance(given, int):
            self.number = given
        elif not _is_file(given):
            self.number = given.fileno()
        elif isinstance(raw := getattr(given, "raw", given), io.FileIO) and not isinstance(given, io.BufferedRandom):
            self.number = raw.fileno()
            if for_write:
                given.flush()
            elif raw is not given:
                self.ahead = _read_ahead(given, raw)
        self.engine: Any = self.number if self.number >= 0 else FileChannel(given)

    def close(self) -> None:
        """Give back the descriptor, or whatever it is."""
        if isinstance(self.given, int):
            os.close(self.given)
        else:
            self.given.close()


def _is_file(given: Any) -> bool:
    return hasattr(given, "write") or hasattr(given, "read")


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
        if reading is not None:
            self.receiving, self.ahead = reading.engine, reading.ahead
        if writing is not None:
            self.sending = writing.engine
        self._half_closed = False
        # Nothing but a second descriptor wakes those who wait for a pipe.
        self._alarm = os.pipe()

    def fileno(self) -> int:
        reading, writing = self._ends
        end = reading or writing
        return -1 if end is None else end.number

    def wait(self, for_write: bool, timeout: float | None) -> bool:
        end = self._ends[for_write]
        if end is None or end.number < 0:
            return look_again(timeout, _LOOK)
        return wait(end.number, for_write, timeout, self._alarm[0])

    def wake(self, how: int) -> None:
        try:
            os.write(self._alarm[1], b"!")
        except OSError:
            pass  # closed already

    def half_close(self) -> bool:
        reading, writing = self._ends
        if reading is writing:
            return super().half_close()
        if writing is not None and not self._half_closed:
            self._half_closed = True
            writing.close()
        return True

    def close(self) -> None:
        reading, writing = self._ends
        try:
            if writing is not None and not self._half_closed:
                writing.close()
        finally:
            try:
                if reading is not None and reading is not writing:
                    reading.close()
            finally:
                self._silence()

    def release(self) -> Any:
        self._silence()
        return self.source

    def _silence(self) -> None:
        for number in self._alarm:
            os.close(number)
