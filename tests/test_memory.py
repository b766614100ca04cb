"""What many connections hold that have nothing to do: the memory of a process of its own, on each engine."""

import os
import subprocess
import sys
from types import ModuleType

import pytest

resource = pytest.importorskip("resource")

CONNECTIONS = 2_000
READERS = 1_000

pytestmark = [
    pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc here to see memory in"),
    pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="ASan keeps what is freed"),
    pytest.mark.skipif(sys.implementation.name != "cpython", reason="the bounds are CPython's"),
]

BEGIN = """
import gc, os, socket, sys
import fastframe as ff
count = int(sys.argv[1])
framing = ff.LengthField(4)
def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
pairs = [socket.socketpair() for _ in range(count + 1)]
"""

IDLE = """
conns = []
def use(ours, peers):
    conn = ff.wrap(ours, framing)
    peers.sendall(framing.encode_many([b"x" * 100] * 10))
    assert len(conn.recv_many()) == 10
    peers.sendall(framing.encode(b"y"))
    assert conn.recv() == b"y"
    conn.send(b"z" * 1000)
    assert len(peers.recv(2000)) == 1004
    return conn
conns.append(use(*pairs.pop()))
before = resident()
conns += [use(*pair) for pair in pairs]
print((resident() - before) // count)
for conn in conns:
    conn.abort()
"""

UNFINISHED = """
readers = []
def use(ours, peers):
    reader = ff.FrameReader(ours, framing)
    peers.sendall(framing.encode(b"x" * 100) + framing.encode(b"x" * 100)[:50])
    assert len(reader.read()) == 1 and reader.read() == [] and reader.buffered == 50
    return reader
readers.append(use(*pairs[0]))
before = resident()
readers += [use(*pair) for pair in pairs[1:]]
print((resident() - before) // count)
"""


def held(engine: ModuleType, program: str, count: int) -> int:
    """The bytes by which the process has grown, for each of so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * count + 100
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"{needed} descriptors are needed, and only {hard} allowed")
    environment = {
        **os.environ,
        "FASTFRAME_PURE": "1" if engine.__name__.endswith("_pure") else "0",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    try:
        done = subprocess.run(
            [sys.executable, "-c", BEGIN + program, str(count)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_an_idle_connection_holds_little(engine: ModuleType) -> None:
    assert held(engine, IDLE, CONNECTIONS) < 4096


def test_unfinished_frames_dont_hold_a_buffer_each(engine: ModuleType) -> None:
    assert held(engine, UNFINISHED, READERS) < 4096
