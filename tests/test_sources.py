"""What can be wrapped and what can't, and that a source stays as it is."""

import io
import os
import socket
from typing import Any

import pytest

import fastframe as ff
from connections import FRAMING, clean, on_engine

__all__ = ["clean", "on_engine"]  # the fixtures that pytest is to find here


def test_what_carries_no_stream_of_bytes_is_refused(clean: list[Any]) -> None:
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    clean.append(datagrams)
    for source in (datagrams, datagrams.fileno(), True, "file", io.StringIO(), None, object()):
        with pytest.raises(TypeError):
            ff.wrap(source, FRAMING)
    assert datagrams.fileno() >= 0
    os.fstat(datagrams.fileno())


def test_what_is_closed_is_refused() -> None:
    sock = socket.socket()
    file = io.BytesIO()
    sock.close()
    file.close()
    for source in (sock, file, -1, 2**40):
        with pytest.raises(ValueError):
            ff.wrap(source, FRAMING)


@pytest.mark.parametrize("own", [None, 0.0, 1.5])
def test_wrap_takes_over_the_sockets_timeout_and_leaves_its_mode(own: float | None, clean: list[Any]) -> None:
    a, b = socket.socketpair()
    a.settimeout(own)
    blocking = os.get_blocking(a.fileno())
    conn = ff.wrap(a, FRAMING)
    clean += [conn, b]
    assert conn.timeout == own
    with pytest.raises(ff.FrameTimeout):
        conn.recv(timeout=0)
    conn.send(b"x")
    conn.poll(0.01)
    assert os.get_blocking(a.fileno()) == blocking
    assert a.gettimeout() == own
    other = ff.wrap(b, FRAMING, timeout=3)
    clean.append(other)
    assert other.timeout == 3
