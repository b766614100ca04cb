"""Receives and sends of an event loop that are cancelled and timed out: nothing is lost, doubled or reordered."""

import asyncio
import os
import random
import socket
from typing import Any

import pytest

import fastframe as ff
from asyncpairs import connected, faults, give, loop_kind, on_engine, run, take, turns, waiting
from connections import FRAMING, wire

__all__ = ["faults", "loop_kind", "on_engine", "run"]  # the fixtures that pytest is to find here

CANCELLATIONS = int(os.environ.get("FASTFRAME_CANCELLATIONS", "3000"))
"""How many receives a storm cancels."""


@pytest.mark.parametrize("way", ["recv", "recv_many", "__anext__"])
def test_cancelled_in_the_tick_in_which_data_comes(run: Any, way: str) -> None:
    async def work() -> None:
        conn, peer = await connected()
        async with conn:
            for number in range(50):
                receiving = await waiting(getattr(conn, way)())
                await give(peer, wire(b"%d" % number))
                for _ in range(number % 5):
                    await asyncio.sleep(0)
                receiving.cancel()
                got: Any = None
                try:
                    got = await receiving
                except asyncio.CancelledError:
                    got = await getattr(conn, way)()
                assert got in (b"%d" % number, [b"%d" % number])
            peer.close()

    run(work())


def test_storm_of_cancellations_loses_and_doubles_nothing(run: Any) -> None:
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)

    cancelled = 0

    async def giving(peer: socket.socket) -> None:
        number = 0
        while cancelled < CANCELLATIONS:
            count = dice.randrange(1, 8)
            data = wire(*(b"%d;" % n + bytes(dice.choice((0, 0, 0, 900))) for n in range(number, number + count)))
            number += count
            cut = dice.randrange(len(data))
            for part in (data[:cut], data[cut:]):
                await give(peer, part)
                for _ in range(dice.randrange(4)):
                    await asyncio.sleep(0)
        peer.shutdown(socket.SHUT_WR)

    async def work() -> None:
        nonlocal cancelled
        conn, peer = await connected(dice.choice(["tcp", "unix"] if hasattr(socket, "AF_UNIX") else ["tcp"]))
        source = asyncio.create_task(giving(peer))
        got: list[bytes] = []

        async def receive() -> None:
            # Nothing may come between the receive and this: what a task returns nobody takes may be lost by its user.
            got.extend([await conn.recv()] if dice.random() < 0.5 else list(await conn.recv_many()))

        while True:
            task = asyncio.create_task(receive())
            for _ in range(dice.randrange(5)):
                await asyncio.sleep(0)
            how = dice.randrange(3)
            try:
                if how == 0:
                    task.cancel()
                    await task
                elif how == 1:
                    await asyncio.wait_for(task, dice.choice((0, 0.00001, 0.0001)))
                else:
                    async with asyncio.timeout(dice.choice((0, 0.00001, 0.0001))):
                        await task
            except (asyncio.CancelledError, TimeoutError):
                cancelled += 1
            except ff.ConnectionClosed:
                break
        await source
        assert [int(frame.rstrip(b"\0")[:-1]) for frame in got] == list(range(len(got))), seed
        assert len(got) > CANCELLATIONS / 10, seed
        await conn.close()
        peer.close()

    run(work())


def test_timeouts_and_task_groups(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected()
        async with conn:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(conn.recv(), 0.001)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await conn.recv_many()
            with pytest.raises(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(conn.recv())
                    await turns()
                    group.create_task(conn.recv())
            await give(peer, wire(b"all is well"))
            assert await conn.recv() == b"all is well"
            peer.close()

    run(work())


def test_cancelled_send_has_sent_nothing(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected()
        async with conn:
            sent = 0
            while not conn._inbox._full:
                await conn.send(bytes(50_000))
                sent += 1
            tasks = [await waiting(conn.send(b"%d" % number)) for number in range(10)]
            for number in (0, 3, 4, 9):
                tasks[number].cancel()
            await turns()
            assert await take(peer, sent * 50_004) == wire(bytes(50_000)) * sent
            assert await take(peer, 6 * 5) == wire(b"1", b"2", b"5", b"6", b"7", b"8")
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert [number for number, one in enumerate(done) if one is not None] == [0, 3, 4, 9]
            await conn.send(b"on")
            assert await take(peer, 6) == wire(b"on")
            peer.close()

    run(work())


def test_storm_of_cancelled_sends(run: Any) -> None:
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)

    async def work() -> None:
        conn, peer = await connected()
        got: list[bytes] = []
        sent: list[int] = []

        async def read() -> None:
            decoder = ff.Decoder(FRAMING)
            while data := await asyncio.get_running_loop().sock_recv(peer, dice.choice((100, 100_000))):
                got.extend(decoder.feed(data))

        async def send(number: int) -> None:
            try:
                await conn.send(b"%d;" % number + bytes(dice.choice((0, 100, 100_000))))
            except asyncio.CancelledError:
                return
            sent.append(number)

        reading = asyncio.create_task(read())
        tasks: list[asyncio.Task[None]] = []
        for number in range(1000):
            tasks.append(asyncio.create_task(send(number)))
            await asyncio.sleep(0)
            if dice.random() < 0.5:
                dice.choice(tasks[-5:]).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await conn.close()
        await reading
        peer.close()
        assert [int(frame.rstrip(b"\0")[:-1]) for frame in got] == sent, seed
        assert len(sent) > 100, seed

    run(work())
