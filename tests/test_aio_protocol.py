"""FrameProtocol: batches by callback, backpressure without code, and callbacks that do anything."""

import asyncio
import errno
import socket
import sys
from typing import Any

import pytest

import fastframe as ff
from asyncpairs import (
    Keeper,
    Served,
    attached,
    echo,
    faults,
    give,
    loop_kind,
    on_engine,
    run,
    take,
    turns,
    until,
)
from connections import FRAMING, needs_unix, raw_pair, reset, wire

__all__ = ["faults", "loop_kind", "on_engine", "run"]  # the fixtures that pytest is to find here

both_kinds = pytest.mark.parametrize("kind", ["tcp", pytest.param("unix", marks=needs_unix)])


@both_kinds
def test_echo(run: Any, kind: str) -> None:
    async def work() -> None:
        protocol, peer = await attached(Keeper(echo), kind)
        data = wire(b"1", b"", b"3" * 100_000, *[b"%d" % n for n in range(1000)])
        giving = asyncio.create_task(give(peer, data))
        assert await take(peer, len(data)) == data
        await giving
        assert protocol.calls < 500
        protocol.write(b"one")
        assert await take(peer, 7) == wire(b"one")
        peer.shutdown(socket.SHUT_WR)
        assert await take(peer, 1) == b""
        await until(lambda: protocol.over)
        assert (protocol.over, protocol.ends, protocol.frames[:2]) == ([None], 1, [b"1", b""])
        peer.close()

    run(work())


@pytest.mark.parametrize("kind", ["tcp", pytest.param("unix", marks=needs_unix), "tls"])
def test_servers_of_every_kind(run: Any, kind: str) -> None:
    made: list[Keeper] = []

    def factory() -> Keeper:
        made.append(Keeper(echo))
        return made[-1]

    async def start(**how: Any) -> Any:
        return await asyncio.get_running_loop().create_server(factory, **how)

    async def start_unix(**how: Any) -> Any:
        return await asyncio.get_running_loop().create_unix_server(factory, **how)

    async def work() -> None:
        async with Served(kind, start, start_unix) as served:
            payloads = [b"%d" % n * 300 for n in range(3000)]
            async with await served.client() as conn:
                sending = asyncio.create_task(conn.send_many(payloads))
                got: list[bytes] = []
                while len(got) < len(payloads):
                    got += await conn.recv_many()
                assert got == payloads
                await sending
            await until(lambda: made[0].over)
            assert made[0].over == [None]
            assert (made[0].transport.get_extra_info("sslcontext") is not None) == (kind == "tls")

    run(work())


def test_echo_holds_back_a_peer_that_doesnt_read(run: Any) -> None:
    async def work() -> None:
        protocol, peer = await attached(Keeper(echo))
        data = wire(*[bytes(1000)] * 30_000)
        giving = asyncio.create_task(give(peer, data))
        await until(lambda: protocol._link.held)
        await asyncio.sleep(0.02)
        assert not giving.done()
        assert protocol.transport.get_write_buffer_size() + protocol._link.outlet.pending < 1_000_000
        assert await take(peer, len(data)) == data
        await giving
        assert not protocol._link.held
        peer.close()
        await until(lambda: protocol.over)

    run(work())


def test_pause_of_the_user_isnt_ended_by_room(run: Any) -> None:
    async def work() -> None:
        protocol, peer = await attached(Keeper())
        protocol.pause_reading()
        protocol.pause_writing()
        protocol.resume_writing()
        await give(peer, wire(b"later"))
        await asyncio.sleep(0.01)
        assert protocol.frames == []
        protocol.resume_reading()
        await until(lambda: protocol.frames)
        protocol.pause_writing()
        protocol.resume_reading()
        await give(peer, wire(b"latest"))
        await asyncio.sleep(0.01)
        assert protocol.frames == [b"later"]
        protocol.resume_writing()
        await until(lambda: len(protocol.frames) == 2)
        protocol.abort()
        await until(lambda: protocol.over)
        peer.close()

    run(work())


def test_pause_while_the_connection_is_made(run: Any) -> None:
    class Paused(Keeper):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.pause_reading()

    async def work() -> None:
        ours, peer = raw_pair("tcp")
        peer.sendall(wire(b"before anybody listens"))
        protocol = Paused()
        await asyncio.get_running_loop().create_connection(lambda: protocol, sock=ours)
        await asyncio.sleep(0.01)
        assert protocol.frames == []
        protocol.resume_reading()
        await until(lambda: protocol.frames == [b"before anybody listens"])
        peer.close()
        await until(lambda: protocol.over == [None])

    run(work())


# --- How it ends -----------------------------------------------------------------------------------------------------


def test_stream_ends_inside_a_frame(run: Any) -> None:
    async def work() -> None:
        protocol, peer = await attached(Keeper(echo))
        await give(peer, wire(b"1", b"2") + b"\0\0\0\5hel")
        peer.shutdown(socket.SHUT_WR)
        assert await take(peer, 11) == wire(b"1", b"2")
        await until(lambda: protocol.over)
        (error,) = protocol.over
        assert isinstance(error, ff.TruncatedFrame)
        assert (error.got, error.want, error.partial, error.offset) == (7, 9, b"\0\0\0\5hel", 10)
        assert protocol.ends == 0
        peer.close()

    run(work())


def test_good_frames_and_their_answers_come_before_a_bad_one(run: Any) -> None:
    async def work() -> None:
        protocol, peer = await attached(Keeper(echo, FRAMING.replace(max_size=10)))
        await give(peer, wire(b"1", b"2") + b"\0\0\0\x0b" + bytes(300_000))
        assert await take(peer, 100) == wire(b"1", b"2")
        peer.close()
        await until(lambda: protocol.over)
        (error,) = protocol.over
        assert isinstance(error, ff.FrameTooLarge)
        assert (error.size, error.limit, error.offset) == (11, 10, 10)
        assert protocol.frames == [b"1", b"2"]
        protocol.write(b"to nobody")

    run(work())


@both_kinds
def test_good_frames_come_before_a_reset(run: Any, kind: str) -> None:
    if kind == "unix" and sys.platform != "linux":
        pytest.skip("unix sockets are reset on Linux")

    async def work() -> None:
        protocol, peer = await attached(Keeper(), kind)
        if kind == "unix":
            protocol.write(b"left unread, it makes the close a reset")
        await give(peer, wire(b"1", b"2") + b"\0\0\0\5he")
        reset(peer)
        await until(lambda: protocol.over)
        (error,) = protocol.over
        assert isinstance(error, ff.ConnectionLost)
        assert error.errno == errno.ECONNRESET
        assert protocol.frames == [b"1", b"2"]

    run(work())


@needs_unix
@pytest.mark.parametrize("tail", [b"", b"\0\0\0\5he", b"\xff\xff\xff\xff"])
def test_what_came_is_delivered_when_a_write_finds_the_peer_gone(run: Any, tail: bytes) -> None:
    async def work() -> None:
        protocol, peer = await attached(Keeper(), "unix")
        protocol.pause_reading()
        peer.sendall(wire(b"last", b"words") + tail)
        peer.close()
        while not protocol.over:
            protocol.write(bytes(1000))
            await turns()
        assert protocol.frames == [b"last", b"words"]
        expected = ff.FrameTooLarge if tail.startswith(b"\xff") else ff.ConnectionLost
        assert [type(error) for error in protocol.over] == [expected]
        protocol.write(b"to nobody")

    run(work())


def test_end_that_keeps_it_open(run: Any) -> None:
    async def work() -> None:
        protocol, peer = await attached(Keeper())
        protocol.stays = True
        await give(peer, wire(b"request"))
        peer.shutdown(socket.SHUT_WR)
        await until(lambda: protocol.ends)
        await asyncio.sleep(0.01)
        assert not protocol.over
        protocol.pause_reading()
        protocol.resume_reading()
        for number in range(10):
            protocol.write(b"%d" % number)
            await turns()
        protocol.close()
        assert await take(peer, 1000) == wire(*[b"%d" % number for number in range(10)])
        await until(lambda: protocol.over == [None])
        assert protocol.ends == 1
        peer.close()

    run(work())


def test_the_rest_at_the_end_is_a_frame_where_the_framing_says_so(run: Any) -> None:
    async def work() -> None:
        protocol, peer = await attached(Keeper(echo, ff.Delimiter(b"\n", at_eof="deliver")))
        await give(peer, b"line\nrest")
        peer.shutdown(socket.SHUT_WR)
        assert await take(peer, 100) == b"line\nrest\n"
        await until(lambda: protocol.over == [None])
        assert protocol.frames == [b"line", b"rest"]
        peer.close()

    run(work())


def test_a_coroutine_function_is_refused_as_callback() -> None:
    class Wrong(ff.asyncio.FrameProtocol):
        async def frames_received(self, frames: list[bytes]) -> None:  # type: ignore[override]
            raise AssertionError("nobody awaits it")

    with pytest.raises(TypeError, match="coroutine function, which isn't awaited here: start a task"):
        Wrong(ff.LengthField(4))
