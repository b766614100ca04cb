"""The guides hold what they show: every python block runs by itself or is run by another, and every link leads somewhere."""

import re
from pathlib import Path
from types import ModuleType

import pytest

from pages import ROOT, Block, blocks, run

DOCS = ROOT / "docs"
if not DOCS.is_dir():
    pytest.skip("tests were copied without the guides", allow_module_level=True)

GUIDES = sorted(DOCS.glob("*.md"))
PAIRS = DOCS / "migrating.md"
"""Looked up, not read: who comes to it has one kind of code. Its blocks come in pairs, which test_migrating.py runs."""
BLOCKS = [block for guide in GUIDES if guide != PAIRS for block in blocks(guide, "python")]
EXAMPLES = [block for block in BLOCKS if block.file is None]
MAX_LINES = 120
"""Two screens: a reader is in a hurry."""

guides = pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)


def test_there_are_guides() -> None:
    assert GUIDES


@pytest.mark.parametrize("guide", [guide for guide in GUIDES if guide != PAIRS], ids=lambda guide: guide.name)
def test_guide_has_examples_and_is_short(guide: Path) -> None:
    assert any(example.page == guide for example in EXAMPLES)
    assert len(guide.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@guides
def test_code_on_a_guide_is_run(guide: Path) -> None:
    text = guide.read_text(encoding="utf-8")
    fences = re.findall(r"^```(\w*)$", text, re.MULTILINE)
    assert fences == ["python", ""] * (len(fences) // 2)
    for block in blocks(guide, "python"):
        if block.file is not None:
            assert any(block.file in example.code for example in EXAMPLES if example.page == guide)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_example_runs_by_itself_and_in_silence(example: Block, engine: ModuleType, tmp_path: Path) -> None:
    run(example, engine, tmp_path)


def anchors(page: Path) -> set[str]:
    """What a link into the page may name: its headings."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.skipif(not (ROOT / ".github").is_dir(), reason="not a checkout: some of what is linked isn't here")
@guides
def test_links_lead_somewhere(guide: Path) -> None:
    for place in re.findall(r"\]\(([^)]+)\)", guide.read_text(encoding="utf-8")):
        if not place.startswith("https://"):
            name, _, anchor = place.partition("#")
            page = guide.parent / name if name else guide
            assert page.exists(), place
            assert not anchor or anchor in anchors(page), place
