"""Event loops for several test files: each kind of loop, both engines, and connections with a raw socket at the other end."""

import asyncio
import gc
import importlib
import socket
import tempfile
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from types import ModuleType
from typing import Any, Self

import pytest

import fastframe as ff
from connections import FRAMING, LONG, needs_unix, raw_pair
from fastframe import _aio_hub, _aio_inbox, _aio_link, _aio_sending
from fastframe.asyncio import Connection, FrameProtocol, open_connection, open_unix_connection
from tlspairs import contexts

LOOPS = ("asyncio", "fed", "uvloop")
"""asyncio's own loop; the same where the transport reads, as it does on any other; uvloop."""

KINDS = ("tcp", pytest.param("unix", marks=needs_unix), "tls")

Runs = Callable[..., Any]


@pytest.fixture(autouse=True)
def on_engine(engine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (_aio_inbox, _aio_link):
        monkeypatch.setattr(module, "Decoder", engine.Decoder)
    monkeypatch.setattr(_aio_hub, "Poller", engine.Poller)
    monkeypatch.setattr(_aio_link, "FrameReader", engine.FrameReader)
    monkeypatch.setattr(_aio_sending, "FrameWriter", engine.FrameWriter)


@pytest.fixture
def faults() -> list[dict[str, Any]]:
    """What the loop's exception handler was told. A test that expects something takes it out."""
    return []


@pytest.fixture(params=LOOPS)
def loop_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    kind: str = request.param
    if kind == "uvloop":
        pytest.importorskip("uvloop")
    if kind == "fed":
        monkeypatch.setattr(_aio_link, "reads_itself", lambda link: False)
    return kind


@pytest.fixture
def run(loop_kind: str, faults: list[dict[str, Any]]) -> Iterator[Runs]:
    """run(coroutine), within a deadline, in a new loop; nothing may be left for the exception handler."""
    factory = importlib.import_module("uvloop").new_event_loop if loop_kind == "uvloop" else None

    def call(work: Coroutine[Any, Any, Any], seconds: float = LONG) -> Any:
        runner = asyncio.Runner(loop_factory=factory)
        runner.get_loop().set_exception_handler(lambda loop, context: faults.append(context))
        try:
            return runner.run(asyncio.wait_for(work, seconds))
        finally:
            with warnings.catch_warnings():
                # uvloop closes what is left, warns, and hangs if the warning raises.
                warnings.simplefilter("ignore" if factory else "error", ResourceWarning)
                runner.close()

    yield call
    gc.collect()
    assert not faults


async def connected(kind: str = "tcp", framing: ff.Framing = FRAMING, **how: Any) -> tuple[Connection, socket.socket]:
    """A connection, and the raw nonblocking socket at its other end, over TCP or a unix socket."""
    ours, peer = raw_pair(kind)
    peer.setblocking(False)
    ours.setblocking(False)
    opened = open_unix_connection if kind == "unix" else open_connection
    return await opened(sock=ours, framing=framing, **how), peer


async def take(peer: socket.socket, size: int) -> bytes:
    """Exactly so many bytes, or fewer before the end."""
    loop, data = asyncio.get_running_loop(), bytearray()
    while len(data) < size and (more := await loop.sock_recv(peer, min(size - len(data), 65_536))):
        data += more
    return bytes(data)


async def give(peer: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(peer, data)


async def turns(count: int = 5) -> None:
    """Let the loop turn so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], Any]) -> None:
    """Wait until something holds."""
    deadline = asyncio.get_running_loop().time() + LONG
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.001)


async def waiting(call: Awaitable[Any]) -> "asyncio.Task[Any]":
    """A task that waits in `call`."""

    async def wait() -> Any:
        return await call

    task = asyncio.get_running_loop().create_task(wait())
    await turns()
    assert not task.done()
    return task


class Keeper(FrameProtocol):
    """Keeps what it is told; `do` is called with each batch."""

    def __init__(self, do: Callable[["Keeper", list[bytes]], Any] | None = None, framing: ff.Framing = FRAMING) -> None:
        super().__init__(framing)
        self.frames: list[bytes] = []
        self.calls = 0
        self.ends = 0
        self.over: list[BaseException | None] = []
        self.stays = False
        self._do = do

    def frames_received(self, frames: list[bytes]) -> None:
        assert frames
        assert not self.over
        self.calls += 1
        self.frames += frames
        if self._do is not None:
            self._do(self, frames)

    def eof_received(self) -> bool:
        self.ends += 1
        return self.stays

    def connection_lost(self, exc: BaseException | None) -> None:
        self.over.append(exc)


async def attached(protocol: Keeper, kind: str = "tcp") -> tuple[Keeper, socket.socket]:
    """The protocol, connected, and the raw nonblocking socket at its other end."""
    ours, peer = raw_pair(kind)
    ours.setblocking(False)
    peer.setblocking(False)
    loop = asyncio.get_running_loop()
    if kind == "unix":
        await loop.create_unix_connection(lambda: protocol, sock=ours)
    else:
        await loop.create_connection(lambda: protocol, sock=ours)
    return protocol, peer


def echo(protocol: Keeper, frames: list[bytes]) -> None:
    protocol.write_many(frames)


class Served:
    """A server of some kind, and clients for it: `async with Served(kind, listen) as served`, `await served.client()`.

    start: starts it, given what create_server takes.
    """

    def __init__(
        self, kind: str, start: Callable[..., Awaitable[Any]], start_unix: Callable[..., Awaitable[Any]]
    ) -> None:
        self.kind, self._start, self._start_unix = kind, start, start_unix
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._tls = contexts() if kind == "tls" else None

    async def __aenter__(self) -> Self:
        if self.kind == "unix":
            self._folder = tempfile.TemporaryDirectory()
            self.server = await self._start_unix(path=f"{self._folder.name}/socket")
        else:
            self.server = await self._start(host="127.0.0.1", port=0, ssl=self._tls and self._tls[1])
        self.address = self.server.sockets[0].getsockname()
        return self

    async def client(self, framing: ff.Framing = FRAMING, **how: Any) -> Connection:
        if self.kind == "unix":
            return await open_unix_connection(self.address, framing=framing, **how)
        if self._tls:
            how |= {"ssl": self._tls[0], "server_hostname": "localhost"}
        return await open_connection(*self.address[:2], framing=framing, **how)

    async def __aexit__(self, *error: object) -> None:
        self.server.close()
        if self._folder is not None:
            self._folder.cleanup()
