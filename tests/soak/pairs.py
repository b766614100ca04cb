"""Connections of every kind for the runs, which are closed whatever happens."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import fastframe as ff
from connections import FRAMING, LONG, raw_pair
from tlspairs import shaken

SHARES = {"tcp": 10, "pair": 10, "pipes": 5, "tls": 1}
"""The kinds, and how often each is taken: TLS shakes hands for as long as a hundred others open."""


def kind_of(rng: random.Random) -> str:
    return rng.choices(list(SHARES), list(SHARES.values()))[0]


class Pipes:
    """The end of two pipes, as far as it has to be a socket."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading, self.writing = open(reading, "rb", buffering=0), open(writing, "wb", buffering=0)  # noqa: SIM115 - closed below

    def recv(self, size: int) -> bytes:
        return self.reading.read(size)

    def sendall(self, data: bytes) -> None:
        while data:
            data = data[self.writing.write(data) :]

    def settimeout(self, timeout: float) -> None:
        """Nothing here keeps the time."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.reading.close()
        self.writing.close()


def ends(kind: str) -> tuple[dict[str, Any], Any]:
    """What `wrap` is to be given, and the raw end opposite."""
    if kind == "pipes":
        (ours, its), (theirs, mine) = os.pipe(), os.pipe()
        return {"source": ours, "writer": mine}, Pipes(theirs, its)
    sock, other = raw_pair("pair" if kind == "pair" else "tcp")
    if kind == "tls":
        sock, other = shaken(sock, other)
    return {"source": sock}, other


@contextmanager
def connected(kind: str, framing: ff.Framing = FRAMING, **named: Any) -> Iterator[tuple[ff.Connection, Any]]:
    """A connection with a timeout of LONG, and the raw end opposite."""
    given, theirs = ends(kind)
    with theirs:
        theirs.settimeout(LONG)
        conn = ff.wrap(framing=framing, **{"timeout": LONG, **given, **named})
        try:
            yield conn, theirs
        finally:
            conn.abort()


@contextmanager
def both(kind: str) -> Iterator[tuple[ff.Connection, ff.Connection]]:
    """A connection at each end."""
    with connected(kind) as (conn, theirs):
        if kind == "pipes":
            other = ff.wrap(theirs.reading, FRAMING, writer=theirs.writing, timeout=LONG)
        else:
            other = ff.wrap(theirs, FRAMING, timeout=LONG)
        try:
            yield conn, other
        finally:
            other.abort()
