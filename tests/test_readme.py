"""The README holds what it shows: every python block runs, and the first two sh lines stand alone."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from types import ModuleType

import pytest

import fastframe
from pages import ROOT, Block, blocks, run

README = ROOT / "README.md"
if not README.exists():
    pytest.skip("tests were copied without the README", allow_module_level=True)

BLOCKS = blocks(README, "python")
EXAMPLES = [block for block in BLOCKS if block.file is None]


def commands() -> list[str]:
    return [line for block in blocks(README, "sh") for line in block.code.splitlines()]


def test_readme_has_examples() -> None:
    assert len(EXAMPLES) >= 2


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_example_runs_by_itself_and_in_silence(example: Block, engine: ModuleType, tmp_path: Path) -> None:
    run(example, engine, tmp_path)


@pytest.mark.parametrize("index", [0, 1], ids=["demo", "tests"])
def test_first_two_commands_start_from_a_fresh_checkout(index: int) -> None:
    command = commands()[index]
    assert command.startswith("python3 -m venv .venv && ")
    assert "pip install" in command
    assert ("-m fastframe demo", "-m pytest")[index] in command


def test_the_echo_server_runs_as_printed_and_survives_random_bytes(engine: ModuleType, tmp_path: Path) -> None:
    (program,) = [block for block in BLOCKS if block.file == "echo_server.py"]
    assert len(program.code.splitlines()) == 10
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = tmp_path / "echo_server.py"
    script.write_text(program.code.replace("9000", str(port)), encoding="utf-8")
    environment = {**os.environ, "FASTFRAME_PURE": "1" if engine.__name__.endswith("_pure") else "0"}
    command = [sys.executable, "-u", str(script)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as server:
        try:
            address, random = ("127.0.0.1", port), Random(5)
            for size in (1, 10, 1000, 100_000):
                with connected(address) as sock:
                    try:
                        sock.sendall(random.randbytes(size))
                        sock.shutdown(socket.SHUT_WR)
                        while sock.recv(65536):
                            pass
                    except ConnectionError:
                        pass  # what it can't read it needn't take
            with fastframe.wrap(connected(address), fastframe.LengthField(4), timeout=20) as conn:
                conn.send(b"still there")
                assert conn.recv() == b"still there"
        finally:
            server.terminate()
        assert server.communicate(timeout=60) == ("", "")


def connected(address: tuple[str, int]) -> socket.socket:
    """A connection to what is about to listen."""
    end = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection(address, timeout=20)
        except ConnectionRefusedError:
            assert time.monotonic() < end
            time.sleep(0.01)
