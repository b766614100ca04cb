"""Which of many descriptors can be read or written: epoll and kqueue themselves where they are, `selectors` elsewhere.

selectors makes an object of each event, which costs as much as all else that is done for it.
"""

from __future__ import annotations

import errno
import os
import select
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_AT_ONCE = 128
"""Events to ask for in one call."""
READ, WRITE = 1, 4
"""What is waited for, and told: bits. What else is told means that the descriptor is broken, or has ended."""


class Readiness:
    """Descriptors, and what is waited for on each."""

    poll: Callable[[float | None], list[tuple[int, int]]]
    """Wait for so many seconds at most, None for ever; gives the descriptors that are ready, and what for."""

    def watch(self, number: int, wants: int, before: int) -> None:
        """Wait for what `wants` says on this descriptor from now on; `before`: for what until now, 0 for nothing."""
        raise NotImplementedError

    def fileno(self) -> int:
        """Can be read when one of them is ready. OSError where there is no such descriptor."""
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    def close(self) -> None:
        """Forget all of them."""


class Epoll(Readiness):
    """Linux."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        # Those that are more come with the next call, before others that were told.
        self.poll = partial(self._epoll.poll, maxevents=_AT_ONCE)

    def watch(self, number: int, wants: int, before: int) -> None:
        # What isn't wanted is taken out: epoll would tell of a hang-up even then, again and again.
        if not wants:
            self._epoll.unregister(number)
        elif before:
            self._epoll.modify(number, wants)
        else:
            self._epoll.register(number, wants)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def close(self) -> None:
        self._epoll.close()


class Kqueue(Readiness):
    """The BSDs and macOS."""

    def __init__(self) -> None:
        self._kernel: Any = select
        self._kqueue = self._kernel.kqueue()
        self.poll = self._poll

    def watch(self, number: int, wants: int, before: int) -> None:
        kernel, changes = self._kernel, []
        for bit, which in ((READ, kernel.KQ_FILTER_READ), (WRITE, kernel.KQ_FILTER_WRITE)):
            if (wants ^ before) & bit:
                changes.append(kernel.kevent(number, which, kernel.KQ_EV_ADD if wants & bit else kernel.KQ_EV_DELETE))
        self._kqueue.control(changes, 0, 0)

    def _poll(self, timeout: float | None) -> list[tuple[int, int]]:
        write = self._kernel.KQ_FILTER_WRITE
        events = self._kqueue.control(None, _AT_ONCE, timeout)
        return [(event.ident, WRITE if event.filter == write else READ) for event in events]

    def fileno(self) -> int:
        number: int = self._kqueue.fileno()
        return number

    def close(self) -> None:
        self._kqueue.close()


class Selectors(Readiness):
    """Anywhere else."""

    def __init__(self) -> None:
        import selectors

        self._selector = selectors.DefaultSelector()
        self._bits = ((READ, selectors.EVENT_READ), (WRITE, selectors.EVENT_WRITE))
        self.poll = self._poll

    def watch(self, number: int, wants: int, before: int) -> None:
        if before:
            self._selector.unregister(number)
        if wants:
            self._selector.register(number, sum(theirs for ours, theirs in self._bits if wants & ours))

    def _poll(self, timeout: float | None) -> list[tuple[int, int]]:
        ready = self._selector.select(timeout)
        return [(key.fd, sum(ours for ours, theirs in self._bits if events & theirs)) for key, events in ready]

    def close(self) -> None:
        self._selector.close()


def readiness() -> Readiness:
    """The best one here."""
    if hasattr(select, "epoll"):
        return Epoll()
    return Kqueue() if hasattr(select, "kqueue") else Selectors()
