"""The torture of allocations: in each call of a connection, each of them fails, once or with all behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import fastframe as ff

from .parts import WARM, Outcome, Strays, measured, played
from .scenarios import SCENARIOS
from .shim import Shim
from .stage import Stage

try:
    import _testcapi
except ImportError:
    _testcapi = None

NAMES = [
    *("connect_tcp", "connect_unix", "one_by_one_pair", "one_by_one_tls13", "one_by_one_pipes", "one_by_one_streams"),
    *("one_by_one_processes", "iteration", "poll", "recv_into", "no_readahead_pair", "descriptors", "clocks"),
    *("many_small_batch", "many_large_tcp", "many_large_batch", "flush_after_interruption", "half_close_pipes"),
    *("close_flushes_tcp", "close_unread_pair", "until_eof", "delimiter", "netstring", "content_length"),
]
"""Scenarios that differ in the memory they need."""

PROBES = range(1000)
MOST = 400
"""Allocations of a call that are looked at."""


@dataclass(frozen=True)
class Starvation:
    """In the n-th call of a scenario's connections the k-th allocation fails, and with `for_ever` all behind it."""

    n: int
    k: int
    for_ever: bool
    kind = "starvation"
    is_harmless = is_passing = False

    @property
    def counted_as(self) -> str:
        return "for ever" if self.for_ever else "once"

    def __str__(self) -> str:
        return f"call #{self.n} allocation #{self.k}{', and ever after' if self.for_ever else ''}"

    def allows(self, error: Exception) -> bool:
        """Whether a call may raise this: there is no memory, or a direction has ended because there was none."""
        return isinstance(error, MemoryError | ff.ConnectionLost | ff.TruncatedFrame) or type(error) in (
            ff.FrameTimeout,
            ff.SendInterrupted,
            ff.ConnectionClosed,
        )

    def allows_no_connection(self, error: Exception) -> bool:
        return isinstance(error, MemoryError)


class StarvedStage(Stage):
    """Counts the calls, and starves one of them."""

    def __init__(self, shim: Shim, case: Starvation | None) -> None:
        super().__init__(shim, case)
        self._case = case
        self.calls = 0
        self.is_short = False
        """Whether the call made fewer allocations than were let through."""

    def api(self, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        self.calls += 1
        if self._case is None or self.calls != self._case.n:
            return call(*args, **named)
        start = self._case.k
        _testcapi.set_nomemory(start, 0 if self._case.for_ever else start + 1)
        try:
            return call(*args, **named)
        finally:
            try:
                for _ in PROBES:
                    [None]  # noqa: B018 - an allocation
            except MemoryError:
                self.is_short = True
            _testcapi.remove_mem_hooks()


class Memory:
    """Each allocation fails."""

    def __init__(self, shim: Shim, strays: Strays) -> None:
        self._shim, self._strays = shim, strays
        self._is_over = False

    def missing(self) -> str | None:
        return None if _testcapi is not None else "this Python has no _testcapi"

    def names(self) -> list[str]:
        return [name for name in NAMES if name in SCENARIOS]

    def cases(self, engine: str, name: str) -> Iterator[Starvation]:
        """The allocations of one call after those of the other, until `run` has found that there are no more."""
        for _ in range(WARM):
            stage = StarvedStage(self._shim, None)
            self._shim.reset()
            played(name, stage, self._strays, int)
        for n in range(1, stage.calls + 1):
            self._is_over = False
            for k in count():
                if self._is_over or k == MOST:
                    break
                yield Starvation(n, k, False)
                yield Starvation(n, k, True)

    def run(self, name: str, case: Starvation) -> Outcome:
        # CPython 3.13 itself leaks the attributes of objects that are freed while there is no memory at all.
        return measured(lambda: self._play(name, case), leaks=not case.for_ever)

    def _play(self, name: str, case: Starvation) -> tuple[int, list[str]]:
        self._shim.reset()
        stage = StarvedStage(self._shim, case)
        notes = played(name, stage, self._strays, int)
        self._is_over = self._is_over or (stage.is_short and not case.for_ever)
        return int(not stage.is_short), notes
