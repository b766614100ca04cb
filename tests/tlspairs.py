"""TLS for several test files: contexts, pairs of sockets that have shaken hands, and what happens in between."""

import gc
import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import fastframe as ff
from connections import FRAMING, LONG, Thread, raw_pair
from support import tcp_pair

CERTIFICATE = Path(__file__).parent / "data" / "localhost.pem"
"""For localhost, signed by itself, with its key, valid for ever: for these tests only."""

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def contexts(version: str = "1.3") -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """For the client, which trusts the certificate, and for the server, which has it; of this version of TLS only."""
    client = ssl.create_default_context(cafile=str(CERTIFICATE))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(CERTIFICATE)
    for context in (client, server):
        context.minimum_version = context.maximum_version = VERSIONS[version]
    return client, server


def shaken(
    ours: socket.socket, other: socket.socket, version: str = "1.3", server_side: bool = False, **how: Any
) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """TLS over two connected sockets, both blocking. server_side: whether the first one is the server's."""
    client, server = contexts(version)
    for sock in (ours, other):
        sock.settimeout(LONG)
    plain = (other, ours) if server_side else (ours, other)
    accepting = Thread(lambda: server.wrap_socket(plain[1], server_side=True, **how))
    connecting = client.wrap_socket(plain[0], server_hostname="localhost", **how)
    ends = connecting, accepting.done()
    return (ends[1], ends[0]) if server_side else ends


needs_descriptors = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="nowhere to count descriptors")


@contextmanager
def none_left() -> Iterator[None]:
    """Whatever happens inside, soon there are no more descriptors than before."""
    gc.collect()
    before = sorted(os.listdir("/proc/self/fd"))
    yield
    deadline = time.monotonic() + LONG
    while (now := sorted(os.listdir("/proc/self/fd"))) != before and time.monotonic() < deadline:
        time.sleep(0.001)
    assert now == before


class Records:
    """The other end of a connection, a server's, whose records the test has in its hands before they go out."""

    def __init__(self, sock: socket.socket, version: str) -> None:
        self.sock = sock
        self._coming, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = contexts(version)[1].wrap_bio(self._coming, self._going, server_side=True)

    def shake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
                return
            except ssl.SSLWantReadError:
                pass
            finally:
                self.sock.sendall(self._going.read())
            self._coming.write(self.sock.recv(65_536))

    def of(self, data: bytes) -> bytes:
        """A record with the data."""
        self._tls.write(data)
        return self._going.read()

    def end(self) -> bytes:
        """A close_notify."""
        with suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        return self._going.read()

    def take(self, size: int) -> bytes:
        """Exactly so many bytes of what has come, or fewer before the end."""
        data = b""
        while len(data) < size:
            try:
                if not (more := self._tls.read(size - len(data))):
                    break
                data += more
            except ssl.SSLWantReadError:
                self._coming.write(self.sock.recv(65_536)) or self._coming.write_eof()
        return data

    def close(self) -> None:
        self.sock.close()


@pytest.fixture(params=list(VERSIONS))
def version(request: pytest.FixtureRequest) -> str:
    """Each version of TLS."""
    return request.param


@pytest.fixture(params=["tcp", "pair"])
def ends(request: pytest.FixtureRequest, version: str, clean: list[Any]) -> tuple[ff.Connection, ssl.SSLSocket]:
    """A connection over TLS with a timeout of LONG, and the SSLSocket at its other end, over TCP and a socketpair."""
    ours, other = shaken(*raw_pair(request.param), version)
    conn = ff.wrap(ours, FRAMING, timeout=LONG)
    clean += [conn, other]
    return conn, other


@pytest.fixture
def records(version: str, clean: list[Any]) -> tuple[ff.Connection, Records]:
    """A connection over TLS with a timeout of LONG, and its peer's records."""
    ours, theirs = tcp_pair()
    theirs.settimeout(LONG)
    other = Records(theirs, version)
    shaking = Thread(other.shake)
    ours.settimeout(LONG)
    conn = ff.wrap(contexts(version)[0].wrap_socket(ours, server_hostname="localhost"), FRAMING)
    shaking.done()
    clean += [conn, other]
    return conn, other
