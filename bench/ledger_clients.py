"""The clients of ledger.py: they come, go, stall, half-close and reset, and look at every byte that comes back.

    python bench/ledger_clients.py PORTS FRAMES SEED [CERTIFICATE]

PORTS: of echo servers on 127.0.0.1, separated by commas. Sends until at least so many frames have come back as they were
sent. Prints lines of JSON: the counts so far. The first thing that is wrong is told in the last one, as "found", and the
status is 1. With the certificate that they trust they speak TLS.

Nothing of fastframe is used here: sockets, and bytes that are compared with those that were sent.
"""

from __future__ import annotations

import errno
import heapq
import json
import math
import random
import select
import socket
import ssl
import struct
import sys
import time
from collections import Counter, deque

from ledger_stream import Block, Stream, judged

AT_ONCE = 64
"""Connections at the same time."""
MOST_FRAMES = 20_000
"""Of a connection; how many, is spread evenly over the orders of magnitude."""
ENDS = ("close", "half-close", "half-close", "cut", "reset")
"""How a client leaves: when all has come back; telling its end at once, and waiting for all; the same in the middle of a frame;
or by a reset, with anything under way."""
WINDOWS = (1 << 12, 1 << 16, 1 << 18, 1 << 20)
"""Bytes that are under way at most."""
ROOM = 4096
"""Of the receive buffer of clients that make the server wait soon."""
STALLS = 0.03
"""The share of turns behind which a client stops reading, or writing, for a while:"""
PAUSE = 0.03
"""for so many seconds, in the mean."""
STUCK = 60.0
"""Seconds without any progress after which something is lost."""
VERDICT = 0.2
"""Seconds in which more may come of what is wrong,"""
ENOUGH = 1 << 18
"""and so many bytes."""
READ, WRITE = select.EPOLLIN, select.EPOLLOUT


class Found(Exception):
    """Something is wrong."""


class Client:
    """One connection, from its beginning to its end."""

    def __init__(self, port: int, rng: random.Random, context: ssl.SSLContext | None, counts: Counter[str]) -> None:
        self.port = port
        self.is_over = False
        self.moved = time.monotonic()
        """When something last came, or could be sent."""
        self.deaf = self.mute = 0.0
        """Until when it doesn't read, or write."""
        self._rng = rng
        self._counts = counts
        self._stream = Stream(rng)
        self._end = rng.choice(ENDS)
        self._left = int(math.exp(rng.uniform(0, math.log(MOST_FRAMES))))  # frames to be sent
        self._resets = rng.randrange(self._left + 1) if self._end == "reset" else -1  # when so many frames are left
        self._window = rng.choice(WINDOWS)
        self._blocks: deque[Block] = deque()  # those that aren't back yet
        self._at = 0  # in the first of these
        self._under_way = 0
        self._out = memoryview(b"")
        self._told_end = False
        self._tls = None if context is None else Tls(context)
        self.sock = socket.socket()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if rng.random() < 0.25:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        self.sock.setblocking(False)
        if self.sock.connect_ex(("127.0.0.1", port)) not in (0, errno.EINPROGRESS):
            raise Found("a client can't connect")
        counts["connections"] += 1

    @property
    def wants(self) -> int:
        """What it waits for."""
        return (0 if self.deaf else READ) | (WRITE if not self.mute and self._may_write() else 0)

    def turn(self, events: int) -> float:
        """Do what can be done. Gives the time until which it stalls now, else 0."""
        try:
            if events & ~WRITE and not self.deaf:
                self._read()
            if events & WRITE and not self.mute and not self.is_over:
                self._write()
        except OSError as error:
            raise Found(f"the server has broken a connection: {error.strerror or error}, {self._where()}") from None
        if self.is_over or self.deaf or self.mute or self._rng.random() >= STALLS:
            return 0.0
        until = time.monotonic() + self._rng.expovariate(1 / PAUSE)
        if self._rng.random() < 0.5:
            self.deaf = until
        else:
            self.mute = until
        self._counts["stalls"] += 1
        return until

    def wait_over(self, now: float) -> None:
        """Go on, if it has stalled long enough."""
        self.deaf = self.deaf if self.deaf > now else 0.0
        self.mute = self.mute if self.mute > now else 0.0

    def check_stuck(self, now: float) -> None:
        """Found, if nothing happens any more."""
        if now - self.moved > STUCK:
            raise Found(f"lost: nothing has happened for {STUCK:g} s, {self._where()}")

    # --- Sending

    def _may_write(self) -> bool:
        if self._tls is not None and not self._tls.is_shaken:
            return bool(self._out) or self._tls.has_begun is False
        return bool(self._out) or (not self._told_end and (self._left == 0 or self._under_way < self._window))

    def _write(self) -> None:
        if self._tls is not None and not self._tls.is_shaken:
            self._out = memoryview(bytes(self._out) + self._tls.shake(b""))
        elif not self._out and not self._told_end:
            self._fill()
        if not self._out:
            return
        # Frames are cut anywhere.
        most = self._rng.choice((7, 1000, 1 << 20, 1 << 20, 1 << 20, 1 << 20))
        try:
            sent = self.sock.send(self._out[:most])
        except BlockingIOError:
            return
        self.moved = time.monotonic()
        self._out = self._out[sent:]
        if self._told_end and not self._out:
            self._shut()

    def _fill(self) -> None:
        """The next frames, or the end."""
        if self._end == "reset" and self._left <= self._resets:
            self._counts["resets"] += 1
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._leave()
            return
        if self._left:
            block = self._block()
            self._blocks.append(block)
            self._under_way += len(block.data)
            self._out = memoryview(self._sealed(block.data))
            return
        self._told_end = True
        if self._end == "close":
            self._close_if_done()
            return
        last = b""
        if self._end == "cut":
            whole = self._stream.block(1, 20).data
            last = whole[: self._rng.randrange(1, len(whole))]
        if self._tls is None:
            self._out = memoryview(last)
        else:
            self._out = memoryview(self._sealed(last) + self._tls.end())
        if not self._out:
            self._shut()

    def _block(self) -> Block:
        rng = self._rng
        room = self._window - self._under_way
        filler = rng.choice((0, 1, 8, 20, rng.randrange(64))) if rng.random() < 0.98 else rng.randrange(100_000)
        most = max(1, min(self._left, room // (filler + 28), 2000))
        count = 1 if rng.random() < 0.1 else max(1, most - rng.randrange(most) // 2)
        self._left -= count
        return self._stream.block(count, filler)

    def _sealed(self, data: bytes) -> bytes:
        return data if self._tls is None else self._tls.seal(data)

    def _shut(self) -> None:
        """All is sent, the end too."""
        self._counts["half-closes"] += 1
        self._counts["half-closes inside a frame"] += self._end == "cut"
        if self._tls is None:
            self.sock.shutdown(socket.SHUT_WR)

    # --- Receiving

    def _read(self) -> None:
        try:
            data = self.sock.recv(1 << 18)
        except BlockingIOError:
            return
        self.moved = time.monotonic()
        is_end = not data
        if self._tls is not None and data:
            was_shaken = self._tls.is_shaken
            if not was_shaken and (answer := self._tls.shake(data)):
                self._out = memoryview(bytes(self._out) + answer)
            data = self._tls.opened(data if was_shaken else b"")
            is_end = self._tls.is_ended
        elif self._tls is not None:
            raise Found(f"the server has ended TLS without saying so, {self._where()}")
        if data:
            self._compare(data)
        if is_end:
            self._ended()
        elif self._told_end and self._end == "close":
            self._close_if_done()

    def _compare(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            if not self._blocks:
                raise Found(f"doubled: {len(data) - at} bytes behind all that was sent, {self._where()}")
            block = self._blocks[0]
            step = min(len(data) - at, len(block.data) - self._at)
            if data[at : at + step] != block.data[self._at : self._at + step]:
                self._accuse(block, data[at:])
            before = self._at // block.size
            self._at += step
            at += step
            self._under_way -= step
            self._counts["frames"] += self._at // block.size - before
            if self._at == len(block.data):
                self._blocks.popleft()
                self._at = 0

    def _accuse(self, block: Block, data: bytes) -> None:
        """Tell what is wrong: these bytes came behind those of the block that were right."""
        came = block.data[: self._at] + data + self._rest()
        differs = next(i for i in range(self._at, len(block.data)) if came[i : i + 1] != block.data[i : i + 1])
        start = differs // block.size * block.size
        raise Found(f"{judged(block.data[start : start + block.size], came[start:])}, {self._where()}")

    def _rest(self) -> bytes:
        """What comes in the next moment, for a verdict on whole frames."""
        rest = b""
        self.sock.settimeout(VERDICT)
        try:
            while self._tls is None and len(rest) < ENOUGH and (data := self.sock.recv(ENOUGH)):
                rest += data
        except OSError:
            pass
        return rest

    def _ended(self) -> None:
        """The server has ended its direction."""
        if not self._told_end or self._end == "close":
            raise Found(f"the server has closed a connection, {self._where()}")
        if self._blocks:
            raise Found(f"lost: {self._under_way} bytes haven't come back, {self._where()}")
        self._leave()

    def _close_if_done(self) -> None:
        if not self._blocks:
            self._leave()

    def _leave(self) -> None:
        self.is_over = True
        self.sock.close()

    def _where(self) -> str:
        return (
            f"on port {self.port}, client {self._counts['connections']}, which is to end by {self._end}, "
            f"with {self._left} frames to be sent and {self._under_way} bytes under way"
        )


class Tls:
    """A client's TLS, without a socket."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.is_shaken = self.is_ended = self.has_begun = False
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._in, self._out, server_hostname="localhost")

    def shake(self, data: bytes) -> bytes:
        """Another step of the handshake, with what has come; what has to be sent."""
        self.has_begun = True
        self._in.write(data)
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            pass
        else:
            self.is_shaken = True
        return self._out.read()

    def seal(self, data: bytes) -> bytes:
        """As it has to be sent."""
        if data:
            self._object.write(data)
        return self._out.read()

    def opened(self, data: bytes) -> bytes:
        """What has come."""
        self._in.write(data)
        parts = []
        try:
            while self.is_shaken:
                parts.append(self._object.read(1 << 18))
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.is_ended = True
        return b"".join(parts)

    def end(self) -> bytes:
        """The end of this direction."""
        try:
            self._object.unwrap()
        except ssl.SSLWantReadError:
            pass
        return self._out.read()


class Clients:
    """All that are there at the same time."""

    def __init__(self, ports: list[int], frames: int, seed: int, context: ssl.SSLContext | None) -> None:
        self.counts: Counter[str] = Counter()
        self._ports = ports
        self._frames = frames
        self._rng = random.Random(seed)
        self._context = context
        self._poller = select.epoll()
        self._clients: dict[int, tuple[Client, int]] = {}
        self._stalled: list[tuple[float, int]] = []  # when, and which

    def run(self) -> None:
        """Until enough frames have come back, and all clients have left. Found if something is wrong."""
        told = time.monotonic()
        while True:
            while len(self._clients) < AT_ONCE and self.counts["frames"] < self._frames:
                client = Client(self._rng.choice(self._ports), self._rng, self._context, self.counts)
                self._clients[client.sock.fileno()] = client, client.wants
                self._poller.register(client.sock.fileno(), client.wants)
            if not self._clients:
                break
            timeout = max(0.0, self._stalled[0][0] - time.monotonic()) if self._stalled else 1.0
            for number, events in self._poller.poll(min(timeout, 1.0)):
                if until := self._clients[number][0].turn(events):
                    heapq.heappush(self._stalled, (until, number))
                self._watch(number)
            now = time.monotonic()
            while self._stalled and self._stalled[0][0] <= now:
                number = heapq.heappop(self._stalled)[1]
                if number in self._clients:
                    self._clients[number][0].wait_over(now)
                    self._watch(number)
            if now - told > 0.2:
                told = now
                self.tell()
                for client, _ in self._clients.values():
                    client.check_stuck(now)
        self.tell()

    def close(self) -> None:
        """Leave at once."""
        for client, _ in self._clients.values():
            client.sock.close()
        self._clients.clear()
        self._poller.close()

    def tell(self, **more: str) -> None:
        """Print the counts."""
        print(json.dumps({**self.counts, **more}), flush=True)

    def _watch(self, number: int) -> None:
        client, watched = self._clients[number]
        if client.is_over:
            del self._clients[number]  # its close has taken it out of the poller
            return
        wants = client.wants
        if wants != watched:
            # Even one that waits for nothing is told of a reset, again and again.
            if not wants:
                self._poller.unregister(number)
            elif watched:
                self._poller.modify(number, wants)
            else:
                self._poller.register(number, wants)
            self._clients[number] = client, wants


def main() -> int:
    """Run; the status."""
    ports, frames, seed, *certificate = sys.argv[1:]
    context = ssl.create_default_context(cafile=certificate[0]) if certificate else None
    clients = Clients([int(port) for port in ports.split(",")], int(frames), int(seed), context)
    try:
        clients.run()
    except Found as found:
        clients.tell(found=str(found))
        return 1
    finally:
        clients.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
