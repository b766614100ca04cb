"""What a server says, by `logging`: never a peer's bytes unescaped, and not more lines than somebody can read."""

from __future__ import annotations

import logging

from .errors import FrameError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ._client import Client

LINES_A_SECOND = 10
"""So many ends and beginnings are told one by one; of those beyond, how many there were."""


class Journal:
    """The logger `fastframe.server`, and how much was said in this second.

    DEBUG: clients that come and leave. INFO: those that leave with an error. WARNING: frames that were skipped, no descriptors or memory
    left, a worker that has died. ERROR: what a handler raised, with its traceback.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.logger = logging.getLogger("fastframe.server")
        self._clock = clock
        self._second = -1
        self._lines = 0
        self._unsaid = 0

    def came(self, client: Client) -> None:
        """A client was accepted."""
        if self.logger.isEnabledFor(logging.DEBUG):
            self._say(logging.DEBUG, "%s: connected", _name(client))

    def left(self, client: Client, cause: BaseException | None, aborted: bool) -> None:
        """A client has gone."""
        level = logging.DEBUG if cause is None else logging.INFO
        if self.logger.isEnabledFor(level):
            how = "cut off" if aborted else "closed"
            if cause is None:
                self._say(level, "%s: %s", _name(client), how)
            else:
                self._say(level, "%s: %s: %s: %s", _name(client), how, type(cause).__name__, _text(cause))

    def skipped(self, client: Client, error: FrameError) -> None:
        """A whole frame of a client's means nothing, and those behind it go on."""
        if self.logger.isEnabledFor(logging.WARNING):
            self._say(logging.WARNING, "%s: skipped: %s: %s", _name(client), type(error).__name__, _text(error))

    def handler(self, client: Client, error: BaseException) -> None:
        """A handler has raised."""
        if self._may():
            self.logger.error("%s: the handler has failed", _name(client), exc_info=error)

    def exhausted(self, error: OSError) -> None:
        """No client can be accepted for now."""
        self.logger.warning("no client can be accepted for now: %s", error.strerror or error)

    def refused(self, error: Exception) -> None:
        """A client was accepted and can't be served."""
        self._say(logging.INFO, "a client can't be served: %s", getattr(error, "strerror", None) or ascii(str(error)))

    def _say(self, level: int, text: str, *given: object) -> None:
        if self._may():
            self.logger.log(level, text, *given)

    def _may(self) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second, self._lines = second, 0
            if self._unsaid:
                unsaid, self._unsaid = self._unsaid, 0
                self.logger.info("%d more like these", unsaid)
        self._lines += 1
        if self._lines > LINES_A_SECOND:
            self._unsaid += 1
            return False
        return True


def _name(client: Client) -> str:
    """The client's address, as far as it can still be asked for."""
    try:
        address: Any = client.peer_address
    except (OSError, ValueError):
        return "client"
    if isinstance(address, tuple):
        return f"client {address[0]}:{address[1]}"
    return "client"


def _text(error: BaseException) -> str:
    text = str(error)
    return text if isinstance(error, FrameError) else ascii(text)
