"""Frames over anyio's byte streams, on asyncio, uvloop and trio, and on both engines: receiving, framings, ends."""

import errno
import socket
import ssl
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("anyio")

import anyio
import anyio.abc
import anyio.lowlevel
from anyio.streams.tls import TLSStream

import fastframe as ff
import fastframe.anyio as face
from anyiostreams import (
    FRAMING,
    RECEIVES,
    Script,
    anyio_backend,
    broken,
    drain,
    on_engine,
    opened,
    others_run,
    pair,
    raw,
    receives,
    sockets,
    take,
)
from connections import LONG, reset, wire
from support import tcp_pair

__all__ = ["anyio_backend", "on_engine", "pair", "raw", "sockets"]  # the fixtures that pytest is to find here

pytestmark = pytest.mark.anyio


# --- Receiving -------------------------------------------------------------------------------------------------------


@receives
async def test_every_cut_gives_the_same_frames(method: str) -> None:
    data = wire(b"one", b"", b"three")
    for first in range(len(data) + 1):
        for second in range(first, len(data) + 1):
            stream = face.FrameStream(Script(data[:first], data[first:second], data[second:]), FRAMING)
            frames, error = await drain(stream, method)
            assert frames == [b"one", b"", b"three"]
            assert type(error) is face.ConnectionClosed
    stream = face.FrameStream(Script(*(data[i : i + 1] for i in range(len(data)))), FRAMING)
    assert (await drain(stream, method))[0] == [b"one", b"", b"three"]


async def test_many_and_batch_give_all_that_is_there() -> None:
    byte_stream = Script(wire(b"1", b"2", b"", b"4"), wire(b"5", b"6") + b"\0", b"\0\0\0" + wire(b"8"))
    stream = face.FrameStream(byte_stream, FRAMING)
    assert await stream.receive() == b"1"
    assert await stream.receive_many() == [b"2", b"", b"4"]
    assert await stream.receive() == b"5"
    assert list(await stream.receive_batch()) == [b"6"]
    assert list(await stream.receive_batch()) == [b"", b"8"]
    assert byte_stream.asked == 3


async def test_iteration_goes_to_the_clean_end() -> None:
    stream = face.FrameStream(Script(wire(b"a", b""), wire(b"c")), FRAMING)
    assert [frame async for frame in stream] == [b"a", b"", b"c"]
    assert [frame async for frame in stream] == []


@receives
async def test_a_clean_end_is_anyios_and_ours(method: str) -> None:
    stream = face.FrameStream(Script(), FRAMING)
    with pytest.raises(anyio.EndOfStream) as caught:
        await take(stream, method)
    assert isinstance(caught.value, ff.ConnectionClosed)


@receives
@pytest.mark.parametrize(("tail", "stage", "want"), [(b"\0\0", "header", None), (b"\0\0\0\5hel", "payload", 9)])
async def test_an_end_inside_a_frame_comes_after_the_frames(method: str, tail: bytes, stage: str, want: int) -> None:
    stream = face.FrameStream(Script(wire(b"good", b"too") + tail), FRAMING)
    frames, error = await drain(stream, method)
    assert frames == [b"good", b"too"]
    assert isinstance(error, ff.TruncatedFrame)
    assert not isinstance(error, anyio.EndOfStream)
    assert (error.stage, error.got, error.want, error.partial, error.offset) == (stage, len(tail), want, tail, 15)


@receives
async def test_good_frames_come_before_a_forged_header(method: str) -> None:
    byte_stream = Script(wire(b"good", b"too") + b"\xff\0\0\1", wire(b"never"))
    frames, error = await drain(face.FrameStream(byte_stream, FRAMING), method)
    assert frames == [b"good", b"too"]
    assert isinstance(error, ff.FrameTooLarge)
    assert (error.size, error.limit, error.offset) == (0xFF000001, 1 << 24, 15)
    assert byte_stream.asked == 1


@receives
@pytest.mark.parametrize(
    ("end", "number"),
    [(broken, errno.ECONNRESET), (anyio.BrokenResourceError, None), (partial(ssl.SSLError, 1, "bad record"), 1)],
)
async def test_good_frames_come_before_a_broken_stream(method: str, end: Any, number: int | None) -> None:
    stream = face.FrameStream(Script(wire(b"good", b"too") + b"\0\0\0\5h", end=end), FRAMING)
    frames, error = await drain(stream, method)
    assert frames == [b"good", b"too"]
    assert isinstance(error, ff.ConnectionLost)
    assert isinstance(error, anyio.BrokenResourceError)
    assert error.errno == number
    await stream.send(b"the other direction goes on")


@receives
@pytest.mark.parametrize(
    ("framing", "data", "frames"),
    [
        (ff.UntilEOF(), b"all of it", [b"all of it"]),
        (ff.UntilEOF(), b"", [b""]),
        (ff.Delimiter(b"\n", at_eof="deliver"), b"one\ntwo", [b"one", b"two"]),
        (ff.Delimiter(b"\n", at_eof="drop"), b"one\ntwo", [b"one"]),
    ],
    ids=["until-eof", "until-eof-empty", "deliver", "drop"],
)
async def test_frames_that_the_end_completes(method: str, framing: Any, data: bytes, frames: list[bytes]) -> None:
    got, error = await drain(face.FrameStream(Script(data), framing), method)
    assert got == frames
    assert type(error) is face.ConnectionClosed


async def test_a_batch_is_one_even_if_the_end_makes_it(engine: ModuleType) -> None:
    stream = face.FrameStream(Script(b"one\n", b"two"), ff.Delimiter(b"\n", at_eof="deliver"))
    for payload in (b"one", b"two"):
        batch = await stream.receive_batch()
        assert type(batch) is engine.FrameBatch
        assert [bytes(view) for view in batch.views()] == [payload]


async def test_nothing_is_received_before_it_is_asked_for() -> None:
    byte_stream = Script(*[wire(b"x" * 100) * 10] * 10)
    stream = face.FrameStream(byte_stream, FRAMING)
    await anyio.lowlevel.checkpoint()
    assert byte_stream.asked == 0
    for _ in range(10):
        await stream.receive()
        assert byte_stream.asked == 1
    await stream.receive()
    assert byte_stream.asked == 2
    assert len(stream.unread()) == 9 * 104


# --- Framings and attributes -----------------------------------------------------------------------------------------


async def test_framing_covers_all_that_isnt_delivered() -> None:
    stream = face.FrameStream(Script(wire(b"text") + b"line\nand another\nre", b"st"), FRAMING)
    assert await stream.receive() == b"text"
    stream.framing = ff.Delimiter(b"\n")
    assert await stream.receive() == b"line"
    assert await stream.receive_many() == [b"and another"]
    assert stream.unread() == b"re"
    with pytest.raises(TypeError):
        stream.framing = 4
    assert stream.framing == ff.Delimiter(b"\n")
    assert stream.send_framing == FRAMING


async def test_the_directions_may_have_different_framings() -> None:
    byte_stream = Script(b"line\n")
    stream = face.FrameStream(byte_stream, ff.Delimiter(b"\n"), send_framing=ff.Netstring())
    await stream.send(b"hello")
    stream.send_framing = FRAMING
    await stream.send_many([b"hello"])
    assert byte_stream.sent == [b"5:hello,", wire(b"hello")]
    assert await stream.receive() == b"line"
    with pytest.raises(TypeError):
        stream.send_framing = None


async def test_attributes_are_the_byte_streams_and_its_own(pair: tuple[Any, Any], raw: tuple[Any, Any]) -> None:
    stream = pair[0]
    assert stream.extra(face.FrameAttribute.framing) is FRAMING
    stream.send_framing = ff.Netstring()
    assert stream.extra(face.FrameAttribute.send_framing) == ff.Netstring()
    attribute = anyio.abc.SocketAttribute.raw_socket
    assert stream.extra(attribute) is raw[0].extra(attribute)
    with pytest.raises(anyio.TypedAttributeLookupError):
        stream.extra(object())


async def test_what_isnt_a_byte_stream_or_a_framing_is_refused() -> None:
    with socket.socket() as sock, pytest.raises(TypeError, match="not socket"):
        face.FrameStream(sock, FRAMING)
    for framings in ((4,), (FRAMING, 4)):
        with pytest.raises(TypeError, match="not int"):
            face.FrameStream(Script(), framings[0], send_framing=framings[-1])


def test_without_anyio_the_import_says_what_to_install() -> None:
    code = "import sys; sys.modules['anyio'] = None; import fastframe; fastframe.anyio"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "install fastframe[anyio]" in done.stderr


# --- Ends ------------------------------------------------------------------------------------------------------------


async def test_each_direction_ends_by_itself(pair: tuple[Any, Any]) -> None:
    a, b = pair
    await a.send(b"the last")
    for _ in range(2):
        await a.send_eof()
    with pytest.raises(anyio.ClosedResourceError):
        await a.send(b"too late")
    assert [frame async for frame in b] == [b"the last"]
    await b.send(b"answer")
    await b.send_eof()
    assert [frame async for frame in a] == [b"answer"]


async def test_a_close_wakes_a_receiver(pair: tuple[Any, Any]) -> None:
    a, b = pair
    async with anyio.create_task_group() as group:
        group.start_soon(woken, a)
        await others_run()
        await a.aclose()
    with pytest.raises(anyio.EndOfStream):
        await b.receive()


async def test_nothing_goes_after_a_close(pair: tuple[Any, Any]) -> None:
    a, b = pair
    await b.send_many([b"one", b"two"])
    assert await a.receive() == b"one"
    async with a:
        pass
    await a.aclose()
    for method in RECEIVES:
        with pytest.raises(anyio.ClosedResourceError):
            await take(a, method)
    for call in (partial(a.send, b"x"), partial(a.send_many, [b"x"]), a.send_eof):
        with pytest.raises(anyio.ClosedResourceError):
            await call()
    with pytest.raises(anyio.ClosedResourceError):
        a.unread()


async def test_a_close_with_unread_input_loses_nothing() -> None:
    left, right = tcp_pair()
    right.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    payloads = [b"%d" % number * 200 for number in range(300)]
    async with await opened(left) as byte_stream, await opened(right) as peer:
        await peer.send(b"nobody receives this" * 10_000)
        stream = face.FrameStream(byte_stream, FRAMING)
        await stream.send_many(payloads)
        async with anyio.create_task_group() as group:
            group.start_soon(stream.aclose)
            await others_run()
            assert [frame async for frame in face.FrameStream(peer, FRAMING)] == payloads
            await peer.aclose()


async def test_a_close_waits_for_the_peers_end_where_the_system_cant_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face, "_is_delivered", lambda sock: False)
    left, right = tcp_pair()
    async with await opened(left) as byte_stream, await opened(right) as peer:
        stream = face.FrameStream(byte_stream, FRAMING)
        await stream.send(b"before the end")
        closed = []

        async def close() -> None:
            await stream.aclose()
            closed.append(True)

        async with anyio.create_task_group() as group:
            group.start_soon(close)
            assert [frame async for frame in face.FrameStream(peer, FRAMING)] == [b"before the end"]
            assert not closed
            await peer.aclose()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what has arrived")
async def test_a_close_behind_all_that_arrived_is_plain() -> None:
    left, right = tcp_pair()
    async with await opened(left) as byte_stream, await opened(right) as peer:
        stream = face.FrameStream(byte_stream, FRAMING)
        await stream.send(b"x")
        await peer.receive()
        byte_stream.send_eof = None
        await stream.aclose()


@pytest.mark.parametrize("why", ["cancelled", "another receives"])
async def test_a_close_that_doesnt_wait(why: str) -> None:
    left, right = tcp_pair()
    right.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with right, anyio.fail_after(LONG):
        stream = face.FrameStream(await opened(left), FRAMING)
        await stream.send(bytes(100_000))
        async with anyio.create_task_group() as group:
            if why == "cancelled":
                group.cancel_scope.cancel()
            else:
                group.start_soon(woken, stream)
                await others_run()
            await stream.aclose()
    assert left.fileno() == -1


async def woken(stream: face.FrameStream) -> None:
    """Receive until the stream is closed here."""
    with pytest.raises(anyio.ClosedResourceError):
        await stream.receive()


async def test_good_frames_come_before_a_reset() -> None:
    left, right = tcp_pair()
    async with await opened(left) as byte_stream:
        stream = face.FrameStream(byte_stream, FRAMING)
        right.sendall(wire(b"one", b"two") + b"\0\0\0\5th")
        assert await stream.receive() == b"one"
        reset(right)
        frames, error = await drain(stream, "receive")
    assert frames == [b"two"]
    assert isinstance(error, ff.ConnectionLost)
    assert error.errno in (errno.ECONNRESET, getattr(errno, "WSAECONNRESET", errno.ECONNRESET))


async def test_frames_over_tls(raw: tuple[Any, Any]) -> None:
    certificate = Path(__file__).parent / "data" / "localhost.pem"
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=certificate)
    server.load_cert_chain(certificate)
    ends: dict[str, Any] = {}

    async def shake(name: str, stream: Any, **how: Any) -> None:
        ends[name] = face.FrameStream(await TLSStream.wrap(stream, **how), FRAMING)

    async with anyio.create_task_group() as group:
        group.start_soon(partial(shake, "server", raw[0], server_side=True, ssl_context=server))
        group.start_soon(partial(shake, "client", raw[1], hostname="localhost", ssl_context=client))
    a, b = ends["server"], ends["client"]
    payloads = [b"", b"small", b"x" * 200_000]
    async with anyio.create_task_group() as group:
        group.start_soon(a.send_many, payloads)
        assert [await b.receive() for _ in payloads] == payloads
    with pytest.raises(NotImplementedError):
        await a.send_eof()
    await a.send(b"goes on")
    assert await b.receive() == b"goes on"
    async with anyio.create_task_group() as group:
        group.start_soon(a.aclose)
        with pytest.raises(face.ConnectionClosed):
            await b.receive()
        await b.aclose()
