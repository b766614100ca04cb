"""A server over TLS: handshakes that never come to an end, ends without a word, and frames of all sizes."""

import select
import socket
import ssl
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import fastframe as ff
from connections import needs_proc, reset
from servers import FRAMING, LONG, ByHand, Told, on_engine, serving
from test_tls_openssl import ALLOW_CLIENT_RENEGOTIATION, COMMANDS, OPENSSL, Program
from tlspairs import contexts, none_left, version

__all__ = ["on_engine", "version"]


def wire(*payloads: bytes) -> bytes:
    return FRAMING.encode_many(payloads)


def opened(server: ff.Server, version: str = "1.3", **options: int) -> ssl.SSLSocket:
    """A client that has shaken hands."""
    sock = socket.socket()
    for name, value in options.items():
        sock.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
    sock.settimeout(LONG)
    sock.connect(server.address)
    return contexts(version)[0].wrap_socket(sock, server_hostname="localhost")


def rest(sock: ssl.SSLSocket) -> bytes:
    """All bytes to the end."""
    data = bytearray()
    while more := sock.recv(65536):
        data += more
    return bytes(data)


def shaken(server: ByHand, version: str = "1.3") -> ssl.SSLSocket:
    """The same, of a server that is turned by hand."""
    tls = contexts(version)[0].wrap_socket(server.peer(), server_hostname="localhost", do_handshake_on_connect=False)
    server._peers.append(tls)
    tls.setblocking(False)

    def done() -> bool:
        with suppress(ssl.SSLWantReadError):
            tls.do_handshake()
            return True
        return False

    server.until(done)
    return tls


# --- Handshakes ------------------------------------------------------------------------------------------------------

STRANGE = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "frames": wire(b"hello") * 10,
    "zeros": bytes(1000),
    "half a record": b"\x16\x03\x01\x02\x00\x01\x00",
    "a record too long": b"\x16\x03\x01\xff\xff" + bytes(70_000),
    "nothing": b"",
}


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("name", STRANGE)
def test_what_is_no_handshake_is_turned_away_and_the_handler_never_hears_of_it(name: str, how: str) -> None:
    if how == "reset" and sys.version_info < (3, 13):
        pytest.skip("wrap_socket may fail there and leave the SSLSocket that it has made unclosed")
    told = Told()
    with serving(told, ssl=contexts()[1]) as server:
        with socket.create_connection(server.address) as sock:
            sock.settimeout(LONG)
            sock.sendall(STRANGE[name])
            if how == "reset":
                reset(sock)
            else:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_WR)
                    while sock.recv(65536):
                        pass
        with opened(server) as tls:
            tls.sendall(wire(b"x"))
            assert tls.recv(5) == wire(b"x")
            told.conns[0].close()
            assert rest(tls) == b""
        told.wait()
    assert told.events == [("connected",), ("frame", b"x"), ("closed", None)]
    assert server.stats.failed == 1


@pytest.mark.parametrize("size", [0, 1, 5, 6, 100, 200])
def test_a_handshake_that_stops_half_way_is_given_up_in_time(size: int) -> None:
    told = Told()
    going = ssl.MemoryBIO()
    tls = contexts()[0].wrap_bio(ssl.MemoryBIO(), going, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = going.read()
    with ByHand(told, ssl=contexts()[1], handshake_timeout=10) as server:
        peer = server.peer()
        for at in range(size):
            peer.sendall(hello[at : at + 1])
            server.pass_time(9 / size)
        server.turn()
        assert server.loop.clients
        server.pass_time(10 - (9 if size else 0) + 0.5)
        server.until(lambda: not server.loop.clients)
        assert (told.events, server.loop.failed) == ([], 1)


def test_a_handshake_that_waits_costs_no_turns() -> None:
    with ByHand(Told(), ssl=contexts()[1]) as server:
        peer = server.peer()
        peer.sendall(b"\x16\x03\x01")
        server.turn(5)
        assert server.loop.poller.poll(0.05) == []


# --- Frames ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn_bytes", [1, 100, 5000, 262144])
def test_frames_inside_a_record_do_not_wait_for_the_next(turn_bytes: int) -> None:
    told = Told()
    frames = [b"%d" % n * 10 for n in range(50)]
    with ByHand(told, ssl=contexts()[1], turn_bytes=turn_bytes, turn_frames=7) as server:
        tls = shaken(server)
        tls.sendall(wire(*frames))
        server.until(lambda: len(told.events) == 51)
        assert told.events[1:] == [("frame", frame) for frame in frames]


@pytest.mark.parametrize("size", [100, 16_380, 16_384, 100_000, 3_000_000])
def test_large_frames_come_and_go(size: int, version: str) -> None:
    payloads = [bytes([n]) * (size + n) for n in range(5)]
    data = wire(*payloads)
    told = Told()
    with serving(told, ssl=contexts(version)[1], limits=ff.Limits(max_pending=1 << 26)) as server:
        with opened(server, version, SO_RCVBUF=16384) as tls:
            with ff.wrap(tls, FRAMING, timeout=LONG) as conn:
                sender = threading.Thread(target=conn.send_many, args=(payloads,))
                sender.start()
                assert [conn.recv() for _ in payloads] == payloads
                sender.join(LONG)
                conn.shutdown_send()
                with pytest.raises(ff.ConnectionClosed):
                    conn.recv()
            told.wait()
    assert told.error is None
    assert server.stats.received == server.stats.sent == (len(payloads), len(data), 0)


def test_many_clients_at_once(version: str) -> None:
    def client(number: int) -> None:
        with opened(server, version) as tls:
            frames = [b"%d-%d" % (number, n) * 100 for n in range(50)]
            tls.sendall(wire(*frames))
            data = b""
            while len(data) < len(wire(*frames)):
                data += tls.recv(65536)
            assert data == wire(*frames)
            good.append(number)

    good: list[int] = []
    with serving(lambda frame: frame, ssl=contexts(version)[1]) as server:
        threads = [threading.Thread(target=client, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
    assert sorted(good) == list(range(20))


def test_a_close_with_unread_input_delivers_every_flushed_frame(version: str) -> None:
    class Handler:
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            conn.send_many(replies)
            conn.close()

    replies = [b"%d" % i * 100 for i in range(100)]
    with serving(Handler(), ssl=contexts(version)[1]) as server:
        for _ in range(30):
            with opened(server, version) as tls:
                tls.sendall(wire(b"x") + bytes(30_000))
                assert rest(tls) == wire(*replies)
    assert server.stats.finished == 30


@pytest.mark.skipif(OPENSSL is None or sys.platform != "linux", reason="no openssl program here")
def test_new_keys_inside_frames(version: str, tmp_path: Path) -> None:
    """By TLS 1.3's key updates; by new handshakes in 1.2."""
    context = contexts(version)[1]
    context.options |= ALLOW_CLIENT_RENEGOTIATION
    context.options &= ~ssl.OP_NO_RENEGOTIATION
    told = Told()
    with serving(told, framing=ff.Netstring(), ssl=context) as server:
        host, port = server.address
        program = Program(tmp_path, version, "s_client", "-connect", f"{host}:{port}", "-quiet", "-no_ign_eof")
        try:
            for number in range(6):
                program.give(b"300:" + b"x" * 100)
                program.give(COMMANDS[version, "client"][number % 2 :][:1] + b"\n")
                program.give(bytes([97 + number]) * 200 + b",")
                program.hears(b"300:" + b"x" * 100 + bytes([97 + number]) * 200 + b",")
        finally:
            program.process.kill()
            program.wait()
        told.wait()
    assert len(told.events) == 8


# --- Ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "reset"])
def test_an_end_without_a_close_notify_comes_behind_the_frames(how: str, version: str) -> None:
    told = Told()
    with serving(told, ssl=contexts(version)[1]) as server:
        tls = opened(server, version)
        tls.sendall(wire(b"1", b"2"))
        assert tls.recv(10) == wire(b"1", b"2")
        if how == "close":
            tls.close()
        else:
            reset(tls)
        told.wait()
    assert told.events[:3] == [("connected",), ("frame", b"1"), ("frame", b"2")]
    # Before gh-115627, ssl took a reset for an end without a close_notify.
    is_told = how == "reset" and sys.version_info >= (3, 12, 3)
    if is_told or told.error is not None:
        assert how == "reset"
        assert isinstance(told.error, ff.ConnectionLost)


def test_a_slow_reader_stops_being_read_from_and_is_closed_at_the_cap() -> None:
    told = Told()
    with ByHand(told, ssl=contexts()[1], max_pending=200_000) as server:
        tls = shaken(server)
        server.until(lambda: told.conns)
        (conn,) = told.conns
        tls.sendall(wire(b"x"))
        server.until(lambda: len(told.events) == 2)
        while not conn.pending > 70_000:
            conn.send(bytes(10_000))
        before = len(told.events)
        tls.sendall(wire(b"y"))
        server.turn(10)
        assert len(told.events) == before
        with pytest.raises(ff.QueueFull):
            while True:
                conn.send(bytes(10_000))
        server.until(lambda: not server.loop.clients)
        server.turn()
        assert isinstance(told.error, ff.QueueFull)


@needs_proc
def test_no_descriptor_is_left(version: str) -> None:
    with none_left():
        with serving(Told(), ssl=contexts(version)[1]) as server:
            for n in range(10):
                tls = opened(server, version)
                tls.sendall(wire(b"x"))
                if n % 2:
                    reset(tls)
                else:
                    tls.close()
            with socket.create_connection(server.address) as sock:
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert select.select([sock], [], [], LONG)[0]
