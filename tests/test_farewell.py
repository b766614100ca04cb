"""A close in steps: what was sent arrives, whatever is left unread, and who doesn't take it is given up in time."""

import socket
from types import ModuleType

import pytest

from fastframe._farewell import Farewell
from fastframe._transport import SocketTransport
from servers import FRAMING, LONG
from support import tcp_pair


@pytest.mark.parametrize("kind", ["tcp", "pair"])
@pytest.mark.parametrize("unread", [0, 100_000])
def test_all_arrives_before_the_last_step(engine: ModuleType, kind: str, unread: int) -> None:
    ours, theirs = tcp_pair() if kind == "tcp" else socket.socketpair()
    with ours, theirs:
        theirs.settimeout(LONG)
        theirs.sendall(bytes(unread))
        transport = SocketTransport(ours)
        writer = engine.FrameWriter(ours, FRAMING)
        writer.write(b"x" * 1_000_000)
        farewell = Farewell(transport, writer, 1000.0)
        now, data = 0.0, b""
        while (done := farewell.step(now)) is None:
            assert farewell.next > now
            now = farewell.next
            theirs.setblocking(False)
            try:
                data += theirs.recv(100_000)
            except BlockingIOError:
                pass
        assert done is True
        transport.close()
        theirs.settimeout(LONG)
        while more := theirs.recv(1 << 20):
            data += more
        assert data == FRAMING.encode(b"x" * 1_000_000)


def test_who_takes_nothing_is_given_up_at_the_deadline(engine: ModuleType) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        writer = engine.FrameWriter(ours, FRAMING)
        writer.write(bytes(10 << 20))
        farewell = Farewell(SocketTransport(ours), writer, 5.0)
        now, steps = 0.0, 0
        while (done := farewell.step(now)) is None:
            assert farewell.wants[1]
            now = farewell.next
            steps += 1
        assert done is False
        assert now == 5.0
        assert steps < 200


def test_who_has_gone_is_given_up_at_once(engine: ModuleType) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        writer = engine.FrameWriter(ours, FRAMING)
        writer.write(bytes(10 << 20))
        theirs.close()
        assert Farewell(SocketTransport(ours), writer, 5.0).step(0.0) is False


def test_with_nothing_left_and_the_peer_at_its_end_one_step_is_enough(engine: ModuleType) -> None:
    ours, theirs = tcp_pair()
    with ours, theirs:
        theirs.shutdown(socket.SHUT_WR)
        ours.recv(1)
        assert Farewell(SocketTransport(ours), engine.FrameWriter(ours, FRAMING), None).step(0.0) is True


def test_a_close_that_has_passed_is_not_waited_for_reading(engine: ModuleType) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        writer = engine.FrameWriter(ours, FRAMING)
        writer.write(bytes(10 << 20))
        theirs.shutdown(socket.SHUT_WR)
        farewell = Farewell(SocketTransport(ours), writer, None)
        assert farewell.step(0.0) is None
        assert farewell.wants == (False, True)
