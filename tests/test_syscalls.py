"""Few system calls receive much: counted by a preloaded library, in a process of its own for each engine."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from torture import shim

pytestmark = pytest.mark.skipif(shim.missing() is not None, reason=str(shim.missing()))

PIECE = 250_000
"""Bytes that a socket's buffer holds: what the kernel can give in one call."""

BEGIN = """
import fcntl, os, socket, sys
from importlib import import_module
import fastframe as ff
from torture.shim import Shim
engine = import_module(sys.argv[1])
piece = int(sys.argv[2])
framing = ff.LengthField(4)
shim = Shim()
RECEIVING = ("recv", "recvfrom", "recvmsg", "read", "readv")
def calls():
    return sum(shim.counts()[call] for call in RECEIVING)
"""

CHECKS = {
    "small frames": """
ours, peers = socket.socketpair()
peers.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, piece)
shim.mark(ours)
for method in ("read", "read_batch"):
    for size in (1, 16, 60, 996):
        shim.reset()
        shim.mark(ours)
        reader = engine.FrameReader(ours, framing)
        wire = framing.encode_many([b"x" * size] * (1_000_000 // (size + 4)))
        count = 0
        for at in range(0, len(wire), piece):
            peers.sendall(wire[at:at + piece])
            count += len(getattr(reader, method)())
        assert count == 1_000_000 // (size + 4)
        assert calls() <= 5, (method, size, shim.counts())
""",
    "a frame of 1 MiB": """
out, into = os.pipe()
fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, 2**20)
os.set_blocking(out, False)
for method in ("read", "read_batch", "read_one"):
    wire = framing.encode(b"x" * (2**20 - 4))
    assert os.write(into, wire) == len(wire)
    shim.reset()
    shim.mark(out)
    got = getattr(engine.FrameReader(out, framing), method)()
    assert len(got if method == "read_one" else got[0]) == len(wire) - 4
    assert calls() <= 1 + 5, (method, shim.counts())
""",
    "a frame of 1 MiB, as a socket gives it": """
ours, peers = socket.socketpair()
peers.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, piece)
wire = framing.encode(b"x" * 2**20)
shim.mark(ours)
reader = engine.FrameReader(ours, framing)
frames, forced = [], 0
for at in range(0, len(wire), piece):
    peers.sendall(wire[at:at + piece])
    forced += 1
    if frames := reader.read():
        break
    forced += 1 # it has to find out that there is no more
assert len(frames[0]) == 2**20
assert calls() <= forced + 5, shim.counts()
""",
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shim.build(tmp_path_factory.mktemp("syscalls"))


@pytest.mark.parametrize("check", CHECKS.values(), ids=list(CHECKS))
def test_receiving_takes_few_calls(engine: ModuleType, library: Path, check: str) -> None:
    tests = str(Path(__file__).parent)
    environment = {**shim.preloaded(library), "PYTHONPATH": os.pathsep.join([tests, *filter(None, sys.path)])}
    command = [sys.executable, "-c", BEGIN + check, engine.__name__, str(PIECE)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
