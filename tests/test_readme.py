"""The README holds what it shows: every python block runs, and the first two sh lines stand alone."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
if not README.exists():
    pytest.skip("tests were copied without the README", allow_module_level=True)


def blocks(language: str) -> list[tuple[int, str]]:
    """-> [(line number of the block's first line, its text)]"""
    text = README.read_text(encoding="utf-8")
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [(text.count("\n", 0, match.start(1)) + 1, match[1]) for match in found]


def commands() -> list[str]:
    return [line for _, block in blocks("sh") for line in block.splitlines()]


PYTHON = blocks("python")


def test_readme_has_examples() -> None:
    assert len(PYTHON) >= 2


@pytest.mark.parametrize(("line", "code"), PYTHON, ids=[f"line-{line}" for line, _ in PYTHON])
def test_example_runs_by_itself_and_in_silence(line: int, code: str, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text("\n" * (line - 1) + code, encoding="utf-8")  # a traceback then names the README's line
    command = [sys.executable, "-W", "error", str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("index", [0, 1], ids=["demo", "tests"])
def test_first_two_commands_start_from_a_fresh_checkout(index: int) -> None:
    command = commands()[index]
    assert command.startswith("python3 -m venv .venv && ")
    assert "pip install" in command
    assert ("-m fastframe demo", "-m pytest")[index] in command
