"""FrameStreamReader in the place of asyncio's StreamReader: the host's own tests, and what it does better."""

import asyncio
import random
import socket
import ssl
import sys
import unittest
from collections.abc import Callable, Coroutine
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastframe import _stream_reader
from fastframe._stream_reader import FrameStreamReader

LONG = 20.0


@pytest.fixture(autouse=True)
def on_engine(engine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stream_reader, "Decoder", engine.Decoder)


def run(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(main(), LONG))


class Transport:
    """Counts how often it is paused and resumed."""

    def __init__(self) -> None:
        self.paused = False
        self.pauses = 0

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True
        self.pauses += 1

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False


async def turn() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


# --- As the host -----------------------------------------------------------------------------------------------------


def test_the_hosts_own_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = pytest.importorskip("test.test_asyncio.test_streams", reason="this Python comes without its tests")
    monkeypatch.setattr(asyncio, "StreamReader", FrameStreamReader)
    monkeypatch.setattr(asyncio.streams, "StreamReader", FrameStreamReader)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(hosts.StreamTests).run(result)
    assert [f"{test}: {text}" for test, text in result.failures + result.errors] == []
    assert result.testsRun - len(result.skipped) > 40


ENDS = st.sampled_from(
    [b"\n", b"\r\n", b"ab", b"aab", (b"\n", b"\r\n"), (b"a", b"ba"), (b"b", b"abc", b"\n"), bytearray(b"b")]
)
CALLS = st.one_of(
    st.tuples(st.just("feed"), st.text("ab\r\nx", max_size=12).map(str.encode)),
    st.tuples(st.just("readexactly"), st.integers(0, 9)),
    st.tuples(st.just("read"), st.integers(0, 9)),
    st.tuples(st.just("readuntil"), ENDS),
    st.tuples(st.just("readline")),
)


async def said(reader: asyncio.StreamReader, call: tuple[Any, ...]) -> Any:
    """What a call gives or raises, None if it waits."""
    name, *args = call
    if name == "feed":
        return reader.feed_data(*args)
    task = asyncio.ensure_future(getattr(reader, name)(*args))
    await turn()
    if not task.done():
        task.cancel()
        await asyncio.wait([task])
        return None
    error = task.exception()
    if error is None:
        return task.result()
    facts = [getattr(error, fact, None) for fact in ("partial", "expected", "consumed")]
    return type(error), str(error), facts


@pytest.mark.skipif(sys.version_info < (3, 13), reason="the host takes several separators from 3.13 on")
@given(st.lists(CALLS, max_size=20), st.integers(1, 8))
def test_any_calls_do_what_the_hosts_do(calls: list[tuple[Any, ...]], limit: int) -> None:
    async def main() -> None:
        own, host = FrameStreamReader(limit), asyncio.StreamReader(limit)
        for call in calls:
            answer = await said(host, call)
            assert await said(own, call) == answer
            if call == ("readline",) and isinstance(answer, tuple):
                return  # of a line over the limit more is dropped
        for reader in (own, host):
            reader.feed_eof()
        assert await said(own, ("read", -1)) == await said(host, ("read", -1))
        assert own.at_eof()
        assert host.at_eof()

    run(main)


@pytest.mark.parametrize("separator", [b"", (), (b"a", b"")])
def test_no_separator_is_a_value_error(separator: Any) -> None:
    async def main() -> None:
        reader = FrameStreamReader()
        with pytest.raises(ValueError, match="Separator"):
            await reader.readuntil(separator)

    run(main)


@pytest.mark.parametrize("separator", ["\n", 1, None])
def test_what_is_no_bytes_is_no_separator(separator: Any) -> None:
    async def main() -> None:
        reader = FrameStreamReader()
        with pytest.raises(TypeError):
            await reader.readuntil(separator)

    run(main)


def test_two_that_wait_are_an_error() -> None:
    async def main() -> None:
        reader = FrameStreamReader()
        first = asyncio.ensure_future(reader.readexactly(2))
        await turn()
        with pytest.raises(RuntimeError, match="already waiting"):
            await reader.readline()
        reader.feed_data(b"ab")
        assert await first == b"ab"

    run(main)


def test_a_buffer_that_changes_later_was_copied() -> None:
    async def main() -> None:
        reader = FrameStreamReader()
        data = bytearray(b"abcd")
        reader.feed_data(data)
        data[:] = b"xxxx"
        reader.feed_data(memoryview(b"efgh")[::2])
        assert await reader.readexactly(6) == b"abcdeg"

    run(main)


# --- Flow control ----------------------------------------------------------------------------------------------------


def test_the_transport_is_paused_beyond_twice_the_limit_and_resumed_at_the_limit() -> None:
    async def main() -> None:
        reader, transport = FrameStreamReader(10), Transport()
        reader.set_transport(transport)
        reader.feed_data(bytes(20))
        assert not transport.paused
        reader.feed_data(b"x")
        assert transport.paused
        await reader.readexactly(10)
        assert transport.paused
        await reader.readexactly(1)
        assert not transport.paused

    run(main)


def test_a_transport_that_cannot_be_paused_is_asked_once() -> None:
    class Unpausable(Transport):
        def pause_reading(self) -> None:
            self.pauses += 1
            raise NotImplementedError

    async def main() -> None:
        reader, transport = FrameStreamReader(1), Unpausable()
        reader.set_transport(transport)
        for _ in range(3):
            reader.feed_data(bytes(9))
        assert transport.pauses == 1
        assert await reader.readexactly(27) == bytes(27)

    run(main)


@pytest.mark.parametrize("call", [("readexactly", 100), ("read", -1)])
def test_who_waits_for_more_than_the_limit_is_woken_once(call: tuple[str, int]) -> None:
    async def main() -> None:
        reader, transport = FrameStreamReader(3), Transport()
        reader.set_transport(transport)
        reader.feed_data(bytes(7))
        assert transport.paused
        task = asyncio.ensure_future(getattr(reader, call[0])(call[1]))
        await turn()
        waiter = reader._waiter
        assert waiter is not None
        for _ in range(92):
            assert not transport.paused
            reader.feed_data(b"\0")
            await asyncio.sleep(0)
            assert reader._waiter is waiter
        reader.feed_data(b"\0")
        reader.feed_eof()
        assert await task == bytes(100)
        assert transport.pauses <= 2

    run(main)


# --- Nothing is lost -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [("readexactly", 9), ("read", -1), ("readuntil", b"\n"), ("readline",)], ids=str)
def test_a_cancelled_read_leaves_the_bytes(call: tuple[Any, ...]) -> None:
    async def main() -> None:
        reader = FrameStreamReader(100)
        reader.feed_data(b"abc")
        task = asyncio.ensure_future(getattr(reader, call[0])(*call[1:]))
        await turn()
        reader.feed_data(b"def")
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        reader.feed_data(b"gh\n")
        assert await reader.readexactly(9) == b"abcdefgh\n"

    run(main)


def test_a_read_that_is_cancelled_in_the_turn_its_bytes_arrive_leaves_them() -> None:
    async def main() -> None:
        reader = FrameStreamReader()
        task = asyncio.ensure_future(reader.readexactly(4))
        await turn()
        reader.feed_data(b"abcd")
        task.cancel()
        await asyncio.wait([task])
        assert await reader.readexactly(4) == b"abcd"

    run(main)


def test_random_timeouts_lose_no_byte() -> None:
    chance = random.Random(7)
    frames = [chance.randbytes(chance.randint(1, 40)) for _ in range(500)]
    stream = b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)

    async def patiently(call: Callable[[], Coroutine[Any, Any, bytes]]) -> bytes:
        while True:
            task = asyncio.ensure_future(call())
            for _ in range(chance.randint(1, 4)):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                return task.result()

    async def main() -> None:
        reader = FrameStreamReader(64)

        async def feed() -> None:
            at = 0
            while at < len(stream):
                step = chance.randint(1, 30)
                reader.feed_data(stream[at : at + step])
                at += step
                await asyncio.sleep(0)

        feeding = asyncio.ensure_future(feed())
        for frame in frames:
            size = int.from_bytes(await patiently(lambda: reader.readexactly(4)), "big")
            assert await patiently(lambda size=size: reader.readexactly(size)) == frame
        await feeding

    run(main)


def test_an_exception_leaves_the_bytes_of_a_read_to_the_end() -> None:
    async def main() -> None:
        reader = FrameStreamReader()
        task = asyncio.ensure_future(reader.read())
        reader.feed_data(b"abc")
        await turn()
        reader.set_exception(ConnectionResetError())
        with pytest.raises(ConnectionResetError):
            await task
        assert isinstance(reader.exception(), ConnectionResetError)
        assert bytes(reader._buffer) == b"abc"

    run(main)


@pytest.mark.parametrize("size", [1, 3, 50])
def test_the_rest_of_a_line_over_the_limit_is_no_line(size: int) -> None:
    async def main() -> None:
        reader = FrameStreamReader(10)
        stream = b"x" * 40 + b"DELETE\n" + b"next\n" + b"y" * 11 + b"\nlast"
        lines: list[bytes] = []
        errors = 0
        task: asyncio.Future[bytes] | None = None
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        for piece in (*pieces, None):
            if piece is None:
                reader.feed_eof()
            else:
                reader.feed_data(piece)
            while True:
                task = asyncio.ensure_future(reader.readline()) if task is None else task
                await turn()
                if not task.done():
                    break
                if task.exception() is None:
                    lines.append(task.result())
                else:
                    assert isinstance(task.exception(), ValueError)
                    errors += 1
                task = None
                if lines and not lines[-1]:
                    break
        assert lines == [b"next\n", b"last", b""]
        assert errors == 2

    run(main)


def test_the_rest_of_a_line_over_the_limit_that_ends_with_the_stream() -> None:
    async def main() -> None:
        reader = FrameStreamReader(3)
        reader.feed_data(b"12345")
        with pytest.raises(ValueError, match="limit"):
            await reader.readline()
        reader.feed_data(b"6789")
        reader.feed_eof()
        assert await reader.readline() == b""
        assert reader.at_eof()

    run(main)


def test_another_read_gets_the_rest_of_a_line_over_the_limit() -> None:
    async def main() -> None:
        reader = FrameStreamReader(3)
        reader.feed_data(b"12345")
        with pytest.raises(ValueError, match="limit"):
            await reader.readline()
        reader.feed_data(b"67\n8\n")
        assert await reader.readexactly(3) == b"67\n"
        assert await reader.readline() == b"8\n"

    run(main)


# --- In the host's place ---------------------------------------------------------------------------------------------


async def serve(
    client: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]],
) -> asyncio.Server:
    """A server whose connections have a FrameStreamReader."""
    loop = asyncio.get_running_loop()

    def protocol() -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(FrameStreamReader(loop=loop), client, loop=loop)

    return await loop.create_server(protocol, "127.0.0.1", 0)


async def connect(address: tuple[str, int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = FrameStreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.create_connection(lambda: protocol, *address)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def test_frames_go_and_come_back_over_tcp() -> None:
    chance = random.Random(3)
    frames = [chance.randbytes(chance.choice([0, 5, 64, 3000, 300_000])) for _ in range(60)]

    rests: list[bytes] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(reader, FrameStreamReader)
        try:
            while True:
                size = await reader.readexactly(4)
                writer.write(size + await reader.readexactly(int.from_bytes(size, "big")))
                await writer.drain()
        except asyncio.IncompleteReadError as error:
            rests.append(error.partial)
        writer.close()

    async def main() -> None:
        server = await serve(echo)
        async with server:
            reader, writer = await connect(server.sockets[0].getsockname())

            async def send() -> None:
                for frame in frames:
                    writer.write(len(frame).to_bytes(4, "big") + frame)
                    await writer.drain()
                writer.write_eof()

            sending = asyncio.ensure_future(send())
            for frame in frames:
                size = int.from_bytes(await reader.readexactly(4), "big")
                assert await reader.readexactly(size) == frame
            assert await reader.read() == b""
            assert reader.at_eof()
            await sending
            writer.close()
            await writer.wait_closed()
        assert rests == [b""]

    run(main)


def test_lines_by_iteration_over_tcp() -> None:
    lines = [b"%d\n" % number * (number % 50) for number in range(300)]
    whole = b"".join(lines)

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(whole)
        writer.close()

    async def main() -> None:
        server = await serve(send)
        async with server:
            reader, writer = await connect(server.sockets[0].getsockname())
            assert [line async for line in reader] == whole.splitlines(keepends=True)
            writer.close()
            await writer.wait_closed()

    run(main)


def test_a_reset_is_raised_by_the_next_read() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            reader, writer = await connect(listener.getsockname())
            peer, _ = listener.accept()
            writer.write(b"unread")
            await turn()
            task = asyncio.ensure_future(reader.readexactly(1))
            await turn()
            peer.close()
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await task
            writer.close()
            try:
                await writer.wait_closed()
            except ConnectionError:
                pass

    run(main)


def test_a_host_that_starts_tls_finds_the_bytes_held() -> None:
    """What newer versions of the host do with its own reader's buffer when a server starts TLS."""

    async def main() -> None:
        reader = FrameStreamReader()
        reader.feed_data(b"hello")
        assert await reader.readexactly(1) == b"h"
        incoming = ssl.MemoryBIO()
        buffer = reader._buffer
        assert len(buffer) == 4
        incoming.write(buffer)
        buffer.clear()
        assert incoming.read() == b"ello"
        assert repr(reader) == "<StreamReader>"
        reader.feed_data(b"more")
        assert await reader.readexactly(4) == b"more"

    run(main)
