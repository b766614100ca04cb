"""Several tasks and cancellation on anyio's byte streams: nothing is lost, doubled, reordered or mixed."""

import errno
import os
import random
import socket
from functools import partial
from typing import Any

import pytest

pytest.importorskip("anyio")

import anyio
import anyio.abc
import anyio.lowlevel

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
from connections import wire

__all__ = ["anyio_backend", "on_engine", "pair", "raw", "sockets"]  # the fixtures that pytest is to find here

pytestmark = pytest.mark.anyio

CANCELLATIONS = int(os.environ.get("FASTFRAME_CANCELLATIONS") or 1000)
"""How many receives a storm cancels."""


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
async def test_bytes_that_come_with_the_cancellation_stay(
    sockets: tuple[socket.socket, socket.socket], method: str, cancel_first: bool
) -> None:
    stream, peer = face.FrameStream(await opened(sockets[0]), FRAMING), sockets[1]
    expected, got = [], []

    async def receive() -> None:
        got.extend(await take(stream, method))

    for number in range(40):
        expected += [b"%d" % number, b""]
        async with anyio.create_task_group() as group:
            group.start_soon(receive)
            await others_run()
            if cancel_first:
                group.cancel_scope.cancel()
            peer.send(wire(b"%d" % number, b""))
            for _ in range(number % 4):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
    while len(got) < len(expected):
        got += await take(stream, method)
    assert got == expected
    await stream.aclose()


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
        await others_run()
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
    async with anyio.create_task_group() as group:
        for number in range(0, 8, 2):
            group.start_soon(a.send_many, payloads[number : number + 1])
            group.start_soon(a.send, payloads[number + 1])
        with anyio.CancelScope() as scope:
            scope.cancel()
            await a.send(b"cancelled in the queue")
        got = [await b.receive() for _ in range(8)]
    assert scope.cancelled_caught
    assert sorted(got) == payloads
    await a.send(b"whole")
    assert await b.receive() == b"whole"


async def test_a_send_cancelled_before_it_began_sends_nothing(pair: tuple[Any, Any]) -> None:
    a, b = pair
    with anyio.CancelScope() as scope:
        scope.cancel()
        await a.send(b"never")
    assert scope.cancelled_caught
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
