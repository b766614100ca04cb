"""The command line as a whole: how it is started, what it says when something is missing, how it ends."""

import subprocess
import sys

import pytest

import fastframe

LONG = 60.0


def run(*args: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *args],
        capture_output=True,
        encoding="utf-8",
        timeout=LONG,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_a_missing_extra_is_told_in_one_line(missing: str) -> None:
    blocked = f"import sys; sys.modules[{missing!r}] = None; from fastframe.__main__ import main; sys.exit(main())"
    done = run("-c", blocked)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert missing in done.stderr
    assert "pip install 'fastframe[cli]'" in done.stderr


def test_another_missing_module_is_not_mistaken_for_an_extra() -> None:
    done = run("-c", "import sys; sys.modules['statistics'] = None; from fastframe.__main__ import main; main()")
    assert done.returncode == 1
    assert "statistics" in done.stderr
    assert "pip install" not in done.stderr


class TestInstalled:
    @pytest.fixture(autouse=True)
    def needs_extras(self) -> None:
        pytest.importorskip("click")
        pytest.importorskip("rich")

    def test_help_names_the_verbs(self) -> None:
        done = run("-m", "fastframe", "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert "demo" in done.stdout

    def test_version(self) -> None:
        done = run("-m", "fastframe", "--version")
        assert done.stdout.strip() == f"fastframe {fastframe.__version__}, {fastframe.engine} engine"
        assert done.returncode == 0

    @pytest.mark.parametrize("args", [["no-such-verb"], ["demo", "--seconds", "nan"], ["demo", "--seconds", "1e9"]])
    def test_a_wrong_call_is_status_2(self, args: list[str]) -> None:
        done = run("-m", "fastframe", *args)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert done.stderr
