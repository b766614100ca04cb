"""How connections of an event loop end: what was sent arrives, resets, deadlines, TLS, and descriptors."""

import asyncio
import errno
import os
import random
import socket
import ssl
from typing import Any

import pytest

import fastframe as ff
from asyncpairs import KINDS, Served, connected, faults, give, loop_kind, on_engine, run, take, until, waiting
from connections import FRAMING, LONG, Thread, needs_proc, needs_unix, rest, wire
from fastframe._aio_link import again, lost_error
from fastframe.asyncio import Connection, FrameProtocol, open_connection, start_server, start_unix_server
from tlspairs import contexts

__all__ = ["faults", "loop_kind", "on_engine", "run"]  # the fixtures that pytest is to find here

CLOSES = int(os.environ.get("FASTFRAME_CLOSES", "40"))
"""How many connections are closed with unread input."""

both_kinds = pytest.mark.parametrize("kind", ["tcp", pytest.param("unix", marks=needs_unix)])


def serving(client_connected: Any) -> Any:
    """What Served starts such a server by."""

    async def start(**how: Any) -> Any:
        return await start_server(client_connected, framing=FRAMING, **how)

    async def start_unix(**how: Any) -> Any:
        return await start_unix_server(client_connected, framing=FRAMING, **how)

    return start, start_unix


# --- Closing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_close_with_unread_input_loses_nothing(run: Any, kind: str) -> None:
    answer = [bytes([number]) * 1000 for number in range(200)]

    async def on_client(conn: Connection) -> None:
        await conn.recv()
        await conn.send_many(answer)

    async def talk(served: Served) -> None:
        conn = await served.client()
        await conn.send_many([bytes(100)] * random.randrange(1, 2000))
        assert [frame async for frame in conn] == answer
        await conn.close()

    async def work() -> None:
        async with Served(kind, *serving(on_client)) as served:
            for _ in range(CLOSES // 20):
                await asyncio.gather(*(talk(served) for _ in range(20)))

    run(work(), LONG + CLOSES / 20)


@both_kinds
def test_protocol_closes_with_unread_input(run: Any, kind: str) -> None:
    class Once(FrameProtocol):
        def frames_received(self, frames: list[bytes]) -> None:
            self.write_many([bytes(1000)] * 1000)
            self.close()

    async def start(**how: Any) -> Any:
        return await asyncio.get_running_loop().create_server(lambda: Once(FRAMING), **how)

    async def start_unix(**how: Any) -> Any:
        return await asyncio.get_running_loop().create_unix_server(lambda: Once(FRAMING), **how)

    async def work() -> None:
        async with Served(kind, start, start_unix) as served:
            for _ in range(5):
                conn = await served.client()
                await conn.send_many([bytes(100)] * 2000)
                count = 0
                async for frame in conn:
                    count += len(frame)
                assert count == 1_000_000
                await conn.close()

    run(work())


@both_kinds
def test_peer_that_doesnt_read_is_waited_for_until_the_deadline(run: Any, kind: str) -> None:
    async def work() -> None:
        for timeout in (0.02, 0):
            conn, peer = await connected(kind)
            while not conn._inbox._full:
                await conn.send(bytes(50_000))
            await conn.close(timeout)
            assert conn._inbox.lost
            await conn.close()
            peer.close()

    run(work())


def test_close_goes_on_when_it_is_cancelled(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected()
        while not conn._inbox._full:
            await conn.send(bytes(50_000))
        closing = await waiting(conn.close())
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert len(await take(peer, 1 << 30)) % 50_004 == 0
        peer.close()
        await until(lambda: conn._inbox.lost)

    run(work())


@both_kinds
def test_close_waits_neither_for_a_silent_peer_nor_for_one_that_has_ended(run: Any, kind: str) -> None:
    async def work() -> None:
        conn, peer = await connected(kind)
        await conn.send(b"x")
        if kind == "unix" or os.uname().sysname == "Linux":
            await conn.close(None)  # for ever, if anybody had to be waited for
        assert await take(peer, 5) == wire(b"x")
        peer.close()
        await conn.close()
        conn, peer = await connected(kind)
        peer.shutdown(socket.SHUT_WR)
        await until(lambda: conn._inbox.ended)
        await conn.send(b"x")
        await conn.close(None)
        assert await take(peer, 6) == wire(b"x")
        peer.close()

    if not hasattr(os, "uname"):
        pytest.skip("this system doesn't tell what has arrived")
    run(work())


def test_cut_frame_isnt_a_whole_one_where_the_end_makes_it_one(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected(framing=ff.UntilEOF())
        await conn.send(bytes(10_000_000))
        await conn.close(0)
        with pytest.raises(ConnectionResetError):
            await take(peer, 10_000_001)
        peer.close()

    run(work())


def test_abort_is_a_reset(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected()
        receiving = await waiting(conn.recv())
        conn.abort()
        with pytest.raises(ff.ConnectionClosed):
            await receiving
        await conn.close()
        with pytest.raises(ConnectionResetError):
            await take(peer, 1)
        peer.close()

    run(work())


@both_kinds
def test_both_ends_close_at_once(run: Any, kind: str) -> None:
    clients: list[Connection] = []

    async def work() -> None:
        async with Served(kind, *serving(clients.append)) as served:
            for _ in range(20):
                ours = await served.client()
                await until(lambda: clients)
                theirs = clients.pop()
                await asyncio.gather(ours.send(b"x"), theirs.send(b"x"))
                await asyncio.gather(ours.close(), theirs.close(), ours.close())

    run(work())


# --- TLS -------------------------------------------------------------------------------------------------------------


def test_tls_without_a_close_notify_is_lost(run: Any) -> None:
    async def work() -> None:
        got: list[Any] = []

        async def on_client(conn: Connection) -> None:
            got.append(await conn.recv())
            try:
                await conn.recv()
            except ff.FrameError as error:
                got.append(error)

        client, server = contexts()
        listening = await start_server(on_client, "127.0.0.1", 0, framing=FRAMING, ssl=server)

        def cut() -> None:
            with socket.create_connection(listening.sockets[0].getsockname()) as sock:
                tls = client.wrap_socket(sock, server_hostname="localhost")
                tls.sendall(wire(b"whole") + b"\0\0")
                with socket.socket(fileno=tls.detach()) as plain:
                    plain.shutdown(socket.SHUT_WR)
                    rest(plain)

        thread = Thread(cut)
        await until(lambda: len(got) == 2)
        thread.done()
        listening.close()
        assert got[0] == b"whole"
        assert isinstance(got[1], ff.ConnectionLost)
        assert got[1].errno == errno.EPROTO

    run(work())


@pytest.mark.parametrize("callbacks", [False, True])
def test_all_of_a_burst_comes_before_the_end_of_tls(run: Any, callbacks: bool) -> None:
    payloads = [bytes([number]) * 10_000 for number in range(100)]
    got: list[bytes] = []
    ended: list[Any] = []

    class Taker(FrameProtocol):
        def frames_received(self, frames: list[bytes]) -> None:
            got.extend(frames)

        def connection_lost(self, exc: BaseException | None) -> None:
            ended.append(exc)

    async def on_client(conn: Connection) -> None:
        await asyncio.sleep(0.01)
        got.extend([frame async for frame in conn])
        ended.append(None)

    async def work() -> None:
        client, server = contexts()
        loop = asyncio.get_running_loop()
        if callbacks:
            listening = await loop.create_server(lambda: Taker(FRAMING), "127.0.0.1", 0, ssl=server)
        else:
            listening = await start_server(on_client, "127.0.0.1", 0, framing=FRAMING, ssl=server)

        def burst() -> None:
            with socket.create_connection(listening.sockets[0].getsockname()) as sock:
                tls = client.wrap_socket(sock, server_hostname="localhost")
                tls.settimeout(LONG)
                tls.sendall(wire(*payloads))
                tls.unwrap().close()

        for _ in range(10):
            got.clear()
            ended.clear()
            thread = Thread(burst)
            await until(lambda: ended)
            assert ended == [None]
            assert got == payloads
            thread.done()
        listening.close()

    run(work())


def test_tls_has_no_half_close(run: Any) -> None:
    clients: list[Connection] = []

    async def work() -> None:
        async with Served("tls", *serving(clients.append)) as served:
            conn = await served.client()
            with pytest.raises(ValueError, match="half-close"):
                await conn.shutdown_send()
            await conn.send(b"goes on")
            await until(lambda: clients)
            assert await clients[0].recv() == b"goes on"
            await conn.close()
            with pytest.raises(ff.ConnectionClosed):
                await clients[0].recv()
            await until(lambda: clients[0]._inbox.lost)
            with pytest.raises(ff.ConnectionLost):
                await clients[0].send(b"nobody is there")
            await clients.pop().close()

    run(work())


# --- Descriptors, and errors -----------------------------------------------------------------------------------------


@needs_proc
def test_a_connection_has_one_descriptor_and_the_loop_one_for_all(run: Any, loop_kind: str) -> None:
    clients: list[Connection] = []

    async def work() -> None:
        async with Served("tcp", *serving(clients.append)) as served:
            before = len(os.listdir("/proc/self/fd"))
            ours = [await served.client() for _ in range(20)]
            await until(lambda: len(clients) == 20)
            for conn in ours:
                await conn.send(b"x")
            for conn in clients:
                assert await conn.recv() == b"x"
            assert len(os.listdir("/proc/self/fd")) == before + 40 + (loop_kind != "fed")
            await asyncio.gather(*(conn.close() for conn in (*ours, *clients)))
            assert len(os.listdir("/proc/self/fd")) == before

    run(work())


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
def test_descriptor_is_closed_under_it(run: Any, loop_kind: str, faults: list[dict[str, Any]]) -> None:
    async def work() -> None:
        conn, peer = await connected()
        os.close(conn.get_extra_info("socket").fileno())
        with pytest.raises(ff.ConnectionLost) as caught:
            while True:
                await conn.send(b"x")
                await asyncio.sleep(0)
        assert caught.value.errno == errno.EBADF
        await conn.close()
        peer.close()
        faults.clear()  # the transport closes it a second time, and says so

    if loop_kind == "uvloop" or os.name == "nt":
        pytest.skip("the loop itself doesn't survive that")
    run(work())


def test_what_is_lost_and_why() -> None:
    assert lost_error(ConnectionResetError(errno.ECONNRESET, "gone")).args == (errno.ECONNRESET, "gone")
    assert lost_error(ConnectionResetError()).errno == errno.ECONNRESET
    assert lost_error(ConnectionAbortedError("SSL handshake is taking longer")).errno == errno.ECONNRESET
    assert lost_error(TimeoutError("late")).args == (errno.EIO, "late")
    assert lost_error(ssl.SSLError(1, "bad record")).errno == errno.EPROTO
    first = lost_error(OSError(errno.EPIPE, "no reader"))
    assert again(first) == first
    assert again(first) is not first


def test_input_after_the_end_is_nobodys(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected()
        closing = asyncio.create_task(conn.close())
        await asyncio.sleep(0)
        await give(peer, wire(*[b"x"] * 1000))
        peer.close()
        await closing
        assert conn._inbox.stream.buffered == 0

    run(work())


def test_raw_peer_reads_all_after_close(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected()
        await give(peer, wire(*[bytes(1000)] * 50))
        peer.setblocking(True)
        reading = Thread(lambda: rest(peer))
        await conn.send_many([b"y" * 1000] * 5000)
        await conn.close()
        assert len(reading.done()) == 5000 * 1004
        peer.close()

    run(work())


def test_open_connection_to_nobody(run: Any) -> None:
    async def work() -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = free.getsockname()
        with pytest.raises(ConnectionRefusedError):
            await open_connection(*address, framing=FRAMING)

    run(work())
