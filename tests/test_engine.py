"""Which engine is taken, what an import costs, and that both have the same face."""

import ast
import importlib
import importlib.util
import inspect
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import fastframe as ff
from fastframe import _engine
from fastframe._description import Framing

PACKAGE = Path(ff.__file__).parent
SHOW = "import fastframe, fastframe._engine as e; print(fastframe.engine, e.Decoder.__module__, fastframe.Decoder is e.Decoder)"
HAS_CYTHON = importlib.util.find_spec("fastframe._speedups") is not None

# Stands in for an extension that is missing, or there but broken.
WITHOUT = """
import importlib.abc, sys
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "fastframe._speedups":
            raise {error}
sys.meta_path.insert(0, Finder())
"""


def python(code: str, pure: str | None) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "FASTFRAME_PURE"}
    env["PYTHONPATH"] = os.pathsep.join(path for path in (str(PACKAGE.parent), env.get("PYTHONPATH", "")) if path)
    if pure is not None:
        env["FASTFRAME_PURE"] = pure
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_pure_is_taken_when_asked_for() -> None:
    assert python(SHOW, "1").stdout.startswith("pure fastframe._pure")


@pytest.mark.skipif(not HAS_CYTHON, reason="no extension here")
@pytest.mark.parametrize("pure", ["0", "", None])
def test_cython_is_taken_when_it_is_there(pure: str | None) -> None:
    assert python(SHOW, pure).stdout == "cython fastframe._speedups True\n"


@pytest.mark.parametrize("pure", ["2", "yes", "true", " 1"])
def test_any_other_choice_is_an_import_error(pure: str) -> None:
    done = python(SHOW, pure)
    assert done.returncode == 1
    assert f'ImportError: FASTFRAME_PURE must be "0", "1" or unset, not {pure!r}' in done.stderr


MISSING = WITHOUT.format(error="ModuleNotFoundError(name, name=name)")
BROKEN = WITHOUT.format(error="ImportError('undefined symbol', name=name)")


@pytest.mark.parametrize("pure", ["", None])
def test_missing_extension_falls_back(pure: str | None) -> None:
    assert python(MISSING + SHOW, pure).stdout.startswith("pure ")


def test_missing_extension_is_an_error_when_insisted_on() -> None:
    done = python(MISSING + SHOW, "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert "ModuleNotFoundError: fastframe._speedups" in done.stderr


@pytest.mark.parametrize("pure", ["0", "", None])
def test_broken_extension_does_not_become_a_slow_one(pure: str | None) -> None:
    done = python(BROKEN + SHOW, pure)
    assert (done.returncode, done.stdout) == (1, "")
    assert "ImportError: undefined symbol" in done.stderr


def test_broken_extension_does_not_matter_to_pure() -> None:
    assert python(BROKEN + SHOW, "1").stdout.startswith("pure ")


def test_descriptions_decode_with_the_engine_chosen() -> None:
    assert Framing._decoder is _engine.Decoder is ff.Decoder
    assert ff.engine in ("cython", "pure")


# --- The floors ------------------------------------------------------------------------------------------------------

DESCRIPTIONS = {"errors", "stats", "framing", "presets", "_description", "_binary", "_text", "_delimited"}


def imports_of(path: Path) -> set[str]:
    """The modules of this package that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            found |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_no_other_file_names_an_engine(path: Path) -> None:
    if path.name == "_engine.py" or path.stem.startswith("_pure"):
        return
    assert "_speedups" not in path.read_text("utf-8")
    assert not any(name.startswith("_pure") for name in imports_of(path))


@pytest.mark.parametrize("name", sorted(DESCRIPTIONS))
def test_descriptions_import_nothing_above_them(name: str) -> None:
    assert imports_of(PACKAGE / f"{name}.py") <= DESCRIPTIONS


# --- The cost of an import -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pure", ["1", None])
def test_import_brings_little_beyond_socket(pure: str | None) -> None:
    code = """
import socket, sys
before = set(sys.modules)
import fastframe
print(*sorted(set(sys.modules) - before))
"""
    done = python(code, pure)
    assert done.returncode == 0, done.stderr
    new = {name.split(".")[0] for name in done.stdout.split()}
    assert "fastframe" in new
    dear = {"asyncio", "dataclasses", "inspect", "json", "logging", "multiprocessing", "pickle", "re", "ssl", "typing"}
    assert not new & dear


# --- One face --------------------------------------------------------------------------------------------------------

CLASSES = ["Decoder", "FrameBatch", "FrameReader", "FrameWriter", "Poller"]


def public(cls: Any) -> dict[str, Any]:
    """Public names, those of object aside."""
    return {name: getattr(cls, name) for name in dir(cls) if not name.startswith("_")}


@pytest.mark.parametrize("name", CLASSES)
def test_classes_have_the_same_names(both: Any, name: str) -> None:
    first, second = (set(public(getattr(engine, name))) for engine in both)
    assert first == second


@pytest.mark.parametrize("name", CLASSES)
def test_everything_public_is_documented(engine: Any, name: str) -> None:
    cls = getattr(engine, name)
    assert cls.__doc__
    assert [attribute for attribute, value in public(cls).items() if not getattr(value, "__doc__", None)] == []


def bare(text: str | None) -> str:
    """A docstring without the signature that Cython puts before it."""
    lines = inspect.cleandoc(text or "").splitlines()
    if lines and re.fullmatch(r"[\w.]+\(.*\)( -> .+)?", lines[0]):
        lines = lines[1:]
    return "\n".join(lines).strip()


@pytest.mark.parametrize("name", CLASSES)
def test_docstrings_are_the_same(both: Any, name: str) -> None:
    first, second = (getattr(engine, name) for engine in both)
    assert bare(first.__doc__) == bare(second.__doc__)
    for attribute, value in public(first).items():
        assert (attribute, bare(value.__doc__)) == (attribute, bare(public(second)[attribute].__doc__))


@pytest.mark.parametrize("name", CLASSES)
def test_signatures_are_the_same(both: Any, name: str) -> None:
    first, second = (public(getattr(engine, name)) for engine in both)
    for attribute, value in first.items():
        if callable(value):
            signatures = [inspect.signature(each).replace(return_annotation="") for each in (value, second[attribute])]
            plain = [[(p.name, p.kind, p.default) for p in each.parameters.values()] for each in signatures]
            assert (attribute, plain[0]) == (attribute, plain[1])


def test_wait_takes_the_same_arguments(both: Any) -> None:
    names = [list(inspect.signature(engine.wait).parameters) for engine in both]
    assert names[0] == names[1] == ["fd", "for_write", "timeout", "other"]


def test_engine_reloads_or_refuses_cleanly() -> None:
    before = ff.Decoder
    try:
        importlib.reload(_engine)
    finally:
        Framing._decoder = before
    assert ff.Netstring().decode(b"1:a,") == [b"a"]


# --- What is imported late -------------------------------------------------------------------------------------------


def test_faces_cost_nothing_until_they_are_used() -> None:
    script = """
        import sys
        import fastframe

        late = {"asyncio", "anyio", "logging", "ssl", "dataclasses", "fastframe.server", "fastframe.asyncio"}
        assert not late & set(sys.modules), late & set(sys.modules)
        assert {"Server", "serve", "Limits", "asyncio", "anyio"} <= set(dir(fastframe))
        assert fastframe.Server is fastframe.server.Server
        assert fastframe.asyncio.open_connection and "asyncio" in sys.modules
        try:
            fastframe.nothing
        except AttributeError as error:
            assert str(error) == "module 'fastframe' has no attribute 'nothing'"
        else:
            raise AssertionError
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)
