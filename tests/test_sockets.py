"""Opening, on both engines: addresses, a connect within one deadline, what wrap takes and leaves as it was."""

import errno
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import fastframe as ff
from connections import FRAMING, LONG, PROMPT, SOON, Thread, clean, needs_unix, on_engine
from fastframe import _sockets

__all__ = ["clean", "on_engine"]  # the fixtures that pytest is to find here


# --- Connecting ------------------------------------------------------------------------------------------------------


def listening(kind: str, tmp_path: Path) -> socket.socket:
    if kind == "tcp":
        return socket.create_server(("127.0.0.1", 0))
    if kind == "tcp6":
        try:
            return socket.create_server(("::1", 0), family=socket.AF_INET6)
        except OSError:
            pytest.skip("no IPv6 here")
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("no unix sockets here")
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / "socket"))
    sock.listen()
    return sock


@pytest.mark.parametrize("kind", ["tcp", "tcp6", "str", "path", "bytes"])
def test_connects_to_every_kind_of_address(kind: str, tmp_path: Path, clean: list[Any]) -> None:
    server = listening(kind, tmp_path)
    clean.append(server)
    address: Any = server.getsockname()
    address = {"path": Path, "bytes": os.fsencode}.get(kind, lambda same: same)(address)
    with ff.connect(address, FRAMING, timeout=LONG) as conn:
        accepted, _ = server.accept()
        with ff.wrap(accepted, FRAMING, timeout=LONG) as peer:
            conn.send(b"hello")
            assert peer.recv() == b"hello"
            peer.send(b"")
            assert conn.recv() == b""
            assert conn.peer_address == peer.local_address == server.getsockname()
            if kind.startswith("tcp"):
                for end in (conn._transport.sock, accepted):
                    assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(("address", "host"), [("localhost:9000", "'localhost'"), ("[::1]:80", "'::1'"), (":80", "''")])
def test_a_host_and_port_in_one_str_suggest_the_tuple(address: str, host: str) -> None:
    with pytest.raises(ValueError, match="give a tuple") as caught:
        ff.connect(address, FRAMING)
    assert f"({host}, {address.rpartition(':')[2]})" in str(caught.value)


@needs_unix
@pytest.mark.parametrize("path", ["./no:80", "/no/such:80", "no such file", "a:b"])
def test_other_strings_are_paths(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError):
        ff.connect(path, FRAMING)


def test_a_platform_without_unix_sockets_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sockets, "UNIX", None)
    with pytest.raises(OSError, match="no unix sockets"):
        ff.connect("path", FRAMING)


@pytest.mark.parametrize(
    ("address", "error"),
    [
        (80, TypeError),
        (None, TypeError),
        (["localhost", 80], TypeError),
        (("localhost",), ValueError),
        (("localhost", 65536), ValueError),
        (("localhost", -1), ValueError),
        (("localhost", 1, 2), ValueError),
    ],
)
def test_wrong_addresses(address: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        ff.connect(address, FRAMING)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"framing": 4}, TypeError),
        ({"send_framing": 4}, TypeError),
        ({"timeout": "1"}, TypeError),
        ({"timeout": True}, TypeError),
        ({"timeout": -1}, ValueError),
        ({"timeout": float("nan")}, ValueError),
    ],
)
def test_wrong_arguments_open_and_take_nothing(given: dict[str, Any], error: type[Exception], clean: list[Any]) -> None:
    given = {"framing": FRAMING, **given}
    server = socket.create_server(("127.0.0.1", 0))
    a, b = socket.socketpair()
    clean += [server, a, b]
    with pytest.raises(error):
        ff.connect(server.getsockname(), **given)
    server.settimeout(0)
    with pytest.raises(BlockingIOError):
        server.accept()
    with pytest.raises(error):
        ff.wrap(a, **given)
    a.send(b"still mine")
    assert b.recv(100) == b"still mine"


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_refused_connect_is_an_oserror_and_leaks_nothing(clean: list[Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = gone.getsockname()
    before = descriptors()
    for _ in range(5):
        with pytest.raises(ConnectionRefusedError) as caught:
            ff.connect(address, FRAMING, timeout=LONG)
        assert caught.value.errno == errno.ECONNREFUSED
    assert descriptors() == before


def several(monkeypatch: pytest.MonkeyPatch, *addresses: Any) -> None:
    """A host with these addresses."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: found)


def test_all_addresses_of_a_host_are_tried(monkeypatch: pytest.MonkeyPatch, clean: list[Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        refused = gone.getsockname()
    server = socket.create_server(("127.0.0.1", 0))
    clean.append(server)
    several(monkeypatch, refused, server.getsockname())
    with ff.connect(("host", 1), FRAMING, timeout=LONG) as conn:
        assert conn.peer_address == server.getsockname()
        server.accept()[0].close()


def deaf(clean: list[Any]) -> Any:
    """The address of a TCP server that answers no connect."""
    server = socket.create_server(("127.0.0.1", 0), backlog=0)
    clean.append(server)
    for _ in range(8):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(server.getsockname())
        clean.append(filler)
    time.sleep(0.02)
    with socket.socket() as probe:
        probe.settimeout(0.1)
        try:
            probe.connect(server.getsockname())
        except TimeoutError:
            return server.getsockname()
    pytest.skip("this system's listen queue can't be filled")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux drops what a full listen queue can't take")
def test_one_deadline_for_all_addresses(monkeypatch: pytest.MonkeyPatch, clean: list[Any]) -> None:
    silent = deaf(clean)
    several(monkeypatch, *[silent] * 8)
    before = descriptors()
    start = time.monotonic()
    with pytest.raises(ff.FrameTimeout):
        ff.connect(("host", 1), FRAMING, timeout=0.4)
    assert 0.35 < time.monotonic() - start < PROMPT
    assert descriptors() == before
    server = socket.create_server(("127.0.0.1", 0))
    clean.append(server)
    several(monkeypatch, silent, server.getsockname())
    with ff.connect(("host", 1), FRAMING, timeout=0.6) as conn:
        server.accept()[0].close()
        assert conn.timeout == 0.6


@needs_unix
@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse where Linux makes one wait")
def test_a_full_unix_listener_is_waited_for(tmp_path: Path, clean: list[Any]) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s"))
    server.listen(0)
    clean.append(server)
    clean.append(ff.connect(tmp_path / "s", FRAMING))
    start = time.monotonic()
    with pytest.raises(ff.FrameTimeout):
        ff.connect(tmp_path / "s", FRAMING, timeout=0.1)
    with pytest.raises(ff.FrameTimeout):
        ff.connect(tmp_path / "s", FRAMING, timeout=0)
    assert 0.08 < time.monotonic() - start < PROMPT
    thread = Thread(server.accept, after=SOON)
    clean.append(ff.connect(tmp_path / "s", FRAMING, timeout=LONG))
    thread.done()[0].close()
