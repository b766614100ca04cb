"""Callbacks of a FrameProtocol that raise, close, pause, or change the framing."""

import asyncio
import gc
import socket
from typing import Any

import pytest

import fastframe as ff
from asyncpairs import (
    Keeper,
    attached,
    connected,
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
from connections import FRAMING, needs_unix, raw_pair, wire
from fastframe.asyncio import FrameProtocol, start_server, start_unix_server

__all__ = ["faults", "loop_kind", "on_engine", "run"]  # the fixtures that pytest is to find here

both_kinds = pytest.mark.parametrize("kind", ["tcp", pytest.param("unix", marks=needs_unix)])


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
        await until(lambda: protocol._link.stream.buffered == 2)
        protocol.pause_reading()
        await give(peer, b"abcd")
        protocol.framing = ff.FixedSize(2)
        await turns()
        assert protocol.frames == [b"old"]
        protocol.resume_reading()
        await until(lambda: len(protocol.frames) == 4)
        assert protocol.frames == [b"old", b"\0\0", b"ab", b"cd"]
        await give(peer, b"e")
        await until(lambda: protocol._link.stream.buffered == 1)
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
