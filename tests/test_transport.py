"""What a connection stands on: sockets of all kinds, and gevent's, which are waited for in its loop; on both engines."""

import os
import socket
import subprocess
import sys
import textwrap
from typing import Any

import pytest

import fastframe as ff
from connections import FRAMING, LONG, clean, on_engine, raw, rest, take, wire
from support import tcp_pair

__all__ = ["clean", "on_engine", "raw"]  # the fixtures that pytest is to find here


# --- Sockets ---------------------------------------------------------------------------------------------------------


def test_a_sockets_number_is_a_socket(raw: tuple[socket.socket, socket.socket]) -> None:
    a, b = raw
    name, peer = a.getsockname(), a.getpeername()
    number = a.detach()
    with ff.wrap(number, FRAMING, timeout=LONG) as conn:
        assert (conn.local_address, conn.peer_address, conn.fileno()) == (name, peer, number)
        conn.send(b"request")
        conn.shutdown_send()
        assert rest(b) == wire(b"request")
        b.sendall(wire(b"reply"))
        assert conn.recv() == b"reply"
    with pytest.raises(OSError):
        os.fstat(number)


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("default", [None, 5.0])
def test_a_sockets_number_stays_as_blocking_as_it_is(blocking: bool, default: float | None) -> None:
    a, b = socket.socketpair()
    number = a.detach()
    os.set_blocking(number, blocking)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(default)
    try:
        conn = ff.wrap(number, FRAMING, timeout=LONG)
        conn.send(b"x")
        assert os.get_blocking(number) == blocking
        assert socket.getdefaulttimeout() == default
        b.sendall(wire(b"y"))
        assert conn.recv() == b"y"
        with pytest.raises(ff.FrameTimeout):
            conn.recv(timeout=0)
        assert conn.detach() == number
        assert os.get_blocking(number) == blocking
    finally:
        socket.setdefaulttimeout(before)
    os.close(number)
    b.close()


def test_tcp_doesnt_wait_for_more(clean: list[Any]) -> None:
    a, b = tcp_pair()
    clean += [a, b]
    a.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    clean.append(ff.wrap(a, FRAMING))
    assert a.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_a_socket_that_isnt_connected_is_lost_not_stuck() -> None:
    with ff.wrap(socket.socket(), FRAMING, timeout=LONG) as conn:
        with pytest.raises(ff.ConnectionLost):
            conn.recv()
        with pytest.raises(ff.ConnectionLost):
            conn.send(b"x")
        with pytest.raises(OSError):
            _ = conn.peer_address


def test_the_same_socket_may_be_wrapped_twice(raw: tuple[socket.socket, socket.socket]) -> None:
    # One reads, the other writes; who closes it first closes it for both.
    first, second = ff.wrap(raw[0], FRAMING, timeout=LONG), ff.wrap(raw[0], FRAMING, timeout=LONG)
    first.send(b"out")
    assert take(raw[1], 7) == wire(b"out")
    raw[1].sendall(wire(b"in"))
    assert second.recv() == b"in"
    first.close()
    with pytest.raises((ValueError, OSError)):
        second.recv()
    second.close()


# --- gevent ----------------------------------------------------------------------------------------------------------

PROLOGUE = """
    from gevent import monkey
    {patch}
    import os, socket, time
    import gevent
    from gevent import socket as gevent_socket
    import fastframe as ff

    F = ff.LengthField(4)
    LONG = 20.0

    def pair(**given):
        a, b = gevent_socket.socketpair()
        return ff.wrap(a, F, **given), ff.wrap(b, F, **given)

    def ticks():
        # Counts as long as others run.
        count = [0]
        def tick():
            while True:
                gevent.sleep(0.005)
                count[0] += 1
        gevent.spawn(tick)
        return count
"""


def in_gevent(engine: Any, program: str, patch: bool = True) -> None:
    """Run a program in a process of its own, patched for gevent or not."""
    pytest.importorskip("gevent", reason="gevent isn't installed")
    prologue = PROLOGUE.format(patch="monkey.patch_all()" if patch else "")
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", textwrap.dedent(prologue) + textwrap.dedent(program)],
        env={**os.environ, "FASTFRAME_PURE": "1" if "pure" in engine.__name__ else "0"},
        capture_output=True,
        timeout=3 * LONG,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("patch", [True, False])
@pytest.mark.parametrize("timeout", ["None", "LONG"])
def test_greenlets_go_on_while_others_wait(engine: Any, patch: bool, timeout: str) -> None:
    in_gevent(
        engine,
        f"""
        count = ticks()
        (a, b), (c, d) = pair(timeout={timeout}), pair(timeout={timeout})
        waiting = gevent.spawn(a.recv)

        def echo():
            for frame in d:
                d.send(frame)

        gevent.spawn(echo)
        for i in range(100):
            c.send(b"%d" % i)
            assert c.recv() == b"%d" % i
        large = gevent.spawn(c.send, bytes(3_000_000))
        assert c.recv() == bytes(3_000_000)
        large.get(timeout=LONG)
        assert not waiting.ready()
        gevent.sleep(0.05)
        b.send(b"at last")
        assert waiting.get(timeout=LONG) == b"at last"
        assert count[0] > 1
        for conn in (a, b, c, d):
            conn.close()
        """,
        patch,
    )


@pytest.mark.parametrize("patch", [True, False])
def test_greenlets_keep_timeouts(engine: Any, patch: bool) -> None:
    in_gevent(
        engine,
        """
        count = ticks()
        a, b = pair()
        for call in (lambda: a.recv(timeout=0.1), lambda: a.recv(timeout=0)):
            try:
                call()
            except ff.FrameTimeout:
                pass
            else:
                raise AssertionError
        assert not a.poll(0.1)
        try:
            a.send(bytes(10_000_000), timeout=0.1)
        except ff.SendInterrupted:
            pass
        else:
            raise AssertionError
        assert count[0] > 5
        a.abort()
        b.abort()
        """,
        patch,
    )


@pytest.mark.parametrize("patch", [True, False])
@pytest.mark.parametrize("end", ["close", "abort"])
def test_the_end_wakes_a_greenlet(engine: Any, patch: bool, end: str) -> None:
    in_gevent(
        engine,
        f"""
        a, b = pair()
        def receive():
            try:
                a.recv()
            except ff.ConnectionClosed:
                return "woken"
        greenlet = gevent.spawn(receive)
        gevent.sleep(0.05)
        try:
            a.recv()
        except ff.ConcurrentUse:
            pass
        else:
            raise AssertionError
        a.{end}()
        assert greenlet.get(timeout=LONG) == "woken"
        b.close()
        """,
        patch,
    )


def test_sends_of_greenlets_queue_up(engine: Any) -> None:
    in_gevent(
        engine,
        """
        a, b = pair()
        senders = [gevent.spawn(a.send, bytes([i]) * 1_000_000) for i in range(4)]
        gevent.sleep(0.01)
        got = [b.recv() for _ in senders]
        gevent.joinall(senders, raise_error=True)
        assert sorted({frame[0] for frame in got}) == [0, 1, 2, 3]
        assert all(len(set(frame)) == 1 for frame in got)
        a.close()
        assert list(b) == []
        b.close()
        """,
    )


def test_a_killed_greenlet_loses_nothing(engine: Any) -> None:
    in_gevent(
        engine,
        """
        a, b = pair()
        b._transport.sock.sendall(b"\\0\\0\\0\\5he")
        greenlet = gevent.spawn(a.recv)
        gevent.sleep(0.05)
        greenlet.kill()
        b._transport.sock.sendall(b"llo")
        assert a.recv() == b"hello"
        a.close()
        b.close()
        """,
    )


def test_a_sockets_number_among_greenlets(engine: Any) -> None:
    in_gevent(
        engine,
        """
        count = ticks()
        a, b = socket.socketpair()
        number = a.detach()
        conn, peer = ff.wrap(number, F), ff.wrap(b, F)
        reply = gevent.spawn(conn.recv)
        gevent.sleep(0.05)
        peer.send(b"reply")
        assert reply.get(timeout=LONG) == b"reply"
        assert count[0] > 1
        assert conn.detach() == number
        os.fstat(number)
        os.close(number)
        peer.close()
        """,
    )


def test_the_mode_of_a_gevent_socket_stays(engine: Any) -> None:
    in_gevent(
        engine,
        """
        a, b = gevent_socket.socketpair()
        a.settimeout(0.1)
        conn = ff.wrap(a, F)
        assert conn.timeout == 0.1
        try:
            conn.recv()
        except ff.FrameTimeout:
            pass
        assert conn.detach() is a
        assert a.gettimeout() == 0.1
        b.sendall(b"text")
        assert a.recv(4) == b"text"
        a.close()
        b.close()
        """,
    )
