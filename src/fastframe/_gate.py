"""Who is inside a connection: at most one who receives and one who sends; the last one out closes the descriptor.

So a descriptor's number is never used after it was given back, whatever threads and
signal handlers do. An exception of a signal handler may come up behind any call: so
nothing is taken by a call whose result has yet to be noted. The receiver's place is taken by
deleting a slot, which is one bytecode and fails for the second; the sender's lock notes its
owner itself, and giving it back is a single call, in line: the first step of a function is such a place too.
"""

from __future__ import annotations

import socket
import threading

from ._deadline import remaining
from .errors import ConcurrentUse, ConnectionClosed, FrameTimeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from ._engine import FrameReader, FrameWriter
    from ._transport import Transport

    T = TypeVar("T")


class Gate:
    """The way into one connection.

    `place` is the receiver's: whoever deletes it receives, and sets it again. `sending` is the sender's lock.
    Both then call `left` if `closed` is set.

    Some go in and out without asking here: who takes a frame that lies ready in the reader, after a receive, and who
    sends a small frame at once, after a send that had nothing to wait for. Whoever sends in another way, or closes,
    stops that first, by the reader's `_hush` and the writer's `_still`.
    """

    __slots__ = (
        "_foreign",
        "_gone",
        "_inherited",
        "_reader",
        "_transport",
        "_writer",
        "closed",
        "is_ours",
        "over",
        "place",
        "sending",
    )

    place: bool
    sending: Any  # an RLock
    is_ours: Callable[[], bool]
    """Whether it is this very thread that sends."""

    def __init__(self, transport: Transport, reader: FrameReader, writer: FrameWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.closed = False
        self.over = False  # closed, and nothing is left to do but to give the descriptor back
        self._gone = False  # the descriptor was given back
        self._foreign = False  # another process goes on with it
        self._inherited = False  # another process has it too
        self._transport = transport
        self._open_places()

    def _open_places(self) -> None:
        self.place = True
        self.sending = threading.RLock()
        self.is_ours = self.sending._is_owned

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, in this process."""
        return self.closed and not self._foreign

    @property
    def is_inherited(self) -> bool:
        """Whether the parent of this process has the connection too."""
        return self._inherited

    def why(self) -> Exception:
        """Why nobody is let in."""
        if self._foreign:
            return ConcurrentUse("the connection belongs to the process that this one was forked from")
        return ValueError("connection is closed")

    def open(self) -> Transport:
        """The transport; ValueError if the gate is closed."""
        if self.closed:
            raise self.why()
        return self._transport

    def check(self) -> None:
        """ConnectionClosed if the gate was closed while this call was inside."""
        if self.closed:
            raise self.why() if self._foreign else ConnectionClosed("the connection was closed during the call")

    def wait_for_sender(self, deadline: float | None) -> None:
        """Take the sender's lock, behind those who came before; FrameTimeout if they take too long."""
        if not self._wait_for_sender(deadline):
            raise FrameTimeout("another send isn't through in time")
        self.check()

    def send(self, deadline: float | None, act: Callable[..., T], *args: object) -> T:
        """`act(deadline, *args)` as the only one who sends; ConcurrentUse if that is this thread itself."""
        if self.is_ours():
            raise ConcurrentUse
        try:
            self.open()
            if not self.sending.acquire(False):
                self.wait_for_sender(deadline)
            self._writer._still()
            self.open()
            return act(deadline, *args)
        finally:
            try:
                self.sending.release()
            except RuntimeError:
                pass  # not taken
            if self.over:
                self.leave()

    def close(self, deadline: float | None, settle: Callable[[float | None], None]) -> None:
        """Let nobody in any more, `settle(deadline)` as the one who sends, unless another takes too long, and close."""
        if self.closed:
            self._leave_again()
            return
        self.closed = True
        try:
            self._hush()
            if self.receiving and self._transport.can_wake_first:
                self._transport.wake(socket.SHUT_RD)
            # Below a send of this very thread, in a signal handler, there is nothing to wait for.
            if not self.is_ours():
                self._as_last_sender(deadline, settle)
        finally:
            self.over = True
            self._wake(socket.SHUT_RDWR)
            self.leave()

    def abort(self) -> None:
        """Let nobody in any more, and close."""
        if self.closed:
            self._leave_again()
            return
        self.closed = True
        self._hush()
        # The peer mustn't take it for a normal end, so only a sender that waits has sending shut down.
        self.over = True
        self._wake(socket.SHUT_RD)
        self.leave()

    def detach(self, check: Callable[[], None]) -> Any:
        """Let nobody in any more, and give the source back; ConcurrentUse if anybody is inside. What `check` raises passes."""
        try:
            del self.place
        except AttributeError:
            raise ConcurrentUse from None
        try:
            if self.is_ours():
                raise ConcurrentUse
            try:
                if not self.sending.acquire(False):
                    raise ConcurrentUse
                self._writer._still()
                self.open()
                check()
                self.closed = True
                self._hush()
                return self._transport.release()
            finally:
                try:
                    self.sending.release()
                except RuntimeError:
                    pass  # not taken
        finally:
            self.place = True

    def forked(self, usable: bool) -> None:
        """This is the child process: nobody is inside, and the connection is the parent's, or also this one's."""
        self._open_places()
        self._writer._still(alone=True)
        self._inherited = True
        if not usable and not self.closed:
            self.closed = self._foreign = True
            self._hush()

    @property
    def receiving(self) -> bool:
        """Whether anybody receives."""
        return not hasattr(self, "place")

    def left(self) -> None:
        """Somebody has left, who may have let others in without asking; the gate was closed in the meantime."""
        self._hush()
        if self.over:
            self.leave()

    def leave(self) -> None:
        """Close the descriptor, if nobody is inside; else the last one who leaves does."""
        if self.is_ours():
            return
        # Whoever leaves in between and finds the lock taken is seen by the next look at the flag.
        while not self.receiving:
            try:
                if not self.sending.acquire(False):
                    return
                if not self.receiving:
                    if not self._gone:
                        self._hush()
                        self._transport.close()
                        self._gone = True
                    return
            finally:
                try:
                    self.sending.release()
                except RuntimeError:
                    pass  # not taken

    def _hush(self) -> None:
        """Let nobody go on without asking."""
        self._reader._hush()
        self._writer._still()

    def _leave_again(self) -> None:
        """Give back what another process goes on with, or what a close has left that an exception broke off."""
        self._hush()
        if self._foreign:
            self._foreign = False
            self._transport.close()
        elif self.over:
            self.leave()

    def _as_last_sender(self, deadline: float | None, settle: Callable[[float | None], None]) -> None:
        try:
            if self._wait_for_sender(deadline):
                self._writer._still()
                settle(deadline)
        finally:
            try:
                self.sending.release()
            except RuntimeError:
                pass  # not taken

    def _wake(self, how: int) -> None:
        """Make those return who still wait inside, in another thread or in this one below a signal handler."""
        if self._is_sending():
            how = socket.SHUT_RDWR
        elif not self.receiving:
            return
        self._transport.wake(how)

    def _is_sending(self) -> bool:
        """Whether anybody sends, this thread included."""
        if self.is_ours():
            return True
        try:
            return not self.sending.acquire(False)
        finally:
            try:
                self.sending.release()
            except RuntimeError:
                pass  # not taken

    def _wait_for_sender(self, deadline: float | None) -> bool:
        left = remaining(deadline)
        taken: bool = self.sending.acquire(timeout=-1 if left is None else left)
        return taken
