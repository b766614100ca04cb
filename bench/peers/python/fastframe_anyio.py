"""The contenders of fastframe.anyio: on asyncio through anyio, and on trio's own streams; and anyio's rival on trio."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

os.environ["FASTFRAME_PURE"] = "0"

import anyio
from anyio.abc import SocketListener, SocketStream
from anyio_ import exactly_receive
from program import Job, Take, main, ready

import fastframe
from fastframe.anyio import FrameStream

FRAMING = fastframe.LengthField(4)


async def on_asyncio(job: Job) -> FrameStream:
    """Connected through anyio."""
    return FrameStream(await SocketStream.from_socket(job.connect()), FRAMING)


async def on_trio(job: Job) -> FrameStream:
    """Connected by trio."""
    import trio

    return FrameStream(trio.SocketStream(trio.socket.from_stdlib_socket(job.connect())), FRAMING)


async def receive(connect: Callable[[Job], Awaitable[FrameStream]], one: bool, job: Job) -> None:
    """Receive frames, and look at every checkpoint whether they are cancelled."""
    stream = await connect(job)

    async def by_one(frames: int, take: Take) -> tuple[int, int]:
        total = 0
        for _ in range(frames):
            total += take(await stream.receive())
        return frames, total

    async def many(frames: int, take: Take) -> tuple[int, int]:
        count = total = 0
        while count < frames:
            payloads = await stream.receive_many()
            count += len(payloads)
            total += sum(map(take, payloads))
        return count, total

    work = by_one if one else many
    with anyio.CancelScope():
        while job.meter.turn(*await work(job.meter.left, job.meter.take)):
            pass
    await stream.aclose()


async def client(one: bool, byte_stream: Any) -> None:
    """Send every frame back."""
    async with FrameStream(byte_stream, FRAMING) as stream:
        try:
            while True:
                if one:
                    await stream.send(await stream.receive())
                else:
                    await stream.send_many(await stream.receive_many())
        except fastframe.FrameError:
            return


async def echo_on_asyncio(one: bool, job: Job) -> None:
    """A task for each client."""
    listener = await SocketListener.from_socket(job.listen())
    ready()
    await listener.serve(partial(client, one))


async def echo_on_trio(one: bool, job: Job) -> None:
    """A task for each client."""
    import trio

    listener = trio.SocketListener(trio.socket.from_stdlib_socket(job.listen()))
    ready()
    await trio.serve_listeners(partial(client, one), [listener])


if __name__ == "__main__":
    works: dict[tuple[str, str], Callable[[Job], None]] = {}
    for backend, connect, echo in (("asyncio", on_asyncio, echo_on_asyncio), ("trio", on_trio, echo_on_trio)):
        name = "anyio" if backend == "asyncio" else backend
        run = partial(partial, anyio.run, backend=backend)
        for contender, one in ((f"{name}-frames", False), (f"{name}-frames-one", True)):
            works[contender, "receive"] = run(partial(receive, connect, one))
            works[contender, "echo"] = run(partial(echo, one))
    works["anyio-trio", "receive"] = partial(anyio.run, exactly_receive, backend="trio")
    main(works)
