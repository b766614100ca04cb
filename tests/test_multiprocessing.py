"""Listener, Client, Pipe and contexts, with the host on the other end and without, on both engines."""

import multiprocessing
import os
import pickle
import socket
import sys
import tempfile
from multiprocessing import connection as host
from pathlib import Path
from typing import Any

import pytest

import fastframe as ff
import fastframe.multiprocessing as ours
from connections import LONG, Thread, on_engine
from fastframe.multiprocessing import Client, Connection, Listener, Pipe, get_context, wait

__all__ = ["on_engine"]

KEY = b"a key of both ends"
METHODS = [method for method in multiprocessing.get_all_start_methods() if os.name != "nt"]

posix = pytest.mark.skipif(os.name == "nt", reason="the host's own there")


def test_the_face_is_found_by_attribute() -> None:
    assert ff.multiprocessing is ours
    assert {"Client", "Connection", "Listener", "Pipe", "wait"} < set(ours.__all__)


@pytest.mark.skipif(os.name != "nt", reason="Windows")
def test_on_windows_all_is_the_hosts() -> None:
    assert (Client, Connection, Listener, Pipe, wait) == (
        host.Client, host.Connection, host.Listener, host.Pipe, host.wait
    )  # fmt: skip


# --- Listener and Client ---------------------------------------------------------------------------------------------


def exchange(listening: Any, connecting: Any, family: str, key: bytes | None, **options: Any) -> tuple[Any, Any]:
    """Both ends of a connection through a listener."""
    with listening(family=family, authkey=key, **options) as listener:
        accepting = Thread(listener.accept)
        client = connecting(listener.address, authkey=key)
        accepted = accepting.done()
        if family == "AF_INET":
            assert listener.last_accepted[0] == "127.0.0.1"
        return accepted, client


@posix
@pytest.mark.parametrize("family", ["AF_INET", "AF_UNIX"])
@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize(
    ("listening", "connecting"),
    [(Listener, Client), (Listener, host.Client), (host.Listener, Client)],
    ids=["ours", "the host connects", "the host listens"],
)
def test_both_ways(listening: Any, connecting: Any, family: str, key: bytes | None) -> None:
    accepted, client = exchange(listening, connecting, family, key)
    with accepted, client:
        assert type(accepted) is (Connection if listening is Listener else host.Connection)
        assert type(client) is (Connection if connecting is Client else host.Connection)
        for sender, receiver in ((accepted, client), (client, accepted)):
            for size in (0, 100, 16384, 16385, 100_000):
                sending = Thread(lambda sender=sender, size=size: sender.send({"text": "x" * size}))
                assert receiver.recv() == {"text": "x" * size}
                sending.done()
    with pytest.raises(OSError, match="closed"):
        client.recv()


@posix
@pytest.mark.parametrize(
    ("listening", "connecting"),
    [(Listener, Client), (Listener, host.Client), (host.Listener, Client)],
    ids=["ours", "the host connects", "the host listens"],
)
def test_a_wrong_key(listening: Any, connecting: Any) -> None:
    with listening(authkey=KEY) as listener:
        accepting = Thread(listener.accept)
        with pytest.raises(multiprocessing.AuthenticationError):
            connecting(listener.address, authkey=b"another")
        with pytest.raises(multiprocessing.AuthenticationError):
            accepting.done()


@posix
def test_a_key_that_is_no_bytes_opens_nothing() -> None:
    for call in (lambda: Listener(authkey="text"), lambda: Client("/nowhere", authkey="text")):  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="byte string"):
            call()


@posix
def test_a_challenge_of_any_size_is_refused() -> None:
    with host.Listener(family="AF_UNIX") as listener:
        accepting = Thread(lambda: listener.accept().send_bytes(b"#CHALLENGE#" + bytes(300)))
        with pytest.raises(OSError, match="bad message length"):
            Client(listener.address, authkey=KEY)
        accepting.done()


@posix
def test_a_listener_that_is_closed() -> None:
    listener = Listener(family="AF_UNIX")
    path = listener.address
    assert Path(path).exists()
    listener.close()
    assert not Path(path).exists()
    with pytest.raises(OSError, match="closed"):
        listener.accept()
    with pytest.raises(FileNotFoundError):
        Client(path)


@posix
def test_an_address_decides_the_family() -> None:
    with tempfile.TemporaryDirectory() as folder:
        with Listener(str(Path(folder) / "socket"), backlog=3) as listener:
            assert listener.address == str(Path(folder) / "socket")
        with Listener(("127.0.0.1", 0)) as listener:
            assert listener.address[1] > 0
        with pytest.raises((TypeError, ValueError), match="unrecognized"):
            Client(5)


@posix
def test_the_socket_is_as_the_host_would_leave_it() -> None:
    accepted, client = exchange(Listener, Client, "AF_INET", None)
    with accepted, client:
        for end in (accepted, client):
            with socket.socket(fileno=os.dup(end.fileno())) as sock:
                assert not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert sock.getblocking()


@posix
def test_readahead_of_both_ends() -> None:
    with Listener(authkey=KEY, readahead=True) as listener:
        accepting = Thread(listener.accept)
        with Client(listener.address, authkey=KEY, readahead=True) as client, accepting.done() as accepted:
            assert accepted.readahead
            assert client.readahead
            for number in range(3):
                accepted.send(number)
            assert [client.recv() for _ in range(3)] == [0, 1, 2]


@posix
@pytest.mark.parametrize("duplex", [True, False])
def test_a_default_timeout_of_sockets_changes_nothing(duplex: bool) -> None:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(0.01)
    try:
        for ends in (
            Pipe(duplex),
            exchange(Listener, Client, "AF_INET", None),
            exchange(Listener, Client, "AF_UNIX", None),
        ):
            with ends[0], ends[1]:
                assert all(os.get_blocking(end.fileno()) for end in ends)
    finally:
        socket.setdefaulttimeout(before)


# --- Contexts --------------------------------------------------------------------------------------------------------


def square(number: int) -> int:
    return number * number


def work(queue: Any, end: Any, simple: Any) -> None:
    """What a child process does."""
    queue.put(("large", bytes(200_000)))
    end.send(simple.get())
    end.send(type(end).__module__)
    end.close()
    queue.close()
    queue.join_thread()


@posix
@pytest.mark.filterwarnings("ignore:This process")
@pytest.mark.parametrize("method", METHODS)
def test_a_context_of_ours(method: str, engine: Any) -> None:
    context = get_context(method)
    assert context.get_start_method() == method
    assert get_context(method) is context is context.get_context() is context.get_context(method)
    queue, simple = context.Queue(), context.SimpleQueue()
    for made in (queue._reader, queue._writer, simple._reader, simple._writer):
        assert type(made) is Connection
    one, other = context.Pipe()
    process = context.Process(target=work, args=(queue, other, simple))
    process.start()
    other.close()
    simple.put("through it")
    assert queue.get(timeout=LONG) == ("large", bytes(200_000))
    assert one.recv() == "through it"
    assert one.recv() == "fastframe._mp_connection"
    with pytest.raises(EOFError):
        one.recv()
    process.join()
    one.close()
    simple.close()
    queue.close()
    queue.join_thread()


@posix
@pytest.mark.parametrize("method", METHODS)
def test_a_context_is_pickled_as_the_hosts_is(method: str) -> None:
    assert pickle.loads(pickle.dumps(get_context(method))) is get_context(method)


@posix
@pytest.mark.filterwarnings("ignore:This process")
@pytest.mark.parametrize("method", METHODS)
def test_a_pool_of_ours(method: str) -> None:
    with get_context(method).Pool(2) as pool:
        assert type(pool._inqueue._writer) is Connection
        assert pool.map(square, range(20)) == [number * number for number in range(20)]
        pool.close()
        pool.join()


@posix
def test_a_joinable_queue() -> None:
    queue = get_context().JoinableQueue(maxsize=2)
    for number in range(2):
        queue.put(number)
    assert queue.full() or sys.platform == "darwin"
    for number in range(2):
        assert queue.get(timeout=LONG) == number
        queue.task_done()
    queue.join()
    assert queue.empty()
    queue.close()
    queue.join_thread()


@posix
def test_a_method_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="cannot find context"):
        get_context("teleport")
