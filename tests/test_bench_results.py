"""The benchmark's results: kept as they are, compared round by round, and told with what is lost and what is missing."""

import io
import sys
import xml.etree.ElementTree as ET
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rich")
from rich.console import Console

sys.path.append(str(Path(__file__).parent.parent / "bench"))
bars, results, table = map(import_module, ["bars", "results", "table"])

ROUNDS = 3

# matplotlib's own calls of what is deprecated elsewhere.
drawing = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def row(contender: str, *ns: float | None, **given: Any) -> Any:
    """A row of three rounds, of receiving 16 bytes over TCP where nothing else is given."""
    ours = contender in {"reader", "views", "connection", "loop", "trip"}
    common = {"work": "receive", "transport": "tcp", "size": 16, "title": f"the {contender}"}
    common |= {"engine": "cython" if ours else "", "wall": [1.0] * ROUNDS, "ns": [*ns] * (1 if len(ns) > 1 else ROUNDS)}
    return results.Row(**common | {"contender": contender} | given)


def run(*rows: Any, python: str = "CPython 3.13.0, shared", **missing: str) -> Any:
    return results.Results(
        machine={"cpu": "a processor", "cpus": 2},
        versions={"python": python},
        command=["python", "bench/run.py"],
        date="2025-01-02T03:04:05+00:00",
        rounds=ROUNDS,
        rows=[*rows],
        missing=missing,
    )


def told(found: Any, width: int = 200) -> str:
    out = io.StringIO()
    table.show(found, Console(file=out, force_terminal=True, color_system=None, width=width))
    return out.getvalue()


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    found = run(row("c", 10.0, None, 12.5), row("go", failure="exit status 1"), Netty="no Java")
    found.save(tmp_path / "run.json")
    assert results.Results.load(tmp_path / "run.json") == found


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": [{}]}', '{"rows": [], "more": 1}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(ValueError, match=r"other\.json holds no results"):
        results.Results.load(tmp_path / "other.json")


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    found = run(row("c", 10.0, 20.0, 40.0), row("reader", 30.0, 20.0, 80.0))
    assert found.ratio(found.rows[1]) == (2.0, 1.0, 3.0)  # the medians' ratio is 1.5


def test_a_round_without_a_number_is_no_round() -> None:
    found = run(row("c", 10.0, None, 10.0), row("reader", 20.0, 900.0, 40.0), row("go", None, None, 30.0))
    assert found.ratio(found.rows[1]) == (3.0, 2.0, 4.0)
    assert found.ratio(found.rows[2]) == (3.0, 3.0, 3.0)


@pytest.mark.parametrize(
    "other",
    [{"size": 64}, {"transport": "unix"}, {"work": "parse"}, {"batch": 1}, {"connections": 2}, {"in_flight": 2}],
    ids=str,
)
def test_only_the_same_case_is_compared(other: Any) -> None:
    found = run(row("c", 10.0), row("reader", 20.0, **other))
    assert found.ratio(found.rows[1]) is None


@pytest.mark.parametrize("failed", ["c", "reader"])
def test_a_failure_has_no_ratio(failed: str) -> None:
    rows = [row(name, 10.0, failure="boom" if name == failed else "") for name in ("c", "reader")]
    assert run(*rows).ratio(rows[1]) is None


def test_the_best_row_loses_to_who_does_the_same_for_less() -> None:
    rows = [row("c", 10.0), row("reader", 30.0), row("iterate", 40.0, engine="cython"), row("go", 15.0)]
    rows += [row("twisted", 90.0), row("tokio", 29.95), row("erlang", 1.0, failure="boom")]
    losses = run(*rows).losses()
    assert [(loss.ours, loss.rival, loss.ratio) for loss in losses] == [(rows[1], rows[3], (2.0, 2.0, 2.0))]


def test_payloads_in_place_are_another_work() -> None:
    rows = [row("reader", 30.0), row("views", 10.0), row("go", 20.0), row("c-views", 8.0)]
    losses = run(*rows).losses()
    assert [(loss.ours.contender, loss.rival.contender) for loss in losses] == [("reader", "go"), ("views", "c-views")]


def test_bars_missed_and_met() -> None:
    found = run(row("c", 10.0), row("reader", 30.04), row("views", 29.1))
    assert [(one.bar.contender, one.met) for one in bars.judge(found)] == [("reader", True), ("views", False)]
    text = told(found)
    assert "1 of 2 that were measured are met" in text
    assert "read_batch().views(), 16 B: 2.91 times the c (2.9–2.9), the bar is 2.9" in text
    assert "Bars that weren't measured\n  read_batch(), NumPy sum" in text


def test_a_round_trip_is_held_against_the_work_by_hand() -> None:
    rows = [row(name, ns, work="trip", size=64) for name, ns in {"c": 1.0, "by_hand": 10.0, "trip": 11.4}.items()]
    [judged] = bars.judge(run(*rows))
    assert (judged.against, judged.met) == ("the by_hand", True)


def test_nothing_is_claimed_without_rows() -> None:
    found = run(row("reader", 1.0), row("c", None), row("go", 5.0, failure="no route"), Netty="no Java")
    assert bars.judge(found) == found.losses() == []
    text = told(found)
    assert "0 of 0 that were measured" in text
    assert "to no rival that was measured" in text
    assert "Netty: no Java" in text
    assert "failed: the go, 16 B: no route" in text


def test_bars_are_for_one_python() -> None:
    found = run(row("c", 10.0), row("reader", 90.0), python="CPython 3.14.0")
    assert bars.judge(found) == []
    assert "The bars are for CPython 3.13: none is judged here" in told(found)


def test_the_table_names_what_loses() -> None:
    found = run(
        row("c", 10.0, 10.0, 10.0),
        row("reader", 30.0, 30.0, 40.0),
        row("go", 15.0, 15.0, 10.0, note="its own wire format"),
        row("c", 10.0, size=1024),
        row("connection", 20_000.0, work="send", batch=1000),
    )
    lines = [" ".join(line.split()) for line in told(found).splitlines()]
    assert "the c 10.0 ns 10.0 ns" in lines
    assert "the reader 3.0 3.0–4.0" in lines
    assert "the connection 20 µs" in lines
    assert "Sending over TCP, 1000 frames a call" in lines
    assert "16 B the reader 2.00 times the go (its own wire format)" in lines


def test_no_number_is_cut_on_a_narrow_terminal() -> None:
    sizes = (16, 64, 256, 1024, 4096, 65536, 1 << 20)
    rows = [row(name, 10.0, 12.0, 19.0, size=size) for size in sizes for name in ("c", "reader", "multiprocessing")]
    assert "…" not in told(run(*rows), width=80)


@drawing
def test_charts_are_xml_and_always_the_same(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    charts = import_module("charts")
    sizes = (16, 1024)
    rows = [row(name, ns, size=size) for size in sizes for name, ns in {"c": 10.0, "reader": 30.0, "go": 29.0}.items()]
    rows += [row(name, 10.0, work="echo", size=64, connections=64) for name in ("c", "loop")]
    rows += [row(name, 10.0, work="send", batch=1) for name in ("c", "go")]
    files = charts.draw(run(*rows), tmp_path)
    assert {file.name for file in files} == {
        f"{chart}-{theme}.{kind}"
        for chart in ("receive", "echo", "engines")  # no chart of sending without a row of fastframe
        for theme in ("light", "dark")
        for kind in ("svg", "png")
    }
    drawn = {file: file.read_bytes() for file in files}
    for file, content in drawn.items():
        if file.suffix == ".svg":
            ET.fromstring(content)
            assert b"fastframe" in content
        else:
            assert content.startswith(b"\x89PNG")
    charts.draw(run(*rows), tmp_path)
    assert {file: file.read_bytes() for file in files} == drawn


@drawing
def test_labels_keep_their_distance_and_their_place() -> None:
    pytest.importorskip("matplotlib")
    apart = import_module("charts").apart
    assert apart([10, 50, 90], 10, 0, 100) == [10, 50, 90]
    assert apart([50, 50, 52], 10, 0, 100) == pytest.approx([40.67, 50.67, 60.67], abs=0.01)
    assert apart([99, 100], 10, 0, 100) == [90, 100]
    assert apart([0, 1], 10, 0, 100) == [0, 10]
