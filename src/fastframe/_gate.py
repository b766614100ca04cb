"""Who is inside a connection: at most one who receives and one who sends; the last one out closes the descriptor.

So a descriptor's number is never used after it was given back, whatever threads and
signal handlers do. An exception of a signal handler may come up behind any call: so
nothing is taken by a call whose result has yet to be noted. The receiver's place is taken by
deleting a slot, which is one bytecode and fails for the second; the sender's lock notes its
owner itself, and giving it back is a single call.
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

    T = TypeVar("T")


class Gate:
    """The way into one connection."""

    __slots__ = ("_free", "_over", "_sending", "_sock", "closed")

    def __init__(self, sock: socket.socket) -> None:
        self.closed = False
        self._over = False  # closed, and nothing is left to do but to give the descriptor back
        self._sock = sock
        self._free = True
        self._sending = threading.RLock()

    def open(self) -> socket.socket:
        """The socket; ValueError if the gate is closed."""
        if self.closed:
            raise ValueError("connection is closed")
        return self._sock

    def check(self) -> None:
        """ConnectionClosed if the gate was closed while this call was inside."""
        if self.closed:
            raise ConnectionClosed("the connection was closed during the call")

    def receive(self, act: Callable[[Any, float | None], T], what: Any, deadline: float | None) -> T:
        """`act(what, deadline)` as the only one who receives; ConcurrentUse if there is another."""
        try:
            del self._free
        except AttributeError:
            raise ConcurrentUse from None
        try:
            if self.closed:
                raise ValueError("connection is closed")
            return act(what, deadline)
        finally:
            self._free = True
            if self._over:
                self._release()

    def send(self, deadline: float | None, act: Callable[..., T], *args: object) -> T:
        """`act(deadline, *args)` as the only one who sends, behind those who came before.

        ConcurrentUse if that is this thread itself; FrameTimeout if the others take too long.
        """
        if self._is_ours():
            raise ConcurrentUse
        try:
            self.open()
            if not self._sending.acquire(False):
                if not self._wait_for_sender(deadline):
                    raise FrameTimeout("another send isn't through in time")
                self.check()
            self.open()
            return act(deadline, *args)
        finally:
            try:
                self._sending.release()
            except RuntimeError:
                pass  # not taken
            if self._over:
                self._release()

    def close(self, deadline: float | None, settle: Callable[[float | None], None]) -> None:
        """Let nobody in any more, `settle(deadline)` as the one who sends, unless another takes too long, and close."""
        if self.closed:
            return
        self.closed = True
        try:
            # Below a send of this very thread, in a signal handler, there is nothing to wait for.
            if not self._is_ours():
                self._as_last_sender(deadline, settle)
        finally:
            self._over = True
            self._wake(socket.SHUT_RDWR)
            self._release()

    def abort(self) -> None:
        """Let nobody in any more, and close."""
        if self.closed:
            return
        self.closed = True
        # The peer mustn't take it for a normal end, so only a sender that waits has sending shut down.
        self._over = True
        self._wake(socket.SHUT_RD)
        self._release()

    @property
    def receiving(self) -> bool:
        """Whether anybody receives."""
        return not hasattr(self, "_free")

    def _release(self) -> None:
        """Close the descriptor, if nobody is inside; else the last one who leaves does."""
        if self._is_ours():
            return
        # Whoever leaves in between and finds the lock taken is seen by the next look at the flag.
        while not self.receiving and self._sending.acquire(False):
            try:
                if not self.receiving:
                    self._sock.close()
                    return
            finally:
                self._sending.release()

    def _as_last_sender(self, deadline: float | None, settle: Callable[[float | None], None]) -> None:
        try:
            if self._wait_for_sender(deadline):
                settle(deadline)
        finally:
            try:
                self._sending.release()
            except RuntimeError:
                pass

    def _wake(self, how: int) -> None:
        """Make those return who still wait inside, in another thread or in this one below a signal handler."""
        if self._is_ours() or not self._sending.acquire(False):
            how = socket.SHUT_RDWR
        else:
            self._sending.release()
            if not self.receiving:
                return
        try:
            self._sock.shutdown(how)
        except OSError:
            pass  # it has gone, which wakes them too

    def _wait_for_sender(self, deadline: float | None) -> bool:
        left = remaining(deadline)
        return self._sending.acquire(timeout=-1 if left is None else left)

    def _is_ours(self) -> bool:
        owned: bool = self._sending._is_owned()  # type: ignore[attr-defined]
        return owned
