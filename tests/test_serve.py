"""The verb `serve` as its user sees it: what it is told, frames given back or dropped, and how it ends."""

import logging
import os
import random
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

from click.testing import CliRunner, Result

import fastframe as ff
from connections import needs_fork, needs_unix, rest
from fastframe.cli.nc import nc
from fastframe.cli.serve import Discard, Echo, serve
from fastframe.server import Limits, Server
from tlspairs import CERTIFICATE, contexts

LONG = 60.0
FRAMING = ff.LengthField(4)
WORDS = ("--framing", "u32be")

module = sys.modules["fastframe.cli.serve"]


# --- What it is told -------------------------------------------------------------------------------------------------


class Made(Exception):
    """The server would be made now."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What the command says of the server's logger, it says for its process: here that is the tests'."""
    yield
    logging.getLogger("fastframe.server").setLevel(logging.NOTSET)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]:
    """made(*args): with what arguments the command line makes the server."""

    def server(*given: Any, **words: Any) -> None:
        raise Made(given, words)

    monkeypatch.setattr(module, "Server", server)

    def call(*args: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        done = run(*args)
        assert isinstance(done.exception, Made), done.output
        given, words = done.exception.args
        return given, words

    return call


def run(*args: str) -> Result:
    return CliRunner().invoke(serve, [*args, *WORDS])


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (None, ("127.0.0.1", 0)),
        ("9000", ("127.0.0.1", 9000)),
        (":9000", ("", 9000)),
        ("0.0.0.0:9000", ("0.0.0.0", 9000)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:65535", ("::1", 65535)),
        ("/tmp/s", "/tmp/s"),
        ("./s:1", "./s:1"),
    ],
)
def test_the_address(made: Any, text: str | None, address: Any) -> None:
    (_, given, framing), words = made(*([] if text is None else [text]))
    assert (given, framing) == (address, FRAMING)
    assert words == {"ssl": None, "workers": 1, "limits": Limits()}


def test_the_handler(made: Any) -> None:
    assert isinstance(made()[0][0], Echo)
    assert isinstance(made("--discard")[0][0], Discard)


def test_the_limits(made: Any) -> None:
    words = ("--limit", "max-connections=5", "--limit", "idle_timeout = 1.5", "--limit", "frame_timeout=None")
    assert made(*words)[1]["limits"] == Limits(max_connections=5, idle_timeout=1.5, frame_timeout=None)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["http"], "HOST:PORT"),
        (["localhost"], "HOST:PORT"),
        (["localhost:65536"], "HOST:PORT"),
        (["localhost:-1"], "HOST:PORT"),
        (["--limit", "speed=1"], "max_connections"),
        (["--limit", "backlog"], "number"),
        (["--limit", "backlog=many"], "number"),
        (["--limit", "backlog=0"], "backlog must be at least 1"),
        (["--limit", "backlog=1.5"], "backlog must be an int"),
        (["--limit", "idle_timeout=-1"], "timeout"),
        (["--workers", "0"], "--workers"),
        (["--tls", "/no/such/file"], "/no/such/file"),
        (["--tls", __file__], "PEM"),
    ],
)
def test_a_wrong_call_is_status_2(args: list[str], told: str) -> None:
    done = run(*args)
    assert done.exit_code == 2
    assert told in " ".join(done.output.split())


def test_help_names_every_limit() -> None:
    help_text = run("--help").output
    for name in Limits.__slots__:
        assert f"  {name} " in help_text


def test_an_address_in_use_is_status_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        done = run(place)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"can't listen at {place}: ")
    assert "Port 0" in done.stderr


# --- As a process ----------------------------------------------------------------------------------------------------

graceful = pytest.mark.skipif(os.name != "posix", reason="no SIGINT for one process here")


class Served:
    """A process that serves."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stdout is not None
        self.line = process.stdout.readline()
        found = re.fullmatch(r"listening at (?:127\.0\.0\.1:(\d+)|(.*))\n", self.line)
        assert found is not None
        self.address: Any = ("127.0.0.1", int(found[1])) if found[1] else found[2]

    def end(self, number: int = signal.SIGINT) -> str:
        """What it says on stderr until it ends, which it does well."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=LONG)
        assert self.process.returncode == 0
        assert "Traceback" not in said
        return said


@pytest.fixture
def start(engine: ModuleType) -> Iterator[Callable[..., Served]]:
    """start(*args): a server on this engine, which doesn't live longer than the test."""
    pure = "1" if engine.__name__.endswith("_pure") else "0"
    processes: list[subprocess.Popen[str]] = []

    def begin(*args: str) -> Served:
        process = subprocess.Popen(
            [sys.executable, "-m", "fastframe", "serve", *args, *WORDS],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"FASTFRAME_PURE": pure, "PYTHONIOENCODING": "utf-8"},
            encoding="utf-8",
        )
        processes.append(process)
        return Served(process)

    yield begin
    for process in processes:
        with process:
            process.kill()


def test_frames_come_back_and_the_end_counts_them(start: Any) -> None:
    server = start()
    payloads = [random.Random(1).randbytes(size) for size in (0, 1, 64, 70_000)]
    for _ in range(2):
        with ff.connect(server.address, FRAMING, timeout=LONG) as conn:
            conn.send_many(payloads)
            conn.shutdown_send()
            assert list(conn) == payloads
    if os.name == "posix":
        size = 2 * len(FRAMING.encode_many(payloads))
        assert server.end() == (
            f"2 connections (0 failed, 0 cut off), received 8 frames, {size} bytes, sent 8 frames, {size} bytes\n"
        )


@graceful
def test_discard(start: Any) -> None:
    server = start("--discard")
    with ff.connect(server.address, FRAMING, timeout=LONG) as conn:
        conn.send_many([b"a", b"b"])
        conn.shutdown_send()
        assert list(conn) == []
    assert "received 2 frames, 10 bytes, sent 0 frames, 0 bytes" in server.end()


@graceful
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_its_clients_get_the_end(start: Any, number: int) -> None:
    server = start()
    with ff.connect(server.address, FRAMING, timeout=LONG) as conn:
        conn.send(b"hello")
        assert conn.recv() == b"hello"
        said = server.end(number)
        assert list(conn) == []
    assert said.startswith("1 connections (0 failed, 0 cut off)")


@graceful
def test_a_signal_before_it_serves_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Early(Server):
        def serve_forever(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            super().serve_forever()

    monkeypatch.setattr(module, "Server", Early)
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        done = run()
    finally:
        for number, handler in before:
            signal.signal(number, handler)
    assert done.exit_code == 0
    assert done.stderr.startswith("0 connections")


@graceful
def test_a_second_signal_waits_for_nobody(start: Any) -> None:
    server = start("--limit", "close_timeout=none")
    with socket.create_connection(server.address, LONG) as sock:
        sock.setblocking(False)
        frames = FRAMING.encode(bytes(60_000)) * 10
        while select.select([], [sock], [], 0.5)[1]:  # until it takes no more: nobody reads what it gives back
            sock.send(frames)
        server.process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + LONG
        while True:
            assert time.monotonic() < deadline
            try:
                socket.create_connection(server.address, LONG).close()
            except OSError:
                break
            time.sleep(0.01)
        assert "1 cut off" in server.end()


@graceful
def test_random_bytes_end_one_client_only(start: Any) -> None:
    server = start("--verbose")
    chance = random.Random(9)
    with ff.connect(server.address, FRAMING, timeout=LONG) as conn:
        for _ in range(20):
            with socket.create_connection(server.address, LONG) as sock:
                try:
                    sock.sendall(b"\xff" + chance.randbytes(chance.randint(3, 2000)))
                    rest(sock)
                except ConnectionError:
                    pass
        conn.send(b"hello")
        assert conn.recv() == b"hello"
        conn.shutdown_send()
        assert list(conn) == []
    said = server.end()
    assert "21 connections (20 failed" in said
    assert "connected" in said
    assert "FrameTooLarge" in said
    assert all(line.isprintable() for line in said.splitlines())


@graceful
def test_a_limit_is_kept(start: Any) -> None:
    server = start("--limit", "frame_timeout=0.05")
    with socket.create_connection(server.address, LONG) as sock:
        host, port = sock.getsockname()
        sock.sendall(b"\0\0")
        try:
            assert sock.recv(1) == b""
        except ConnectionError:
            pass
    said = server.end()
    assert f"client {host}:{port}: closed: FrameTimeout: no whole frame within 0.05 seconds\n" in said
    assert "\n1 connections (1 failed" in said


@needs_unix
@graceful
def test_a_unix_socket(start: Any, tmp_path: Path) -> None:
    path = tmp_path / "s"
    server = start(str(path))
    assert server.address == str(path)
    with ff.connect(server.address, FRAMING, timeout=LONG) as conn:
        conn.send(b"hello")
        assert conn.recv() == b"hello"
    server.end()
    assert not path.exists()


@pytest.mark.parametrize("split", [False, True], ids=["together", "apart"])
def test_tls(start: Any, split: bool, tmp_path: Path) -> None:
    words = str(CERTIFICATE)
    if split:
        blocks = re.findall(r"-----BEGIN.*?-----END[^\n]*-----\n", CERTIFICATE.read_text(), re.DOTALL)
        key = next(block for block in blocks if "PRIVATE KEY" in block)
        (tmp_path / "key").write_text(key)
        (tmp_path / "certificate").write_text("".join(block for block in blocks if block != key))
        words = f"{tmp_path / 'certificate'},{tmp_path / 'key'}"
    server = start("--tls", words)
    port = server.address[1]
    with ff.connect(("localhost", port), FRAMING, ssl=contexts()[0], timeout=LONG) as conn:
        conn.send(b"hello")
        assert conn.recv() == b"hello"
    with pytest.raises((ssl.SSLError, ff.FrameError)):
        ff.connect(("localhost", port), FRAMING, ssl=ssl.create_default_context(), timeout=LONG)


def patiently(address: Any) -> ff.Connection:
    """A connection to a server whose workers are about to listen."""
    deadline = time.monotonic() + LONG
    while True:
        try:
            return ff.connect(address, FRAMING, timeout=LONG)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@needs_fork
def test_workers(start: Any) -> None:
    server = start("--workers", "2")
    for _ in range(4):
        with patiently(server.address) as conn:
            conn.send(b"hello")
            assert conn.recv() == b"hello"
            conn.shutdown_send()
            assert list(conn) == []
    assert server.end().startswith("4 connections (0 failed, 0 cut off), received 4 frames, 36 bytes")


def test_nc_speaks_to_it(start: Any) -> None:
    server = start()
    lines = "".join(f"{number}\n" for number in range(5000))
    done = CliRunner().invoke(nc, ["127.0.0.1", str(server.address[1]), *WORDS], input=lines)
    assert (done.exit_code, done.stdout, done.stderr) == (0, lines, "")
