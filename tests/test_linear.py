"""Cost grows linearly, counted in instructions: the cases of bench/linear.py, which has the full sizes too."""

import os
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

sys.path.append(str(Path(__file__).parent.parent / "bench"))
callgrind, linear = map(import_module, ["callgrind", "linear"])

pytestmark = pytest.mark.skipif(
    sys.implementation.name != "cpython" or "libasan" in os.environ.get("LD_PRELOAD", "") or bool(callgrind.missing()),
    reason="instructions are counted in CPython, where valgrind is and sanitizers aren't",
)


@pytest.fixture(scope="module")
def growth(engine: ModuleType) -> dict[str, float]:
    """How many times as many instructions twice the size needs, by case."""
    [name] = [name for name, module in linear.ENGINES.items() if module == engine.__name__]
    return linear.growth(name)


@pytest.mark.parametrize("name", linear.CASES)
def test_twice_the_size_is_twice_the_work(growth: dict[str, float], name: str) -> None:
    assert 1.1 < growth[name] <= linear.LIMIT
