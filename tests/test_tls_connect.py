"""The handshake of connect(), on both engines: whom it trusts, how long it waits, and what it leaves behind."""

import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import fastframe as ff
from connections import FRAMING, LONG, SOON, Thread, clean, needs_unix, on_engine, waiting
from tlspairs import contexts, needs_descriptors, none_left, version

__all__ = ["clean", "on_engine", "version"]  # the fixtures that pytest is to find here


@pytest.fixture
def served() -> Iterator[Callable[..., Any]]:
    """served(act): the address of a server that does act(sock) with each connection; what it raises, the test does."""
    listeners: list[socket.socket] = []
    threads: list[Thread] = []

    def start(act: Callable[[socket.socket], Any], count: int = 1) -> Any:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(LONG)

        def serve() -> None:
            for _ in range(count):
                sock, _ = listener.accept()
                with sock:
                    sock.settimeout(LONG)
                    act(sock)

        listeners.append(listener)
        threads.append(Thread(serve))
        return listener.getsockname()

    yield start
    for thread in threads:
        thread.done()
    for listener in listeners:
        listener.close()


def echoing(server: ssl.SSLContext) -> Callable[[socket.socket], None]:
    """What a server does that sends every frame back, and ends as its peer does."""

    def act(sock: socket.socket) -> None:
        with ff.wrap(server.wrap_socket(sock, server_side=True), FRAMING, timeout=LONG) as conn:
            for frame in conn:
                conn.send(frame)

    return act


def refused(server: ssl.SSLContext) -> Callable[[socket.socket], None]:
    """What a server does whose client doesn't go through with the handshake."""

    def act(sock: socket.socket) -> None:
        with pytest.raises(OSError):
            server.wrap_socket(sock, server_side=True).recv(1)

    return act


# --- Connecting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["by name", "by address", "by the name given", "as bytes"])
def test_connect_shakes_hands(version: str, how: str, served: Callable[..., Any]) -> None:
    client, server = contexts(version)
    host, port = served(echoing(server))
    given: dict[str, Any] = {"server_hostname": "localhost"} if how == "by the name given" else {}
    place = {"by name": "localhost", "as bytes": b"localhost"}.get(how, host)
    with ff.connect((place, port), FRAMING, ssl=client, timeout=LONG, **given) as conn:
        conn.send(b"hello")
        assert conn.recv() == b"hello"
        assert conn.peer_address == (host, port)
        assert conn.timeout == LONG
        assert conn._transport.sock.version() == f"TLSv{version}"
        conn.shutdown_send()
        assert list(conn) == []


def test_connect_without_a_timeout_waits(served: Callable[..., Any]) -> None:
    client, server = contexts()
    with ff.connect(served(echoing(server)), FRAMING, ssl=client) as conn:
        receiver = waiting(conn.recv)
        conn.send(b"hello")
        assert receiver.done() == b"hello"


@needs_unix
def test_connect_by_a_unix_socket_needs_the_name_given(tmp_path: Any) -> None:
    client, server = contexts()
    path = os.path.relpath(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            sock, _ = listener.accept()
            sock.close()
            sock, _ = listener.accept()
            echoing(server)(sock)

        thread = Thread(serve)
        with pytest.raises(ValueError, match="server_hostname"):
            ff.connect(path, FRAMING, ssl=client, timeout=LONG)
        with ff.connect(path, FRAMING, ssl=client, server_hostname="localhost", timeout=LONG) as conn:
            conn.send(b"hello")
            assert conn.recv() == b"hello"
        thread.done()


@needs_descriptors
@pytest.mark.parametrize("why", ["wrong name", "self-signed"])
def test_a_certificate_that_does_not_convince_is_an_ssl_error(
    version: str, why: str, served: Callable[..., Any]
) -> None:
    client, server = contexts(version)
    given: dict[str, Any] = {"server_hostname": "example.org"} if why == "wrong name" else {}
    if why == "self-signed":
        client = ssl.create_default_context()
    address = served(refused(server))
    with none_left(), pytest.raises(ssl.SSLCertVerificationError) as caught:
        ff.connect(address, FRAMING, ssl=client, timeout=LONG, **given)
    assert type(caught.value) is ssl.SSLCertVerificationError
    assert caught.value.verify_message


def test_a_name_without_tls_is_refused() -> None:
    with pytest.raises(ValueError, match="server_hostname"):
        ff.connect(("127.0.0.1", 1), FRAMING, server_hostname="localhost")


@needs_descriptors
@pytest.mark.parametrize("how", ["silent", "half a hello"])
def test_a_handshake_has_its_deadline(version: str, how: str, served: Callable[..., Any]) -> None:
    client, _ = contexts(version)
    leave = threading.Event()

    def act(sock: socket.socket) -> None:
        if how != "silent":
            sock.sendall(b"\x16\x03\x03\x00\x7a\x02\x00")
        assert leave.wait(LONG)

    address = served(act)
    with none_left():
        with pytest.raises(ff.FrameTimeout, match="handshake"):
            ff.connect(address, FRAMING, ssl=client, timeout=SOON)
        leave.set()


@needs_descriptors
@pytest.mark.parametrize("said", [b"", b"220 mail.example.org ESMTP\r\n", b"\x15\x03\x03\x00\x02\x02\x28"])
def test_a_server_that_speaks_something_else_is_an_ssl_error(
    version: str, said: bytes, served: Callable[..., Any]
) -> None:
    client, _ = contexts(version)

    def act(sock: socket.socket) -> None:
        sock.recv(65_536)
        sock.sendall(said)

    address = served(act)
    with none_left(), pytest.raises(ssl.SSLError):
        ff.connect(address, FRAMING, ssl=client, timeout=LONG)


def test_a_handshake_follows_the_address_that_answers(monkeypatch: pytest.MonkeyPatch, served: Any) -> None:
    client, server = contexts()
    address = served(echoing(server))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = listener.getsockname()
    kind = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(*kind, nobody), (*kind, address)])
    with ff.connect(("localhost", address[1]), FRAMING, ssl=client, timeout=LONG) as conn:
        conn.send(b"hello")
        assert conn.recv() == b"hello"


def test_an_alert_after_the_handshake_is_a_lost_connection(served: Callable[..., Any]) -> None:
    # In TLS 1.3 the client is through before the server has seen that it shows no certificate.
    client, server = contexts("1.3")
    server.verify_mode = ssl.CERT_REQUIRED
    with ff.connect(served(refused(server)), FRAMING, ssl=client, timeout=LONG) as conn:
        with pytest.raises(ff.ConnectionLost, match="CERTIFICATE_REQUIRED"):
            conn.recv()
