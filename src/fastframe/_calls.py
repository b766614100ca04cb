"""What the calls of both directions share: a deadline, and waiting."""

from __future__ import annotations

from ._deadline import deadline_in, remaining, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._engine import FrameReader, FrameWriter
    from ._gate import Gate
    from ._transport import Transport


class _Own:
    __slots__ = ()

    def __repr__(self) -> str:
        return "its own"


OWN: Any = _Own()
"""The default of a timeout: the connection's, or in `wrap` the source's."""


class Calls:
    """The base of a connection."""

    _gate: Gate
    _transport: Transport
    _timeout: float | None
    _reader: FrameReader
    _writer: FrameWriter

    def _until(self, timeout: float | None) -> float | None:
        """The deadline of a call that begins now."""
        return deadline_in(self._timeout if timeout is OWN else seconds(timeout))

    def _wait(self, for_write: bool, deadline: float | None) -> bool:
        """Wait until something can be sent, or received: True. False when the time is up."""
        left = remaining(deadline)
        if left == 0:
            return False
        ready = self._transport.wait(for_write, left)
        self._gate.check()
        return ready
