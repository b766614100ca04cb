"""Timeouts: seconds of one monotonic deadline for a whole call. None waits for ever, 0 only tries."""

from __future__ import annotations

import threading
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def seconds(timeout: Any) -> float | None:
    """A timeout in seconds, checked; None for ever, and for what no clock reaches. TypeError or ValueError."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not hasattr(timeout, "__float__"):
        raise TypeError(f"timeout must be a number of seconds or None, not {type(timeout).__name__}")
    number = float(timeout)
    if not number >= 0:
        raise ValueError(f"timeout must be at least 0 seconds, not {timeout}")
    return number if number < threading.TIMEOUT_MAX else None


def deadline_in(number: float | None) -> float | None:
    """The deadline that many seconds from now."""
    return None if number is None else monotonic() + number


def remaining(deadline: float | None) -> float | None:
    """Seconds until the deadline, at least 0."""
    return None if deadline is None else max(0.0, deadline - monotonic())
