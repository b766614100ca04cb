"""What a server calls: a function of a frame, or an object with methods."""

from __future__ import annotations

from contextlib import suppress

from .errors import FrameError

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

_COROUTINE = 0x80 | 0x200
"""Of a code object's flags: inspect.CO_COROUTINE and CO_ASYNC_GENERATOR."""


class Calls:
    """A handler's methods; those that it doesn't have are None."""

    __slots__ = ("closed", "connected", "ended", "frames")

    frames: Callable[[Client, list[bytes]], object]
    connected: Callable[[Client], object] | None
    ended: Callable[[Client], object] | None
    closed: Callable[[Client, BaseException | None], object] | None

    def __init__(self, handler: Any) -> None:
        frames = getattr(handler, "frames", None)
        if not callable(handler if frames is None else frames):
            raise TypeError(
                f"a handler is a function of a frame, or an object with a method `frames`, not {type(handler).__name__}"
            )
        if frames is not None and isinstance(handler, type):
            raise TypeError(f"a handler is an object: an instance of {handler.__name__} is needed, not the class")
        names = ("frames", "connected", "ended", "closed") if frames is not None else ()
        for method in [getattr(handler, name, None) for name in names] or [handler]:
            refuse_coroutine(method, "fastframe.asyncio.start_server serves those")
        self.frames = Replies(handler).frames if frames is None else frames
        for name in ("connected", "ended", "closed"):
            setattr(self, name, getattr(handler, name, None) if frames is not None else None)


def refuse_coroutine(function: Any, advice: str) -> None:
    """TypeError for a coroutine function: nobody would await it."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if code is not None and code.co_flags & _COROUTINE:
        raise TypeError(f"{function.__qualname__} is a coroutine function, which isn't awaited here: {advice}")


class Replies:
    """Calls a function for each frame, and sends what it returns: bytes, a list of them, or nothing for None."""

    __slots__ = ("_function", "_simple")

    def __init__(self, function: Callable[[bytes], Reply]) -> None:
        self._function = function
        self._simple = True  # every reply so far was one frame

    def frames(self, conn: Client, frames: list[bytes]) -> None:
        """Handle them. If the function raises, or returns what can't be sent, the replies before are sent."""
        function = self._function
        replies: list[Any] = []
        try:
            for frame in frames:
                replies.append(function(frame))  # noqa: PERF401 - those before one that raises are kept
        except BaseException:
            with suppress(FrameError):
                self._send(conn, replies)
            raise
        self._send(conn, replies)

    def _send(self, conn: Client, replies: list[Any]) -> None:
        if not self._simple:
            replies = list(_flat(replies))
        if not replies or self._sent(conn, replies):
            return
        # Nothing was. There are lists or Nones among them; or one can't be sent, which is found again.
        self._simple = False
        for reply in _flat(replies):
            conn.send(reply)

    def _sent(self, conn: Client, replies: list[Any]) -> bool:
        try:
            conn.send_many(replies)
        except (TypeError, ValueError):
            return False
        return True


def _flat(replies: list[Any]) -> Iterator[Any]:
    for reply in replies:
        if isinstance(reply, list | tuple):
            yield from reply
        elif reply is not None:
            yield reply
