"""What a blocking round trip costs: `send` and `recv` of a connection, against `sock.sendall` and `sock.recv` by hand.

    python bench/roundtrip.py [--rounds 9] [--trips 20000] [--size 64] [--json FILE]

CPU microseconds of the client for a frame to another process and back, over TCP on the loopback and over a unix
socketpair. By hand, the frame is encoded beforehand and its length is known: the least that can be done in Python.
Rows with a timeout keep one of five seconds for each call. Both processes share one processor, where the system allows
it: which of two wakes the other, and how deep it sleeps, would cost more than what is measured here. Every answer is
checked; the rounds are interleaved. Told are the medians, and their spread; and of each round the ratio to the work by
hand with the same timeout: the median, and the spread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import socket
import statistics
import sys
from collections.abc import Callable

import fastframe

FRAMING = fastframe.LengthField(4)

Trip = Callable[[socket.socket, bytes, int], bytes]


def by_hand(sock: socket.socket, payload: bytes, trips: int) -> bytes:
    """The socket's own calls."""
    frame = FRAMING.encode(payload)
    size = len(frame)
    answer = b""
    for _ in range(trips):
        sock.sendall(frame)
        answer = sock.recv(size)
    return answer[4:]


def by_connection(sock: socket.socket, payload: bytes, trips: int) -> bytes:
    """One frame, and its answer."""
    answer = b""
    with fastframe.wrap(sock, FRAMING) as conn:
        for _ in range(trips):
            conn.send(payload)
            answer = conn.recv()
    return answer


ROWS: dict[str, tuple[Trip, float | None]] = {
    "by hand": (by_hand, None),
    "connection": (by_connection, None),
    "by hand, timeout": (by_hand, 5.0),
    "connection, timeout": (by_connection, 5.0),
}


def sockets(kind: str) -> tuple[socket.socket, socket.socket]:
    """Two connected ones."""
    if kind == "unix":
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        peers = listener.accept()[0]
    for sock in (ours, peers):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, peers


def measured(kind: str, row: str, size: int, trips: int) -> float:
    """CPU microseconds a trip, by this process alone."""
    trip, timeout = ROWS[row]
    ours, peers = sockets(kind)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    child = os.fork()
    if child == 0:
        ours.close()
        while data := peers.recv(65536):
            peers.sendall(data)
        os._exit(0)
    peers.close()
    ours.settimeout(timeout)
    payload = os.urandom(size)
    before = resource.getrusage(resource.RUSAGE_SELF)
    answer = trip(ours, payload, trips)
    after = resource.getrusage(resource.RUSAGE_SELF)
    ours.close()
    os.waitpid(child, 0)
    if answer != payload:
        raise SystemExit(f"{row}, {kind}: a wrong answer")
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / trips * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--trips", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=64, help="bytes of the payload")
    parser.add_argument("--json", metavar="FILE", help="also write what was measured there")
    given = parser.parse_args()
    kinds = ("tcp", "unix")
    taken: dict[tuple[str, str], list[float]] = {(kind, row): [] for kind in kinds for row in ROWS}
    for number in range(given.rounds):
        for (kind, row), times in taken.items():
            print(f"\rround {number + 1} of {given.rounds}: {kind}, {row:20}", end="", file=sys.stderr)
            times.append(measured(kind, row, given.size, given.trips))
    print(f"\r{' ' * 60}\r", end="", file=sys.stderr)
    print(f"{given.size} bytes, CPython {platform.python_version()}, {fastframe.engine} engine; CPU µs a trip")
    for kind in kinds:
        for row, times in ((row, taken[kind, row]) for row in ROWS):
            base = taken[kind, "by hand, timeout" if row.endswith("timeout") else "by hand"]
            ratios = [mine / theirs for mine, theirs in zip(times, base, strict=True)]
            shown = [
                f"{statistics.median(part):6.2f}  ({min(part):.2f} to {max(part):.2f})" for part in (times, ratios)
            ]
            print(f"{kind:5} {row:20} {shown[0]}  {shown[1]}")
    if given.json:
        rows = [{"kind": kind, "row": row, "us": times} for (kind, row), times in taken.items()]
        with open(given.json, "w", encoding="utf-8") as file:
            json.dump({"python": sys.version, "command": sys.argv, "engine": fastframe.engine, "rows": rows}, file)


if __name__ == "__main__":
    main()
