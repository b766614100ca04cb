"""The functions of fastframe.asyncio: servers and clients of every kind, and what becomes of their handlers."""

import asyncio
import gc
import socket
from typing import Any

import pytest

import fastframe as ff
from asyncpairs import KINDS, Served, faults, loop_kind, on_engine, run, until
from connections import FRAMING, needs_unix
from fastframe import asyncio as ff_asyncio
from fastframe.asyncio import Connection, open_connection, open_unix_connection, start_server, start_unix_server

__all__ = ["faults", "loop_kind", "on_engine", "run"]  # the fixtures that pytest is to find here


def serving(client_connected: Any, **given: Any) -> Any:
    """What Served starts such a server by."""

    async def start(**how: Any) -> Any:
        return await start_server(client_connected, **{"framing": FRAMING, **given, **how})

    async def start_unix(**how: Any) -> Any:
        return await start_unix_server(client_connected, **{"framing": FRAMING, **given, **how})

    return start, start_unix


async def echo(conn: Connection) -> None:
    while True:
        await conn.send_many(await conn.recv_many())


def test_it_is_found_and_holds_what_it_names() -> None:
    assert ff.asyncio is ff_asyncio
    for name in ff_asyncio.__all__:
        assert hasattr(ff_asyncio, name)
    assert issubclass(ff_asyncio.FrameStreamReader, asyncio.StreamReader)


@pytest.mark.parametrize("kind", KINDS)
def test_echo_server(run: Any, kind: str) -> None:
    async def talk(served: Served, number: int) -> None:
        async with await served.client() as conn:
            payloads = [b"%d" % (number + n) * (n % 2000) for n in range(1000)]

            async def send() -> None:
                for payload in payloads[:500]:
                    await conn.send(payload)
                await conn.send_many(payloads[500:])

            sending = asyncio.create_task(send())
            got = [await conn.recv()]
            while len(got) < 1000:
                got += await conn.recv_many()
            await sending
            assert got == payloads

    async def work() -> None:
        async with Served(kind, *serving(echo)) as served:
            assert served.server.is_serving()
            await asyncio.gather(*(talk(served, number) for number in range(8)))

    run(work())


@pytest.mark.parametrize("kind", ["tcp", pytest.param("unix", marks=needs_unix)])
def test_all_answers_come_to_a_client_that_has_half_closed(run: Any, kind: str) -> None:
    async def work() -> None:
        async with Served(kind, *serving(echo)) as served:
            async with await served.client() as conn:
                await conn.send_many([b"%d" % n for n in range(5000)])
                await conn.shutdown_send()
                assert [frame async for frame in conn] == [b"%d" % n for n in range(5000)]

    run(work())


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="no eager tasks before Python 3.12")
@pytest.mark.parametrize("kind", KINDS)
def test_eager_tasks(run: Any, loop_kind: str, kind: str) -> None:
    if loop_kind == "uvloop":
        pytest.skip("not every uvloop can do that")

    async def greet(conn: Connection) -> None:
        await conn.send(b"hello")

    async def work() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        for handler, expected in ((greet, b"hello"), (echo, b"x")):
            async with Served(kind, *serving(handler)) as served:
                conn = await served.client()
                sending = asyncio.create_task(conn.send(b"x"))
                assert await conn.recv() == expected
                await sending
                await conn.close()
        await until(lambda: not ff_asyncio._tasks)

    run(work())


def test_two_framings(run: Any) -> None:
    async def work() -> None:
        async with Served("tcp", *serving(echo, framing=ff.Netstring(), send_framing=FRAMING)) as served:
            async with await served.client(FRAMING, send_framing=ff.Netstring()) as conn:
                await conn.send(b"there and back")
                assert await conn.recv() == b"there and back"

    run(work())


@pytest.mark.parametrize("kind", KINDS)
def test_handler_that_returns_closes_its_connection(run: Any, kind: str) -> None:
    async def greet(conn: Connection) -> None:
        await conn.send(b"hello")

    async def work() -> None:
        async with Served(kind, *serving(greet)) as served:
            async with await served.client() as conn:
                await conn.send_many([bytes(1000)] * 30)
                assert [frame async for frame in conn] == [b"hello"]
            await until(lambda: not ff_asyncio._tasks)

    run(work())


def test_plain_function_leaves_the_connection_to_others(run: Any) -> None:
    clients: list[Connection] = []

    async def work() -> None:
        async with Served("tcp", *serving(clients.append)) as served:
            async with await served.client() as conn:
                await conn.send(b"x")
                await until(lambda: clients)
                assert await clients[0].recv() == b"x"
                await clients[0].send(b"y")
                assert await conn.recv() == b"y"
            await clients[0].close()

    run(work())


@pytest.mark.parametrize("plain", [False, True])
def test_handler_that_raises_costs_its_connection_only(run: Any, faults: list[dict[str, Any]], plain: bool) -> None:
    async def fail(conn: Connection) -> None:
        await conn.recv()
        raise LookupError("mine")

    def fail_at_once(conn: Connection) -> None:
        raise LookupError("mine")

    async def work() -> None:
        async with Served("tcp", *serving(fail_at_once if plain else fail)) as served:
            for count in (1, 2):
                conn = await served.client()
                await conn.send(b"x")
                with pytest.raises(ff.ConnectionLost):
                    await conn.recv()
                await conn.close()
                await until(lambda count=count: len(faults) == count)
            assert [str(fault["exception"]) for fault in faults] == ["mine", "mine"]
            faults.clear()

    run(work())


def test_bad_frame_goes_to_the_exception_handler_once(run: Any, faults: list[dict[str, Any]]) -> None:
    async def work() -> None:
        async with Served("tcp", *serving(echo)) as served:
            with socket.create_connection(served.address) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
                await until(lambda: faults)
            (fault,) = faults
            assert isinstance(fault["exception"], ff.FrameTooLarge)
            assert "looks like HTTP" in str(fault["exception"])
            faults.clear()

    run(work())


def test_unclosed_connection_of_a_plain_function(run: Any) -> None:
    dropped: list[str] = []

    def drop(conn: Connection) -> None:
        dropped.append(repr(conn))

    async def work() -> None:
        async with Served("tcp", *serving(drop)) as served:
            conn = await served.client()
            await until(lambda: dropped)
            gc.collect()
            with pytest.raises(ff.ConnectionLost):
                await conn.recv()
            await conn.close()

    with pytest.warns(ResourceWarning, match="unclosed"):
        run(work())


def test_loop_ends_while_clients_are_served(run: Any) -> None:
    ends: list[str] = []

    async def wait(conn: Connection) -> None:
        try:
            await conn.recv()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async def cancelled() -> None:
        server = await start_server(wait, "127.0.0.1", 0, framing=FRAMING)
        conn = await open_connection(*server.sockets[0].getsockname(), framing=FRAMING)
        await until(lambda: ff_asyncio._tasks)
        for task in list(ff_asyncio._tasks):
            task.cancel()
        with pytest.raises(ff.ConnectionLost):
            await conn.recv()
        await conn.close()
        server.close()

    run(cancelled())
    assert ends == ["cancelled"]


def test_parameters_of_asyncio(run: Any) -> None:
    async def work() -> None:
        server = await start_server(echo, "127.0.0.1", 0, framing=FRAMING, backlog=5, start_serving=False)
        assert not server.is_serving()
        await server.start_serving()
        port = server.sockets[0].getsockname()[1]
        conn = await open_connection(
            "127.0.0.1", port, framing=FRAMING, family=socket.AF_INET, local_addr=("127.0.0.1", 0)
        )
        await conn.send(b"x")
        assert await conn.recv() == b"x"
        await conn.close()
        server.close()
        with pytest.raises(TypeError):
            await start_server(echo, "127.0.0.1", 0, framing=FRAMING, nonsense=1)

    run(work())


def test_misuse(run: Any) -> None:
    async def work() -> None:
        for call in (open_connection, open_unix_connection):
            with pytest.raises(TypeError):
                await call("x", framing=b"\n")  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                await call("x", framing=FRAMING, send_framing=4)  # type: ignore[arg-type]
        for start in (start_server, start_unix_server):
            with pytest.raises(TypeError):
                await start(echo, "x", framing=b"\n")  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                await start(None, "x", framing=FRAMING)  # type: ignore[arg-type]

    run(work())
