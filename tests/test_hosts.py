"""The comparison of host and drop-in tells what fares worse, and never compares a host with itself."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastframe

HOSTS = Path(__file__).parent / "hosts"
sys.path.insert(0, str(HOSTS))
try:
    import compare
    import suite
finally:
    sys.path.remove(str(HOSTS))


def test_what_fares_worse_is_told() -> None:
    host = {"a": "passed", "b": "passed", "c": "skipped", "d": "failed", "e": "failed as expected", "f": "passed"}
    dropin = {"a": "passed", "b": "error", "c": "passed", "d": "passed", "e": "failed as expected"}
    assert compare.worse(host, dropin) == [
        "b: passed with the host, error with the drop-in",
        "c: skipped with the host, passed with the drop-in",
        "f: passed with the host, not run with the drop-in",
    ]
    assert compare.worse(host, host) == []


def environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join(filter(None, (str(HOSTS / "replaced"), *sys.path)))
    return os.environ | {"PYTHONPATH": path} | more


@pytest.mark.parametrize("name", ["multiprocessing-fork", "twisted-basic"])
def test_the_drop_in_is_in_the_hosts_place(name: str) -> None:
    pytest.importorskip(name.partition("-")[0])
    code = f"import suite; print(suite.tested({name!r}))"
    for replaced, tested in (("", name.partition("-")[0]), (name.partition("-")[0], "fastframe")):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment(FASTFRAME_REPLACES=replaced),
            cwd=HOSTS,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == tested


def test_a_host_that_was_not_replaced_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTFRAME_REPLACES", "multiprocessing")
    with pytest.raises(AssertionError, match="multiprocessing would be tested, not fastframe"):
        suite.run("multiprocessing-fork")


def test_tests_of_threads_are_left_out() -> None:
    wanted = {"WithProcessesTestConnection", "TestWait", "WithManagerTestQueue", "OtherTest", "WithProcessesTestPoll"}
    assert all(map(suite.OF_CONNECTIONS.search, wanted))
    assert not any(map(suite.OF_CONNECTIONS.search, ("WithThreadsTestPool", "WithProcessesTestLock", "TestFlags")))


@pytest.mark.parametrize("face", ["anyio", "twisted"])
def test_a_host_that_is_missing_is_told_with_its_extra(face: str) -> None:
    code = f"import sys; sys.modules[{face!r}] = None\nimport fastframe\nfastframe.{face}"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False)
    assert f"install fastframe[{face}]" in done.stderr


def test_what_is_missing_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("thrift", "twisted") else name)
    assert {"anyio", "asyncio", "logging", "multiprocessing", "rpyc"} <= set(dir(fastframe))
    assert not {"thrift", "twisted"} & set(dir(fastframe))
