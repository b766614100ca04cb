"""The descriptors of an event loop's connections, in a poller of our own, of which the loop watches one descriptor.

What is done for each readiness is the engine's then, and not the loop's: many clients are received from before one of
them is handled, on any loop that has add_reader.
"""

from __future__ import annotations

import asyncio
import os
import sys
from time import monotonic
from weakref import WeakKeyDictionary, ref

from ._engine import Poller

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextvars import Context
    from typing import Any, Protocol

    from ._aio_sending import Direct

    class Target(Protocol):
        """What has a descriptor here."""

        loop: asyncio.AbstractEventLoop
        context: Context
        plain: bool
        """Whether frames can be handed over with nothing else to be seen to."""
        hand: Callable[[list[bytes]], object]
        """Takes frames."""

        def ready(self, what: list[bytes] | Exception | None, event: int) -> None:
            """So `Poller.poll` says."""

        def failed(self, error: BaseException) -> None:
            """`hand` has raised."""


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, ref[Hub]] = WeakKeyDictionary()
"""The loop keeps its hub, as long as that has descriptors: both go when the loop is closed and forgotten."""


class Hub:
    """Of one loop. It is there while it has descriptors."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """NotImplementedError, ValueError or OSError if such a thing can't be watched here."""
        self._poller = Poller(monotonic, sys.maxsize)
        self._targets: set[Target] = set()
        self.gathering: list[Direct] | None = None
        """In a turn, those that have something to send at its end."""
        self._events: Iterator[tuple[Any, Any, int]] = iter(())
        try:
            self._number = self._poller.fileno()
            loop.add_reader(self._number, self._turn)
        except BaseException:
            self._poller.close()
            raise

    def add(self, target: Target, number: int, reader: Any) -> None:
        """Have a descriptor read by this reader, or, while that is patient, the target told."""
        self._targets.add(target)
        self._poller.watch(target, number, 0)
        self._poller.receive(number, reader)

    def watch(self, target: Target, number: int, wants: int) -> None:
        """Wait for READ, WRITE, both or nothing on it from now on."""
        self._poller.watch(target, number, wants)

    def remove(self, target: Target, number: int) -> None:
        """The descriptor is about to be closed."""
        if target not in self._targets:
            return
        self._targets.remove(target)
        self._poller.forget(target, number)
        if not self._targets:
            self._close(target.loop)

    def _close(self, loop: asyncio.AbstractEventLoop) -> None:
        if _known(loop) is self:
            del _hubs[loop]
        if not loop.is_closed():
            loop.remove_reader(self._number)
        self._poller.close()

    def _turn(self) -> None:
        self._handle()  # what a turn has left that SystemExit or KeyboardInterrupt broke off
        if not self._targets:
            return
        self._events = iter(self._poller.poll(0))
        gathering: list[Direct] = []
        self.gathering = gathering
        try:
            self._handle()
        finally:
            self.gathering = None
            self._send(gathering)

    def _send(self, gathering: list[Direct]) -> None:
        while gathering:
            outlet = gathering.pop()
            try:
                outlet.send_gathered()
            except BaseException:
                asyncio.get_running_loop().call_soon(self._send, gathering)
                raise

    def _handle(self) -> None:
        for target, what, event in self._events:
            try:
                if event or not target.plain:
                    target.context.run(target.ready, what, event)
                else:
                    target.hand(what)
            except (SystemExit, KeyboardInterrupt):
                target.loop.call_soon(self._turn)
                raise
            except BaseException as error:
                target.failed(error)


def hub_of(loop: asyncio.AbstractEventLoop) -> Hub | None:
    """The loop's hub; None where there can't be one: Windows, and loops without add_reader."""
    hub = _known(loop)
    if hub is None and os.name == "posix":
        try:
            hub = Hub(loop)
        except (NotImplementedError, ValueError, OSError):
            return None
        _hubs[loop] = ref(hub)
    return hub


def _known(loop: asyncio.AbstractEventLoop) -> Hub | None:
    known = _hubs.get(loop)
    return None if known is None else known()
