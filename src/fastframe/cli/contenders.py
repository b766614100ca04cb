"""The programs that the demo compares: each sends batches of payloads, and receives frames, over a connected socket.

All write the same bytes: a length of four bytes, big-endian, and that many bytes of payload.
"""

from __future__ import annotations

import socket
import struct
from itertools import chain
from typing import NamedTuple

import fastframe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Check = Callable[[Iterable[bytes]], int]
    """Takes all frames as they come, and says how many there were."""

__all__ = ["CONTENDERS", "HOWTO", "Contender"]

FRAMING = fastframe.LengthField(4)


class Contender(NamedTuple):
    """One row: its name, the engine it needs (None: fastframe isn't used), and its two programs."""

    name: str
    engine: str | None
    send: Callable[[socket.socket, Iterable[list[bytes]]], None]
    receive: Callable[[socket.socket, Check], int]


# --- The Socket HOWTO's two loops, as people write them: with sendall for the first, and without the limit of
# 2048 bytes for each recv, which would only make the second slower.


def howto_send(sock: socket.socket, batches: Iterable[list[bytes]]) -> None:
    with sock:
        for batch in batches:
            for payload in batch:
                sock.sendall(struct.pack("!I", len(payload)) + payload)
        sock.shutdown(socket.SHUT_WR)


def howto_receive(sock: socket.socket, check: Check) -> int:
    with sock:
        return check(howto_frames(sock))


def howto_frames(sock: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            header = receive_exactly(sock, 4)
        except EOFError:
            return
        yield receive_exactly(sock, struct.unpack("!I", header)[0])


def receive_exactly(sock: socket.socket, size: int) -> bytes:
    chunks = []
    received = 0
    while received < size:
        chunk = sock.recv(size - received)
        if not chunk:
            raise EOFError("socket connection broken")
        chunks.append(chunk)
        received += len(chunk)
    return b"".join(chunks)


# --- fastframe, batch by batch


def many_send(sock: socket.socket, batches: Iterable[list[bytes]]) -> None:
    with fastframe.wrap(sock, FRAMING) as conn:
        for batch in batches:
            conn.send_many(batch)


def many_receive(sock: socket.socket, check: Check) -> int:
    with fastframe.wrap(sock, FRAMING) as conn:
        return check(chain.from_iterable(arrivals(conn)))


def arrivals(conn: fastframe.Connection) -> Iterator[list[bytes]]:
    while True:
        try:
            frames = conn.recv_many()
        except fastframe.ConnectionClosed:
            return
        yield frames


# --- fastframe, frame by frame


def single_send(sock: socket.socket, batches: Iterable[list[bytes]]) -> None:
    with fastframe.wrap(sock, FRAMING) as conn:
        for batch in batches:
            for payload in batch:
                conn.send(payload)


def single_receive(sock: socket.socket, check: Check) -> int:
    with fastframe.wrap(sock, FRAMING) as conn:
        return check(conn)


HOWTO = Contender("Socket HOWTO", None, howto_send, howto_receive)

CONTENDERS = (
    HOWTO,
    Contender("fastframe, pure", "pure", many_send, many_receive),
    Contender("fastframe, Cython", "cython", many_send, many_receive),
    Contender("fastframe, Cython, for loop", "cython", many_send, single_receive),
    Contender("fastframe, Cython, one by one", "cython", single_send, single_receive),
)
"""In the table's order. Each name is that of one contender only."""
