"""The servers of ledger.py: they echo, each in a way of its own.

    python bench/ledger_server.py object|function|connection|protocol [--loop uvloop] [--certificate FILE]

object, function: Server with a handler of that kind. connection, protocol: fastframe.asyncio's. Listens on 127.0.0.1, prints
the port, and serves until its input ends. Then prints how much is left: clients, bytes of theirs and descriptors, of all of which
there is nothing if each was let go. What it logs, warnings and worse, goes to stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import queue
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from itertools import count

import fastframe
import fastframe.asyncio
from fastframe.server import Client

FRAMING = fastframe.LengthField(4)
ROOM = 32 << 10
"""Of the send buffers: a client that reads nothing for a while makes the server wait."""
SOON = 20.0
"""Seconds in which all are let go."""


class Echo:
    """Most clients get a batch back at once; some frame by frame, and some later, from another thread."""

    def __init__(self) -> None:
        self.replies: queue.SimpleQueue[tuple[Client, list[bytes] | None] | None] = queue.SimpleQueue()
        self._numbers = count()

    def connected(self, conn: Client) -> None:
        """A client has come."""
        conn.state = next(self._numbers) % 16

    def frames(self, conn: Client, frames: list[bytes]) -> None:
        """Frames have come."""
        if conn.state == 0:
            for frame in frames:
                conn.send(frame)
        elif conn.state == 1:
            conn.pause()
            self.replies.put((conn, frames))
        else:
            conn.send_many(frames)

    def ended(self, conn: Client) -> None:
        """The client sends nothing more."""
        if conn.state == 1:
            self.replies.put((conn, None))
        else:
            conn.close()

    def reply(self) -> None:
        """Send what is to be sent later."""
        while (job := self.replies.get()) is not None:
            conn, frames = job
            try:
                if frames is None:
                    conn.close()
                else:
                    conn.send_many(frames)
                    conn.resume()
            except fastframe.FrameError:
                pass  # it has gone


def same(frame: bytes) -> bytes:
    """The reply to a frame."""
    return frame


def listening() -> socket.socket:
    """A socket whose clients' inherit its buffers; its port is printed."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
    sock.bind(("127.0.0.1", 0))
    sock.listen(1024)
    print(sock.getsockname()[1], flush=True)
    return sock


def descriptors() -> int:
    """How many are open."""
    return len(os.listdir("/proc/self/fd"))


def serve(handler: object, context: ssl.SSLContext | None) -> int:
    """Serve until the input ends; how much is left."""
    with fastframe.Server(handler, listening(), FRAMING, ssl=context) as server:
        before = descriptors()
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        sys.stdin.read()
        deadline = time.monotonic() + SOON
        while server.stats.connections and time.monotonic() < deadline:
            time.sleep(0.01)
        return server.stats.connections + server.stats.held + descriptors() - before


class Protocol(fastframe.asyncio.FrameProtocol):
    """Sends a batch back at once."""

    there = 0
    """How many there are."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        super().connection_made(transport)
        Protocol.there += 1

    def frames_received(self, frames: list[bytes]) -> None:
        """Frames have come."""
        self.write_many(frames)

    def connection_lost(self, exc: BaseException | None) -> None:
        """It has gone."""
        Protocol.there -= 1


class Connections:
    """Most clients get a batch back at once; some frame by frame."""

    def __init__(self) -> None:
        self.there = 0
        self._numbers = count()

    async def serve(self, conn: fastframe.asyncio.Connection) -> None:
        """One client."""
        self.there += 1
        number = next(self._numbers) % 16
        try:
            if number == 0:
                async for frame in conn:
                    await conn.send(frame)
            elif number == 1:
                while True:
                    await conn.send_many(await conn.recv_batch())
            else:
                while True:
                    await conn.send_many(await conn.recv_many())
        except fastframe.FrameError:
            pass  # its end, in a frame or between two, or a reset
        finally:
            await conn.close()
            self.there -= 1


async def serve_in_loop(kind: str) -> int:
    """As `serve`."""
    loop = asyncio.get_running_loop()
    connections = Connections()
    there: Callable[[], int]
    if kind == "protocol":
        server = await loop.create_server(lambda: Protocol(FRAMING), sock=listening())
        there = lambda: Protocol.there  # noqa: E731 - the counterpart of the other
    else:
        server = await fastframe.asyncio.start_server(connections.serve, sock=listening(), framing=FRAMING)
        there = lambda: connections.there  # noqa: E731
    before = descriptors()
    await loop.run_in_executor(None, sys.stdin.read)
    deadline = loop.time() + SOON
    while there() and loop.time() < deadline:  # noqa: ASYNC110 - nobody tells when the last has gone
        await asyncio.sleep(0.01)
    left = there() + descriptors() - before
    server.close()
    return left


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kind", choices=["object", "function", "connection", "protocol"])
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--certificate", help="A file with a certificate and its key: TLS.")
    given = parser.parse_args()
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    context = None
    if given.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(given.certificate)
    if given.kind == "object":
        echo = Echo()
        replies = threading.Thread(target=echo.reply)
        replies.start()
        left = serve(echo, context)
        echo.replies.put(None)
        replies.join()
    elif given.kind == "function":
        left = serve(same, context)
    else:
        if given.loop == "uvloop":
            import uvloop

            factory = uvloop.new_event_loop
        else:
            factory = asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            left = runner.run(serve_in_loop(given.kind))
    print(json.dumps({"left": left}), flush=True)


if __name__ == "__main__":
    main()
