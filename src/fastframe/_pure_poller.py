"""Many descriptors at once: which are ready, and what has come on those that are readers'."""

from __future__ import annotations

import operator

from ._readiness import READ, readiness

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ._pure_reader import FrameReader

    Event = tuple[Any, list[bytes] | Exception | None, int]

AT_ONCE = 64
"""Descriptors to receive from before anything is done about it: what came is still in the processor's cache then."""


class Watched:
    """A descriptor."""

    __slots__ = ("active", "reader", "target", "wants")

    def __init__(self, target: Any, wants: int) -> None:
        self.target, self.wants = target, wants
        self.reader: FrameReader | None = None
        self.active = 0.0


class Poller:
    """Watches descriptors, and receives what comes on them.

    clock: gives the time, once a call; `now` is what it gave.
    most: so many frames of one descriptor are nothing to look at.

    Not for more than one thread at a time.
    """

    __slots__ = ("_at", "_clock", "_events", "_most", "_readiness", "_ready", "_time", "_watched")

    def __init__(self, clock: Callable[[], float], most: int) -> None:
        self._clock, self._most = clock, operator.index(most)
        self._readiness = readiness()
        self._watched: dict[int, Watched] = {}
        self._events: list[tuple[int, int]] = []
        self._at = 0  # the next event to look at
        self._ready: list[Event] = []
        self._time = clock()

    @property
    def now(self) -> float:
        """The time, as of the last call of `poll`."""
        return self._time

    def watch(self, target: Any, number: int, wants: int) -> None:
        """Wait for READ, WRITE, or both on this descriptor; 0: for nothing. OSError if the system can't."""
        watched = self._watched.get(number)
        if watched is None or watched.target is not target:
            watched = Watched(target, 0)
        if wants != watched.wants:
            self._readiness.watch(number, wants, watched.wants)
        watched.wants = wants
        self._watched[number] = watched

    def fileno(self) -> int:
        """A descriptor that can be read when one of those watched is ready: for another loop to watch."""
        return self._readiness.fileno()

    def receive(self, number: int, reader: FrameReader | None) -> None:
        """If something can be received on it, and no more is to be told, have this reader read. None: only tell.

        While it is `_patient`, it is only told.
        """
        self._watched[number].reader = reader

    def forget(self, target: Any, number: int) -> None:
        """The descriptor is about to be closed, or is somebody else's by now."""
        watched = self._watched.get(number)
        if watched is not None and watched.target is target:
            del self._watched[number]
            if watched.wants:
                try:
                    self._readiness.watch(number, 0, watched.wants)
                except OSError:
                    pass  # somebody has closed it

    def active(self, number: int) -> float:
        """When something was last received on it by `poll`, on the clock given; 0: never."""
        return self._watched[number].active

    def poll(self, timeout: float | None) -> list[Event]:
        """Wait for so many seconds at most, None for ever. Gives, for each descriptor that is ready, its target and:

            frames, 0       what was read, and there is nothing else to look at
            frames, 1       what was read, perhaps []: more than `most`, or bytes are held behind them, or an error
            Exception, 1    what reading has raised
            None, event     it isn't read here: READ, WRITE or other bits

        Those that are many come in several calls, of which only the first waits. An exception of a signal
        handler loses nothing.
        """
        if self._at == len(self._events):
            self._events, self._at = self._readiness.poll(timeout), 0
        self._time = self._clock()
        while self._at < len(self._events) and len(self._ready) < AT_ONCE:
            number, event = self._events[self._at]
            self._at += 1
            watched = self._watched.get(number)
            if watched is None:
                continue  # closed since then
            if watched.reader is None or event != READ or watched.reader._patient:
                self._ready.append((watched.target, None, event))
                continue
            watched.active = self._time
            self._ready.append(self._read(watched.target, watched.reader))
        ready, self._ready = self._ready, []
        return ready

    def _read(self, target: Any, reader: FrameReader) -> Event:
        try:
            frames = reader.read()
        except Exception as error:
            return target, error, 1
        odd = not frames or len(frames) > self._most or reader.error is not None or reader.buffered > 0
        return target, frames, int(odd)

    def close(self) -> None:
        """Forget all of them."""
        self._watched.clear()
        self._events, self._at = [], 0
        self._ready.clear()
        self._readiness.close()
