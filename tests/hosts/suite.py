"""Run one of the hosts' own test suites, and write what became of each test: suite.py SUITE FILE.

Whether host or drop-in is tested, FASTFRAME_REPLACES says: see replaced/sitecustomize.py.
"""

import importlib
import json
import multiprocessing
import os
import re
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path

MODULES = {
    "multiprocessing-fork": "mp_fork",
    "multiprocessing-spawn": "mp_spawn",
    "twisted-basic": "twisted.protocols.test.test_basic",
    "twisted-amp": "twisted.test.test_amp",
}
"""The module of each suite's tests."""

OF_CONNECTIONS = re.compile(
    r"^(?!WithThreads).*(Connection|Listener|Poll|Wait|Invalid|Timeouts|Queue|Pool|OtherTest|Challenge|EINTR)"
)
"""The classes of multiprocessing's tests that have to do with connections, queues and pools; threads have none."""


class Outcomes(unittest.TextTestResult):
    """What became of each test, by its name."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.of: dict[str, str] = {}

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self.of.setdefault(test.id(), "passed")

    def addError(self, test: unittest.TestCase, err: object) -> None:
        super().addError(test, err)  # type: ignore[arg-type]
        self.of[test.id()] = "error"

    def addFailure(self, test: unittest.TestCase, err: object) -> None:
        super().addFailure(test, err)  # type: ignore[arg-type]
        self.of[test.id()] = "failed"

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        self.of[test.id()] = "skipped"

    def addExpectedFailure(self, test: unittest.TestCase, err: object, *more: object) -> None:
        self.of[test.id()] = "failed as expected"

    def addUnexpectedSuccess(self, test: unittest.TestCase, *more: object) -> None:
        self.of[test.id()] = "passed unexpectedly"

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: object) -> None:
        super().addSubTest(test, subtest, err)  # type: ignore[arg-type]
        if err is not None:
            self.of[test.id()] = "failed"


def tests_of(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    """The tests of a suite, those of the suites within included."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests_of(test)
        else:
            yield test


def tested(name: str) -> str:
    """The package whose classes a suite's tests will meet."""
    if name.startswith("multiprocessing"):
        with multiprocessing.Pipe()[0] as end:
            return type(end).__module__.partition(".")[0]
    basic = importlib.import_module("twisted.protocols.basic")
    return str(basic.Int32StringReceiver.__module__).partition(".")[0]


def run(name: str) -> dict[str, str]:
    """What became of each test of a suite."""
    wanted = "fastframe" if os.environ.get("FASTFRAME_REPLACES") else name.partition("-")[0]
    assert tested(name) == wanted, f"{tested(name)} would be tested, not {wanted}"
    found = tests_of(unittest.defaultTestLoader.loadTestsFromName(MODULES[name]))
    if name.startswith("multiprocessing"):
        found = (test for test in found if OF_CONNECTIONS.search(type(test).__name__))
    runner = unittest.TextTestRunner(sys.stderr, verbosity=2, resultclass=Outcomes, warnings="ignore")
    result = runner.run(unittest.TestSuite(found))
    assert isinstance(result, Outcomes)
    return result.of


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(run(sys.argv[1])), encoding="utf-8")
