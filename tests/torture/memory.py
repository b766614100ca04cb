"""The torture of allocations: in each call of a connection, each of them fails, alone or with some behind it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import fastframe as ff

from . import starvation
from .parts import WARM, Outcome, Strays, measured, played
from .scenarios import SCENARIOS
from .shim import Shim
from .stage import Stage
from .starvation import Starved, is_confused

NAMES = [
    *("connect_tcp", "connect_unix", "one_by_one_pair", "one_by_one_processes", "iteration", "poll"),
    *("recv_into", "no_readahead_pair", "clocks", "many_small_batch", "many_large_tcp", "many_large_batch"),
    *("flush_after_interruption", "half_close_tcp", "close_flushes_tcp", "close_unread_pair"),
    *("until_eof", "delimiter", "netstring", "content_length"),
]
"""Scenarios that differ in the memory they need, on the Cython engine. Not TLS, files, descriptors that are sent, nor the
pure engine: there it is Python's own functions that receive and send, and without memory for their answer it is lost. Nor
pipes, for whose alarm os.pipe() opens two descriptors that it loses then, too."""

TIMES = {"cython": (1, 4), "pure": (1,)}
"""How often in a row, in a decoder; in connections once. What Python code does about it takes memory itself. Not for ever: without any memory CPython's interpreter never leaves the handler of an exception (it makes an int for
the place, and if that fails goes to the handler again)."""

MOST = 400
"""Allocations of a call that are looked at."""


@dataclass(frozen=True)
class Starvation:
    """In the n-th call of a scenario's connections the k-th allocation fails, and `times - 1` behind it."""

    n: int
    k: int
    times: int
    kind = "starvation"
    is_harmless = is_passing = is_of_close = False

    @property
    def counted_as(self) -> str:
        return "once" if self.times == 1 else f"{self.times} times" if self.times else "for ever"

    def __str__(self) -> str:
        return f"call #{self.n} allocation #{self.k}, {self.counted_as}"

    def allows(self, error: Exception) -> bool:
        """Whether a call may raise this: there is no memory, or a direction has ended because there was none."""
        if isinstance(error, ff.FrameError):
            return not isinstance(error, ff.ConcurrentUse | ff.QueueFull | ff.InvalidFrame)
        return isinstance(error, MemoryError) or is_confused(error)

    def allows_at_close(self, error: Exception) -> bool:
        return isinstance(error, MemoryError) or is_confused(error)

    def allows_no_connection(self, error: Exception) -> bool:
        return isinstance(error, MemoryError) or is_confused(error)


class StarvedStage(Stage):
    """Counts the calls, and starves one of them."""

    def __init__(self, shim: Shim, case: Starvation | None) -> None:
        super().__init__(shim, case)
        self._case = case
        self._starved = Starved()
        self.calls = 0

    @property
    def is_short(self) -> bool:
        """Whether the call made fewer allocations than were let through."""
        return self._starved.is_short

    def api(self, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        self.calls += 1
        if self._case is None or self.calls != self._case.n:
            return call(*args, **named)
        return self._starved.call(self._case.k, self._case.times, call, *args, **named)


class Memory:
    """Each allocation fails."""

    def __init__(self, shim: Shim, strays: Strays) -> None:
        self._shim, self._strays = shim, strays
        self._is_over = False

    def missing(self) -> str | None:
        return starvation.missing()

    def names(self) -> list[str]:
        return [name for name in NAMES if name in SCENARIOS]

    def cases(self, engine: str, name: str) -> Iterator[Starvation | None]:
        """The allocations of one call after those of the other, until `run` has found that there are no more."""
        if engine != "cython":
            return
        for _ in range(WARM):
            stage = StarvedStage(self._shim, None)
            self._shim.reset()
            played(name, stage, self._strays, int)
        for n in range(1, stage.calls + 1):
            self._is_over = False
            for k in range(MOST):
                yield None if self._is_over else Starvation(n, k, 1)

    def run(self, name: str, case: Starvation) -> Outcome:
        return measured(lambda: self._play(name, case))

    def _play(self, name: str, case: Starvation) -> tuple[int, list[str]]:
        self._strays.is_orderly = False
        self._shim.reset()
        stage = StarvedStage(self._shim, case)
        notes = played(name, stage, self._strays, int)
        self._is_over = self._is_over or stage.is_short
        return int(not stage.is_short), notes
