"""Calls that must raise, and calls that a signal handler must break off."""

import signal
from collections.abc import Callable
from typing import Any

TICK = 0.0005
"""Seconds after which a handler breaks a waiting call off."""


def raises(kind: type[BaseException], call: Callable[..., object], *args: Any, **named: Any) -> None:
    """The call raises just this."""
    try:
        call(*args, **named)
    except BaseException as error:
        if type(error) is kind:
            return
        raise AssertionError(f"{error!r} instead of {kind.__name__}") from error
    raise AssertionError(f"{call!r} doesn't raise {kind.__name__}")


class Interrupt(BaseException):
    """What the handler raises."""


def broken_off(call: Callable[..., object], *args: Any) -> None:
    """The call waits, and an exception of a signal handler passes through it."""
    raised: list[bool] = []

    def interrupt(*_: object) -> None:
        if not raised:
            raised.append(True)
            raise Interrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        # Again and again: a signal just before the system call that waits doesn't end it.
        signal.setitimer(signal.ITIMER_REAL, TICK, TICK)
        call(*args)
    except Interrupt:
        return
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    raise AssertionError("the call isn't broken off")
