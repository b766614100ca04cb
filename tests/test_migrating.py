"""Migrating, as the guide shows it: the code before and the code after do the same, and understand each other.

Every pair of blocks on the page is run by what its kind says; a pair that nobody knows how to run fails.
"""

import asyncio
import importlib
import os
import re
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import fastframe
from connections import LONG, Thread
from fastframe import _engine
from support import tcp_pair

BENCH = Path(__file__).parent.parent / "bench"
sys.path.append(str(BENCH))
idioms, migrating = map(importlib.import_module, ["idioms", "migrating"])

if not idioms.PAGE.exists():
    pytest.skip("tests were copied without the guides", allow_module_level=True)

PAIRS = idioms.pairs()
MESSAGES = [b"{}", b"", b"x" * 127, b"y" * 128, b"\0\r\n\xff" * 5000, b"z" * 300_000, b"", b"last"]

Names = dict[str, Any]
Carry = Callable[[Names, Names], list[bytes]]


# --- How a kind of pair is run: from one's sender to the other's receiver --------------------------------------------


def by_sockets(sender: Names, receiver: Names) -> list[bytes]:
    ours, theirs = tcp_pair()
    sending = Thread(lambda: sender["send"](theirs, MESSAGES))
    received = list(receiver["receive"](ours))
    sending.done()
    assert ours.fileno() == theirs.fileno() == -1
    return received


def by_files(sender: Names, receiver: Names) -> list[bytes]:
    if sys.platform == "win32":
        pytest.skip("pipes aren't wrapped on Windows")
    reading, writing = os.pipe()
    with open(reading, "rb") as source, open(writing, "wb") as sink:
        sending = Thread(lambda: sender["send"](sink, MESSAGES))
        received = list(receiver["receive"](source))
        sending.done()
        assert source.closed
        assert sink.closed
    return received


def in_loop(sender: Names, receiver: Names) -> list[bytes]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        sending = Thread(lambda: asyncio.run(sender["send"](*address, MESSAGES)))
        source, _ = server.accept()
        receiving = Thread(lambda: asyncio.run(collected(receiver["receive"](*address))))
        sink, _ = server.accept()
        with source, sink:
            while data := source.recv(100_000):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
            sending.done()
            messages: list[bytes] = receiving.done()
    return messages


def by_callbacks(sender: Names, receiver: Names) -> list[bytes]:
    received: list[bytes] = []
    ours, theirs = tcp_pair()
    with ours, theirs, selectors.DefaultSelector() as selector:
        a, b = sender["Peer"](theirs, None), receiver["Peer"](ours, received.append)
        for message in MESSAGES:
            a.send(message)
        selector.register(theirs, selectors.EVENT_WRITE, a.writable)
        selector.register(ours, selectors.EVENT_READ, b.readable)
        while a.pending() or len(received) < len(MESSAGES):
            for key, _ in selector.select(LONG):
                key.data()
        theirs.shutdown(socket.SHUT_WR)
        selector.unregister(theirs)
        assert selector.select(LONG)
        with pytest.raises(EOFError):
            b.readable()
    return received


def by_listener(sender: Names, receiver: Names) -> list[bytes]:
    with receiver["listen"](("127.0.0.1", 0)) as listener:
        sending = Thread(lambda: sender["send"](listener.address, MESSAGES))
        received = list(receiver["receive"](listener))
        sending.done()
    return received


def by_pipe(sender: Names, receiver: Names) -> list[bytes]:
    if sys.platform == "win32":
        pytest.skip("pipes aren't descriptors on Windows")
    (middle, writing), (reading, end) = sender["pipe"](), receiver["pipe"]()

    def relay() -> None:
        with middle, end:
            while data := os.read(middle.fileno(), 100_000):
                while data:
                    data = data[os.write(end.fileno(), data) :]

    threads = [Thread(relay), Thread(lambda: sender["send"](writing, MESSAGES))]
    received = list(receiver["receive"](reading))
    for thread in threads:
        thread.done()
    assert writing.closed
    assert reading.closed
    return received


def by_twisted(sender: Names, receiver: Names) -> list[bytes]:
    from twisted.internet.testing import StringTransport

    received: list[bytes] = []
    a, b, transport = sender["Receiver"](None), receiver["Receiver"](received.append), StringTransport()
    a.makeConnection(transport)
    b.makeConnection(StringTransport())
    for message in MESSAGES:
        a.sendString(message)
    wire = transport.value()
    for at in range(0, len(wire), 1000):
        b.dataReceived(wire[at : at + 1000])
    return received


def through_hosts(first: Names, second: Names) -> list[bytes]:
    """A host answers a host; its answers come here."""
    if sys.platform == "win32":
        pytest.skip("pipes aren't wrapped on Windows")
    ends = [os.pipe() for _ in range(3)]
    source, between, results = (os.fdopen(reading, "rb") for reading, _ in ends)
    requests, answers, sink = (os.fdopen(writing, "wb") for _, writing in ends)
    framing = fastframe.preset("native_messaging")

    def ask(file: Any) -> None:
        with file:
            file.write(framing.encode_many(MESSAGES))

    def serve(host: Names, reading: Any, writing: Any) -> None:
        with reading, writing:
            host["serve"](reading, writing, lambda message: message[::-1])

    threads = [Thread(lambda: serve(first, source, answers)), Thread(lambda: serve(second, between, sink))]
    with results:
        threads.append(Thread(lambda: ask(requests)))
        received: list[bytes] = framing.decode(results.read())
    for thread in threads:
        thread.done()
    return received


def by_trips(sender: Names, receiver: Names) -> list[bytes]:
    ours, theirs = tcp_pair()
    answering = Thread(lambda: receiver["answer"](theirs))
    received = list(sender["ask"](ours, MESSAGES))
    answering.done()
    return received


def by_calls(sender: Names, receiver: Names) -> list[bytes]:
    import rpyc

    class Echo(rpyc.Service):
        @staticmethod
        def exposed_echo(message: bytes) -> bytes:
            return message

    ours, theirs = tcp_pair()
    serving = Thread(lambda: receiver["connection"](theirs, Echo()).serve_all())
    conn = sender["connection"](ours, rpyc.VoidService())
    received = [conn.root.echo(message) for message in MESSAGES]
    conn.close()
    serving.done()
    return received


def by_pool(sender: Names, receiver: Names) -> list[bytes]:
    with sender["pool"]() as pool:
        received: list[bytes] = pool.map(bytes, MESSAGES, chunksize=1)
        pool.close()
        pool.join()
    return received


HARNESSES: dict[str, Carry] = {
    "sockets": by_sockets,
    "files": by_files,
    "loop": in_loop,
    "callbacks": by_callbacks,
    "listener": by_listener,
    "pipe": by_pipe,
    "twisted": by_twisted,
    "host": through_hosts,
    "trips": by_trips,
    "calls": by_calls,
    "pool": by_pool,
}


# --- The pairs -------------------------------------------------------------------------------------------------------


@contextmanager
def faces_on(engine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every face that is imported by now works with this engine."""
    with monkeypatch.context() as patch:
        for name, module in [*sys.modules.items()]:
            if re.match(r"fastframe(\.(?!_pure|_speedups|_engine)|$)", name):
                for what in set(_engine.__all__) - {"engine"}:
                    if vars(module).get(what) is getattr(_engine, what):
                        patch.setattr(module, what, getattr(engine, what))
        yield


def load(pair: Any) -> tuple[Names, Names]:
    """What a pair's blocks define; skipped where their host isn't there. A missing face is a failure."""
    try:
        codes: tuple[Names, Names] = pair.load()
    except ModuleNotFoundError as error:
        if str(error.name).startswith("fastframe"):
            raise
        pytest.skip(f"no {error.name} here")
    return codes


def test_there_are_pairs_of_every_kind() -> None:
    assert {pair.kind for pair in PAIRS} == set(idioms.KINDS) == set(HARNESSES) == set(migrating.WORKS)


each = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.anchor)


@each
def test_before_works(pair: Any) -> None:
    before, _ = load(pair)
    assert HARNESSES[pair.kind](before, before) == MESSAGES


@pytest.mark.parametrize("way", [(0, 1), (1, 0), (1, 1)], ids=["before to after", "after to before", "after to after"])
@each
def test_after_understands_and_is_understood(
    pair: Any, way: tuple[int, int], engine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, threads = load(pair), threading.active_count()
    with faces_on(engine, monkeypatch):
        assert HARNESSES[pair.kind](codes[way[0]], codes[way[1]]) == MESSAGES
    assert threading.active_count() == threads


async def collected(messages: AsyncIterator[bytes]) -> list[bytes]:
    return [message async for message in messages]


def what_is_made_of(wire: bytes, code: Names, kind: str) -> list[bytes]:
    """The messages of a stream that ends behind these bytes."""
    if kind == "files":
        if sys.platform == "win32":
            pytest.skip("pipes aren't wrapped on Windows")
        reading, writing = os.pipe()
        with open(reading, "rb") as source, open(writing, "wb") as sink:
            sink.write(wire)
            sink.close()
            return list(code["receive"](source))
    if kind == "loop":
        with socket.create_server(("127.0.0.1", 0)) as server:
            receiving = Thread(lambda: asyncio.run(collected(code["receive"](*server.getsockname()))))
            with server.accept()[0] as sock:
                sock.sendall(wire)
            received: list[bytes] = receiving.done()
            return received
    ours, theirs = tcp_pair()
    with ours, theirs:
        theirs.sendall(wire)
        theirs.close()
        return list(code["receive"](ours))


@pytest.mark.parametrize(
    "pair", [pair for pair in PAIRS if pair.kind in {"sockets", "files", "loop"}], ids=lambda pair: pair.anchor
)
def test_an_end_inside_a_message_is_hidden_before_and_told_after(
    pair: Any, engine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = load(pair)
    wire = after["FRAMING"].encode_many([b"whole", b"cut off"])[:-1]
    assert what_is_made_of(wire, before, pair.kind) in ([b"whole"], [b"whole", b"cut of"], [b"whole", None])
    with faces_on(engine, monkeypatch), pytest.raises(fastframe.TruncatedFrame):
        what_is_made_of(wire, after, pair.kind)


def test_every_pair_has_a_line_in_a_table() -> None:
    lines = [line for line in idioms.PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| [")]
    assert [re.findall(r"\(#([\w-]+)\)", line) for line in lines] == [[pair.anchor] for pair in PAIRS]


# --- What finds and changes them -------------------------------------------------------------------------------------

PAGE = """# Title
## One
```python
from old import a, b


def pipe():
    return a()


def receive(conn):
    return b


def send(conn, messages):
    pass
```
```python
{after}
```
"""


def page(folder: Path, after: str) -> Any:
    path = folder / "page.md"
    path.write_text(PAGE.format(after=after), encoding="utf-8")
    [pair] = idioms.pairs(path)
    return pair


def test_what_an_after_says_takes_the_place_of_what_was(tmp_path: Path) -> None:
    pair = page(tmp_path, "from new import a, b\n\ndef pipe():\n    return 1")
    assert pair.kind == "pipe"
    code = idioms.changed(pair.before, pair.after)
    assert "from new import a, b" in code
    assert "return 1" in code
    assert "old" not in code
    assert "return a()" not in code


def test_what_takes_no_place_is_refused(tmp_path: Path) -> None:
    pair = page(tmp_path, "from new import c")
    with pytest.raises(ValueError, match="takes the place of nothing"):
        pair.load()


def test_a_pair_that_nobody_can_run_is_refused() -> None:
    with pytest.raises(ValueError, match="nobody knows"):
        _ = idioms.Pair("Title", 1, "def receive(other): ...", "def receive(other): ...").kind


def test_a_section_with_one_block_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("## One\n```python\n```\n", encoding="utf-8")
    with pytest.raises(ValueError, match="not two blocks"):
        idioms.pairs(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the other end is forked")
def test_everything_is_measured() -> None:
    pytest.importorskip("rich")
    code = f"import sys; sys.path.insert(0, {str(BENCH)!r}); import migrating; migrating.SECONDS = 0; migrating.main()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "COLUMNS": "150"}
    command = [sys.executable, "-c", code, "--rounds", "1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    for pair in PAIRS:
        measured = all(re.search(rf"{pair.title} +│ {work} ", done.stdout) for work in migrating.WORKS[pair.kind])
        assert measured or f"left out: {pair.title}: No module" in done.stdout


def test_numbers_go_where_they_belong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "page.md"
    path.write_text("| [one](#one) | wrap | – | – |\n| [two](#two) | wrap | – | – | – |\n", encoding="utf-8")
    monkeypatch.setattr(migrating, "PAGE", path)
    one, two = idioms.Pair("One", 1, "", ""), idioms.Pair("Two", 1, "", "")
    rows = [
        migrating.Row(one, "received, 64 B", [100.0, 100.0, 100.0], [150.0, 250.0, 2000.0]),
        migrating.Row(one, "sent, 64 B", [2e6], [3.1e6]),
        migrating.Row(two, "by the clock, 64 B", [20_000.0], [19_000.0]),
    ]
    migrating.write(rows)
    assert path.read_text(encoding="utf-8").splitlines() == [
        "| [one](#one) | wrap | × 2.5 | × 1.55 |",
        "| [two](#two) | wrap | 20 k | 19 k | × 0.95 |",
    ]
    migrating.write(rows)
    assert rows[0].cells() == ["100", "250", "× 2.5", "1.50 to 20"]
