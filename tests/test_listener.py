"""Accepting: limits, what the system can't give, and a listener that somebody closes."""

import errno
import logging
import os
import socket
from typing import Any

import pytest

from servers import FRAMING, ByHand, Told, on_engine, received, serving

__all__ = ["on_engine"]  # the fixture that pytest is to find here


class Failing:
    """A listening socket whose accept fails as it is told, and that is itself else."""

    def __init__(self, sock: socket.socket, errors: list[int]) -> None:
        self._sock, self.errors = sock, errors
        self.tries = 0

    def accept(self) -> Any:
        self.tries += 1
        if self.errors:
            raise OSError(self.errors[0], os.strerror(self.errors.pop(0)))
        return self._sock.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def failing(server: ByHand, *errors: int) -> Failing:
    listener = server.service._listener
    sock = Failing(listener._sock, list(errors))
    listener._sock = sock  # type: ignore[assignment]
    return sock


def connected(server: ByHand) -> socket.socket:
    sock = socket.create_connection(server.address)
    server._peers.append(sock)
    return sock


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_without_descriptors_it_waits_and_says_so_once(code: int, caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    with ByHand(told) as server:
        sock = failing(server, *[code] * 10)
        connected(server)
        server.until(lambda: sock.tries)
        server.turn(100)
        assert sock.tries == 1  # it doesn't spin
        for i in range(2, 11):
            server.pass_time(0.1)
            server.until(lambda i=i: sock.tries == i)
        server.pass_time(0.1)
        server.until(lambda: told.conns)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_client_that_leaves_makes_room_at_once() -> None:
    told = Told()
    with ByHand(told) as server:
        peer = server.peer()
        sock = failing(server, errno.EMFILE)
        connected(server)
        server.until(lambda: sock.tries)
        peer.close()
        server.until(lambda: len(told.conns) == 2)


@pytest.mark.parametrize("code", [errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.EINTR, errno.EAGAIN])
def test_one_clients_misfortune_is_not_the_others(code: int) -> None:
    told = Told()
    with ByHand(told) as server:
        failing(server, code, code)
        connected(server)
        server.until(lambda: told.conns)


@pytest.mark.parametrize("act", ["close", "shutdown"])
def test_a_listener_that_somebody_closes_ends_nobody(act: str, caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    with ByHand(told) as server:
        peer = server.peer()
        if act == "close":
            os.close(server.service._listener._sock.fileno())
        else:
            server.service._listener._sock.shutdown(socket.SHUT_RDWR)
        server.turn(100)
        peer.sendall(FRAMING.encode(b"x"))
        server.until(lambda: ("frame", b"x") in told.events)
        if act == "close":
            server.service._listener._sock.detach()


def test_no_more_are_accepted_than_may_be_there() -> None:
    told = Told()
    with ByHand(told, max_connections=2) as server:
        first, _ = server.peer(), server.peer()
        waiting = [connected(server) for _ in range(3)]
        server.turn(100)
        assert len(server.loop.clients) == 2
        first.close()
        server.until(lambda: len(told.conns) == 3)
        server.turn(100)
        assert len(server.loop.clients) == 2
        waiting[0].sendall(FRAMING.encode(b"x"))
        server.until(lambda: ("frame", b"x") in told.events)


def test_those_who_hurry_are_accepted_bit_by_bit() -> None:
    told = Told()
    with ByHand(told) as server:
        for _ in range(100):
            connected(server)
        server.turn(1)
        assert 1 <= len(server.loop.clients) <= 64
        server.until(lambda: len(server.loop.clients) == 100)
        assert server.service.stats.accepted == 100


def test_a_client_that_has_gone_before_it_was_accepted_does_no_harm() -> None:
    told = Told()
    with ByHand(told) as server:
        sock = socket.create_connection(server.address)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
        server.until(lambda: server.service.stats.accepted)
        server.until(lambda: not server.loop.clients)
        server.peer().sendall(FRAMING.encode(b"x"))
        server.until(lambda: ("frame", b"x") in told.events)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_ipv6_address_may_be_given() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with serving(bytes.upper, ("::1", 0)) as server, socket.create_connection(server.address[:2]) as sock:
        sock.sendall(FRAMING.encode(b"x"))
        assert received(sock, 5) == FRAMING.encode(b"X")


def test_a_name_may_be_given() -> None:
    with serving(bytes.upper, ("localhost", 0)) as server, socket.create_connection(server.address[:2]) as sock:
        sock.sendall(FRAMING.encode(b"x"))
        assert received(sock, 5) == FRAMING.encode(b"X")
