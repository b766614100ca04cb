"""What a receiving task awaits: it goes on at once with the frames that come, inside the call that brings them."""

from __future__ import annotations

import asyncio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextvars import Context
    from typing import Any


class Wait:
    """Awaited by one task at a time, as often as it likes; to that task it is a future.

    A task that a future of asyncio's wakes runs in the loop's next turn, which costs as much as all else that is done
    for a batch.

    given_up: called when the task is cancelled.
    """

    _asyncio_future_blocking = False

    def __init__(self, loop: asyncio.AbstractEventLoop, given_up: Callable[[], None]) -> None:
        self.frames: list[bytes] = []
        """What has been given, and nobody has taken out yet."""
        self._loop, self._given_up = loop, given_up
        self._wake: Callable[[Any], object] | None = None
        self._context: Context | None = None
        self._cancelled: asyncio.CancelledError | None = None

    def __await__(self) -> Generator[Any, None, None]:
        self._asyncio_future_blocking = True
        yield self

    @property
    def is_awaited(self) -> bool:
        """Whether a task waits, and nobody has told it yet to go on."""
        return self._wake is not None

    def give(self, frames: list[bytes]) -> None:
        """Let the task go on now, with these. Only the loop may call that, not another task."""
        self.frames = self.frames + frames if self.frames else frames
        wake = self._wake
        if wake is not None:
            self._wake = None
            self._context.run(wake, self)  # type: ignore[union-attr]

    def end(self) -> None:
        """Let it go on in the loop's next turn."""
        wake, self._wake = self._wake, None
        if wake is not None:
            self._loop.call_soon(wake, self, context=self._context)

    # --- What a task calls

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def add_done_callback(self, wake: Callable[[Any], object], *, context: Context) -> None:
        self._wake, self._context = wake, context

    def cancel(self, msg: Any = None) -> bool:
        if self._wake is None:
            return False
        self._cancelled = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        self._given_up()
        self.end()
        return True

    def result(self) -> None:
        if self._cancelled is not None:
            cancelled, self._cancelled = self._cancelled, None
            raise cancelled
