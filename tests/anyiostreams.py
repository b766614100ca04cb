"""Streams for the tests of the anyio face: fixtures, which each file imports and names in `__all__`; and helpers."""

import errno
import importlib.util
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("anyio")

import anyio
import anyio.abc
import anyio.lowlevel

import fastframe as ff
import fastframe.anyio as face
from connections import LONG
from support import tcp_pair

FRAMING = ff.LengthField(4)
RECEIVES = ["receive", "receive_many", "receive_batch"]
receives = pytest.mark.parametrize("method", RECEIVES)

BACKENDS = [("asyncio", {"use_uvloop": False})]
if importlib.util.find_spec("uvloop"):
    BACKENDS.append(("asyncio", {"use_uvloop": True}))
if importlib.util.find_spec("trio"):
    BACKENDS.append(("trio", {}))


@pytest.fixture(params=BACKENDS, ids=lambda backend: "uvloop" if backend[1].get("use_uvloop") else backend[0])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(autouse=True)
def on_engine(engine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Decoder", "Slices"):
        monkeypatch.setattr(face, name, getattr(engine, name))
    monkeypatch.setattr(face, "CLOSE_TIMEOUT", 2 * LONG)  # a close that waits in vain fails


@pytest.fixture(params=["tcp", "pair"])
def sockets(request: pytest.FixtureRequest, anyio_backend: Any) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets, over TCP and of a socketpair."""
    if request.param == "pair" and not hasattr(socket, "AF_UNIX"):
        pytest.skip("no unix sockets here")
    if request.param == "pair" and anyio_backend[1].get("use_uvloop"):
        pytest.skip("anyio's unix sockets raise InvalidStateError in uvloop when they are cancelled")
    a, b = tcp_pair() if request.param == "tcp" else socket.socketpair()
    with a, b:
        yield a, b


async def opened(sock: socket.socket) -> Any:
    """The socket as a byte stream."""
    unix = sock.family == getattr(socket, "AF_UNIX", None)
    return await (anyio.abc.UNIXSocketStream if unix else anyio.abc.SocketStream).from_socket(sock)


@pytest.fixture
async def raw(sockets: tuple[socket.socket, socket.socket]) -> AsyncIterator[tuple[Any, Any]]:
    """Two connected byte streams."""
    async with await opened(sockets[0]) as left, await opened(sockets[1]) as right:
        with anyio.fail_after(LONG):
            yield left, right


@pytest.fixture
async def pair(raw: tuple[Any, Any]) -> tuple[face.FrameStream, face.FrameStream]:
    """Two connected streams of frames."""
    return face.FrameStream(raw[0], FRAMING), face.FrameStream(raw[1], FRAMING)


class Script(anyio.abc.ByteStream):
    """Gives these chunks, waits for more by `give`, and then ends, by an exception. What is sent is kept.

    asked: how often it was asked for bytes.
    """

    def __init__(self, *chunks: bytes, end: Callable[[], Exception] | None = anyio.EndOfStream) -> None:
        self.chunks, self.end = list(chunks), end
        self.asked = 0
        self.sent: list[bytes] = []
        self.fails: Exception | None = None
        self._given = anyio.Event()

    def give(self, chunk: bytes) -> None:
        self.chunks.append(chunk)
        self._given.set()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        self.asked += 1
        await anyio.lowlevel.checkpoint()
        while not self.chunks:
            if self.end is not None:
                raise self.end()
            self._given = anyio.Event()
            await self._given.wait()
        return self.chunks.pop(0)

    async def send(self, item: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        if self.fails is not None:
            raise self.fails
        self.sent.append(item)

    async def send_eof(self) -> None:
        self.sent.append(b"EOF")

    async def aclose(self) -> None:
        self.end = anyio.ClosedResourceError
        self._given.set()


def broken() -> Exception:
    error = anyio.BrokenResourceError()
    error.__cause__ = ConnectionResetError(errno.ECONNRESET, "reset")
    return error


async def others_run() -> None:
    """Let other tasks run until they wait."""
    for _ in range(10):
        await anyio.lowlevel.checkpoint()


async def take(stream: face.FrameStream, method: str) -> list[bytes]:
    frames = await getattr(stream, method)()
    return [frames] if isinstance(frames, bytes) else list(frames)


async def drain(stream: face.FrameStream, method: str) -> tuple[list[bytes], Exception]:
    """All frames, and the error behind them, which has to stay as it is."""
    frames: list[bytes] = []
    end: Exception | None = None
    while end is None:
        try:
            frames += await take(stream, method)
        except ff.FrameError as error:
            end = error
    for again in RECEIVES:
        with pytest.raises(type(end)) as caught:
            await take(stream, again)
        assert caught.value == end
        assert caught.value is not end
    return frames, end
