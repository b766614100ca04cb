"""Frames over anyio's byte streams: on asyncio, uvloop and trio, and over trio's own streams; on both engines."""

import errno
import importlib.util
import os
import random
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

anyio = pytest.importorskip("anyio")

import anyio.abc
import anyio.lowlevel
from anyio.streams.tls import TLSStream

import fastframe as ff
import fastframe.anyio as face
from connections import LONG, reset, wire
from support import tcp_pair

FRAMING = ff.LengthField(4)
RECEIVES = ["receive", "receive_many", "receive_batch"]
CANCELLATIONS = int(os.environ.get("FASTFRAME_CANCELLATIONS") or 2000)
"""How many receives a storm cancels. 100,000 takes a minute on each loop and engine."""

BACKENDS = [("asyncio", {"use_uvloop": False})]
if importlib.util.find_spec("uvloop"):
    BACKENDS.append(("asyncio", {"use_uvloop": True}))
if importlib.util.find_spec("trio"):
    BACKENDS.append(("trio", {}))

pytestmark = pytest.mark.anyio
receives = pytest.mark.parametrize("method", RECEIVES)


# --- Fixtures --------------------------------------------------------------------------------------------------------


@pytest.fixture(params=BACKENDS, ids=lambda backend: "uvloop" if backend[1].get("use_uvloop") else backend[0])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(autouse=True)
def on_engine(engine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Decoder", "Slices"):
        monkeypatch.setattr(face, name, getattr(engine, name))


@pytest.fixture(params=["tcp", "pair"])
async def raw(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Any, Any]]:
    """Two connected byte streams, over TCP and of a socketpair."""
    if request.param == "pair" and not hasattr(socket, "AF_UNIX"):
        pytest.skip("no unix sockets here")
    kind = anyio.abc.SocketStream if request.param == "tcp" else anyio.abc.UNIXSocketStream
    a, b = tcp_pair() if request.param == "tcp" else socket.socketpair()
    async with await kind.from_socket(a) as left, await kind.from_socket(b) as right:
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


async def take(stream: face.FrameStream, method: str) -> list[bytes]:
    frames = await getattr(stream, method)()
    return [frames] if isinstance(frames, bytes) else list(frames)


async def drain(stream: face.FrameStream, method: str) -> tuple[list[bytes], Exception]:
    """All frames, and the error behind them, which has to stay as it is."""
    frames: list[bytes] = []
    try:
        while True:
            frames += await take(stream, method)
    except ff.FrameError as error:
        for again in RECEIVES:
            with pytest.raises(type(error)) as caught:
                await take(stream, again)
            assert caught.value == error
            assert caught.value is not error
        return frames, error


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


# --- Checkpoints and cancellation ------------------------------------------------------------------------------------


async def test_every_call_lets_other_tasks_run() -> None:
    data = wire(*[b"x"] * 20)
    stream = face.FrameStream(Script(data), FRAMING)
    await stream.receive()
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with anyio.create_task_group() as group:
        group.start_soon(others)
        await anyio.lowlevel.checkpoint()
        empty, small = partial(stream.send_many, []), partial(stream.send, b"x")
        for call in (stream.receive, stream.receive_batch, stream.receive_many, empty, small, stream.send_eof):
            before = turns
            for _ in range(3):
                try:
                    await call()
                except anyio.EndOfStream:
                    pass
            assert turns >= before + 2  # trio shuffles who runs first in a turn
        group.cancel_scope.cancel()


@receives
async def test_a_cancelled_receive_takes_nothing(method: str) -> None:
    stream = face.FrameStream(Script(wire(b"1", b"2", b"3"), wire(b"4")), FRAMING)
    for frames in ([b"1"], [b"2"]):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await take(stream, method)
        assert scope.cancelled_caught
        assert await take(stream, "receive") == frames
    with anyio.CancelScope() as scope:
        scope.cancel()
        await take(stream, method)
    assert scope.cancelled_caught
    assert (await drain(stream, method))[0] == [b"3", b"4"]


@receives
@pytest.mark.parametrize("cancel_first", [True, False])
async def test_bytes_that_come_with_the_cancellation_stay(raw: tuple[Any, Any], method: str, cancel_first: bool) -> None:
    stream = face.FrameStream(raw[0], FRAMING)
    peer = raw[1].extra(anyio.abc.SocketAttribute.raw_socket)
    expected, got = [], []
    for number in range(20):
        expected += [b"%d" % number, b""]
        async with anyio.create_task_group() as group:

            async def receive() -> None:
                got.extend(await take(stream, method))

            group.start_soon(receive)
            await anyio.wait_all_tasks_blocked()
            if cancel_first:
                group.cancel_scope.cancel()
            peer.send(wire(b"%d" % number, b""))
            if number % 2:
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
    while len(got) < len(expected):
        got += await take(stream, method)
    assert got == expected


@receives
async def test_a_storm_of_cancellations_loses_nothing(pair: tuple[Any, Any], raw: tuple[Any, Any], method: str) -> None:
    stream, _ = pair
    dice = random.Random(5)
    cancelled = expected = 0
    done = anyio.Event()

    async def send() -> None:
        number = 0
        data = b""
        while not done.is_set():
            while len(data) < 300:
                data += wire(b"%d" % number + b"." * dice.randrange(20))
                number += 1
            size = dice.randrange(1, 300)
            await raw[1].send(data[:size])
            data = data[size:]
            for _ in range(dice.randrange(4)):
                await anyio.lowlevel.checkpoint()
        await raw[1].send(data)
        await raw[1].send_eof()

    async with anyio.create_task_group() as group:
        group.start_soon(send)
        while True:
            if cancelled == CANCELLATIONS:
                done.set()
            frames: list[bytes] = []
            with anyio.CancelScope() as scope:
                if dice.random() < 0.8 and not done.is_set():
                    if dice.random() < 0.5:
                        scope.cancel()
                    else:
                        scope.deadline = anyio.current_time() + dice.random() * 1e-4
                try:
                    frames = await take(stream, method)
                except anyio.EndOfStream:
                    break
            cancelled += scope.cancelled_caught
            for frame in frames:
                assert frame.rstrip(b".") == b"%d" % expected
                expected += 1
    assert cancelled >= CANCELLATIONS
    assert expected > 100


async def test_a_second_receive_is_refused_and_the_first_unharmed() -> None:
    byte_stream = Script(end=None)
    stream = face.FrameStream(byte_stream, FRAMING)
    got = []

    async def receive() -> None:
        got.append(await stream.receive())

    async with anyio.create_task_group() as group:
        group.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        for method in RECEIVES:
            with pytest.raises(anyio.BusyResourceError):
                await take(stream, method)
        with pytest.raises(anyio.BusyResourceError):
            stream.framing = ff.Netstring()
        with pytest.raises(anyio.BusyResourceError):
            stream.unread()
        byte_stream.give(wire(b"for the first", b"next"))
    assert got == [b"for the first"]
    assert await stream.receive() == b"next"


# --- Sending ---------------------------------------------------------------------------------------------------------


async def test_frames_travel_both_ways(pair: tuple[Any, Any]) -> None:
    a, b = pair
    await a.send(b"")
    await a.send(bytearray(b"hello"))
    await a.send_many([b"1", memoryview(b"2")])
    await a.send_many(iter([b"3"]))
    await a.send_many([])
    await b.send(b"back")
    assert [await b.receive() for _ in range(5)] == [b"", b"hello", b"1", b"2", b"3"]
    assert await a.receive() == b"back"


async def test_one_frame_one_send_and_many_few() -> None:
    byte_stream = Script()
    stream = face.FrameStream(byte_stream, FRAMING)
    await stream.send(b"x" * 100_000)
    await stream.send_many([b"%d" % number for number in range(1024)])
    assert list(map(len, byte_stream.sent)) == [100_004, 1024 * 4 + 2986]
    await stream.send_many(b"%d" % number for number in range(2500))
    assert FRAMING.decode(b"".join(byte_stream.sent[2:])) == [b"%d" % number for number in range(2500)]
    assert len(byte_stream.sent) == 5


async def test_a_payload_that_cant_be_sent_sends_nothing() -> None:
    byte_stream = Script()
    stream = face.FrameStream(byte_stream, ff.LengthField(4, max_size=10))
    with pytest.raises(ff.FrameTooLarge):
        await stream.send(b"x" * 11)
    with pytest.raises(ff.FrameTooLarge):
        await stream.send_many([b"good", b"x" * 11])
    with pytest.raises(TypeError):
        await stream.send("text")
    assert byte_stream.sent == []
    await stream.send(b"good")
    assert byte_stream.sent == [wire(b"good")]


async def test_sends_of_several_tasks_dont_mix(pair: tuple[Any, Any]) -> None:
    a, b = pair
    payloads = [bytes([number]) * 300_000 for number in range(8)]
    got = []
    async with anyio.create_task_group() as group:
        for number in range(0, 8, 2):
            group.start_soon(a.send_many, payloads[number : number + 1])
            group.start_soon(a.send, payloads[number + 1])
        with anyio.CancelScope() as scope:
            scope.cancel()
            await a.send(b"cancelled before it began")
        for _ in range(8):
            got.append(await b.receive())
    assert scope.cancelled_caught
    assert sorted(got) == payloads
    await a.send(b"whole")
    assert await b.receive() == b"whole"


async def tight(raw: tuple[Any, Any]) -> face.FrameStream:
    """A stream whose kernel buffer holds little."""
    raw[0].extra(anyio.abc.SocketAttribute.raw_socket).setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return face.FrameStream(raw[0], FRAMING)


@pytest.mark.parametrize("many", [False, True])
async def test_no_frame_starts_inside_a_cancelled_one(raw: tuple[Any, Any], many: bool) -> None:
    stream = await tight(raw)
    frame = wire(random.Random(1).randbytes(5_000_000))
    with anyio.move_on_after(0.01) as scope:
        await (stream.send_many([frame[4:]]) if many else stream.send(frame[4:]))
    assert scope.cancelled_caught
    for _ in range(2):
        with pytest.raises(ff.ConnectionLost, match="broken off") as caught:
            await stream.send(b"inside")
        assert isinstance(caught.value, anyio.BrokenResourceError)
        with pytest.raises(ff.ConnectionLost):
            await stream.send_eof()
    await raw[1].send(wire(b"the other direction goes on"))
    assert await stream.receive() == b"the other direction goes on"
    got = b""
    async with anyio.create_task_group() as group:
        group.start_soon(stream.aclose)
        try:
            async for chunk in raw[1]:
                got += chunk
        except anyio.BrokenResourceError:
            pass
    assert frame.startswith(got)


async def test_a_broken_send_stays_broken_and_receiving_goes_on() -> None:
    byte_stream = Script(wire(b"last words"))
    stream = face.FrameStream(byte_stream, FRAMING)
    byte_stream.fails = broken()
    for _ in range(2):
        with pytest.raises(anyio.BrokenResourceError) as caught:
            await stream.send(b"anybody?")
        assert isinstance(caught.value, ff.ConnectionLost)
        assert caught.value.errno == errno.ECONNRESET
        byte_stream.fails = None
    assert byte_stream.sent == []
    assert await stream.receive() == b"last words"


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
    woken = []

    async def receive() -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await a.receive()
        woken.append(True)

    async with anyio.create_task_group() as group:
        group.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        await a.aclose()
    assert woken
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


async def test_good_frames_come_before_a_reset() -> None:
    left, right = tcp_pair()
    async with await anyio.abc.SocketStream.from_socket(left) as byte_stream:
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
