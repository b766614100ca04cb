"""What the Python contenders share: arguments, endpoints, payloads, the clock, and the line of JSON."""

from __future__ import annotations

import gc
import json
import resource
import socket
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

HEADER = struct.Struct(">I")
LIMIT = 16 << 20
"""The largest payload, for who has to be told one."""
CHUNK = 65536

Take = Callable[[Any], int]
"""What is done with a payload that came; it tells its size."""
Receive = Callable[[int, Take], tuple[int, int]]
"""Takes so many payloads, or some more; returns their number and the bytes in them."""
Send = Callable[[list[bytes]], None]
"""Sends all these payloads."""
Exchange = Callable[[list[bytes], Take], int]
"""Sends these payloads and takes each one's answer before the next; returns the bytes in the answers."""


class Meter:
    """The two parts of a work: payloads that are checked, then payloads that are timed."""

    def __init__(self, warm: int, frames: int) -> None:
        """Begin with the first part, of `warm` payloads; the second has `frames`."""
        self.left = warm
        """The payloads of this part."""
        self.take: Take = self._check
        """What to do with each."""
        self.crc = 0
        self._warm, self._unchecked, self._frames = warm, warm, frames
        self._timed = False
        self._cpu = self._wall = 0.0

    def _check(self, payload: Any) -> int:
        if self._unchecked:
            self._unchecked -= 1
            self.crc = zlib.crc32(payload, self.crc)
        return len(payload)

    def turn(self, frames: int, size: int) -> bool:
        """A part is over, with so many payloads and bytes in them: whether there is another one.

        The end of the second is the end of the clock, and printed.
        """
        if frames < self.left:
            raise SystemExit("the stream ended too early")
        if self._timed:
            cpu, wall = _cpu() - self._cpu, time.perf_counter() - self._wall
            print(json.dumps({"crc": self.crc, "frames": frames, "bytes": size, "cpu": cpu, "wall": wall}), flush=True)
            return False
        self.left = self._warm + self._frames - frames
        if self.left <= 0:
            raise SystemExit("nothing is left to be timed behind the warm-up")
        self.take = len
        self._timed = True
        gc.collect()
        self._cpu, self._wall = _cpu(), time.perf_counter()
        return True


def _cpu() -> float:
    """User and system time of this process, in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@dataclass
class Job:
    """What the command line asks for."""

    contender: str
    work: str
    endpoint: str = ""
    file: str = ""
    warm: int = 0
    frames: int = 0
    batch: int = 1
    meter: Meter = field(init=False)

    def __post_init__(self) -> None:
        """Get the meter ready."""
        self.meter = Meter(self.warm, self.frames)

    def connect(self) -> socket.socket:
        """A blocking socket, connected."""
        return connect(self.endpoint)

    def listen(self) -> socket.socket:
        """A listening socket."""
        return listen(self.endpoint)

    def payloads(self) -> list[bytes]:
        """Those in the file."""
        with open(self.file, "rb") as file:
            data = file.read()
        payloads, start = [], 0
        while start < len(data):
            (size,) = HEADER.unpack_from(data, start)
            start += HEADER.size + size
            payloads.append(data[start - size : start])
        return payloads

    def parts(self, prepare: Callable[[bytes], bytes] = bytes) -> list[list[bytes]]:
        """The payloads of both parts, each from the file's first, as `prepare` makes them."""
        payloads = [prepare(payload) for payload in self.payloads()]
        return [(payloads * -(-frames // len(payloads)))[:frames] for frames in (self.warm, self.frames)]

    def sending(self) -> Iterator[list[list[bytes]]]:
        """Of each part, the batches of payloads that are to be sent; one by one, that is a single long one."""
        plans = []
        for part in self.parts():
            size = self.batch if self.batch > 1 else len(part)
            batches = [part[start : start + size] for start in range(0, len(part), size)]
            plans.append((batches, len(part), sum(map(len, part))))
        for batches, frames, total in plans:
            yield batches
            self.meter.turn(frames, total)

    def receive(self, receive: Receive) -> None:
        """Do the work `receive`."""
        while self.meter.turn(*receive(self.meter.left, self.meter.take)):
            pass

    def send(self, one_by_one: Send, many: Send) -> None:
        """Do the work `send`, but for the end of it."""
        send = many if self.batch > 1 else one_by_one
        for batches in self.sending():
            for batch in batches:
                send(batch)

    def trip(self, exchange: Exchange, prepare: Callable[[bytes], bytes] = bytes) -> None:
        """Do the work `trip`. `prepare` is done to the payloads beforehand."""
        expected, sizes = 0, []
        for part in self.parts():
            sizes.append(sum(map(len, part)))
            if len(sizes) == 1:
                for payload in part:
                    expected = zlib.crc32(payload, expected)
        for part, size in zip(self.parts(prepare), sizes, strict=True):
            if exchange(part, self.meter.take) != size or self.meter.crc != expected:
                raise SystemExit("what came back isn't what was sent")
            self.meter.turn(len(part), size)


ARGUMENTS = {
    "receive": ("endpoint", "warm", "frames"),
    "send": ("endpoint", "file", "warm", "frames", "batch"),
    "echo": ("endpoint",),
    "trip": ("endpoint", "file", "warm", "frames"),
    "parse": ("file", "warm", "frames"),
}


def main(contenders: dict[tuple[str, str], Callable[[Job], None]]) -> None:
    """Do what the command line asks for; `contenders`: what does it, by the contender's name and the work's."""
    contender, work = [*sys.argv[1:3], "", ""][:2]
    given = sys.argv[3:]
    names = ARGUMENTS.get(work, ())
    if (contender, work) not in contenders or len(names) != len(given):
        known = "\n".join(f"  {name} {of} {' '.join(ARGUMENTS[of]).upper()}" for name, of in contenders)
        raise SystemExit(f"usage: {sys.argv[0]} CONTENDER WORK ARGUMENT...\n{known}")
    values: dict[str, Any] = {
        name: value if name in ("endpoint", "file") else int(value) for name, value in zip(names, given, strict=True)
    }
    contenders[contender, work](Job(contender, work, **values))


def _socket(endpoint: str) -> tuple[socket.socket, Any]:
    kind, _, where = endpoint.partition(":")
    if kind == "unix":
        return socket.socket(socket.AF_UNIX), where
    if kind != "tcp":
        raise SystemExit(f"an endpoint is tcp:PORT or unix:PATH, not {endpoint}")
    sock = socket.socket()
    # Accepted sockets inherit it.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return sock, ("127.0.0.1", int(where))


def connect(endpoint: str) -> socket.socket:
    """A blocking socket, connected."""
    sock, address = _socket(endpoint)
    sock.connect(address)
    return sock


def listen(endpoint: str) -> socket.socket:
    """A listening socket."""
    sock, address = _socket(endpoint)
    sock.bind(address)
    sock.listen(4096)
    return sock


def unsupported(lack: str) -> NoReturn:
    """Say that this contender can't do the work here, for lack of what is told, and end."""
    print(json.dumps({"unsupported": lack}))
    raise SystemExit(3)


def ready() -> None:
    """Tell that clients may come."""
    print("ready", flush=True)
