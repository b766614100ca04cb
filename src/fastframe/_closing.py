"""The end of a connection: closing so that a peer that reads gets everything, or so that it sees a reset.

A close with unread input resets a TCP connection, and what was sent is lost. So sending is
shut down first, and what still comes is thrown away until nothing can get lost any more.
"""

from __future__ import annotations

import socket
import sys

from ._deadline import remaining
from ._engine import wait
from ._sockets import FIRST_LOOK, INTERNET, LAST_LOOK, UNIX
from .errors import FrameError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._engine import FrameWriter
    from ._gate import Gate
    from .framing import Framing

_DISCARD_BYTES = 64 * 1024
_DISCARD_READS = 16

_DONTWAIT = getattr(socket, "MSG_DONTWAIT", 0)


def settle(sock: socket.socket, writer: FrameWriter, gate: Gate, deadline: float | None) -> None:
    """Flush, shut sending down, and wait until the peer has everything, or never will, or the time is up."""
    local = sock.family == UNIX
    look = FIRST_LOOK
    try:
        while True:
            held = writer.pending
            flushed = writer.flush()
            if flushed:
                # What a unix socket sent has arrived. Left unread, what comes now would make its close a reset.
                sock.shutdown(socket.SHUT_RDWR if local else socket.SHUT_WR)
            # While another thread still receives, its frames aren't ours to throw away.
            count = 0 if gate.receiving else _discard(sock)
            if flushed and (count is None or (local and gate.receiving) or _is_acknowledged(sock)):
                return
            left = remaining(deadline)
            if left == 0:
                break
            if count or writer.pending < held:
                look = FIRST_LOOK
            # What the peer acknowledges isn't announced, and a peer that can't get rid of its own won't read ours.
            wait(sock.fileno(), not flushed, look if left is None else min(look, left))
            look = min(2 * look, LAST_LOOK)
        if writer.pending and _delivers_rest(writer.framing):
            reset_at_close(sock)  # or the peer would take the cut frame for a whole one
    except (FrameError, OSError):
        pass  # there is nobody to deliver to any more


def _discard(sock: socket.socket) -> int | None:
    """Throw away what the peer has sent: how many bytes; None if it has sent its end too."""
    count = 0
    for _ in range(_DISCARD_READS):
        if not wait(sock.fileno(), False, 0):
            break
        try:
            data = sock.recv(_DISCARD_BYTES, _DONTWAIT)
        except BlockingIOError:
            break
        if not data:
            return None
        count += len(data)
    return count


def _is_acknowledged(sock: socket.socket) -> bool:
    """Whether the peer's system has everything that was sent, the end included; False where that can't be known."""
    if sys.platform != "linux" or sock.family not in INTERNET:
        return False
    from fcntl import ioctl
    from termios import TIOCOUTQ

    return not any(ioctl(sock.fileno(), TIOCOUTQ, bytes(4)))


def _delivers_rest(framing: Framing) -> bool:
    """Whether a peer takes what comes before the end for a whole frame."""
    try:
        return bool(framing._finish(b"\0"))
    except FrameError:
        return False


def reset_at_close(sock: socket.socket) -> None:
    """Make the close a reset, which drops what isn't delivered yet."""
    width = 2 if sys.platform == "win32" else 4
    on, seconds = (1).to_bytes(width, sys.byteorder), bytes(width)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, on + seconds)
    except OSError:
        pass
