"""A loop's hub: connections received from in a poller of our own, on asyncio and uvloop."""

import asyncio
import contextlib
import errno
import gc
import os
import socket
import struct
import weakref
from contextvars import ContextVar
from typing import Any

import pytest

import fastframe as ff
from asyncpairs import connected, faults, loop_kind, on_engine, run, take, until
from connections import raw_pair, wire
from fastframe import _aio_hub
from fastframe._readiness import WRITE
from fastframe.asyncio import Connection, FrameProtocol, open_connection

__all__ = ["faults", "loop_kind", "on_engine", "run"]  # the fixtures that pytest is to find here

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the transport reads there")

FRAMING = ff.LengthField(4)


@pytest.fixture(autouse=True)
def watched(loop_kind: str) -> None:
    if loop_kind == "fed":
        pytest.skip("the transport reads there")


class Asking(FrameProtocol):
    """Keeps what comes, and does what it is told to do then."""

    def __init__(self, then: Any = None) -> None:
        super().__init__(FRAMING)
        self.got: list[bytes] = []
        self.then = then

    def frames_received(self, frames: list[bytes]) -> None:
        self.got += frames
        if self.then is not None:
            self.then()


async def attached(protocol: Asking) -> tuple[Asking, socket.socket]:
    ours, peer = socket.socketpair()
    await asyncio.get_running_loop().create_connection(lambda: protocol, sock=ours)
    return protocol, peer


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("ended", [False, True])
def test_what_is_there_before_the_connection_is(run: Any, paused: bool, ended: bool) -> None:
    class Pausing(Asking):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if paused:
                self.pause_reading()

    async def work() -> None:
        for count in range(10):
            ours, peer = socket.socketpair()
            peer.sendall(wire(b"one", b"two") + b"\0")
            if ended:
                peer.sendall(wire(b"three")[1:])
                peer.shutdown(socket.SHUT_WR)
            protocol = Pausing()
            await asyncio.get_running_loop().create_connection(lambda protocol=protocol: protocol, sock=ours)
            await turns(count)
            if paused:
                assert protocol.got == []
                protocol.resume_reading()
            await turns()
            assert protocol.got == [b"one", b"two"] + [b"three"] * ended
            protocol.abort()
            peer.close()
            await turns()

    run(work())


def test_it_is_there_while_it_has_descriptors(run: Any) -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        first, peer = await connected("unix")
        second, other = await connected("unix")
        hub = _aio_hub.hub_of(loop)
        assert hub is first._inbox.hub is second._inbox.hub
        number = hub._poller.fileno()
        first.abort()
        await first.close()
        assert _aio_hub.hub_of(loop) is hub
        await second.close()
        assert not loop.remove_reader(number)
        with pytest.raises((OSError, ValueError)):
            hub._poller.poll(0)
        third, another = await connected("unix")
        assert third._inbox.hub is not hub
        another.sendall(wire(b"goes on"))
        assert await third.recv() == b"goes on"
        await third.close()
        for sock in (peer, other, another):
            sock.close()

    run(work())


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_it_goes_with_a_loop_that_was_closed_under_it() -> None:
    async def work() -> Connection:
        conn, peer = await connected("unix")
        peer.close()
        return conn

    loop = asyncio.new_event_loop()
    conn = loop.run_until_complete(work())
    hub = weakref.ref(conn._inbox.hub)
    loop.close()
    del conn, loop
    gc.collect()
    assert hub() is None


def test_without_descriptors_left_the_transport_reads(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, *given: object) -> None:
            raise OSError(24, "Too many open files")

    async def work() -> None:
        monkeypatch.setattr(_aio_hub, "Poller", Full)
        conn, peer = await connected("unix")
        assert conn._inbox.hub is None
        peer.sendall(wire(b"all the same"))
        assert await conn.recv() == b"all the same"
        peer.close()
        await conn.close()

    run(work())


@pytest.mark.parametrize("end", ["close", "abort", "pause_reading"])
def test_a_callback_ends_or_pauses_another_one_of_the_same_turn(run: Any, end: str) -> None:
    async def work() -> None:
        protocols = [(await attached(Asking())) for _ in range(2)]
        (first, peer), (second, other) = protocols
        for this, that in ((first, second), (second, first)):
            this.then = getattr(that, end)
        for sock in (peer, other):
            sock.sendall(wire(b"one"))
        await turns()
        # Whoever came first has ended the other one.
        assert sorted([first.got, second.got]) == [[], [b"one"]]
        first.then = second.then = None
        if end == "pause_reading":
            for protocol, sock in protocols:
                sock.sendall(wire(b"two"))
                protocol.resume_reading()
            await turns()
            assert first.got == second.got == [b"one", b"two"]
        for protocol, sock in protocols:
            protocol.abort()
            sock.close()
        await turns()

    run(work())


def test_frames_read_before_a_pause_come_before_the_end(run: Any) -> None:
    async def work() -> None:
        protocols = [(await attached(Asking())) for _ in range(2)]
        (first, peer), (second, other) = protocols
        first.then, second.then = second.pause_reading, first.pause_reading
        for sock in (peer, other):
            sock.sendall(wire(b"one", b"two"))
            sock.close()
        await turns()
        first.then = second.then = None
        for protocol in (first, second):
            protocol.resume_reading()
        await turns()
        assert first.got == second.got == [b"one", b"two"]
        await turns()

    run(work())


def test_what_raises_costs_its_own_connection(run: Any, faults: list[dict[str, Any]]) -> None:
    def fail() -> None:
        raise LookupError("mine")

    async def work() -> None:
        _, peer = await attached(Asking(fail))
        good, other = await attached(Asking())
        for sock in (peer, other):
            sock.sendall(wire(b"one"))
        await turns()
        assert good.got == [b"one"]
        assert [str(fault["exception"]) for fault in faults] == ["mine"]
        faults.clear()
        good.abort()
        for sock in (peer, other):
            sock.close()
        await turns()

    run(work())


@pytest.mark.parametrize("behind", [b"", b"\0"])  # which isn't handed over, but has to be looked at
def test_an_interrupt_in_a_callback_loses_nothing_of_the_others(loop_kind: str, on_engine: None, behind: bytes) -> None:
    def interrupt() -> None:
        for protocol in protocols:
            protocol.then = None
        raise KeyboardInterrupt

    protocols = [Asking(interrupt) for _ in range(3)]
    factory = asyncio.new_event_loop if loop_kind == "asyncio" else pytest.importorskip("uvloop").new_event_loop
    loop = factory()
    try:
        peers = [loop.run_until_complete(attached(protocol))[1] for protocol in protocols]
        for peer in peers:
            peer.sendall(wire(b"one") + behind)
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(turns())
        loop.run_until_complete(turns())
        assert [protocol.got for protocol in protocols] == [[b"one"]] * 3
        for protocol, peer in zip(protocols, peers, strict=True):
            protocol.abort()
            peer.close()
        loop.run_until_complete(turns())
    finally:
        loop.close()


def test_tasks_go_on_in_the_turn_that_brings_their_frames(run: Any) -> None:
    async def work() -> None:
        pairs = [await connected("unix") for _ in range(3)]
        order: list[int] = []

        async def serve(number: int, conn: Connection) -> None:
            order.append(len(await conn.recv_many()))
            # Others' frames were received before this one could end them.
            for other, _ in pairs[:number] + pairs[number + 1 :]:
                other.abort()

        tasks = [asyncio.create_task(serve(number, conn)) for number, (conn, _) in enumerate(pairs)]
        await turns()
        for _, peer in pairs:
            peer.sendall(wire(b"one", b"two"))
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert order == [2]
        assert sorted(type(one).__name__ for one in done) == ["ConnectionClosed", "ConnectionClosed", "NoneType"]
        for conn, peer in pairs:
            conn.abort()
            await conn.close()
            peer.close()

    run(work())


def test_cancelled_in_the_turn_that_has_received_its_frames(run: Any) -> None:
    async def work() -> None:
        first, peer = await connected("unix")
        second, other = await connected("unix")
        tasks: list[asyncio.Task[list[bytes]]] = []

        async def receive(conn: Connection, which: int) -> list[bytes]:
            frames = await conn.recv_many()
            tasks[which].cancel()
            return frames

        tasks += [asyncio.create_task(receive(first, 1)), asyncio.create_task(receive(second, 0))]
        await turns()
        for sock in (peer, other):
            sock.sendall(wire(b"one", b"two"))
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert sorted(type(one).__name__ for one in done) == ["CancelledError", "list"]
        left = first if isinstance(done[0], asyncio.CancelledError) else second
        assert await left.recv() == b"one"
        assert list(await left.recv_batch()) == [b"two"]
        for conn, sock in ((first, peer), (second, other)):
            await conn.close()
            sock.close()

    run(work())


def test_a_close_in_connection_made_sends_what_was_written(run: Any) -> None:
    class Greeting(FrameProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.write(bytes(8_000_000))
            self.close(None)

    async def work() -> None:
        ours, peer = raw_pair("tcp")
        ours.setblocking(False)
        peer.setblocking(False)
        await asyncio.get_running_loop().create_connection(lambda: Greeting(FRAMING), sock=ours)
        assert len(await take(peer, 9_000_000)) == 8_000_004
        peer.close()
        await turns()

    run(work())


def test_a_write_that_sends_what_was_pending_ends_the_wait_for_room(run: Any) -> None:
    class Told(Asking):
        told = ""

        def pause_writing(self) -> None:
            super().pause_writing()
            self.told += "pause "

        def resume_writing(self) -> None:
            super().resume_writing()
            self.told += "resume "

    async def work() -> None:
        protocol = Told()
        _, peer = await attached(protocol)
        await turns()
        protocol.write(bytes(8_000_000))
        assert protocol.told == "pause "
        peer.setblocking(False)

        def drain() -> None:
            with contextlib.suppress(BlockingIOError):
                while peer.recv(1_000_000):
                    pass

        while protocol._link.outlet.pending:
            drain()
            protocol.write(b"")
        drain()
        await until(lambda: protocol.told == "pause resume ")
        assert not protocol._link._wants & WRITE
        protocol.abort()
        peer.close()
        await turns()

    run(work())


def test_a_lost_connection_reads_nothing_of_the_next_one_with_its_number(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected("unix")
        receiving = asyncio.create_task(conn.recv_many())
        await turns()
        theirs, other = socket.socketpair()
        other.sendall(wire(b"theirs"))
        reused: list[int] = []

        def reuse() -> None:
            reused.append(os.dup(theirs.fileno()))

        conn._inbox.transport.abort()  # as Server.abort_clients does
        asyncio.get_running_loop().call_soon(reuse)
        with pytest.raises(ff.ConnectionClosed):
            await receiving
        for one in reused:
            os.close(one)
        assert theirs.recv(100) == wire(b"theirs")
        for sock in (theirs, other, peer):
            sock.close()
        await conn.close()

    run(work())


def test_callbacks_keep_the_context_of_their_connection(run: Any) -> None:
    name: ContextVar[str] = ContextVar("name", default="none")

    class Named(Asking):
        def __init__(self, mine: str) -> None:
            super().__init__()
            self.mine, self.seen = mine, list[str]()

        def frames_received(self, frames: list[bytes]) -> None:
            self.seen.append(name.get())
            name.set(self.mine)
            super().frames_received(frames)

    async def work() -> None:
        protocols = [await attached(Named(mine)) for mine in ("first", "second")]
        for data in (wire(b"one"), wire(b"two") + b"\0", wire(b"three")[1:]):
            for _, peer in protocols:
                peer.sendall(data)
            await turns()
        assert [protocol.seen for protocol, _ in protocols] == [
            ["none", "first", "first"],
            ["none", "second", "second"],
        ]
        assert name.get() == "none"
        for protocol, peer in protocols:
            protocol.abort()
            peer.close()
        await turns()

    run(work())


@pytest.mark.parametrize("way", ["recv", "recv_many", "recv_batch", "callbacks"])
def test_a_reset_that_a_send_has_found_doesnt_end_a_frame(run: Any, way: str) -> None:
    async def work() -> None:
        ours, peer = raw_pair("tcp")
        lost: list[BaseException | None] = []
        if way == "callbacks":

            class Noting(Asking):
                def connection_lost(self, exc: BaseException | None) -> None:
                    lost.append(exc)

            protocol = Noting()
            protocol.framing = ff.UntilEOF()
            await asyncio.get_running_loop().create_connection(lambda: protocol, sock=ours)
        else:
            conn = await open_connection(sock=ours, framing=ff.UntilEOF(), send_framing=FRAMING)
        peer.sendall(b"half of it")
        await turns()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        if way == "callbacks":
            protocol.send_framing = FRAMING
            protocol.write(b"x")
            await turns()
            assert protocol.got == []
            assert [type(error) for error in lost] == [ff.ConnectionLost]
        else:
            with contextlib.suppress(ff.ConnectionLost):
                await conn.send(b"x")
            with pytest.raises(ff.ConnectionLost):
                await getattr(conn, way)()
            await conn.close()

    run(work())


def test_a_receive_that_is_cancelled_leaves_bytes_for_another_framing(run: Any) -> None:
    async def work() -> None:
        for ahead in (False, True):
            conn, peer = await connected("unix")
            task = asyncio.create_task(conn.recv_many())
            await turns()
            loop = asyncio.get_running_loop()
            acts = [lambda task=task: task.cancel(), lambda peer=peer: peer.sendall(wire(b"one"))]
            for act in acts if ahead else acts[::-1]:
                loop.call_soon(act)
            await asyncio.wait([task])
            if task.cancelled():
                await turns()
                assert conn.unread() in {wire(b"one"), b""}
            await conn.close()
            peer.close()

    run(work())


@pytest.mark.parametrize("number", [errno.EBADF, errno.ENOTSOCK, errno.ENOMEM])
def test_an_error_of_the_system_ends_the_connection_unless_it_passes(run: Any, number: int) -> None:
    lost: list[BaseException | None] = []

    class Noting(Asking):
        def connection_lost(self, exc: BaseException | None) -> None:
            lost.append(exc)

    async def work() -> None:
        protocol, peer = await attached(Noting())
        conn, other = await connected("unix")
        await turns()
        for link in (protocol._link, conn._inbox):
            link.received(OSError(number, os.strerror(number)))
        await turns()
        if number == errno.ENOMEM:
            for sock in (peer, other):
                sock.sendall(wire(b"goes on"))
            assert await conn.recv() == b"goes on"
            assert (protocol.got, lost) == ([b"goes on"], [])
            protocol.abort()
        else:
            assert [type(error) for error in lost] == [ff.ConnectionLost]
            with pytest.raises(ff.ConnectionLost):
                await conn.recv()
        await conn.close()
        for sock in (peer, other):
            sock.close()
        await turns()

    run(work())
