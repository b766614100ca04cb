"""Small frames that are sent one after another, which the engine does without asking the gate: what may come between."""

import os
import socket
import threading
import time
from typing import Any

import pytest

import fastframe as ff
from connections import (
    FRAMING,
    LONG,
    SOON,
    Thread,
    alarms,
    clean,
    needs_fork,
    needs_signals,
    on_engine,
    pair,
    raw,
    wire,
)

__all__ = ["alarms", "clean", "on_engine", "pair", "raw"]  # the fixtures that pytest is to find here

Pair = tuple[ff.Connection, socket.socket]


def took(peer: socket.socket, size: int) -> bytes:
    """So many bytes, or those until the end."""
    data = bytearray()
    while len(data) < size and (more := peer.recv(min(size - len(data), 1 << 20))):
        data += more
    return bytes(data)


def calmed(conn: ff.Connection, peer: socket.socket) -> None:
    """The connection has sent two frames, which had nothing to wait for."""
    for _ in range(2):
        conn.send(b"calm")
    assert took(peer, 16) == wire(b"calm", b"calm")


@pytest.mark.parametrize("payload", [b"", b"a", b"b" * 4096, b"c" * 4097, bytearray(b"d"), memoryview(b"efgh")[::2]])
def test_every_payload_goes_out_whole_and_counts(pair: Pair, payload: Any) -> None:
    conn, peer = pair
    calmed(conn, peer)
    conn.send(payload)
    conn.send(b"next")
    body = bytes(payload)
    assert took(peer, len(body) + 12) == wire(body, b"next")
    assert conn.stats.sent == ff.Stats(4, len(body) + 28, 0)
    assert conn.pending == 0


def test_what_is_refused_is_refused_still(pair: Pair) -> None:
    conn, peer = pair
    conn.send_framing = FRAMING.replace(max_size=100)
    calmed(conn, peer)
    with pytest.raises(ff.FrameTooLarge):
        conn.send(bytes(101))
    for wrong in ("text", None, 5):
        with pytest.raises(TypeError):
            conn.send(wrong)  # type: ignore[arg-type]
    conn.send(bytes(100))
    assert took(peer, 104) == wire(bytes(100))


@pytest.mark.parametrize(
    "framing",
    [
        ff.LengthField(2, "little"),
        ff.LengthField(4, magic=b"MG", offset=2, trailer=b"END"),
        ff.VarintLength(),
        ff.Netstring(),
        ff.Delimiter(b"\r\n"),
        ff.FixedSize(5),
    ],
    ids=lambda framing: type(framing).__name__,
)
def test_a_new_framing_counts_for_the_next_frame(pair: Pair, framing: Any) -> None:
    conn, peer = pair
    calmed(conn, peer)
    conn.send_framing = framing
    for _ in range(3):
        conn.send(b"hello")
    assert took(peer, 3 * len(framing.encode(b"hello"))) == 3 * framing.encode(b"hello")


def test_threads_send_whole_frames(pair: Pair) -> None:
    conn, peer = pair
    calmed(conn, peer)
    sizes = {1: 900, 2: 1200, 3: 60_000, 4: 10}
    counts = {1: 3000, 2: 3000, 3: 100, 4: 3000}

    def send(number: int) -> None:
        payload = bytes([number]) * sizes[number]
        for count in range(counts[number]):
            if number == 4 and count % 10 == 0:
                conn.send_many([payload, payload])
            else:
                conn.send(payload)

    threads = [threading.Thread(target=send, args=(number,)) for number in sizes]
    for thread in threads:
        thread.start()
    counts[4] += 300
    decoder, seen = ff.Decoder(FRAMING), dict.fromkeys(sizes, 0)
    while sum(seen.values()) < sum(counts.values()):
        for frame in decoder.feed(peer.recv(1 << 16)):
            assert frame == frame[:1] * sizes[frame[0]]
            seen[frame[0]] += 1
    for thread in threads:
        thread.join(LONG)
    assert seen == counts


def test_a_full_buffer_is_waited_for(raw: tuple[socket.socket, socket.socket], clean: list[Any]) -> None:
    conn = ff.wrap(raw[0], FRAMING)
    clean.append(conn)
    calmed(conn, raw[1])
    sent = [os.urandom(4096) for _ in range(2000)]
    thread = Thread(lambda: [conn.send(payload) for payload in sent])
    time.sleep(SOON)
    assert took(raw[1], 4100 * 2000) == wire(*sent)
    thread.done()
    assert conn.pending == 0


def test_what_didnt_go_out_in_time_is_kept_whole(pair: Pair) -> None:
    conn, peer = pair
    calmed(conn, peer)
    conn.timeout = SOON
    count = 0
    try:
        while True:
            conn.send(b"x" * 1000)
            count += 1
    except ff.SendInterrupted:
        count += 1
    except ff.FrameTimeout:
        assert conn.pending == 0
    thread = Thread(lambda: took(peer, 1004 * count))
    conn.flush(LONG)
    assert thread.done() == wire(b"x" * 1000) * count


@pytest.mark.parametrize("end", ["close", "abort", "detach", "shutdown_send"])
def test_nothing_goes_out_behind_the_end(pair: Pair, end: str) -> None:
    conn, peer = pair
    calmed(conn, peer)
    source = getattr(conn, end)(*((0,) if end == "close" else ()))
    with pytest.raises(ValueError, match=r"connection is closed|sending is shut down"):
        conn.send(b"late")
    if source is not None:
        source.close()
    try:
        assert took(peer, 1) == b""
    except ConnectionResetError:
        assert end == "abort"


def test_a_close_by_another_thread_stops_it_between_two_frames(pair: Pair) -> None:
    conn, peer = pair
    calmed(conn, peer)
    stopped = []

    def send() -> None:
        try:
            while True:
                conn.send(b"frame")
        except (ValueError, ff.ConnectionClosed) as error:
            stopped.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    reader = Thread(lambda: took(peer, 1 << 40))
    time.sleep(SOON)
    conn.close()
    thread.join(LONG)
    got = reader.done()
    assert stopped
    assert got == wire(b"frame") * (len(got) // 9)


def test_a_lost_connection_tells_its_first_error(pair: Pair) -> None:
    conn, peer = pair
    calmed(conn, peer)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    peer.close()
    errors = []
    for _ in range(20):
        time.sleep(0.01)
        try:
            conn.send(b"x")
        except ff.ConnectionLost as error:
            errors.append((error.errno, str(error)))
    assert errors
    assert len(set(errors)) == 1
    assert conn.pending == 0


@needs_signals
def test_a_handler_may_send_between_two_sends(pair: Pair, alarms: Any) -> None:
    conn, peer = pair
    calmed(conn, peer)
    inside = []

    def handler() -> None:
        try:
            conn.send(b"handler")
            inside.append(1)
        except ff.ConcurrentUse:
            inside.append(0)

    alarms(handler, 0.0005, 0.0005)
    for _ in range(20_000):
        conn.send(b"x")
        if conn.stats.sent.frames % 64 == 0:
            peer.recv(1 << 20)
    assert inside


@needs_fork
@pytest.mark.parametrize("readahead", [True, False])
def test_after_a_fork(raw: tuple[socket.socket, socket.socket], clean: list[Any], readahead: bool) -> None:
    conn = ff.wrap(raw[0], FRAMING, readahead=readahead, timeout=LONG)
    clean.append(conn)
    calmed(conn, raw[1])
    child = os.fork()
    if child == 0:
        code = 1
        try:
            conn.send(b"child")
            code = 2
        except ff.ConcurrentUse:
            code = 3
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == (3 if readahead else 2)
    conn.send(b"parent")
    expected = wire(b"parent") if readahead else wire(b"child", b"parent")
    assert took(raw[1], len(expected)) == expected
