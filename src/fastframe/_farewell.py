"""The close of a server's client, step by step, so that one that reads gets all that was sent.

As in _closing.py, sending is shut down first, and what still comes is thrown away until nothing can get lost any more:
a close with unread input would reset the connection. Here nobody waits: a step is made when something is ready, or some time has gone.
"""

from __future__ import annotations

from ._channel import PASSING
from ._sockets import FIRST_LOOK, LAST_LOOK
from .errors import FrameError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._engine import FrameWriter
    from ._transport import Transport


class Farewell:
    """How far the close of one client has come."""

    __slots__ = ("_deadline", "_look", "_told", "_transport", "_writer", "comes", "next")

    def __init__(self, transport: Transport, writer: FrameWriter, deadline: float | None) -> None:
        self._transport = transport
        self._writer = writer
        self._deadline = deadline
        self._told = False
        self._look = FIRST_LOOK
        self.next = 0.0
        """When the next step has to be made, whatever is ready."""
        self.comes = True
        """Whether something may still come."""

    def step(self, now: float) -> bool | None:
        """True: all is delivered. False: it will never be. None: another step has to be made."""
        transport, held = self._transport, self._writer.pending
        try:
            self._told = self._writer.flush() and (self._told or transport.finish())
            discarded = transport.discard()
            self.comes = discarded is not None
            if self._told and (discarded is None or transport.is_delivered(False)):
                return True
        except (FrameError, ValueError):
            return False
        except OSError as error:
            if error.errno not in PASSING:
                return False
            discarded = 0
        if self._deadline is not None and now >= self._deadline:
            return False
        # What the client acknowledges isn't announced, and one that can't get rid of its own won't read ours.
        if discarded or self._writer.pending < held:
            self._look = FIRST_LOOK
        self.next = now + self._look
        if self._deadline is not None:
            self.next = min(self.next, self._deadline)
        self._look = min(2 * self._look, LAST_LOOK)
        return None

    @property
    def wants(self) -> tuple[bool, bool]:
        """Whether the next step is to be made when something comes, and when something can be sent."""
        return self.comes, not self._told
