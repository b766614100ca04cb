"""What a server allows its clients, in one place."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ._deadline import seconds

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a server allows: sizes in bytes, times in seconds. A time or a number that is None has no limit.

    How large a frame may be is said by its framing: `max_size`. TypeError or ValueError for what can't be meant.
    """

    max_connections: int | None = None
    """Clients at once. Further ones wait in the system's queue until one leaves."""
    max_pending: int = 16 << 20
    """Bytes that wait for one client to take them. Who lets more come is closed, with QueueFull."""
    max_held: int | None = 1 << 30
    """Bytes of all clients together: of unfinished frames and waiting to be sent. Beyond, those that hold most are closed."""
    high_water: int = 64 << 10
    """While more than these bytes wait for a client, nothing is received from it,"""
    low_water: int = 16 << 10
    """until no more than these do."""
    idle_timeout: float | None = None
    """How long a client may neither send nor take a byte; up to twice as long, for one that only takes."""
    frame_timeout: float | None = 60.0
    """How long a frame may take, from its first byte to its last."""
    handshake_timeout: float | None = 10.0
    """How long TLS's handshake may take."""
    close_timeout: float | None = 5.0
    """How long a client that is being closed has to take what waits for it. Then it is cut off."""
    backlog: int = 1024
    """Connections that wait to be accepted. The system has a limit of its own."""
    turn_bytes: int = 64 << 10
    """What is received of one client before it is the others' turn."""
    turn_frames: int = 256
    """The frames of one client that are handled before it is the others' turn."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_timeout"):
                try:
                    object.__setattr__(self, field.name, seconds(value))
                except (TypeError, ValueError) as error:
                    raise type(error)(f"{field.name}: {error}") from None
                continue
            if value is None and field.name in ("max_connections", "max_held"):
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{field.name} must be an int, not {type(value).__name__}")
            least = 0 if field.name in ("max_pending", "max_held", "high_water", "low_water") else 1
            if value < least:
                raise ValueError(f"{field.name} must be at least {least}, not {value}")
        if self.low_water > self.high_water:
            raise ValueError(f"low_water must be 0 to high_water, {self.high_water}, not {self.low_water}")
