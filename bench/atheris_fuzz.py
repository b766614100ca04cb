"""Coverage-guided fuzzing of the Cython engine, under AddressSanitizer and UndefinedBehaviorSanitizer.

    apt-get install clang                                               # Linux, once
    python3 -m venv .fuzz
    .fuzz/bin/pip install atheris                                       # CPython 3.11 to 3.14 have wheels
    CC=clang FASTFRAME_BUILD=fuzz FASTFRAME_PURE=0 .fuzz/bin/pip install --force-reinstall --no-deps .
    .fuzz/bin/python bench/atheris_fuzz.py [--runs 100000000] [--seconds 3600] [--cuts] [--corpus DIR]

One input leads to many runs; a run is one stream through one fresh Decoder or FrameReader (fuzz_target.py says what
is compared). Told at the end: inputs, decoder runs, runs a second, the edges of the engine's control flow that were
covered, findings. The corpus is read and added to. A finding ends it with status 1; its input is kept, and
`--replay FILE` shows it again.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import re
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LONGEST = 120  # bytes of an input
HANGS = 60  # seconds for an input
SAID = 60  # seconds between two lines of progress
STEP = 2  # seconds between two counts by the child
INTERRUPTED = 72  # libFuzzer's exit status after a signal from outside

ASAN = "detect_leaks=0:allocator_may_return_null=1:malloc_context_size=1:quarantine_size_mb=2"
UBSAN = "print_stacktrace=1:halt_on_error=1"
PULSE = re.compile(r"#\d+\s+[\w-]+\s+cov: (\d+) ft: (\d+) corp: (\d+)")
COUNT = re.compile(r"@ (\d+) (\d+) (\d+)$")


# --- The fuzzer's process --------------------------------------------------------------------------------------------


def fuzz(runs: int, seconds: float, cuts: bool, options: list[str]) -> None:
    """Run under libFuzzer until so many decoder runs are made, or the time is over. Doesn't return."""
    sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]
    import atheris

    with atheris.instrument_imports(include=["fastframe"]):  # the descriptions' branches guide it too
        from fastframe import _speedups
    from fuzz_cuts import Cuts
    from fuzz_input import FRAMING
    from fuzz_target import Target

    target = Cuts(_speedups) if cuts else Target(_speedups)
    gc.freeze()
    gc.set_threshold(10_000)
    start = said = time.monotonic()

    def test(data: bytes) -> None:
        nonlocal said
        target(data)
        if target.inputs % 64:
            return
        now = time.monotonic()
        over = target.runs >= runs or now - start >= seconds
        if over or now - said >= STEP:
            said = now
            print("@", target.inputs, target.runs, target.writers, file=sys.stderr, flush=True)
        if over:
            os._exit(0)

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        """libFuzzer's mutation, or a random part: it keeps to short inputs and small steps, which miss what is rare."""
        rng = random.Random(seed)
        kind = rng.randrange(6)
        if kind == 0:  # another description for the same stream
            return rng.randbytes(FRAMING) + data[FRAMING:]
        if kind == 1:  # another stream for the same description
            return data[:FRAMING] + rng.randbytes(rng.randint(0, most - FRAMING))
        if kind == 2:
            return rng.randbytes(rng.randint(0, most))
        return atheris.Mutate(data, most)

    atheris.Setup([sys.argv[0], *options], test, custom_mutator=mutated)
    atheris.Fuzz()


# --- The process that starts it --------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """With the sanitizers' runtime, which has libFuzzer in it. Ends the program if something is missing."""
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is missing: pip install atheris")
    spec = find_spec("fastframe")
    folder = Path(spec.origin).parent if spec and spec.origin else HERE
    built = [
        path for path in folder.glob("_speedups.*.so") if b"__sanitizer_cov_8bit_counters_init" in path.read_bytes()
    ]
    if not built:
        sys.exit(f"fastframe, in {folder}, isn't built for this: see the top of {__file__}")
    runtime = Path(atheris.path()) / "asan_with_fuzzer.so"
    ours = {"LD_PRELOAD": str(runtime), "PYTHONMALLOC": "malloc", "ASAN_OPTIONS": ASAN, "UBSAN_OPTIONS": UBSAN}
    return {**os.environ, **ours, "FASTFRAME_PURE": "0", "PYTHONHASHSEED": "0"}


class Told:
    """What the fuzzer's process has said so far."""

    def __init__(self) -> None:
        self.start = self.said = time.monotonic()
        self.inputs = self.runs = self.writers = 0
        self.edges = self.features = self.corpus = 0
        self.finding = ""

    def hear(self, line: str) -> None:
        """Take a line; pass on what isn't a number."""
        if pulse := PULSE.match(line):
            self.edges, self.features, self.corpus = map(int, pulse.groups())
        elif count := COUNT.match(line):
            self.inputs, self.runs, self.writers = map(int, count.groups())
            if time.monotonic() - self.said >= SAID:
                self.said = time.monotonic()
                print(self, flush=True)
        else:
            if "Test unit written to" in line:
                self.finding = line.rsplit(maxsplit=1)[-1]
            print(line, flush=True)

    def __str__(self) -> str:
        took = max(time.monotonic() - self.start, 1e-9)
        return (
            f"{took:.0f} s: {self.inputs} inputs, {self.runs} decoder runs ({self.runs / took:.0f} a second),"
            f" {self.writers} writer runs, {self.edges} edges, {self.features} features, corpus {self.corpus}"
        )


def watch(command: list[str]) -> Told:
    """Run the fuzzer's process and tell what it says."""
    told = Told()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace", env=environment()) as process:
        assert process.stderr is not None
        for line in process.stderr:
            told.hear(line.rstrip())
    if process.returncode == INTERRUPTED:
        sys.exit(f"{told}\ninterrupted")
    if process.returncode and not told.finding:
        told.finding = f"exit status {process.returncode}"
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=100_000_000, help="decoder runs")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--corpus", type=Path, help="a directory of inputs, made if it isn't there")
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument("--replay", type=Path, help="run this input alone")
    parser.add_argument(
        "--cuts", action="store_true", help="nothing but cuts in two: fewer checks, five times the runs"
    )
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    args: Any = parser.parse_args()
    if args.child is not None:
        fuzz(args.runs, args.seconds, args.cuts, args.child)
    options = [f"-seed={args.seed}", f"-max_len={LONGEST}", "-len_control=0", f"-timeout={HANGS}", "-rss_limit_mb=4096"]
    options += ["-artifact_prefix=finding-", "-detect_leaks=0"]
    if args.replay:
        options.append(str(args.replay))
    elif args.corpus:
        args.corpus.mkdir(parents=True, exist_ok=True)
        options.append(str(args.corpus))
    limits = [f"--runs={args.runs}", f"--seconds={args.seconds}", *["--cuts"] * args.cuts]
    told = watch([sys.executable, __file__, *limits, "--child", *options])
    if args.replay:
        print("it fails" if told.finding else "it passes")
    elif told.finding:
        print(f"{told}\nFINDING: replay it with {sys.executable} {__file__} --replay {told.finding}")
    else:
        print(f"{told}\nno finding")
    return int(bool(told.finding))


if __name__ == "__main__":
    sys.exit(main())
