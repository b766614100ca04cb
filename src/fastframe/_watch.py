"""How long a peer may take for one frame, and how long nothing may come at all."""

from __future__ import annotations

from time import monotonic

from ._deadline import seconds
from .errors import FrameTimeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._engine import FrameReader, FrameWriter


class Watch:
    """The clocks of one connection. They run on between its calls, and are looked at when a receive has to wait."""

    __slots__ = ("_begun", "_frames", "_last", "_moved", "frame", "idle")

    def __init__(self, frame: float | None, idle: float | None) -> None:
        self.frame = seconds(frame)
        self.idle = seconds(idle)
        self._begun = 0.0
        self._frames = -1  # how many there were before the one that has begun
        self._moved: object = None
        self._last = monotonic()

    def __bool__(self) -> bool:
        return self.frame is not None or self.idle is not None

    def until(self, reader: FrameReader, writer: FrameWriter) -> float | None:
        """The time at which a receive that has found no whole frame gives up; None if it never does."""
        now = monotonic()
        received, held = reader.stats, reader.buffered
        moved = (received.bytes, held, writer.stats.bytes, writer.pending)
        if moved != self._moved:
            self._moved, self._last = moved, now
        if not held:
            self._frames = -1
        elif self._frames != received.frames:
            self._frames, self._begun = received.frames, now
        times = []
        if self.idle is not None:
            times.append(self._last + self.idle)
        if self.frame is not None and held:
            times.append(self._begun + self.frame)
        return min(times, default=None)

    def why(self, reader: FrameReader) -> FrameTimeout:
        """What to raise at that time."""
        held = reader.buffered
        if self.frame is not None and held and monotonic() >= self._begun + self.frame:
            error = FrameTimeout(f"{held} bytes of a frame have come, and not the rest within {self.frame:g} seconds")
            error.clock = "frame"
        else:
            error = FrameTimeout(f"nothing has come for {self.idle:g} seconds")
            error.clock = "idle"
        return error
