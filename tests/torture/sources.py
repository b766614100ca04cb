"""What connections are made of: pairs of sockets, TLS, pipes, files, and what else `wrap` takes."""

import fcntl
import functools
import io
import multiprocessing
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

LOCAL = ("127.0.0.1", 0)


class Source(NamedTuple):
    """One end, as `wrap` takes it."""

    source: Any
    writer: Any
    reading: int
    """The descriptor that is received from."""
    writing: int
    counts: bool = True
    """Whether the bytes of the descriptors are those of the frames."""
    passes: bool = True
    """Whether errors that say nothing about the connection leave it as it is."""


Pair = tuple[Source, Source]


def source_of(thing: Any, **how: bool) -> Source:
    """An end that is one thing with one descriptor."""
    number = thing if isinstance(thing, int) else thing.fileno()
    return Source(thing, None, number, number, **how)


# --- Sockets ---------------------------------------------------------------------------------------------------------


def sockets(kind: str, room: int | None) -> tuple[socket.socket, socket.socket]:
    """Two connected sockets, over TCP or of a pair; room: bytes of the kernel's buffers."""
    if kind == "tcp":
        with socket.create_server(LOCAL) as server:
            first = socket.create_connection(server.getsockname())
            second, _ = server.accept()
    else:
        first, second = socket.socketpair()
    if room is not None:
        for sock in (first, second):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    return first, second


def plain(kind: str, room: int | None) -> Pair:
    first, second = sockets(kind, room)
    return source_of(first), source_of(second)


def numbers(room: int | None) -> Pair:
    """Bare descriptors of sockets."""
    first, second = sockets("pair", room)
    return source_of(first.detach()), source_of(second.detach())


def processes(room: int | None) -> Pair:
    """Connections of multiprocessing."""
    first, second = multiprocessing.Pipe()
    return source_of(first), source_of(second)


# --- TLS -------------------------------------------------------------------------------------------------------------


@functools.cache
def context(side: int, version: ssl.TLSVersion) -> ssl.SSLContext:
    """For TLS 1.2 without certificates; for 1.3, which needs one, with one that openssl makes."""
    made = ssl.SSLContext(side)
    made.minimum_version = made.maximum_version = version
    if side == ssl.PROTOCOL_TLS_CLIENT:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if version is ssl.TLSVersion.TLSv1_2:
        made.set_ciphers("AECDH-AES128-SHA:@SECLEVEL=0")
    elif side == ssl.PROTOCOL_TLS_SERVER:
        with tempfile.TemporaryDirectory() as folder:
            paths = [str(Path(folder) / name) for name in ("certificate.pem", "key.pem")]
            request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
            command = ["openssl", *request.split(), "-out", paths[0], "-keyout", paths[1]]
            subprocess.run(command, check=True, capture_output=True)
            made.load_cert_chain(*paths)
    return made


def versions() -> list[str]:
    """The versions of TLS that can be tortured. Before 3.13, Python's ssl module takes an error of the system for the end.

    1.3 needs a certificate, which openssl makes.
    """
    if sys.version_info < (3, 13):
        return []
    return ["tls12", "tls13"] if shutil.which("openssl") is not None else ["tls12"]


def tls(version: ssl.TLSVersion, room: int | None) -> Pair:
    """Two SSLSockets that have shaken hands."""
    first, second = sockets("pair", room)
    ends = [
        context(ssl.PROTOCOL_TLS_CLIENT, version).wrap_socket(first, do_handshake_on_connect=False),
        context(ssl.PROTOCOL_TLS_SERVER, version).wrap_socket(second, True, do_handshake_on_connect=False),
    ]
    for end in ends:
        end.setblocking(False)
    todo = list(ends)
    while todo:
        end = todo.pop(0)
        try:
            end.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            todo.append(end)
    for end in ends:
        end.setblocking(True)
    return source_of(ends[0], counts=False, passes=False), source_of(ends[1], counts=False, passes=False)


# --- Pipes and files -------------------------------------------------------------------------------------------------


def pipes(room: int | None) -> tuple[int, int, int, int]:
    """Two pipes: the first end's descriptors to read and to write, then the second's."""
    first, other = os.pipe()
    second, another = os.pipe()
    if room is not None:
        for number in (other, another):
            fcntl.fcntl(number, fcntl.F_SETPIPE_SZ, room)
    return first, another, second, other


def piped(room: int | None) -> Pair:
    """Pairs of bare descriptors."""
    first, another, second, other = pipes(room)
    return Source(first, another, first, another), Source(second, other, second, other)


def buffered(room: int | None) -> Pair:
    """Pairs of file objects over pipes, as those of stdin and stdout."""
    first, another, second, other = pipes(room)
    return (
        Source(open(first, "rb"), open(another, "wb"), first, another),
        Source(open(second, "rb"), open(other, "wb"), second, other),
    )


class Stream(io.RawIOBase):
    """A raw file that shows no descriptor: it gives None where it would have to wait."""

    def __init__(self, number: int, for_write: bool) -> None:
        os.set_blocking(number, False)
        self._number, self._for_write = number, for_write

    def readable(self) -> bool:
        return not self._for_write

    def writable(self) -> bool:
        return self._for_write

    def readinto(self, buffer: Any) -> int | None:
        try:
            data = os.read(self._number, len(buffer))
        except BlockingIOError:
            return None
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int | None:
        try:
            return os.write(self._number, data)
        except BlockingIOError:
            return None

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._number)


def streams(room: int | None) -> Pair:
    """Pairs of file objects without a descriptor."""
    first, another, second, other = pipes(room)
    return (
        Source(Stream(first, False), Stream(another, True), first, another, passes=False),
        Source(Stream(second, False), Stream(other, True), second, other, passes=False),
    )


PAIRS: dict[str, Callable[[int | None], Pair]] = {
    "tcp": functools.partial(plain, "tcp"),
    "pair": functools.partial(plain, "pair"),
    "numbers": numbers,
    "processes": processes,
    "tls12": functools.partial(tls, ssl.TLSVersion.TLSv1_2),
    "tls13": functools.partial(tls, ssl.TLSVersion.TLSv1_3),
    "pipes": piped,
    "buffered": buffered,
    "streams": streams,
}
"""By kind: what makes two ends, with so many bytes of room between them."""
