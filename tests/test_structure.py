"""How the files hang together: each source has its tests, imports go down only, and no file is too long to be read."""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import fastframe

TESTS = Path(__file__).parent
CHECKOUT = TESTS.parent / "src" / "fastframe"
SOURCE = CHECKOUT if CHECKOUT.is_dir() else Path(fastframe.__file__).parent
"""The checkout's sources, or what is installed where the tests stand alone."""

PYTHON = sorted(SOURCE.rglob("*.py"))
CYTHON = sorted(path for path in SOURCE.rglob("*") if path.suffix in (".pyx", ".pxi", ".pxd"))
MAX_LINES = 500

named = pytest.mark.parametrize("path", [*PYTHON, *CYTHON], ids=lambda path: path.relative_to(SOURCE).as_posix())


# --- A test file for each source -------------------------------------------------------------------------------------

TESTED_BY = {
    "__init__.py": "test_engine.py",
    "cli/__init__.py": "test_main.py",
    "cli/peer.py": "test_pair.py",
    "cli/verbs.py": "test_main.py",
    "stats.py": "test_decoder.py",
    "_aio_inbox.py": "test_aio_connection.py",
    "_calls.py": "test_connection_time.py",
    "_sending.py": "test_connection.py",
    "_service.py": "test_server.py",
    "_handle.pxi": "test_wait.py",
    "_slices.pxi": "test_connection.py",
    "_pure_slices.py": "test_connection.py",
    "_lead.pxd": "test_writer.py",
    "_outbox.pxi": "test_writer.py",
    "_pure.py": "test_decoder.py",
    "_pure_batch.py": "test_batch.py",
    "_pure_core.py": "test_faults.py",
    "_pure_encoding.py": "test_encoding.py",
    "_pure_guard.py": "test_concurrency.py",
    "_pure_io.py": "test_wait.py",
    "_pure_loops.py": "test_parity.py",
    "_pure_reader.py": "test_reader.py",
    "_pure_writer.py": "test_writer.py",
    "_pure_parser.py": "test_parity.py",
    "_pure_poller.py": "test_poller.py",
    "_plan.pxi": "test_parity.py",
    "_scan.pxd": "test_parity.py",
    "_speedups.pyx": "test_wait.py",
    "_stream.pxi": "test_faults.py",
}
"""Sources without a test file of their name: an engine's parts are tested by what they do, on both engines."""


def own_test(path: Path) -> Path:
    """The test file that has the source's name."""
    return TESTS / f"test_{path.stem.strip('_')}.py"


@named
def test_every_source_has_its_tests(path: Path) -> None:
    other = TESTED_BY.get(path.relative_to(SOURCE).as_posix())
    assert own_test(path).exists() if other is None else (TESTS / other).exists()


@pytest.mark.skipif(not CHECKOUT.is_dir(), reason="an installed package doesn't hold all sources")
def test_the_list_of_exceptions_holds_nothing_else() -> None:
    for name in TESTED_BY:
        assert (SOURCE / name).exists(), f"{name} has gone"
        assert not own_test(SOURCE / name).exists(), f"{name} has its own test file"


# --- Imports go down only --------------------------------------------------------------------------------------------

DESCRIPTIONS = {"errors", "stats", "_description", "_binary", "_text", "_delimited", "framing", "presets"}
FLOORS = ["descriptions", "engine", "faces", "package", "command line"]


def floor_of(module: str) -> int:
    """A module's floor. What isn't on another is a face, or a part of one."""
    first = module.partition(".")[0]
    if first in DESCRIPTIONS:
        floor = "descriptions"
    elif first in ("_engine", "_channel", "_readiness", "_speedups", "_scan", "_lead") or first.startswith("_pure"):
        floor = "engine"
    elif first == "__init__":
        floor = "package"
    elif first in ("cli", "__main__"):
        floor = "command line"
    else:
        floor = "faces"
    return FLOORS.index(floor)


def module_of(path: Path) -> str:
    """The dotted name within the package; a folder's own is that of its `__init__`. The Cython files are one module."""
    return "_speedups" if path in CYTHON else ".".join(path.relative_to(SOURCE).with_suffix("").parts)


def resolved(path: Path, level: int, module: str | None, names: list[str]) -> set[str]:
    """Modules of this package that `from (level dots)module import names` imports: the folder's, or the file's."""
    if level:
        folder = path.parents[level - 1]
    elif module is not None and module.split(".")[0] == "fastframe":
        folder, module = SOURCE, module.partition(".")[2]
    else:
        return set()
    place = folder.joinpath(*module.split(".")) if module else folder
    if not place.is_dir():
        return {".".join(place.relative_to(SOURCE).parts)}
    prefix = [*place.relative_to(SOURCE).parts]
    within = {name for name in names if (place / f"{name}.py").exists() or (place / name).is_dir()}
    found = {".".join([*prefix, name]) for name in within}
    return found if within == set(names) and names else found | {".".join([*prefix, "__init__"])}


def imports_of(path: Path, types: bool = True) -> set[str]:
    """The modules of this package that a file imports; with types=False, but for those that only a type checker sees."""
    text = path.read_text("utf-8")
    if path in CYTHON:
        lines = re.findall(r"^\s*from\s+(\.*)([\w.]*)\s+c?import", text, re.MULTILINE)
        plain = re.findall(r"^\s*c?import\s+(fastframe[\w.]*)", text, re.MULTILINE)
        return set().union(*(resolved(path, len(dots), module or None, []) for dots, module in lines)) | set().union(
            *(resolved(path, 0, module, []) for module in plain)
        )
    found: set[str] = set()
    for node in nodes(ast.parse(text), types):
        if isinstance(node, ast.ImportFrom):
            found |= resolved(path, node.level, node.module, [alias.name for alias in node.names])
        elif isinstance(node, ast.Import):
            for alias in node.names:
                found |= resolved(path, 0, alias.name, [])
    return found


def nodes(tree: ast.AST, types: bool) -> Iterator[ast.AST]:
    """All nodes; with types=False, but for those under `if TYPE_CHECKING`."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        hidden = isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"
        if types or not hidden:
            yield from nodes(child, types)


@named
def test_imports_go_down_only(path: Path) -> None:
    floor = floor_of(module_of(path))
    above = {name: FLOORS[floor_of(name)] for name in imports_of(path) if floor_of(name) > floor}
    assert not above, f"{path.name} is on the floor {FLOORS[floor]!r}"


def test_no_import_goes_in_a_circle() -> None:
    graph = {module_of(path): imports_of(path, types=False) for path in PYTHON}
    assert set(TopologicalSorter(graph).static_order()) >= set(graph)


def words(path: Path) -> Iterator[str]:
    """All that a file's code names: variables, attributes, what it imports, and its strings."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        for _, value in ast.iter_fields(node):
            for word in value if isinstance(value, list) else [value]:
                if isinstance(word, str):
                    yield word


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_only_one_file_names_the_engines(path: Path) -> None:
    named = {word for word in words(path) if re.search(r"(?<!\w)_(speedups|pure)", word)}
    if path.name == "_engine.py":
        assert named
    elif not path.name.startswith("_pure"):
        assert not named


def test_these_tests_see_what_they_look_for() -> None:
    connection, speedups = imports_of(SOURCE / "connection.py"), imports_of(SOURCE / "_engine.py")
    assert {"_engine", "_gate", "framing", "stats"} <= connection
    assert "stats" not in imports_of(SOURCE / "connection.py", types=False)
    assert {"_pure", "_speedups", "_description"} == speedups
    for path in CYTHON:
        if path.name == "_speedups.pyx":
            assert {"errors", "framing", "stats", "_description"} <= imports_of(path)
    assert [floor_of(name) for name in ("errors", "_pure_io", "_gate", "__init__", "cli.demo")] == list(range(5))


@pytest.mark.parametrize("path", CYTHON, ids=lambda path: path.name)
def test_no_comprehension_in_cython(path: Path) -> None:
    """Cython 3.3's frees an item twice if there is no memory to append it."""
    assert not re.search(r"[\[(][^#\n\]]* for \w+ in ", path.read_text("utf-8"))


# --- Length ----------------------------------------------------------------------------------------------------------

CODE = (".py", ".pyi", ".pyx", ".pxi", ".pxd", ".c", ".h")
FOLDERS = [folder for folder in (SOURCE, TESTS, TESTS.parent / "bench") if folder.is_dir()]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_no_file_is_too_long(folder: Path) -> None:
    paths = [path for path in folder.rglob("*") if path.suffix in CODE and path.is_file()]
    lengths = {path.name: len(path.read_text("utf-8").splitlines()) for path in paths}
    assert lengths
    assert not {name: lines for name, lines in lengths.items() if lines > MAX_LINES}
