"""Many frames at once: in order, whole, and whatever the kernel takes of them."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import fastframe as ff

FRAMING = ff.LengthField(4)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, peers = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    peers.setblocking(False)
    with ours, peers:
        yield ours, peers


def fill(writer: Any) -> list[bytes]:
    """Write until the kernel takes no more; what was written."""
    sent = [b"x" * 50_000]
    while writer.write(sent[0]):
        sent.append(sent[0])
    return sent


def receive(writer: Any, peers: socket.socket) -> bytes:
    """All that the writer still has to send, and all that has been sent."""
    got = bytearray()
    while True:
        try:
            got += peers.recv(1 << 20)
        except BlockingIOError:
            if writer.flush() and not writer.pending:
                try:
                    got += peers.recv(1 << 20)
                except BlockingIOError:
                    return bytes(got)


def test_more_pieces_than_one_call_takes(engine: Any, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, peers = pair
    writer = engine.FrameWriter(ours, FRAMING)
    sent = fill(writer)
    for i in range(3000):
        # By turns copied and kept by reference, so that they can't be joined.
        sent.append(b"%d" % i if i % 2 else b"%d" % i * 1200)
        writer.write(sent[-1])
    assert receive(writer, peers) == FRAMING.encode_many(sent)
    assert writer.pending == 0


@pytest.mark.parametrize("seed", range(5))
def test_mixed_sizes_in_a_full_socket(engine: Any, pair: tuple[socket.socket, socket.socket], seed: int) -> None:
    ours, peers = pair
    rng = random.Random(seed)
    writer = engine.FrameWriter(ours, FRAMING)
    wire = bytearray()
    got = bytearray()
    for _ in range(60):
        payloads = [rng.randbytes(rng.choice([0, 1, 20, 4000, 4096, 5000, 70_000])) for _ in range(rng.randint(0, 30))]
        many: list[Any] = [bytearray(p) if rng.random() < 0.3 else p for p in payloads]
        wire += FRAMING.encode_many(payloads)
        writer.write_many(many)
        for payload in many:
            if isinstance(payload, bytearray):
                payload[:] = b"\xff" * len(payload)
        single = rng.randbytes(rng.choice([0, 3, 9000]))
        wire += FRAMING.encode(single)
        writer.write(single)
        if writer.pending > 4_000_000:
            got += receive(writer, peers)
    got += receive(writer, peers)
    assert bytes(got) == bytes(wire)


def test_an_iterable_may_use_the_same_memory_again(engine: Any, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, peers = pair

    def payloads() -> Iterator[bytearray]:
        buffer = bytearray(1)
        for i in range(5):
            buffer[0] = i
            yield buffer

    writer = engine.FrameWriter(ours, FRAMING)
    assert writer.write_many(payloads())
    assert FRAMING.decode(peers.recv(100)) == [bytes([i]) for i in range(5)]


def test_withdrawing_behind_joined_pieces(engine: Any, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, peers = pair
    writer = engine.FrameWriter(ours, FRAMING)
    sent = fill(writer)
    for _ in range(10):
        sent.append(b"kept")
        writer.write(b"kept")
        writer.write(b"withdrawn")
        assert writer._withdraw()
        assert not writer._withdraw()
    assert receive(writer, peers) == FRAMING.encode_many(sent)


def test_an_empty_frame_behind_pending_ones_is_pending_too(
    engine: Any, pair: tuple[socket.socket, socket.socket]
) -> None:
    writer = engine.FrameWriter(pair[0], ff.UntilEOF())
    assert writer.write(b"")
    while writer.write(bytes(100_000)):
        pass
    assert not writer.write(b"")
    assert not writer.flush()
