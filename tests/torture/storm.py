"""The torture by signals: a timer that goes off all the time, and a handler that does nothing, raises, or calls back in."""

from __future__ import annotations

import signal
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import fastframe as ff

from .ends import Interrupted, name_of
from .parts import WARM, Outcome, Strays, measured, played
from .scenarios import SCENARIOS
from .shim import Shim
from .stage import Stage

NAMES = [
    *("one_by_one_tcp", "one_by_one_pair", "one_by_one_pipes", "one_by_one_tls12", "iteration", "poll", "patience"),
    *("recv_into", "no_readahead_pair", "many_small", "many_large_tcp", "many_large_batch", "megabyte_tcp"),
    *("flush_after_interruption", "timeouts", "clocks", "close_flushes_pair", "half_close_tcp", "netstring"),
    "many_of_an_iterator",
]
"""Scenarios that differ in what a signal can interrupt."""

KINDS = ("idle", "raising", "reentrant")
INTERVALS = (0.00003, 0.00007, 0.00013)
"""Seconds between two signals."""

RUNS = 60
"""Of each kind."""

MOST = 16
"""Calls that are broken off one after the other: something that takes longer than the time between has to get through."""

OPENING = ("wrap", "connect")
CLOSING = ("close", "abort")
SENDING = ("send", "send_many", "flush", "shutdown_send")


@dataclass(frozen=True)
class Gust:
    """One run of a scenario under signals."""

    handler: str
    interval: float
    number: int
    is_tls: bool
    kind = "gust"
    is_passing = is_of_close = False

    @property
    def is_harmless(self) -> bool:
        """An exception that breaks off a call inside TLS ends that direction."""
        return not (self.is_tls and self.handler == "raising")

    @property
    def counted_as(self) -> str:
        return self.handler

    def __str__(self) -> str:
        return f"{self.handler} #{self.number}, every {self.interval * 1e6:.0f} us"

    def allows(self, error: Exception) -> bool:
        """Whether a call may raise this."""
        if not self.is_harmless and isinstance(error, ff.ConnectionLost | ff.TruncatedFrame):
            return True
        return isinstance(error, ff.FrameTimeout | ff.SendInterrupted | ff.ConnectionClosed | Interrupted)

    def allows_at_close(self, error: Exception) -> bool:
        return isinstance(error, Interrupted)

    def allows_no_connection(self, error: Exception) -> bool:
        return isinstance(error, Interrupted)


class StormyStage(Stage):
    """Its calls are interrupted."""

    def __init__(self, shim: Shim, gust: Gust) -> None:
        super().__init__(shim, gust)
        self._gust = gust
        self._inside: tuple[Callable[..., Any], tuple[Any, ...]] | None = None
        self._raised: Interrupted | None = None
        self._signals = 0
        self._in_a_row = 0  # calls that the handler has broken off
        self.acts = 0
        """How often the handler did what it is for."""

    def api(self, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        self._raised = None
        self._inside = call, args
        try:
            result = call(*args, **named)
        except Interrupted as error:
            self._inside = None
            if error is not self._raised:
                self.note(f"{name_of(call, args)} raised another exception than the handler")
            self.aborted |= name_of(call, args) in CLOSING
            raise
        finally:
            self._inside = None
        self._in_a_row = 0
        if self._raised is not None:
            self.note(f"{name_of(call, args)} has swallowed the handler's exception")
        return result

    def clear(self) -> list[weakref.ref[Any]]:
        self._inside = self._raised = None
        return super().clear()

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        inside = self._inside
        if inside is None or not is_interruptible(frame):
            return
        name = name_of(*inside)
        self._signals += 1
        if self._gust.handler == "idle":
            self.acts += 1
        elif self._gust.handler == "raising":
            rarely = name in OPENING and self._gust.number % 10
            if self._signals % 5 == 0 and not rarely and self._raised is None and self._in_a_row < MOST:
                self.acts += 1
                self._in_a_row += 1
                self._raised = Interrupted("out of the handler")
                raise self._raised
        elif name not in (*OPENING, *CLOSING):
            self._inside = None
            try:
                self._call_back(name, inside)
            finally:
                self._inside = inside

    def _call_back(self, name: str, inside: tuple[Callable[..., Any], tuple[Any, ...]]) -> None:
        """Use the same connection, in the direction that is in use and in the other one. No frame is taken or sent:
        who waits for it would wait for ever, and the order would be another."""
        call, args = inside
        for end in self.ends:
            if end.is_used_by(call, args):
                self.acts += 1
                both = [(end.conn.poll, 0), (end.conn.flush, 0)]
                for act, timeout in reversed(both) if name in SENDING else both:
                    self._second(act, timeout)

    def _second(self, call: Callable[..., Any], timeout: float) -> None:
        """A call from within another one."""
        try:
            call(timeout)
        except (ff.ConcurrentUse, ff.SendInterrupted):
            pass
        except Exception as error:
            self.note(f"{call.__name__} in the handler raised {error!r}")


def is_interruptible(frame: FrameType | None) -> bool:
    """Whether the interrupted code belongs to a call of a connection, and an exception isn't lost there for certain."""
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith(("torture", "_weakref")) or frame.f_code.co_name == "__del__":
            return False
        if module.startswith("fastframe"):
            return True
        frame = frame.f_back
    return False


class Storm:
    """Signals all the time."""

    def __init__(self, shim: Shim, strays: Strays) -> None:
        self._shim, self._strays = shim, strays

    def missing(self) -> str | None:
        return None if hasattr(signal, "setitimer") else "no interval timers here"

    def names(self) -> list[str]:
        return [name for name in NAMES if name in SCENARIOS]

    def cases(self, engine: str, name: str) -> Iterator[Gust]:
        for _ in range(WARM):
            self._shim.reset()
            played(name, Stage(self._shim), self._strays, int)
        for number in range(RUNS):
            for kind in KINDS:
                yield Gust(kind, INTERVALS[number % len(INTERVALS)], number, is_tls="tls" in name)

    def run(self, name: str, case: Gust) -> Outcome:
        return measured(lambda: self._play(name, case))

    def _play(self, name: str, gust: Gust) -> tuple[int, list[str]]:
        self._shim.reset()
        self._strays.is_orderly = gust.handler != "raising"
        stage = StormyStage(self._shim, gust)

        def calm() -> None:
            signal.setitimer(signal.ITIMER_REAL, 0)

        before = signal.signal(signal.SIGALRM, stage.handle)
        signal.setitimer(signal.ITIMER_REAL, gust.interval, gust.interval)
        try:
            notes = played(name, stage, self._strays, calm)
        finally:
            calm()
            signal.signal(signal.SIGALRM, before)
        return stage.acts, notes
