"""Places where a signal handler may raise: none of them lies between a `try` and its `finally` and belongs to neither."""

import dis
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

import fastframe

FOLDER = Path(fastframe.__file__).parent

pytestmark = pytest.mark.skipif(
    sys.implementation.name != "cpython" or not hasattr(dis, "_parse_exception_table"),
    reason="reads CPython's bytecode",
)


def codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from codes(const)


def uncovered(code: CodeType) -> list[int]:
    """The lines whose loop goes back by a jump that a `try` around it leaves out, which CPython 3.13 has."""
    parse: Any = vars(dis)["_parse_exception_table"]
    table = parse(code)

    def is_covered(offset: int) -> bool:
        return any(entry.start <= offset < entry.end for entry in table)

    steps = list(dis.get_instructions(code))
    handlers = {step.offset for step in steps if step.opname == "PUSH_EXC_INFO"}
    if not any(entry.target in handlers for entry in table):
        return []  # only comprehensions, which have a handler for the name of their variable
    covered = [is_covered(step.offset) for step in steps]
    return [
        line_of(code, step.offset)
        for index, step in enumerate(steps)
        if step.opname == "JUMP_BACKWARD"
        and not covered[index]
        and any(covered[max(index - 2, 0) : index])
        and is_covered(step.argval)  # else the try is inside the loop
    ]


def line_of(code: CodeType, offset: int) -> int:
    return next(line or 0 for start, stop, line in code.co_lines() if start <= offset < stop)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_no_loop_jumps_out_of_a_try(path: Path) -> None:
    """There an exception would skip the `finally`: a lock would stay taken."""
    for code in codes(compile(path.read_text("utf-8"), str(path), "exec")):
        if not code.co_flags & inspect.CO_GENERATOR:  # those have a handler of their own around all
            assert not uncovered(code), f"{code.co_qualname}: move the loop into a function of its own"


def test_this_test_sees_what_it_looks_for() -> None:
    source = "def f(a):\n try:\n  return [x for x in a if x]\n finally:\n  g()\n"
    found = [line for code in codes(compile(source, "", "exec")) for line in uncovered(code)]
    assert found == [3] or sys.version_info[:2] != (3, 13)
