"""The pairs of docs/migrating.md: what a section shows, before and after.

A section with code has two blocks. Both define the same functions; or the second one says only what changes: imports and
definitions that take the place of those before.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["KINDS", "PAGE", "Names", "Pair", "pairs"]

PAGE = Path(__file__).parents[1] / "docs" / "migrating.md"

Names = dict[str, Any]
"""What a block defines."""

KINDS = {
    "sockets": {"receive(sock)", "send(sock, messages)"},
    "files": {"receive(file)", "send(file, messages)"},
    "loop": {"async receive(host, port)", "async send(host, port, messages)"},
    "callbacks": {"class Peer"},
    "listener": {"listen(address)", "receive(listener)", "send(address, messages)"},
    "pipe": {"pipe()", "receive(conn)", "send(conn, messages)"},
    "twisted": {"class Receiver"},
    "host": {"serve(source, sink, answer)"},
    "trips": {"ask(sock, requests)", "answer(sock)"},
    "calls": {"connection(sock, service)"},
    "pool": {"pool()"},
}
"""What both blocks of a pair define says how they are run: of several that fit, the one with most in it."""


class Pair(NamedTuple):
    """A section's code: before, and after."""

    title: str
    line: int
    before: str
    after: str

    @property
    def kind(self) -> str:
        """A name of KINDS. ValueError if nobody knows how to run it."""
        defined = signatures(self.before)
        kinds = [name for name, wanted in KINDS.items() if wanted <= defined]
        if not kinds:
            raise ValueError(f"{self.title!r}: nobody knows how to run {sorted(defined)}")
        return max(kinds, key=lambda name: len(KINDS[name]))

    @property
    def anchor(self) -> str:
        """What a link to the section names."""
        return re.sub(r"[^\w\- ]", "", self.title.lower()).replace(" ", "-")

    def load(self) -> tuple[Names, Names]:
        """What they define, before and after. ModuleNotFoundError if a host isn't there."""
        after = self.after if KINDS[self.kind] <= signatures(self.after) else changed(self.before, self.after)
        return self._run(self.before), self._run(after)

    def _run(self, code: str) -> Names:
        names: Names = {"__name__": f"migrating.{self.anchor}"}
        exec(compile(code, f"{PAGE.name}, {self.title}", "exec"), names)
        return names


def pairs(page: Path = PAGE) -> list[Pair]:
    """All sections with code. ValueError for one that has anything else than two blocks."""
    text = page.read_text(encoding="utf-8")
    found = []
    for section in re.finditer(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE):
        blocks = re.findall(r"^```python\n(.*?)^```$", section[2], re.DOTALL | re.MULTILINE)
        if blocks:
            if len(blocks) != 2:
                raise ValueError(f"{section[1]!r}: not two blocks but {len(blocks)}")
            found.append(Pair(section[1], text.count("\n", 0, section.start()) + 1, *blocks))
    return found


def signatures(code: str) -> set[str]:
    """The functions and classes that it defines."""
    found = set()
    for node in ast.parse(code).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            how = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
            found.add(f"{how}{node.name}({ast.unparse(node.args)})")
        elif isinstance(node, ast.ClassDef):
            found.add(f"class {node.name}")
    return found


def changed(before: str, after: str) -> str:
    """The code before, with those imports and definitions replaced that the other block has too."""
    tree = ast.parse(before)
    for new in ast.parse(after).body:
        places = [at for at, old in enumerate(tree.body) if named(old) == named(new)]
        if len(places) != 1:
            raise ValueError(f"{ast.unparse(new)!r} takes the place of nothing")
        tree.body[places[0]] = new
    return ast.unparse(tree)


def named(node: ast.stmt) -> list[str]:
    """What a statement defines."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [name.asname or name.name for name in node.names]
    return [getattr(node, "name", "")]
