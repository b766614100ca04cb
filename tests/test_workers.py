"""Workers: they share the clients, are replaced when they die, and stop with their parent."""

import logging
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import fastframe as ff
from connections import needs_fork, needs_unix
from servers import FRAMING, LONG, on_engine, received, serving

__all__ = ["on_engine"]  # the fixture that pytest is to find here

pytestmark = [
    needs_fork,
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]


def process(frame: bytes) -> bytes:
    """The reply tells who has made it."""
    return frame + b" by %d" % os.getpid()


def ask(address: object) -> int:
    """Which worker answers."""
    family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
    with socket.socket(family) as sock:
        sock.settimeout(LONG)
        sock.connect(address)  # type: ignore[arg-type]
        sock.sendall(FRAMING.encode(b"asked"))
        (size,) = received(sock, 4)[3:]
        return int(received(sock, size).rpartition(b" ")[2])


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_they_share_the_clients_and_their_counters_are_added() -> None:
    with serving(process, workers=3) as server:
        asked = [ask(server.address)]
        until(lambda: asked.append(ask(server.address)) or len(set(asked)) == 3)  # type: ignore[func-returns-value]
        assert os.getpid() not in asked
    assert server.stats.accepted == server.stats.finished == len(asked)
    assert server.stats.received.frames == len(asked)


@needs_unix
def test_a_unix_socket_is_shared_and_removed_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with serving(process, str(path), workers=2) as server:
        assert ask(server.address) != os.getpid()
    assert not path.exists()


def test_an_inherited_socket_is_shared() -> None:
    with serving(process, socket.create_server(("127.0.0.1", 0)), workers=2) as server:
        assert ask(server.address) != os.getpid()


def test_one_that_dies_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    with serving(process, workers=1 + 1) as server:
        first = {ask(server.address) for _ in range(20)}
        os.kill(next(iter(first)), signal.SIGKILL)
        seen: list[int] = []

        def replaced() -> bool:
            try:
                seen.append(ask(server.address))
            except ConnectionError:
                return False  # the dead one had accepted it
            return len({*seen, *first}) > 2

        until(replaced)
    assert any(record.levelno == logging.WARNING and "signal 9" in record.getMessage() for record in caplog.records)


def test_no_process_and_no_descriptor_is_left() -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    with serving(process, workers=2) as server:
        pid = ask(server.address)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


def test_their_clients_get_what_was_sent_before_they_stop() -> None:
    with serving(lambda frame: bytes(5 << 20), workers=2) as server:
        sock = socket.create_connection(server.address)
        sock.settimeout(LONG)
        sock.sendall(FRAMING.encode(b"x"))
        assert len(received(sock, 10)) == 10
        stop = threading.Thread(target=server.shutdown)
        stop.start()
        with sock:
            assert len(received(sock, 10 << 20)) == (5 << 20) - 6
        stop.join(LONG)
    assert server.stats.finished == 1


def test_who_comes_while_a_worker_is_missing_gets_the_next(caplog: pytest.LogCaptureFixture) -> None:
    def mortal(frame: bytes) -> bytes:
        if frame == b"die":
            os._exit(3)
        return frame

    with serving(mortal, socket.create_server(("127.0.0.1", 0)), workers=2) as server:
        for _ in range(2):
            with ff.connect(server.address, FRAMING, timeout=LONG) as conn, pytest.raises(ff.FrameError):
                conn.send(b"die")
                conn.recv()
        with ff.connect(server.address, FRAMING, timeout=LONG) as conn:
            conn.send(b"alive")
            assert conn.recv() == b"alive"
    assert "exit status 3" in caplog.text


PROGRAM = """
    import signal
    import fastframe as ff

    signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background inherits that it is ignored

    server = ff.Server(bytes.upper, ("127.0.0.1", 0), ff.LengthField(4), workers=2)
    print(server.address[1], flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("interrupted", server.stats.finished, flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_they_stop_with_their_parent(how: signal.Signals) -> None:
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        address = ("127.0.0.1", int(parent.stdout.readline()))

        def served() -> bool:
            try:
                with ff.connect(address, FRAMING, timeout=LONG) as conn:
                    conn.send(b"x")
                    return conn.recv() == b"X"
            except OSError:
                return False

        until(served)
        parent.send_signal(how)
        said, _ = parent.communicate(timeout=LONG)  # which ends when the last of them has gone
        assert said.startswith("interrupted" if how == signal.SIGINT else "")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
