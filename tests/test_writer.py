"""FrameWriter: frames into a descriptor, whole or said otherwise."""

import errno
import fcntl
import os
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastframe as ff
from support import tcp_pair

FRAMING = ff.LengthField(4)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, peers = socket.socketpair()
    with ours, peers:
        peers.setblocking(False)
        yield ours, peers


@pytest.fixture
def small() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A pair whose kernel buffer is soon full."""
    ours, peers = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with ours, peers:
        peers.setblocking(False)
        yield ours, peers


def drain(peers: socket.socket, writer: Any = None) -> bytes:
    """All that can be received, the writer's pending bytes included."""
    got = []
    while True:
        try:
            got.append(peers.recv(1 << 20))
        except BlockingIOError:
            if writer is None or writer.flush():
                break
    while True:
        try:
            got.append(peers.recv(1 << 20))
        except BlockingIOError:
            return b"".join(got)


# --- Writing ---------------------------------------------------------------------------------------------------------


def test_write_sends_the_frame(engine: Any, pair: Any) -> None:
    ours, peers = pair
    writer = engine.FrameWriter(ours, FRAMING)
    assert writer.write(b"hello") is True
    assert peers.recv(100) == b"\0\0\0\5hello"
    assert (writer.pending, writer.writable, writer.error, writer.stats) == (0, True, None, (1, 9, 0))


def segments_sent(sock: socket.socket) -> int:
    """The TCP segments with data that a socket has sent: a system call each, without Nagle. tcpi_data_segs_out."""
    return int.from_bytes(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)[156:160], sys.byteorder)


@pytest.mark.skipif(sys.platform != "linux", reason="counts by Linux' TCP_INFO")
@pytest.mark.parametrize("payload", [b"", b"x", bytes(4000), bytearray(20_000)])
def test_one_frame_is_one_system_call(engine: Any, payload: bytes) -> None:
    ours, peers = tcp_pair()
    with ours, peers:
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        writer = engine.FrameWriter(ours, FRAMING)
        for count in range(1, 4):
            assert writer.write(payload)
            assert segments_sent(ours) == count


@pytest.mark.skipif(sys.platform != "linux", reason="counts by Linux' TCP_INFO")
def test_many_frames_are_few_system_calls(engine: Any) -> None:
    ours, peers = tcp_pair()
    with ours, peers:
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert engine.FrameWriter(ours, FRAMING).write_many([b"%d" % i for i in range(300)])
        assert segments_sent(ours) <= 3


@given(payloads=st.lists(st.binary(max_size=30), max_size=20), kind=st.sampled_from([list, tuple, iter]))
def test_write_many_keeps_the_order(engine: Any, payloads: list[bytes], kind: Any) -> None:
    ours, peers = socket.socketpair()
    with ours, peers:
        peers.setblocking(False)
        writer = engine.FrameWriter(ours, FRAMING)
        assert writer.write_many(kind(payloads)) is True
        assert drain(peers) == FRAMING.encode_many(payloads)
        assert writer.stats.frames == len(payloads)


def test_any_framing_and_any_buffer(engine: Any, pair: Any) -> None:
    ours, peers = pair
    for framing in [
        ff.Delimiter(b"\n"),
        ff.Netstring(),
        ff.LengthField(2, trailer=b"end"),
        ff.LengthField(2, strip=0),
        ff.ContentLength(),
        ff.AsciiLength(),
        ff.VarintLength(),
        ff.FixedSize(4),
        ff.Computed(1, lambda header: 4),
    ]:
        writer = engine.FrameWriter(ours, framing)
        for payload in (
            b"\4bcd",
            bytearray(b"\4bcd"),
            memoryview(b"\4_b_c_d")[::2],
            memoryview(b"\4bcd").cast("B", (2, 2)),
        ):
            assert writer.write(payload)
            assert writer.write_many([payload, payload])
        wire = framing.encode(b"\4bcd") * 3
        assert drain(peers) == wire * 4
        assert writer.stats == (12, 4 * len(wire), 0)


def test_more_than_iov_max_frames(engine: Any, pair: Any) -> None:
    ours, peers = pair
    writer = engine.FrameWriter(ours, FRAMING)
    payloads = [b"x" * (5000 * (i % 100 == 0)) for i in range(3000)]
    writer.write_many(payloads)
    assert drain(peers, writer) == FRAMING.encode_many(payloads)


# --- What the kernel doesn't take ------------------------------------------------------------------------------------


def test_partial_send_is_queued_and_flushed(engine: Any, small: Any) -> None:
    ours, peers = small
    writer = engine.FrameWriter(ours, FRAMING)
    payload = bytes(range(256)) * 1000
    assert writer.write(payload) is False
    assert 0 < writer.pending < 256_004
    assert writer.flush() is False
    assert writer.write(b"second") is False
    assert drain(peers, writer) == FRAMING.encode(payload) + FRAMING.encode(b"second")
    assert (writer.pending, writer.flush()) == (0, True)
    assert writer.stats == (2, 256_004 + 10, 0)


def test_second_frame_never_starts_inside_the_first(engine: Any, small: Any) -> None:
    ours, peers = small
    writer = engine.FrameWriter(ours, FRAMING)
    payloads = [bytes([i]) * (i * 997 % 20_000) for i in range(100)]
    got = []
    decoder = engine.Decoder(FRAMING)
    for i, payload in enumerate(payloads):
        if i % 3:
            writer.write(payload)
        else:
            writer.write_many([payload])
        if i % 7 == 0:
            try:
                got += decoder.feed(peers.recv(30_000))
            except BlockingIOError:
                pass
    got += decoder.feed(drain(peers, writer))
    assert got == payloads


def test_mutable_payload_is_copied_before_write_returns(engine: Any, small: Any) -> None:
    ours, peers = small
    writer = engine.FrameWriter(ours, FRAMING)
    payload = bytearray(b"a" * 200_000)
    assert writer.write(payload) is False
    payload[:] = b"b" * 200_000
    payload.clear()
    view = bytearray(b"c" * 300)
    writer.write_many([view, memoryview(view)[::3]])
    view.clear()
    wanted = FRAMING.encode_many([b"a" * 200_000, b"c" * 300, b"c" * 100])
    assert drain(peers, writer) == wanted


def test_queue_full_takes_nothing(engine: Any, small: Any) -> None:
    ours, peers = small
    writer = engine.FrameWriter(ours, FRAMING, high_water=1000, low_water=10, max_pending=100_000)
    writer.write(bytes(90_000))
    before, stats = writer.pending, writer.stats
    assert before > 0
    for call in (lambda: writer.write(bytes(99_000)), lambda: writer.write_many([b"x", bytes(99_000)])):
        with pytest.raises(ff.QueueFull) as caught:
            call()
        assert (caught.value.pending, caught.value.limit) == (before, 100_000)
        assert caught.value.size in (99_004, 99_009)
        assert (writer.pending, writer.stats, writer.error) == (before, stats, None)
    assert drain(peers, writer) == FRAMING.encode(bytes(90_000))


def test_writable_has_two_water_marks(engine: Any, small: Any) -> None:
    ours, peers = small
    writer = engine.FrameWriter(ours, FRAMING, high_water=50_000, low_water=20_000)
    assert writer.writable
    writer.write(bytes(200_000))
    assert writer.pending > 50_000
    assert not writer.writable
    seen = []
    while writer.pending:
        try:
            peers.recv(4000)
        except BlockingIOError:
            pass
        writer.flush()
        seen.append((writer.pending, writer.writable))
    assert all(writable == (pending <= 20_000) for pending, writable in seen)


@pytest.mark.parametrize(
    "limits", [{"high_water": 10, "low_water": 11}, {"high_water": -1}, {"low_water": -1}, {"max_pending": -1}]
)
def test_wrong_limits(engine: Any, pair: Any, limits: Any) -> None:
    with pytest.raises(ValueError):
        engine.FrameWriter(pair[0], FRAMING, **limits)
    for name in ("high_water", "low_water", "max_pending"):
        with pytest.raises(TypeError):
            engine.FrameWriter(pair[0], FRAMING, **{name: "1"})


# --- What is refused -------------------------------------------------------------------------------------------------


def test_refused_payload_takes_nothing(engine: Any, pair: Any) -> None:
    ours, peers = pair
    writer = engine.FrameWriter(ours, FRAMING.replace(max_size=5))
    for payload, kind in [(b"123456", ff.FrameTooLarge), ("text", TypeError), (None, TypeError), (5, TypeError)]:
        with pytest.raises(kind):
            writer.write(payload)
        with pytest.raises(kind):
            writer.write_many([b"good", payload])
    with pytest.raises(TypeError):
        writer.write_many(None)
    assert (writer.pending, writer.stats, writer.error) == (0, (0, 0, 0), None)
    assert drain(peers) == b""
    assert writer.write(b"12345")


def test_iterable_that_raises_takes_nothing(engine: Any, pair: Any) -> None:
    ours, peers = pair
    writer = engine.FrameWriter(ours, FRAMING.replace(max_size=5))
    for error in (LookupError, KeyboardInterrupt, GeneratorExit, ff.ConcurrentUse):

        def payloads(error: Any = error) -> Iterator[bytes]:
            yield b"one"
            raise error

        with pytest.raises(error):
            writer.write_many(payloads())
        with pytest.raises(error):  # its error comes first, whatever was refused before it
            writer.write_many(chain([b"123456"], payloads()))
        assert (writer.pending, writer.stats) == (0, (0, 0, 0))
    assert drain(peers) == b""


def test_iterable_that_lies_about_its_length(engine: Any, pair: Any) -> None:
    class Liar(list):
        def __len__(self) -> int:
            return 1000

        def __length_hint__(self) -> int:
            return 1 << 40

    ours, peers = pair
    writer = engine.FrameWriter(ours, FRAMING)
    assert writer.write_many(Liar([b"a", b"b"]))
    assert drain(peers) == FRAMING.encode_many([b"a", b"b"])


def test_iterable_that_writes(engine: Any, pair: Any) -> None:
    ours, peers = pair
    writer = engine.FrameWriter(ours, FRAMING)

    def payloads() -> Iterator[bytes]:
        yield b"one"
        try:
            writer.write(b"inner")
        except ff.ConcurrentUse:
            pass
        yield b"two"

    writer.write_many(payloads())
    got = engine.Decoder(FRAMING).feed(drain(peers))
    assert got in ([b"one", b"two"], [b"inner", b"one", b"two"])


def test_decode_only_description_cannot_write(engine: Any, pair: Any) -> None:
    writer = engine.FrameWriter(pair[0], ff.LengthField(2, trailer_size=4))
    with pytest.raises(ValueError, match="only decode"):
        writer.write(b"x")
    assert writer.stats == (0, 0, 0)


# --- Loss ------------------------------------------------------------------------------------------------------------


def test_broken_pipe_is_connection_lost_for_ever(engine: Any, pair: Any) -> None:
    ours, peers = pair
    writer = engine.FrameWriter(ours, FRAMING)
    peers.close()
    for call in (
        lambda: writer.write(b"x"),
        lambda: writer.write_many([b"x"]),
        writer.flush,
        lambda: writer.write(b"y"),
    ):
        with pytest.raises(ff.ConnectionLost) as caught:
            call()
        assert caught.value.errno == errno.EPIPE
        assert caught.value == writer.error
        assert caught.value is not writer.error
    assert (writer.pending, writer.stats.errors) == (0, 1)


def test_reset_drops_what_is_pending(engine: Any) -> None:
    client, peer = tcp_pair()
    with peer:
        writer = engine.FrameWriter(peer, FRAMING, max_pending=1 << 26)
        while writer.write(bytes(1 << 20)):
            pass
        assert writer.pending
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        assert engine.wait(peer.fileno(), False, 5)
        with pytest.raises(ff.ConnectionLost) as caught:
            writer.flush()
        assert caught.value.errno in (errno.ECONNRESET, errno.EPIPE)
        assert (writer.pending, type(writer.error)) == (0, ff.ConnectionLost)


def test_no_sigpipe_from_a_socket(engine: Any, pair: Any) -> None:
    ours, peers = pair
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        writer = engine.FrameWriter(ours, FRAMING)
        peers.close()
        for payload in (b"x", bytes(100_000)):
            with pytest.raises(ff.ConnectionLost):
                writer.write(payload)
    finally:
        signal.signal(signal.SIGPIPE, before)


def test_closed_descriptor_keeps_what_is_queued(engine: Any) -> None:
    ours, peers = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with peers:
        peers.setblocking(False)
        number = ours.fileno()
        spare = os.dup(number)
        writer = engine.FrameWriter(number, FRAMING)
        payload = bytes(range(256)) * 800
        writer.write(payload)
        before = writer.pending
        ours.detach()
        os.close(number)
        with pytest.raises(OSError) as caught:
            writer.flush()
        assert not isinstance(caught.value, ff.FrameError)
        assert (writer.pending, writer.error) == (before, None)
        os.dup2(spare, number)
        assert drain(peers, writer) == FRAMING.encode(payload)
        os.close(number)
        os.close(spare)


# --- Descriptors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocking", [True, False])
def test_pipe_never_blocks_and_loses_nothing(engine: Any, blocking: bool) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, blocking)
    before = fcntl.fcntl(write_end, fcntl.F_GETFL)
    writer = engine.FrameWriter(write_end, FRAMING)
    payload = bytes(range(256)) * 1000
    assert writer.write(b"hello") is True
    assert writer.write(payload) is False
    got = b""
    while len(got) < 9 + 4 + len(payload):
        try:
            got += os.read(read_end, 10_000)
        except BlockingIOError:
            pass
        writer.flush()
    assert got == FRAMING.encode(b"hello") + FRAMING.encode(payload)
    assert writer.flush()
    assert fcntl.fcntl(write_end, fcntl.F_GETFL) == before
    os.close(read_end)
    with pytest.raises(ff.ConnectionLost):
        writer.write(b"x")
    os.close(write_end)


def test_regular_file_takes_all(engine: Any, tmp_path: Any) -> None:
    path = tmp_path / "frames"
    payloads = [bytes(100_000), b"x", b""]
    with path.open("wb") as file:
        writer = engine.FrameWriter(file, FRAMING)
        assert writer.write_many(payloads) is True
        assert writer.write(b"y") is True
    assert path.read_bytes() == FRAMING.encode_many([*payloads, b"y"])


@pytest.mark.parametrize("blocking", [True, False])
def test_nonblocking_flag_is_never_changed(engine: Any, small: Any, blocking: bool) -> None:
    ours, peers = small
    ours.setblocking(blocking)
    before = fcntl.fcntl(ours.fileno(), fcntl.F_GETFL)
    writer = engine.FrameWriter(ours, FRAMING)
    writer.write(bytes(100_000))
    assert writer.pending
    drain(peers, writer)
    assert fcntl.fcntl(ours.fileno(), fcntl.F_GETFL) == before


def test_wrong_sinks(engine: Any, pair: Any) -> None:
    closed, other = socket.socketpair()
    closed.close()
    other.close()
    for sink, kind in [(-1, ValueError), (closed, ValueError), ("3", TypeError), (None, TypeError)]:
        with pytest.raises(kind):
            engine.FrameWriter(sink, FRAMING)
    with pytest.raises(TypeError):
        engine.FrameWriter(pair[0], None)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, pytest.raises(TypeError):
        engine.FrameWriter(datagrams, FRAMING)


def test_sink_is_any_object_with_a_descriptor(engine: Any, pair: Any) -> None:
    ours, peers = pair
    holder = type("Holder", (), {"fileno": lambda self: ours.fileno()})()
    writer = engine.FrameWriter(holder, FRAMING)
    assert writer.fileno() == ours.fileno()
    assert writer.write(b"x")
    assert peers.recv(10) == b"\0\0\0\1x"


def test_framing_can_be_assigned(engine: Any, pair: Any) -> None:
    ours, peers = pair
    writer = engine.FrameWriter(ours, FRAMING)
    assert writer.framing is FRAMING
    writer.framing = ff.Netstring()
    writer.write(b"abc")
    assert peers.recv(10) == b"3:abc,"
    with pytest.raises(TypeError):
        writer.framing = None
    assert writer.framing == ff.Netstring()


# --- Taking it back --------------------------------------------------------------------------------------------------


def test_withdraw_drops_the_last_call_if_nothing_of_it_is_out(engine: Any, small: Any) -> None:
    ours, peers = small
    writer = engine.FrameWriter(ours, FRAMING)
    writer.write(bytes(100_000))
    pending, stats = writer.pending, writer.stats
    writer.write(b"not sent")
    assert writer._withdraw() is True
    assert (writer.pending, writer.stats) == (pending, stats)
    writer.write_many([b"nor", b"these"])
    assert writer._withdraw() is True
    assert writer._withdraw() is False
    assert drain(peers, writer) == FRAMING.encode(bytes(100_000))


def test_withdraw_never_takes_what_has_begun(engine: Any, small: Any) -> None:
    ours, peers = small
    writer = engine.FrameWriter(ours, FRAMING)
    assert writer._withdraw() is False
    writer.write(b"sent")
    assert writer._withdraw() is False
    writer.write(bytes(100_000))
    assert writer._withdraw() is False
    assert drain(peers, writer) == FRAMING.encode(b"sent") + FRAMING.encode(bytes(100_000))
