"""The contenders of anyio, on asyncio: a buffered stream's receive_exactly, twice for each frame; and a parser."""

from __future__ import annotations

import anyio
from anyio.abc import SocketListener, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from parser import Parser
from program import HEADER, Job, Take, main, ready


def framed(payloads: list[bytes]) -> bytes:
    """All of them, each behind its header."""
    return b"".join([part for payload in payloads for part in (HEADER.pack(len(payload)), payload)])


async def exactly_receive(job: Job) -> None:
    """receive_exactly, twice for each frame."""
    stream = BufferedByteReceiveStream(await SocketStream.from_socket(job.connect()))

    async def receive(frames: int, take: Take) -> tuple[int, int]:
        total = 0
        for _ in range(frames):
            (size,) = HEADER.unpack(await stream.receive_exactly(4))
            total += take(await stream.receive_exactly(size))
        return frames, total

    while job.meter.turn(*await receive(job.meter.left, job.meter.take)):
        pass
    await stream.aclose()


async def send(job: Job) -> None:
    """Send for each; for a batch, joined."""
    stream = await SocketStream.from_socket(job.connect())
    for batches in job.sending():
        for payloads in batches:
            if job.batch > 1:
                await stream.send(framed(payloads))
            else:
                for payload in payloads:
                    await stream.send(HEADER.pack(len(payload)) + payload)
    await stream.send_eof()
    await stream.aclose()


async def exactly_echo(job: Job) -> None:
    """A task for each client."""

    async def client(stream: SocketStream) -> None:
        buffered = BufferedByteReceiveStream(stream)
        try:
            while True:
                header = await buffered.receive_exactly(4)
                (size,) = HEADER.unpack(header)
                await stream.send(header + await buffered.receive_exactly(size))
        except (anyio.IncompleteRead, anyio.BrokenResourceError, anyio.EndOfStream):
            await stream.aclose()

    listener = await SocketListener.from_socket(job.listen())
    ready()
    await listener.serve(client)


async def parser_receive(job: Job) -> None:
    """For each chunk."""
    stream = await SocketStream.from_socket(job.connect())
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
    await stream.aclose()


async def parser_echo(job: Job) -> None:
    """A task for each client."""

    async def client(stream: SocketStream) -> None:
        parser = Parser()
        try:
            async for chunk in stream:
                payloads = parser.feed(chunk)
                if payloads:
                    await stream.send(framed(payloads))
        except anyio.BrokenResourceError:
            pass
        await stream.aclose()

    listener = await SocketListener.from_socket(job.listen())
    ready()
    await listener.serve(client)


if __name__ == "__main__":
    works = {
        ("anyio", "receive"): exactly_receive,
        ("anyio", "send"): send,
        ("anyio", "echo"): exactly_echo,
        ("anyio-parser", "receive"): parser_receive,
        ("anyio-parser", "echo"): parser_echo,
    }
    main({key: lambda job, run=run: anyio.run(run, job) for key, run in works.items()})
