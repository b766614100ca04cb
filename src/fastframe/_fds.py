"""Descriptors that travel with a frame over a unix socket.

They lie at the frame's first byte. The receiver takes no byte beyond the frame it reads, so they belong to that one.
"""

from __future__ import annotations

import os
import socket
from array import array
from collections import deque
from itertools import starmap

from ._transport import DONTWAIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ._engine import FrameReader

MOST = 253
"""Linux takes no more in one message."""

_PIECE = 64 * 1024
_NOSIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


def checked(fds: Iterable[int]) -> array[int]:
    """The descriptors to be sent; TypeError or ValueError."""
    numbers = array("i", fds)
    if len(numbers) > MOST:
        raise ValueError(f"{MOST} descriptors at most go with one frame, not {len(numbers)}")
    return numbers


class Passing:
    """Both directions of one socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        # Each is filled and emptied in one C call or without one: no signal handler comes in between.
        self._messages: deque[tuple[bytes, Any, int, Any]] = deque()
        self._chunks: deque[bytes] = deque()
        self._received: list[int] = []
        self._sent: deque[int] = deque()

    def send(self, frame: bytes, numbers: array[int]) -> int | None:
        """Send the frame's first bytes together with the descriptors: how many; None would have to wait."""
        message = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)]
        self._sent.clear()
        try:
            self._sent.extend(starmap(self._sock.sendmsg, [([frame], message, DONTWAIT | _NOSIGNAL)]))
        except BlockingIOError:
            return None
        return self._sent[0]

    @property
    def sent(self) -> int:
        """What `send` has sent before an exception broke it off."""
        return sum(self._sent)

    def receive(self, reader: FrameReader) -> tuple[bytes, list[int]] | None:
        """The next frame and the descriptors that came with it; None would have to wait."""
        while True:
            self._take(reader)
            needed = reader.needed
            if not needed:
                break
            space = socket.CMSG_SPACE(MOST * array("i").itemsize)
            asked = [(min(needed, _PIECE), space, DONTWAIT | _CLOEXEC)]
            try:
                self._messages.extend(starmap(self._sock.recvmsg, asked))
            except BlockingIOError:
                return None
            except OSError:
                break  # the reader meets it again, and says what it is
            if not self._messages[-1][0]:
                break
        for frame in reader._incoming():
            got, self._received = self._received, []
            return frame, got
        return None

    def _take(self, reader: FrameReader) -> None:
        messages, chunks = self._messages, self._chunks
        while messages:
            data, ancillary, _, _ = messages[0]
            numbers = array("i")
            for level, kind, value in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    numbers.frombytes(value[: len(value) - len(value) % numbers.itemsize])
            self._received += numbers
            messages[0] = (data, (), 0, None)
            for message in iter(messages.popleft, None):
                chunks += (message[0],)
                break
        reader._push(chunks)

    def drop(self) -> None:
        """Close the descriptors that nobody has asked for."""
        received, self._received = self._received, []
        for number in received:
            os.close(number)
