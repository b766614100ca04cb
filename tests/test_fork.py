"""Forks: what a child process may do with a connection, and that the parent's isn't disturbed; on both engines."""

import gc
import multiprocessing
import os
import select
import signal
import socket
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import fastframe as ff
from connections import (
    FRAMING,
    LONG,
    SOON,
    Thread,
    clean,
    descriptors,
    needs_fork,
    needs_proc,
    on_engine,
    pair,
    raw,
    take,
    tight,
    waiting,
    wire,
)

__all__ = ["clean", "on_engine", "pair", "raw", "tight"]  # the fixtures that pytest is to find here

pytestmark = needs_fork

RECEIVES: dict[str, Callable[[ff.Connection], Any]] = {
    "recv": lambda conn: conn.recv(),
    "recv_many": lambda conn: conn.recv_many(),
    "recv_batch": lambda conn: conn.recv_batch(),
    "recv_into": lambda conn: conn.recv_into(bytearray(9)),
    "poll": lambda conn: conn.poll(),
    "unread": lambda conn: conn.unread(),
    "iteration": lambda conn: next(iter(conn)),
    "framing": lambda conn: setattr(conn, "framing", FRAMING),
}
SENDS: dict[str, Callable[[ff.Connection], Any]] = {
    "send": lambda conn: conn.send(b"x"),
    "send_many": lambda conn: conn.send_many([b"x"]),
    "flush": lambda conn: conn.flush(),
    "shutdown_send": lambda conn: conn.shutdown_send(),
    "send_framing": lambda conn: setattr(conn, "send_framing", FRAMING),
}
OTHERS: dict[str, Callable[[ff.Connection], Any]] = {
    "detach": lambda conn: conn.detach(),
    "fileno": lambda conn: conn.fileno(),
    "with": lambda conn: conn.__enter__(),
}


def forked(act: Callable[[], object]) -> int:
    """The id of a child process that runs `act` and ends; with an exception or a warning, by 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it has threads: that is what is tested
        child = os.fork()
    if child:
        return child
    status = 1
    try:
        signal.alarm(int(LONG))
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            act()
            gc.collect()
        assert [str(warning.message) for warning in seen] == []
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def ended_well(child: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def in_child(act: Callable[[], object]) -> None:
    assert ended_well(forked(act))


def lazy(sock: Any, **given: Any) -> ff.Connection:
    return ff.wrap(sock, FRAMING, readahead=False, timeout=LONG, **given)


# --- With readahead --------------------------------------------------------------------------------------------------


def test_with_readahead_every_call_is_refused_in_the_child(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair

    def child() -> None:
        for call in {**RECEIVES, **SENDS, **OTHERS}.values():
            with pytest.raises(ff.ConcurrentUse):
                call(conn)
        assert not conn.closed
        assert conn.stats.received.frames == 1
        conn.close()
        assert conn.closed
        for call in {**RECEIVES, **SENDS, **OTHERS}.values():
            with pytest.raises(ValueError, match="closed"):
                call(conn)

    peer.sendall(wire(b"before", b"held"))
    assert conn.recv() == b"before"
    in_child(child)
    assert conn.recv() == b"held"
    conn.send(b"after")
    assert take(peer, 9) == wire(b"after")
    peer.sendall(wire(b"reply"))
    assert conn.recv() == b"reply"


@pytest.mark.parametrize("readahead", [True, False])
@pytest.mark.parametrize(
    "end",
    [
        lambda conn: conn.close(),
        lambda conn: conn.abort(),
        lambda conn: conn.__exit__(None, None, None),
        lambda conn: conn.__exit__(KeyError, KeyError(), None),
        lambda conn: conn.__del__(),
        lambda conn: None,
    ],
    ids=["close", "abort", "with", "with an exception", "garbage", "exit"],
)
def test_no_end_in_the_child_is_one_for_the_parent(
    raw: tuple[socket.socket, socket.socket], end: Callable[[ff.Connection], None], readahead: bool, clean: list[Any]
) -> None:
    conn = ff.wrap(raw[0], FRAMING, readahead=readahead, timeout=LONG)
    clean.append(conn)
    in_child(lambda: end(conn))
    assert not select.select([raw[1]], [], [], SOON)[0]
    for _ in range(2):
        conn.send(b"still here")
        assert take(raw[1], 14) == wire(b"still here")
        raw[1].sendall(wire(b"me too"))
        assert conn.recv() == b"me too"
    conn.close()
    assert raw[1].recv(1) == b""


@needs_proc
@pytest.mark.parametrize("readahead", [True, False])
@pytest.mark.parametrize("kind", ["socket", "number", "pipe"])
@pytest.mark.parametrize("end", ["close", "abort", "garbage"])
def test_the_child_gives_back_its_descriptors(kind: str, end: str, readahead: bool) -> None:
    a, b = socket.socketpair()
    r, w = os.pipe()
    spare = descriptors()
    source: Any = {"socket": a, "number": a.fileno(), "pipe": r}[kind]
    gone = str(r if kind == "pipe" else a.fileno())
    conns = [ff.wrap(source, FRAMING, readahead=readahead)]
    wraps = set(descriptors()) - set(spare)
    if kind == "number":
        a.detach()
    del source

    def child() -> None:
        nonlocal a
        inherited = set(descriptors())  # a library may have replaced its own in the child
        if end == "garbage":
            if kind == "socket":
                a = b  # the connection's is the last reference
            conns.clear()
            gc.collect()
        else:
            getattr(conns[0], end)()
        assert set(descriptors()) == inherited - wraps - {gone}

    in_child(child)
    conns[0].close()
    for sock in (a, b):
        sock.close()
    for number in (r, w):
        if str(number) != gone:
            os.close(number)


def test_a_process_of_multiprocessing(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair

    def child() -> None:
        with pytest.raises(ff.ConcurrentUse):
            conn.recv()

    process = multiprocessing.get_context("fork").Process(target=child)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    process.join(LONG)
    assert process.exitcode == 0
    conn.send(b"x")
    assert take(peer, 5) == wire(b"x")


# --- Without readahead -----------------------------------------------------------------------------------------------


def test_without_readahead_the_child_goes_on(raw: tuple[socket.socket, socket.socket], clean: list[Any]) -> None:
    conn = lazy(raw[0])
    clean.append(conn)

    def child() -> None:
        assert conn.recv() == b"for the child"
        conn.send(b"from the child")
        conn.send_many([b"and", b"more"])
        conn.close()

    raw[1].sendall(wire(b"for the parent", b"for the child", b"for the parent again"))
    assert conn.recv() == b"for the parent"
    in_child(child)
    expected = wire(b"from the child", b"and", b"more")
    assert take(raw[1], len(expected)) == expected
    assert conn.recv() == b"for the parent again"
    conn.send(b"from the parent")
    assert take(raw[1], 19) == wire(b"from the parent")


@pytest.mark.parametrize("source", ["pipe", "terminal"])
def test_the_child_goes_on_with_other_descriptors(source: str, clean: list[Any]) -> None:
    r, w = os.pipe() if source == "pipe" else os.openpty()
    rx, tx = lazy(r), lazy(w)
    clean += [rx, tx]

    def child() -> None:
        tx.send(b"from the child")
        rx.close()
        tx.close()

    in_child(child)
    if source == "pipe":
        assert rx.recv() == b"from the child"
        tx.send(b"from the parent")
        assert rx.recv() == b"from the parent"


def test_half_of_a_received_frame_stays_with_the_parent(
    raw: tuple[socket.socket, socket.socket], clean: list[Any]
) -> None:
    conn = lazy(raw[0])
    clean.append(conn)
    raw[1].sendall(wire(b"frame")[:6])
    with pytest.raises(ff.FrameTimeout):
        conn.recv(timeout=SOON)

    def child() -> None:
        for call in (*RECEIVES.values(), *SENDS.values()):
            with pytest.raises(ff.ConcurrentUse):
                call(conn)

    in_child(child)
    raw[1].sendall(wire(b"frame")[6:])
    assert conn.recv() == b"frame"


def test_half_of_a_sent_frame_stays_with_the_parent(tight: tuple[ff.Connection, socket.socket]) -> None:
    sock = tight[0].detach()
    conn = lazy(sock)
    with pytest.raises(ff.SendInterrupted):
        conn.send(bytes(500_000), timeout=0)

    def child() -> None:
        for call in (*RECEIVES.values(), *SENDS.values()):
            with pytest.raises(ff.ConcurrentUse):
                call(conn)
        conn.close()

    in_child(child)
    thread = Thread(lambda: take(tight[1], 500_004))
    conn.flush()
    assert thread.done() == wire(bytes(500_000))
    conn.close()


def test_what_the_child_couldnt_send_is_no_reset_for_the_parent() -> None:
    a, b = socket.socketpair()
    b.settimeout(LONG)
    conn = ff.wrap(a, FRAMING, send_framing=ff.UntilEOF(), readahead=False, timeout=LONG)

    def child() -> None:
        with pytest.raises(ff.SendInterrupted):
            conn.send(bytes(1_000_000), timeout=0)
        conn.close(timeout=0)

    in_child(child)
    assert a.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER) == 0
    conn.abort()
    b.close()


# --- Others are inside -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("readahead", [True, False])
@pytest.mark.parametrize("timeout", [LONG, None])
def test_a_fork_while_another_thread_receives(
    raw: tuple[socket.socket, socket.socket], readahead: bool, timeout: float | None, clean: list[Any]
) -> None:
    conn = ff.wrap(raw[0], FRAMING, readahead=readahead, timeout=timeout)
    clean.append(conn)
    thread = Thread(conn.recv)
    time.sleep(SOON)  # where the system call itself waits nothing shows it

    def child() -> None:
        if readahead:
            with pytest.raises(ff.ConcurrentUse):
                conn.recv()
        else:
            conn.send(b"from the child")
        conn.close()

    in_child(child)
    raw[1].sendall(wire(b"for the thread", b"next"))
    assert thread.done() == b"for the thread"
    assert conn.recv() == b"next"
    if not readahead:
        assert take(raw[1], 18) == wire(b"from the child")


@pytest.mark.parametrize("readahead", [True, False])
def test_a_fork_while_another_thread_sends(
    tight: tuple[ff.Connection, socket.socket], readahead: bool, clean: list[Any]
) -> None:
    conn = ff.wrap(tight[0].detach(), FRAMING, readahead=readahead, timeout=LONG)
    clean.append(conn)
    thread = waiting(lambda: conn.send(bytes(500_000)))

    def child() -> None:
        for call in (*SENDS.values(), *RECEIVES.values()):
            with pytest.raises(ff.ConcurrentUse):
                call(conn)
        conn.close()

    in_child(child)
    assert take(tight[1], 500_004) == wire(bytes(500_000))
    thread.done()
    conn.send(b"next")
    assert take(tight[1], 8) == wire(b"next")


def test_a_fork_inside_of_a_send(raw: tuple[socket.socket, socket.socket], clean: list[Any]) -> None:
    conn = ff.wrap(raw[0], FRAMING, timeout=LONG)
    clean.append(conn)
    children = []

    def payloads() -> Any:
        yield b"one"
        child = os.fork()
        if not child:
            os._exit(0)
        children.append(child)
        yield b"two"

    conn.send_many(payloads())
    assert ended_well(*children)
    assert take(raw[1], 14) == wire(b"one", b"two")


def test_waking_a_thread_in_one_process_doesnt_wake_the_other(clean: list[Any]) -> None:
    r, w = os.pipe()
    conn = lazy(r)
    go, done = os.pipe()
    thread = waiting(conn.recv)

    def child() -> None:
        os.read(go, 1)  # the parent has closed its connection, and woken its thread
        before = time.process_time()
        with pytest.raises(ff.FrameTimeout):
            conn.recv(timeout=0.5)
        assert time.process_time() - before < 0.25

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child_id = forked(child)
    conn.close()
    with pytest.raises(ff.ConnectionClosed):
        thread.done()
    os.write(done, b"!")
    assert ended_well(child_id)
    for number in (w, go, done):
        os.close(number)


def test_the_child_of_a_child(raw: tuple[socket.socket, socket.socket], clean: list[Any]) -> None:
    conn = lazy(raw[0])
    clean.append(conn)

    def child() -> None:
        in_child(lambda: conn.send(b"grandchild"))
        conn.send(b"child")

    in_child(child)
    assert take(raw[1], 23) == wire(b"grandchild", b"child")


def test_connections_made_in_the_child_are_its_own(clean: list[Any]) -> None:
    a, b = socket.socketpair()
    clean += [a, b]

    def child() -> None:
        with ff.wrap(a, FRAMING, timeout=LONG) as conn:
            conn.send(b"from the child")

    in_child(child)
    b.settimeout(LONG)
    assert take(b, 18) == wire(b"from the child")
    assert b.recv(1) == b""  # the child shut it down: it was its own


def test_closed_and_detached_connections_stay_so(clean: list[Any]) -> None:
    (a, b), (c, d) = socket.socketpair(), socket.socketpair()
    clean += [b, c, d]
    closed, detached = ff.wrap(a, FRAMING), ff.wrap(c, FRAMING)
    closed.close()
    detached.detach()

    def child() -> None:
        for conn in (closed, detached):
            assert conn.closed
            conn.close()
            with pytest.raises(ValueError, match="closed"):
                conn.recv()
        c.sendall(b"x")

    in_child(child)
    d.settimeout(LONG)
    assert d.recv(2) == b"x"


def test_a_close_under_a_receiver_in_the_child_ends_nothing_for_the_parent(
    raw: tuple[socket.socket, socket.socket], clean: list[Any]
) -> None:
    conn, peer = lazy(raw[0]), raw[1]
    clean.append(conn)

    def child() -> None:
        receiver = waiting(conn.recv)
        conn.close()
        peer.sendall(wire(b"last"))
        with pytest.raises(ff.ConnectionClosed):
            receiver.done()

    in_child(child)
    assert conn.recv() == b"last"
    conn.send(b"still there")
    assert take(peer, 15) == wire(b"still there")
