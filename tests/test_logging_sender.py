"""The handler that sends records: what it sends, and what it does when it can't."""

import errno
import logging
import logging.handlers
import os
import socket
import subprocess
import sys
from contextlib import closing
from typing import Any

import pytest

import fastframe as ff
import fastframe.logging
from connections import needs_fork
from fastframe.logging import SocketHandler
from logs import FRAMING, Received, failures, made, ours, told
from servers import LONG, Told, on_engine, serving

__all__ = ["failures", "on_engine"]  # the fixtures that pytest is to find here


def test_a_frame_is_the_hosts_byte_by_byte() -> None:
    handler, host = SocketHandler("", 0), logging.handlers.SocketHandler("", 0)
    for record in (made("hello %s", "you"), made(msg="caf\udce9"), made(extra={"a": [1]}, message="hello")):
        assert handler.makePickle(record) == host.makePickle(record)


def test_its_formatter_makes_the_text_of_an_exception() -> None:
    class Short(logging.Formatter):
        def formatException(self, ei: Any) -> str:
            return f"short: {ei[1]!r}"

    try:
        raise KeyError("lost")
    except KeyError as error:
        given = (KeyError, error, error.__traceback__)
    for form in ("pickle", "json"):
        handler = SocketHandler("", 0, format=form)  # type: ignore[arg-type]
        handler.setFormatter(Short())
        record = fastframe.logging.loads(handler.makePickle(made(exc_info=given))[4:])
        assert (record.exc_text, record.exc_info) == ("short: KeyError('lost')", None)


@pytest.mark.parametrize("form", ["pickle", "json"])
def test_what_is_too_large_goes_to_handle_error_and_nothing_of_it_is_sent(
    form: Any, failures: list[BaseException]
) -> None:
    told = Told()
    with serving(told, framing=FRAMING) as server:
        with closing(SocketHandler(*server.address, format=form, max_size=2000)) as handler:
            for message in ("before", "x" * 2000, "after"):
                handler.emit(made(message))
        told.wait()
    messages = [fastframe.logging.loads(event[1]).msg for event in told.events if event[0] == "frame"]
    assert messages == ["before", "after"]
    (error,) = failures
    assert isinstance(error, ff.FrameTooLarge)
    assert error.limit == 2000


class Broken:
    """A socket that takes only some of the second thing it is given, and then fails."""

    def __init__(self, sock: socket.socket, error: BaseException) -> None:
        self._sock, self._error, self._calls = sock, error, 0

    def sendall(self, data: bytes) -> None:
        self._calls += 1
        if self._calls == 2:
            self._sock.sendall(data[: len(data) // 2])
            raise self._error
        self._sock.sendall(data)

    def close(self) -> None:
        self._sock.close()


class Interrupted(Exception):
    """What a signal handler raises."""


@pytest.mark.parametrize(
    "error", [TimeoutError("timed out"), OSError(errno.EPIPE, "broken"), Interrupted(), KeyboardInterrupt()]
)
def test_nothing_follows_half_a_record(error: BaseException, caplog: pytest.LogCaptureFixture, failures: Any) -> None:
    """The rest of a connection that a send has broken off is never used: the next record goes by another."""
    caplog.set_level(logging.INFO, "fastframe.server")
    records = Received()
    with ours(records.put) as address, closing(SocketHandler(*address)) as handler:
        real = handler.makeSocket
        socks = iter([Broken(real(), error), real()])
        handler.makeSocket = lambda timeout=1: next(socks)  # type: ignore[method-assign,assignment,misc]
        handler.emit(made("first"))
        try:
            handler.emit(made("half"))
        except KeyboardInterrupt as raised:
            assert raised is error  # noqa: PT017
        else:
            assert failures == ([error] if isinstance(error, Interrupted) else [])
        assert handler.sock is None
        handler.emit(made("third"))
        assert [records.next().msg, records.next().msg] == ["first", "third"]
    assert records.empty
    (line,) = told(caplog)
    assert "TruncatedFrame" in line


def test_while_nobody_listens_it_backs_off_as_the_host_does(failures: list[BaseException]) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # and doesn't listen
        attempts = []
        for kind in (SocketHandler, logging.handlers.SocketHandler):
            with closing(kind(*sock.getsockname())) as handler:
                real = handler.makeSocket
                calls: list[int] = []

                def count(timeout: float = 1, real: Any = real, calls: list[int] = calls) -> Any:
                    calls.append(1)
                    return real(timeout)

                handler.makeSocket = count  # type: ignore[method-assign,assignment]
                for _ in range(5):
                    handler.emit(made())
                assert handler.sock is None
                assert handler.retryTime is not None
                attempts.append(len(calls))
    assert attempts == [1, 1]
    assert failures == []


def test_it_comes_back_when_the_receiver_does() -> None:
    records = Received()
    with ours(records.put) as address, closing(SocketHandler(*address)) as handler:
        handler.emit(made("first"))
        assert records.next().msg == "first"
        assert handler.sock is not None
        handler.sock.close()  # as after a network's failure
        handler.emit(made("lost"))
        handler.emit(made("third"))
        assert records.next().msg == "third"


@needs_fork
def test_a_forked_process_sends_by_a_connection_of_its_own() -> None:
    told = Told()
    with serving(told, framing=FRAMING) as server, closing(SocketHandler(*server.address)) as handler:
        handler.emit(made("parent"))
        script = """if True:
            import logging, os, sys
            from fastframe.logging import SocketHandler
            handler = SocketHandler("127.0.0.1", int(sys.argv[1]))
            def emit(text):
                handler.emit(logging.makeLogRecord({"name": "x", "msg": text, "args": None, "levelno": 20, "levelname": "INFO"}))
            emit("first")
            child = os.fork()
            emit("child" if not child else "parent")
            handler.close()
            if not child:
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        """
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-W", "error", "-c", script, str(server.address[1])]
        subprocess.run(command, env=environment, check=True, timeout=LONG)
        told.wait()
        told.wait()
    by_client = [event[0] for event in told.events].count("connected")
    messages = sorted(fastframe.logging.loads(event[1]).msg for event in told.events if event[0] == "frame")
    assert (by_client, messages) == (3, ["child", "first", "parent", "parent"])


@pytest.mark.parametrize("form", ["", "yaml", None, b"json"])
def test_there_are_two_formats(form: Any) -> None:
    with pytest.raises(ValueError, match="'pickle' or 'json'"):
        SocketHandler("", 0, format=form)


def test_it_is_the_hosts_class() -> None:
    handler = SocketHandler("localhost", 9020)
    assert isinstance(handler, logging.handlers.SocketHandler)
    assert (handler.host, handler.port, handler.address) == ("localhost", 9020, ("localhost", 9020))
    assert SocketHandler(host="/run/socket", port=None).address == "/run/socket"  # type: ignore[comparison-overlap]
