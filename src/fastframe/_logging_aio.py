"""Log records in an event loop."""

from __future__ import annotations

import asyncio
from functools import partial
from time import monotonic

from ._journal import Journal
from ._logging_records import MAX_SIZE, BadRecord, checked, loads
from .asyncio import FrameProtocol
from .presets import preset

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from collections.abc import Callable
    from typing import Any

__all__ = ["RecordProtocol", "start_server"]

_journal = Journal(monotonic)


class RecordProtocol(FrameProtocol):
    """Receives the records of one client, for loop.create_server and its like.

    handle: called with each record. What it raises goes to the loop's exception handler, and aborts the connection.
        By default the record goes to the logger of its name, as logging.getLogger(record.name).handle.
    max_size: bytes of a record. One that is larger closes the connection: so it says the logger `fastframe.server`, at INFO.

    What is no record, or holds what isn't plain, is skipped: so it says that logger, at WARNING, ten lines a second at most in all.
    """

    def __init__(
        self, handle: Callable[[logging.LogRecord], object] | None = None, *, max_size: int = MAX_SIZE
    ) -> None:
        super().__init__(preset("logging_socket").replace(max_size=max_size))
        self._handle = checked(handle)

    def frames_received(self, frames: list[bytes]) -> None:
        """Handle what they hold; tell of those that hold no record."""
        for frame in frames:
            try:
                record = loads(frame)
            except BadRecord as error:
                _journal.skipped(self, error)  # type: ignore[arg-type]
            else:
                self._handle(record)

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is over: tell why, if not by its normal end."""
        if exc is not None:
            _journal.left(self, exc, False)  # type: ignore[arg-type]

    @property
    def peer_address(self) -> Any:
        """The client's, as socket.getpeername gives it; None if it isn't known."""
        return self.transport.get_extra_info("peername")


async def start_server(
    host: Any = None,
    port: Any = None,
    *,
    handle: Callable[[logging.LogRecord], object] | None = None,
    max_size: int = MAX_SIZE,
    **kwargs: Any,
) -> asyncio.Server:
    """Listen on TCP for records; returns the loop's own server. As RecordProtocol; kwargs: what loop.create_server takes."""
    RecordProtocol(handle, max_size=max_size)  # raises now for what can't be meant, not for each client
    factory = partial(RecordProtocol, handle, max_size=max_size)
    return await asyncio.get_running_loop().create_server(factory, host, port, **kwargs)
