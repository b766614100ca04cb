"""What a receiving task awaits, instead of a future."""

import asyncio
from typing import Any

import pytest

from asyncpairs import faults, loop_kind, run
from fastframe._aio_wait import Wait

__all__ = ["faults", "loop_kind", "run"]  # the fixtures that pytest is to find here


@pytest.fixture(autouse=True)
def on_one_kind(loop_kind: str) -> None:
    if loop_kind == "fed":
        pytest.skip("the same loop as asyncio's")


async def take(wait: Wait) -> list[bytes]:
    await wait
    frames, wait.frames = wait.frames, []
    return frames


async def waiting(wait: Wait) -> asyncio.Task[list[bytes]]:
    task = asyncio.create_task(take(wait))
    await asyncio.sleep(0)
    assert wait.is_awaited
    return task


def from_the_loop(wait: Wait, frames: list[bytes]) -> asyncio.Future[bool]:
    """Gives them; whether the task has gone on inside the call."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def give() -> None:
        wait.give(frames)
        done.set_result(not wait.frames)

    loop.call_soon(give)
    return done


def test_the_task_goes_on_inside_the_call(run: Any) -> None:
    async def work() -> None:
        wait = Wait(asyncio.get_running_loop(), lambda: None)
        for _ in range(3):
            task = await waiting(wait)
            assert await from_the_loop(wait, [b"one"])
            assert task.done()
            assert await task == [b"one"]
        assert not wait.is_awaited

    run(work())


def test_what_nobody_waits_for_is_kept(run: Any) -> None:
    async def work() -> None:
        wait = Wait(asyncio.get_running_loop(), lambda: None)
        wait.give([b"one"])
        wait.give([b"two"])
        assert wait.frames == [b"one", b"two"]
        wait.end()

    run(work())


def test_its_end_lets_the_task_go_on_later(run: Any) -> None:
    async def work() -> None:
        wait = Wait(asyncio.get_running_loop(), lambda: None)
        task = await waiting(wait)
        wait.end()
        assert not task.done()
        assert await task == []

    run(work())


def test_a_cancelled_task_takes_nothing(run: Any) -> None:
    async def work() -> None:
        wait = Wait(asyncio.get_running_loop(), lambda: None)
        task = await waiting(wait)
        assert task.cancel("why")
        wait.give([b"one"])
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.args in {("why",), ()}  # 3.11 and later tell
        assert wait.frames == [b"one"]
        assert not wait.cancel()
        task = await waiting(wait)
        assert await from_the_loop(wait, [b"two"])
        assert await task == [b"one", b"two"]

    run(work())


def test_cancelled_when_it_has_been_told_to_go_on(run: Any) -> None:
    async def work() -> None:
        wait = Wait(asyncio.get_running_loop(), lambda: None)
        task = await waiting(wait)
        wait.end()
        assert task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(work())


def test_timeouts(run: Any) -> None:
    async def work() -> None:
        wait = Wait(asyncio.get_running_loop(), lambda: None)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await wait
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(take(wait), 0.001)
        assert not wait.is_awaited
        task = await waiting(wait)
        assert await from_the_loop(wait, [b"one"])
        assert await task == [b"one"]

    run(work())


def test_the_task_keeps_its_context(run: Any) -> None:
    from contextvars import ContextVar

    name: ContextVar[str] = ContextVar("name", default="none")

    async def named(wait: Wait) -> str:
        name.set("mine")
        await wait
        return name.get()

    async def work() -> None:
        wait = Wait(asyncio.get_running_loop(), lambda: None)
        task = asyncio.create_task(named(wait))
        await asyncio.sleep(0)
        assert await from_the_loop(wait, []) in (True, False)
        assert await task == "mine"
        assert name.get() == "none"

    run(work())
