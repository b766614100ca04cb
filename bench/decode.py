"""What decoding in memory costs, against C doing the same work in the same run.

    python bench/decode.py [--rounds 9] [--size 16] [--json FILE]

CPU nanoseconds per frame of `sum(map(len, Decoder(LengthField(4)).feed(chunk)))` on 64 KiB
chunks, for both engines, against a C loop that parses, allocates, copies and frees each frame,
and `asyncio.StreamReader.readexactly` twice a frame. Every answer is checked before it is
timed; the rounds are interleaved and the median of them is told, with their spread.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import importlib
import json
import os
import pathlib
import platform
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

CHUNK = 64 * 1024
HERE = pathlib.Path(__file__).parent


def c_loop(folder: str, name: str) -> Callable[[bytes, int], int]:
    """The loop `name` of reference.c, compiled by the system's compiler into `folder`."""
    library = os.path.join(folder, "reference.so")
    if not os.path.exists(library):
        compiler = os.environ.get("CC", "cc")
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", str(HERE / "reference.c"), "-o", library], check=True)
    function = getattr(ctypes.CDLL(library), name)
    function.restype = ctypes.c_uint64
    function.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p]
    frames = (ctypes.c_void_p * CHUNK)()

    def run(chunk: bytes, rounds: int) -> int:
        return int(function(chunk, len(chunk), rounds, frames))

    return run


def engine_loop(module: str) -> Callable[[bytes, int], int]:
    """`feed` of the engine in `module`, a Decoder for all chunks."""
    from fastframe import LengthField

    decoder_class = importlib.import_module(module).Decoder

    def run(chunk: bytes, rounds: int) -> int:
        decoder = decoder_class(LengthField(4))
        return sum(sum(map(len, decoder.feed(chunk))) for _ in range(rounds))

    return run


def streams_loop(chunk: bytes, rounds: int) -> int:
    """asyncio's streams, as most people write it: the header, then the payload."""

    async def read() -> int:
        total = 0
        for _ in range(rounds):
            reader = asyncio.StreamReader(limit=2 * CHUNK)
            reader.feed_data(chunk)
            reader.feed_eof()
            for _ in range(count):
                (size,) = struct.unpack(">I", await reader.readexactly(4))
                total += len(await reader.readexactly(size))
        return total

    count = chunk.count(chunk[:4])
    return asyncio.run(read())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds (default 9)")
    parser.add_argument("--size", type=int, default=16, help="payload bytes (default 16)")
    parser.add_argument("--json", type=pathlib.Path, help="write the raw numbers here")
    options = parser.parse_args()

    frame = struct.pack(">I", options.size) + b"x" * options.size
    count = CHUNK // len(frame)
    chunk = frame * count
    with tempfile.TemporaryDirectory() as folder:
        rivals: dict[str, tuple[Callable[[bytes, int], int], int]] = {
            "C, all of a chunk then freed": (c_loop(folder, "decode"), 2000),
            "C, one by one": (c_loop(folder, "decode_one_by_one"), 2000),
            "fastframe, Cython": (engine_loop("fastframe._speedups"), 500),
            "fastframe, pure": (engine_loop("fastframe._pure"), 100),
            "asyncio streams, readexactly twice": (streams_loop, 5),
        }
        for name, (run, _) in rivals.items():
            if run(chunk, 2) != 2 * count * options.size:
                sys.exit(f"{name}: wrong answer")
        times: dict[str, list[float]] = {name: [] for name in rivals}
        for _ in range(options.rounds):
            for name, (run, repeat) in rivals.items():
                start = time.process_time_ns()
                run(chunk, repeat)
                times[name].append((time.process_time_ns() - start) / (repeat * count))
    print(
        f"{platform.python_implementation()} {platform.python_version()}, {options.size} byte payloads, CPU ns a frame"
    )
    reference = statistics.median(times["C, all of a chunk then freed"])
    for name, values in times.items():
        ratios = [a / b for a, b in zip(values, times["C, all of a chunk then freed"], strict=True)]
        print(
            f"{name:36} {statistics.median(values):8.1f}  ({min(values):.1f} to {max(values):.1f})"
            f"  {statistics.median(values) / reference:7.2f} times C, by rounds {statistics.median(ratios):.2f}"
        )
    if options.json:
        options.json.write_text(json.dumps({"python": sys.version, "size": options.size, "ns": times}, indent=1))


if __name__ == "__main__":
    main()
