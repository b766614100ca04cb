"""No operation leaves anything behind: a short form of `python tests/refleak`, on both engines. And the meter sees leaks."""

import ast
import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

import fastframe as ff
import refleak
from connections import on_engine
from refleak import connection, decoder, streams
from refleak.meter import Operation, leaks

__all__ = ["on_engine"]  # the fixture that pytest is to find here

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or sys.implementation.name != "cpython", reason="what is in use isn't counted here"
)

FEW = 3
"""So often is each operation done in a round."""


@pytest.fixture(autouse=True)
def frozen() -> Iterator[None]:
    """What is here already need not be looked through each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


KINDS: dict[str, Callable[[ModuleType], Iterator[tuple[str, Operation]]]] = {
    "decoder": decoder.decoders,
    "streams": streams.streams,
    "connection": lambda engine: connection.connections(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_behind(engine: ModuleType, kind: str) -> None:
    operations = dict(KINDS[kind](engine))
    assert len(operations) > 100

    def all_of_them() -> None:
        for operation in operations.values():
            operation()

    # Of malloc's bytes, some are its own caches, which fill up slowly where operations take turns.
    what = ("blocks", "references", "descriptors")
    if leaks(all_of_them, FEW, what):
        found = {name: leaks(operation, 10 * FEW, what) for name, operation in operations.items()}
        assert not {name: leak for name, leak in found.items() if leak}


# --- The meter -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not getattr(sys, "getallocatedblocks", int)(), reason="Python's blocks are malloc's here")
def test_the_meter_sees_objects() -> None:
    kept: list[object] = []
    assert leaks(lambda: kept.append(object()), 20).get("blocks", 0) >= 1


def test_the_meter_sees_descriptors() -> None:
    kept: list[int] = []
    try:
        assert leaks(lambda: kept.append(os.dup(0)), 5).get("descriptors") == 1
    finally:
        for number in kept:
            os.close(number)


def test_the_meter_sees_memory_of_malloc() -> None:
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2") or "libasan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("malloc doesn't say here what is in use")
    libc.malloc.restype = ctypes.c_void_p
    kept: list[int] = [0] * 10_000
    places = iter(range(10_000))

    def leak() -> None:
        kept[next(places)] = libc.malloc(5000)

    try:
        assert leaks(leak, 20).get("bytes", 0) >= 5000
    finally:
        for place in filter(None, kept):
            libc.free(ctypes.c_void_p(place))


@pytest.mark.skipif(not hasattr(sys, "gettotalrefcount"), reason="not a debug build of Python")
def test_the_meter_sees_references() -> None:
    one = object()
    assert leaks(lambda: ctypes.pythonapi.Py_IncRef(ctypes.py_object(one)), 20) == {"references": 1}


def test_the_meter_sees_nothing_where_nothing_is() -> None:
    assert leaks(lambda: [object(), bytes(100_000), {}], 20) == {}


# --- Nothing is left out ---------------------------------------------------------------------------------------------


def test_every_public_method_and_every_error_is_there() -> None:
    words: set[str] = set()
    for path in Path(refleak.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            words |= {value for _, value in ast.iter_fields(node) if isinstance(value, str)}
    kinds = (ff.Decoder, ff.FrameBatch, ff.FrameReader, ff.FrameWriter, ff.Connection)
    methods = {name for kind in kinds for name in dir(kind) if not name.startswith("_")}
    errors = {
        name for name in ff.__all__ if isinstance(found := getattr(ff, name), type) and issubclass(found, Exception)
    }
    assert len(methods) > 40
    assert len(errors) > 10
    assert (methods | errors) - words <= {"FrameError", "InvalidFrame"}  # which only their subclasses are
