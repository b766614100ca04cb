"""The gate: no hot path may need more instructions a frame than it did, but for 2 %.

    python bench/instructions.py            # compares with baseline.json
    python bench/instructions.py --accept   # writes the new counts there

Counts each path of hot_paths.py for N rounds and for 2N with valgrind's callgrind, in the interpreter that runs this,
and the fastframe installed there: the difference, divided by the frames, is what a frame costs; start-up cancels. Of the
kernel's work nothing is counted, and of time neither: the same build gives the same number on a busy machine too.

The status is 1 if a path got worse; 2 if nothing is known of a path for this kind of build, or it can't be counted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

import callgrind
import fastframe
import hot_paths

BASELINE = Path(__file__).with_name("baseline.json")
PROGRAM = hot_paths.__file__
TOLERANCE = 0.02
ROUNDS = 2
GROUPS = 7
"""So many processes count the Cython engine's paths: few, as each start takes seconds; and many, as each is a step of the bar."""

PURE = ("feed-u32-16", "feed-line-16", "feed_batch-16", "pop-16", "read-16", "read_one-16", "write-16", "write_many-16")
"""The paths that are counted in the pure engine too."""


def command(names: list[str]) -> list[str]:
    """What is counted."""
    return [sys.executable, PROGRAM, str(ROUNDS), *names]


def instructions(engine: str, names: list[str]) -> dict[str, float]:
    """What a frame costs in each path, by engine and name."""
    counts = {}
    processes = callgrind.count(command(names), FASTFRAME_PURE="1" if engine == "pure" else "0")
    for name, (_, once, twice) in zip(names, processes, strict=True):
        with hot_paths.PATHS[name](fastframe) as path:
            counts[f"{engine} {name}"] = round((twice - once) / (ROUNDS * path.frames), 1)
    return counts


def build() -> str:
    """What the counts depend on: how the interpreter and the extension were built, and the C library."""
    extension = find_spec("fastframe._speedups")
    if fastframe.engine != "cython" or extension is None or extension.origin is None:
        raise RuntimeError("fastframe isn't here with its Cython engine: install it with FASTFRAME_PURE=0")
    compilers = re.findall(rb"(GCC|clang)(?:: \([^)]*\)| version) (\d+)\.", Path(extension.origin).read_bytes())
    compiler = " ".join(part.decode() for part in compilers[-1]) if compilers else "an unknown compiler"
    shared = "shared" if sysconfig.get_config_var("Py_ENABLE_SHARED") else "static"
    python = f"{platform.python_implementation()} {platform.python_version()} {shared}"
    libc = " ".join(platform.libc_ver())
    return f"{python}, {platform.machine()}, {compiler}, {libc}"


def count_all() -> dict[str, float]:
    """Every path."""
    paths = list(hot_paths.PATHS)
    groups = [("pure", [*PURE])] + [("cython", paths[start::GROUPS]) for start in range(GROUPS)]
    counts: dict[str, float] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(instructions, *group) for group in groups]
        try:
            for job in track(as_completed(jobs), "counting", len(jobs), console=Console(stderr=True)):
                counts |= job.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    wanted = [f"cython {path}" for path in paths] + [f"pure {path}" for path in PURE]
    return {name: counts[name] for name in wanted}


def changes(before: dict[str, float], now: dict[str, float]) -> dict[str, float]:
    """By how much each path that has a baseline changed: 0.01 is 1 % more."""
    return {name: count / before[name] - 1 for name, count in now.items() if name in before}


def table(before: dict[str, float], now: dict[str, float], key: str) -> Table:
    """All paths."""
    rows = Table(title="Instructions a frame", caption=key)
    for heading in ("path", "baseline", "now", "change"):
        rows.add_column(heading, justify="left" if heading == "path" else "right")
    change = changes(before, now)
    for name, count in now.items():
        value = change.get(name)
        style = "" if value is None or abs(value) <= TOLERANCE else "red" if value > 0 else "green"
        told = "new" if value is None else f"{value:+.1%}"
        rows.add_row(name, f"{before[name]:,.1f}" if name in before else "-", f"{count:,.1f}", told, style=style)
    return rows


def judge(before: dict[str, float], now: dict[str, float], key: str) -> int:
    """Say what has changed: the status."""
    accept = f"python {os.path.relpath(__file__)} --accept"
    change = changes(before, now)
    worse = {name: value for name, value in change.items() if value > TOLERANCE}
    better = {name: value for name, value in change.items() if value < -TOLERANCE}
    unknown = now.keys() - before.keys()
    for name, value in worse.items():
        print(f"error: {name} needs {value:.1%} more instructions a frame", file=sys.stderr)
    if worse:
        engine, name = next(iter(worse)).split()
        pure = int(engine == "pure")
        annotate = f"FASTFRAME_PURE={pure} valgrind --tool=callgrind {' '.join(command([name]))}"
        print(f"To see where: {annotate}, then callgrind_annotate its output, at both commits.", file=sys.stderr)
        print(f"If it is worth it: {accept}, and say why in the commit.", file=sys.stderr)
        return 1
    if unknown:
        missing = ", ".join(sorted(unknown)) if before else key
        print(f"error: no baseline for {missing}. To write one: {accept}", file=sys.stderr)
        return 2
    for name, value in better.items():
        print(f"{name} needs {-value:.1%} fewer instructions a frame.")
    if better:
        print(f"To keep it so: {accept}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--accept", action="store_true", help="write the counts to baseline.json")
    options = parser.parse_args()
    try:
        if why := callgrind.missing():
            raise RuntimeError(why)
        key = build()
        now = count_all()
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    known = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    before = known.get(key, {})
    Console().print(table(before, now, key))
    if options.accept:
        BASELINE.write_text(json.dumps(known | {key: now}, indent=1, sort_keys=True) + "\n")
        return 0
    return judge(before, now, key)


if __name__ == "__main__":
    sys.exit(main())
