"""What the system and other people's code do to a server: no descriptors, no memory, closed and used again, forks, storms."""

import errno
import os
import random
import select
import socket
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastframe as ff
from connections import needs_proc, reset
from servers import FRAMING, LONG, ByHand, Told, in_a_process, on_engine, received
from torture import shim

__all__ = ["on_engine"]

TESTS = Path(__file__).parent


def wire(*payloads: bytes) -> bytes:
    return FRAMING.encode_many(payloads)


def answers(server: ByHand, peer: socket.socket) -> bool:
    """Whether it echoes to this client."""
    peer.sendall(wire(b"ask"))
    server.until(lambda: select.select([peer], [], [], 0)[0])
    return received(peer, 7) == wire(b"ask")


needs_numbers = pytest.mark.skipif(os.name == "nt", reason="sockets' numbers aren't descriptors here")


# --- Accepting -------------------------------------------------------------------------------------------------------


class Failing:
    """A listening socket whose accept fails as long as there are errors for it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.errors: list[int] = []
        self.calls = 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.calls += 1
        if self.errors:
            error = self.errors.pop(0)
            raise OSError(error, os.strerror(error))
        return self._sock.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def failing(server: ByHand) -> Failing:
    listener: Any = server.service._listener
    listener._sock = Failing(listener._sock)
    return listener._sock


@pytest.mark.parametrize("error", ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EIO"])
def test_an_accept_that_cannot_be_is_tried_again_a_little_later(error: str, caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    with ByHand(told) as server:
        inside = server.peer()
        sock = failing(server)
        sock.errors = [getattr(errno, error)] * 3
        outside = server.comer()
        server.until(lambda: sock.calls == 1)
        for tries in (1, 2, 3):
            server.turn(20)
            assert sock.calls == tries
            server.pass_time(0.11)
        assert answers(server, inside)
        assert answers(server, outside)
        assert len(caplog.records) == 1
        sock.errors = [getattr(errno, error)]
        server.comer()
        server.until(lambda: not sock.errors)
        assert len(caplog.records) == 2


def test_who_leaves_makes_room_at_once_and_that_is_not_worth_a_line_each(caplog: pytest.LogCaptureFixture) -> None:
    class Handler(Told):
        def connected(self, conn: Any) -> None:
            super().connected(conn)
            sock.errors = [errno.EMFILE] * 1000

    handler = Handler()
    with ByHand(handler) as server:
        sock = failing(server)
        for _ in range(5):
            server.comer()
        for n in range(1, 5):
            server.until(lambda n=n: len(handler.conns) == n)
            server.turn(5)
            sock.errors = []
            handler.conns[-1].abort()
        assert len(caplog.records) == 1


@pytest.mark.parametrize("error", ["ECONNABORTED", "EPROTO", "EHOSTUNREACH", "EPERM"])
def test_a_client_that_is_lost_on_its_way_in_does_not_keep_the_next_waiting(
    error: str, caplog: pytest.LogCaptureFixture
) -> None:
    with ByHand(Told()) as server:
        sock = failing(server)
        sock.errors = [getattr(errno, error)] * 3
        server.comer()
        server.until(lambda: server.loop.clients)
        assert sock.calls in {4, 5}
        assert not caplog.records


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a listening socket can't be shut down")
@pytest.mark.parametrize("how", ["close", "shutdown", "close its number"])
@pytest.mark.parametrize("full", [False, True])
def test_a_listener_closed_by_somebody_else_keeps_those_who_are_in(
    how: str, full: bool, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    with ByHand(told, max_connections=2 if full else 3) as server:
        peers = [server.peer(), server.peer()]
        sock = server.service._listener._sock
        if how == "close":
            sock.close()
        elif how == "shutdown":
            sock.shutdown(socket.SHUT_RDWR)
        else:
            os.close(sock.fileno())
        server.turn(5)
        peers[0].close()
        server.until(lambda: len(server.loop.clients) == 1)
        server.turn(5)
        assert answers(server, peers[1])
        assert len(caplog.records) <= 1
        before = len(caplog.records)
        peers[1].close()
        server.until(lambda: not server.loop.clients)
        assert len(caplog.records) == before


@needs_proc
def test_without_descriptors_it_waits_and_goes_on(engine: ModuleType) -> None:
    script = """
        import logging, os, resource, socket, sys, threading, time
        import fastframe as ff
        from servers import FRAMING, LONG, serving

        lines, turns = [], []
        logging.getLogger("fastframe.server").addFilter(lines.append)
        with serving(lambda frame: frame) as server:
            loop = server._work.loop
            turn = loop.turn
            loop.turn = lambda: (turns.append(1), turn())
            socks = [socket.socket() for _ in range(40)]
            first, others = socks[0], socks[1:]
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            room = len(os.listdir("/proc/self/fd")) - 1 + 10
            resource.setrlimit(resource.RLIMIT_NOFILE, (room, limits[1]))
            for sock in socks:
                sock.settimeout(LONG)
                sock.connect(server.address)
                sock.sendall(FRAMING.encode(b"x"))
            assert first.recv(5) == FRAMING.encode(b"x")
            while not lines:
                time.sleep(0.01)
            del turns[:]
            time.sleep(0.5)
            assert len(turns) <= 20, len(turns)
            first.sendall(FRAMING.encode(b"y"))
            assert first.recv(5) == FRAMING.encode(b"y")
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for sock in others:
                assert sock.recv(5) == FRAMING.encode(b"x")
            assert len(lines) == 1, lines
            for sock in socks:
                sock.close()
    """
    in_a_process(engine, script)


# --- Descriptors that somebody else closes ---------------------------------------------------------------------------


@needs_numbers
def test_a_descriptor_that_is_gone_is_noticed_by_the_send() -> None:
    told = Told()
    with ByHand(told) as server:
        server.peer()
        (conn,) = told.conns
        os.close(conn.number)
        with pytest.raises(ff.ConnectionLost) as caught:
            conn.send(b"x")
        assert caught.value.errno == errno.EBADF
        server.turn()
        assert not server.loop.clients
        assert isinstance(told.error, ff.ConnectionLost)


@needs_numbers
def test_a_number_that_is_the_next_clients_is_not_used_for_the_one_before() -> None:
    told = Told()
    with ByHand(told, idle_timeout=10) as server:
        server.peer()
        sock = socket.socket()
        server._peers.append(sock)
        sock.settimeout(LONG)
        os.close(told.conns[0].number)
        sock.connect(server.address)
        server.until(lambda: len(told.conns) == 2)
        first, second = told.conns
        assert second.number == first.number
        server.turn()
        assert server.loop.clients == {second}
        assert [type(event[1]) for event in told.events if event[0] == "closed"] == [ff.ConnectionLost]
        with pytest.raises(ff.FrameError):
            first.send(b"not for the other")
        first.abort()
        first.close()
        assert answers(server, sock)
        second.abort()
        server.pass_time(20)
        assert not server.loop.clients


@needs_numbers
def test_a_number_that_is_anothers_is_left_alone_while_the_client_is_being_closed() -> None:
    told = Told()
    with ByHand(told) as server:
        peer = server.peer()
        (conn,) = told.conns
        server.service._listener._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        while not conn.pending:
            conn.send(bytes(100_000))
        conn.close()
        server.turn()
        assert server.loop.clients
        os.close(conn.number)
        server.pass_time(1)
        assert not server.loop.clients
        ours, others = socket.socketpair()
        with ours, others:
            others.send(b"theirs")
            server.pass_time(10)
            assert ours.recv(10) == b"theirs"
        del peer


# --- System calls that fail ------------------------------------------------------------------------------------------

needs_shim = pytest.mark.skipif(shim.missing() is not None, reason=str(shim.missing()))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if (reason := shim.missing()) is not None:
        pytest.skip(reason)
    return shim.build(tmp_path_factory.mktemp("shim"))


SYSTEM = """
    import errno, os, socket
    import fastframe as ff
    from servers import FRAMING, ByHand, Told
    from torture.shim import Shim

    shim = Shim()
    frames = [b"%03d" % n * 100 for n in range(100)]
    data = FRAMING.encode_many(frames)
    PASSING = errno.EINTR, errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM
    LASTING = errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EIO

    class Careful(Told):
        # The system has no memory for a frame: it is sent again, a little later.
        def frames(self, conn, frames):
            self.events += [("frame", frame) for frame in frames]
            try:
                conn.send_many(frames)
            except OSError as error:
                if isinstance(error, ff.FrameError):
                    raise
                conn.send_many(frames)

    def life(call, k, kind, value, times):
        told = Careful()
        with ByHand(told, turn_bytes=3000) as server:
            bystander = server.peer()
            peer = server.peer(SO_RCVBUF=8192)
            number = told.conns[1].number
            shim.reset()
            shim.mark(number)
            shim.arm(call, k, kind, value, times)
            peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)
            peer.setblocking(False)
            got = bytearray()
            def gone():
                try:
                    while more := peer.recv(65536):
                        got.extend(more)
                except BlockingIOError:
                    return False
                except ConnectionResetError:
                    pass
                return any(event[0] == "closed" for event in told.events)
            for n in range(20000):
                if gone():
                    break
                server.turn(1)
                server.clock.now += 0.001
            else:
                raise AssertionError((call, k, kind, value, times, len(got)))
            fired = shim.fired
            shim.reset()
            bystander.sendall(FRAMING.encode(b"x"))
            bystander.setblocking(True)
            server.turn()
            assert bystander.recv(5) == FRAMING.encode(b"x")
            told.events.remove(("frame", b"x"))
            seen = [event[1] for event in told.events if event[0] == "frame"]
            assert frames[:len(seen)] == seen
            assert data.startswith(bytes(got))
            return fired, bytes(got) == data, told.error
"""


@needs_shim
def test_calls_that_pass_by_lose_nothing(engine: ModuleType, library: Path) -> None:
    script = """
        total = 0
        for call in ("recv", "send", "sendmsg", "poll", "shutdown", "close"):
            for k in (1, 2, 5):
                for error in PASSING:
                    if call in ("poll", "shutdown", "close") and error != errno.EINTR:
                        continue
                    fired, whole, error_told = life(call, k, "fail", error, 1)
                    total += fired
                    if call != "close":
                        assert (whole, error_told) == (True, None), (call, k, error, whole, error_told)
        for call in ("recv", "send", "sendmsg"):
            for size in (1, 2, 3, 7):
                assert life(call, 1, "short", size, 50)[1:] == (True, None), (call, size)
        assert total > 20
    """
    in_a_process(engine, SYSTEM, script, LD_PRELOAD=shim.preloaded(library)["LD_PRELOAD"])


@needs_shim
def test_calls_that_tell_of_the_end_come_behind_the_frames(engine: ModuleType, library: Path) -> None:
    script = """
        total = 0
        for call in ("recv", "send", "sendmsg"):
            for k in (1, 2, 5):
                for error in LASTING:
                    fired, whole, told = life(call, k, "fail", error, 0)
                    total += fired
                    if fired:
                        assert isinstance(told, ff.ConnectionLost) and told.errno == error, (call, k, error, told)
        assert total > 20
    """
    in_a_process(engine, SYSTEM, script, LD_PRELOAD=shim.preloaded(library)["LD_PRELOAD"])


# --- Bytes of any kind -----------------------------------------------------------------------------------------------

FRAMINGS = [
    FRAMING.replace(max_size=1000),
    ff.LengthField(2, magic=b"\x01\x02", offset=2, trailer=b"\n"),
    ff.VarintLength(max_size=1000),
    ff.Netstring(max_size=1000),
    ff.Delimiter(b"\r\n", max_size=1000),
    ff.FixedSize(7),
    ff.UntilEOF(max_size=1000),
    ff.ContentLength(max_size=1000),
]


def survives(framing: ff.Framing, data: bytes, broken: bool) -> None:
    told = Told()
    with ByHand(told, framing, turn_frames=2) as server:
        bystander, peer = server.peer(), server.peer()
        told.conns[1].send_framing = FRAMING
        peer.sendall(data)
        if broken:
            reset(peer)
        else:
            peer.shutdown(socket.SHUT_WR)
        server.until(lambda: ("closed",) in [event[:1] for event in told.events])
        assert server.service.stats.connections == 1
        bystander.shutdown(socket.SHUT_WR)
        server.until(lambda: not server.loop.clients)
    ends = [event[1] for event in told.events if event[0] == "closed"]
    assert len(ends) == 2
    assert all(end is None or isinstance(end, ff.FrameError) for end in ends)


@settings(max_examples=50)
@given(st.sampled_from(FRAMINGS), st.binary(max_size=200), st.booleans())
def test_whatever_a_client_sends_it_gets_our_errors(framing: ff.Framing, data: bytes, broken: bool) -> None:
    survives(framing, data, broken)


def test_random_bytes_of_many_clients_do_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(5)
    for framing in FRAMINGS:
        for _ in range(4):
            survives(framing, chance.randbytes(chance.randrange(50_000)), chance.random() < 0.3)
    assert not caplog.records
