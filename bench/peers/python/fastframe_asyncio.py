"""fastframe's echo servers in an event loop: by callbacks, and by coroutines; on asyncio and on uvloop."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

os.environ["FASTFRAME_PURE"] = "1" if "".join(sys.argv[1:2]).startswith("pure-") else "0"

from program import Job, main, ready

import fastframe
from fastframe.asyncio import Connection, FrameProtocol, start_server

FRAMING = fastframe.LengthField(4)


class Echo(FrameProtocol):
    """Sends back what comes. What the peer doesn't take holds back what is read from it."""

    def frames_received(self, frames: list[bytes]) -> None:
        """Answer."""
        self.write_many(frames)


async def protocol(job: Job) -> None:
    """A protocol for each client."""
    server = await asyncio.get_running_loop().create_server(lambda: Echo(FRAMING), sock=job.listen())
    ready()
    await server.serve_forever()


async def coroutines(job: Job) -> None:
    """A task for each client."""

    async def client(conn: Connection) -> None:
        while True:
            await conn.send_many(await conn.recv_many())

    server = await start_server(client, sock=job.listen(), framing=FRAMING)
    ready()
    await server.serve_forever()


def runner(work: Callable[[Job], Coroutine[Any, Any, None]]) -> Callable[[Job], None]:
    """Runs it in the loop that the contender's name asks for."""

    def run(job: Job) -> None:
        if job.contender.endswith("-uvloop"):
            import uvloop

            uvloop.run(work(job))
        else:
            asyncio.run(work(job))

    return run


if __name__ == "__main__":
    works = {"frame-protocol": protocol, "start-server": coroutines}
    main(
        {
            (pure + name + loop, "echo"): runner(work)
            for pure in ("", "pure-")
            for name, work in works.items()
            for loop in ("", "-uvloop")
        }
    )
