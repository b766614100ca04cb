"""Servers whose clients are killed or stopped, that are killed themselves, and whose clients' descriptors are reused all the time."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import fastframe as ff
from asyncpairs import on_engine as asyncio_on_engine
from fastframe.asyncio import Connection, start_server
from servers import FRAMING, LONG, Told, on_engine, serving, to

__all__ = ["asyncio_on_engine", "on_engine"]  # the fixtures that pytest is to find here

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no such signals here")

STORM = int(os.environ.get("FASTFRAME_CLIENTS", "300"))
"""Clients of each of four threads that come and go: 100,000 take some ten minutes a test."""

CLIENT = """
import socket, sys, time
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
sock.sendall(bytes.fromhex(sys.argv[2]))
print("sent", flush=True)
while True:
    if not sock.recv(65536):
        time.sleep(100)
"""

SERVER = """
import sys
import fastframe as ff
server = ff.Server(lambda frame: [bytes([number]) * 50_000 for number in range(200)], ("127.0.0.1", 0), ff.LengthField(4))
print(server.address[1], flush=True)
server.serve_forever()
"""


@contextlib.contextmanager
def process(*arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A Python process, and the first line that it prints."""
    child = subprocess.Popen([sys.executable, "-c", *arguments], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        yield child, child.stdout.readline().strip()
    finally:
        child.kill()
        child.wait(LONG)
        child.stdout.close()


HALF = FRAMING.encode(b"whole") + FRAMING.encode(bytes(1000))[:500]


def test_a_client_that_is_killed_inside_a_frame() -> None:
    told = Told()
    with serving(told) as server:
        with to(server) as other, process(CLIENT, str(server.address[1]), HALF.hex()) as (child, _):
            other.send(b"1")
            assert other.recv() == b"1"
            child.kill()
            told.wait()
            other.send(b"2")
            assert other.recv() == b"2"
        told.wait()
    assert [event[1] for event in told.events if event[0] == "frame"].count(b"whole") == 1
    assert sum(len(event[1]) == 500 for event in told.events if event[0] == "frame") == 0
    errors = [event[1] for event in told.events if event[0] == "closed"]
    # A reset, if it is killed before it has read the reply.
    [error] = [error for error in errors if error is not None]
    assert isinstance(error, (ff.TruncatedFrame, ff.ConnectionLost))


def test_a_client_that_is_stopped_holds_up_nobody_and_gets_all_when_it_goes_on() -> None:
    script = """
        import os, signal, sys
        import fastframe as ff
        conn = ff.connect(("127.0.0.1", int(sys.argv[1])), ff.LengthField(4), timeout=60)
        conn.send(b"all")
        print("sent", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
        assert [conn.recv() for _ in range(200)] == [bytes([number]) * 50_000 for number in range(200)]
    """

    def reply(frame: bytes) -> list[bytes]:
        return [bytes([number]) * 50_000 for number in range(200)] if frame == b"all" else [frame]

    with serving(reply) as server, process(textwrap.dedent(script), str(server.address[1])) as (child, _):
        with to(server) as other:
            for number in range(100):
                other.send(b"%d" % number)
                assert other.recv() == b"%d" % number
        child.send_signal(signal.SIGCONT)
        assert child.wait(LONG) == 0


@pytest.mark.parametrize("after", [1, 50_003, 3_000_000])
def test_a_server_that_is_killed_while_it_sends_leaves_no_short_frame(after: int) -> None:
    with process(SERVER) as (child, port), ff.connect(("127.0.0.1", int(port)), FRAMING, timeout=LONG) as conn:
        conn.send(b"go")
        got: list[bytes] = []
        while sum(map(len, got)) < after:
            got += conn.recv_many()
        child.kill()
        with pytest.raises((ff.ConnectionClosed, ff.TruncatedFrame, ff.ConnectionLost)):
            while True:
                got += conn.recv_many()
    assert got == [bytes([number]) * 50_000 for number in range(len(got))]


def come_and_go(address: Any, name: int, faults: list[str]) -> None:
    """Clients that send what only they know, and leave in every way, some without reading."""
    for number in range(STORM):
        secret = b"%d of %d" % (number, name)
        with socket.create_connection(address) as sock:
            sock.settimeout(LONG)
            conn = ff.wrap(sock, FRAMING)
            conn.send_many([secret] * (1 + number % 5))
            if number % 3:
                got = [conn.recv() for _ in range(1 + number % 5)]
                if got != [secret] * len(got):
                    faults.append(f"{got} instead of {secret!r}")
            if number % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, (1).to_bytes(4, sys.byteorder) + bytes(4))
            conn.abort() if number % 4 else conn.close(0)


def storm(address: Any) -> list[str]:
    faults: list[str] = []
    threads = [threading.Thread(target=come_and_go, args=(address, name, faults)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return faults


def test_reused_descriptors_carry_nobody_elses_bytes(engine: ModuleType) -> None:
    conns: list[Any] = []

    class Later:
        """Half of the replies come from another thread, perhaps when the client has gone and its number is another one's."""

        def frames(self, conn: Any, frames: list[bytes]) -> None:
            if len(frames) % 2:
                conn.send_many(frames)
            else:
                threading.Thread(target=self.reply, args=(conn, frames)).start()
            conns.append(conn)

        def reply(self, conn: Any, frames: list[bytes]) -> None:
            with contextlib.suppress(ff.FrameError, ValueError):
                conn.send_many(frames)

        def closed(self, conn: Any, error: BaseException | None) -> None:
            pass

    with serving(Later()) as server:
        assert storm(server.address) == []
    for conn in conns[:: max(1, len(conns) // 100)]:
        with pytest.raises((ff.FrameError, ValueError)):
            conn.send(b"late")


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_reused_descriptors_carry_nobody_elses_bytes_in_a_loop(kind: str, engine: ModuleType) -> None:
    factory = asyncio.new_event_loop if kind == "asyncio" else pytest.importorskip("uvloop").new_event_loop

    async def echo(conn: Connection) -> None:
        with contextlib.suppress(ff.FrameError):
            while True:
                frames = await conn.recv_many()
                if len(frames) % 2:
                    await asyncio.sleep(0)
                await conn.send_many(frames)

    async def work() -> list[str]:
        server = await start_server(echo, "127.0.0.1", 0, framing=FRAMING)
        address = server.sockets[0].getsockname()
        try:
            return await asyncio.get_running_loop().run_in_executor(None, storm, address)
        finally:
            server.close()
            await asyncio.sleep(0.05)

    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(work()) == []
