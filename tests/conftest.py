"""Both engines by one fixture, and how hard hypothesis tries: HYPOTHESIS_PROFILE=default, ci or long."""

import gc
import importlib
import os
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

MODULES = {"cython": "fastframe._speedups", "pure": "fastframe._pure"}

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile("default", max_examples=100, deadline=None, suppress_health_check=QUIET)
settings.register_profile(
    "ci", max_examples=200, deadline=None, suppress_health_check=QUIET, derandomize=True, database=None, print_blob=True
)
settings.register_profile("long", max_examples=10_000, deadline=None, suppress_health_check=QUIET, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or "default")


def pytest_collection_finish() -> None:
    """Thousands of collected tests needn't be looked through by every gc.collect() of a test."""
    gc.collect()
    gc.freeze()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Nor need what a file's tests have left for good."""
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()


def load(name: str) -> ModuleType:
    """The engine of this name. A missing one is a failure, unless FASTFRAME_PURE=1 says that it is meant to be missing."""
    try:
        return importlib.import_module(MODULES[name])
    except ModuleNotFoundError as error:
        if os.environ.get("FASTFRAME_PURE") == "1":
            pytest.skip(f"no {name} engine here, and FASTFRAME_PURE=1 asks for none")
        pytest.fail(f"the {name} engine can't be imported: {error}")


@pytest.fixture(params=list(MODULES), scope="session")
def engine(request: pytest.FixtureRequest) -> ModuleType:
    """Each engine's module: Decoder, FrameBatch, FrameReader, FrameWriter, wait."""
    return load(request.param)


@pytest.fixture(scope="session")
def both() -> tuple[ModuleType, ModuleType]:
    """The Cython engine and the pure one, for tests of one against the other."""
    return load("cython"), load("pure")
