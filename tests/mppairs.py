"""Both ends of multiprocessing's connections, for several test files: fixtures, which each file imports and names in `__all__`."""

import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from connections import SOON, Thread
from fastframe import _mp_connection
from fastframe.multiprocessing import Connection, Pipe


@pytest.fixture(autouse=True)
def same_engine_for_wait(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_mp_connection, "wait", engine.wait)


@pytest.fixture(params=["socket", "pipe"])
def duplex(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "socket")


@pytest.fixture
def ends(duplex: bool) -> Iterator[tuple[Connection, Connection]]:
    """One to receive by, one to send by."""
    with Pipe(duplex)[0] as reading:
        pass
    reading, writing = Pipe(duplex)
    with reading, writing:
        yield reading, writing


@pytest.fixture
def pair() -> Iterator[tuple[Connection, Connection]]:
    one, other = Pipe()
    with one, other:
        yield one, other


@pytest.fixture
def ahead() -> Iterator[tuple[Connection, Connection]]:
    one, other = Pipe(readahead=True)
    with one, other:
        yield one, other


def raw(connection: Connection, data: bytes) -> None:
    """Let bytes arrive at the other end, by nobody's framing."""
    assert os.write(connection.fileno(), data) == len(data)


def raw_file(connection: Connection) -> Any:
    """A raw file to write large data to it."""
    return open(os.dup(connection.fileno()), "wb")


def until_it_waits(thread: Thread) -> None:
    """Until the thread is in a call that waits, and then as long as it takes to reach the system."""
    while thread.is_alive():
        frame = sys._current_frames().get(thread.ident or 0)
        while frame is not None:
            if frame.f_code.co_name in ("recv", "send", "wait"):
                time.sleep(SOON)
                return
            frame = frame.f_back
