"""The verb `nc` as its user sees it: lines and files out, frames back, both ends of a stream, and what goes wrong."""

import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

from click.testing import CliRunner, Result

import fastframe as ff
from connections import Thread, clean, needs_unix, on_engine, reset, rest
from fastframe.cli.expression import framing_of
from fastframe.cli.nc import nc
from test_formats import HOSTILE, json_payload
from tlspairs import CERTIFICATE, contexts

__all__ = ["clean", "on_engine"]

LONG = 60.0
FRAMING = ff.LengthField(4)
WORDS = ("--framing", "u32be")

Serve = Callable[..., tuple[str, ...]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """serve(peer, path=None): where a listener is; it accepts one client and calls peer(socket)."""
    threads: list[Thread] = []

    def start(peer: Callable[[socket.socket], Any], path: str | None = None) -> tuple[str, ...]:
        if path is None:
            listener = socket.create_server(("127.0.0.1", 0))
        else:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(path)
            listener.listen()
        listener.settimeout(LONG)

        def run() -> None:
            with listener:
                sock, _ = listener.accept()
            with sock:
                sock.settimeout(LONG)
                peer(sock)

        where = ("127.0.0.1", str(listener.getsockname()[1])) if path is None else (path,)
        threads.append(Thread(run))
        return where

    yield start
    for thread in threads:
        thread.done()


def run(where: tuple[str, ...], *args: str, data: bytes | None = b"") -> Result:
    done = CliRunner().invoke(nc, [*where, *args], input=data)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def echo(sock: socket.socket) -> None:
    """Give every frame back, to the end; then end."""
    with ff.wrap(sock, FRAMING) as conn:
        for frame in conn:
            conn.send(frame)


def sink(got: list[bytes]) -> Callable[[socket.socket], None]:
    """Keep all bytes that come, to the end; then end."""
    return lambda sock: got.append(rest(sock))


def says(data: bytes) -> Callable[[socket.socket], None]:
    """Send these bytes and end; then take what comes."""

    def peer(sock: socket.socket) -> None:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        rest(sock)

    return peer


# --- What is sent ----------------------------------------------------------------------------------------------------


def test_lines_go_out_and_come_back(serve: Serve) -> None:
    done = run(serve(echo), *WORDS, data=b"hello\n\nworld\nand no line feed")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "hello\n\nworld\nand no line feed\n", "")


def test_a_line_is_a_payload_without_its_line_feed(serve: Serve) -> None:
    got: list[bytes] = []
    assert run(serve(sink(got)), *WORDS, data=b"a\n\nb\xff\0").exit_code == 0
    assert got == [FRAMING.encode_many([b"a", b"", b"b\xff\0"])]


def test_many_lines_arrive_in_order(serve: Serve) -> None:
    lines = [b"%d" % number * (number % 7) for number in range(20_000)]
    done = run(serve(echo), *WORDS, data=b"\n".join(lines) + b"\n")
    assert done.exit_code == 0
    assert done.stdout.encode().split(b"\n") == [*lines, b""]


def test_no_input_is_an_end_at_once(serve: Serve) -> None:
    got: list[bytes] = []
    assert run(serve(sink(got)), *WORDS).exit_code == 0
    assert got == [b""]


def test_files_are_a_frame_each(serve: Serve, tmp_path: Path) -> None:
    payloads = [random.Random(1).randbytes(300_000), b"", b"a\nb\n"]
    args = []
    for number, payload in enumerate(payloads):
        path = tmp_path / str(number)
        path.write_bytes(payload)
        args += ["--file", str(path)]
    got: list[bytes] = []
    assert run(serve(sink(got)), *WORDS, *args, data=b"not this\n").exit_code == 0
    assert got == [FRAMING.encode_many(payloads)]


def test_receiving_goes_on_behind_the_own_end(serve: Serve) -> None:
    def late(sock: socket.socket) -> None:
        taken = rest(sock)
        sock.sendall(FRAMING.encode(b"got %d bytes" % len(taken)))

    done = run(serve(late), *WORDS, data=b"hello\n")
    assert (done.exit_code, done.stdout) == (0, "got 9 bytes\n")


@pytest.mark.parametrize("payload", [b"", bytes(3_000_000)], ids=len)
def test_sending_goes_on_behind_the_peers_end(serve: Serve, payload: bytes, tmp_path: Path) -> None:
    got: queue.Queue[bytes] = queue.Queue()
    path = tmp_path / "payload"
    path.write_bytes(payload)

    def early(sock: socket.socket) -> None:
        sock.shutdown(socket.SHUT_WR)
        got.put(rest(sock))

    assert run(serve(early), *WORDS, "--file", str(path)).exit_code == 0
    assert got.get(timeout=LONG) == FRAMING.encode(payload)
    assert run(serve(early), *WORDS, data=payload + b"\n").exit_code == 0
    assert got.get(timeout=LONG) == FRAMING.encode(payload)


@pytest.mark.parametrize(
    ("framing", "number"), [("LengthField(4, max_size=5)", 3), ("FixedSize(1)", 2), ("Delimiter(b'l', max_size=9)", 3)]
)
def test_a_line_that_is_no_frame_is_named_and_those_before_are_sent(serve: Serve, framing: str, number: int) -> None:
    got: list[bytes] = []
    done = run(serve(sink(got)), "--framing", framing, data=b"a\nbc\nlonger\nlast\n")
    assert done.exit_code == 1
    assert f"line {number} of standard input" in done.stderr
    assert done.stderr.count("\n") == 1
    assert got == [framing_of(framing).encode_many([b"a", b"bc"][: number - 1])]


def test_a_file_that_is_no_frame_is_named(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(300))
    got: list[bytes] = []
    done = run(serve(sink(got)), "--framing", "u8", "--file", str(path))
    assert done.exit_code == 1
    assert f"{path} can't be sent: frame of 300 bytes, limit 255" in done.stderr
    assert got == [b""]


# --- What is shown ---------------------------------------------------------------------------------------------------


def test_no_control_character_reaches_the_terminal(serve: Serve) -> None:
    done = run(serve(says(FRAMING.encode_many(HOSTILE))), *WORDS)
    assert done.exit_code == 0
    assert len(done.stdout.split("\n")) == len(HOSTILE) + 1
    assert all(line.isprintable() for line in done.stdout.split("\n"))


def test_the_formats_of_decode(serve: Serve) -> None:
    stream = FRAMING.encode_many([b"a", b"\xff"])
    done = run(serve(says(stream)), *WORDS, "--format", "json")
    assert [json_payload(line) for line in done.stdout.splitlines()] == [b"a", b"\xff"]
    assert '"offset": 5' in done.stdout
    done = run(serve(says(stream)), *WORDS, "--format", "text")
    assert done.stdout.splitlines() == ["frame 1 at offset 0, 1 bytes: a", r"frame 2 at offset 5, 1 bytes: \xff"]


def test_a_huge_frame(serve: Serve) -> None:
    done = run(serve(says(FRAMING.encode(b"x" * 10_000_000))), *WORDS)
    assert done.exit_code == 0
    assert len(done.stdout) == 10_000_001


# --- What goes wrong -------------------------------------------------------------------------------------------------


def test_a_broken_frame_is_told_behind_the_good_ones(serve: Serve) -> None:
    done = run(serve(says(FRAMING.encode(b"good") + b"HTTP/1.1 400 Bad Request\r\n")), *WORDS)
    assert (done.exit_code, done.stdout) == (1, "good\n")
    assert done.stderr.startswith("FrameTooLarge: frame of 1213486160 bytes")
    assert "frame 2 begins at offset 8" in done.stderr
    assert "48 54 54 50" in done.stderr
    assert "fastframe presets" in done.stderr


def test_a_stream_that_ends_inside_a_frame(serve: Serve) -> None:
    done = run(serve(says(FRAMING.encode(b"good") + b"\0\0\0\x09part")), *WORDS)
    assert (done.exit_code, done.stdout) == (1, "good\n")
    assert done.stderr.startswith("TruncatedFrame: ")
    assert "cut off" in done.stderr


def test_random_bytes(serve: Serve) -> None:
    chance = random.Random(5)
    for _ in range(10):
        data = chance.randbytes(chance.randint(1, 3000))
        done = run(serve(says(data)), "--framing", "u8", data=b"a\nb\n")
        assert done.exit_code in (0, 1)
        assert "Traceback" not in done.stderr
        assert bool(done.stderr) == bool(done.exit_code)


def test_a_reset_is_told_behind_the_good_frames(serve: Serve) -> None:
    def peer(sock: socket.socket) -> None:
        sock.sendall(FRAMING.encode(b"good"))
        sock.recv(100)
        reset(sock)

    done = run(serve(peer), *WORDS, data=b"hello\n")
    assert done.exit_code == 1
    assert done.stdout in ("good\n", "")  # some systems drop what wasn't received before a reset
    assert "the connection broke" in done.stderr


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    done = run(("127.0.0.1", port), *WORDS)
    assert done.exit_code == 1
    assert f"no connection to 127.0.0.1 port {port}: connection refused" in done.stderr
    assert "does the server run" in done.stderr


@needs_unix
def test_a_unix_socket(serve: Serve, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    done = run((path,), *WORDS)
    assert done.exit_code == 1
    assert "there is no such socket" in done.stderr
    done = run(serve(echo, path), *WORDS, data=b"hello")
    assert (done.exit_code, done.stdout) == (0, "hello\n")


def test_a_peer_that_says_nothing_is_left_when_the_time_is_up(serve: Serve) -> None:
    over = threading.Event()

    def silent(sock: socket.socket) -> None:
        over.wait(LONG)

    try:
        done = run(serve(silent), *WORDS, "--timeout", "0.05", data=b"hello\n")
    finally:
        over.set()
    assert done.exit_code == 1
    assert "nothing was sent or received for 0.05 s" in done.stderr


def test_a_connect_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: Any, **__: Any) -> None:
        raise ff.FrameTimeout("not connected in time")

    monkeypatch.setattr(ff, "connect", late)
    done = run(("127.0.0.1", "1"), *WORDS, "--timeout", "3")
    assert done.exit_code == 1
    assert "none in 3 s" in done.stderr
    assert "--timeout" in done.stderr


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["localhost", "http"], "PORT"),
        (["a", "1", "2"], "HOST PORT"),
        (["localhost:80"], "localhost 80"),
        (["localhost", "99999"], "65535"),
        ([], "HOST PORT"),
        (["localhost", "1", "--insecure"], "--tls"),
        (["/tmp/s", "--tls"], "--insecure"),
        (["localhost", "1", "--timeout", "0"], "--timeout"),
        (["localhost", "1", "--timeout", "nan"], "timeout"),
        (["localhost", "1", "--file", "/no/such/file"], "/no/such/file"),
    ],
)
def test_a_wrong_call_is_status_2(args: list[str], told: str) -> None:
    done = run((), *args, *WORDS)
    assert done.exit_code == 2
    assert told in done.output


# --- TLS -------------------------------------------------------------------------------------------------------------


def tls_echo(sock: socket.socket) -> None:
    try:
        wrapped = contexts()[1].wrap_socket(sock, server_side=True)
    except OSError:
        return  # the client doesn't trust it
    echo(wrapped)


@pytest.mark.parametrize("words", [("--ca", str(CERTIFICATE)), ("--insecure",)], ids=lambda words: words[0])
def test_tls(serve: Serve, words: tuple[str, ...]) -> None:
    _, port = serve(tls_echo)
    done = run(("localhost", port), *WORDS, "--tls", *words, data=b"hello\nyou\n")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "hello\nyou\n", "")


def test_a_certificate_that_nobody_trusts(serve: Serve) -> None:
    _, port = serve(tls_echo)
    done = run(("localhost", port), *WORDS, "--tls", data=b"hello\n")
    assert done.exit_code == 1
    assert "--ca" in done.stderr
    assert "--insecure" in done.stderr


def test_a_server_without_tls(serve: Serve) -> None:
    _, port = serve(lambda sock: sock.sendall(b"what is this?\n"))
    done = run(("localhost", port), *WORDS, "--tls", "--insecure", data=b"hello\n")
    assert done.exit_code == 1
    assert "speak TLS" in done.stderr


def test_a_file_that_holds_no_certificate(tmp_path: Path) -> None:
    path = tmp_path / "ca"
    path.write_text("nothing")
    done = run(("localhost", "1"), *WORDS, "--tls", "--ca", str(path))
    assert done.exit_code == 2
    assert "no certificate" in done.stderr


# --- As a process ----------------------------------------------------------------------------------------------------


class TestProcess:
    @pytest.fixture
    def start(self, engine: ModuleType) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
        """start(*args): a process with pipes, on this engine, which doesn't live longer than LONG."""
        pure = "1" if engine.__name__.endswith("_pure") else "0"
        watchdogs: list[threading.Timer] = []

        def start(*args: str, stdin: int = subprocess.PIPE) -> "subprocess.Popen[bytes]":
            process = subprocess.Popen(
                [sys.executable, "-m", "fastframe", "nc", *args],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=os.environ | {"FASTFRAME_PURE": pure, "PYTHONIOENCODING": "utf-8"},
            )
            watchdogs.append(threading.Timer(LONG, process.kill))
            watchdogs[-1].start()
            return process

        yield start
        for watchdog in watchdogs:
            watchdog.cancel()

    def test_a_dialogue(self, serve: Serve, start: Any) -> None:
        with start(*serve(echo), *WORDS) as process:
            for line in (b"one\n", b"two\n"):
                process.stdin.write(line)
                assert process.stdout.readline().split() == line.split()
            out, err = process.communicate(timeout=LONG)
        assert (process.returncode, out, err) == (0, b"", b"")

    def test_a_reader_that_has_seen_enough_ends_it_quietly(self, serve: Serve, start: Any) -> None:
        def flood(sock: socket.socket) -> None:
            try:
                while True:
                    sock.sendall(FRAMING.encode(b"x" * 100) * 1000)
            except OSError:
                pass

        with start(*serve(flood), *WORDS) as process:
            assert process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(LONG) == 1

    @pytest.mark.skipif(os.name != "posix", reason="no SIGINT for one process here")
    def test_an_interrupt_ends_it(self, serve: Serve, start: Any) -> None:
        def peer(sock: socket.socket) -> None:
            sock.sendall(FRAMING.encode(b"hello"))
            rest(sock)

        with start(*serve(peer), *WORDS) as process:
            assert process.stdout.readline() == b"hello\n"
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=LONG)
        assert process.returncode == 130
        assert b"Traceback" not in err

    @pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals here")
    def test_who_types_is_not_waited_for_behind_the_peers_end(self, serve: Serve, start: Any) -> None:
        master, slave = os.openpty()
        try:
            with start(*serve(says(FRAMING.encode(b"bye"))), *WORDS, stdin=slave) as process:
                out, err = process.communicate(timeout=LONG)
            assert (process.returncode, out, err) == (0, b"bye\n", b"")
        finally:
            os.close(master)
            os.close(slave)
