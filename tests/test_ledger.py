"""The bench's ledger, as small as it goes: the books balance, and who cooks them is found out."""

import importlib
import importlib.util
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import fastframe
from fastframe.server import Client

BENCH = Path(__file__).parent.parent / "bench"
LONG = 120.0

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="its clients use epoll"),
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("click", "rich", "numpy")),
        reason="it needs click, rich and numpy",
    ),
]


def ledger(*arguments: str, pure: str | None = None) -> str:
    """What the command prints, which ends well."""
    environment = {**os.environ, **({} if pure is None else {"FASTFRAME_PURE": pure})}
    command = [sys.executable, str(BENCH / "ledger.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False, env=environment)
    assert done.returncode == 0, done
    return done.stdout


@pytest.mark.parametrize("through", ["server", "server-tls", "asyncio", "uvloop"])
def test_the_books_balance(through: str) -> None:
    if through == "uvloop":
        pytest.importorskip("uvloop")
    printed = ledger("--frames", "30000", "--through", through, "--seed", "3")
    names = "frames", "connections", "resets", "half-closes", "half-closes inside a frame", "stalls"
    counts = {name: int(re.search(rf"([\d,]+) {name}\b", printed)[1].replace(",", "")) for name in names}  # type: ignore[index]
    assert counts["frames"] >= 30_000
    assert counts["connections"] >= 64
    assert 0 < counts["resets"] < counts["connections"]
    assert 0 < counts["half-closes inside a frame"] < counts["half-closes"] < counts["connections"]


def test_the_books_balance_on_the_pure_engine_and_in_several_processes() -> None:
    assert "nothing lost" in ledger("--frames", "30000", "--processes", "2", pure="1")


class Cook:
    """An echo that does something to batches that begin with a small frame, once there were some others."""

    def __init__(self, spoil: Callable[[Client, list[bytes]], list[bytes]]) -> None:
        self._spoil = spoil
        self._batches = 0

    def frames(self, conn: Client, frames: list[bytes]) -> None:
        """Frames have come."""
        self._batches += 1
        if self._batches > 20 and len(frames) > 2 and len(frames[0]) < 100:
            frames = self._spoil(conn, frames)
        conn.send_many(frames)


class Mixed:
    """Gives one client another's frame."""

    def __init__(self) -> None:
        self._last: tuple[Client | None, bytes] = None, b""

    def __call__(self, conn: Client, frames: list[bytes]) -> list[bytes]:
        owner, frame = self._last
        self._last = conn, frames[0]
        return frames if owner is None or owner is conn else [frame, *frames[1:]]


def closed(conn: Client, frames: list[bytes]) -> list[bytes]:
    """Close a client in the middle of all."""
    conn.send_many(frames)
    conn.close()
    return []


SPOILED: dict[str, Callable[[Client, list[bytes]], list[bytes]]] = {
    "lost": lambda conn, frames: frames[1:],
    "doubled": lambda conn, frames: [frames[0], *frames],
    "altered": lambda conn, frames: [frames[0][:-1] + bytes([frames[0][-1] ^ 1]), *frames[1:]],
    "crossed": Mixed(),
    "has closed|has broken|haven't come back": closed,
}


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The bench's module of that name."""
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module("ledger_clients")


@pytest.mark.parametrize("what", SPOILED, ids=["lost", "doubled", "altered", "crossed", "closed"])
def test_the_first_discrepancy_is_found(clients: ModuleType, what: str) -> None:
    with fastframe.Server(Cook(SPOILED[what]), ("127.0.0.1", 0), fastframe.LengthField(4)) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            crowd = clients.Clients([server.address[1]], 1_000_000, 1, None)
            with pytest.raises(clients.Found, match=what):
                crowd.run()
            crowd.close()
        finally:
            server.shutdown(0)
            serving.join()
    assert crowd.counts["frames"] < 1_000_000


def test_a_frame_is_judged_by_what_is_in_it(clients: ModuleType) -> None:
    from ledger_stream import LEAST, Stream, judged  # type: ignore[import-not-found]

    rng = clients.random.Random(5)
    one, other = Stream(rng), Stream(rng)
    data = one.block(3, 10).data
    size = LEAST + 10
    first, second, third = (data[i : i + size] for i in range(0, len(data), size))
    assert judged(second, third).startswith("lost: frame 2")
    assert judged(second, first).startswith("doubled: frame 0")
    assert judged(second, other.block(1, 10).data).startswith("crossed")
    assert judged(second, second[:20] + b"x" + second[21:]).startswith("altered")
    assert judged(second, second[:-1]).startswith("altered")


def test_a_checksum_depends_on_everything(clients: ModuleType) -> None:
    stream = importlib.import_module("ledger_stream")
    numbers = stream.np.arange(2, dtype="<u8")
    sums = [
        stream.checksums(secret, numbers, filler).tolist()
        for secret in (bytes(8), bytes(7) + b"\1")
        for filler in (b"", b"a", b"b")
    ]
    assert len({one for pair in sums for one in pair}) == 12
