"""TLS, on both engines: SSLSockets that are wrapped and given back, frames, and deadlines."""

import random
import socket
import ssl
from types import ModuleType
from typing import Any

import pytest

import fastframe as ff
from connections import (
    FRAMING,
    LONG,
    SOON,
    Thread,
    clean,
    on_engine,
    raw_pair,
    take,
    wire,
)
from support import tcp_pair
from tlspairs import Records, contexts, ends, records, shaken, version

__all__ = ["clean", "ends", "on_engine", "records", "version"]  # the fixtures that pytest is to find here

Ends = tuple[ff.Connection, ssl.SSLSocket]


# --- What can be wrapped ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server_side", [False, True])
@pytest.mark.parametrize("kind", ["tcp", "pair"])
def test_either_side_can_be_wrapped(version: str, kind: str, server_side: bool, clean: list[Any]) -> None:
    ours, other = shaken(*raw_pair(kind), version, server_side)
    conn, peer = ff.wrap(ours, FRAMING), ff.wrap(other, FRAMING)
    clean += [conn, peer]
    assert conn.timeout == LONG
    for here, there in ((conn, peer), (peer, conn)):
        here.send(b"hello")
        assert there.recv() == b"hello"


@pytest.mark.parametrize("server_side", [False, True])
@pytest.mark.parametrize("first", ["recv", "send", "shutdown_send"])
def test_a_handshake_to_come_is_made_by_the_first_call(
    version: str, server_side: bool, first: str, clean: list[Any]
) -> None:
    client, server = contexts(version)
    a, b = tcp_pair()
    if server_side:
        ours = server.wrap_socket(a, server_side=True, do_handshake_on_connect=False)
    else:
        ours = client.wrap_socket(a, server_hostname="localhost", do_handshake_on_connect=False)
    conn = ff.wrap(ours, FRAMING, timeout=LONG)
    clean += [conn, b]
    b.settimeout(LONG)

    def peer() -> bytes:
        if server_side:
            sock = client.wrap_socket(b, server_hostname="localhost")
        else:
            sock = server.wrap_socket(b, server_side=True)
        with sock:
            sock.sendall(wire(b"hello"))
            return take(sock, 9)

    thread = Thread(peer)
    if first == "recv":
        assert conn.recv() == b"hello"
        conn.send(b"hello")
    elif first == "send":
        conn.send(b"hello")
        assert conn.recv() == b"hello"
    else:
        conn.shutdown_send()
        assert conn.recv() == b"hello"
    assert thread.done() == (b"" if first == "shutdown_send" else wire(b"hello"))


def test_a_handshake_that_does_not_come_loses_nothing(version: str, clean: list[Any]) -> None:
    client, server = contexts(version)
    a, b = tcp_pair()
    ours = client.wrap_socket(a, server_hostname="localhost", do_handshake_on_connect=False)
    conn = ff.wrap(ours, FRAMING, timeout=SOON)
    clean += [conn, b]
    with pytest.raises(ff.FrameTimeout):
        conn.recv()
    with pytest.raises(ff.FrameTimeout):
        conn.send(b"forgotten")
    with pytest.raises(ff.FrameTimeout):
        conn.shutdown_send()
    assert conn.pending == 0
    thread = Thread(lambda: server.wrap_socket(b, server_side=True))
    conn.send(b"sent", timeout=LONG)
    peer = thread.done()
    clean.append(peer)
    peer.settimeout(LONG)
    assert take(peer, 8) == wire(b"sent")


def test_what_is_not_connected_or_not_tls_any_more_is_refused(clean: list[Any]) -> None:
    client, server = contexts()
    closed, other = shaken(*socket.socketpair())
    closed.close()
    unconnected = client.wrap_socket(socket.socket(), server_hostname="localhost")
    listener = server.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
    unwrapped, peer = shaken(*socket.socketpair())
    thread = Thread(peer.unwrap)
    clean += [other, unconnected, listener, unwrapped, peer, unwrapped.unwrap(), thread.done()]
    for source in (closed, unconnected, listener, unwrapped):
        with pytest.raises(ValueError):
            ff.wrap(source, FRAMING)


def test_an_engine_alone_refuses_tls(engine: ModuleType, clean: list[Any]) -> None:
    ours, other = shaken(*socket.socketpair())
    clean += [ours, other]
    for face in (engine.FrameReader, engine.FrameWriter):
        with pytest.raises(TypeError, match="wrap"):
            face(ours, FRAMING)


@pytest.mark.parametrize("timeout", [None, LONG, 0.0])
@pytest.mark.parametrize("ragged", [False, True])
def test_detach_gives_the_socket_back_as_it_was(
    version: str, timeout: float | None, ragged: bool, clean: list[Any]
) -> None:
    ours, other = shaken(*socket.socketpair(), version, suppress_ragged_eofs=ragged)
    clean += [ours, other]
    ours.settimeout(timeout)
    conn = ff.wrap(ours, FRAMING, readahead=False)
    assert conn.timeout == timeout
    conn.timeout = LONG
    other.sendall(wire(b"frame") + b"by hand")
    assert conn.recv() == b"frame"
    conn.send(b"frame")
    assert conn.detach() is ours
    assert conn.closed
    assert ours.gettimeout() == timeout
    assert ours.suppress_ragged_eofs is ragged  # type: ignore[attr-defined]
    assert ours.recv(100) == b"by hand"
    ours.sendall(b"by hand")
    assert take(other, 9 + 7) == wire(b"frame") + b"by hand"


@pytest.mark.parametrize("kind", ["tcp", "pair"])
def test_without_readahead_no_byte_beyond_the_frame_is_taken(version: str, kind: str, clean: list[Any]) -> None:
    # The two have one record, so OpenSSL has decrypted both.
    ours, other = shaken(*raw_pair(kind), version)
    clean += [ours, other]
    for size in (0, 1, 5000, 16_000):
        conn = ff.wrap(ours, FRAMING, readahead=False, timeout=LONG)
        other.sendall(wire(bytes(size), b"next") + b"rest")
        assert conn.recv() == bytes(size)
        conn = ff.wrap(conn.detach(), FRAMING, readahead=False, timeout=LONG)
        assert conn.poll()
        assert conn.unread() == wire(b"next")
        assert conn.detach() is ours
        assert ours.recv(100) == b"rest"


def test_wrap_after_bytes_read_by_hand(version: str, clean: list[Any]) -> None:
    ours, other = shaken(*socket.socketpair(), version)
    other.sendall(b"STARTED" + wire(b"one", b"two"))
    assert ours.recv(7) == b"STARTED"
    conn = ff.wrap(ours, FRAMING)
    clean += [conn, other]
    assert conn.poll(timeout=0)
    assert conn.recv_many() == [b"one", b"two"]


# --- Frames ----------------------------------------------------------------------------------------------------------

SIZES = [0, 1, 4091, 4092, 4093, 16_379, 16_380, 16_381, 16_384, 65_536, 300_000, 1 << 24]


@pytest.mark.parametrize("readahead", [True, False])
def test_frames_of_every_size(version: str, readahead: bool, clean: list[Any]) -> None:
    ours, other = shaken(*tcp_pair(), version)
    conn, peer = (ff.wrap(sock, FRAMING, readahead=readahead, timeout=LONG) for sock in (ours, other))
    clean += [conn, peer]
    frames = [random.Random(size).randbytes(size) for size in SIZES]

    def echo() -> None:
        for _ in frames:
            peer.send(peer.recv())

    thread = Thread(echo)
    for frame in frames:
        conn.send(frame)
        assert conn.recv() == frame
    thread.done()
    assert conn.stats.sent.bytes == conn.stats.received.bytes == sum(SIZES) + 4 * len(SIZES)


def test_many_frames_both_ways_at_once(ends: Ends, clean: list[Any]) -> None:
    conn, other = ends
    peer = ff.wrap(other, FRAMING, timeout=LONG)
    clean.append(peer)
    chance = random.Random(1)
    frames = [chance.randbytes(chance.choice([0, 1, 10, 100, 20_000])) for _ in range(2000)]
    senders = [Thread(lambda: peer.send_many(frames)), Thread(lambda: conn.send_many(frames))]
    receiver = Thread(lambda: [peer.recv() for _ in frames])
    got: list[bytes] = []
    while len(got) < len(frames):
        got += conn.recv_many()
    assert got == receiver.done() == frames
    for sender in senders:
        sender.done()


def test_every_way_to_receive(ends: Ends) -> None:
    conn, peer = ends
    peer.sendall(wire(*map(bytes, range(6))))
    assert conn.poll(LONG)
    assert conn.recv() == b""
    assert conn.recv_many() == [bytes(size) for size in range(1, 6)]
    peer.sendall(wire(b"one", b"two"))
    assert [bytes(frame) for frame in conn.recv_batch()] == [b"one", b"two"]
    peer.sendall(wire(b"three", b"four"))
    buffer = bytearray(5)
    assert conn.recv_into(buffer) == 5
    assert buffer == b"three"
    with pytest.raises(ValueError, match="4 bytes"):
        conn.recv_into(bytearray(3))
    assert next(iter(conn)) == b"four"
    assert not conn.poll()
    ending = Thread(peer.unwrap)
    assert conn.poll(LONG)
    assert list(conn) == []
    conn.shutdown_send()
    ending.done().close()


def test_poll_sees_what_openssl_holds(version: str, clean: list[Any]) -> None:
    ours, other = shaken(*socket.socketpair(), version)
    conn = ff.wrap(ours, FRAMING, readahead=False, timeout=LONG)
    clean += [conn, other]
    other.sendall(wire(*[b"frame"] * 100))
    for _ in range(100):
        assert conn.poll(timeout=0)
        assert conn.recv(timeout=0) == b"frame"
    assert not conn.poll(timeout=0)


def test_records_of_every_size(version: str, clean: list[Any]) -> None:
    # A frame in many records, and many frames in one.
    ours, other = shaken(*tcp_pair(), version)
    conn = ff.wrap(ours, FRAMING, timeout=LONG)
    clean += [conn, other]
    frames = [bytes([size % 256]) * size for size in range(200)]
    data = wire(*frames)
    for record in (1, 2, 3, 5, 1000, 16_384):
        sender = Thread(lambda size=record: [other.sendall(data[at : at + size]) for at in range(0, len(data), size)])
        assert [conn.recv() for _ in frames] == frames
        sender.done()


# --- Deadlines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("readahead", [True, False])
def test_a_receive_may_time_out_at_every_byte(
    readahead: bool, records: tuple[ff.Connection, Records], clean: list[Any]
) -> None:
    conn, other = records
    conn = ff.wrap(conn.detach(), FRAMING, readahead=readahead, timeout=0)
    clean.append(conn)
    frames = [b"", b"a", bytes(100), b"last"]
    data = wire(*frames)
    # The second record begins inside a frame.
    stream = other.of(data[:20]) + other.of(data[20:])
    got = []
    for at in range(len(stream)):
        with pytest.raises(ff.FrameTimeout):
            while True:
                got += conn.recv_many()
        other.sock.sendall(stream[at : at + 1])
    while len(got) < len(frames):
        got += conn.recv_many(timeout=LONG)
    assert got == frames


def test_frame_timeout_and_idle_timeout(records: tuple[ff.Connection, Records]) -> None:
    conn, other = records
    conn.frame_timeout, conn.idle_timeout = SOON, 4 * SOON
    other.sock.sendall(other.of(wire(b"whole") + wire(b"begun")[:5]))
    assert conn.recv() == b"whole"
    with pytest.raises(ff.FrameTimeout, match="5 bytes of a frame"):
        conn.recv()
    conn.frame_timeout = None
    stream = other.of(wire(b"begun")[5:])
    other.sock.sendall(stream[:-1])
    with pytest.raises(ff.FrameTimeout, match="nothing has come"):
        conn.recv()
    other.sock.sendall(stream[-1:])
    assert conn.recv() == b"begun"
    with pytest.raises(ff.FrameTimeout, match="nothing has come"):
        conn.recv()
    conn.send(b"sent")
    assert other.take(8) == wire(b"sent")


@pytest.mark.parametrize("many", [False, True])
def test_a_send_that_is_cut_short_goes_on(version: str, many: bool, clean: list[Any]) -> None:
    a, b = socket.socketpair()
    for sock in (a, b):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    ours, other = shaken(a, b, version)
    conn = ff.wrap(ours, FRAMING, timeout=0)
    clean += [conn, other]
    frames = [random.Random(size).randbytes(size) for size in (100_000, 5, 40_000)]
    with pytest.raises(ff.SendInterrupted) as caught:
        conn.send_many(frames) if many else conn.send(frames[0])
    assert caught.value.pending == conn.pending > 0
    with pytest.raises(ValueError, match="flush"):
        conn.detach()
    reader = Thread(lambda: take(other, len(wire(*frames))))
    conn.timeout = LONG
    if not many:
        conn.send(frames[1])
        conn.send(frames[2])
    conn.flush()
    assert reader.done() == wire(*frames)
    assert conn.pending == 0


def test_a_record_that_openssl_has_made_is_sent(version: str, clean: list[Any]) -> None:
    # Nothing of a frame has gone out; but OpenSSL would go on with nothing else.
    a, b = socket.socketpair()
    a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    ours, other = shaken(a, b, version)
    conn = ff.wrap(ours, FRAMING, timeout=0)
    clean += [conn, other]
    sent = []
    with pytest.raises(ff.SendInterrupted) as caught:
        while True:
            sent.append(len(sent).to_bytes(4) * 25)
            conn.send(sent[-1])
    assert caught.value.pending == 104
    for more in (b"more", b"and more"):
        sent.append(more)
        with pytest.raises(ff.SendInterrupted):
            conn.send(more)
    peer = ff.wrap(other, FRAMING, timeout=LONG)
    clean.append(peer)
    reader = Thread(lambda: [peer.recv() for _ in sent])
    conn.flush(LONG)
    assert reader.done() == sent
    conn.send(b"last")
    assert peer.recv() == b"last"
