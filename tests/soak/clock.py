"""How late the machine is by itself: on a busy one every thread is, whatever wakes it."""

import threading
import time
from collections import deque
from typing import Self

TICK = 0.005


class Clock(threading.Thread):
    """Sleeps for a tick, again and again, in a with block, and notes how late it was woken."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._ticks: deque[tuple[float, float]] = deque(maxlen=10_000)  # when each should have ended, and when it did
        self._stops = threading.Event()

    def run(self) -> None:
        while not self._stops.is_set():
            due = time.monotonic() + TICK
            time.sleep(TICK)
            self._ticks.append((due, time.monotonic()))

    def late_between(self, start: float, stop: float) -> float:
        """The seconds by which it was late at most, of those ticks that these times touch."""
        while not self._ticks or self._ticks[-1][0] - TICK < stop:
            time.sleep(TICK)
        return max((end - due for due, end in list(self._ticks) if end > start and due - TICK < stop), default=0.0)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stops.set()
        self.join()
