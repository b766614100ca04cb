"""The contenders of asyncio: its streams, and protocols with a parser of their own; the same on uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from parser import Parser
from program import HEADER, Job, Take, main, ready

JOINED = 4096
"""Smaller payloads are cheaper to join than to hand over one by one."""


def write_many(transport: asyncio.WriteTransport, payloads: list[bytes]) -> None:
    """Write them all: in one piece, or, if the first one is large, by reference."""
    parts = []
    for payload in payloads:
        parts.append(HEADER.pack(len(payload)))
        parts.append(payload)
    if len(payloads[0]) < JOINED:
        transport.write(b"".join(parts))
    else:
        # asyncio never gets rid of an empty one.
        transport.writelines([part for part in parts if part])


async def streams_receive(job: Job) -> None:
    """readexactly, twice for each frame."""
    reader, writer = await asyncio.open_connection(sock=job.connect())

    async def receive(frames: int, take: Take) -> tuple[int, int]:
        total = 0
        for _ in range(frames):
            (size,) = HEADER.unpack(await reader.readexactly(4))
            total += take(await reader.readexactly(size))
        return frames, total

    while job.meter.turn(*await receive(job.meter.left, job.meter.take)):
        pass
    writer.close()


async def streams_send(job: Job) -> None:
    """Write and drain, for each or for a batch."""
    _, writer = await asyncio.open_connection(sock=job.connect())
    for batches in job.sending():
        for payloads in batches:
            if job.batch > 1:
                write_many(writer.transport, payloads)
                await writer.drain()
            else:
                for payload in payloads:
                    writer.write(HEADER.pack(len(payload)) + payload)
                    await writer.drain()
        # The part is over when the kernel has all of it.
        writer.transport.set_write_buffer_limits(0)
        await writer.drain()
        writer.transport.set_write_buffer_limits()
    writer.close()
    await writer.wait_closed()


async def streams_echo(job: Job) -> None:
    """A task for each client."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                header = await reader.readexactly(4)
                (size,) = HEADER.unpack(header)
                writer.write(header + await reader.readexactly(size))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(client, sock=job.listen())
    ready()
    await server.serve_forever()


class Receiver(asyncio.Protocol):
    """Counts the payloads that come."""

    def __init__(self, job: Job) -> None:
        """`job`: the work `receive`."""
        self.done = asyncio.get_running_loop().create_future()
        self._meter = job.meter
        self._left, self._take = self._meter.left, self._meter.take
        self._count = self._total = 0
        self._parser = Parser()

    def data_received(self, data: bytes) -> None:
        """Take what is whole."""
        payloads = self._parser.feed(data)
        self._count += len(payloads)
        self._total += sum(map(self._take, payloads))
        if self._count >= self._left and not self.done.done():
            if self._meter.turn(self._count, self._total):
                self._left, self._take = self._meter.left, self._meter.take
                self._count = self._total = 0
            else:
                self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing comes any more."""
        if not self.done.done():
            self.done.set_exception(exc or EOFError("the stream ended too early"))


class Writable(asyncio.Protocol):
    """Waits while the transport holds too much."""

    def __init__(self) -> None:
        """Begin with room."""
        self._waiter: asyncio.Future[None] | None = None
        self.closed = asyncio.get_running_loop().create_future()

    def pause_writing(self) -> None:
        """The transport is full."""
        self._waiter = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """It has room again."""
        if self._waiter is not None:
            self._waiter.set_result(None)
            self._waiter = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody takes it any more."""
        if self._waiter is not None:
            self._waiter.set_exception(exc or EOFError("the stream ended too early"))
        self.closed.set_result(None)

    async def drain(self) -> None:
        """Until there is room."""
        if self._waiter is not None:
            await self._waiter


class Echo(asyncio.Protocol):
    """Sends back what is whole. What the peer doesn't take holds back what is read from it."""

    def __init__(self) -> None:
        """A client of its own."""
        self._parser = Parser()

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Keep what it writes to."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer."""
        payloads = self._parser.feed(data)
        if payloads:
            write_many(self._transport, payloads)

    def pause_writing(self) -> None:
        """The transport is full."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It has room again."""
        self._transport.resume_reading()


async def protocol_receive(job: Job) -> None:
    """data_received, and a parser."""
    loop = asyncio.get_running_loop()
    transport, receiver = await loop.create_connection(lambda: Receiver(job), sock=job.connect())
    await receiver.done
    transport.close()


async def protocol_send(job: Job) -> None:
    """Write until writing is paused, each or a batch at a time."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(Writable, sock=job.connect())
    for batches in job.sending():
        for payloads in batches:
            if job.batch > 1:
                write_many(transport, payloads)
                await protocol.drain()
            else:
                for payload in payloads:
                    transport.write(HEADER.pack(len(payload)) + payload)
                    await protocol.drain()
        # The part is over when the kernel has all of it.
        transport.set_write_buffer_limits(0)
        await protocol.drain()
        transport.set_write_buffer_limits()
    transport.close()
    await protocol.closed


async def protocol_echo(job: Job) -> None:
    """A protocol for each client."""
    server = await asyncio.get_running_loop().create_server(Echo, sock=job.listen())
    ready()
    await server.serve_forever()


def runner(work: Callable[[Job], Coroutine[Any, Any, None]]) -> Callable[[Job], None]:
    """Runs it in the loop that the contender's name asks for."""

    def run(job: Job) -> None:
        if job.contender.startswith("uvloop-"):
            import uvloop

            uvloop.run(work(job))
        else:
            asyncio.run(work(job))

    return run


if __name__ == "__main__":
    works = {
        ("streams", "receive"): streams_receive,
        ("streams", "send"): streams_send,
        ("streams", "echo"): streams_echo,
        ("protocol", "receive"): protocol_receive,
        ("protocol", "send"): protocol_send,
        ("protocol", "echo"): protocol_echo,
    }
    main({(loop + name, work): runner(run) for loop in ("", "uvloop-") for (name, work), run in works.items()})
