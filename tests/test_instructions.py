"""The gate of hot paths: what it says of counts, and that counts are the same each time."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "bench"))
callgrind, instructions, hot_paths = map(import_module, ["callgrind", "instructions", "hot_paths"])

BEFORE = {"cython feed-u32-16": 100.0, "pure pop-16": 1000.0}
KEY = "CPython 3.13.0 shared"


@pytest.mark.parametrize(
    ("now", "status", "told"),
    [
        (BEFORE, 0, ""),
        (BEFORE | {"pure pop-16": 1019.9}, 0, ""),
        (BEFORE | {"pure pop-16": 1020.1}, 1, "pure pop-16 needs 2.0% more"),
        (BEFORE | {"cython feed-u32-16": 110.0, "pure pop-16": 500.0}, 1, "cython feed-u32-16 needs 10.0% more"),
        (BEFORE | {"pure pop-16": 500.0}, 0, "pure pop-16 needs 50.0% fewer"),
        (BEFORE | {"pure new": 1.0}, 2, "no baseline for pure new"),
    ],
    ids=["same", "within", "worse", "worse and better", "better", "unknown"],
)
def test_judgement(capsys: pytest.CaptureFixture[str], now: dict[str, float], status: int, told: str) -> None:
    assert instructions.judge(BEFORE, now, KEY) == status
    said = "".join(capsys.readouterr())
    assert told in said
    assert bool(said) == bool(told)
    assert ("--accept" in said) == bool(told)


def test_another_build_has_no_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    assert instructions.judge({}, BEFORE, KEY) == 2
    assert f"no baseline for {KEY}" in capsys.readouterr().err


def test_paths_of_the_pure_engine_are_hot_paths() -> None:
    assert set(instructions.PURE) <= set(hot_paths.PATHS)


def test_nothing_is_counted_without_valgrind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["instructions.py"])
    assert instructions.main() == 2
    assert capsys.readouterr().err == "error: valgrind isn't installed\n"


PROGRAM = """
import os
def work(n):
    os.getppid()
    sum(range(n))
os.getppid()
sum(range(1000))
if not os.fork():
    work(1000)
    work(3000)
    work(0)
else:
    os.wait()
"""


@pytest.mark.skipif(bool(callgrind.missing()), reason=str(callgrind.missing()))
def test_counts() -> None:
    first, again = (callgrind.count([sys.executable, "-S", "-c", PROGRAM]) for _ in range(2))
    assert first == again
    assert first[0] == []
    once, thrice = first[1]
    assert 2.5 < thrice / once < 3.5


@pytest.mark.skipif(bool(callgrind.missing()), reason=str(callgrind.missing()))
def test_a_program_that_fails() -> None:
    with pytest.raises(RuntimeError, match=r"status 1\n(.*\n)*ValueError: no"):
        callgrind.count([sys.executable, "-S", "-c", "raise ValueError('no')"])
