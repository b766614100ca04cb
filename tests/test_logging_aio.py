"""Records in an event loop: what comes is handled, and what is no record costs itself alone."""

import asyncio
import logging
import logging.handlers
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from typing import Any

import pytest

import fastframe as ff
from asyncpairs import attached, faults, give, loop_kind, on_engine, run, take, until
from fastframe import _logging_aio
from fastframe._journal import LINES_A_SECOND, Journal
from fastframe.logging import RecordProtocol, SocketHandler, start_server

__all__ = ["faults", "loop_kind", "on_engine", "run"]  # the fixtures that pytest is to find here

FRAMING = ff.preset("logging_socket")


def frame(message: str = "hello") -> bytes:
    record = logging.LogRecord("app.part", logging.WARNING, "/srv/part.py", 7, message, (), None, "greet")
    return logging.handlers.SocketHandler("", 0).makePickle(record)


@pytest.fixture(autouse=True)
def journal(monkeypatch: pytest.MonkeyPatch) -> Journal:
    """One that hasn't said anything in this second."""
    journal = Journal(time.monotonic)
    monkeypatch.setattr(_logging_aio, "_journal", journal)
    return journal


class Records:
    """Keeps the messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def __call__(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        f"{record.levelname} {record.getMessage()}" for record in caplog.records if record.name == "fastframe.server"
    ]


@asynccontextmanager
async def serving(handle: Callable[[logging.LogRecord], object] | None, **given: Any) -> AsyncIterator[tuple[str, int]]:
    server = await start_server("127.0.0.1", 0, handle=handle, **given)
    try:
        yield server.sockets[0].getsockname()
    finally:
        server.close()


@pytest.mark.parametrize("sender", [logging.handlers.SocketHandler, SocketHandler])
def test_records_of_several_clients(run: Any, sender: Any) -> None:
    records = Records()

    def send(address: tuple[str, int], name: str) -> None:
        with closing(sender(*address)) as handler:
            for i in range(100):
                handler.emit(
                    logging.makeLogRecord({"name": "x", "levelno": 20, "levelname": "INFO", "msg": f"{name}{i}"})
                )

    async def work() -> None:
        async with serving(records) as address:
            await asyncio.gather(*[asyncio.to_thread(send, address, name) for name in "ab"])
            await until(lambda: len(records.messages) == 200)
        for name in "ab":
            assert [text for text in records.messages if text[0] == name] == [f"{name}{i}" for i in range(100)]

    run(work())


@pytest.mark.parametrize("bad", [b"", b"{", b"cos\nsystem\n(S'true'\ntR.", b"]."])
def test_a_bad_record_costs_itself_alone_and_is_told(run: Any, bad: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastframe.server")
    records = Records()

    async def work() -> int:
        _, peer = await attached(RecordProtocol(records))  # type: ignore[arg-type]
        await give(peer, frame("first") + FRAMING.encode(bad) + frame("second"))
        await until(lambda: len(records.messages) == 2)
        await give(peer, FRAMING.encode(bad) + frame("third"))
        await until(lambda: len(records.messages) == 3)
        port: int = peer.getsockname()[1]
        peer.close()
        return port

    port = run(work())
    assert records.messages == ["first", "second", "third"]
    lines = told(caplog)
    assert len(lines) == 2
    for line in lines:
        assert line.startswith(f"WARNING client 127.0.0.1:{port}: skipped: BadRecord: ")


def test_a_record_that_is_too_large_closes_its_client_and_is_told(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastframe.server")
    records = Records()
    largest, larger = frame("x" * 1000), frame("x" * 1001)
    limit = len(largest) - 4

    async def work() -> None:
        _, peer = await attached(RecordProtocol(records, max_size=limit))  # type: ignore[arg-type]
        await give(peer, largest + larger)
        assert await take(peer, 1) == b""
        peer.close()
        await until(lambda: told(caplog))

    run(work())
    assert records.messages == ["x" * 1000]
    (line,) = told(caplog)
    assert f"FrameTooLarge: frame of {limit + 1} bytes, limit {limit}" in line


def test_who_handles_and_raises_costs_that_client(run: Any, faults: list[dict[str, Any]]) -> None:
    def handle(record: logging.LogRecord) -> None:
        raise RuntimeError("by its own fault")

    async def work() -> None:
        _, peer = await attached(RecordProtocol(handle))  # type: ignore[arg-type]
        await give(peer, frame())
        await until(lambda: faults)
        peer.close()

    run(work())
    assert str(faults.pop()["exception"]) == "by its own fault"


def test_a_flood_of_bad_records_is_told_at_a_limited_rate_and_stops_nobody(
    run: Any, caplog: pytest.LogCaptureFixture, journal: Journal
) -> None:
    caplog.set_level(logging.INFO, "fastframe.server")
    journal._clock = lambda: 5.0
    records = Records()
    flood = FRAMING.encode_many([bytes(1000)] * 100)

    async def pour(peer: socket.socket, enough: asyncio.Event) -> None:
        rounds = 0
        while not enough.is_set():
            await give(peer, flood)
            await asyncio.sleep(0)
            rounds += 1
        await give(peer, frame("behind"))
        await until(lambda: "behind" in records.messages)
        assert len(told(caplog)) == LINES_A_SECOND
        assert journal._unsaid == 100 * rounds - LINES_A_SECOND

    async def work() -> None:
        _, peer = await attached(RecordProtocol(records))  # type: ignore[arg-type]
        _, other = await attached(RecordProtocol(records))  # type: ignore[arg-type]
        enough = asyncio.Event()
        pouring = asyncio.create_task(pour(peer, enough))
        for i in range(10):
            await give(other, frame(str(i)))
            await until(lambda: str(i) in records.messages)  # noqa: B023
        enough.set()
        await pouring
        other.close()
        peer.close()

    run(work())
    assert records.messages == [*map(str, range(10)), "behind"]


def test_a_flood_of_bad_clients_is_told_at_a_limited_rate(
    run: Any, caplog: pytest.LogCaptureFixture, journal: Journal
) -> None:
    caplog.set_level(logging.INFO, "fastframe.server")
    journal._clock = lambda: 5.0

    async def work() -> None:
        for _ in range(3 * LINES_A_SECOND):
            _, peer = await attached(RecordProtocol(print))  # type: ignore[arg-type]
            await give(peer, b"\xff" * 4)
            assert await take(peer, 1) == b""
            peer.close()
        await until(lambda: journal._unsaid == 2 * LINES_A_SECOND)

    run(work())
    assert len(told(caplog)) == LINES_A_SECOND


def test_a_normal_end_is_not_told(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastframe.server")
    records = Records()

    async def work() -> None:
        protocol, peer = await attached(RecordProtocol(records))  # type: ignore[arg-type]
        await give(peer, frame())
        peer.close()
        await until(lambda: protocol.transport.is_closing() and records.messages)

    run(work())
    assert told(caplog) == []


def test_by_default_a_record_goes_to_the_logger_of_its_name(run: Any) -> None:
    records = Records()
    logger = logging.getLogger("app.part")
    handler = logging.Handler()
    handler.emit = records  # type: ignore[method-assign]
    logger.addHandler(handler)

    async def work() -> None:
        async with serving(None) as address:
            with closing(SocketHandler(*address, format="json")) as sender:
                record = logging.makeLogRecord({"name": "app.part", "levelno": 1, "levelname": "LOW", "msg": "hello"})
                await asyncio.to_thread(sender.emit, record)
            await until(lambda: records.messages)

    try:
        run(work())
    finally:
        logger.removeHandler(handler)
    assert records.messages == ["hello"]


def test_what_cannot_be_meant_is_refused_at_once(run: Any) -> None:
    async def later(record: logging.LogRecord) -> None:
        """Nobody would await it."""

    async def work() -> None:
        for wrong in (5, later):
            with pytest.raises(TypeError):
                await start_server("127.0.0.1", 0, handle=wrong)  # type: ignore[arg-type]
        with pytest.raises(ValueError):
            await start_server("127.0.0.1", 0, max_size=-1)

    run(work())
