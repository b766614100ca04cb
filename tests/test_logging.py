"""Records from one process to another: the host's handler and ours, at the cookbook's receiver and at ours."""

import datetime
import logging
import logging.handlers
import os
import pickle
import re
import socket
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import fastframe as ff
import fastframe.logging
from connections import needs_unix
from fastframe._journal import LINES_A_SECOND, Journal
from fastframe.logging import BadRecord, RecordServer, SocketHandler
from logs import FRAMING, LARGEST, Received, cookbook, good, made, ours, send, told
from servers import LONG, on_engine, received
from tlspairs import contexts

__all__ = ["on_engine"]  # the fixture that pytest is to find here


# --- Either end may be the host's ------------------------------------------------------------------------------------


@pytest.mark.parametrize("receiver", [ours, cookbook])
@pytest.mark.parametrize("sender", [logging.handlers.SocketHandler, SocketHandler])
def test_either_end_may_be_the_hosts(receiver: Any, sender: Any) -> None:
    records = Received()
    sent = [made(f"record {i} %s", "x" * i, user="me", tags=["a", {"b": (i,)}]) for i in (0, 1, 255, 5000, 500_000)]
    with receiver(records.put) as address, closing(sender(*address)) as handler:
        for record in sent:
            handler.emit(record)
        for record in sent:
            assert records.next().__dict__ == record.__dict__ | {"msg": record.getMessage(), "args": None}


def test_json_says_the_same() -> None:
    records = Received()
    sent = [made(user="me", tags=["a", {"b": 1}]), made("in %s", Path("srv"))]
    with ours(records.put) as address, closing(SocketHandler(*address, format="json")) as handler:
        for record in sent:
            handler.emit(record)
        for record in sent:
            assert records.next().__dict__ == record.__dict__ | {"msg": record.getMessage(), "args": None}


@needs_unix
@pytest.mark.parametrize("sender", [logging.handlers.SocketHandler, SocketHandler])
def test_a_unix_socket(sender: Any, tmp_path: Path) -> None:
    records = Received()
    path = str(tmp_path / "socket")
    with RecordServer(path, handle=records.put) as server, closing(sender(path, None)) as handler:
        assert server.address == path
        handler.emit(made())
        assert records.next().getMessage() == "hello"
    assert not os.path.exists(path)


def test_loggers_at_both_ends() -> None:
    """From a logger in another process to the logger of its name here, with its exception's traceback."""
    records = Received()
    logger = logging.getLogger("fastframe.tests.far")
    handler = logging.Handler()
    handler.emit = records.put  # type: ignore[method-assign]
    logger.addHandler(handler)
    logger.propagate = False
    script = """if True:
        import logging, sys
        from fastframe.logging import SocketHandler
        logger = logging.getLogger("fastframe.tests.far")
        logger.addHandler(SocketHandler("127.0.0.1", int(sys.argv[1]), format=sys.argv[2]))
        try:
            {}["lost"]
        except KeyError:
            logger.exception("failed at %s", 5)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        with RecordServer(("127.0.0.1", 0)) as server:
            for form in ("pickle", "json"):
                command = [sys.executable, "-W", "error", "-c", script, str(server.address[1]), form]
                subprocess.run(command, env=environment, check=True, timeout=LONG)
                record = records.next()
                assert (record.getMessage(), record.levelname, record.args) == ("failed at 5", "ERROR", None)
                assert record.exc_text is not None
                assert "KeyError: 'lost'" in logging.Formatter("%(message)s").format(record)
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


# --- The receiver ----------------------------------------------------------------------------------------------------


class Boom:
    def __reduce__(self) -> Any:
        return os._exit, (1,)


def second(server: RecordServer, now: float) -> None:
    """For what the server says, it is this second."""
    journal(server)._clock = lambda: now


def journal(server: RecordServer) -> Journal:
    return server._server._work.loop.log  # type: ignore[union-attr]


BAD = {
    "a call": pickle.dumps({"name": "x", "msg": Boom()}),
    "no record": pickle.dumps([1]),
    "noise": b"\xff" * 100,
    "nothing": b"",
    "json": b"{",
    "an extra that isn't plain": logging.handlers.SocketHandler("", 0).makePickle(
        made(when=datetime.datetime(2026, 1, 1))
    )[4:],
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_costs_itself_alone_and_is_told(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastframe.server")
    records = Received()
    with RecordServer(("127.0.0.1", 0), handle=records.put) as server:
        with socket.create_connection(server.address, timeout=LONG) as sock:
            port = sock.getsockname()[1]
            sock.sendall(FRAMING.encode_many([good("first"), BAD[name], good("second")]))
            assert [records.next().msg, records.next().msg] == ["first", "second"]
            sock.sendall(FRAMING.encode_many([BAD[name], good("third")]))
            assert records.next().msg == "third"
            sock.shutdown(socket.SHUT_WR)
            assert received(sock, 1) == b""
    lines = told(caplog)
    assert len(lines) == 2
    for line in lines:
        assert line.startswith(f"WARNING client 127.0.0.1:{port}: skipped: BadRecord: ")
    assert records.empty
    assert (server.stats.failed, server.stats.finished) == (0, 1)


def test_a_record_that_is_too_large_closes_its_client_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastframe.server")
    records = Received()
    largest = good("x" * 5000)
    with RecordServer(("127.0.0.1", 0), handle=records.put, max_size=len(largest)) as server:
        with closing(logging.handlers.SocketHandler(*server.address)) as other:
            send(server.address, largest, good("x" * 5001))
            assert records.next().msg == "x" * 5000
            other.emit(made("after"))
            assert records.next().msg == "after"
    (line,) = told(caplog)
    assert f"FrameTooLarge: frame of {len(largest) + 1} bytes, limit {len(largest)}" in line


def test_the_limit_is_a_mebibyte() -> None:
    with RecordServer(("127.0.0.1", 0), handle=print) as server, socket.create_connection(server.address) as sock:
        sock.settimeout(LONG)
        sock.sendall((LARGEST + 1).to_bytes(4, "big"))
        assert received(sock, 1) == b""


def test_a_flood_of_bad_records_is_told_at_a_limited_rate_and_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastframe.server")
    records = Received()
    enough = threading.Event()
    flood = FRAMING.encode_many([bytes(1000)] * 100)

    def pour(sock: socket.socket) -> None:
        while not enough.is_set():
            sock.sendall(flood)
        sock.sendall(flood + FRAMING.encode(good("behind")))

    with RecordServer(("127.0.0.1", 0), handle=records.put) as server:
        second(server, 5)
        with closing(SocketHandler(*server.address)) as other, socket.create_connection(server.address, LONG) as sock:
            thread = threading.Thread(target=pour, args=(sock,))
            thread.start()
            try:
                for i in range(10):
                    other.emit(made(str(i)))
                    assert records.next().msg == str(i)
            finally:
                enough.set()
                thread.join()
            assert records.next().msg == "behind"
            assert len(told(caplog)) == LINES_A_SECOND
            second(server, 6)
            sock.sendall(FRAMING.encode_many([b"bad", good("last")]))
            assert records.next().msg == "last"
    assert server.stats.failed == 0
    more, one = told(caplog)[LINES_A_SECOND:]
    assert re.fullmatch(r"INFO \d{3,} more like these", more)
    assert ": skipped: BadRecord: " in one


def test_a_bad_record_that_nobody_wants_to_know_of_is_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "fastframe.server")

    def handle(record: logging.LogRecord) -> None:
        raise RuntimeError("by its own fault")

    with RecordServer(("127.0.0.1", 0), handle=handle) as server:
        second(server, 5)
        send(server.address, *[b"bad"] * 2 * LINES_A_SECOND, good())
    (line,) = told(caplog)
    assert line.startswith("ERROR ")


def test_what_it_says_may_be_sent_to_it(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing that its logger says is a bad record: it would be told again, and so on."""
    caplog.set_level(logging.INFO, "fastframe.server")
    logger = logging.getLogger("fastframe.server")
    records = Received()

    def handle(record: logging.LogRecord) -> None:
        records.put(record)
        if record.msg == "raise":
            raise RuntimeError("by its own fault")

    with RecordServer(("127.0.0.1", 0), handle=handle) as server, closing(SocketHandler(*server.address)) as handler:
        second(server, 5)
        logger.addHandler(handler)
        try:
            send(server.address, *BAD.values(), good("raise"))
            came = [records.next() for _ in range(len(BAD) + 3)]
        finally:
            logger.removeHandler(handler)
    assert [f"{one.levelname} {one.msg}" for one in came if one.name == "fastframe.server"] == told(caplog)
    assert [one.levelname for one in came if ": skipped: BadRecord: " in one.msg] == ["WARNING"] * len(BAD)
    assert ["by its own fault" in (one.exc_text or "") for one in came].count(True) == 1
    assert records.empty


def test_what_it_says_badly_to_itself_comes_to_an_end(caplog: pytest.LogCaptureFixture) -> None:
    """A line of its own that is a bad record makes another line: no more than are said in a second."""
    caplog.set_level(logging.INFO, "fastframe.server")
    logger = logging.getLogger("fastframe.server")

    asked = threading.Semaphore(0)

    def clock() -> float:
        asked.release()
        return 5

    def spoil(record: logging.LogRecord) -> bool:
        record.when = datetime.datetime(2026, 1, 1)
        return True

    with RecordServer(("127.0.0.1", 0), handle=print) as server, closing(SocketHandler(*server.address)) as handler:
        journal(server)._clock = clock
        handler.addFilter(spoil)
        logger.addHandler(handler)
        try:
            send(server.address, b"bad")
            assert all(asked.acquire(timeout=LONG) for _ in range(LINES_A_SECOND + 1))
        finally:
            logger.removeHandler(handler)
    assert journal(server)._unsaid == 1
    assert [": skipped: BadRecord: " in line for line in told(caplog)] == [True] * LINES_A_SECOND


def test_a_short_read_is_no_end() -> None:
    """The cookbook's receiver takes it for one."""
    records = Received()
    with ours(records.put) as address, socket.create_connection(address) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in FRAMING.encode(good("in pieces")):
            sock.send(bytes([byte]))
        assert records.next().msg == "in pieces"


def test_a_client_that_ends_inside_a_record_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastframe.server")
    with ours(print) as address, socket.create_connection(address, timeout=LONG) as sock:
        sock.sendall(FRAMING.encode(good())[:-1])
        sock.shutdown(socket.SHUT_WR)
        assert received(sock, 1) == b""
    (line,) = told(caplog)
    assert "TruncatedFrame" in line


def test_who_handles_and_raises_costs_that_client_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    records = Received()

    def handle(record: logging.LogRecord) -> None:
        if record.msg == "bad":
            raise RuntimeError("by its own fault")
        records.put(record)

    with ours(handle) as address:
        send(address, good("first"), good("bad"), good("never"))
        send(address, good("other"))
        assert [records.next().msg, records.next().msg] == ["first", "other"]
    assert records.empty
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "by its own fault"


def test_what_has_come_is_handled_before_it_closes() -> None:
    records = Received()
    with RecordServer(("127.0.0.1", 0), handle=records.put) as server:
        with socket.create_connection(server.address, timeout=LONG) as sock:
            sock.sendall(FRAMING.encode_many([good(str(i)) for i in range(1000)]))
            assert records.next().msg == "0"
            sock.shutdown(socket.SHUT_WR)
            assert received(sock, 1) == b""
    assert [records.next().msg for _ in range(999)] == [str(i) for i in range(1, 1000)]


def test_over_tls() -> None:
    """A sender's makeSocket is where TLS comes in."""
    records = Received()
    client, server_side = contexts()

    class Secured(SocketHandler):
        def makeSocket(self, timeout: float = 1) -> socket.socket:
            return client.wrap_socket(super().makeSocket(LONG), server_hostname="localhost")

    with ours(records.put, ssl=server_side) as address, closing(Secured(*address)) as handler:
        for message in ("first", "x" * 100_000):
            handler.emit(made(message))
            assert records.next().msg == message


def test_it_closes_at_once_twice_and_from_inside() -> None:
    server = RecordServer(("127.0.0.1", 0))
    server.close()
    server.close()
    closed = threading.Event()

    def handle(record: logging.LogRecord) -> None:
        server.close()
        closed.set()

    with RecordServer(("127.0.0.1", 0), handle=handle) as server:
        send(server.address, good())
        assert closed.wait(LONG)
    with pytest.raises(OSError):
        socket.create_connection(server.address, timeout=LONG)


def test_it_closes_before_it_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = threading.Event()

    class Late(ff.Server):
        def serve_forever(self) -> None:
            assert closed.wait(LONG)
            super().serve_forever()

        def close(self) -> None:
            super().close()
            closed.set()

    monkeypatch.setattr(fastframe.logging, "Server", Late)
    RecordServer(("127.0.0.1", 0)).close()


def test_what_ends_its_thread_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Any] = []
    error = ValueError("by its own fault")

    class Failing(ff.Server):
        def serve_forever(self) -> None:
            raise error

    monkeypatch.setattr(fastframe.logging, "Server", Failing)
    monkeypatch.setattr(threading, "excepthook", heard.append)
    server = RecordServer(("127.0.0.1", 0))
    server._thread.join(LONG)
    server.close()
    assert [one.exc_value for one in heard] == [error]


def test_what_cannot_be_meant_is_refused_at_once() -> None:
    async def later(record: logging.LogRecord) -> None:
        """Nobody would await it."""

    for wrong in ({"handle": 5}, {"handle": later}, {"limits": 5}, {"ssl": 5}, {"max_size": "1"}):
        with pytest.raises(TypeError):
            RecordServer(("127.0.0.1", 0), **wrong)
    for address in ("localhost:9020",):
        with pytest.raises((ValueError, OSError)):
            RecordServer(address)
    with pytest.raises(ValueError):
        RecordServer(("127.0.0.1", 0), max_size=-1)


# --- The module ------------------------------------------------------------------------------------------------------


def test_asyncio_is_imported_by_those_who_want_it() -> None:
    script = """if True:
        import sys, fastframe.logging
        fastframe.logging.SocketHandler("", 0)
        assert "asyncio" not in sys.modules
        assert fastframe.logging.RecordProtocol.__name__ == "RecordProtocol"
        assert "asyncio" in sys.modules
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=LONG)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        fastframe.logging.Nothing  # noqa: B018


def test_all_that_it_names_is_there() -> None:
    for name in fastframe.logging.__all__:
        assert getattr(fastframe.logging, name)
    assert issubclass(BadRecord, ff.FrameError)
