"""The blocking connection, on both engines: what it promises about time, threads, signals and its end."""

import copy
import errno
import gc
import os
import pickle
import signal
import socket
import struct
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import fastframe as ff
from fastframe import _closing, _sockets, connection
from support import tcp_pair

FRAMING = ff.LengthField(4)
SOON = 0.05
"""Seconds after which something is tried that must still be waiting."""
LONG = 20.0
"""Seconds after which a test has failed that waits for something."""
PROMPT = 5.0
"""Seconds in which what needs no waiting is done, on a busy machine too."""

needs_signals = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")
needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no unix sockets here")


@pytest.fixture(autouse=True)
def on_engine(engine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FrameReader", "FrameWriter", "wait"):
        monkeypatch.setattr(connection, name, getattr(engine, name))
    monkeypatch.setattr(_sockets, "wait", engine.wait)
    monkeypatch.setattr(_closing, "wait", engine.wait)


@pytest.fixture
def clean() -> Iterator[list[Any]]:
    """What is put in here is closed in the end."""
    things: list[Any] = []
    yield things
    for thing in things:
        if isinstance(thing, ff.Connection):
            thing.abort()
        else:
            thing.close()


def raw_pair(kind: str) -> tuple[socket.socket, socket.socket]:
    return tcp_pair() if kind == "tcp" else socket.socketpair()


@pytest.fixture(params=["tcp", "pair"])
def raw(request: pytest.FixtureRequest, clean: list[Any]) -> tuple[socket.socket, socket.socket]:
    """Two connected sockets, over TCP and of a socketpair."""
    a, b = raw_pair(request.param)
    clean += [a, b]
    b.settimeout(LONG)
    return a, b


@pytest.fixture
def pair(raw: tuple[socket.socket, socket.socket], clean: list[Any]) -> tuple[ff.Connection, socket.socket]:
    """A connection with a timeout of LONG, and the raw socket at its other end."""
    conn = ff.wrap(raw[0], FRAMING, timeout=LONG)
    clean.append(conn)
    return conn, raw[1]


@pytest.fixture
def tight(clean: list[Any]) -> tuple[ff.Connection, socket.socket]:
    """A connection whose kernel buffers hold little, and the raw socket at its other end."""
    a, b = socket.socketpair()
    a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    b.settimeout(LONG)
    conn = ff.wrap(a, FRAMING, timeout=LONG)
    clean += [conn, b]
    return conn, b


def wire(*payloads: bytes) -> bytes:
    return FRAMING.encode_many(payloads)


def take(sock: socket.socket, size: int) -> bytes:
    """Exactly so many bytes, or fewer before the end."""
    data = bytearray()
    while len(data) < size and (more := sock.recv(min(size - len(data), 65_536))):
        data += more
    return bytes(data)


def rest(sock: socket.socket) -> bytes:
    """All bytes to the end."""
    return take(sock, sys.maxsize)


class Thread(threading.Thread):
    """Runs `call`; `done` waits for it, and returns or raises what it did."""

    def __init__(self, call: Callable[[], Any], after: float = 0) -> None:
        super().__init__(daemon=True)
        self._call, self._after, self._error, self._value = call, after, None, None
        self.start()

    def run(self) -> None:
        time.sleep(self._after)
        try:
            self._value = self._call()
        except BaseException as error:
            self._error = error

    def done(self) -> Any:
        self.join(LONG)
        assert not self.is_alive()
        if self._error is not None:
            raise self._error
        return self._value


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def stuff(conn: ff.Connection) -> bytes:
    """Fill the kernel's buffers until nothing can be sent at once; what of it has yet to be flushed stays."""
    sent = b""
    while True:
        sent += wire(b"x" * 1000)
        try:
            conn.send(b"x" * 1000, timeout=0)
        except ff.SendInterrupted:
            return sent
        except ff.FrameTimeout:
            return sent[: -len(wire(b"x" * 1000))]


# --- Opening ---------------------------------------------------------------------------------------------------------


def listening(kind: str, tmp_path: Path) -> socket.socket:
    if kind == "tcp":
        return socket.create_server(("127.0.0.1", 0))
    if kind == "tcp6":
        try:
            return socket.create_server(("::1", 0), family=socket.AF_INET6)
        except OSError:
            pytest.skip("no IPv6 here")
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("no unix sockets here")
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / "socket"))
    sock.listen()
    return sock


@pytest.mark.parametrize("kind", ["tcp", "tcp6", "str", "path", "bytes"])
def test_connects_to_every_kind_of_address(kind: str, tmp_path: Path, clean: list[Any]) -> None:
    server = listening(kind, tmp_path)
    clean.append(server)
    address: Any = server.getsockname()
    address = {"path": Path, "bytes": os.fsencode}.get(kind, lambda same: same)(address)
    with ff.connect(address, FRAMING, timeout=LONG) as conn:
        accepted, _ = server.accept()
        with ff.wrap(accepted, FRAMING, timeout=LONG) as peer:
            conn.send(b"hello")
            assert peer.recv() == b"hello"
            peer.send(b"")
            assert conn.recv() == b""
            assert conn.peer_address == peer.local_address == server.getsockname()
            if kind.startswith("tcp"):
                for end in (conn._sock, accepted):
                    assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(("address", "host"), [("localhost:9000", "'localhost'"), ("[::1]:80", "'::1'"), (":80", "''")])
def test_a_host_and_port_in_one_str_suggest_the_tuple(address: str, host: str) -> None:
    with pytest.raises(ValueError, match="give a tuple") as caught:
        ff.connect(address, FRAMING)
    assert f"({host}, {address.rpartition(':')[2]})" in str(caught.value)


@needs_unix
@pytest.mark.parametrize("path", ["./no:80", "/no/such:80", "no such file", "a:b"])
def test_other_strings_are_paths(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError):
        ff.connect(path, FRAMING)


def test_a_platform_without_unix_sockets_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sockets, "UNIX", None)
    with pytest.raises(OSError, match="no unix sockets"):
        ff.connect("path", FRAMING)


@pytest.mark.parametrize(
    ("address", "error"),
    [
        (80, TypeError),
        (None, TypeError),
        (["localhost", 80], TypeError),
        (("localhost",), ValueError),
        (("localhost", 65536), ValueError),
        (("localhost", -1), ValueError),
        (("localhost", 1, 2), ValueError),
    ],
)
def test_wrong_addresses(address: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        ff.connect(address, FRAMING)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"framing": 4}, TypeError),
        ({"send_framing": 4}, TypeError),
        ({"timeout": "1"}, TypeError),
        ({"timeout": True}, TypeError),
        ({"timeout": -1}, ValueError),
        ({"timeout": float("nan")}, ValueError),
    ],
)
def test_wrong_arguments_open_and_take_nothing(given: dict[str, Any], error: type[Exception], clean: list[Any]) -> None:
    given = {"framing": FRAMING, **given}
    server = socket.create_server(("127.0.0.1", 0))
    a, b = socket.socketpair()
    clean += [server, a, b]
    with pytest.raises(error):
        ff.connect(server.getsockname(), **given)
    server.settimeout(0)
    with pytest.raises(BlockingIOError):
        server.accept()
    with pytest.raises(error):
        ff.wrap(a, **given)
    a.send(b"still mine")
    assert b.recv(100) == b"still mine"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_refused_connect_is_an_oserror_and_leaks_nothing(clean: list[Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = gone.getsockname()
    before = descriptors()
    for _ in range(5):
        with pytest.raises(ConnectionRefusedError) as caught:
            ff.connect(address, FRAMING, timeout=LONG)
        assert caught.value.errno == errno.ECONNREFUSED
    assert descriptors() == before


def several(monkeypatch: pytest.MonkeyPatch, *addresses: Any) -> None:
    """A host with these addresses."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: found)


def test_all_addresses_of_a_host_are_tried(monkeypatch: pytest.MonkeyPatch, clean: list[Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        refused = gone.getsockname()
    server = socket.create_server(("127.0.0.1", 0))
    clean.append(server)
    several(monkeypatch, refused, server.getsockname())
    with ff.connect(("host", 1), FRAMING, timeout=LONG) as conn:
        assert conn.peer_address == server.getsockname()
        server.accept()[0].close()


def deaf(clean: list[Any]) -> Any:
    """The address of a TCP server that answers no connect."""
    server = socket.create_server(("127.0.0.1", 0), backlog=0)
    clean.append(server)
    for _ in range(8):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(server.getsockname())
        clean.append(filler)
    time.sleep(SOON)
    with socket.socket() as probe:
        probe.settimeout(0.2)
        try:
            probe.connect(server.getsockname())
        except TimeoutError:
            return server.getsockname()
    pytest.skip("this system's listen queue can't be filled")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux drops what a full listen queue can't take")
def test_one_deadline_for_all_addresses(monkeypatch: pytest.MonkeyPatch, clean: list[Any]) -> None:
    silent = deaf(clean)
    several(monkeypatch, *[silent] * 8)
    before = descriptors()
    start = time.monotonic()
    with pytest.raises(ff.FrameTimeout):
        ff.connect(("host", 1), FRAMING, timeout=0.8)
    assert 0.7 < time.monotonic() - start < PROMPT
    assert descriptors() == before
    server = socket.create_server(("127.0.0.1", 0))
    clean.append(server)
    several(monkeypatch, silent, server.getsockname())
    with ff.connect(("host", 1), FRAMING, timeout=2) as conn:
        server.accept()[0].close()
        assert conn.timeout == 2


@needs_unix
@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse where Linux makes one wait")
def test_a_full_unix_listener_is_waited_for(tmp_path: Path, clean: list[Any]) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s"))
    server.listen(0)
    clean.append(server)
    clean.append(ff.connect(tmp_path / "s", FRAMING))
    start = time.monotonic()
    with pytest.raises(ff.FrameTimeout):
        ff.connect(tmp_path / "s", FRAMING, timeout=0.2)
    with pytest.raises(ff.FrameTimeout):
        ff.connect(tmp_path / "s", FRAMING, timeout=0)
    assert 0.15 < time.monotonic() - start < PROMPT
    thread = Thread(server.accept, after=SOON)
    clean.append(ff.connect(tmp_path / "s", FRAMING, timeout=LONG))
    thread.done()[0].close()


def test_only_stream_sockets_can_be_wrapped(clean: list[Any]) -> None:
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    clean.append(datagrams)
    for source in (datagrams, 0, "file", sys.stdin, None, object()):
        with pytest.raises(TypeError):
            ff.wrap(source, FRAMING)
    closed = socket.socket()
    closed.close()
    with pytest.raises(ValueError):
        ff.wrap(closed, FRAMING)


def test_a_tls_socket_is_refused(clean: list[Any]) -> None:
    ssl = pytest.importorskip("ssl")
    a, b = socket.socketpair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    wrapped = context.wrap_socket(a, do_handshake_on_connect=False)
    clean += [wrapped, b]
    with pytest.raises(TypeError, match="TLS"):
        ff.wrap(wrapped, FRAMING)


@pytest.mark.parametrize("own", [None, 0.0, 1.5])
def test_wrap_takes_over_the_sockets_timeout_and_leaves_its_mode(own: float | None, clean: list[Any]) -> None:
    a, b = socket.socketpair()
    a.settimeout(own)
    blocking = os.get_blocking(a.fileno())
    conn = ff.wrap(a, FRAMING)
    clean += [conn, b]
    assert conn.timeout == own
    with pytest.raises(ff.FrameTimeout):
        conn.recv(timeout=0)
    conn.send(b"x")
    conn.poll(0.01)
    assert os.get_blocking(a.fileno()) == blocking
    assert a.gettimeout() == own
    other = ff.wrap(b, FRAMING, timeout=3)
    clean.append(other)
    assert other.timeout == 3


# --- Receiving -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", range(len(wire(b"hello"))))
def test_a_timeout_at_any_byte_loses_nothing(pair: tuple[ff.Connection, socket.socket], cut: int) -> None:
    conn, peer = pair
    data = wire(b"first", b"hello", b"")
    place = len(wire(b"first")) + cut
    peer.sendall(data[:place])
    assert conn.recv() == b"first"
    for timeout in (0, 0.01):
        for receive in (conn.recv, conn.recv_many, conn.recv_batch):
            with pytest.raises(ff.FrameTimeout):
                receive(timeout=timeout)
    assert not conn.poll()
    peer.sendall(data[place:])
    assert [conn.recv(), conn.recv()] == [b"hello", b""]
    with pytest.raises(TimeoutError):
        conn.recv(timeout=0)


def test_a_wait_ends_when_the_frame_is_there(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    for receive, expected in (
        (conn.recv, b"x"),
        (conn.recv_many, [b"x"]),
        (lambda **k: list(conn.recv_batch(**k)), [b"x"]),
    ):
        for timeout in (LONG, None, float("inf")):
            thread = Thread(lambda: peer.sendall(wire(b"x")), after=0.01)
            assert receive(timeout=timeout) == expected
            thread.done()


def test_many_and_batch_give_all_that_is_there(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    peer.sendall(wire(b"1", b"", b"3"))
    time.sleep(SOON)
    assert conn.recv_many() == [b"1", b"", b"3"]
    peer.sendall(wire(b"4", b"5"))
    time.sleep(SOON)
    assert list(conn.recv_batch()) == [b"4", b"5"]
    peer.sendall(wire(b"6", b"7", b"8"))
    time.sleep(SOON)
    assert conn.recv() == b"6"
    assert conn.recv_many() == [b"7", b"8"]
    assert conn.stats.received == (8, 8 * 4 + 7, 0)


def test_iteration_goes_to_the_clean_end(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    peer.sendall(wire(b"a", b"", b"c"))
    peer.shutdown(socket.SHUT_WR)
    assert list(conn) == [b"a", b"", b"c"]
    assert list(conn) == []
    with pytest.raises(ff.ConnectionClosed):
        conn.recv()
    conn.send(b"the other direction goes on")
    assert take(peer, 31) == wire(b"the other direction goes on")


def test_iteration_raises_what_isnt_the_clean_end(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    peer.sendall(wire(b"whole") + b"\0\0")
    peer.shutdown(socket.SHUT_WR)
    frames = iter(conn)
    assert next(frames) == b"whole"
    with pytest.raises(ff.TruncatedFrame) as caught:
        next(frames)
    assert (caught.value.stage, caught.value.got, caught.value.partial, caught.value.offset) == (
        "header",
        2,
        b"\0\0",
        9,
    )
    with pytest.raises(ff.TruncatedFrame):
        conn.recv_many()


@pytest.mark.parametrize("method", ["recv", "recv_many", "recv_batch"])
def test_good_frames_come_before_a_forged_header(pair: tuple[ff.Connection, socket.socket], method: str) -> None:
    conn, peer = pair
    conn.framing = ff.LengthField(4, max_size=100)
    peer.sendall(wire(b"good", b"too") + b"\xff\0\0\1")
    receive = getattr(conn, method)
    got: list[bytes] = []
    with pytest.raises(ff.FrameTooLarge) as caught:
        while True:
            frames = receive()
            got += [frames] if isinstance(frames, bytes) else list(frames)
    assert got == [b"good", b"too"]
    assert (caught.value.size, caught.value.limit, caught.value.offset) == (0xFF000001, 100, 15)
    with pytest.raises(ff.FrameTooLarge):
        conn.recv()
    assert conn.stats.received.errors == 1
    conn.send(b"ok")
    assert take(peer, 6) == wire(b"ok")


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_good_frames_come_before_a_reset(clean: list[Any]) -> None:
    a, b = tcp_pair()
    conn = ff.wrap(a, FRAMING, timeout=LONG)
    clean.append(conn)
    b.sendall(wire(b"one", b"two") + b"\0\0\0\5th")
    time.sleep(SOON)
    assert conn.recv() == b"one"
    reset(b)
    assert conn.recv() == b"two"
    for _ in range(2):
        with pytest.raises(ff.ConnectionLost) as caught:
            conn.recv()
        assert caught.value.errno == errno.ECONNRESET


def test_the_directions_fail_separately(clean: list[Any]) -> None:
    a, b = socket.socketpair()
    conn = ff.wrap(a, FRAMING, timeout=LONG)
    clean.append(conn)
    b.sendall(wire(b"last words", b"."))
    b.close()
    for _ in range(2):
        with pytest.raises(ff.ConnectionLost) as caught:
            conn.send(b"anybody?")
        assert caught.value.errno == errno.EPIPE
    assert list(conn) == [b"last words", b"."]


def test_dripping_bytes_dont_extend_the_deadline(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    stop = threading.Event()

    def drip() -> None:
        peer.sendall(b"\0\0\xff\xff")
        while not stop.wait(0.01):
            peer.send(b"x")

    thread = Thread(drip)
    start = time.monotonic()
    with pytest.raises(ff.FrameTimeout):
        conn.recv(timeout=0.3)
    assert 0.25 < time.monotonic() - start < PROMPT
    stop.set()
    thread.done()


def test_without_readahead_nothing_behind_the_frame_is_taken(raw: tuple[socket.socket, socket.socket]) -> None:
    conn = ff.wrap(raw[0], FRAMING, readahead=False, timeout=LONG)
    raw[1].sendall(wire(b"one", b"two") + b"rest")
    time.sleep(SOON)
    assert conn.recv() == b"one"
    assert conn.poll()
    assert conn.recv_many() == [b"two"]
    assert raw[0].recv(100) == b"rest"
    conn.abort()


def test_wrong_timeouts_take_nothing(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    peer.sendall(wire(b"x"))
    time.sleep(SOON)
    calls: list[Callable[[Any], Any]] = [conn.recv, conn.recv_many, conn.recv_batch, conn.poll, conn.flush]
    calls += [conn.shutdown_send, conn.close, lambda t: conn.send(b"y", t), lambda t: conn.send_many([b"y"], t)]
    calls += [lambda t: setattr(conn, "timeout", t)]
    for call in calls:
        for wrong in (-1, -0.001, float("nan"), float("-inf")):
            with pytest.raises(ValueError, match="timeout"):
                call(wrong)
        for wrong in ("1", b"1", [], True):
            with pytest.raises(TypeError):
                call(wrong)
    assert conn.timeout == LONG
    assert conn.recv() == b"x"
    conn.send(b"z")
    assert take(peer, 5) == wire(b"z")


def test_the_default_timeout_can_be_changed(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, _ = pair
    conn.timeout = 0
    for receive in (conn.recv, conn.recv_many, conn.recv_batch, lambda: next(iter(conn))):
        with pytest.raises(ff.FrameTimeout):
            receive()
    conn.timeout = None
    assert conn.timeout is None


# --- poll, framing, unread -------------------------------------------------------------------------------------------


def test_poll_says_what_is_there_and_takes_nothing(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    assert not conn.poll()
    assert not conn.poll(0.01)
    peer.sendall(wire(b"one", b"two")[:-1])
    assert conn.poll(LONG)
    assert conn.poll()
    assert conn.stats.received.frames == 0
    assert conn.recv(timeout=0) == b"one"
    assert not conn.poll()
    peer.sendall(b"o")
    assert conn.poll(None)
    assert conn.recv_many(timeout=0) == [b"two"]
    peer.close()
    assert conn.poll(LONG)
    assert conn.poll()
    with pytest.raises(ff.ConnectionClosed):
        conn.recv(timeout=0)
    assert conn.poll()


def test_poll_is_true_for_a_large_frame_once_it_is_whole(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    payload = os.urandom(3_000_000)
    thread = Thread(lambda: peer.sendall(wire(payload, b"next")))
    deadline = time.monotonic() + LONG
    while not conn.poll(0.001):
        assert time.monotonic() < deadline
    assert conn.recv(timeout=0) == payload
    thread.done()
    assert conn.recv() == b"next"


@pytest.mark.parametrize(("data", "error"), [(b"\0\0\0\5he", ff.TruncatedFrame), (b"\xff" * 4, ff.FrameTooLarge)])
def test_poll_is_true_for_an_error(
    pair: tuple[ff.Connection, socket.socket], data: bytes, error: type[ff.FrameError]
) -> None:
    conn, peer = pair
    peer.sendall(wire(b"good") + data)
    peer.shutdown(socket.SHUT_WR)
    assert conn.poll(LONG)
    assert conn.recv() == b"good"
    assert conn.poll(LONG)
    with pytest.raises(error):
        conn.recv(timeout=0)
    assert conn.poll()


@pytest.mark.parametrize("polled", [False, True])
def test_framing_covers_all_that_isnt_delivered(pair: tuple[ff.Connection, socket.socket], polled: bool) -> None:
    conn, peer = pair
    peer.sendall(wire(b"text") + b"\0\0\0\4line\nand another\n")
    assert conn.poll(LONG) if polled else True
    assert conn.recv() == b"text"
    if polled:
        assert conn.poll(LONG)
    conn.framing = ff.Delimiter(b"\n")
    assert conn.framing == ff.Delimiter(b"\n")
    assert conn.recv() == b"\0\0\0\4line"
    assert conn.recv() == b"and another"
    assert conn.send_framing == FRAMING
    with pytest.raises(TypeError):
        conn.framing = 4  # type: ignore[assignment]


def test_unread_gives_all_that_isnt_delivered(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    peer.sendall(wire(b"one", b"two") + b"\0\0")
    time.sleep(SOON)
    assert conn.recv() == b"one"
    assert conn.poll()
    assert conn.unread() == wire(b"two") + b"\0\0"
    assert conn.unread() == b""
    peer.sendall(wire(b"new"))
    assert conn.recv() == b"new"


def test_the_directions_may_have_different_framings(raw: tuple[socket.socket, socket.socket]) -> None:
    with ff.wrap(raw[0], ff.Delimiter(b"\n"), send_framing=ff.Netstring(), timeout=LONG) as conn:
        conn.send(b"hello")
        assert take(raw[1], 8) == b"5:hello,"
        raw[1].sendall(b"line\n")
        assert conn.recv() == b"line"
        conn.send_framing = FRAMING
        conn.send(b"hello")
        assert take(raw[1], 9) == wire(b"hello")
        assert (conn.framing, conn.send_framing) == (ff.Delimiter(b"\n"), FRAMING)
        with pytest.raises(TypeError):
            conn.send_framing = None  # type: ignore[assignment]
        raw[1].close()


# --- Sending ---------------------------------------------------------------------------------------------------------


def test_an_interrupted_send_is_finished_by_flush(tight: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = tight
    payload = os.urandom(500_000)
    with pytest.raises(ff.SendInterrupted) as caught:
        conn.send(payload, timeout=SOON)
    assert 0 < caught.value.pending == conn.pending < 500_004
    for _ in range(2):
        with pytest.raises(ff.SendInterrupted) as caught:
            conn.flush(timeout=0)
        assert caught.value.pending == conn.pending
    with pytest.raises(ff.FrameTimeout):
        conn.send(b"can't start inside", timeout=0)
    with pytest.raises(ff.FrameTimeout):
        conn.send_many([b"nor", b"these"], timeout=0.01)
    thread = Thread(lambda: take(peer, 500_004))
    conn.flush()
    assert conn.pending == 0
    assert thread.done() == wire(payload)
    assert conn.stats.sent == (1, 500_004, 0)


def test_the_next_send_finishes_an_interrupted_one_first(tight: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = tight
    payload = bytearray(os.urandom(300_000))
    with pytest.raises(ff.SendInterrupted):
        conn.send(payload, timeout=0)
    expected = wire(bytes(payload), b"second", b"third", b"fourth")
    payload[:] = bytes(len(payload))
    thread = Thread(lambda: take(peer, len(expected)))
    conn.send(b"second")
    conn.send_many([b"third", b"fourth"])
    assert thread.done() == expected


def test_a_frame_of_which_nothing_was_sent_is_withdrawn(tight: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = tight
    before = stuff(conn)
    held, stats = conn.pending, conn.stats
    for timeout in (0, 0.01):
        with pytest.raises(ff.FrameTimeout):
            conn.send(b"not now", timeout=timeout)
        with pytest.raises(ff.FrameTimeout):
            conn.send_many([b"not", b"now"], timeout=timeout)
    assert (conn.pending, conn.stats) == (held, stats)
    thread = Thread(lambda: take(peer, len(before)))
    conn.flush()
    conn.send(b"now")
    assert thread.done() == before
    assert take(peer, 7) == wire(b"now")


@pytest.mark.parametrize("payload", ["text", 5, None, [1]])
def test_wrong_payloads_change_nothing(pair: tuple[ff.Connection, socket.socket], payload: Any) -> None:
    conn, peer = pair
    with pytest.raises(TypeError):
        conn.send(payload)
    with pytest.raises(TypeError):
        conn.send_many([b"good", payload, b"good"])
    with pytest.raises(TypeError):
        conn.send_many(5)  # type: ignore[arg-type]
    assert conn.stats.sent == (0, 0, 0)
    conn.send(b"ok")
    assert take(peer, 6) == wire(b"ok")


def test_a_payload_over_the_limit_is_refused_whole(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    conn.send_framing = ff.LengthField(4, max_size=3)
    with pytest.raises(ff.FrameTooLarge):
        conn.send(b"four")
    with pytest.raises(ff.FrameTooLarge):
        conn.send_many([b"abc", b"four"])
    conn.send(b"abc")
    assert take(peer, 7) == wire(b"abc")


def test_send_many_takes_any_iterable(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    count = 5000
    expected = b"".join(wire(b"%d" % i) for i in range(count))
    for payloads in ([b"%d" % i for i in range(count)], (b"%d" % i for i in range(count))):
        thread = Thread(lambda: take(peer, len(expected)))
        conn.send_many(payloads)
        assert thread.done() == expected
    conn.send_many([])
    conn.send_many(iter(()))
    assert conn.stats.sent.frames == 2 * count


def test_send_many_may_be_given_the_same_memory_again_and_again(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    memory = bytearray(10_000)

    def payloads() -> Iterator[bytearray]:
        for i in range(100):
            memory[:] = bytes([i]) * 10_000
            yield memory

    expected = b"".join(wire(bytes([i]) * 10_000) for i in range(100))
    thread = Thread(lambda: take(peer, len(expected)))
    conn.send_many(payloads())
    assert thread.done() == expected


def test_send_many_sends_a_slice_before_it_takes_the_next(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    size = connection.SLICE_BYTES
    reader: list[Thread] = []

    def payloads() -> Iterator[bytes]:
        for _ in range(3):
            reader.append(Thread(lambda: take(peer, size + 4)))
            yield bytes(size)
            assert reader[-1].done() == wire(bytes(size))
        raise LookupError("there is no fourth")

    with pytest.raises(LookupError):
        conn.send_many(payloads())
    assert len(reader) == 3


def test_a_bad_payload_takes_nothing_of_its_slice(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    with pytest.raises(TypeError):
        conn.send_many(["bad" if i == 2000 else b"" for i in range(5000)])  # type: ignore[misc]
    conn.send(b"next")
    got = take(peer, 4 * connection.SLICE_FRAMES + 8)
    assert got == bytes(4 * connection.SLICE_FRAMES) + wire(b"next")


def test_what_send_many_couldnt_send_of_a_list_stays_queued(tight: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = tight
    payloads = [os.urandom(1000) for _ in range(3000)]
    with pytest.raises(ff.SendInterrupted) as caught:
        conn.send_many(payloads, timeout=SOON)
    assert caught.value.pending == conn.pending > 2_000_000
    thread = Thread(lambda: take(peer, 3000 * 1004 + 8))
    conn.send(b"more")
    assert thread.done() == wire(*payloads, b"more")


def test_what_send_many_couldnt_send_of_an_iterator_stays_in_it(tight: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = tight
    payloads = [os.urandom(1000) for _ in range(3000)]
    left = iter(payloads)
    with pytest.raises(ff.SendInterrupted):
        conn.send_many(left, timeout=SOON)
    assert conn.pending < 2 * connection.SLICE_BYTES
    thread = Thread(lambda: take(peer, 3000 * 1004))
    conn.send_many(left)
    assert thread.done() == wire(*payloads)


def test_an_endless_iterator_ends_at_the_deadline(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    thread = Thread(lambda: rest(peer))
    start = time.monotonic()
    with pytest.raises(ff.SendInterrupted):
        conn.send_many(iter(lambda: b"for ever", None), timeout=0.2)
    assert time.monotonic() - start < PROMPT
    conn.close()
    assert len(thread.done()) % 12 == 0


def test_half_close_ends_one_direction(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    conn.send(b"request")
    conn.shutdown_send()
    conn.shutdown_send()
    assert rest(peer) == wire(b"request")
    peer.sendall(wire(b"reply"))
    assert conn.recv() == b"reply"
    for call in (lambda: conn.send(b"x"), lambda: conn.send_many([b"x"])):
        with pytest.raises(ValueError, match="shut down"):
            call()
    conn.flush()
    peer.close()
    with pytest.raises(ff.ConnectionClosed):
        conn.recv()


def test_half_close_flushes_first(tight: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = tight
    payload = os.urandom(300_000)
    with pytest.raises(ff.SendInterrupted):
        conn.send(payload, timeout=0)
    with pytest.raises(ff.SendInterrupted):
        conn.shutdown_send(timeout=0)
    thread = Thread(lambda: rest(peer))
    conn.shutdown_send()
    assert thread.done() == wire(payload)


# --- The end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tcp", "pair"])
def test_close_delivers_what_was_sent_even_with_unread_input(kind: str) -> None:
    for run in range(40):
        a, b = raw_pair(kind)
        conn = ff.wrap(a, FRAMING, timeout=LONG)
        sent = [os.urandom(20_000) for _ in range(20)]

        def peer(b: socket.socket = b, run: int = run) -> bytes:
            # It sends without being read, and reads slowly.
            with b:
                b.settimeout(LONG)
                b.sendall(bytes(4096 * (run % 8)))
                data = b""
                while more := b.recv(32_768):
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


def test_close_frees_a_peer_that_is_stuck_in_a_send(clean: list[Any]) -> None:
    a, b = tcp_pair()
    conn = ff.wrap(a, FRAMING)
    clean += [conn, b]
    with pytest.raises(ff.SendInterrupted):
        conn.send(bytes(16_000_000), timeout=0)

    def peer() -> bytes:
        b.settimeout(LONG)
        b.sendall(bytes(16_000_000))
        return rest(b)

    thread = Thread(peer)
    conn.close(timeout=LONG)
    assert thread.done() == wire(bytes(16_000_000))


def test_close_waits_for_nobody_when_all_is_delivered(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    conn.send(b"bye")
    peer.sendall(b"never read")
    start = time.monotonic()
    conn.close(timeout=10 * PROMPT)
    if sys.platform == "linux":
        assert time.monotonic() - start < PROMPT
    assert rest(peer) == wire(b"bye")


def test_close_gives_up_at_its_deadline(tight: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = tight
    with pytest.raises(ff.SendInterrupted):
        conn.send(bytes(500_000), timeout=0)
    start = time.monotonic()
    conn.close(timeout=0.2)
    assert 0.15 < time.monotonic() - start < PROMPT
    with ff.wrap(peer, FRAMING, timeout=LONG) as other, pytest.raises(ff.TruncatedFrame):
        other.recv()


def test_a_cut_frame_isnt_taken_for_a_whole_one(clean: list[Any]) -> None:
    a, b = tcp_pair()
    conn = ff.wrap(a, ff.UntilEOF())
    clean += [conn, b]
    with pytest.raises(ff.SendInterrupted):
        conn.send(bytes(16_000_000), timeout=0)
    conn.close(timeout=0)
    with pytest.raises(ConnectionResetError):
        rest(b)


def test_leaving_the_with_block_closes(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    with conn as same:
        assert same is conn
        conn.send(b"x")
    assert conn.closed
    assert rest(peer) == wire(b"x")
    with pytest.raises(ValueError, match="closed"), conn:
        pass


def test_leaving_the_with_block_by_an_exception_doesnt_wait(tight: tuple[ff.Connection, socket.socket]) -> None:
    conn, _ = tight
    start = time.monotonic()
    with pytest.raises(ff.SendInterrupted), conn:
        conn.send(bytes(500_000), timeout=0)
    assert time.monotonic() - start < connection.CLOSE_TIMEOUT - 1
    assert conn.closed


@pytest.mark.parametrize("end", ["close", "abort"])
def test_after_the_end_every_call_is_a_valueerror(pair: tuple[ff.Connection, socket.socket], end: str) -> None:
    conn, peer = pair
    peer.sendall(wire(b"unread"))
    conn.send(b"sent")
    number = conn.fileno()
    getattr(conn, end)()
    with pytest.raises(OSError):
        os.fstat(number)
    conn.close()
    conn.abort()
    conn.close(timeout=0)
    calls: list[Callable[[], Any]] = [conn.recv, conn.recv_many, conn.recv_batch, lambda: next(iter(conn)), conn.poll]
    calls += [lambda: conn.send(b"x"), lambda: conn.send_many([b"x"]), conn.flush, conn.shutdown_send, conn.unread]
    calls += [conn.fileno, conn.__enter__, lambda: conn.local_address, lambda: conn.peer_address]
    calls += [lambda: setattr(conn, "framing", FRAMING), lambda: setattr(conn, "send_framing", FRAMING)]
    for call in calls:
        with pytest.raises(ValueError, match="connection is closed"):
            call()
    assert conn.closed
    assert conn.stats.sent.frames == 1
    assert conn.framing == conn.send_framing == FRAMING
    assert "closed" in repr(conn)


def test_abort_resets(clean: list[Any]) -> None:
    a, b = tcp_pair()
    clean.append(b)
    conn = ff.wrap(a, FRAMING)
    conn.send(b"x")
    conn.abort()
    with pytest.raises(ConnectionResetError):
        rest(b)


@pytest.mark.parametrize("kind", ["tcp", "pair"])
def test_closing_after_the_peer_has_gone(kind: str) -> None:
    for gone in (socket.socket.close, reset):
        a, b = raw_pair(kind)
        conn = ff.wrap(a, FRAMING)
        conn.send(b"x")
        gone(b)
        start = time.monotonic()
        conn.close()
        assert time.monotonic() - start < connection.CLOSE_TIMEOUT - 1
        assert a.fileno() == -1


def test_a_forgotten_connection_warns_and_closes_without_waiting() -> None:
    a, b = socket.socketpair()
    conn = ff.wrap(a, FRAMING)
    number = conn.fileno()
    b.sendall(b"unread")
    start = time.monotonic()
    forgotten = [a, conn]
    del conn, a
    with pytest.warns(ResourceWarning, match=f"unclosed <Connection descriptor {number}"):
        forgotten.clear()
    assert time.monotonic() - start < connection.CLOSE_TIMEOUT - 1
    with pytest.raises(OSError):
        os.fstat(number)
    b.close()


def test_a_failed_or_closed_connection_doesnt_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TypeError):
            ff.Connection(5, FRAMING)  # type: ignore[arg-type]
        empty = ff.Connection.__new__(ff.Connection)
        assert "without" in repr(empty)
        del empty
        a, b = socket.socketpair()
        ff.wrap(a, FRAMING).close()
        ff.wrap(b, FRAMING).abort()
        gc.collect()


def test_a_connection_can_be_neither_copied_nor_made_twice(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    for call in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            call(conn)
    with pytest.raises(TypeError):
        conn.__init__(peer, FRAMING)  # type: ignore[misc]
    conn.send(b"x")
    assert take(peer, 5) == wire(b"x")


def test_a_socket_closed_by_somebody_else_is_noticed(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, _ = pair
    conn._sock.close()
    with pytest.raises((ValueError, OSError)):
        conn.recv(timeout=0.01)
    conn.close()


# --- Threads ---------------------------------------------------------------------------------------------------------


def waiting(call: Callable[[], Any]) -> Thread:
    """A thread that waits in `call`."""
    thread = Thread(call)
    time.sleep(SOON)
    assert thread.is_alive()
    return thread


def test_a_second_receive_is_an_error_and_the_first_unharmed(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    first = waiting(conn.recv)
    for call in (conn.recv, conn.recv_many, conn.recv_batch, conn.poll, conn.unread, lambda: next(iter(conn))):
        with pytest.raises(ff.ConcurrentUse):
            call()
    with pytest.raises(ff.ConcurrentUse):
        conn.framing = FRAMING
    conn.send(b"the other direction is free")
    peer.sendall(wire(b"first", b"second"))
    assert first.done() == b"first"
    assert conn.recv() == b"second"


def test_sends_of_several_threads_never_mix(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    threads, count = 4, 100

    def send(i: int) -> None:
        for j in range(count):
            payload = bytes([i]) * (1 + j * 997 % 60_000)
            if j % 3:
                conn.send(payload)
            else:
                conn.send_many([payload, payload])

    def receive() -> list[bytes]:
        with ff.wrap(peer, FRAMING, timeout=LONG) as other:
            return list(other)

    receiver = Thread(receive)
    for thread in [Thread(lambda i=i: send(i)) for i in range(threads)]:
        thread.done()
    conn.close()
    got = receiver.done()
    assert len(got) == threads * (count + 34)
    assert all(len(set(frame)) == 1 for frame in got)


def test_the_wait_for_another_send_counts(tight: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = tight
    first = waiting(lambda: conn.send(bytes(500_000)))
    start = time.monotonic()
    for call in (lambda: conn.send(b"x", timeout=0.1), lambda: conn.flush(timeout=0.1)):
        with pytest.raises(ff.FrameTimeout):
            call()
    with pytest.raises(ff.FrameTimeout):
        conn.send(b"x", timeout=0)
    assert 0.15 < time.monotonic() - start < PROMPT
    second = waiting(lambda: conn.send(b"second", timeout=None))
    assert take(peer, 500_014) == wire(bytes(500_000), b"second")
    first.done()
    second.done()


@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize("method", ["recv", "recv_many", "recv_batch", "poll"])
def test_the_end_wakes_who_receives(pair: tuple[ff.Connection, socket.socket], end: str, method: str) -> None:
    conn, _ = pair
    number = conn.fileno()
    thread = waiting(lambda: getattr(conn, method)(timeout=LONG))
    start = time.monotonic()
    getattr(conn, end)()
    with pytest.raises(ff.ConnectionClosed):
        thread.done()
    assert time.monotonic() - start < PROMPT
    with pytest.raises(OSError):
        os.fstat(number)


@pytest.mark.parametrize("end", [lambda conn: conn.close(timeout=0.1), ff.Connection.abort], ids=["close", "abort"])
def test_the_end_wakes_who_sends(tight: tuple[ff.Connection, socket.socket], end: Callable[..., None]) -> None:
    conn, peer = tight
    number = conn.fileno()
    threads = [waiting(lambda: conn.send(bytes(500_000), timeout=None)) for _ in range(3)]
    end(conn)
    for thread in threads:
        with pytest.raises((ff.ConnectionClosed, ff.ConnectionLost)):
            thread.done()
    with pytest.raises(OSError):
        os.fstat(number)
    with ff.wrap(peer, FRAMING, timeout=LONG) as other, pytest.raises((ff.TruncatedFrame, ff.ConnectionLost)):
        other.recv()


def test_close_finishes_what_another_thread_has_begun_to_send(tight: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = tight
    sender = waiting(lambda: conn.send(bytes(500_000)))
    reader = Thread(lambda: rest(peer), after=SOON)
    conn.close(timeout=LONG)
    with pytest.raises(ff.ConnectionClosed):
        sender.done()
    assert reader.done() == wire(bytes(500_000))


def test_closing_in_many_threads_closes_once() -> None:
    for _ in range(100):
        a, b = socket.socketpair()
        conn = ff.wrap(a, FRAMING, timeout=LONG)
        receiver = Thread(conn.recv)
        closers = [Thread(conn.close), Thread(conn.abort), Thread(conn.close)]
        conn.close()
        for thread in closers:
            thread.done()
        with pytest.raises((ff.ConnectionClosed, ValueError)):
            receiver.done()
        assert a.fileno() == -1
        b.close()


# --- Signals ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def alarms() -> Iterator[Callable[..., None]]:
    """alarms(handler, first, interval): call handler() after `first` seconds, and then again and again."""
    before = signal.getsignal(signal.SIGALRM)

    def start(handler: Callable[[], Any], first: float, interval: float = 0) -> None:
        signal.signal(signal.SIGALRM, lambda *_: handler())
        signal.setitimer(signal.ITIMER_REAL, first, interval)

    yield start
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


class Interrupt(BaseException):
    pass


def interrupt() -> None:
    raise Interrupt


@needs_signals
def test_signals_dont_extend_deadlines(tight: tuple[ff.Connection, socket.socket], alarms: Any) -> None:
    conn, _ = tight
    seen: list[int] = []
    alarms(lambda: seen.append(1), 0.005, 0.005)
    for call, error in (
        (lambda: conn.recv(timeout=0.3), ff.FrameTimeout),
        (lambda: conn.send(bytes(500_000), timeout=0.3), ff.SendInterrupted),
        (lambda: conn.flush(timeout=0.3), ff.SendInterrupted),
    ):
        seen.clear()
        start = time.monotonic()
        with pytest.raises(error):
            call()
        assert 0.25 < time.monotonic() - start < PROMPT
        assert seen
    start = time.monotonic()
    assert not conn.poll(0.3)
    assert 0.25 < time.monotonic() - start < PROMPT


@needs_signals
def test_a_storm_of_signals_changes_nothing(pair: tuple[ff.Connection, socket.socket], alarms: Any) -> None:
    conn, peer = pair
    sent = [os.urandom(i * 7919 % 90_000) for i in range(200)]

    def echo() -> None:
        with ff.wrap(peer, FRAMING, timeout=LONG) as other:
            for frame in other:
                other.send(frame)

    thread = Thread(echo)
    alarms(lambda: None, 0.001, 0.001)
    for payload in sent:
        conn.send(payload)
        assert conn.recv() == payload
    conn.close()
    alarms(lambda: None, 0)
    thread.done()


@needs_signals
def test_an_exception_of_a_handler_passes_through_recv(pair: tuple[ff.Connection, socket.socket], alarms: Any) -> None:
    conn, peer = pair
    peer.sendall(wire(b"hello")[:-2])
    for receive in (conn.recv, conn.recv_many, conn.recv_batch, lambda: conn.poll(None)):
        alarms(interrupt, SOON)
        with pytest.raises(Interrupt):
            receive()
    peer.sendall(b"lo")
    assert conn.recv() == b"hello"


@needs_signals
def test_a_storm_of_exceptions_loses_no_frame(pair: tuple[ff.Connection, socket.socket], alarms: Any) -> None:
    conn, peer = pair
    sent = [b"%d" % i * (1 + i % 50) for i in range(3000)]
    got: list[bytes] = []
    inside: list[int] = []
    interrupts = 0

    def feed() -> None:
        data = wire(*sent)
        for at in range(0, len(data), 777):
            peer.sendall(data[at : at + 777])
            time.sleep(0.0005)

    def handler() -> None:
        if inside:
            inside.clear()
            raise Interrupt

    thread = Thread(feed)
    alarms(handler, 0.001, 0.0005)
    while len(got) < len(sent):
        try:
            inside.append(1)
            # What is received is noted by the same C call, so that no handler comes in between out here.
            got.extend(map(conn.recv, (LONG,)))
            inside.clear()
        except Interrupt:
            interrupts += 1
    alarms(lambda: None, 0)
    thread.done()
    assert interrupts
    assert got == sent


@needs_signals
def test_a_handlers_exception_in_a_send(tight: tuple[ff.Connection, socket.socket], alarms: Any) -> None:
    conn, peer = tight
    alarms(interrupt, SOON)
    with pytest.raises(Interrupt):
        conn.send(bytes(100_000))
    assert 0 < conn.pending < 100_004
    # Of this one nothing is sent: it is forgotten.
    held = conn.pending
    alarms(interrupt, SOON)
    with pytest.raises(Interrupt):
        conn.send(b"forgotten")
    alarms(interrupt, SOON)
    with pytest.raises(Interrupt):
        conn.send_many([b"forgotten", b"too"])
    assert conn.pending == held
    thread = Thread(lambda: take(peer, 100_004 + 8))
    conn.send(b"last")
    assert thread.done() == wire(bytes(100_000), b"last")


@needs_signals
def test_a_handler_that_sends_inside_a_send_gets_an_error(
    tight: tuple[ff.Connection, socket.socket], alarms: Any
) -> None:
    conn, peer = tight
    seen: list[Exception] = []

    def handler() -> None:
        for call in (lambda: conn.send(b"x"), lambda: conn.send_many([b"x"]), conn.flush, conn.shutdown_send):
            try:
                call()
            except ff.ConcurrentUse as error:
                seen.append(error)

    alarms(handler, SOON)
    thread = Thread(lambda: take(peer, 500_004), after=4 * SOON)
    conn.send(bytes(500_000))
    assert thread.done() == wire(bytes(500_000))
    assert len(seen) == 4


@needs_signals
def test_a_handler_may_send_inside_a_receive(pair: tuple[ff.Connection, socket.socket], alarms: Any) -> None:
    conn, peer = pair
    alarms(lambda: conn.send(b"alive"), SOON)
    thread = Thread(lambda: (take(peer, 9), peer.sendall(wire(b"reply"))))
    assert conn.recv() == b"reply"
    thread.done()


@needs_signals
@pytest.mark.parametrize("end", ["close", "abort"])
def test_a_handler_may_close(pair: tuple[ff.Connection, socket.socket], alarms: Any, end: str) -> None:
    conn, _ = pair
    number = conn.fileno()
    alarms(getattr(conn, end), SOON)
    with pytest.raises(ff.ConnectionClosed):
        conn.recv()
    with pytest.raises(OSError):
        os.fstat(number)


@needs_signals
@pytest.mark.parametrize("end", ["close", "abort"])
def test_a_handler_may_close_inside_a_send(tight: tuple[ff.Connection, socket.socket], alarms: Any, end: str) -> None:
    conn, _ = tight
    number = conn.fileno()
    alarms(getattr(conn, end), SOON)
    start = time.monotonic()
    with pytest.raises(ff.ConnectionClosed):
        conn.send(bytes(500_000))
    assert time.monotonic() - start < PROMPT
    with pytest.raises(OSError):
        os.fstat(number)


@needs_signals
def test_an_interrupted_close_closes(tight: tuple[ff.Connection, socket.socket], alarms: Any) -> None:
    conn, _ = tight
    number = conn.fileno()
    with pytest.raises(ff.SendInterrupted):
        conn.send(bytes(500_000), timeout=0)
    alarms(interrupt, SOON)
    with pytest.raises(Interrupt):
        conn.close(timeout=LONG)
    assert conn.closed
    with pytest.raises(OSError):
        os.fstat(number)
