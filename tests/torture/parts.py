"""What the kinds of torture have in common: cases, outcomes, and a scenario that is played under watch."""

import faulthandler
import gc
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from .resources import descriptors, leak, memory
from .scenarios import SCENARIOS
from .stage import NoConnection, Stage

WATCH = 2.0
"""Seconds after which a run hangs, and its process ends and shows where it is."""

WARM = 10
"""How often a scenario is played before anything fails: the interpreter's caches are filled then."""


class Outcome(NamedTuple):
    """Of one case: how many faults it really had, and what is wrong."""

    faults: int
    notes: list[str]


class Case(Protocol):
    """One fault, or several of a kind; `str` names it."""

    @property
    def counted_as(self) -> str:
        """The column of the count."""


class Part(Protocol):
    """A kind of torture: of system calls, of allocations, by signals."""

    def missing(self) -> str | None:
        """Why it can't be done here, or None if it can."""

    def names(self) -> list[str]:
        """What is tortured."""

    def cases(self, engine: str, name: str) -> Iterator[Case | None]:
        """All that happens to it, on the engine that is in use. None stands for what can't happen after all.

        Each has the same place whenever they are asked for, whether those before it were run or not.
        """

    def run(self, name: str, case: Any) -> Outcome:
        """Let it happen."""


class Strays:
    """Warnings, and exceptions that nobody could catch, since they were asked for."""

    def __init__(self) -> None:
        self._found: list[str] = []
        self.is_orderly = True
        """Where it isn't, without memory or under exceptions at any place, what is dropped half-made may say so."""
        warnings.simplefilter("always")
        warnings.showwarning = self._warning  # type: ignore[assignment]
        sys.unraisablehook = self._exception

    def taken(self) -> list[str]:
        """What there was."""
        found, self._found = self._found, []
        return found

    def _warning(self, message: Any, *_: Any, **__: Any) -> None:
        if self.is_orderly or not isinstance(message, ResourceWarning):
            self._found.append(f"a warning: {message!r}")

    def _exception(self, stray: Any) -> None:
        if self.is_orderly or not isinstance(stray.exc_value, MemoryError):
            self._found.append(f"an exception that nobody could catch: {stray.exc_value!r}, {stray.err_msg}")


def played(name: str, stage: Stage, strays: Strays, after: Callable[[], object]) -> list[str]:
    """Play the scenario on the stage, judge it, and clear it: what is wrong. `after`: called once it is played."""
    faulthandler.dump_traceback_later(WATCH, exit=True)
    try:
        SCENARIOS[name](stage)
        stage.judge()
    except NoConnection:
        pass
    except Exception:
        stage.note(traceback.format_exc())
    after()
    references, notes = stage.clear(), stage.notes
    del stage
    gc.collect()
    notes += [f"still referred to: {thing!r}" for reference in references if (thing := reference()) is not None]
    notes += strays.taken()
    faulthandler.cancel_dump_traceback_later()
    return notes


def measured(run: Callable[[], tuple[int, list[str]]], leaks: bool = True) -> Outcome:
    """What a run finds, and what it leaves behind. Nothing is found where no fault has happened.

    leaks: whether memory is looked at, too.
    """
    open_before, before = descriptors(), memory()
    faults, notes = run()
    if open_before != descriptors():
        notes.append(f"descriptors: {sorted(open_before)} were open, and then {sorted(descriptors())}")
    if leaks and not notes and (leaked := leak(run, before)):
        notes.append(leaked)
    return Outcome(faults, notes if faults else [])
