"""What a server calls: a function of a frame, or an object with methods."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from ._client import Client

    Reply = bytes | list[bytes] | None

    class FrameHandler(Protocol):
        """A handler as an object: `frames` it must have, and may have `connected(conn)`, `ended(conn)` and `closed(conn, error)`."""

        def frames(self, conn: Client, frames: list[bytes], /) -> object:
            """Frames have come, one or more."""

    Handler = Callable[[bytes], Reply] | FrameHandler


class Calls:
    """A handler's methods; those that it doesn't have are None."""

    __slots__ = ("closed", "connected", "ended", "frames")

    frames: Callable[[Client, list[bytes]], object]
    connected: Callable[[Client], object] | None
    ended: Callable[[Client], object] | None
    closed: Callable[[Client, BaseException | None], object] | None

    def __init__(self, handler: Any) -> None:
        frames = getattr(handler, "frames", None)
        if frames is None and not callable(handler):
            raise TypeError(
                f"a handler is a function of a frame, or an object with a method `frames`, not {type(handler).__name__}"
            )
        self.frames = Replies(handler).frames if frames is None else frames
        for name in ("connected", "ended", "closed"):
            setattr(self, name, getattr(handler, name, None) if frames is not None else None)


class Replies:
    """Calls a function for each frame, and sends what it returns: bytes, a list of them, or nothing for None."""

    __slots__ = ("_function", "_simple")

    def __init__(self, function: Callable[[bytes], Reply]) -> None:
        self._function = function
        self._simple = True  # every reply so far was one frame

    def frames(self, conn: Client, frames: list[bytes]) -> None:
        """Handle them. If the function raises, the replies to the frames before are sent."""
        replies: list[Any] = []
        try:
            replies.extend(map(self._function, frames))
        finally:
            self._send(conn, replies)

    def _send(self, conn: Client, replies: list[Any]) -> None:
        if self._simple:
            try:
                if replies:
                    conn.send_many(replies)
                return
            except TypeError:
                self._simple = False  # nothing was sent; a wrong reply is found again below
        flat: list[Any] = []
        for reply in replies:
            if isinstance(reply, list | tuple):
                flat += reply
            elif reply is not None:
                flat.append(reply)
        if flat:
            conn.send_many(flat)
