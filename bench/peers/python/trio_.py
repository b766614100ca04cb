"""The contender trio: a stream's chunks, and a parser."""

from __future__ import annotations

import trio
from parser import Parser
from program import HEADER, Job, Take, main, ready


def stream_of(job: Job) -> trio.SocketStream:
    """A stream, connected."""
    return trio.SocketStream(trio.socket.from_stdlib_socket(job.connect()))


def framed(payloads: list[bytes]) -> bytes:
    """All of them, each behind its header."""
    return b"".join([part for payload in payloads for part in (HEADER.pack(len(payload)), payload)])


async def receive(job: Job) -> None:
    """For each chunk."""
    stream = stream_of(job)
    parser = Parser()

    async def receive(frames: int, take: Take) -> tuple[int, int]:
        count = total = 0
        async for chunk in stream:
            payloads = parser.feed(chunk)
            count += len(payloads)
            total += sum(map(take, payloads))
            if count >= frames:
                break
        return count, total

    while job.meter.turn(*await receive(job.meter.left, job.meter.take)):
        pass


async def send(job: Job) -> None:
    """send_all for each; for a batch, joined."""
    stream = stream_of(job)
    for batches in job.sending():
        for payloads in batches:
            if job.batch > 1:
                await stream.send_all(framed(payloads))
            else:
                for payload in payloads:
                    await stream.send_all(HEADER.pack(len(payload)) + payload)
    await stream.send_eof()


async def echo(job: Job) -> None:
    """A task for each client."""

    async def client(stream: trio.SocketStream) -> None:
        parser = Parser()
        try:
            async for chunk in stream:
                payloads = parser.feed(chunk)
                if payloads:
                    await stream.send_all(framed(payloads))
        except trio.BrokenResourceError:
            return

    listener = trio.SocketListener(trio.socket.from_stdlib_socket(job.listen()))
    ready()
    await trio.serve_listeners(client, [listener])


if __name__ == "__main__":
    works = {"receive": receive, "send": send, "echo": echo}
    main({("trio", work): lambda job, run=run: trio.run(run, job) for work, run in works.items()})
