"""TLS with the openssl program at the other end, on both engines: it changes keys and shakes hands anew inside frames."""

import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import fastframe as ff
from connections import LONG, Thread, clean, on_engine, waiting
from tlspairs import CERTIFICATE, contexts, version

__all__ = ["clean", "on_engine", "version"]  # the fixtures that pytest is to find here

OPENSSL = shutil.which("openssl")
FRAMING = ff.Netstring()
ALLOW_CLIENT_RENEGOTIATION = 1 << 8  # which the module ssl doesn't name

pytestmark = pytest.mark.skipif(OPENSSL is None or sys.platform != "linux", reason="no openssl program here")


class Program:
    """openssl s_client or s_server: what it is given, it sends, but for the letters that are commands."""

    def __init__(self, place: Path, version: str, *words: str) -> None:
        self._heard = place / "heard"
        command = [OPENSSL or "", *words, "-tls" + version.replace(".", "_")]
        with open(self._heard, "wb") as heard, open(place / "said", "wb") as said:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=heard, stderr=said)

    def give(self, data: bytes) -> None:
        """Have it read this as it stands: a command is one only where nothing else is read with it."""
        from fcntl import ioctl
        from termios import FIONREAD

        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()
        deadline = time.monotonic() + LONG
        while any(ioctl(self.process.stdin, FIONREAD, bytes(4))):
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def hears(self, *pieces: bytes) -> None:
        """Wait until it has printed all of them."""
        deadline = time.monotonic() + LONG
        while any(piece not in self._heard.read_bytes() for piece in pieces):
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def wait(self) -> bytes:
        """All that it has printed, at its end: its own, as the end of its input would have it leave bytes unread."""
        assert self.process.stdin is not None
        self.process.wait(LONG)
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        return self._heard.read_bytes()


@contextmanager
def speaking(place: Path, version: str, role: str) -> Iterator[tuple[ff.Connection, Program]]:
    """A connection with the program, which is the client or the server."""
    client, server = contexts(version)
    server.options |= ALLOW_CLIENT_RENEGOTIATION
    server.options &= ~ssl.OP_NO_RENEGOTIATION
    client.options &= ~ssl.OP_NO_RENEGOTIATION
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        if role == "client":
            program = Program(place, version, "s_client", "-connect", f"{host}:{port}", "-quiet", "-no_ign_eof")
            sock, _ = listener.accept()
            conn = ff.wrap(server.wrap_socket(sock, server_side=True), FRAMING, timeout=LONG)
    if role == "server":
        words = ["-accept", f"{host}:{port}", "-naccept", "1", "-cert", str(CERTIFICATE)]
        program = Program(place, version, "s_server", *words)
        conn = connected((host, port), client)
    try:
        with conn:
            yield conn, program
    finally:
        program.process.kill()
        program.wait()


def connected(address: Any, context: ssl.SSLContext) -> ff.Connection:
    deadline = time.monotonic() + LONG
    while True:
        try:
            return ff.connect(address, FRAMING, ssl=context, timeout=LONG)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


COMMANDS = {("1.2", "client"): b"RR", ("1.2", "server"): b"rr", ("1.3", "client"): b"kK", ("1.3", "server"): b"kK"}
"""To shake hands anew; to change the keys of one direction, or of both."""


@pytest.mark.parametrize("role", ["client", "server"])
def test_new_keys_inside_frames(version: str, role: str, tmp_path: Path) -> None:
    with speaking(tmp_path, version, role) as (conn, program):
        sent = []
        for number in range(6):
            receiver = waiting(conn.recv)
            program.give(b"300:" + b"x" * 100)
            program.give(COMMANDS[version, role][number % 2 :][:1] + b"\n")
            if version == "1.3":
                # Before 1.3, openssl breaks off where data comes inside of a handshake.
                sent.append(bytes([65 + number]) * 30)
                conn.send(sent[-1])
            program.give(b"y" * 200 + b",")
            assert receiver.done() == b"x" * 100 + b"y" * 200
            sent.append(bytes([97 + number]) * 30)
            conn.send(sent[-1])
        program.hears(*map(FRAMING.encode, sent))
        conn.shutdown_send()


@pytest.mark.parametrize("role", ["client", "server"])
def test_new_keys_under_load(role: str, tmp_path: Path) -> None:
    # Not both directions' keys: OpenSSL can't answer that while a record of ours waits.
    with speaking(tmp_path, "1.3", role) as (conn, program):
        letters = bytes(range(128, 148))
        sender = Thread(lambda: [conn.send(bytes([letter]) * 1_000_000) for letter in letters])
        for number in range(20):
            receiver = Thread(conn.recv)
            program.give(FRAMING.encode(b"." * 5000 * number))
            program.give(b"k\n")
            assert receiver.done() == b"." * 5000 * number
        sender.done()
        conn.close()
        heard = program.wait()
        assert {heard.count(letter) for letter in letters} == {1_000_000}


@pytest.mark.parametrize("end", ["ours", "theirs"])
def test_the_end(version: str, end: str, tmp_path: Path) -> None:
    with speaking(tmp_path, version, "client") as (conn, program):
        frames = [bytes([97 + number]) * 100_000 for number in range(20)]
        program.give(FRAMING.encode(b"never read" if end == "ours" else b"read"))
        conn.send_many(frames)
        if end == "theirs":
            program.hears(FRAMING.encode(frames[-1]))
            program.give(b"Q\n")
            assert list(conn) == [b"read"]
        conn.close()
        assert program.wait() == FRAMING.encode_many(frames)
