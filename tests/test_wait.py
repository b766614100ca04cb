"""wait: a descriptor's readiness, with a deadline that signals don't extend."""

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fastframe import LengthField


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, peers = socket.socketpair()
    with ours, peers:
        yield ours, peers


def test_wait(engine: Any, pair: Any) -> None:
    ours, peers = pair
    assert not engine.wait(ours.fileno(), False, 0)
    assert engine.wait(ours.fileno(), True, 0)
    peers.send(b"x")
    for timeout in (0, 1, 2.5, None):
        assert engine.wait(ours.fileno(), False, timeout) is True
    ours.recv(1)
    assert engine.wait(ours.fileno(), False, 0.01) is False
    peers.close()
    assert engine.wait(ours.fileno(), False, None) is True


def test_wait_counts_a_hangup(engine: Any) -> None:
    read_end, write_end = os.pipe()
    os.close(write_end)
    assert engine.wait(read_end, False, None) is True
    os.close(read_end)


@pytest.mark.parametrize("timeout", [float("nan"), -1, -0.5, float("-inf")])
def test_wait_refuses_a_wrong_timeout(engine: Any, pair: Any, timeout: float) -> None:
    with pytest.raises(ValueError):
        engine.wait(pair[0].fileno(), False, timeout)


def test_signals_run_and_do_not_extend_a_wait(engine: Any, pair: Any) -> None:
    hits = []
    before = signal.signal(signal.SIGALRM, lambda *_: hits.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
    try:
        start = time.monotonic()
        assert engine.wait(pair[0].fileno(), False, 0.1) is False
        assert time.monotonic() - start >= 0.1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(hits) >= 2


def test_exception_of_a_signal_handler_leaves_a_wait(engine: Any, pair: Any) -> None:
    def handler(*_: Any) -> None:
        raise LookupError("out")

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        with pytest.raises(LookupError, match="out"):
            engine.wait(pair[0].fileno(), False, 20)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_wait_sees_what_select_sees(engine: Any, pair: Any) -> None:
    ours, peers = pair
    peers.send(b"x")
    assert bool(select.select([ours], [], [], 0)[0]) == engine.wait(ours.fileno(), False, 0)


@pytest.mark.skipif(os.name == "nt", reason="no call waits there")
@pytest.mark.parametrize("kind", ["socket", "pipe"])
@pytest.mark.parametrize("readahead", [True, False])
def test_where_calls_may_wait_nothing_else_is_asked(engine: Any, kind: str, readahead: bool) -> None:
    ends = [sock.detach() for sock in socket.socketpair()] if kind == "socket" else os.pipe()
    reader, writer = (
        engine.FrameReader(ends[0], LengthField(4), readahead=readahead),
        engine.FrameWriter(ends[1], LengthField(4)),
    )
    payloads = [b"small", bytes(range(256)) * 8192, b""]
    try:
        assert reader.read_one() is None
        reader._waits = writer._waits = True
        got: list[bytes] = []
        receiving = threading.Thread(target=lambda: got.extend(iter(reader.read_one, b"")))
        receiving.start()
        # More than the kernel holds: this waits until the other thread has taken it, for which it needs the interpreter.
        assert [writer.write(payload) for payload in payloads] == [True] * 3
        receiving.join()
        assert got == payloads[:2]
        for end in ends:
            os.set_blocking(end, False)
        assert reader.read_one() is None
        assert not writer.write(payloads[1])
        assert writer.pending > 0
    finally:
        for end in ends:
            os.close(end)
