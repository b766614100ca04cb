"""Small frames that are sent without asking anybody: whole, or nothing has happened."""

from __future__ import annotations

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


def drain(peers: socket.socket, writer: Any) -> bytes:
    """All that can be received, the writer's pending bytes included."""
    got = []
    while True:
        done = writer.flush()
        try:
            while True:
                got.append(peers.recv(1 << 20))
        except BlockingIOError:
            if done:
                return b"".join(got)


def test_what_is_rushed_is_sent_whole_or_nothing_has_happened(engine: Any, pair: Any) -> None:
    ours, peers = pair
    writer = engine.FrameWriter(ours, FRAMING)
    writer._calm()
    expected = b""
    for number in range(200):
        given: Any = b"%d" % number if number % 3 else [b"%d" % number, bytes(number)]
        payloads = given if type(given) is list else [given]
        before = writer.stats
        sent = writer._rush(given)
        if sent is False:
            assert writer.stats == before
            assert writer.write_many(payloads) is (writer.pending == 0)
        else:
            assert (sent is None) == (writer.pending > 0)
        expected += FRAMING.encode_many(payloads)
        assert writer.stats[:2] == (before[0] + len(payloads), len(expected))
    assert drain(peers, writer) == expected


@pytest.mark.parametrize(
    "given", [[], "x", ["x"], bytearray(b"x"), [b"x", bytearray(b"y")], [b"x" * 5000], bytes(5000)]
)
def test_what_is_not_small_bytes_is_not_rushed(engine: Any, pair: Any, given: Any) -> None:
    ours, peers = pair
    writer = engine.FrameWriter(ours, FRAMING, max_pending=100)
    writer._calm()
    assert writer._rush(given) is False
    assert writer._rush([bytes(40)] * 3) is False  # more than may be pending
    assert writer.stats == (0, 0, 0)
    with pytest.raises(BlockingIOError):
        peers.recv(1)


def test_nothing_is_rushed_once_it_is_still(engine: Any, pair: Any) -> None:
    writer = engine.FrameWriter(pair[0], FRAMING)
    assert writer._rush(b"x") is False
    writer._calm()
    writer._still()
    assert writer._rush(b"x") is False
    assert writer.stats == (0, 0, 0)


def test_a_connection_that_is_lost_is_told_by_the_next_write(engine: Any, pair: Any) -> None:
    ours, peers = pair
    writer = engine.FrameWriter(ours, FRAMING)
    writer._calm()
    peers.close()
    assert writer._rush([b"x"]) is False
    with pytest.raises(ff.ConnectionLost):
        writer.write_many([b"x"])
    assert writer._rush([b"x"]) is False
    assert writer.stats.errors == 1


def test_a_list_of_more_than_may_be_pending_is_refused_by_write_many(engine: Any, pair: Any) -> None:
    writer = engine.FrameWriter(pair[0], FRAMING, max_pending=100)
    with pytest.raises(ff.QueueFull):
        writer.write_many([bytes(97)])
    assert writer.write_many([bytes(96)])
    assert writer.stats == (1, 100, 0)
