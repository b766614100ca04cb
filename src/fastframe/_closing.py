"""The end of a connection: closing so that a peer that reads gets everything.

A close with unread input resets a TCP connection, and what was sent is lost. So sending is
shut down first, and what still comes is thrown away until nothing can get lost any more.
"""

from __future__ import annotations

import errno

from ._channel import PASSING
from ._deadline import remaining
from ._sockets import FIRST_LOOK, LAST_LOOK
from ._transport import look_again
from .errors import FrameError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._engine import FrameWriter
    from ._gate import Gate
    from ._transport import Transport
    from .framing import Framing

_PASSING = PASSING | {errno.EINVAL, errno.EFAULT}
"""Errors that say nothing of the peer; the last two may come from poll alone."""

_TRIES = 6
"""So often one of them is taken for what passes."""


def settle(transport: Transport, writer: FrameWriter, gate: Gate, deadline: float | None) -> None:
    """Flush, tell the peer the end, and wait until it has everything, or never will, or the time is up."""
    if not _is_told(transport, writer, gate, deadline) and delivers_rest(writer.framing) and not gate.is_inherited:
        transport.reset()  # or the peer would take the cut frame for a whole one


def _is_told(transport: Transport, writer: FrameWriter, gate: Gate, deadline: float | None) -> bool:
    """Do that; whether everything was sent, and the end."""
    look, failures = FIRST_LOOK, 0
    told = False
    while True:
        held, count = writer.pending, 0
        try:
            # In a child process the stream is still the parent's, who says when it ends.
            told = writer.flush() and (gate.is_inherited or told or transport.finish())
            if told and gate.is_inherited:
                return told
            # While another thread still receives, its frames aren't ours to throw away.
            receiving = gate.receiving
            discarded = 0 if receiving else transport.discard()
            if told and (discarded is None or transport.is_delivered(receiving)):
                return told
            count = discarded or 0
            left = remaining(deadline)
            if left == 0:
                return told
            if count or writer.pending < held:
                look = FIRST_LOOK
            # What the peer acknowledges isn't announced, and a peer that can't get rid of its own won't read ours.
            transport.linger(not told, look if left is None else min(look, left))
        except (FrameError, ValueError):
            return told  # there is nobody to deliver to any more
        except OSError as error:
            failures += 1
            if error.errno not in _PASSING or failures == _TRIES or not look_again(remaining(deadline), look):
                return told
        look = min(2 * look, LAST_LOOK)


def delivers_rest(framing: Framing) -> bool:
    """Whether a peer takes what comes before the end for a whole frame."""
    try:
        return bool(framing._finish(b"\0"))
    except FrameError:
        return False
