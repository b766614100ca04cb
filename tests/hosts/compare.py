"""The hosts' own test suites, run unchanged against host and drop-in, and compared test by test.

    python tests/hosts/compare.py [--show] [SUITE ...]

Each suite runs in a process of its own for each of the two, all of them in a minute or two. Exit status 1: a test that passes
with the host doesn't with the drop-in. A suite whose host isn't installed is named and left out; none at all is an error.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from suite import MODULES

HERE = Path(__file__).parent
LONG = 300.0
"""Seconds after which a suite hangs."""


def outcomes(suite: str, replaced: bool, show: bool) -> dict[str, str]:
    """What became of each test of a suite, with the drop-in in the host's place or not."""
    env = os.environ | {"FASTFRAME_REPLACES": suite.partition("-")[0] if replaced else ""}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HERE / "replaced"), str(HERE), env.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "outcomes"
        process = subprocess.run(
            [sys.executable, HERE / "suite.py", suite, file],
            env=env,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LONG,
            check=False,
        )
        if show or not file.exists():
            print(process.stdout.decode(errors="replace"))
        if not file.exists():
            raise SystemExit(f"{suite}: the tests didn't come to their end (exit status {process.returncode})")
        found: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
        return found


def worse(host: dict[str, str], dropin: dict[str, str]) -> list[str]:
    """A line for each test that passes, or is skipped, with the host and fares otherwise with the drop-in."""
    return [
        f"{name}: {was} with the host, {dropin.get(name, 'not run')} with the drop-in"
        for name, was in sorted(host.items())
        if was in ("passed", "skipped", "failed as expected") and dropin.get(name) != was
    ]


def is_here(suite: str) -> bool:
    """Whether the host of a suite, and its tests, are installed."""
    needed = (
        "test._test_multiprocessing" if suite.startswith("multiprocessing") else "twisted.protocols.test.test_basic"
    )
    try:
        return importlib.util.find_spec(needed) is not None
    except ModuleNotFoundError:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description="The hosts' own tests, against host and drop-in.")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"only these: {', '.join(MODULES)}")
    parser.add_argument("--show", action="store_true", help="what the tests print")
    chosen = parser.parse_args()
    if unknown := set(chosen.suites) - set(MODULES):
        parser.error(f"no such suite: {', '.join(sorted(unknown))}; there are {', '.join(MODULES)}")
    suites = [suite for suite in chosen.suites or MODULES if is_here(suite)]
    for missing in sorted(set(chosen.suites or MODULES) - set(suites)):
        print(f"{missing}: left out, its host or its tests aren't installed")
    if not suites:
        return 1
    failed = False
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = [pool.submit(outcomes, suite, replaced, chosen.show) for suite in suites for replaced in (False, True)]
        for suite, host, dropin in zip(suites, runs[::2], runs[1::2], strict=True):
            lines = worse(host.result(), dropin.result())
            failed = failed or bool(lines)
            for side, run in (("host", host), ("drop-in", dropin)):
                counts = Counter(run.result().values())
                print(f"{suite:22} {side:8}", ", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
            for line in lines:
                print("    ", line)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
