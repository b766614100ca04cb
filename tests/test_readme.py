"""The README holds what it shows: every python block runs, and the first two sh lines stand alone."""

from pathlib import Path
from types import ModuleType

import pytest

from pages import ROOT, Block, blocks, run

README = ROOT / "README.md"
if not README.exists():
    pytest.skip("tests were copied without the README", allow_module_level=True)

EXAMPLES = blocks(README, "python")


def commands() -> list[str]:
    return [line for block in blocks(README, "sh") for line in block.code.splitlines()]


def test_readme_has_examples() -> None:
    assert len(EXAMPLES) >= 2


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_example_runs_by_itself_and_in_silence(example: Block, engine: ModuleType, tmp_path: Path) -> None:
    run(example, engine, tmp_path)


@pytest.mark.parametrize("index", [0, 1], ids=["demo", "tests"])
def test_first_two_commands_start_from_a_fresh_checkout(index: int) -> None:
    command = commands()[index]
    assert command.startswith("python3 -m venv .venv && ")
    assert "pip install" in command
    assert ("-m fastframe demo", "-m pytest")[index] in command
