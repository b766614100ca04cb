"""The end of a connection: closing so that a peer that reads gets everything.

A close with unread input resets a TCP connection, and what was sent is lost. So sending is
shut down first, and what still comes is thrown away until nothing can get lost any more.
"""

from __future__ import annotations

from ._deadline import remaining
from ._sockets import FIRST_LOOK, LAST_LOOK
from .errors import FrameError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._engine import FrameWriter
    from ._gate import Gate
    from ._transport import Transport
    from .framing import Framing


def settle(transport: Transport, writer: FrameWriter, gate: Gate, deadline: float | None) -> None:
    """Flush, tell the peer the end, and wait until it has everything, or never will, or the time is up."""
    look = FIRST_LOOK
    told = False
    try:
        while True:
            held = writer.pending
            # In a child process the stream is still the parent's, who says when it ends.
            told = writer.flush() and (gate.is_inherited or told or transport.finish())
            if told and gate.is_inherited:
                return
            # While another thread still receives, its frames aren't ours to throw away.
            receiving = gate.receiving
            count = 0 if receiving else transport.discard()
            if told and (count is None or transport.is_delivered(receiving)):
                return
            left = remaining(deadline)
            if left == 0:
                break
            if count or writer.pending < held:
                look = FIRST_LOOK
            # What the peer acknowledges isn't announced, and a peer that can't get rid of its own won't read ours.
            transport.linger(not told, look if left is None else min(look, left))
            look = min(2 * look, LAST_LOOK)
        if writer.pending and delivers_rest(writer.framing) and not gate.is_inherited:
            transport.reset()  # or the peer would take the cut frame for a whole one
    except (FrameError, OSError, ValueError):
        pass  # there is nobody to deliver to any more


def delivers_rest(framing: Framing) -> bool:
    """Whether a peer takes what comes before the end for a whole frame."""
    try:
        return bool(framing._finish(b"\0"))
    except FrameError:
        return False
