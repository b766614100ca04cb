"""The hot paths, timed: `pytest tests/test_benchmark.py --benchmark-autosave`, then `pytest-benchmark compare`.

Each path of bench/hot_paths.py on both engines, in rounds of up to 1000 frames, once their answer is checked.
"""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from connections import on_engine

sys.path.append(str(Path(__file__).parent.parent / "bench"))
hot_paths = import_module("hot_paths")

__all__ = ["on_engine"]  # the fixture that pytest is to find here


@pytest.fixture
def quick(benchmark: Any) -> Any:
    """A benchmark that takes a fraction of a second."""
    benchmark._min_rounds = 5
    benchmark._max_time = 0.05
    benchmark._min_time = 0.000005
    return benchmark


def timed(path: Any, engine: ModuleType, quick: Any) -> None:
    with path(engine) as opened:
        opened.check()
        quick(opened.run)


@pytest.mark.parametrize("name", hot_paths.MEMORY)
def test_in_memory(engine: ModuleType, quick: Any, name: str) -> None:
    timed(hot_paths.MEMORY[name], engine, quick)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a socket may hand over a round in parts")
@pytest.mark.parametrize("name", hot_paths.SOCKETS)
def test_over_a_socket(engine: ModuleType, quick: Any, name: str) -> None:
    timed(hot_paths.SOCKETS[name], engine, quick)
