"""Every call after every other one, whatever came of it, over every kind of source; on both engines."""

import contextlib
import io
import itertools
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

import fastframe as ff
from connections import FRAMING, descriptors, needs_proc, on_engine, wire

__all__ = ["on_engine"]  # the fixtures that pytest is to find here

CALLS: dict[str, Callable[[ff.Connection], Any]] = {
    "recv": lambda c: c.recv(timeout=0),
    "recv_many": lambda c: c.recv_many(timeout=0),
    "recv_batch": lambda c: c.recv_batch(timeout=0),
    "recv_into": lambda c: c.recv_into(bytearray(2), timeout=0),
    "recv_fds": lambda c: drop(c.recv_fds(timeout=0)[1]),
    "poll": lambda c: c.poll(),
    "unread": lambda c: c.unread(),
    "iteration": lambda c: next(iter(c), None) if c.poll() else None,
    "framing": lambda c: setattr(c, "framing", ff.LengthField(2)),
    "bad framing": lambda c: setattr(c, "framing", 5),
    "send": lambda c: c.send(b"x", timeout=0),
    "send much": lambda c: c.send(bytes(1_000_000), timeout=0),
    "send a str": lambda c: c.send("x"),  # type: ignore[arg-type]
    "send_many": lambda c: c.send_many([b"x", b"y"], timeout=0),
    "send fds": lambda c: c.send(b"x", timeout=0, fds=[0]),
    "send bad fds": lambda c: c.send(b"x", timeout=0, fds=[-1]),
    "flush": lambda c: c.flush(timeout=0),
    "send_framing": lambda c: setattr(c, "send_framing", ff.Netstring()),
    "shutdown_send": lambda c: c.shutdown_send(timeout=0),
    "detach": lambda c: shut(c.detach()),
    "close": lambda c: c.close(timeout=0),
    "abort": lambda c: c.abort(),
}
ORDINARY = (TypeError, ValueError, ff.FrameError)


def drop(fds: list[int]) -> None:
    for number in fds:
        os.close(number)


def shut(source: Any) -> None:
    for thing in source if isinstance(source, tuple) else (source,):
        if thing is not None:
            os.close(thing) if isinstance(thing, int) else thing.close()


def of_socket(readahead: bool) -> tuple[ff.Connection, list[Any]]:
    a, b = socket.socketpair()
    b.sendall(DATA)
    return ff.wrap(a, FRAMING, readahead=readahead), [b]


def of_pipe(writing: bool) -> tuple[ff.Connection, list[Any]]:
    r, w = os.pipe()
    os.write(w, DATA)
    return ff.wrap(w if writing else r, FRAMING), [r if writing else w]


def of_pair() -> tuple[ff.Connection, list[Any]]:
    (r, w), (s, x) = os.pipe(), os.pipe()
    os.write(w, DATA)
    return ff.wrap(r, FRAMING, writer=io.FileIO(x, "w")), [w, s]


def of_memory() -> tuple[ff.Connection, list[Any]]:
    return ff.wrap(io.BytesIO(DATA), FRAMING, writer=io.BytesIO()), []


DATA = wire(b"one", b"2") + b"\0\0\0"
MAKERS: dict[str, Callable[[], tuple[ff.Connection, list[Any]]]] = {
    "socket": lambda: of_socket(True),
    "lazy socket": lambda: of_socket(False),
    "reading end": lambda: of_pipe(False),
    "writing end": lambda: of_pipe(True),
    "pair": of_pair,
    "memory": of_memory,
}


@needs_proc
@pytest.mark.parametrize("kind", list(MAKERS))
@pytest.mark.parametrize("gone", [False, True], ids=["peer", "no peer"])
def test_every_call_after_every_other(kind: str, gone: bool) -> None:
    before = descriptors()
    for names in itertools.product(CALLS, repeat=2):
        conn, peers = MAKERS[kind]()
        if gone:
            for peer in peers:
                shut(peer)
        for name in (*names, "recv", "send", "close"):
            allowed: tuple[type[Exception], ...] = ORDINARY
            # No such descriptor; and the number of a writer that is closed already, given back.
            if name == "send bad fds" or (name == "detach" and "shutdown_send" in names):
                allowed += (OSError,)
            with contextlib.suppress(*allowed):
                CALLS[name](conn)
        assert conn.closed, names
        if not gone:
            for peer in peers:
                shut(peer)
        assert descriptors() == before, names
