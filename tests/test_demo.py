"""The demo as its user sees it: all rows, no control characters in a file, and an end in any case."""

import importlib
import os
import signal
import subprocess
import sys

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

from click.testing import CliRunner

import fastframe
from fastframe.cli.contenders import CONTENDERS, Contender
from fastframe.cli.demo import demo
from fastframe.cli.pair import EngineMissing, Failed, Measured

LONG = 60.0
module = importlib.import_module("fastframe.cli.demo")
DEMO = [sys.executable, "-m", "fastframe", "demo"]
PLAIN = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS")}


def rows(text: str) -> dict[str, str]:
    """Each contender's row, without its name."""
    found = {}
    for line in text.splitlines():
        for name in sorted((contender.name for contender in CONTENDERS), key=len, reverse=True):
            if line.startswith(f"{name} "):
                found[name] = line.removeprefix(name).strip()
                break
    return found


def measured(receiver_cpu: float = 1.0) -> Measured:
    return Measured(1_000_000, 2_000_000, 1.0, receiver_cpu, 1.0)


def test_it_runs() -> None:
    done = subprocess.run(
        [*DEMO, "--seconds", "0.2"], capture_output=True, encoding="utf-8", env=PLAIN, timeout=LONG, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = rows(done.stdout)
    for contender in CONTENDERS:
        row = found[contender.name]
        # Where no extension is wanted, one may be there all the same.
        assert row[0].isdigit() or (
            row == "not installed" and contender.engine == "cython" and fastframe.engine == "pure"
        )
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.skipif(os.name != "posix", reason="no SIGINT for one process here")
def test_an_interrupt_ends_it_and_its_processes() -> None:
    with subprocess.Popen(
        DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=PLAIN, bufsize=1
    ) as process:
        try:
            assert process.stdout is not None
            while not process.stdout.readline().startswith("round 1"):
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=LONG)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_a_spoiled_frame_fails_the_row_and_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(contender: object, *args: object) -> Measured:
        if contender is CONTENDERS[1]:
            raise Failed("receiver: Spoiled: [frame] 7")
        return measured()

    monkeypatch.setattr(module, "measure", measure)
    done = CliRunner().invoke(demo)
    assert done.exit_code == 1
    assert rows(done.output)[CONTENDERS[1].name] == "FAILED"
    assert "FAILED: fastframe, pure: receiver: Spoiled: [frame] 7" in done.output


def test_a_missing_engine_is_a_row_without_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(contender: object, *args: object) -> Measured:
        if getattr(contender, "engine", None) == "cython":
            raise EngineMissing
        return measured()

    monkeypatch.setattr(module, "measure", measure)
    done = CliRunner().invoke(demo)
    assert done.exit_code == 0
    assert rows(done.output)["fastframe, Cython"] == "not installed"
    assert max(map(len, done.output.splitlines())) <= 80


def test_the_numbers_are_medians_and_set_against_the_howto(monkeypatch: pytest.MonkeyPatch) -> None:
    times = dict.fromkeys((contender.name for contender in CONTENDERS), 0)

    def measure(contender: Contender, *args: object) -> Measured:
        times[contender.name] += 1
        cpu = {1: 4.0, 2: 400.0, 3: 3.0}[times[contender.name]]
        return measured(cpu / 2 if contender.engine == "cython" else cpu)

    monkeypatch.setattr(module, "measure", measure)
    found = rows(CliRunner().invoke(demo).output)
    assert found["Socket HOWTO"].split() == ["1,000,000", "2", "4.00", "1.00"]
    assert found["fastframe, Cython"].split() == ["1,000,000", "2", "2.00", "1.00", "2.0×", "less"]
    assert found["fastframe, pure"].endswith(" the same")


def test_no_round_begins_for_which_there_is_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0

    def measure(contender: object, seed: int, seconds: float, limit: float) -> Measured:
        nonlocal clock
        clock += 3.5
        assert clock < 30
        return measured()

    monkeypatch.setattr(module, "measure", measure)
    monkeypatch.setattr(module, "monotonic", lambda: clock)
    done = CliRunner().invoke(demo)
    assert done.exit_code == 0
    assert "medians of 1 " in done.output.replace("\n", " ")


def test_the_deadlines_of_all_runs_keep_the_whole_below_thirty_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0

    def measure(contender: object, seed: int, seconds: float, limit: float) -> Measured:
        nonlocal clock
        clock += limit
        raise Failed("no result")

    monkeypatch.setattr(module, "measure", measure)
    monkeypatch.setattr(module, "monotonic", lambda: clock)
    assert CliRunner().invoke(demo, ["--seconds", "4"]).exit_code == 1
    assert clock < 30
