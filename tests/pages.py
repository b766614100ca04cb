"""Pages of documentation: the code they show, and an example run as a reader runs it, alone and in silence."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
CERTIFICATE = Path(__file__).parent / "data" / "localhost.pem"
"""What an example that speaks TLS finds beside itself."""

_NAME = re.compile(r"# (\w+\.py)\n")


class Block(NamedTuple):
    """Code on a page."""

    page: Path
    line: int
    code: str

    @property
    def file(self) -> str | None:
        """The name of the program that it is, if its first line says one: another example runs it."""
        named = _NAME.match(self.code)
        return named and named[1]

    def __str__(self) -> str:
        return f"{self.page.name}-line-{self.line}"


def blocks(page: Path, language: str) -> list[Block]:
    """All of a language; `line` is where the code begins."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [Block(page, text.count("\n", 0, match.start(1)) + 1, match[1]) for match in found]


def run(example: Block, engine: ModuleType, folder: Path) -> None:
    """Run it on this engine, in this empty folder. It fails by an exception, and by any output, warnings included."""
    if sys.platform == "win32" and example.code.startswith("# not on Windows\n"):
        pytest.skip("the example says that it isn't for Windows")
    for block in blocks(example.page, "python"):
        if block.file is not None:
            (folder / block.file).write_text(block.code, encoding="utf-8")
    shutil.copy(CERTIFICATE, folder)
    script = folder / "example.py"
    script.write_text("\n" * (example.line - 1) + example.code, encoding="utf-8")  # a traceback names the page's line
    pure = "1" if engine.__name__.endswith("_pure") else "0"
    command = [sys.executable, "-W", "error", str(script)]
    environment = {**os.environ, "FASTFRAME_PURE": pure}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
