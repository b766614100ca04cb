"""The hot paths: what programs do most often, each in rounds whose answer is checked.

    python bench/hot_paths.py ROUNDS NAME...

does ROUNDS rounds of each path to warm up, then ROUNDS, then twice as many, with marks for callgrind between them.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import callgrind
import fastframe as ff

FRAMES = {16: 1000, 960: 100, 64 * 1024: 16, 1024 * 1024: 2}
"""The frames of a round, by the size of their payloads."""
PIECE = 64 * 1024
ROOM = 256 * 1024
U32 = ff.LengthField(4)
FRAMINGS: dict[str, ff.Framing] = {
    "u32": U32,
    "u16le": ff.LengthField(2, "little"),
    "varint": ff.VarintLength(),
    "line": ff.Delimiter(b"\r\n"),
    "netstring": ff.Netstring(),
    "ascii": ff.AsciiLength(),
}


class Round(NamedTuple):
    """A function to call again and again, what it returns each time, and the frames it moves."""

    run: Callable[[], Any]
    answer: int | bytes | list[bytes]
    frames: int

    def check(self) -> None:
        """Run it once. ValueError if the answer is wrong."""
        got = self.run()
        if (got if isinstance(got, int | memoryview) else list(got)) != self.answer:
            raise ValueError("wrong answer")


Path = Callable[[Any], AbstractContextManager[Round]]
"""Opens a path on an engine: its module, or fastframe itself."""


def stream(framing: ff.Framing, size: int) -> tuple[bytes, list[bytes]]:
    """A round on the wire, and the payloads in it."""
    payloads = [b"x" * size] * FRAMES[size]
    return framing.encode_many(payloads), payloads


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets, with room for a round."""
    ours, peers = socket.socketpair()
    with ours, peers:
        for sock in (ours, peers):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
        yield ours, peers


# --- In memory -------------------------------------------------------------------------------------------------------


@contextmanager
def feed(engine: Any, framing: ff.Framing, size: int) -> Iterator[Round]:
    wire, payloads = stream(framing, size)
    decoder = engine.Decoder(framing)
    yield Round(lambda: decoder.feed(wire), payloads, len(payloads))


@contextmanager
def feed_batch(engine: Any, size: int) -> Iterator[Round]:
    wire, payloads = stream(U32, size)
    decoder = engine.Decoder(U32)
    yield Round(lambda: decoder.feed_batch(wire), payloads, len(payloads))


@contextmanager
def views(engine: Any, size: int) -> Iterator[Round]:
    wire, payloads = stream(U32, size)
    decoder = engine.Decoder(U32)
    yield Round(lambda: sum(map(len, decoder.feed_batch(wire).views())), size * len(payloads), len(payloads))


@contextmanager
def pop(engine: Any, size: int) -> Iterator[Round]:
    wire, payloads = stream(U32, size)
    decoder = engine.Decoder(U32)

    def run() -> int:
        decoder.push(wire)
        total = 0
        while (frame := decoder.pop()) is not None:
            total += len(frame)
        return total

    yield Round(run, size * len(payloads), len(payloads))


@contextmanager
def encode_many(engine: Any, size: int) -> Iterator[Round]:
    wire, payloads = stream(U32, size)
    yield Round(lambda: memoryview(U32.encode_many(payloads)), wire, len(payloads))


# --- Receiving: what is received has been sent before, in one piece that fits the socket's buffer ---------------------


@contextmanager
def read(engine: Any, method: str, size: int) -> Iterator[Round]:
    wire, payloads = stream(U32, size)
    with pair() as (ours, peers):
        take = getattr(engine.FrameReader(ours, U32), method)

        def run() -> Any:
            peers.sendall(wire)
            return take()

        yield Round(run, payloads, len(payloads))


@contextmanager
def read_one(engine: Any, size: int) -> Iterator[Round]:
    wire, payloads = stream(U32, size)
    with pair() as (ours, peers):
        reader = engine.FrameReader(ours, U32)

        def run() -> int:
            peers.sendall(wire)
            total = 0
            while (frame := reader.read_one()) is not None:
                total += len(frame)
            return total

        yield Round(run, size * len(payloads), len(payloads))


@contextmanager
def read_large(engine: Any, size: int) -> Iterator[Round]:
    wire, payloads = stream(U32, size)
    pieces = [wire[at : at + PIECE] for at in range(0, len(wire), PIECE)]
    with pair() as (ours, peers):
        reader = engine.FrameReader(ours, U32)

        def run() -> list[bytes]:
            frames = []
            for piece in pieces:
                peers.sendall(piece)
                frames += reader.read()
            return frames

        yield Round(run, payloads, len(payloads))


@contextmanager
def iterate(engine: Any, size: int) -> Iterator[Round]:
    wire, payloads = stream(U32, size)
    with pair() as (ours, peers), ff.wrap(ours, U32) as conn:

        def run() -> int:
            peers.sendall(wire)
            return sum(map(len, islice(conn, len(payloads))))

        yield Round(run, size * len(payloads), len(payloads))


@contextmanager
def recv(engine: Any, size: int) -> Iterator[Round]:
    wire, payloads = stream(U32, size)
    with pair() as (ours, peers), ff.wrap(ours, U32) as conn:

        def run() -> int:
            peers.sendall(wire)
            total = 0
            for _ in payloads:
                total += len(conn.recv())
            return total

        yield Round(run, size * len(payloads), len(payloads))


@contextmanager
def recv_many(engine: Any, size: int) -> Iterator[Round]:
    wire, payloads = stream(U32, size)
    with pair() as (ours, peers), ff.wrap(ours, U32) as conn:

        def run() -> list[bytes]:
            peers.sendall(wire)
            return conn.recv_many()

        yield Round(run, payloads, len(payloads))


# --- Sending: the other end takes all of a round in one call ----------------------------------------------------------

CALLS = 64
"""Each frame that is sent alone takes much more of the socket's buffer than its bytes."""


def drained(send: Callable[[], Any], peers: socket.socket, wire: bytes, frames: int) -> Round:
    """A round of sending, whose answer is what the other end has received."""
    view = memoryview(bytearray(2 * len(wire)))

    def run() -> memoryview:
        send()
        return view[: peers.recv_into(view)]

    return Round(run, wire, frames)


@contextmanager
def write(engine: Any, size: int) -> Iterator[Round]:
    payloads = [b"x" * size] * CALLS
    with pair() as (ours, peers):
        writer = engine.FrameWriter(ours, U32)

        def send() -> None:
            for payload in payloads:
                writer.write(payload)

        yield drained(send, peers, U32.encode_many(payloads), CALLS)


@contextmanager
def write_many(engine: Any, size: int) -> Iterator[Round]:
    wire, payloads = stream(U32, size)
    with pair() as (ours, peers):
        writer = engine.FrameWriter(ours, U32)
        yield drained(lambda: writer.write_many(payloads), peers, wire, len(payloads))


@contextmanager
def send(engine: Any, size: int) -> Iterator[Round]:
    payloads = [b"x" * size] * CALLS
    with pair() as (ours, peers), ff.wrap(ours, U32) as conn:

        def send_all() -> None:
            for payload in payloads:
                conn.send(payload)

        yield drained(send_all, peers, U32.encode_many(payloads), CALLS)


@contextmanager
def send_many(engine: Any, size: int) -> Iterator[Round]:
    wire, payloads = stream(U32, size)
    with pair() as (ours, peers), ff.wrap(ours, U32) as conn:
        yield drained(lambda: conn.send_many(payloads), peers, wire, len(payloads))


@contextmanager
def round_trip(engine: Any, size: int) -> Iterator[Round]:
    payload = b"x" * size
    with pair() as (ours, peers), ff.wrap(ours, U32) as client, ff.wrap(peers, U32) as server:

        def run() -> int:
            total = 0
            for _ in range(CALLS):
                client.send(payload)
                server.send(server.recv())
                total += len(client.recv())
            return total

        yield Round(run, size * CALLS, CALLS)


# --- All of them -----------------------------------------------------------------------------------------------------

SIZES = (16, 960)  # with its header a bytes object of 960 is still one that malloc keeps for the next
MEMORY: dict[str, Path] = {
    f"feed-{name}-{size}": partial(feed, framing=framing, size=size)
    for name, framing in FRAMINGS.items()
    for size in SIZES
} | {
    f"{path.__name__}-{size}": partial(path, size=size)
    for path in (feed_batch, views, pop, encode_many)
    for size in SIZES
}
SOCKETS: dict[str, Path] = (
    {f"{method}-{size}": partial(read, method=method, size=size) for method in ("read", "read_batch") for size in SIZES}
    | {
        f"{path.__name__}-{size}": partial(path, size=size)
        for path in (read_one, write, write_many, iterate, recv, recv_many, send, send_many, round_trip)
        for size in SIZES
    }
    | {f"read-{size}": partial(read_large, size=size) for size in (65536, 1048576)}
)
PATHS = MEMORY | SOCKETS


def work(name: str, rounds: int) -> None:
    """Do the rounds, between marks."""
    with PATHS[name](ff) as path:
        path.check()
        for times in (rounds, rounds, 2 * rounds):
            callgrind.mark()
            for _ in range(times):
                path.run()
        callgrind.mark()
        path.check()


def main(rounds: int, names: list[str]) -> None:
    """Each path has a process of its own: what others have left in memory changes the counts."""
    gc.disable()
    for name in names:
        child = os.fork()
        if not child:
            work(name, rounds)
            return
        if os.waitpid(child, 0)[1]:
            sys.exit(f"{name} failed")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
