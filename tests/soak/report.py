"""What a run has counted and found; and how it is shared among threads."""

import gc
import os
import re
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any


class Report:
    """Counts and findings, written by any thread.

    advance: called with how many of the things the run counts are done.
    """

    def __init__(self, advance: Callable[[int], None] = lambda done: None) -> None:
        self.counts: Counter[str] = Counter()
        self.findings: list[str] = []
        self.times: dict[str, list[float]] = {}
        self._advance = advance
        self._lock = threading.Lock()

    def add(self, what: str, by: int = 1) -> None:
        with self._lock:
            self.counts[what] += by

    def took(self, what: str, seconds: float) -> None:
        with self._lock:
            self.times.setdefault(what, []).append(seconds)

    def found(self, what: str) -> None:
        self.findings.append(what)

    def attempt(self, work: Callable[..., None], *args: Any) -> None:
        """`work(*args)`. What it raises, nobody has expected, and it is a finding."""
        try:
            work(*args)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            self.found(f"raised: {error!r} in {where.name}, {os.path.basename(where.filename)}:{where.lineno}")

    def done(self, by: int = 1) -> None:
        with self._lock:
            self._advance(by)

    def found_kinds(self) -> list[tuple[str, int]]:
        """The findings that differ in more than numbers: the first of each kind, and how many there are."""
        kinds: dict[str, list[str]] = {}
        for line in self.findings:
            kinds.setdefault(re.sub(r"\d+", "", line), []).append(line)
        return [(lines[0], len(lines)) for lines in kinds.values()]

    def lines(self) -> list[tuple[str, str]]:
        """What was counted and how long things took, each with its name."""
        shown = [(what, f"{number:,}") for what, number in sorted(self.counts.items())]
        for what, seconds in self.times.items():
            seconds = sorted(seconds)
            marks = [("median", 0.5), ("99 %", 0.99), ("99.9 %", 0.999), ("longest", 1.0)]
            at = {name: seconds[min(int(len(seconds) * part), len(seconds) - 1)] for name, part in marks}
            shown.append((what, ", ".join(f"{name} {value * 1000:.2f} ms" for name, value in at.items())))
        return shown


Run = Callable[[int, Report], None]
"""Does so many of its things, and reports."""


def conduct(run: Run, number: int, report: Report) -> None:
    """The run; what it raises, and descriptors that it leaves open, are findings."""
    gc.collect()
    before = descriptors()
    report.attempt(run, number, report)
    gc.collect()
    if before != descriptors():
        report.found(f"left open: {descriptors() - before} descriptors")


def descriptors() -> int:
    """How many descriptors are open."""
    return len(os.listdir("/dev/fd"))


def share(threads: int, number: int, work: Callable[[int], None], report: Report) -> None:
    """`work(i)` for each i below `number`, in so many threads. What it raises is a finding."""
    numbers = count()

    def go() -> None:
        while (i := next(numbers)) < number:
            report.attempt(work, i)

    workers = [threading.Thread(target=go) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
