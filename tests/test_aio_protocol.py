"""FrameProtocol: batches by callback, backpressure without code, and callbacks that do anything."""

import asyncio
import errno
import gc
import socket
from collections.abc import Callable
from typing import Any

import pytest

import fastframe as ff
from asyncpairs import Served, connected, faults, give, loop_kind, on_engine, run, take, turns, until
from connections import FRAMING, needs_unix, raw_pair, reset, wire
from fastframe.asyncio import FrameProtocol, start_server, start_unix_server

__all__ = ["faults", "loop_kind", "on_engine", "run"]  # the fixtures that pytest is to find here

both_kinds = pytest.mark.parametrize("kind", ["tcp", pytest.param("unix", marks=needs_unix)])


class Keeper(FrameProtocol):
    """Keeps what it is told; `do` is called with each batch."""

    def __init__(self, do: Callable[["Keeper", list[bytes]], Any] | None = None, framing: ff.Framing = FRAMING) -> None:
        super().__init__(framing)
        self.frames: list[bytes] = []
        self.calls = 0
        self.ends = 0
        self.over: list[BaseException | None] = []
        self.stays = False
        self._do = do

    def frames_received(self, frames: list[bytes]) -> None:
        assert frames
        assert not self.over
        self.calls += 1
        self.frames += frames
        if self._do is not None:
            self._do(self, frames)

    def eof_received(self) -> bool:
        self.ends += 1
        return self.stays

    def connection_lost(self, exc: BaseException | None) -> None:
        self.over.append(exc)


async def attached(protocol: Keeper, kind: str = "tcp") -> tuple[Keeper, socket.socket]:
    """The protocol, connected, and the raw nonblocking socket at its other end."""
    ours, peer = raw_pair(kind)
    ours.setblocking(False)
    peer.setblocking(False)
    loop = asyncio.get_running_loop()
    if kind == "unix":
        await loop.create_unix_connection(lambda: protocol, sock=ours)
    else:
        await loop.create_connection(lambda: protocol, sock=ours)
    return protocol, peer


def echo(protocol: Keeper, frames: list[bytes]) -> None:
    protocol.write_many(frames)


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
        await until(lambda: protocol._link._held)
        await asyncio.sleep(0.02)
        assert not giving.done()
        assert protocol.transport.get_write_buffer_size() + protocol._link.outlet.pending < 1_000_000
        assert await take(peer, len(data)) == data
        await giving
        assert not protocol._link._held
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


# --- Callbacks that do anything --------------------------------------------------------------------------------------


class Fault(Exception):
    pass


@pytest.mark.parametrize(
    "error", [Fault("mine"), ff.ConnectionLost(5, "not the stream's"), OSError(12, "mine"), ff.ConnectionClosed()]
)
def test_callback_that_raises_costs_its_connection_only(
    run: Any, faults: list[dict[str, Any]], error: Exception
) -> None:
    def fail(protocol: Keeper, frames: list[bytes]) -> None:
        raise error

    async def work() -> None:
        protocol, peer = await attached(Keeper(fail))
        other, other_peer = await attached(Keeper(echo))
        await give(peer, wire(b"1", b"2"))
        await until(lambda: protocol.over)
        assert protocol.over == [error]
        assert protocol.frames == [b"1", b"2"]
        (told,) = faults
        assert told["exception"] is error
        assert told["protocol"] is protocol
        faults.clear()
        await give(other_peer, wire(b"lives"))
        assert await take(other_peer, 9) == wire(b"lives")
        other.close()
        for sock in (peer, other_peer):
            sock.close()
        await until(lambda: other.over)

    run(work())


@pytest.mark.parametrize("where", ["frames_received", "eof_received"])
def test_callback_that_raises_at_the_end(run: Any, faults: list[dict[str, Any]], where: str) -> None:
    class Failing(Keeper):
        pass

    def fail(*args: object) -> None:
        raise Fault

    setattr(Failing, where, fail)

    async def work() -> None:
        protocol, peer = await attached(Failing(framing=ff.UntilEOF()))
        await give(peer, b"all")
        peer.shutdown(socket.SHUT_WR)
        await until(lambda: protocol.over)
        assert type(protocol.over[0]) is Fault
        assert len(faults) == 1
        faults.clear()
        peer.close()

    run(work())


def test_computed_function_that_raises(run: Any, faults: list[dict[str, Any]]) -> None:
    def size(header: bytes) -> int:
        raise Fault

    async def work() -> None:
        protocol, peer = await attached(Keeper(framing=ff.Computed(2, size)))
        await give(peer, b"\0\3abc")
        await until(lambda: protocol.over)
        assert type(protocol.over[0]) is Fault
        assert len(faults) == 1
        faults.clear()
        peer.close()

    run(work())


@pytest.mark.parametrize("action", ["close", "abort"])
def test_callback_that_ends_its_connection(run: Any, action: str) -> None:
    def end(protocol: Keeper, frames: list[bytes]) -> None:
        protocol.write(b"bye")
        getattr(protocol, action)()
        getattr(protocol, action)()
        protocol.pause_reading()
        protocol.resume_reading()
        for write in (lambda: protocol.write(b"x"), lambda: protocol.write_many([b"x"])):
            with pytest.raises(ValueError, match="closed"):
                write()

    async def work() -> None:
        protocol, peer = await attached(Keeper(end))
        await give(peer, wire(b"1"))
        await until(lambda: protocol.calls)
        if action == "close":
            await give(peer, wire(b"2"))
            assert await take(peer, 100) == wire(b"bye")
        peer.close()
        await until(lambda: protocol.over)
        assert (protocol.over, protocol.frames) == ([None], [b"1"])
        with pytest.raises(ValueError, match="closed"):
            protocol.write(b"x")

    run(work())


def test_callback_that_changes_the_framing(run: Any) -> None:
    def change(protocol: Keeper, frames: list[bytes]) -> None:
        if frames[-1] == b"upgrade":
            protocol.framing = protocol.send_framing = ff.Netstring()
        protocol.write_many(frames)

    async def work(after: bytes, rest: bytes, expected: list[bytes]) -> None:
        protocol, peer = await attached(Keeper(change, FRAMING.replace(max_size=100)))
        # 5:he, read as a length, is more than the old framing's limit: the fault isn't there for the new one.
        await give(peer, wire(b"old", b"upgrade") + after)
        await until(lambda: len(protocol.frames) >= 2)
        await turns()
        assert not protocol.over
        await give(peer, rest)
        peer.shutdown(socket.SHUT_WR)
        await until(lambda: protocol.over)
        assert (protocol.frames, protocol.over) == ([b"old", b"upgrade", *expected], [None])
        assert protocol.framing == protocol.send_framing == ff.Netstring()
        with pytest.raises(TypeError):
            protocol.framing = b"\n"
        peer.close()

    run(work(b"5:hello,2:hi,", b"0:,", [b"hello", b"hi", b""]))
    run(work(b"5:hel", b"lo,", [b"hello"]))


def test_framing_changes_between_callbacks(run: Any) -> None:
    async def work() -> None:
        protocol, peer = await attached(Keeper(framing=FRAMING))
        await give(peer, wire(b"old") + b"\0\0")
        await until(lambda: protocol._link._stream.buffered == 2)
        protocol.pause_reading()
        await give(peer, b"abcd")
        protocol.framing = ff.FixedSize(2)
        await turns()
        assert protocol.frames == [b"old"]
        protocol.resume_reading()
        await until(lambda: len(protocol.frames) == 4)
        assert protocol.frames == [b"old", b"\0\0", b"ab", b"cd"]
        await give(peer, b"e")
        await until(lambda: protocol._link._stream.buffered == 1)
        protocol.framing = ff.FixedSize(1)
        await until(lambda: len(protocol.frames) == 5)
        protocol.abort()
        await until(lambda: protocol.over)
        peer.close()

    run(work())


def test_pause_inside_a_callback(run: Any) -> None:
    async def work() -> None:
        protocol, peer = await attached(Keeper(lambda protocol, frames: protocol.pause_reading()))
        for number in range(5):
            await give(peer, wire(b"%d" % number))
            await until(lambda number=number: len(protocol.frames) == number + 1)
            await give(peer, b"")
            protocol.resume_reading()
        peer.close()
        await until(lambda: protocol.over == [None])
        assert protocol.frames == [b"0", b"1", b"2", b"3", b"4"]

    run(work())


def test_misuse(run: Any, faults: list[dict[str, Any]]) -> None:
    class Forgetful(FrameProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            pass

    async def work() -> None:
        with pytest.raises(TypeError):
            FrameProtocol(b"\n")  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            FrameProtocol(FRAMING, send_framing=4)  # type: ignore[arg-type]
        for call in (lambda p: p.write(b""), lambda p: p.close(), lambda p: p.abort()):
            with pytest.raises(ValueError, match="not connected"):
                call(FrameProtocol(FRAMING))
        protocol, peer = await attached(Keeper(framing=FRAMING.replace(max_size=1)))
        with pytest.raises(ff.FrameTooLarge):
            protocol.write(b"12")
        with pytest.raises(ff.FrameTooLarge):
            protocol.write_many([b"1", b"12"])
        with pytest.raises(ValueError):
            protocol.close(timeout=-1)
        with pytest.raises(ValueError, match="one connection"):
            protocol.connection_made(protocol.transport)
        protocol.write(b"1")
        protocol.close()
        assert await take(peer, 100) == wire(b"1")
        peer.close()
        await until(lambda: protocol.over)
        ours, peer = raw_pair("tcp")
        await asyncio.get_running_loop().create_connection(lambda: Forgetful(FRAMING), sock=ours)
        peer.sendall(b"x")
        await until(lambda: faults)
        peer.close()
        assert all(
            "connection_made" in str(fault["exception"]) or "get_buffer" in str(fault["exception"]) for fault in faults
        )
        faults.clear()

    run(work())


def test_loop_is_closed_under_it(run: Any, loop_kind: str) -> None:
    kept: list[Any] = []

    async def work() -> None:
        kept.extend(await attached(Keeper()))

    if loop_kind == "uvloop":
        pytest.skip("uvloop closes what is left")
    run(work())
    protocol, peer = kept
    assert protocol.over == []
    kept[:] = [protocol]
    del protocol
    with pytest.warns(ResourceWarning, match="unclosed"):
        _drop(kept)
    peer.close()


def _drop(kept: list[Any]) -> None:
    kept.clear()
    gc.collect()


def test_a_connection_and_a_protocol_speak(run: Any) -> None:
    async def work() -> None:
        server = await start_server(lambda conn: conn.close(), "127.0.0.1", 0, framing=FRAMING)
        protocol = Keeper()
        await asyncio.get_running_loop().create_connection(lambda: protocol, *server.sockets[0].getsockname())
        await until(lambda: protocol.over == [None])
        server.close()
        conn, peer = await connected()
        conn.abort()
        await conn.close()
        peer.close()
        assert start_unix_server is not None

    run(work())
