"""Descriptors that travel with a frame over a unix socket.

They lie at the frame's first byte. The receiver takes no byte beyond the frame it reads, so they belong to that one.
"""

from __future__ import annotations

import errno
import os
import socket
from array import array
from collections import deque
from itertools import starmap

from ._channel import PASSING
from ._transport import DONTWAIT, lost
from .errors import ConnectionLost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from ._engine import FrameReader
    from ._transport import SocketTransport

MOST = 253
"""Linux takes no more in one message."""

_PIECE = 64 * 1024
_NOSIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)
_CTRUNC = getattr(socket, "MSG_CTRUNC", 0)
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)

_REFUSED = frozenset((errno.EINVAL, errno.EPERM, getattr(errno, "ETOOMANYREFS", errno.EINVAL)))
"""What the system says of descriptors that it won't send, or not now."""


def checked(fds: Iterable[int]) -> array[int]:
    """The descriptors to be sent; TypeError or ValueError."""
    try:
        numbers = array("i", fds)
    except OverflowError as error:
        raise ValueError("no descriptor is as high as that") from error
    if len(numbers) > MOST:
        raise ValueError(f"{MOST} descriptors at most go with one frame, not {len(numbers)}")
    return numbers


class Passing:
    """Both directions of one socket."""

    def __init__(self, transport: SocketTransport, reader: FrameReader) -> None:
        self._transport = transport
        self._sock = transport.sock
        self._reader = reader
        # Each is filled and emptied in one C call or without one: no signal handler comes in between.
        self._messages: deque[tuple[bytes, Any, int, Any]] = deque()
        self._chunks: deque[bytes] = deque()
        self._received: list[int] = []
        self._frames = 0  # how many there were before the one they came with
        self._are_lost = False
        self._sent: deque[int] = deque()
        self._error: ConnectionLost | None = None  # the reader doesn't know of it

    def send(self, frame: bytes, numbers: array[int]) -> int | None:
        """Send the frame's first bytes together with the descriptors: how many; None would have to wait."""
        message = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)]
        self._sent.clear()
        # A socket that has a timeout would wait for it, whatever the flags say.
        if not self._transport.wait(True, 0):
            return None
        try:
            self._sent.extend(starmap(self._sock.sendmsg, [([frame], message, DONTWAIT | _NOSIGNAL)]))
        except OSError as error:
            if is_not_yet(error):
                return None
            if self._sent or error.errno in PASSING | _REFUSED:
                raise
            raise ConnectionLost(*lost(error)) from error
        return self._sent[0]

    @property
    def sent(self) -> int:
        """What `send` has sent before an exception broke it off."""
        return sum(self._sent)

    def receive(self) -> tuple[bytes, list[int]] | None:
        """The next frame and the descriptors that came with it; None would have to wait."""
        if not self._fill():
            return None
        if self._are_lost:
            self._are_lost = False
            raise OSError(errno.EMFILE, "descriptors of the next frame are lost: too many came, or are open here")
        for frame in self._reader._incoming():
            got, self._received = self._received, []
            return frame, got
        return None

    def look(self) -> int | None:
        """As the reader's own, but the descriptors that come are kept."""
        return self._reader._look() if self._fill() else None

    def __iter__(self) -> Iterator[bytes]:
        """What is there, as the reader has it."""
        self.settle()
        return iter(self._reader._incoming())

    def settle(self) -> None:
        """Give the reader what a signal handler's exception has left here; close what came with a frame that has gone."""
        self._take()
        reader = self._reader
        if self._error is not None and reader.needed:
            raise self._error._again()
        # Not while a whole frame waits: it may be theirs, parsed and counted by a call that a handler broke off.
        if self._received and reader.needed and (not reader.buffered or reader.stats.frames != self._frames):
            self.drop()

    def drop(self) -> None:
        """Close the descriptors that nobody has asked for."""
        received, self._received = self._received, []
        for number in received:
            os.close(number)

    def _fill(self) -> bool:
        """Receive until the next frame is complete, or the reader is to meet an end: True. False would have to wait."""
        reader = self._reader
        while True:
            self._take()
            needed = reader.needed
            if not needed:
                return True
            if self._error is not None:
                raise self._error._again()
            if not self._transport.wait(False, 0):
                return False
            space = socket.CMSG_SPACE(MOST * array("i").itemsize)
            asked = [(min(needed, _PIECE), space, DONTWAIT | _CLOEXEC)]
            try:
                self._messages.extend(starmap(self._sock.recvmsg, asked))
            except OSError as error:
                if is_not_yet(error):
                    return False
                if self._messages or error.errno in PASSING:
                    raise
                self._error = ConnectionLost(*lost(error))
                raise self._error._again() from error
            if not self._messages[-1][0]:
                return True

    def _take(self) -> None:
        messages, chunks = self._messages, self._chunks
        while messages:
            data, ancillary, flags, _ = messages[0]
            numbers = array("i")
            for level, kind, value in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    numbers.frombytes(value[: len(value) - len(value) % numbers.itemsize])
            surplus = numbers[MOST - len(self._received) :]
            if numbers or flags & _CTRUNC:
                self._frames = self._reader.stats.frames
                self._are_lost |= bool(surplus or flags & _CTRUNC)
            self._received += numbers[: len(numbers) - len(surplus)]
            messages[0] = (data, (), 0, None)
            for number in surplus:
                os.close(number)
            for message in iter(messages.popleft, None):
                if message[0]:  # the stream's end is for the reader to meet
                    chunks += (message[0],)
                break
        if chunks:
            self._reader._push(chunks)


def is_not_yet(error: OSError) -> bool:
    """Whether a call would have had to wait: so says the system, or the socket object, whose own error has no number."""
    return isinstance(error, BlockingIOError) or (isinstance(error, TimeoutError) and error.errno is None)
