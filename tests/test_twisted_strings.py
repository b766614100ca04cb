"""Netstrings; linear time; and the string receivers against the host's, call by call."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("twisted")

from twisted.internet.testing import StringTransport
from twisted.protocols import basic

import fastframe.twisted as face
from twistedreceivers import feed, given_bytes, netstrings, on_engine, pieces, receiver, traced, wire

__all__ = ["given_bytes", "on_engine"]  # the fixtures that pytest is to find here


# --- Netstrings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [b"x", b":a,", b"01:a,", b"1a", b"3abc,", b"1:ab", b"0:a", b"11", b"100", b"9" * 30])
def test_a_bad_netstring_breaks_the_peer_after_the_good_ones(bad: bytes) -> None:
    for size in (1, 2, 100):
        protocol = receiver(face.NetstringReceiver, MAX_LENGTH=10)
        data = netstrings(b"good", b"too") + bad
        feed(protocol, data, size)
        assert protocol.events == [b"good", b"too"]
        assert protocol.brokenPeer
        assert protocol.transport.disconnecting
        protocol.transport.disconnecting = False
        protocol.dataReceived(b"1:a,")
        assert protocol.events == [b"good", b"too"]
        assert protocol.transport.disconnecting


@pytest.mark.parametrize("start", [b"1", b"10", b"10:", b"10:123456789", b"9:123456789", b"0", b"0:"])
def test_a_good_start_of_a_netstring_breaks_nothing(start: bytes) -> None:
    for size in (1, 2, 100):
        protocol = receiver(face.NetstringReceiver, MAX_LENGTH=10)
        feed(protocol, start, size)
        assert not protocol.brokenPeer
        assert not protocol.transport.disconnecting


@pytest.mark.parametrize(
    ("length", "there", "broken"), [(30, 25, False), (31, 25, True), (30, 30, False), (31, 17, True)]
)
def test_a_netstrings_length_is_judged_before_its_end(length: int, there: int, broken: bool) -> None:
    protocol = receiver(face.NetstringReceiver, MAX_LENGTH=30)
    protocol.dataReceived(b"%d:" % length + bytes(there))
    assert protocol.brokenPeer == broken


def test_nothing_is_kept_of_a_bad_netstring() -> None:
    protocol = receiver(face.NetstringReceiver)

    def receive() -> None:
        protocol.dataReceived(b"1:a,wrong" + bytes(1_000_000))
        protocol.dataReceived(bytes(1_000_000))

    held, _ = traced(receive)
    assert protocol.brokenPeer
    assert held < 100_000


def test_a_netstring_protocol_can_be_connected_again() -> None:
    protocol = receiver(face.NetstringReceiver)
    protocol.dataReceived(b"1:a,wrong")
    assert protocol.brokenPeer
    protocol.makeConnection(StringTransport())
    protocol.dataReceived(b"1:b,1")
    protocol.makeConnection(StringTransport())
    protocol.dataReceived(b"2:cc,")
    assert protocol.events == [b"a", b"b", b"cc"]
    assert not protocol.brokenPeer


# --- Linear ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pausing", [False, True])
@pytest.mark.parametrize(("strings", "size"), [([bytes(100_000)], 64), ([b"x"] * 5000, 1 << 20), ([b"x"] * 5000, 7)])
@pytest.mark.parametrize("made", [wire, netstrings])
def test_each_byte_is_parsed_once(
    made: Callable[..., bytes], strings: list[bytes], size: int, pausing: bool, given_bytes: list[int]
) -> None:
    def act(self: Any, string: bytes) -> None:
        if pausing and made is wire:
            self.pauseProducing()

    data = made(*strings)
    cls = face.Int32StringReceiver if made is wire else face.NetstringReceiver
    protocol = receiver(cls, act, MAX_LENGTH=100_000)
    for at in range(0, len(data), size):
        protocol.dataReceived(data[at : at + size])
        while made is wire and protocol.paused:
            protocol.resumeProducing()
    assert protocol.events == strings
    # The host's judgement of digits without a colon takes them back: a few bytes for each piece, at most.
    assert len(data) <= sum(given_bytes) <= len(data) + (0 if made is wire else 21 * (len(data) // size + 1))


# --- Against the host ------------------------------------------------------------------------------------------------


def run(cls: Any, chunks: list[bytes], acts: list[int], limit: int) -> list[object]:
    """What a protocol of this class did with the chunks: its calls, and what can be seen of it behind each chunk."""

    def act(self: Any, string: bytes) -> None:
        trace.append((string, self.recvd))
        what = acts[(len(trace) * 7) % len(acts)]
        if what == 1:
            self.pauseProducing()
        elif what == 2:
            self.MAX_LENGTH = limit + 1 if limit == self.MAX_LENGTH else limit
        elif what == 3:
            self.recvd = self.recvd[len(string) :]

    trace: list[object] = []
    protocol = receiver(cls, act, MAX_LENGTH=limit)
    for chunk in chunks:
        protocol.dataReceived(chunk)
        while protocol.paused:
            trace.append("resume")
            protocol.resumeProducing()
        trace.append((list(protocol.events), protocol.recvd))
        if any(isinstance(event, int) for event in protocol.events):
            break  # where the host would deliver all of it once more
    return trace


@given(
    st.lists(st.binary(max_size=12), max_size=12),
    st.lists(st.integers(0, 20), max_size=12),
    st.lists(st.integers(0, 3), min_size=1, max_size=8),
    st.integers(5, 12),
    st.binary(max_size=6),
)
def test_strings_are_delivered_as_the_host_does(
    strings: list[bytes], sizes: list[int], acts: list[int], limit: int, tail: bytes
) -> None:
    for name in ("Int8StringReceiver", "Int16StringReceiver", "Int32StringReceiver"):
        form = getattr(basic, name).structFormat
        chunks = pieces(wire(*strings, form=form) + tail, sizes)
        assert run(getattr(face, name), chunks, acts, limit) == run(getattr(basic, name), chunks, acts, limit)


def netstrings_of(cls: Any, chunks: list[bytes], limit: int) -> list[object]:
    trace: list[object] = []
    protocol = receiver(cls, MAX_LENGTH=limit)
    for chunk in chunks:
        protocol.dataReceived(chunk)
        trace.append((list(protocol.events), protocol.brokenPeer, protocol.transport.disconnecting))
        if protocol.brokenPeer:
            break
    return trace


@given(
    st.lists(st.binary(max_size=12), max_size=8),
    st.lists(st.integers(0, 20), max_size=12),
    st.sampled_from([1, 5, 9, 10, 11, 99999]),
    st.text("0123456789:,a ", max_size=10),
)
def test_netstrings_are_delivered_as_the_host_does(
    strings: list[bytes], sizes: list[int], limit: int, tail: str
) -> None:
    chunks = pieces(netstrings(*strings) + tail.encode(), sizes)
    ours = netstrings_of(face.NetstringReceiver, chunks, limit)
    assert ours == netstrings_of(basic.NetstringReceiver, chunks, limit)
