"""Descriptors that travel with frames, on both engines."""

import array
import errno
import gc
import os
import resource
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

import fastframe as ff
from connections import (
    FRAMING,
    LONG,
    PROMPT,
    SOON,
    Thread,
    alarms,
    clean,
    descriptors,
    needs_proc,
    needs_signals,
    needs_unix,
    on_engine,
    waiting,
    wire,
)
from fastframe import _fds
from support import tcp_pair

__all__ = ["alarms", "clean", "on_engine"]  # the fixtures that pytest is to find here

pytestmark = [needs_unix, needs_proc]

Pair = tuple[ff.Connection, ff.Connection]


@pytest.fixture(autouse=True)
def no_leak() -> Iterator[None]:
    gc.collect()
    before = descriptors()
    yield
    assert descriptors() == before


@pytest.fixture
def pair(no_leak: None, clean: list[Any]) -> Pair:
    """Two connections over a socketpair, without readahead."""
    ends = [ff.wrap(sock, FRAMING, readahead=False, timeout=LONG) for sock in socket.socketpair()]
    clean += ends
    return ends[0], ends[1]


@pytest.fixture
def pipe(no_leak: None) -> Iterator[tuple[int, int]]:
    r, w = os.pipe()
    yield r, w
    os.close(r)
    os.close(w)


def same(a: int, b: int) -> bool:
    return os.path.sameopenfile(a, b)


def drop(fds: list[int]) -> int:
    """Close them; how many there were."""
    for number in fds:
        os.close(number)
    return len(fds)


def send_raw(sock: socket.socket, data: bytes, *fds: int) -> None:
    assert sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]) == len(data)


def test_descriptors_come_with_their_frame(pair: Pair, pipe: tuple[int, int]) -> None:
    a, b = pair
    a.send(b"both", fds=pipe)
    a.send(b"none")
    a.send(b"", fds=[pipe[1]])
    payload, fds = b.recv_fds()
    assert payload == b"both"
    assert all(map(same, fds, pipe))
    assert not any(os.get_inheritable(number) for number in fds)
    assert not set(fds) & set(pipe)
    assert drop(fds) == 2
    assert b.recv_fds() == (b"none", [])
    payload, fds = b.recv_fds()
    assert payload == b""
    assert same(*fds, pipe[1])
    drop(fds)
    assert a.stats.sent == b.stats.received == (3, 4 * 3 + 8, 0)


def test_as_many_as_the_system_takes(pair: Pair, pipe: tuple[int, int]) -> None:
    a, b = pair
    a.send(b"most", fds=pipe[:1] * _fds.MOST)
    assert drop(b.recv_fds()[1]) == _fds.MOST
    with pytest.raises(ValueError, match="254"):
        a.send(b"too many", fds=pipe[:1] * (_fds.MOST + 1))
    a.send(b"next", fds=iter(pipe))
    payload, fds = b.recv_fds()
    assert (payload, drop(fds)) == (b"next", 2)


@pytest.mark.parametrize("fds", [[2**40], [1.5], "ab", 5, [None], [[]]])
def test_what_is_no_descriptor_is_refused(pair: Pair, fds: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        pair[0].send(b"x", fds=fds)
    pair[0].send(b"next")
    assert pair[1].recv_fds() == (b"next", [])


@pytest.mark.parametrize("number", [-1, 99_999])
def test_a_closed_descriptor_sends_nothing(pair: Pair, pipe: tuple[int, int], number: int) -> None:
    with pytest.raises(OSError) as caught:
        pair[0].send(b"x", fds=[pipe[0], number])
    assert caught.value.errno == errno.EBADF
    pair[0].send(b"next")
    assert pair[1].recv_fds() == (b"next", [])
    assert pair[0].stats.sent.frames == 1


@pytest.mark.parametrize("payload", ["text", None, bytes(101)])
def test_a_wrong_payload_sends_nothing(pair: Pair, pipe: tuple[int, int], payload: Any) -> None:
    pair[0].send_framing = ff.LengthField(4, max_size=100)
    with pytest.raises((TypeError, ff.FrameTooLarge)):
        pair[0].send(payload, fds=pipe)
    pair[0].send(b"next")
    assert pair[1].recv_fds() == (b"next", [])


def test_a_frame_larger_than_the_buffers(pair: Pair, pipe: tuple[int, int]) -> None:
    a, b = pair
    payload = os.urandom(3_000_000)
    thread = Thread(b.recv_fds)
    a.send(payload, fds=pipe)
    a.send(b"next", fds=pipe[:1])
    got, fds = thread.done()
    assert (got == payload, drop(fds)) == (True, 2)
    assert drop(b.recv_fds()[1]) == 1


def test_a_timeout_halfway_keeps_the_descriptors(pair: Pair, pipe: tuple[int, int], clean: list[Any]) -> None:
    a, b = pair
    with pytest.raises(ff.SendInterrupted):
        a.send(bytes(1_000_000), timeout=0, fds=pipe)
    with pytest.raises(ff.FrameTimeout):
        b.recv_fds(timeout=SOON)
    with pytest.raises(ff.FrameTimeout):
        b.recv_fds(timeout=0)
    with pytest.raises(ff.SendInterrupted):
        a.flush(timeout=0)
    thread = Thread(a.flush)
    payload, fds = b.recv_fds()
    thread.done()
    assert (payload == bytes(1_000_000), drop(fds)) == (True, 2)


def test_a_frame_that_cant_begin_is_forgotten(pair: Pair, pipe: tuple[int, int]) -> None:
    a, b = pair
    with pytest.raises(ff.SendInterrupted):
        a.send(bytes(1_000_000), timeout=0)
    held = a.pending
    with pytest.raises(ff.FrameTimeout):
        a.send(b"forgotten", timeout=SOON, fds=pipe)
    assert a.pending == held
    thread = Thread(lambda: a.send(b"next", fds=pipe))
    assert b.recv() == bytes(1_000_000)
    payload, fds = b.recv_fds()
    assert (payload, drop(fds)) == (b"next", 2)
    thread.done()


def test_the_sockets_own_timeout_is_none_of_a_call(no_leak: None, clean: list[Any], pipe: tuple[int, int]) -> None:
    socks = socket.socketpair()
    for sock in socks:
        sock.settimeout(LONG)
    a, b = (ff.wrap(sock, FRAMING, readahead=False) for sock in socks)
    clean += [a, b]
    start = time.monotonic()
    with pytest.raises(ff.FrameTimeout):
        b.recv_fds(timeout=0)
    with pytest.raises(ff.FrameTimeout):
        b.recv_fds(timeout=SOON)
    with pytest.raises((ff.FrameTimeout, ff.SendInterrupted)):
        for _ in range(1000):
            a.send(bytes(10_000), timeout=SOON, fds=pipe)
    assert time.monotonic() - start < PROMPT


# --- Other receives --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "receive",
    [
        lambda conn: conn.recv(),
        lambda conn: conn.recv_many(),
        lambda conn: conn.recv_batch(),
        lambda conn: conn.recv_into(bytearray(100)),
        lambda conn: next(iter(conn)),
    ],
    ids=["recv", "recv_many", "recv_batch", "recv_into", "iteration"],
)
@pytest.mark.parametrize("begun", [False, True])
def test_any_other_receive_closes_what_comes(pair: Pair, pipe: tuple[int, int], receive: Any, begun: bool) -> None:
    a, b = pair
    sock = a._transport.sock  # type: ignore[attr-defined]
    before = descriptors()
    frame = wire(b"with some")
    send_raw(sock, frame[:6], *pipe)
    if begun:
        with pytest.raises(ff.FrameTimeout):
            b.recv_fds(timeout=0)
        assert len(descriptors()) == len(before) + 2
    sock.sendall(frame[6:])
    receive(b)
    a.send(b"without")
    assert b.recv_fds() == (b"without", [])
    assert descriptors() == before


def test_a_poll_keeps_what_comes(pair: Pair, pipe: tuple[int, int]) -> None:
    a, b = pair
    assert not b.poll()
    a.send(b"x", fds=pipe)
    assert b.poll(LONG)
    assert b.poll()
    payload, fds = b.recv_fds()
    assert (payload, drop(fds)) == (b"x", 2)


def test_unread_leaves_no_descriptors_to_another_frame(pair: Pair, pipe: tuple[int, int]) -> None:
    a, b = pair
    sock = a._transport.sock  # type: ignore[attr-defined]
    send_raw(sock, b"\0\0", *pipe)
    with pytest.raises(ff.FrameTimeout):
        b.recv_fds(timeout=0)
    assert b.unread() == b"\0\0"
    a.send(b"x")
    assert b.recv_fds() == (b"x", [])


@pytest.mark.parametrize("end", ["close", "abort", "__del__", "detach"])
def test_the_end_closes_what_nobody_asked_for(
    pair: Pair, pipe: tuple[int, int], end: str, recwarn: pytest.WarningsRecorder
) -> None:
    a, b = pair
    before = descriptors()
    a.send(b"x", fds=pipe)
    assert b.poll(LONG)
    assert len(descriptors()) == len(before) + 2
    if end == "detach":
        b.unread()
        b.detach().close()
    else:
        getattr(b, end)()
    assert len(descriptors()) == len(before) - 1


# --- Ends and errors -------------------------------------------------------------------------------------------------


def test_the_end_is_an_ordinary_one(pair: Pair, pipe: tuple[int, int]) -> None:
    a, b = pair
    a.send(b"last", fds=pipe)
    a.shutdown_send()
    with pytest.raises(ValueError, match="shut down"):
        a.send(b"x", fds=pipe)
    assert drop(b.recv_fds()[1]) == 2
    for _ in range(2):
        with pytest.raises(ff.ConnectionClosed):
            b.recv_fds()
    b.close()
    with pytest.raises(ValueError, match="closed"):
        b.recv_fds()
    with pytest.raises(ValueError, match="closed"):
        b.send(b"x", fds=pipe)


def test_a_truncated_frame_and_its_descriptors(pair: Pair, pipe: tuple[int, int]) -> None:
    a, b = pair
    before = descriptors()
    send_raw(a._transport.sock, b"\0\0\0\5abc", *pipe)  # type: ignore[attr-defined]
    a.close()
    with pytest.raises(ff.TruncatedFrame):
        b.recv_fds()
    b.close()
    assert len(descriptors()) == len(before) - 2


def test_a_forged_header_and_its_descriptors(pair: Pair, pipe: tuple[int, int]) -> None:
    a, b = pair
    send_raw(a._transport.sock, b"\xff\xff\xff\xff", *pipe)  # type: ignore[attr-defined]
    for _ in range(2):
        with pytest.raises(ff.FrameTooLarge):
            b.recv_fds()


def test_a_lost_peer(pair: Pair, pipe: tuple[int, int]) -> None:
    a, b = pair
    b.close()
    for _ in range(2):
        with pytest.raises(ff.ConnectionLost) as caught:
            a.send(b"x", fds=pipe)
        assert caught.value.errno == errno.EPIPE


def test_a_flood_of_descriptors_in_one_frame_is_bounded(pair: Pair, pipe: tuple[int, int]) -> None:
    a, b = pair
    before = descriptors()
    sock = a._transport.sock  # type: ignore[attr-defined]
    frame = wire(b"1234567890")
    for i in range(10):
        send_raw(sock, frame[i : i + 1], *(pipe[:1] * 100))
        with pytest.raises(ff.FrameTimeout):
            b.recv_fds(timeout=0)
    assert len(descriptors()) == len(before) + _fds.MOST
    sock.sendall(frame[10:])
    with pytest.raises(OSError, match="descriptors") as caught:
        b.recv_fds()
    assert caught.value.errno == errno.EMFILE
    payload, fds = b.recv_fds()
    assert (payload, drop(fds)) == (b"1234567890", _fds.MOST)


def test_descriptors_that_cant_be_opened_arent_lost_silently(pair: Pair, pipe: tuple[int, int]) -> None:
    a, b = pair
    a.send(b"x", fds=pipe[:1] * 20)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(pipe[0])
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 6, hard))
    try:
        with pytest.raises(OSError, match="descriptors") as caught:
            b.recv_fds()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.errno == errno.EMFILE
    payload, fds = b.recv_fds()
    assert payload == b"x"
    assert 0 < drop(fds) < 20


def test_a_frame_without_bytes_carries_none(pair: Pair, pipe: tuple[int, int]) -> None:
    pair[0].send_framing = ff.UntilEOF()
    with pytest.raises(ValueError, match="descriptors"):
        pair[0].send(b"", fds=pipe)
    assert pair[0].stats.sent.frames == 0


def test_only_a_unix_socket_without_readahead(no_leak: None, clean: list[Any], pipe: tuple[int, int]) -> None:
    tcp = [ff.wrap(sock, FRAMING, readahead=False) for sock in tcp_pair()]
    ahead = [ff.wrap(sock, FRAMING) for sock in socket.socketpair()]
    clean += [*tcp, *ahead]
    with pytest.raises(ValueError, match="unix"):
        tcp[0].send(b"x", fds=pipe)
    with pytest.raises(ValueError, match="unix"):
        tcp[0].recv_fds(timeout=0)
    with pytest.raises(ValueError, match="readahead"):
        ahead[0].recv_fds(timeout=0)
    ahead[0].send(b"sending needs no more than the socket", fds=pipe)
    one_way = ff.wrap(os.dup(pipe[1]), FRAMING)
    clean.append(one_way)
    with pytest.raises(ValueError, match="unix"):
        one_way.send(b"x", fds=pipe)


# --- Threads and signals ---------------------------------------------------------------------------------------------


def test_one_at_a_time(pair: Pair) -> None:
    a, b = pair
    thread = waiting(b.recv_fds)
    for call in (b.recv_fds, b.recv, b.poll):
        with pytest.raises(ff.ConcurrentUse):
            call()
    a.send(b"x")
    assert thread.done() == (b"x", [])


def test_closing_wakes_who_waits(pair: Pair, pipe: tuple[int, int]) -> None:
    _a, b = pair
    threads = [waiting(b.recv_fds), waiting(lambda: b.send(bytes(1_000_000), fds=pipe))]
    b.close(timeout=0)
    for thread in threads:
        with pytest.raises(ff.ConnectionClosed):
            thread.done()


class Interrupt(Exception):
    pass


@needs_signals
def test_handlers_that_raise_lose_no_descriptor(pair: Pair, pipe: tuple[int, int], alarms: Any) -> None:
    a, b = pair
    count, got, interrupts = 400, [], 0
    sizes = [i * 7919 % 60_000 for i in range(count)]

    def send() -> None:
        for i, size in enumerate(sizes):
            a.send(bytes(size), fds=pipe[: i % 3])

    inside: list[bool] = []

    def handler() -> None:
        if inside:
            inside.clear()
            raise Interrupt

    thread = Thread(send)
    alarms(handler, 0.0005, 0.0005)
    while len(got) < count:
        try:
            inside.append(True)
            # Noted by the same C call, so that no handler comes in between out here; now by this call, now by that.
            if len(got) % 2:
                got.extend(map(b.recv_fds, (LONG,)))
            else:
                got.extend((b.recv(timeout), None) for timeout in (LONG,))
            inside.clear()
        except Interrupt:
            interrupts += 1
    alarms(lambda: None, 0)
    thread.done()
    assert interrupts
    assert [len(payload) for payload, _ in got] == sizes
    for i, (_, fds) in enumerate(got):
        assert fds is None or drop(fds) == i % 3
