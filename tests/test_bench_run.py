"""The benchmark itself, as small as it goes: contenders run, are checked, and are told."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "bench"
LONG = 120.0
TRANSPORTS = {"parse": "memory", "echo": "unix"}
WORKS = {
    "receive": ["reader", "views", "iterate", "recv_many", "recv", "pure-reader", "howto", "makefile", "bytearray"],
    "send": ["connection", "writer", "pure-connection", "howto", "makefile"],
    "trip": ["trip", "pure-trip", "by_hand"],
    "parse": ["decoder", "pure-decoder", "c-list"],
    "echo": ["loop", "pure-loop", "streams"],
}

pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="its programs in C use epoll"),
    pytest.mark.skipif(
        "libasan" in os.environ.get("LD_PRELOAD", ""), reason="programs in C can't be started under ASan"
    ),
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("click", "rich")), reason="the table is made with rich"
    ),
]


def benchmark(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(BENCH / "run.py"), "--rounds", "1", "--seconds", "0.001", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False)


@pytest.mark.parametrize("work", WORKS)
def test_all_that_run_are_in_the_results(work: str, tmp_path: Path) -> None:
    names = [word for name in WORKS[work] for word in ("--contender", name)]
    output = tmp_path / "results.json"
    transport = TRANSPORTS.get(work, "tcp")
    done = benchmark("--work", work, "--size", "64", "--transport", transport, *names, "--json", str(output))
    assert done.returncode == 0, done
    results = json.loads(output.read_text())
    assert results["rounds"] == 1
    told = [row["contender"] for row in results["rows"]]
    cases = {(row["transport"], row["batch"], row["connections"], row["in_flight"]) for row in results["rows"]}
    absent = len(results["missing"])  # the engine in Cython isn't built everywhere
    assert len(told) == len(cases) * (1 + len(WORKS[work]) - absent)
    for row in results["rows"]:
        assert not row["failure"]
        [nanoseconds] = row["ns"]
        assert nanoseconds >= 0


def test_a_contender_that_spoils_its_frames_is_told(tmp_path: Path) -> None:
    spoiler = tmp_path / "sitecustomize.py"
    spoiler.write_text("import zlib; right = zlib.crc32; zlib.crc32 = lambda data, start=0: right(data, start) ^ 1\n")
    words = [
        "run.py",
        "--work",
        "parse",
        "--size",
        "64",
        "--contender",
        "pure-decoder",
        "--rounds",
        "1",
        "--seconds",
        "0.001",
    ]
    code = f"""
        import os, runpy, sys
        sys.argv = {words}
        sys.path.insert(0, {str(BENCH)!r})
        import contenders
        os.environ["PYTHONPATH"] = {str(tmp_path)!r} + os.pathsep + os.environ.get("PYTHONPATH", "")
        runpy.run_path({str(BENCH / "run.py")!r}, run_name="__main__")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=LONG, check=False
    )
    assert done.returncode == 1, done
    assert "FAILED" in done.stdout
    assert "aren't those that were sent" in " ".join(done.stdout.split())


def test_unknown_contenders_are_named() -> None:
    done = benchmark("--contender", "nobody")
    assert done.returncode == 2
    assert "nobody" in done.stderr
