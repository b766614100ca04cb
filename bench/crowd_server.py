"""The server of crowd.py: echoes batches until its input ends; at a line of input it tells what it holds.

    python bench/crowd_server.py FRAME_TIMEOUT [traced]

Prints its port, and for each line that comes a line of JSON: `traced`, bytes that Python's allocator has given out (with
tracemalloc, which is for this alone: it makes everything slow); `resident`, bytes of memory; and the server's counts.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import threading
import tracemalloc
from pathlib import Path

import fastframe
from fastframe.server import Client, Limits


class Echo:
    """Sends a batch back at once."""

    def frames(self, conn: Client, frames: list[bytes]) -> None:
        """Frames have come."""
        conn.send_many(frames)


def resident() -> int:
    """Bytes of memory that the process has now."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def held(server: fastframe.Server) -> dict[str, int]:
    """What is told."""
    gc.collect()
    stats = server.stats
    counts = {name: getattr(stats, name) for name in ("connections", "accepted", "finished", "aborted", "failed")}
    traced = tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else 0
    return {"traced": traced, "resident": resident(), **counts}


def attend(server: fastframe.Server) -> None:
    """Answer the lines of the input, until its end."""
    for _ in sys.stdin:
        print(json.dumps(held(server)), flush=True)
    server.shutdown(0)


def main() -> None:
    """Serve."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    limits = Limits(frame_timeout=float(sys.argv[1]))
    with fastframe.Server(Echo(), ("127.0.0.1", 0), fastframe.LengthField(4), limits=limits) as server:
        if "traced" in sys.argv[2:]:
            tracemalloc.start()
        print(server.address[1], flush=True)
        asked = threading.Thread(target=attend, args=[server])
        asked.start()
        server.serve_forever()
    asked.join()


if __name__ == "__main__":
    main()
