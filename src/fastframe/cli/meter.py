"""How far a file has been read, as a bar on a terminal."""

from __future__ import annotations

from contextlib import ExitStack
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TimeRemainingColumn, TransferSpeedColumn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["Meter"]

_PATIENCE = 0.5
"""Seconds before the bar appears: what is done by then needs none."""
_PACE = 0.1
"""Seconds from one step of the bar to the next."""


class Meter:
    """A bar on stderr that appears when reading takes longer than a moment, and goes in the end.

    total: the bytes to read; None: unknown. A meter that isn't `shown` shows nothing.
    """

    def __init__(self, total: int | None, shown: bool) -> None:
        self._total = total
        self._stack = ExitStack()
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._done = 0
        self._next = monotonic() + _PATIENCE if shown else float("inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        self._stack.close()

    def advance(self, size: int) -> None:
        """So many more bytes were read."""
        self._done += size
        if (now := monotonic()) < self._next:
            return
        self._next = now + _PACE
        if self._progress is None:
            columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
            self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._progress.add_task("", total=self._total, completed=self._done)
            self._stack.enter_context(self._progress)
        self._progress.update(self._task, completed=self._done)
