"""Connections of an event loop: receives that can be cancelled, sends that wait for the peer, and what ends each direction."""

import asyncio
import errno
import gc
import os
import pickle
import socket
import sys
from typing import Any

import pytest

import fastframe as ff
from asyncpairs import connected, faults, give, loop_kind, on_engine, run, take, turns, until, waiting
from connections import FRAMING, needs_unix, reset, wire
from fastframe import _aio_inbox

__all__ = ["faults", "loop_kind", "on_engine", "run"]  # the fixtures that pytest is to find here

pytestmark = pytest.mark.usefixtures("on_engine")
both_kinds = pytest.mark.parametrize("kind", ["tcp", pytest.param("unix", marks=needs_unix)])


# --- Receiving -------------------------------------------------------------------------------------------------------


@both_kinds
def test_one_many_and_batch(run: Any, kind: str) -> None:
    async def work() -> None:
        conn, peer = await connected(kind)
        async with conn:
            await give(peer, wire(b"1", b"", b"3"))
            assert await conn.recv() == b"1"
            assert await conn.recv_many() == [b"", b"3"]
            await give(peer, wire(b"4", b"5"))
            batch = await conn.recv_batch()
            assert list(batch) == [b"4", b"5"]
            assert isinstance(batch, ff.FrameBatch) or type(batch).__name__ == "FrameBatch"
            assert conn.stats.received == (5, 5 * 4 + 4, 0)
            peer.close()

    run(work())


def test_frame_comes_in_pieces(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected()
        async with conn:
            receiving = await waiting(conn.recv())
            for byte in wire(b"hello"):
                assert not receiving.done()
                await give(peer, bytes([byte]))
                await asyncio.sleep(0.001)
            assert await receiving == b"hello"
            peer.close()

    run(work())


def test_large_frames_go_both_ways(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected()
        payload = os.urandom(5_000_000)
        async with conn:
            sending = asyncio.create_task(conn.send(payload))
            assert await take(peer, len(payload) + 4) == wire(payload)
            await sending
            giving = asyncio.create_task(give(peer, wire(payload)))
            assert await conn.recv() == payload
            await giving
            peer.close()

    run(work())


def test_iteration_goes_to_the_clean_end(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected()
        async with conn:
            await give(peer, wire(b"a", b"", b"c"))
            peer.shutdown(socket.SHUT_WR)
            assert [frame async for frame in conn] == [b"a", b"", b"c"]
            assert [frame async for frame in conn] == []
            for receive in (conn.recv, conn.recv_many, conn.recv_batch):
                with pytest.raises(ff.ConnectionClosed):
                    await receive()
            await conn.send(b"the other direction goes on")
            assert await take(peer, 31) == wire(b"the other direction goes on")
            peer.close()

    run(work())


@pytest.mark.parametrize("way", ["recv", "recv_many", "recv_batch"])
def test_stream_ends_inside_a_frame(run: Any, way: str) -> None:
    async def work() -> None:
        conn, peer = await connected()
        async with conn:
            await give(peer, wire(b"whole") + b"\0\0")
            peer.close()
            got = await getattr(conn, way)()
            assert (got if way == "recv" else next(iter(got))) == b"whole"
            for _ in range(2):
                with pytest.raises(ff.TruncatedFrame) as caught:
                    await getattr(conn, way)()
                assert (caught.value.got, caught.value.partial, caught.value.offset) == (2, b"\0\0", 9)
            assert conn.stats.received.errors == 1

    run(work())


def test_good_frames_come_before_a_bad_one(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected(framing=FRAMING.replace(max_size=10))
        async with conn:
            await give(peer, wire(b"1", b"2") + b"\0\0\0\x0b" + bytes(1000))
            await until(lambda: conn._inbox.stream.buffered > 1000)
            assert await conn.recv_many() == [b"1", b"2"]
            for _ in range(2):
                with pytest.raises(ff.FrameTooLarge) as caught:
                    await conn.recv()
                assert (caught.value.size, caught.value.limit, caught.value.offset) == (11, 10, 10)
            await give(peer, bytes(100_000))
            with pytest.raises(ff.FrameTooLarge):
                await conn.recv_many()
            assert conn._inbox.stream.buffered == 0
            await conn.send(b"still")
            assert await take(peer, 9) == wire(b"still")
            peer.close()

    run(work())


@both_kinds
def test_good_frames_come_before_a_reset(run: Any, kind: str) -> None:
    if kind == "unix" and sys.platform != "linux":
        pytest.skip("unix sockets are reset on Linux")

    async def work() -> None:
        conn, peer = await connected(kind)
        await give(peer, wire(b"1", b"2") + b"\0\0\0\5he")
        if kind == "unix":
            await conn.send(b"left unread, it makes the close a reset")
        await until(lambda: conn._inbox.stream.buffered == 16)
        reset(peer)
        assert await conn.recv() == b"1"
        assert await conn.recv() == b"2"
        for _ in range(2):
            with pytest.raises(ff.ConnectionLost) as caught:
                await conn.recv()
            assert caught.value.errno == errno.ECONNRESET
        with pytest.raises(ff.ConnectionLost):
            await conn.send(b"x")
        assert (conn.stats.received.errors, conn.stats.sent.errors) == (1, 1)
        await conn.close()

    run(work())


def test_what_came_is_received_behind_a_send_that_found_the_peer_gone(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected("unix")
        conn._inbox.pause(_aio_inbox.FULL)  # as if it had come in the very moment of the send
        peer.sendall(wire(b"last", b"words"))
        peer.close()
        with pytest.raises(ff.ConnectionLost) as caught:
            while True:
                await conn.send(b"x" * 100)  # which never waits
        assert caught.value.errno == errno.EPIPE
        assert await conn.recv_many() == [b"last", b"words"]
        with pytest.raises(ff.ConnectionClosed):  # the directions fail separately
            await conn.recv()
        await conn.close()

    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("no unix sockets here")
    run(work())


def test_the_rest_at_the_end_is_a_frame_where_the_framing_says_so(run: Any) -> None:
    async def work() -> None:
        for way, expected in (("recv", b"rest"), ("recv_many", [b"rest"]), ("recv_batch", [b"rest"])):
            conn, peer = await connected(framing=ff.Delimiter(b"\n", at_eof="deliver"))
            async with conn:
                await give(peer, b"line\nrest")
                peer.shutdown(socket.SHUT_WR)
                assert await conn.recv() == b"line"
                got = await getattr(conn, way)()
                assert (list(got) if way == "recv_batch" else got) == expected
                with pytest.raises(ff.ConnectionClosed):
                    await conn.recv()
                peer.close()
        conn, peer = await connected(framing=ff.UntilEOF())
        async with conn:
            peer.close()
            assert list(await conn.recv_batch()) == [b""]

    run(work())


def test_second_receiver_is_an_error(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected()
        async with conn:
            first = await waiting(conn.recv())
            for receive in (conn.recv, conn.recv_many, conn.recv_batch, conn.__anext__):
                with pytest.raises(ff.ConcurrentUse):
                    await receive()
            with pytest.raises(ff.ConcurrentUse):
                conn.unread()
            with pytest.raises(ff.ConcurrentUse):
                conn.framing = ff.Netstring()
            await give(peer, wire(b"for the first"))
            assert await first == b"for the first"
            peer.close()

    run(work())


def test_framing_changes_between_frames(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected()
        async with conn:
            await give(peer, wire(b"upgrade") + b"5:hello," + b"raw")
            await until(lambda: conn._inbox.stream.buffered == 22)
            assert await conn.recv() == b"upgrade"
            conn.framing = conn.send_framing = ff.Netstring()
            assert conn.framing == conn.send_framing == ff.Netstring()
            assert await conn.recv() == b"hello"
            assert conn.unread() == b"raw"
            await conn.send(b"bye")
            assert await take(peer, 6) == b"3:bye,"
            for wrong in ("framing", "send_framing"):
                with pytest.raises(TypeError):
                    setattr(conn, wrong, b"\n")
            peer.close()

    run(work())


def test_receiving_pauses_while_nobody_asks(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected()
        async with conn:
            giving = asyncio.create_task(give(peer, wire(*[bytes(1000)] * 20_000)))
            await until(lambda: conn._inbox.held)
            await asyncio.sleep(0.01)
            assert not giving.done()
            assert conn._inbox.stream.buffered <= _aio_inbox.HIGH_WATER + 400 * 1024
            count = 0
            while count < 20_000:
                count += len(await conn.recv_many())
            await giving
            peer.close()

    run(work())


# --- The end ---------------------------------------------------------------------------------------------------------


def test_closed_connection(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected()
        assert not conn.closed
        receiving = await waiting(conn.recv())
        while not conn._inbox._full:
            await conn.send(bytes(50_000))
        sending = [await waiting(conn.send(b"x")) for _ in range(3)]
        closing = asyncio.create_task(conn.close())
        await turns()
        assert conn.closed
        assert "closed" in repr(conn)
        for task in (receiving, *sending):
            with pytest.raises(ff.ConnectionClosed):
                await task
        while await asyncio.get_running_loop().sock_recv(peer, 100_000):
            pass
        await closing
        await conn.close()
        conn.abort()
        for call in (conn.recv, conn.recv_many, conn.recv_batch, lambda: conn.send(b"x"), conn.shutdown_send):
            with pytest.raises(ValueError, match="closed"):
                await call()
        assert [frame async for frame in conn] == []
        with pytest.raises(ValueError, match="closed"):
            async with conn:
                pass
        with pytest.raises(ValueError, match="closed"):
            conn.framing = ff.Netstring()
        peer.close()

    run(work())


def test_iteration_ends_when_the_connection_is_closed_here(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected()

        async def frames() -> list[bytes]:
            return [frame async for frame in conn]

        receiving = await waiting(frames())
        conn.abort()
        assert await receiving == []
        await conn.close()
        peer.close()

    run(work())


def test_nothing_is_kept_by_a_block_that_raises(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected()
        with pytest.raises(LookupError):
            async with conn:
                while not conn._inbox._full:
                    await conn.send(bytes(50_000))
                raise LookupError
        assert conn._inbox.lost
        peer.close()

    run(work())


def test_unclosed_connection_warns(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected()
        inbox = conn._inbox
        kept = [conn]
        del conn
        with pytest.warns(ResourceWarning, match="unclosed <asyncio Connection"):
            _drop(kept)
        await until(lambda: inbox.lost)
        assert await take(peer, 1) == b"" if peer.family != socket.AF_INET else True
        peer.close()

    run(work())


def test_loop_is_closed_under_it(run: Any, loop_kind: str) -> None:
    kept = []

    async def work() -> None:
        conn, peer = await connected()
        kept.extend([conn, peer])

    run(work())
    conn, peer = kept
    kept.clear()
    with pytest.raises(RuntimeError):
        asyncio.run(_receive(conn))
    asyncio.run(conn.close())
    conn.abort()
    assert conn.closed
    peer.close()
    if loop_kind != "uvloop":
        kept.append(conn)
        del conn
        with pytest.warns(ResourceWarning, match="unclosed"):
            _drop(kept)


def _drop(kept: list[Any]) -> None:
    kept.clear()
    gc.collect()


async def _receive(conn: Any) -> None:
    await conn.recv()


def test_task_is_destroyed_while_it_receives(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected()
        receiving = conn.recv()
        receiving.send(None)
        receiving.close()
        await give(peer, wire(b"next"))
        assert await conn.recv() == b"next"
        await conn.close()
        peer.close()

    run(work())


def test_what_it_tells_of_itself(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected()
        async with conn:
            assert conn.local_address == peer.getpeername()
            assert conn.peer_address == peer.getsockname()
            sock = conn.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert conn.get_extra_info("nothing", "else") == "else"
            assert "LengthField(4" in repr(conn)
            with pytest.raises(TypeError):
                pickle.dumps(conn)
            peer.close()

    run(work())


def test_a_computed_function_that_raises(run: Any) -> None:
    broken = True

    def size(header: bytes) -> int:
        if broken:
            raise LookupError
        return 2 + header[1]

    async def work() -> None:
        nonlocal broken
        conn, peer = await connected(framing=ff.Computed(2, size))
        async with conn:
            await give(peer, b"\0\3abc")
            with pytest.raises(LookupError):
                await conn.recv()
            broken = False
            assert await conn.recv() == b"\0\3abc"
            peer.close()

    run(work())
