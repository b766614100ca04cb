"""How many frames fill a run."""

from __future__ import annotations

from contenders import Contender
from programs import Programs
from results import Case

__all__ = ["Fit"]

GROWTH = 2.0
"""What a frame of the next size is taken to cost more, until it is known; but as many times as it is larger, from LARGE on."""
LARGE = 65536
STEP = 20
"""How much longer than the last one a trial may be."""


class Fit:
    """What is known of how long the contenders take."""

    def __init__(self, programs: Programs, seconds: float) -> None:
        """seconds: of CPU time, for each run."""
        self._programs = programs
        self._seconds = seconds
        self._known: dict[tuple[str, Case], tuple[Case, float]] = {}

    def frames(self, contender: Contender, case: Case) -> int:
        """The frames that take the time: by the last run of the same case, or of smaller frames, else by trials."""
        key = contender.name, case._replace(size=0)
        if key not in self._known:
            self._try(contender, case)
        last, seconds = self._known[key]
        growth = 1 if last == case else max(GROWTH, case.size / max(last.size, LARGE))
        return round(self._seconds / seconds / growth) + 1

    def learn(self, contender: Contender, case: Case, seconds: float) -> None:
        """Note what a frame has taken."""
        self._known[contender.name, case._replace(size=0)] = case, seconds

    def _try(self, contender: Contender, case: Case) -> None:
        frames = case.connections * case.in_flight * 4
        while True:
            measured = self._programs.measure(contender, case, frames)
            if measured.cpu >= self._seconds / STEP:
                break
            frames = STEP * measured.frames
        self.learn(contender, case, measured.cpu / measured.frames)
