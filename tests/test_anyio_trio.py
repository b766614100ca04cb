"""Frames over trio's own streams, under trio.run: sockets, TLS, streams in memory; on both engines."""

import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("anyio")
pytest.importorskip("trio")

import anyio
import trio
import trio.testing

import fastframe as ff
import fastframe.anyio as face
from anyiostreams import FRAMING, RECEIVES, on_engine, receives, take
from connections import LONG, reset, wire
from support import tcp_pair

__all__ = ["on_engine"]  # the fixture that pytest is to find here


def run(test: Callable[..., Awaitable[None]], *args: Any) -> None:
    async def within_time() -> None:
        with trio.fail_after(LONG):
            await test(*args)

    trio.run(within_time)


def opened(sock: socket.socket) -> trio.SocketStream:
    return trio.SocketStream(trio.socket.from_stdlib_socket(sock))


@receives
def test_frames_travel_through_memory(method: str) -> None:
    async def main() -> None:
        ends = trio.testing.memory_stream_pair()
        a, b = face.FrameStream(ends[0], FRAMING), face.FrameStream(ends[1], FRAMING)
        await a.send_many([b"1", b"", b"3"])
        await a.send(b"4" * 100_000)
        await a.send_eof()
        got: list[bytes] = []
        with pytest.raises(face.ConnectionClosed):
            while True:
                got += await take(b, method)
        assert got == [b"1", b"", b"3", b"4" * 100_000]
        await b.send(b"answer")
        await b.aclose()
        assert [frame async for frame in a] == [b"answer"]

    run(main)


def test_the_end_of_a_trio_stream_inside_a_frame() -> None:
    async def main() -> None:
        left, right = trio.testing.memory_stream_pair()
        await right.send_all(wire(b"good") + b"\0\0\0")
        await right.aclose()
        stream = face.FrameStream(left, FRAMING)
        assert await stream.receive() == b"good"
        for method in RECEIVES:
            with pytest.raises(ff.TruncatedFrame):
                await take(stream, method)

    run(main)


def test_trios_errors_come_as_anyios() -> None:
    async def main() -> None:
        left, right = tcp_pair()
        stream = face.FrameStream(opened(left), FRAMING)
        right.sendall(wire(b"good") + b"\0\0")
        assert await stream.receive() == b"good"
        reset(right)
        for _ in range(2):
            with pytest.raises(anyio.BrokenResourceError) as caught:
                await stream.receive()
            assert isinstance(caught.value, ff.ConnectionLost)
            assert caught.value.errno
        with pytest.raises(ff.ConnectionLost):
            while True:
                await stream.send(b"anybody?")
        await stream.aclose()
        for method in RECEIVES:
            with pytest.raises(anyio.ClosedResourceError):
                await take(stream, method)

    run(main)


def test_a_trio_stream_closed_by_itself() -> None:
    async def main() -> None:
        left, right = trio.testing.memory_stream_pair()
        stream = face.FrameStream(left, FRAMING)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left.receive_some)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(anyio.BusyResourceError):
                await stream.receive()
            await right.send_all(b".")
        await left.aclose()
        with pytest.raises(anyio.ClosedResourceError):
            await stream.receive()
        with pytest.raises(anyio.ClosedResourceError):
            await stream.send(b"x")

    run(main)


def test_no_frame_starts_inside_a_cancelled_one() -> None:
    async def main() -> None:
        left, right = tcp_pair()
        left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        stream, peer = face.FrameStream(opened(left), FRAMING), opened(right)
        frame = wire(bytes(range(256)) * 20_000)
        with trio.move_on_after(0.01) as scope:
            await stream.send(frame[4:])
        assert scope.cancelled_caught
        with pytest.raises(ff.ConnectionLost, match="broken off"):
            await stream.send(b"inside")
        await stream.aclose()
        got = b"".join([bytes(chunk) async for chunk in peer])
        assert 0 < len(got) < len(frame)
        assert frame.startswith(got)
        await peer.aclose()

    run(main)


def test_frames_over_trios_tls() -> None:
    certificate = Path(__file__).parent / "data" / "localhost.pem"
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=certificate)
    server.load_cert_chain(certificate)

    async def main() -> None:
        left, right = trio.testing.memory_stream_pair()
        a = face.FrameStream(trio.SSLStream(left, server, server_side=True), FRAMING)
        b = face.FrameStream(trio.SSLStream(right, client, server_hostname="localhost"), FRAMING)
        payloads = [b"", b"small", b"x" * 200_000]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.send_many, payloads)
            assert [await b.receive() for _ in payloads] == payloads
        with pytest.raises(NotImplementedError):
            await a.send_eof()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.aclose)
            with pytest.raises(face.ConnectionClosed):
                await b.receive()
            nursery.start_soon(b.aclose)

    run(main)


@receives
def test_every_call_is_a_checkpoint(method: str) -> None:
    async def main() -> None:
        left, right = trio.testing.memory_stream_pair()
        await right.send_all(wire(b"1", b"2", b"3"))
        await right.send_eof()
        stream = face.FrameStream(left, FRAMING)
        for call in (stream.receive, partial(take, stream, method), partial(stream.send, b"x"), stream.send_eof):
            with trio.testing.assert_checkpoints():
                await call()
        for again in RECEIVES:
            with trio.testing.assert_checkpoints():
                try:
                    await take(stream, again)
                except face.ConnectionClosed:
                    pass
        with trio.testing.assert_checkpoints():
            await stream.aclose()

    run(main)
