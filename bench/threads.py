"""Two connections, each received from by a thread of its own, against one after the other in one thread.

    python bench/threads.py [--rounds 5] [--size 64] [--megabytes 400]

CPU time of the process, and time by the clock, for the same frames; the rounds are interleaved, and of each round the ratio
is taken: 1.00 means that a second thread costs nothing and gains nothing. With the GIL parsing happens in one thread at
a time; what runs beside it are the system's calls. In a free-threaded build each thread could parse for itself; none is
supported or measured yet.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import fastframe
from build import build
from wire import Wire

BUILT = Path(__file__).parents[1] / "build" / "bench"


def receive(path: str) -> int:
    """The frames of one connection."""
    count = 0
    with fastframe.connect(path, fastframe.LengthField(4)) as conn:
        try:
            while True:
                count += len(conn.recv_many())
        except fastframe.ConnectionClosed:
            return count


def measured(load: list[str], wire: Wire, times: int, together: bool) -> tuple[float, float]:
    """CPU seconds and seconds, for both connections."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{number}" for number in range(2)]
        sources = [
            subprocess.Popen([*load, "source", f"unix:{path}", str(wire.path), str(times)], stdout=subprocess.PIPE)
            for path in paths
        ]
        for source in sources:
            assert source.stdout is not None
            source.stdout.readline()
        counts: list[int] = []
        threads = [threading.Thread(target=lambda path=path: counts.append(receive(path))) for path in paths]
        wall, cpu = time.perf_counter(), time.process_time()
        for thread in threads:
            thread.start()
            if not together:
                thread.join()
        for thread in threads:
            thread.join()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        for source in sources:
            source.communicate()
    if counts != [wire.frames * times] * 2:
        raise SystemExit(f"{counts} frames came, and not twice {wire.frames * times}")
    return cpu, wall


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=64, help="bytes of a payload")
    parser.add_argument("--megabytes", type=int, default=400, help="of payload, for each connection")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wire = Wire(Path(folder), max(4, (1 << 20) // given.size), given.size)
        times = given.megabytes * 10**6 // (wire.frames * given.size) + 1
        load = build("load", BUILT / "load")
        rounds = [[measured(load, wire, times, together) for together in (False, True)] for _ in range(given.rounds)]
    print(f"{given.size} bytes, two connections, {fastframe.engine} engine")
    for name, index in (("CPU", 0), ("clock", 1)):
        one, two = ([runs[which][index] for runs in rounds] for which in (0, 1))
        ratios = [b / a for a, b in zip(one, two, strict=True)]
        print(
            f"{name:6} one after the other {statistics.median(one):.3f} s, two threads {statistics.median(two):.3f} s, "
            f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
