"""Descriptors that travel with frames, where a call fails or is broken off, on both engines."""

import errno
import socket
from typing import Any

import pytest

import fastframe as ff
from connections import LONG, clean, needs_proc, needs_unix, on_engine
from fastframe import _pure_reader
from test_fds import Interrupt, Pair, drop, no_leak, pair, pipe

__all__ = ["clean", "no_leak", "on_engine", "pair", "pipe"]  # the fixtures that pytest is to find here

pytestmark = [needs_unix, needs_proc]


class Answering:
    """A socket, one of whose calls answers something else for once."""

    def __init__(self, sock: socket.socket, name: str, error: OSError) -> None:
        self._sock, self._name, self._error = sock, name, [error]

    def __getattr__(self, name: str) -> Any:
        if name == self._name and self._error:
            raise self._error.pop()
        return getattr(self._sock, name)


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM])
def test_an_error_that_passes_loses_no_descriptor(pair: Pair, pipe: tuple[int, int], number: int) -> None:
    a, b = pair
    passing: Any = b._fd_passing()
    sending: Any = a._fd_passing()
    passing._sock = Answering(passing._sock, "recvmsg", OSError(number, "not now"))
    sending._sock = Answering(sending._sock, "sendmsg", OSError(number, "not now"))
    for call in (lambda: a.send(b"x", fds=pipe), lambda: (a.send(b"x", fds=pipe), b.recv_fds())):
        with pytest.raises(OSError, match="not now") as caught:
            call()
        assert not isinstance(caught.value, ff.FrameError)
    payload, fds = b.recv_fds()
    assert (payload, drop(fds)) == (b"x", 2)


def test_a_broken_connection_stays_broken(pair: Pair, pipe: tuple[int, int]) -> None:
    a, b = pair
    passing: Any = b._fd_passing()
    passing._sock = Answering(passing._sock, "recvmsg", OSError(errno.ETIMEDOUT, "gone"))
    a.send(b"x", fds=pipe)
    for receive in (b.recv_fds, b.recv, b.recv_many, b.recv_fds):
        with pytest.raises(ff.ConnectionLost) as caught:
            receive()
        assert caught.value.errno == errno.ETIMEDOUT
        assert b.poll()
    sending: Any = a._fd_passing()
    sending._sock = Answering(sending._sock, "sendmsg", OSError(errno.EPIPE, "gone"))
    with pytest.raises(ff.ConnectionLost):
        a.send(b"y", fds=pipe)


def test_a_frame_parsed_by_an_interrupted_call_keeps_its_descriptors(
    pair: Pair, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = pair
    reader: Any = b._reader
    a.send(b"first", fds=pipe)
    a.send(b"next", fds=pipe[:1])
    if isinstance(reader, _pure_reader.FrameReader):
        with monkeypatch.context() as patched, pytest.raises(Interrupt):

            def interrupted(self: Any) -> None:
                raise Interrupt

            patched.setattr(_pure_reader.FrameReader, "_hand_one", interrupted)
            b.recv_fds()
    else:
        assert b.poll(LONG)
    payload, fds = b.recv_fds()
    assert (payload, drop(fds)) == (b"first", 2)
    assert b.recv() == b"next"
    a.send(b"last")
    assert b.recv_fds() == (b"last", [])
