"""The string receivers: what Twisted promises of its own, and what is better than there."""

import struct
import sys
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("twisted")

from twisted.internet.interfaces import IProducer
from twisted.internet.testing import StringTransport
from twisted.protocols import basic

import fastframe.twisted as face
from twistedreceivers import Strings, feed, netstrings, on_engine, pieces, receiver, traced, wire

__all__ = ["on_engine"]  # the fixture that pytest is to find here

NAMES = [name for name in face.__all__ if name.endswith("Receiver")]
FORMATS = ["!B", "<H", ">I", "=L", "@i", "!q", "h", "N", "<Q", "1H", b"!I"]


# --- The same as the host --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_each_is_the_hosts_class_too(name: str) -> None:
    ours, hosts = getattr(face, name), getattr(basic, name)
    assert issubclass(ours, hosts)
    assert ours is not hosts
    assert {key for key in vars(hosts) if not key.startswith("_")} <= set(dir(ours))


def test_what_stands_beside_them_is_the_hosts() -> None:
    for name in set(face.__all__) - set(NAMES):
        assert getattr(face, name) is getattr(basic, name)
    assert IProducer.implementedBy(face.FileSender)


def test_every_cut_gives_the_same_strings() -> None:
    for cls, data in [
        (face.Int32StringReceiver, wire(b"one", b"", b"three")),
        (face.NetstringReceiver, netstrings(b"one", b"", b"three")),
    ]:
        for first in range(len(data) + 1):
            for second in range(first, len(data) + 1):
                protocol = receiver(cls)
                for piece in (data[:first], data[first:second], data[second:]):
                    protocol.dataReceived(piece)
                assert protocol.events == [b"one", b"", b"three"]


@pytest.mark.parametrize("form", FORMATS)
def test_any_format_of_one_integer(form: str | bytes) -> None:
    protocol = receiver(face.IntNStringReceiver, structFormat=form, prefixLength=struct.calcsize(form))
    protocol.sendString(b"hello")
    sent = protocol.transport.value()
    assert sent == wire(b"hello", form=form)
    for size in range(1, len(sent) + 1):
        protocol.events.clear()
        feed(protocol, sent, size)
        assert protocol.events == [b"hello"]


@pytest.mark.parametrize("form", ["2I", "f", "!", "", "?", "xI", "5s", "!n", "?!I", b"2I"])
def test_other_formats_are_refused(form: str | bytes) -> None:
    protocol = receiver(face.IntNStringReceiver, structFormat=form, prefixLength=4)
    with pytest.raises(ValueError, match=r"isn't one integer: twisted.protocols.basic.IntNStringReceiver"):
        protocol.dataReceived(b"\0\0\0\1a")


def test_a_prefix_length_that_is_not_the_formats_is_refused() -> None:
    protocol = receiver(face.Int32StringReceiver, structFormat="!H")
    with pytest.raises(ValueError, match="prefixLength is 4, but structFormat '!H' has 2 bytes"):
        protocol.dataReceived(b"\0\1a")


def test_a_new_format_counts_from_the_next_bytes_on_also_for_what_is_held() -> None:
    protocol = receiver(face.Int16StringReceiver)
    protocol.dataReceived(b"\1")
    protocol.structFormat = "<H"
    protocol.dataReceived(b"\0a\2")
    assert protocol.events == [b"a"]
    protocol.structFormat, protocol.prefixLength = "!B", 1
    protocol.dataReceived(b"xy\1z")
    assert protocol.events == [b"a", b"xy", b"z"]


def test_a_string_too_long_to_send_is_the_hosts_error() -> None:
    protocol = receiver(face.Int8StringReceiver)
    with pytest.raises(face.StringTooLongError):
        protocol.sendString(bytes(256))
    assert protocol.transport.value() == b""


def test_strings_go_on_after_lose_connection() -> None:
    protocol = receiver(face.Int32StringReceiver, act=lambda self, string: self.transport.loseConnection())
    protocol.dataReceived(wire(b"a", b"b"))
    assert protocol.events == [b"a", b"b"]


def test_a_callback_may_be_rebound_in_the_middle() -> None:
    def act(self: Any, string: bytes) -> None:
        self.stringReceived = lambda other: self.events.append(other.upper())

    protocol = receiver(face.Int32StringReceiver, act)
    protocol.dataReceived(wire(b"a", b"b", b"c"))
    assert protocol.events == [b"a", b"B", b"C"]


@pytest.mark.parametrize("made", [wire, netstrings])
def test_max_length_may_change_for_every_string(made: Callable[..., bytes]) -> None:
    def act(self: Any, string: bytes) -> None:
        self.MAX_LENGTH = 10 if string == b"key" else 3

    cls = face.Int32StringReceiver if made is wire else face.NetstringReceiver
    protocol = receiver(cls, act, MAX_LENGTH=3)
    protocol.dataReceived(made(b"key", b"ten bytes.", b"key", b"ten bytes.", b"ten bytes.", b"key"))
    assert [event for event in protocol.events if isinstance(event, bytes)] == [b"key", b"ten bytes."] * 2


# --- Lengths that are too long ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("there", [0, 1, 11, 20])
def test_a_length_is_judged_as_soon_as_it_is_there(there: int) -> None:
    data = wire(b"ok") + struct.pack("!I", 11) + bytes(there)
    for cut in (0, 6, 7, 10, len(data)):
        protocol = receiver(face.Int32StringReceiver, MAX_LENGTH=10)
        for piece in pieces(data[:10], [cut]):
            protocol.dataReceived(piece)
        assert protocol.events[:2] == [b"ok", 11]
        protocol.dataReceived(data[10:])
        assert set(protocol.events[1:]) == {11}
        assert protocol.recvd == data[6:]


def test_the_default_closes_the_connection() -> None:
    protocol = type("Plain", (face.Int32StringReceiver,), {})()
    protocol.makeConnection(StringTransport())
    protocol.dataReceived(struct.pack("!I", protocol.MAX_LENGTH + 1))
    assert protocol.transport.disconnecting


def test_strings_before_a_length_that_is_too_long_come_once() -> None:
    protocol = receiver(face.Int32StringReceiver, MAX_LENGTH=3)
    protocol.dataReceived(wire(b"a", b"b", b"long", b"c"))
    protocol.dataReceived(wire(b"d"))
    assert protocol.events == [b"a", b"b", 4, 4]
    protocol.MAX_LENGTH = 4
    protocol.dataReceived(b"")
    assert protocol.events == [b"a", b"b", 4, 4, b"long", b"c", b"d"]


def test_the_limit_may_be_raised_when_it_is_exceeded() -> None:
    class Patient(face.Int32StringReceiver):
        MAX_LENGTH = 3

        def lengthLimitExceeded(self, length: int) -> None:
            self.MAX_LENGTH = length
            self.dataReceived(b"")

        def stringReceived(self, string: bytes) -> None:
            got.append(string)

    got: list[bytes] = []
    protocol = Patient()
    protocol.dataReceived(wire(b"a", b"four", b"fives", b"b") + b"\0\0\0\6")
    protocol.dataReceived(b"sixsix")
    assert got == [b"a", b"four", b"fives", b"b", b"sixsix"]


@pytest.mark.parametrize("form", ["!b", "<h", ">i", "=q"])
def test_a_negative_length_ends_as_one_that_is_too_long(form: str) -> None:
    width = struct.calcsize(form)
    good, bad = struct.pack(form, 2) + b"ok", struct.pack(form, -2)
    data = good + bad + b"rest"
    for cut in range(len(data) + 1):
        protocol = receiver(face.IntNStringReceiver, structFormat=form, prefixLength=width, MAX_LENGTH=1 << 70)
        for piece in pieces(data, [cut]):
            protocol.dataReceived(piece)
        assert protocol.events[0] == b"ok"
        assert set(protocol.events[1:]) == {(1 << 8 * width) - 2}
        assert protocol.recvd == bad + b"rest"
        protocol.recvd = good
        protocol.dataReceived(good)
        assert protocol.events[-2:] == [b"ok", b"ok"]


def test_a_wrong_length_that_comes_while_paused_is_kept_too() -> None:
    protocol = receiver(face.IntNStringReceiver, structFormat="!h", prefixLength=2)
    protocol.pauseProducing()
    protocol.dataReceived(b"\0\1a\xff")
    protocol.dataReceived(b"\xfeb")
    protocol.resumeProducing()
    assert protocol.events == [b"a", 0xFFFE]
    assert protocol.recvd == b"\xff\xfeb"


def test_a_length_that_no_memory_has_is_too_long_too() -> None:
    protocol = receiver(face.IntNStringReceiver, structFormat="!Q", prefixLength=8, MAX_LENGTH=1 << 70)
    protocol.dataReceived(b"\xff" * 8)
    assert protocol.events == [(1 << 64) - 1]


def test_memory_follows_what_arrived() -> None:
    protocol = receiver(face.Int32StringReceiver, MAX_LENGTH=1 << 31)
    _, peak = traced(lambda: protocol.dataReceived(struct.pack("!I", 1 << 30) + bytes(100_000)))
    assert protocol.events == []
    assert peak < 1_000_000


# --- Pausing, re-entering, raising -----------------------------------------------------------------------------------


def test_a_pause_in_the_middle_of_a_batch_holds_the_rest() -> None:
    protocol = receiver(face.Int32StringReceiver, act=lambda self, string: string == b"b" and self.pauseProducing())
    protocol.dataReceived(wire(b"a", b"b", b"c", b"d") + b"\0")
    assert protocol.events == [b"a", b"b"]
    assert protocol.recvd == wire(b"c", b"d") + b"\0"
    protocol.dataReceived(b"\0\0\1e" + wire(b"b", b"f"))
    assert protocol.events == [b"a", b"b"]
    assert protocol.transport.producerState == "paused"
    protocol.resumeProducing()
    assert protocol.events == [b"a", b"b", b"c", b"d", b"e", b"b"]
    protocol.resumeProducing()
    assert protocol.events == [b"a", b"b", b"c", b"d", b"e", b"b", b"f"]
    assert protocol.recvd == b""


def test_a_pause_after_every_string() -> None:
    strings = [b"%d" % i for i in range(100)]
    protocol = receiver(face.Int32StringReceiver, act=lambda self, string: self.pauseProducing())
    protocol.dataReceived(wire(*strings))
    for count in range(1, 101):
        assert protocol.events == strings[:count]
        assert protocol.recvd == wire(*strings[count:])
        protocol.resumeProducing()
    assert protocol.events == strings


def test_a_paused_protocol_does_not_hold_what_it_has_delivered() -> None:
    protocol = receiver(
        face.Int32StringReceiver, act=lambda self, string: string[:1] == b"!" and self.pauseProducing(), MAX_LENGTH=5000
    )

    def deliver() -> None:
        protocol.dataReceived(wire(*[bytes(5000)] * 100, b"!", b"rest"))
        protocol.events.clear()

    held, _ = traced(deliver)
    assert protocol.recvd == wire(b"rest")
    assert held < 100_000


def test_stop_producing_delivers_nothing_more() -> None:
    protocol = receiver(face.Int32StringReceiver, act=lambda self, string: self.stopProducing())
    protocol.dataReceived(wire(b"a", b"b"))
    protocol.dataReceived(wire(b"c"))
    assert protocol.events == [b"a"]


def test_resuming_within_a_callback_neither_doubles_nor_recurses() -> None:
    def act(self: Any, string: bytes) -> None:
        self.pauseProducing()
        self.resumeProducing()

    strings = [b"%d" % i for i in range(2 * sys.getrecursionlimit())]
    protocol = receiver(face.Int32StringReceiver, act)
    protocol.dataReceived(wire(*strings))
    assert protocol.events == strings


@pytest.mark.parametrize("made", [wire, netstrings])
def test_bytes_that_a_callback_brings_come_behind_those_held(made: Callable[..., bytes]) -> None:
    def act(self: Any, string: bytes) -> None:
        if string == b"a":
            self.dataReceived(more[:5])
            self.dataReceived(more[5:])
            assert self.events == [b"a"]

    more = made(b"d", b"e")
    protocol = receiver(face.Int32StringReceiver if made is wire else face.NetstringReceiver, act)
    protocol.dataReceived(made(b"a", b"b", b"c"))
    assert protocol.events == [b"a", b"b", b"c", b"d", b"e"]


@pytest.mark.parametrize("made", [wire, netstrings])
def test_what_a_callback_raises_passes_and_the_rest_stays(made: Callable[..., bytes]) -> None:
    def act(self: Any, string: bytes) -> None:
        if string in (b"b", b"d"):
            raise RuntimeError(string)

    protocol = receiver(face.Int32StringReceiver if made is wire else face.NetstringReceiver, act)
    with pytest.raises(RuntimeError):
        protocol.dataReceived(made(b"a", b"b", b"c", b"d"))
    with pytest.raises(RuntimeError):
        protocol.dataReceived(made(b"e")[:2])
    protocol.dataReceived(made(b"e")[2:])
    assert protocol.events == [b"a", b"b", b"c", b"d", b"e"]


# --- recvd -----------------------------------------------------------------------------------------------------------


def test_recvd_is_what_isnt_delivered() -> None:
    assert face.Int32StringReceiver().recvd == b""
    seen = []
    protocol = receiver(face.Int32StringReceiver, act=lambda self, string: seen.append(self.recvd))
    protocol.dataReceived(wire(b"a", b"bb") + b"\0\0\0\3x")
    assert seen == [wire(b"bb") + b"\0\0\0\3x", b"\0\0\0\3x"]
    assert protocol.recvd == b"\0\0\0\3x"
    protocol.dataReceived(b"yz")
    assert protocol.events == [b"a", b"bb", b"xyz"]


def test_recvd_assigned_in_a_callback_is_parsed_instead() -> None:
    def act(self: Any, string: bytes) -> None:
        if string == b"a":
            self.recvd = wire(b"x", b"y") + b"\0\0"

    protocol = receiver(face.Int32StringReceiver, act)
    protocol.dataReceived(wire(b"a", b"b", b"c"))
    assert protocol.events == [b"a", b"x", b"y"]
    protocol.dataReceived(b"\0\1z")
    assert protocol.events == [b"a", b"x", b"y", b"z"]


def test_recvd_assigned_at_any_other_time_counts_too() -> None:
    protocol = receiver(face.Int32StringReceiver)
    protocol.recvd = b"\0\0\0"
    protocol.dataReceived(b"\1a\0")
    protocol.recvd += b"\0\0"
    protocol.dataReceived(b"\1b")
    assert protocol.events == [b"a", b"b"]
    protocol.pauseProducing()
    protocol.dataReceived(wire(b"gone"))
    protocol.recvd = wire(b"c")
    protocol.resumeProducing()
    assert protocol.events == [b"a", b"b", b"c"]


def test_recvd_assigned_when_the_limit_is_exceeded_goes_on_there() -> None:
    class Skipping(Strings, face.Int32StringReceiver):
        MAX_LENGTH = 3

        def lengthLimitExceeded(self, length: int) -> None:
            self.recvd = self.recvd[4 + length :]

    protocol = Skipping()
    protocol.dataReceived(wire(b"a", b"long", b"b"))
    protocol.dataReceived(wire(b"c"))
    assert protocol.events == [b"a", b"b", b"c"]


@pytest.mark.parametrize("nothing", ["", b""])
def test_switching_to_another_protocol_in_a_callback(nothing: Any) -> None:
    other = receiver(face.NetstringReceiver)

    def act(self: Any, string: bytes) -> None:
        if string == b"switch":
            rest, self.recvd = self.recvd, nothing
            self.dataReceived = other.dataReceived
            other.dataReceived(rest)

    protocol = receiver(face.Int32StringReceiver, act)
    protocol.dataReceived(wire(b"a", b"switch") + netstrings(b"b"))
    protocol.dataReceived(netstrings(b"c"))
    assert protocol.events == [b"a", b"switch"]
    assert other.events == [b"b", b"c"]
