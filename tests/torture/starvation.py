"""Calls whose allocations fail."""

from collections.abc import Callable
from typing import Any

try:
    import _testcapi
except ImportError:
    _testcapi = None

PROBES = 200
"""No more than there are ints that the interpreter keeps at hand."""

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
        self.is_short = failed = False
        _testcapi.set_nomemory(start, start + times if times else 0)
        try:
            return call(*args, **named)
        except MemoryError:
            failed = True
            raise
        finally:
            # A failure that is still to come may be meant for what follows one in the call: not if it is the only one.
            self.is_short = (not failed or times == 1) and has_failures_left()
            _testcapi.remove_mem_hooks()


def has_failures_left() -> bool:
    """Whether one of the next allocations fails. What is called here makes none of its own."""
    probe = 0
    while probe < PROBES:
        try:
            [None]  # noqa: B018 - an allocation
        except MemoryError:
            return True
        probe += 1
    return False
