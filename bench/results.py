"""What a run of the benchmark found: the numbers of every contender, and the machine they belong to.

A ratio is made of what was measured in the same round: the median of the rounds' ratios, never the ratio of two
medians. A row that failed, or that has nothing to be compared with, has no ratio.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import NamedTuple

__all__ = [
    "IN_PLACE",
    "REFERENCE",
    "Case",
    "Loss",
    "Ratio",
    "Results",
    "Row",
    "compare",
    "number_text",
    "size_text",
    "time_text",
]

REFERENCE = "c"

# These leave the payloads in the buffer. The others hand over each as an object, which is another work.
IN_PLACE = frozenset({"c-views", "views", "lengths", "pure-views", "pure-lengths"})


class Case(NamedTuple):
    """What rows must have in common to be compared. `size` is bytes of payload, `batch` the frames a call sends."""

    work: str
    transport: str
    size: int
    batch: int = 0
    connections: int = 1
    in_flight: int = 1


class Ratio(NamedTuple):
    """The median of the rounds' ratios, the smallest and the largest."""

    median: float
    low: float
    high: float


class Loss(NamedTuple):
    """A rival that needs less CPU time than the best row of fastframe for the same work, and how many times less."""

    ours: Row
    rival: Row
    ratio: Ratio


@dataclass(kw_only=True)
class Row:
    """One contender in one case.

    `engine` is fastframe's engine, "cython" or "pure", and "" for a rival. `ns` and `wall` are nanoseconds a frame in
    each round, CPU time and time by the clock, None where the round gave no number. `failure` says what
    went wrong; `note` what a reader must know to judge the numbers.
    """

    work: str
    transport: str
    size: int
    batch: int = 0
    connections: int = 1
    in_flight: int = 1
    contender: str
    title: str
    engine: str
    ns: list[float | None]
    wall: list[float | None]
    failure: str = ""
    note: str = ""

    @property
    def case(self) -> Case:
        return Case(self.work, self.transport, self.size, self.batch, self.connections, self.in_flight)

    @property
    def median_ns(self) -> float | None:
        """CPU nanoseconds a frame; None if it failed or wasn't measured."""
        measured = [ns for ns in self.ns if ns is not None]
        return median(measured) if measured and not self.failure else None


def compare(row: Row, other: Row) -> Ratio | None:
    """How many times the CPU time of `other` is that of `row`, round by round."""
    if row.failure or other.failure:
        return None
    rounds = zip(row.ns, other.ns, strict=False)  # a run that was stopped has a shorter last row
    ratios = [mine / theirs for mine, theirs in rounds if mine is not None and theirs]
    return Ratio(median(ratios), min(ratios), max(ratios)) if ratios else None


@dataclass(kw_only=True)
class Results:
    """A whole run. `missing` says for each contender that was left out, by its title, why; `date` is ISO 8601."""

    machine: dict[str, str | int]
    versions: dict[str, str]
    command: list[str]
    date: str
    rounds: int
    rows: list[Row] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")

    @classmethod
    def load(cls, path: Path) -> Results:
        """Raises ValueError if it isn't the JSON that `save` writes."""
        try:
            found = json.loads(path.read_text("utf-8"))
            return cls(**found | {"rows": [Row(**row) for row in found["rows"]]})
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} holds no results of this benchmark: {error!r}") from error

    def find(self, case: Case, contender: str) -> Row | None:
        return next((row for row in self.rows if row.case == case and row.contender == contender), None)

    def ratio(self, row: Row) -> Ratio | None:
        """How many times the CPU time of the C program in the same case."""
        reference = self.find(row.case, REFERENCE)
        return compare(row, reference) if reference else None

    def losses(self) -> list[Loss]:
        """Where a rival does the same work for less, in the order of the rows. What rounds to 1.00 is a draw.

        C isn't among the rivals: it is the unit.
        """
        found = []
        for case in dict.fromkeys(row.case for row in self.rows):
            for in_place in (False, True):
                rows = [row for row in self.rows if row.case == case and (row.contender in IN_PLACE) == in_place]
                times = [(row.median_ns, row) for row in rows if row.engine and row.median_ns is not None]
                if not times:
                    continue
                _, ours = min(times, key=lambda time: time[0])
                for rival in rows:
                    if rival.engine or rival.contender == REFERENCE:
                        continue
                    ratio = compare(ours, rival)
                    if ratio and round(ratio.median, 2) > 1:
                        found.append(Loss(ours, rival, ratio))
        return found


def size_text(size: int) -> str:
    """Bytes, as a heading has them: 16 B, 4 KiB, 1 MiB."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


def number_text(number: float) -> str:
    """As many digits as the measurement is worth."""
    return f"{number:.{2 if number < 2 else 1 if number < 20 else 0}f}"


def time_text(ns: float) -> str:
    """Nanoseconds, or microseconds where those would be five digits."""
    return f"{number_text(ns)} ns" if ns < 10_000 else f"{number_text(ns / 1000)} µs"
