"""What a server calls: a function of a frame, or an object with methods."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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
        """Handle them. If the function raises, or returns what can't be sent, the replies before are sent."""
        replies: list[Any] = []
        try:
            replies.extend(map(self._function, frames))
        finally:
            self._send(conn, replies)

    def _send(self, conn: Client, replies: list[Any]) -> None:
        if not self._simple:
            replies = list(_flat(replies))
        if not replies:
            return
        try:
            conn.send_many(replies)
        except (TypeError, ValueError):
            # Nothing was sent. There are lists or Nones among them; or one can't be sent, which is found again.
            self._simple = False
            for reply in _flat(replies):
                conn.send(reply)


def _flat(replies: list[Any]) -> Iterator[Any]:
    for reply in replies:
        if isinstance(reply, list | tuple):
            yield from reply
        elif reply is not None:
            yield reply
