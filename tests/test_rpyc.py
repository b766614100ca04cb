"""RPyC's channel: against the host's own in both directions, whole RPyC connections over it, and its ends, on both engines."""

import inspect
import os
import select
import socket
import struct
import sys
import textwrap
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("rpyc")

import rpyc
from rpyc import SocketStream
from rpyc.core.channel import Channel as Host
from rpyc.core.stream import PipeStream, Stream
from rpyc.utils.factory import connect_channel

import fastframe as ff
import fastframe.rpyc as face
from connections import LONG, SOON, Thread, alarms, needs_signals, on_engine
from support import tcp_pair
from tlspairs import shaken

__all__ = ["alarms", "on_engine"]  # the fixtures that pytest is to find here

Ours = face.Channel
SIZES = [0, 1, 2_999, 3_000, 3_001, 16_384, 63_994, 63_995, 63_996, 64_000, 200_000, 1_000_000]

both_ways = pytest.mark.parametrize(("one", "other"), [(Host, Ours), (Ours, Host), (Ours, Ours)])
needs_pipes = pytest.mark.skipif(sys.platform == "win32", reason="Windows' pipes stay the host's")

Make = Callable[..., Any]


@pytest.fixture
def made() -> Iterator[list[Any]]:
    """What is put in here is closed in the end."""
    things: list[Any] = []
    yield things
    for thing in things:
        thing.close()


@pytest.fixture
def channels(made: list[Any]) -> Make:
    """channels(one, other): two channels of these classes, connected by TCP."""

    def make(one: type, other: type, compress: bool = True) -> tuple[Any, Any]:
        pair = [kind(SocketStream(sock), compress) for kind, sock in zip((one, other), tcp_pair(), strict=True)]
        made.extend(pair)
        return pair[0], pair[1]

    return make


@pytest.fixture
def channel(made: list[Any]) -> tuple[Any, socket.socket]:
    """A channel of ours, and the raw socket at its other end."""
    sock, peer = tcp_pair()
    peer.settimeout(LONG)
    made += [Ours(SocketStream(sock)), peer]
    return made[0], peer


def wire(message: bytes, flag: int = 0) -> bytes:
    return struct.pack("!LB", len(message), flag) + message + b"\n"


def noise(size: int) -> bytes:
    return os.urandom(size // 2) + b"-" * (size - size // 2)


class Service(rpyc.Service):
    def exposed_add(self, a: int, b: int) -> int:
        return a + b

    def exposed_fail(self) -> None:
        raise KeyError("as it must")


# --- The same bytes --------------------------------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_one_sends_what_the_other_receives(channels: Make, one: type, other: type, compress: bool, size: int) -> None:
    sender, receiver = channels(one, other, compress)
    message = noise(size)
    thread = Thread(lambda: (sender.send(message), sender.send(b"next")))
    assert receiver.poll(LONG)
    assert receiver.recv() == message
    assert receiver.recv() == b"next"
    thread.done()


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_the_bytes_are_the_same(channel: tuple[Any, socket.socket], size: int, compress: bool) -> None:
    ours, peer = channel
    ours.compress = compress
    message = noise(size)
    expected = wire(message)
    if compress and size > 3000:
        expected = wire(zlib.compress(message, 1), 1)
    thread = Thread(lambda: ours.send(message))
    with peer.makefile("rb") as file:
        assert file.read(len(expected)) == expected
    thread.done()


@both_ways
def test_calls_between_rpyc_connections(channels: Make, one: type, other: type) -> None:
    near, far = channels(one, other)
    serving = connect_channel(far, Service)
    thread = Thread(serving.serve_all)
    with connect_channel(near) as conn:
        assert conn.root.add(1, 2) == 3
        big = bytes(100_000)
        assert conn.root.add(big, big) == big + big
        results = [rpyc.async_(conn.root.add)(i, i) for i in range(20)]
        assert [result.value for result in results] == [2 * i for i in range(20)]
        with pytest.raises(KeyError):
            conn.root.fail()
    thread.done()
    assert near.closed
    assert far.closed


def test_example_of_the_docstring_runs(made: list[Any]) -> None:
    lines = inspect.cleandoc(face.__doc__ or "").splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("    "))
    last = max(i for i, line in enumerate(lines) if line.startswith("    "))
    with socket.create_server(("localhost", 0)) as listener:
        thread = Thread(lambda: connect_channel(Ours(SocketStream(listener.accept()[0])), Service).serve_all())
        names = {"port": listener.getsockname()[1], "MyService": Service}
        exec(textwrap.dedent("\n".join(lines[first : last + 1])), names)
        conn: Any = names["conn"]
        made.append(conn)
        assert type(conn._channel) is Ours
        assert conn.root.add(3, 4) == 7
        conn.close()
        thread.done()


# --- Streams ---------------------------------------------------------------------------------------------------------


@needs_pipes
@both_ways
def test_over_pipes(made: list[Any], one: type, other: type) -> None:
    near, far = (kind(stream) for kind, stream in zip((one, other), PipeStream.create_pair(), strict=True))
    made += [near, far]
    near.send(b"over")
    assert far.poll(LONG)
    assert far.recv() == b"over"
    far.send(noise(10_000))
    assert len(near.recv()) == 10_000
    far.close()
    assert near.poll(LONG)
    with pytest.raises(EOFError):
        near.recv()


def test_over_tls_what_is_in_its_buffer_is_polled(made: list[Any]) -> None:
    near, far = shaken(*tcp_pair())
    made += [Ours(SocketStream(near)), Ours(SocketStream(far))]
    sender, receiver = made
    sender._conn.send_many([b"\0one", b"\0two"])
    for message in (b"one", b"two"):
        assert receiver.poll(LONG)
        assert receiver.recv() == message
    assert not receiver.poll(0)


def test_other_streams_are_refused() -> None:
    class Other(Stream):
        pass

    with pytest.raises(TypeError, match="not Other"):
        Ours(Other())


# --- Waiting ---------------------------------------------------------------------------------------------------------


def test_poll_waits_for_a_whole_message(channel: tuple[Any, socket.socket]) -> None:
    ours, peer = channel
    assert not ours.poll(0)
    data = wire(b"hello")
    for cut in range(len(data)):
        assert not ours.poll(0)
        peer.sendall(data[cut : cut + 1])
    assert ours.poll(rpyc.lib.Timeout(LONG))
    assert ours.poll(None)
    assert ours.poll(-1)
    assert ours.recv() == b"hello"
    assert not ours.poll(0.001)


def test_nothing_beyond_a_message_is_taken_so_that_it_can_be_selected_on(channel: tuple[Any, socket.socket]) -> None:
    ours, peer = channel
    peer.sendall(wire(b"one") + wire(b"two") + wire(b"three"))
    for message in (b"one", b"two", b"three"):
        assert select.select([ours], [], [], LONG)[0]
        assert ours.poll(0)
        assert ours.recv() == message
    assert ours.stream.sock.fileno() == ours.fileno()
    assert not select.select([ours], [], [], 0)[0]


def test_a_sockets_timeout_ends_neither_recv_nor_send(made: list[Any]) -> None:
    sock, peer = tcp_pair()
    sock.settimeout(0.001)
    ours = Ours(SocketStream(sock), compress=False)
    made += [ours, peer]
    thread = Thread(ours.recv)
    peer.sendall(wire(b"late")[:7])
    assert not select.select([peer], [], [], 0.02)[0]
    peer.sendall(wire(b"late")[7:])
    assert thread.done() == b"late"
    large = bytes(20_000_000)
    thread = Thread(lambda: ours.send(large))
    assert select.select([peer], [], [], LONG)[0]
    thread.join(0.02)
    with peer.makefile("rb") as file:
        assert file.read(len(large) + 6) == wire(large)
    thread.done()


@needs_signals
def test_an_interrupted_recv_goes_on_where_it_was(
    channel: tuple[Any, socket.socket], alarms: Callable[..., None]
) -> None:
    class Alarm(Exception):
        pass

    def handler() -> None:
        raise Alarm

    ours, peer = channel
    data = wire(b"interrupted")
    sent = 0
    for cut in (3, 9):
        peer.sendall(data[sent:cut])
        sent = cut
        with pytest.raises(Alarm):
            alarms(handler, SOON)
            ours.recv()
    peer.sendall(data[sent:])
    assert ours.recv() == b"interrupted"


def test_a_small_end_of_a_large_message_waits_for_nobody(channel: tuple[Any, socket.socket]) -> None:
    assert channel[0].stream.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# --- Ends and errors -------------------------------------------------------------------------------------------------


def ends(ours: Any, error: str = ".") -> None:
    """It has ended: a recv says so, and closes the stream; from then on every call does."""
    assert ours.poll(LONG)
    with pytest.raises(EOFError, match=error):
        ours.recv()
    assert ours.closed
    assert ours.stream.closed
    for call in (ours.recv, lambda: ours.send(b"x"), lambda: ours.poll(0), ours.fileno):
        with pytest.raises(EOFError):
            call()
    ours.close()


def test_a_clean_end(channel: tuple[Any, socket.socket]) -> None:
    ours, peer = channel
    peer.sendall(wire(b"last"))
    peer.close()
    assert ours.recv() == b"last"
    ends(ours)


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_stream_that_ends_inside_a_message(channel: tuple[Any, socket.socket], cut: int) -> None:
    ours, peer = channel
    peer.sendall(wire(b"abc")[:cut])
    peer.close()
    ends(ours, "ended in the")


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("!LB", 3, 0) + b"abcd",  # no newline
        wire(b"not deflated", 1),
        wire(zlib.compress(b"cut" * 2000)[:-5], 1),
        wire(b"", 1),
    ],
    ids=["newline", "not packed", "cut", "empty"],
)
def test_bytes_that_are_no_message(channel: tuple[Any, socket.socket], data: bytes) -> None:
    ours, peer = channel
    peer.sendall(wire(b"good") + data)
    assert ours.recv() == b"good"
    ends(ours)


def test_a_declared_length_takes_no_memory(channel: tuple[Any, socket.socket]) -> None:
    ours, peer = channel
    peer.sendall(struct.pack("!LB", 2**32 - 1, 0) + b"x" * 100)
    peer.close()
    ends(ours, "ended in the payload")


def test_a_reset(channel: tuple[Any, socket.socket]) -> None:
    ours, peer = channel
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii" if os.name != "nt" else "hh", 1, 0))
    peer.close()
    ends(ours)


def test_sending_to_nobody_ends_the_channel(channel: tuple[Any, socket.socket]) -> None:
    ours, peer = channel
    peer.close()
    with pytest.raises(EOFError):
        for _ in range(1000):
            ours.send(b"x" * 1000)
    assert ours.closed


def receiving(ours: Any) -> Thread:
    """A thread that is in recv."""
    thread = Thread(ours.recv)
    deadline = time.monotonic() + LONG
    while hasattr(ours._conn._gate, "place"):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return thread


def test_closing_wakes_another_thread(channel: tuple[Any, socket.socket]) -> None:
    ours, _ = channel
    thread = receiving(ours)
    ours.close()
    with pytest.raises(EOFError):
        thread.done()
    assert ours.closed


def test_two_receivers_are_an_error_and_end_nothing(channel: tuple[Any, socket.socket]) -> None:
    ours, peer = channel
    thread = receiving(ours)
    with pytest.raises(ff.ConcurrentUse):
        ours.recv()
    assert not ours.closed
    peer.sendall(wire(b"still here"))
    assert thread.done() == b"still here"


# --- The limit -------------------------------------------------------------------------------------------------------


class Small(Ours):
    __slots__ = ()
    MAX_SIZE = 5000


def test_as_much_as_the_limit_goes_both_ways(channels: Make) -> None:
    for one, other in ((Small, Host), (Host, Small)):
        sender, receiver = channels(one, other)
        for message in (b"x" * 5000, b"", b"x" * 3000):
            sender.send(message)
            assert receiver.recv() == message


def test_a_message_beyond_the_limit_is_not_sent(channels: Make) -> None:
    sender, receiver = channels(Small, Host)
    for message in (b"x" * 5001, noise(1_000_000)):
        with pytest.raises(ff.FrameTooLarge):
            sender.send(message)
    sender.send(b"fine")
    assert receiver.recv() == b"fine"


def test_what_packing_makes_larger_than_the_limit_is_not_sent(channels: Make) -> None:
    sender, receiver = channels(Small, Host)
    with pytest.raises(ff.FrameTooLarge):
        sender.send(os.urandom(5000))
    sender.send(b"fine")
    assert receiver.recv() == b"fine"


@pytest.mark.parametrize("size", [5001, 100_000, 10_000_000])
@pytest.mark.parametrize("packed", [False, True])
def test_a_message_beyond_the_limit_ends_the_channel(made: list[Any], size: int, packed: bool) -> None:
    sock, peer = tcp_pair()
    ours = Small(SocketStream(sock))
    made += [ours, peer]
    data = wire(zlib.compress(bytes(size)), 1) if packed else wire(bytes(size))
    peer.sendall(data[:10_000])
    ends(ours, "limit" if len(data) > len(wire(bytes(5000))) else "unpack")
