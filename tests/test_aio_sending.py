"""Sends of an event loop: whole frames, backpressure, half-closes, and the ways out."""

import asyncio
import errno
import os
import socket
from typing import Any

import pytest

import fastframe as ff
from asyncpairs import connected, faults, give, loop_kind, on_engine, run, take, waiting
from connections import FRAMING, raw_pair, wire
from fastframe import _aio_sending
from fastframe._aio_sending import Direct, Encoding, Outlet, Refusing

__all__ = ["faults", "loop_kind", "on_engine", "run"]  # the fixtures that pytest is to find here


# --- Sending ---------------------------------------------------------------------------------------------------------


def test_sends_of_many_tasks_dont_mix(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected()
        async with conn:
            payloads = [bytes([number]) * (1 + 7919 * number % 60_000) for number in range(100)]

            async def send(payload: bytes) -> None:
                await conn.send(payload)
                await conn.send_many([payload, payload])

            async with asyncio.TaskGroup() as group:
                for payload in payloads:
                    group.create_task(send(payload))
                decoder = ff.Decoder(FRAMING)
                got: list[bytes] = []
                while len(got) < 300:
                    got += decoder.feed(await asyncio.get_running_loop().sock_recv(peer, 100_000))
            assert sorted(got) == sorted(payloads * 3)
            assert conn.stats.sent.frames == 300
            peer.close()

    run(work())


def test_send_waits_for_a_peer_that_doesnt_read(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected()
        async with conn:
            count = 0

            async def send() -> None:
                nonlocal count
                for _ in range(1000):
                    await conn.send(bytes(100_000))
                    count += 1

            sending = asyncio.create_task(send())
            await asyncio.sleep(0.05)
            assert count < 200
            assert conn._inbox.transport.get_write_buffer_size() < 300_000
            before, queued = count, asyncio.create_task(conn.send(b"behind"))
            await take(peer, 1000 * 100_004 // 2)
            assert count > before
            await take(peer, 1000 * 100_004 // 2 + 10)
            await asyncio.gather(sending, queued)
            peer.close()

    run(work())


def test_payloads_that_cant_be_sent(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected(framing=FRAMING.replace(max_size=10))
        async with conn:
            with pytest.raises(ff.FrameTooLarge):
                await conn.send(bytes(11))
            with pytest.raises(TypeError):
                await conn.send("text")  # type: ignore[arg-type]
            with pytest.raises(ff.FrameTooLarge):
                await conn.send_many([b"1", bytes(11)])

            def lying() -> Any:
                yield from [b"a"] * 1025
                raise LookupError

            with pytest.raises(LookupError):
                await conn.send_many(lying())
            await conn.send_many([])
            await conn.send_many(iter([bytearray(b"b"), memoryview(b"c")]))
            assert conn.stats.sent.frames == 1026
            assert await take(peer, 5 * 1026) == wire(*[b"a"] * 1024, b"b", b"c")
            peer.close()

    run(work())


def test_half_close(run: Any) -> None:
    async def work() -> None:
        conn, peer = await connected()
        async with conn:
            while not conn._inbox._full:
                await conn.send(bytes(50_000))
            last = await waiting(conn.send(b"last"))
            ending = asyncio.create_task(conn.shutdown_send())
            data = await take(peer, 1 << 30)
            assert data.endswith(wire(b"last"))
            await asyncio.gather(last, ending)
            await conn.shutdown_send()
            for call in (conn.send(b"x"), conn.send_many([b"x"]), conn.send_many(iter([b"x"]))):
                with pytest.raises(ValueError, match="shut down"):
                    await call
            await give(peer, wire(b"still received"))
            assert await conn.recv() == b"still received"
            peer.close()

    run(work())


# --- Past the transport ----------------------------------------------------------------------------------------------


class Told(asyncio.Protocol):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")
        raise LookupError


class Turning:
    """A hub, in a turn or not."""

    def __init__(self) -> None:
        self.gathering: list[Direct] | None = None


def in_a_turn(engine: Any, *, lists: bool, framing: ff.Framing = FRAMING) -> tuple[Turning, Direct, Any, Any]:
    if os.name == "nt" or engine.__name__.endswith("_pure"):
        pytest.skip("nothing is gathered there")
    hub, (ours, peer) = Turning(), raw_pair("unix")
    peer.setblocking(False)
    outlet = Direct(hub, None, ours.fileno(), framing, None, None, None, lists)  # type: ignore[arg-type]
    hub.gathering = []
    return hub, outlet, ours, peer


def arrived(peer: Any) -> bytes:
    try:
        data: bytes = peer.recv(1 << 20)
    except BlockingIOError:
        return b""
    return data


@pytest.mark.parametrize("lists", [False, True])
def test_small_frames_of_a_turn_go_out_together(engine: Any, lists: bool) -> None:
    hub, outlet, ours, peer = in_a_turn(engine, lists=lists)
    with ours, peer:
        payloads = [b"one", b"two"]
        outlet.write_many(payloads)
        payloads.clear()
        assert arrived(peer) == (b"" if lists else wire(b"one", b"two"))
        outlet.write(b"three")
        outlet.write_many([b"four"])
        assert arrived(peer) == b""
        assert hub.gathering == [outlet]
        hub.gathering = None
        outlet.send_gathered()
        assert arrived(peer) == wire(*([b"one", b"two"] if lists else []), b"three", b"four")
        outlet.write(b"at once")
        assert arrived(peer) == wire(b"at once")


def test_what_isnt_small_bytes_goes_out_behind_what_was_gathered(engine: Any) -> None:
    _, outlet, ours, peer = in_a_turn(engine, lists=True)
    with ours, peer:
        large, changing = bytes(5000), bytearray(b"changing")
        for given in (large, changing, [b"x", large], (b"x", b"y"), iter([b"z"])):
            outlet.write(b"small")
            if isinstance(given, (bytes, bytearray)):
                outlet.write(given)
                assert arrived(peer) == wire(b"small", bytes(given))
            else:
                outlet.write_many(given)
                assert arrived(peer).startswith(wire(b"small"))
        for wrong in ("text", [b"x", "text"]):
            outlet.write(b"small")
            with pytest.raises(TypeError):
                (outlet.write if wrong == "text" else outlet.write_many)(wrong)  # type: ignore[operator]
            assert arrived(peer) == wire(b"small")


def test_what_is_gathered_is_sent_before_anything_is_told_or_changed(engine: Any) -> None:
    _, outlet, ours, peer = in_a_turn(engine, lists=True)
    with ours, peer:
        outlet.write(b"one")
        outlet.framing = ff.Netstring()
        outlet.write(b"two")
        assert arrived(peer) == wire(b"one")
        outlet.framing = FRAMING
        assert arrived(peer) == b"3:two,"
        outlet.write(b"three")
        assert outlet.stats.frames == 3
        outlet.write(b"four")
        assert outlet.pending == 0
        assert arrived(peer) == wire(b"three", b"four")
        outlet.write(b"five")
        done = list[str]()
        outlet.after(lambda: done.append("then"))
        assert (arrived(peer), done) == (wire(b"five"), ["then"])
        outlet.write_many([b"x"] * 300)
        assert arrived(peer) == wire(*[b"x"] * 300)
        outlet.write(b"dropped")
        outlet.stop()
        outlet.send_gathered()
        assert arrived(peer) == b""


def test_too_large_a_frame_is_refused_at_once(engine: Any) -> None:
    _, outlet, ours, peer = in_a_turn(engine, lists=True, framing=FRAMING.replace(max_size=4))
    with ours, peer:
        outlet.write(b"one")
        for refused in (lambda: outlet.write(b"12345"), lambda: outlet.write_many([b"two", b"12345"])):
            with pytest.raises(ff.FrameTooLarge):
                refused()
        assert arrived(peer) == wire(b"one")


def test_replies_one_by_one_go_out_together(run: Any, loop_kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lists: list[int] = []

    class Counted(_aio_sending.FrameWriter):  # type: ignore[misc,valid-type]
        def write_many(self, payloads: Any) -> Any:
            lists.append(len(payloads))
            return super().write_many(payloads)

    async def work() -> None:
        conn, peer = await connected("unix")
        async with conn:

            async def serve() -> None:
                async for frame in conn:
                    await conn.send(frame)

            task = asyncio.create_task(serve())
            await asyncio.sleep(0.01)
            sent = [b"%d" % number for number in range(100)]
            peer.sendall(wire(*sent))
            assert await take(peer, len(wire(*sent))) == wire(*sent)
            assert conn.stats.sent.frames == 100
            task.cancel()
            peer.close()

    gathers = loop_kind != "fed" and not _aio_sending.FrameWriter.__module__.endswith("_pure_writer")
    if gathers:
        monkeypatch.setattr(_aio_sending, "FrameWriter", Counted)
    run(work())
    if gathers:
        assert lists == [100]


def test_direct_outlet_pauses_drains_and_then_does_what_is_to_be_done(faults: list[dict[str, Any]]) -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: faults.append(context))
        ours, peer = raw_pair("tcp")
        for sock in (ours, peer):
            sock.setblocking(False)
        told, broken = Told(), list[OSError]()

        def watch(on: bool) -> None:
            if on:
                loop.add_writer(ours, outlet.writable)
            else:
                loop.remove_writer(ours)

        outlet = Direct(Turning(), loop, ours.fileno(), FRAMING, told, watch, broken.append, True)
        outlet.after(lambda: told.calls.append("nothing pends"))
        while not outlet.pending:
            outlet.write_many([bytes(1000)] * 100)
        outlet.framing = ff.Netstring()
        outlet.write(bytes(100_000))
        assert told.calls == ["nothing pends", "pause"]
        outlet.after(lambda: ours.shutdown(socket.SHUT_WR))
        data = await take(peer, 1 << 30)
        assert data.endswith(ff.Netstring().encode(bytes(100_000)))
        assert told.calls == ["nothing pends", "pause", "resume"]
        assert len(faults) == 1
        assert not outlet.pending
        assert not loop.remove_writer(ours)
        peer.close()
        outlet.write(b"nobody")
        outlet.write_many([b"nobody"])
        assert [error.errno for error in broken] == [errno.EPIPE]
        ours.close()

    if os.name == "nt":
        pytest.skip("only where the transport can be passed")
    asyncio.run(work())


def test_outlets_that_take_nothing() -> None:
    Outlet().write(b"x")
    Outlet().write_many([b"x"])
    refusing = Refusing("not now")
    for call in (lambda: refusing.write(b"x"), lambda: refusing.write_many([b"x"])):
        with pytest.raises(ValueError, match="not now"):
            call()


def test_encoding_outlet_writes_what_the_framing_makes() -> None:
    class Transport:
        written: list[bytes] = []
        write = written.append

    outlet = Encoding(Transport, FRAMING)
    outlet.write(b"1")
    outlet.framing = ff.Netstring()
    outlet.write_many([b"2", b"3"])
    with pytest.raises(TypeError):
        outlet.write_many([b"4", "5"])  # type: ignore[list-item]
    assert Transport.written == [wire(b"1"), b"1:2,1:3,"]
