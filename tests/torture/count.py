"""What a whole run has counted, and what it has found."""

from collections import Counter, defaultdict
from typing import Any


class Count:
    """Faults for each scenario, engine and kind."""

    def __init__(self) -> None:
        self.faults: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
        """Cases in which the fault really happened: part, name and engine; kind."""
        self.calls = 0
        """Calls that failed in them, one or more in each."""
        self.findings: list[str] = []

    def add(self, part: str, name: str, engine: str, event: dict[str, Any]) -> None:
        """The outcome of a case."""
        self.calls += event["faults"]
        self.faults[part, name, engine][event["kind"]] += event["faults"] > 0
        for note in event["notes"]:
            self.findings.append(f"{part} {name}, {engine}, case {event['number']}: {event['case']}: {note}")

    @property
    def total(self) -> int:
        """All cases."""
        return sum(counter.total() for counter in self.faults.values())

    def rows(self) -> list[tuple[str, str, str]]:
        """A row for each part, name and engine: that, its total, and its kinds."""
        return [
            (" ".join(key), f"{counter.total():,}", ", ".join(f"{kind} {n:,}" for kind, n in counter.items() if n))
            for key, counter in self.faults.items()
        ]
