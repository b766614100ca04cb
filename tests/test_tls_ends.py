"""How TLS ends, on both engines: a close_notify each way, none at all, or something that isn't TLS."""

import os
import random
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

import fastframe as ff
from connections import FRAMING, LONG, PROMPT, SOON, Thread, clean, on_engine, raw_pair, rest, take, waiting, wire
from support import tcp_pair
from tlspairs import Records, contexts, ends, needs_descriptors, none_left, records, shaken, version

__all__ = ["clean", "ends", "on_engine", "records", "version"]  # the fixtures that pytest is to find here

Ends = tuple[ff.Connection, ssl.SSLSocket]
ByHand = tuple[ff.Connection, Records]

# --- Half-close ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("readahead", [True, False])
@pytest.mark.parametrize("kind", ["tcp", "pair"])
def test_a_half_close_keeps_what_is_there_already(version: str, kind: str, readahead: bool, clean: list[Any]) -> None:
    # Some of it in the kernel, some decrypted: of one record, the first frame was taken.
    ours, other = shaken(*raw_pair(kind), version)
    conn = ff.wrap(ours, FRAMING, readahead=readahead, timeout=LONG)
    clean += [conn, other]
    frames = [b"first", b"second", b"", bytes(8000)]
    other.sendall(wire(*frames))
    other.sendall(wire(b"another", b"record"))
    assert conn.recv() == b"first"
    conn.send(b"sent")
    conn.shutdown_send()
    conn.shutdown_send()
    with pytest.raises(ValueError, match="shut down"):
        conn.send(b"never")
    other.sendall(wire(b"after"))
    for frame in [*frames[1:], b"another", b"record", b"after"]:
        assert conn.recv() == frame
    assert take(other, 100) == wire(b"sent")
    other.sendall(wire(b"last"))
    assert conn.recv() == b"last"
    other.unwrap()
    with pytest.raises(ff.ConnectionClosed):
        conn.recv()


@pytest.mark.parametrize("cut", [1, 5, 6, 100])
def test_a_half_close_inside_a_record(cut: int, records: ByHand) -> None:
    conn, other = records
    stream = other.of(wire(bytes(200), b"frame"))
    other.sock.sendall(stream[:cut])
    with pytest.raises(ff.FrameTimeout):
        conn.recv(timeout=SOON)
    conn.shutdown_send()
    assert other.take(1) == b""
    other.sock.sendall(stream[cut:])
    assert conn.recv_many() == [bytes(200), b"frame"]
    other.sock.sendall(other.of(wire(b"last")) + other.end())
    assert list(conn) == [b"last"]


def test_a_half_close_under_a_stream_of_frames(ends: Ends) -> None:
    conn, other = ends
    frames = [random.Random(size).randbytes(size) for size in range(2000)]
    begun = threading.Event()

    def peer() -> bytes:
        for frame in frames:
            other.sendall(wire(frame))
            if len(frame) == 100:
                begun.set()
        other.unwrap().close()
        return b""

    receiver = waiting(lambda: list(conn))
    sender = Thread(peer)
    assert begun.wait(LONG)
    conn.shutdown_send()
    assert receiver.done() == frames
    sender.done()


def test_the_peers_half_close(version: str, clean: list[Any]) -> None:
    a, b = shaken(*tcp_pair(), version)
    conn, peer = (ff.wrap(sock, FRAMING, timeout=LONG) for sock in (a, b))
    clean += [conn, peer]
    peer.send(b"last")
    peer.shutdown_send()
    assert list(conn) == [b"last"]
    frames = [bytes(100_000)] * 20
    sender = Thread(lambda: conn.send_many(frames))
    assert [peer.recv() for _ in frames] == frames
    sender.done()
    conn.close()
    assert list(peer) == []


def test_a_half_close_has_its_deadline_and_can_be_repeated(version: str, clean: list[Any]) -> None:
    a, b = socket.socketpair()
    a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    ours, other = shaken(a, b, version)
    conn = ff.wrap(ours, FRAMING, timeout=0)
    clean += [conn, other]
    sent = 0
    with pytest.raises(ff.SendInterrupted):
        while True:
            sent += 1
            conn.send(b"")
    while conn.pending:
        # For each record that is read there is room for one.
        assert take(other, 4) == wire(b"")
        sent -= 1
        with suppress(ff.SendInterrupted):
            conn.flush()
    with pytest.raises(ff.FrameTimeout, match="end"):
        conn.shutdown_send()
    reader = Thread(lambda: take(other, sys.maxsize))
    conn.shutdown_send(LONG)
    assert reader.done() == wire(*[b""] * sent)


def test_nothing_goes_out_in_plain_text_when_both_have_ended(version: str, clean: list[Any]) -> None:
    a, b = socket.socketpair()
    a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    ours, other = shaken(a, b, version)
    conn = ff.wrap(ours, FRAMING, timeout=0)
    clean += [conn, other]
    other.setblocking(False)
    with pytest.raises(ssl.SSLWantReadError):
        other.unwrap()
    with pytest.raises(ff.ConnectionClosed):
        conn.recv(LONG)
    plain = socket.socket(fileno=os.dup(ours.fileno()))
    beyond = socket.socket(fileno=os.dup(other.fileno()))
    clean += [ours, plain, beyond]
    plain.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            plain.send(b"\0")
    with pytest.raises(ff.FrameTimeout):
        conn.shutdown_send()
    with pytest.raises(BlockingIOError):
        while True:
            beyond.recv(65_536)
    with pytest.raises(ff.ConnectionLost):
        conn.send(b"secret")
    with pytest.raises(BlockingIOError):
        beyond.recv(100)
    assert conn.detach() is ours
    with pytest.raises(OSError):
        ours.sendall(b"secret")
    with pytest.raises(BlockingIOError):
        beyond.recv(100)


@needs_descriptors
def test_a_half_close_keeps_the_descriptor(version: str, clean: list[Any]) -> None:
    for inheritable in (False, True):
        ours, other = shaken(*socket.socketpair(), version)
        conn = ff.wrap(ours, FRAMING, timeout=LONG)
        clean += [conn, other]
        number = conn.fileno()
        os.set_inheritable(number, inheritable)
        who = os.fstat(number)
        over = threading.Event()
        opened: set[int] = set()

        def storm(over: threading.Event = over, opened: set[int] = opened) -> None:
            # Were the number free for a moment, this would get it.
            while not over.is_set():
                some = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
                opened.update(some)
                for one in some:
                    os.close(one)

        receiver = waiting(conn.recv)
        with none_left():
            thread = Thread(storm)
            conn.shutdown_send()
            over.set()
            thread.done()
        assert number not in opened
        assert os.fstat(number) == who
        assert os.get_inheritable(number) == inheritable
        other.sendall(wire(b"frame"))
        assert receiver.done() == b"frame"


@needs_descriptors
def test_without_descriptors_the_rest_is_delivered_at_least(version: str, clean: list[Any]) -> None:
    import resource

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    ours, other = shaken(*tcp_pair(), version)
    conn = ff.wrap(ours, FRAMING, timeout=LONG)
    clean += [conn, other]
    other.sendall(bytes(100_000))
    sent = bytes(3_000_000)
    reading = threading.Event()

    def peer() -> bytes:
        assert reading.wait(LONG)
        return take(other, len(wire(sent)))

    reader = Thread(peer)
    sender = Thread(lambda: conn.send(sent))
    reading.set()
    sender.done()
    conn.send(sent[:200_000])
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limit[1]))
    try:
        conn.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert reader.done() == wire(sent)
    assert take(other, sys.maxsize) == wire(sent[:200_000])


# --- Close and abort -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tcp", "pair"])
@pytest.mark.parametrize("server_side", [False, True])
def test_close_delivers_what_was_sent_even_with_unread_input(
    version: str, kind: str, server_side: bool, clean: list[Any]
) -> None:
    for run in range(8):
        # A client that never reads leaves the server's session tickets unread in any case.
        ours, other = shaken(*raw_pair(kind), version, server_side, suppress_ragged_eofs=False)
        conn = ff.wrap(ours, FRAMING, timeout=LONG)
        clean += [conn, other]
        sent = [os.urandom(20_000) for _ in range(20)]

        def peer(other: ssl.SSLSocket = other, run: int = run) -> bytes:
            other.sendall(bytes(4096 * (run % 4)))
            data = b""
            while more := other.recv(32_768):
                data += more
                if run % 4 == 0:
                    time.sleep(0.001)
            return data

        thread = Thread(peer)
        if run % 2:
            time.sleep(0.002)
        conn.send_many(sent)
        conn.close()
        assert thread.done() == wire(*sent)


def test_close_waits_for_nobody_when_all_is_delivered(ends: Ends) -> None:
    conn, other = ends
    conn.send(b"bye")
    other.sendall(b"never read")
    start = time.monotonic()
    conn.close(timeout=10 * PROMPT)
    if sys.platform == "linux":
        assert time.monotonic() - start < PROMPT
    assert take(other, 100) == wire(b"bye")


def test_close_does_not_wait_for_a_handshake(version: str, clean: list[Any]) -> None:
    a, b = tcp_pair()
    ours = contexts(version)[0].wrap_socket(a, server_hostname="localhost", do_handshake_on_connect=False)
    conn = ff.wrap(ours, FRAMING, timeout=0)
    clean += [conn, b]
    with pytest.raises(ff.FrameTimeout):
        conn.recv()
    conn.close(timeout=None)
    b.settimeout(LONG)
    assert rest(b)[:1] == b"\x16"


def test_close_wakes_who_receives(ends: Ends) -> None:
    conn, other = ends
    receiver = waiting(conn.recv)
    conn.close()
    with pytest.raises(ff.ConnectionClosed):
        receiver.done()
    assert take(other, 1) == b""


def test_close_after_both_have_ended(ends: Ends) -> None:
    conn, other = ends
    peer = Thread(other.unwrap)
    assert list(conn) == []
    conn.shutdown_send()
    peer.done().close()
    conn.close(timeout=None)


@pytest.mark.parametrize("kind", ["tcp", "pair"])
def test_abort_is_no_normal_end(version: str, kind: str, clean: list[Any]) -> None:
    ours, other = shaken(*raw_pair(kind), version, suppress_ragged_eofs=False)
    conn = ff.wrap(ours, FRAMING)
    clean += [conn, other]
    receiver = waiting(conn.recv)
    conn.abort()
    with pytest.raises(ff.ConnectionClosed):
        receiver.done()
    with pytest.raises(OSError):
        other.recv(1)


@needs_descriptors
@pytest.mark.parametrize("end", ["close", "abort", "detach", "nothing"])
def test_nothing_is_left_open(version: str, end: str) -> None:
    with none_left():
        ours, other = shaken(*tcp_pair(), version)
        conn = ff.wrap(ours, FRAMING, timeout=LONG)
        other.sendall(wire(b"frame"))
        assert conn.recv() == b"frame"
        if end == "detach":
            conn.detach().close()
        elif end == "nothing":
            del ours
            with pytest.warns(ResourceWarning, match="unclosed <Connection"):
                del conn
            other.suppress_ragged_eofs = False  # type: ignore[attr-defined]
            with pytest.raises(OSError):
                other.recv(1)
        else:
            getattr(conn, end)()
        other.close()


def test_what_a_half_close_had_to_read_is_not_lost_by_detaching(version: str, clean: list[Any]) -> None:
    ours, other = shaken(*tcp_pair(), version)
    conn = ff.wrap(ours, FRAMING, readahead=False, timeout=LONG)
    clean += [conn, other]
    other.sendall(wire(b"one", b"two"))
    assert conn.recv() == b"one"
    conn.shutdown_send()
    with pytest.raises(ValueError, match="7 bytes were received"):
        conn.detach()
    assert conn.unread() == wire(b"two")
    assert conn.detach() is ours
    ours.close()


# --- Ends that nobody vouches for ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ragged", [True, False])
@pytest.mark.parametrize("inside", [False, True])
def test_the_end_of_tcp_alone(version: str, ragged: bool, inside: bool, clean: list[Any]) -> None:
    ours, other = shaken(*tcp_pair(), version, suppress_ragged_eofs=ragged)
    conn = ff.wrap(ours, FRAMING, timeout=LONG)
    clean += [conn, other]
    other.sendall(wire(b"whole") + b"\0" * inside)
    other.close()
    assert conn.recv() == b"whole"
    kind = ff.ConnectionLost if not ragged else ff.TruncatedFrame if inside else ff.ConnectionClosed
    for _ in range(2):
        with pytest.raises(kind) as caught:
            conn.recv()
        assert type(caught.value) is kind
    if not ragged:
        assert "close_notify" in str(caught.value)


@pytest.mark.parametrize("framing", [ff.UntilEOF(), ff.Delimiter(b"\n", at_eof="deliver")], ids=["until", "rest"])
@pytest.mark.parametrize("later", [False, True])
def test_the_end_of_tcp_alone_makes_no_frame_whole(framing: ff.Framing, later: bool, clean: list[Any]) -> None:
    ours, other = shaken(*tcp_pair(), "1.3", suppress_ragged_eofs=True)
    conn = ff.wrap(ours, FRAMING if later else framing, timeout=LONG)
    conn.framing = framing
    clean += [conn, other]
    other.sendall(b"cut sho")
    other.close()
    with pytest.raises(ff.ConnectionLost, match="close_notify"):
        conn.recv()


def test_the_end_of_tcp_inside_a_record(records: ByHand) -> None:
    conn, other = records
    other.sock.sendall(other.of(wire(b"whole")) + other.of(wire(b"never"))[:-1])
    other.sock.close()
    assert conn.recv() == b"whole"
    with pytest.raises(ff.ConnectionClosed):
        conn.recv()


CUT = {"until eof": ff.UntilEOF(), "delivering": ff.Delimiter(b"\n", at_eof="deliver")}


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("framing", CUT.values(), ids=CUT)
def test_connect_takes_no_cut_stream_for_a_whole_frame(version: str, framing: ff.Framing, cut: bool) -> None:
    client, _ = contexts(version)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                other = Records(sock, version)
                other.shake()
                sock.sendall(other.of(b"pay 1000") + (b"" if cut else other.of(b" cents") + other.end()))

        thread = Thread(serve)
        with ff.connect(listener.getsockname(), framing, ssl=client, timeout=LONG) as conn:
            thread.done()
            if cut:
                with pytest.raises(ff.ConnectionLost, match="close_notify"):
                    conn.recv()
            else:
                assert conn.recv() == b"pay 1000 cents"


def test_a_close_notify_ends_even_what_goes_on(records: ByHand) -> None:
    conn, other = records
    other.sock.sendall(other.of(wire(b"last")) + other.end() + b"garbage")
    assert list(conn) == [b"last"]
    with pytest.raises(ff.ConnectionClosed):
        conn.recv()


# --- What isn't TLS --------------------------------------------------------------------------------------------------


def flipped(record: bytes) -> bytes:
    return record[:-1] + bytes([record[-1] ^ 1])


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "a bit": flipped,
    "the type": lambda record: b"\x63" + record[1:],
    "twice": lambda record: record + record,
    "the size": lambda record: record[:3] + b"\xff\xff" + record[5:],
    "plain text": lambda record: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a reset": lambda record: b"",
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("first", ["recv", "send"])
def test_what_is_not_tls_loses_the_connection(how: str, first: str, records: ByHand) -> None:
    import errno

    if how == "a reset" and sys.version_info < (3, 13):
        pytest.skip("this Python's ssl takes a reset for an end")
    conn, other = records
    other.sock.sendall(other.of(wire(b"one", b"two")) + BROKEN[how](other.of(wire(b"three"))))
    if how == "a reset":
        conn.send(b"unread")
        assert conn.poll(LONG)
        assert conn.recv() == b"one"
        other.sock.close()
        code = errno.ECONNRESET
    else:
        assert conn.recv() == b"one"
        code = errno.EPROTO
    assert conn.recv() == b"two"
    if how == "twice":
        assert conn.recv() == b"three"
    for _ in range(2):
        with pytest.raises(ff.ConnectionLost) as caught:
            conn.recv(LONG)
        assert caught.value.errno == code
    if first == "send":
        with pytest.raises(ff.ConnectionLost):
            for _ in range(1000):
                conn.send(b"more")
    conn.close()


def test_an_alert_loses_the_connection(version: str, clean: list[Any]) -> None:
    a, b = tcp_pair()
    ours, other = shaken(a, b, version)
    conn = ff.wrap(ours, FRAMING, timeout=LONG)
    clean += [conn, other]
    other.sendall(wire(b"whole"))
    # A byte that isn't TLS, from below: the peer answers it with an alert.
    plain = socket.socket(fileno=os.dup(ours.fileno()))
    clean.append(plain)
    plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(ssl.SSLError):
        other.recv(1)
    assert conn.recv() == b"whole"
    with pytest.raises(ff.ConnectionLost, match="ALERT_BAD_RECORD_MAC"):
        conn.recv()
