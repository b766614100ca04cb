"""The bench's crowds, as small as they go: they run, they notice what is wrong, and they tell their bars."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import fastframe

BENCH = Path(__file__).parent.parent / "bench"
LONG = 120.0
QUIET = {"requests": 9, "unanswered": 0, "lost": 0}
SLOW = {"connected": 3, "closed": 3, "earliest": 2.0, "latest": 2.1}

pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="its clients in C use epoll"),
    pytest.mark.skipif(
        "libasan" in os.environ.get("LD_PRELOAD", ""), reason="programs in C can't be started under ASan"
    ),
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("click", "rich")), reason="the table is made with rich"
    ),
]


def crowd(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(BENCH / "crowd.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False)


@pytest.mark.parametrize(
    ("name", "more", "bars"),
    [("many", [], 1), ("slow", ["--deadline", "0.3"], 2), ("greedy", [], 1)],
    ids=["many", "slow", "greedy"],
)
def test_each_crowd_gives_numbers_for_its_bars(name: str, more: list[str], bars: int, tmp_path: Path) -> None:
    output = tmp_path / "crowd.json"
    small = ["--connections", "20", "--seconds", "0.3", "--pairs", "1", "--rate", "500"]
    done = crowd(name, *small, *more, "--json", str(output))
    assert done.returncode == 0, done
    told = json.loads(output.read_text())
    assert [set(bar) for bar in told["bars"]] == [{"what", "value", "bar", "unit", "met"}] * bars
    [pair] = told["runs"]
    without, with_it = pair.values()
    for run in (without, with_it):
        assert run["requests"] == 150
        assert 0 < run["latency"]["p50"] <= run["latency"]["p99"] <= run["latency"]["most"]
    assert told["bars"][0]["value"] == with_it["latency"]["p99"] / without["latency"]["p99"]
    assert all(bar["what"].split(",")[0] in done.stdout for bar in told["bars"])


def test_the_memory_of_idle_clients_is_told(tmp_path: Path) -> None:
    output = tmp_path / "crowd.json"
    done = crowd("memory", "--connections", "100", "--json", str(output))
    assert done.returncode == 0, done
    told = json.loads(output.read_text())
    traced = told["runs"]["traced"]
    assert traced["behind"]["connections"] == traced["connected"] == 100
    [bar] = told["bars"]
    # A client is several objects, whatever they are.
    assert bar["value"] == (traced["behind"]["traced"] - traced["before"]["traced"]) / 100 > 500


@pytest.mark.parametrize(
    "reply",
    [lambda frame: frame[:-1] + b"?", lambda frame: b"", lambda frame: [frame, frame]],
    ids=["altered", "empty", "doubled"],
)
def test_a_server_that_answers_wrongly_is_noticed(
    reply: Callable[[bytes], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(BENCH)
    from build import build

    times = 0

    def spoil(frame: bytes) -> object:
        nonlocal times
        times += 1
        return frame if times == 1 else reply(frame)  # the first is for who asks whether the server is there

    with fastframe.Server(spoil, ("127.0.0.1", 0), fastframe.LengthField(4)) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        command = [*build("crowd", tmp_path), str(server.address[1]), "1", "100", "0", "0.1"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False)
        server.shutdown(0)
        serving.join()
    assert done.returncode == 1
    assert "a wrong answer" in done.stderr


@pytest.mark.parametrize(
    ("ran", "accepted", "says"),
    [
        ({**QUIET, "unanswered": 1}, 5, "1 of 9 requests"),
        ({**QUIET, "lost": 1}, 5, "1 clients lost"),
        (QUIET, 4, "4 clients were accepted of 5"),
        ({**QUIET, "slow": SLOW}, 5, "5 clients were accepted of 8"),
        ({**QUIET, "slow": {**SLOW, "closed": 2}}, 8, "2 slow clients of 3"),
        ({**QUIET, "slow": {**SLOW, "earliest": 1.9}}, 8, "after 1.9 s"),
    ],
    ids=["unanswered", "lost", "refused", "slow refused", "slow not closed", "slow closed early"],
)
def test_what_should_not_be_gives_no_number(
    ran: dict[str, object], accepted: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(BENCH)
    from crowd import Wrong, check

    with pytest.raises(Wrong, match=says):
        check(ran, {"accepted": accepted}, 5, 2.0)


def test_all_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCH)
    from crowd import check

    check({**QUIET, "slow": SLOW}, {"accepted": 8}, 5, 2.0)
