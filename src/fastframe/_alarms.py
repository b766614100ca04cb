"""Times at which something is looked at. Each has one at a time; setting it anew, for later, costs nothing.

So a deadline that every byte puts off is looked at when it would have come, and then set anew: the heap isn't touched in between.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Alarmed(Protocol):
        """What can be looked at."""

        alarm: float | None
        """When that is, on the clock that the others use too. None: not at all."""

        def look(self) -> None:
            """It is the time."""


_TOLERATED = 64
"""So many stale entries, and half of all, are kept: with those whom they belong to."""


class Alarms:
    """A heap of them."""

    def __init__(self) -> None:
        self.heap: list[tuple[float, int, Alarmed]] = []
        """Empty, if nothing is to be looked at."""
        self._number = count()
        self._stale = 0  # entries that aren't the one's alarm any more

    def set(self, one: Alarmed, when: float) -> None:
        """Look at this one then, unless it is looked at earlier: who is looked at too early sets it again."""
        if one.alarm is not None:
            if one.alarm <= when:
                return
            self._stale += 1
        one.alarm = when
        heappush(self.heap, (when, next(self._number), one))

    def forget(self, one: Alarmed) -> None:
        """Don't look at it any more."""
        if one.alarm is None:
            return
        one.alarm = None
        self._stale += 1
        if self._stale > len(self.heap) // 2 + _TOLERATED:
            self.heap = [entry for entry in self.heap if entry[2].alarm == entry[0]]
            heapify(self.heap)
            self._stale = 0

    def wait(self, now: float) -> float | None:
        """Seconds until the next; None if there is none."""
        heap = self.heap
        while heap and heap[0][2].alarm != heap[0][0]:
            heappop(heap)
            self._stale -= 1
        return max(heap[0][0] - now, 0.0) if heap else None

    def ring(self, now: float) -> None:
        """Look at all whose time it is."""
        for _ in range(len(self.heap)):
            if not self.heap or self.heap[0][0] > now:
                return
            when, _, one = heappop(self.heap)
            if one.alarm == when:
                one.alarm = None
                one.look()
            else:
                self._stale -= 1

    def clear(self) -> None:
        """Forget all."""
        self.heap.clear()
        self._stale = 0
