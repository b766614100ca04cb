"""The contender picows, on uvloop: WebSocket's binary frames, which a bridge makes of those of the endpoint."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
from contextlib import suppress
from itertools import groupby

import bridge
import uvloop
from picows import WSFrame, WSListener, WSTransport, ws_connect
from program import LIMIT, Job, listen, main, unsupported

import fastframe

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def header(size: int) -> bytes:
    """Of a whole, unmasked, binary frame."""
    if size < 126:
        return bytes((0x82, size))
    if size < 65536:
        return b"\x82\x7e" + size.to_bytes(2, "big")
    return b"\x82\x7f" + size.to_bytes(8, "big")


def serve(endpoint: str, listener: socket.socket) -> None:
    """Answer one client's handshake and send it what comes from the endpoint."""
    sock = listener.accept()[0]
    request = b""
    while b"\r\n\r\n" not in request:
        data = sock.recv(4096)
        if not data:
            raise EOFError("no handshake")
        request += data
    fields = {name.lower(): value for name, _, value in (line.partition(b": ") for line in request.splitlines())}
    key = base64.b64encode(hashlib.sha1(fields[b"sec-websocket-key"] + MAGIC).digest())
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + key + b"\r\n\r\n"
    )
    with bridge.connection(endpoint) as conn, suppress(fastframe.ConnectionClosed):
        while True:
            for size, payloads in groupby(conn.recv_many(), len):
                head = header(size)
                sock.sendall(head + head.join(payloads))
    sock.close()


class Receiver(WSListener):
    """Counts the payloads that come."""

    def __init__(self, job: Job) -> None:
        """`job`: the work `receive`."""
        super().__init__()
        self.done = asyncio.get_running_loop().create_future()
        self._meter = job.meter
        self._left, self._take = self._meter.left, self._meter.take
        self._count = self._total = 0

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take it."""
        self._total += self._take(frame.get_payload_as_bytes())
        self._count += 1
        if self._count == self._left:
            if self._meter.turn(self._count, self._total):
                self._left, self._take = self._meter.left, self._meter.take
                self._count = self._total = 0
            else:
                self.done.set_result(None)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Nothing comes any more."""
        if not self.done.done():
            self.done.set_exception(EOFError("the stream ended too early"))


async def receive(job: Job) -> None:
    """A callback for each."""
    if not job.endpoint.startswith("tcp:"):
        unsupported("picows speaks TCP only")
    listener = listen("tcp:0")
    bridge.start(serve, job.endpoint, listener)
    receiver: Receiver
    _, receiver = await ws_connect(
        lambda: Receiver(job), f"ws://127.0.0.1:{listener.getsockname()[1]}/", max_frame_size=LIMIT
    )
    await receiver.done


if __name__ == "__main__":
    main({("picows", "receive"): lambda job: uvloop.run(receive(job))})
