"""Calls whose allocations fail."""

from collections.abc import Callable
from typing import Any

try:
    import _testcapi
except ImportError:
    _testcapi = None

PROBES = range(1000)

CONFUSED = ("returned NULL without setting an exception", "error return without exception set", "can't allocate lock")
"""What CPython itself says where it should have said MemoryError."""


def missing() -> str | None:
    """Why it can't be done here, or None if it can."""
    return None if _testcapi is not None else "this Python has no _testcapi"


def is_confused(error: BaseException) -> bool:
    """Whether CPython has lost a MemoryError of its own."""
    return isinstance(error, SystemError | RuntimeError) and str(error).endswith(CONFUSED)


class Starved:
    """Makes a call without memory."""

    def __init__(self) -> None:
        self.is_short = False
        """Whether the call made fewer allocations than were let through."""

    def call(self, start: int, times: int, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Of the call's allocations let `start` through and then so many fail, or with 0 times all."""
        _testcapi.set_nomemory(start, start + times if times else 0)
        try:
            return call(*args, **named)
        finally:
            # All of those that are to fail are still to come only if the call hasn't got so far.
            failed = 0
            for _ in PROBES if times else PROBES[:1]:
                try:
                    [None]  # noqa: B018 - an allocation
                except MemoryError:
                    failed += 1
            _testcapi.remove_mem_hooks()
            self.is_short = failed == times
