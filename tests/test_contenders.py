"""The programs that the demo compares: what each sends, each receives."""

import socket
import struct
import threading
from collections.abc import Iterable

import pytest

from connections import on_engine
from fastframe import TruncatedFrame
from fastframe.cli.contenders import CONTENDERS, Contender, howto_frames, many_receive, single_receive
from fastframe.cli.traffic import Spoiled, batches, verify
from support import tcp_pair

CYCLE = [b"a", b"", b"b" * 300, b"c" * 100_000] * 30
LONG = 20.0

__all__ = ["on_engine"]  # the fixture that pytest is to find here


def test_names_are_unique() -> None:
    assert len({contender.name for contender in CONTENDERS}) == len(CONTENDERS)


@pytest.mark.parametrize("receiver", CONTENDERS, ids=lambda one: one.name)
@pytest.mark.parametrize("sender", CONTENDERS, ids=lambda one: one.name)
def test_all_speak_the_same(sender: Contender, receiver: Contender) -> None:
    left, right = tcp_pair()
    thread = threading.Thread(target=sender.send, args=[left, batches(CYCLE, 0)], daemon=True)
    thread.start()
    assert receiver.receive(right, lambda frames: verify(frames, CYCLE)) == len(CYCLE)
    thread.join(LONG)
    assert not thread.is_alive()
    assert left.fileno() == right.fileno() == -1


@pytest.mark.parametrize("receiver", CONTENDERS, ids=lambda one: one.name)
def test_a_corrupting_sender_is_detected(receiver: Contender) -> None:
    left, right = tcp_pair()

    def check(frames: Iterable[bytes]) -> int:
        return verify(frames, [b"right", b"too"])

    with left:
        for payload in (b"right", b"tOo"):
            left.sendall(struct.pack("!I", len(payload)) + payload)
        left.shutdown(socket.SHUT_WR)
        with pytest.raises(Spoiled, match="frame 1 "):
            receiver.receive(right, check)


@pytest.mark.parametrize("receive", [many_receive, single_receive])
def test_a_cut_frame_is_detected(receive: object) -> None:
    left, right = tcp_pair()
    with left:
        left.sendall(b"\0\0\0\5hel")
        left.shutdown(socket.SHUT_WR)
        with pytest.raises(TruncatedFrame):
            receive(right, lambda frames: verify(frames, [b"hello"]))  # type: ignore[operator]


def test_the_howto_detects_a_cut_payload() -> None:
    left, right = tcp_pair()
    with left, right:
        left.sendall(b"\0\0\0\5hel")
        left.shutdown(socket.SHUT_WR)
        with pytest.raises(EOFError):
            list(howto_frames(right))
