"""The line receivers: what Twisted promises of its own, what is better than there, and both call by call."""

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("twisted")

from twisted.internet.testing import StringTransport
from twisted.protocols import basic

import fastframe.twisted as face
from twistedreceivers import Lines, feed, given_bytes, on_engine, pieces, receiver

__all__ = ["given_bytes", "on_engine"]  # the fixtures that pytest is to find here

both_receivers = pytest.mark.parametrize(
    "cls", [face.LineReceiver, face.LineOnlyReceiver], ids=lambda cls: cls.__name__
)


# --- Both ------------------------------------------------------------------------------------------------------------


@both_receivers
@pytest.mark.parametrize("delimiter", [b"\n", b"\r\n", b"aba"])
def test_every_cut_gives_the_same_lines(cls: Any, delimiter: bytes) -> None:
    data = delimiter.join([b"one", b"", b"th\ree", b""])
    for first in range(len(data) + 1):
        for second in range(first, len(data) + 1):
            protocol = receiver(cls, delimiter=delimiter)
            for piece in (data[:first], data[first:second], data[second:]):
                protocol.dataReceived(piece)
            assert protocol.events == [b"one", b"", b"th\ree"]


@both_receivers
def test_bytes_that_a_callback_brings_come_behind_those_held(cls: Any) -> None:
    def act(self: Any, line: bytes) -> None:
        if line == b"a":
            self.dataReceived(b"\nd")
            self.dataReceived(b"\n")
            assert self.events == [b"a"]

    protocol = receiver(cls, act)
    protocol.dataReceived(b"a\nb\nc")
    assert protocol.events == [b"a", b"b", b"c", b"d"]


@both_receivers
def test_what_a_callback_raises_passes_and_the_rest_stays(cls: Any) -> None:
    def act(self: Any, line: bytes) -> None:
        if line in (b"b", b"d"):
            raise RuntimeError(line)

    protocol = receiver(cls, act)
    with pytest.raises(RuntimeError):
        protocol.dataReceived(b"a\nb\nc\nd\n")
    with pytest.raises(RuntimeError):
        protocol.dataReceived(b"e")
    protocol.dataReceived(b"\n")
    assert protocol.events == [b"a", b"b", b"c", b"d", b"e"]


@both_receivers
def test_the_default_closes_the_connection(cls: Any) -> None:
    for data in (b"x" * 16_386, b"x" * 16_385 + b"\r\nmore"):
        protocol = type("Plain", (cls,), {})()
        protocol.makeConnection(StringTransport())
        protocol.dataReceived(data)
        assert protocol.transport.disconnecting


@both_receivers
def test_lines_are_sent_as_the_host_does(cls: Any) -> None:
    protocol = receiver(cls, delimiter=b"\r\n")
    protocol.sendLine(b"a line")
    assert protocol.transport.value() == b"a line\r\n"


@both_receivers
def test_an_empty_delimiter_is_refused(cls: Any) -> None:
    with pytest.raises(ValueError, match="none of them empty"):
        receiver(cls, delimiter=b"").dataReceived(b"a")


@both_receivers
def test_a_new_delimiter_counts_for_what_is_held(cls: Any) -> None:
    protocol = receiver(cls)
    protocol.dataReceived(b"a\nb;c")
    protocol.delimiter = b";"
    protocol.dataReceived(b";\n")
    assert protocol.events == [b"a", b"b", b"c"]
    assert protocol._buffer == b"\n"


@both_receivers
def test_the_hosts_buffer_can_be_read_and_written(cls: Any) -> None:
    protocol = receiver(cls)
    assert protocol._buffer == b""
    protocol._buffer = b"a"
    protocol.dataReceived(b"b\nc")
    assert protocol.events == [b"ab"]
    assert protocol._buffer == b"c"
    protocol._buffer = b""
    protocol.dataReceived(b"d\n")
    assert protocol.events == [b"ab", b"d"]


@both_receivers
@pytest.mark.parametrize(
    ("data", "size"), [(bytes(100_000) + b"\n", 64), (b"x\n" * 5000, 1 << 20), (b"xyz\n" * 5000, 7)]
)
def test_each_byte_is_parsed_once(cls: Any, data: bytes, size: int, given_bytes: list[int]) -> None:
    protocol = receiver(cls, MAX_LENGTH=100_000)
    feed(protocol, data, size)
    assert protocol.events == data.split(b"\n")[:-1]
    assert sum(given_bytes) == len(data)


# --- LineReceiver ----------------------------------------------------------------------------------------------------


def test_a_pause_in_the_middle_holds_the_rest() -> None:
    protocol = receiver(face.LineReceiver, act=lambda self, line: self.pauseProducing() if line == b"b" else None)
    protocol.dataReceived(b"a\nb\nc\nd")
    assert protocol.events == [b"a", b"b"]
    protocol.dataReceived(b"\nb\ne\n")
    assert protocol.events == [b"a", b"b"]
    protocol.resumeProducing()
    assert protocol.events == [b"a", b"b", b"c", b"d", b"b"]
    protocol.resumeProducing()
    assert protocol.events == [b"a", b"b", b"c", b"d", b"b", b"e"]


def test_resuming_within_a_callback_does_not_recurse() -> None:
    def act(self: Any, line: bytes) -> None:
        self.pauseProducing()
        self.resumeProducing()

    lines = [b"%d" % i for i in range(2 * sys.getrecursionlimit())]
    protocol = receiver(face.LineReceiver, act)
    protocol.dataReceived(b"\n".join([*lines, b""]))
    assert protocol.events == lines


def test_raw_mode_gets_the_rest_and_gives_back_what_it_wants() -> None:
    class Body(Lines, face.LineReceiver):
        missing = 0

        def lineReceived(self, line: bytes) -> None:
            self.events.append(line)
            self.missing = int(line)
            self.setRawMode()

        def rawDataReceived(self, data: bytes) -> None:
            took, rest = data[: self.missing], data[self.missing :]
            self.events.append(took)
            self.missing -= len(took)
            if not self.missing:
                self.setLineMode(rest)

    data = b"3\nabc5\n\n\n\n\n\n2\nxy"
    for size in range(1, len(data) + 1):
        protocol = Body()
        feed(protocol, data, size)
        assert b"".join(protocol.events) == b"3abc5\n\n\n\n\n2xy"


def test_raw_data_is_handed_on_as_it_came() -> None:
    protocol = receiver(face.LineReceiver)
    protocol.setRawMode()
    data = b"raw\ndata"
    protocol.dataReceived(data)
    assert protocol.events[0][1] is data
    protocol.pauseProducing()
    protocol.dataReceived(b"1")
    protocol.dataReceived(b"2")
    protocol.resumeProducing()
    assert protocol.events[1:] == [("raw", b"12")]


def test_raw_mode_gets_what_is_held_first() -> None:
    def act(self: Any, line: bytes) -> str:
        self.setRawMode()
        return "why"

    protocol = receiver(face.LineReceiver, act)
    assert protocol.dataReceived(b"a\nheld") == "why"
    protocol.dataReceived(b" and new")
    assert protocol.events == [b"a", ("raw", b"held and new")]


def test_what_raw_data_received_returns_is_returned() -> None:
    class Failing(face.LineReceiver):
        line_mode = 0

        def rawDataReceived(self, data: bytes) -> bytes:
            return data

    assert Failing().dataReceived(b"why") == b"why"


def test_a_line_that_returns_something_or_closes_is_the_last_of_its_call() -> None:
    def act(self: Any, line: bytes) -> Any:
        if line == b"b":
            return "why"
        if line == b"c":
            self.transport.loseConnection()
        return None

    protocol = receiver(face.LineReceiver, act)
    assert protocol.dataReceived(b"a\nb\nc\nd\n") == "why"
    assert protocol.events == [b"a", b"b"]
    assert protocol.dataReceived(b"") is None
    assert protocol.events == [b"a", b"b", b"c"]
    assert protocol.clearLineBuffer() == b"d\n"


def test_the_buffer_can_be_cleared_in_a_callback() -> None:
    protocol = receiver(face.LineReceiver, act=lambda self, line: self.events.append(self.clearLineBuffer()))
    assert protocol.clearLineBuffer() == b""
    protocol.dataReceived(b"a\nb\nc")
    protocol.dataReceived(b"d\n")
    assert protocol.events == [b"a", b"b\nc", b"d", b""]


@pytest.mark.parametrize("rest", [b"", b"\n", b"\nb\nc"])
def test_a_long_line_comes_with_all_that_is_held(rest: bytes) -> None:
    protocol = receiver(face.LineReceiver, MAX_LENGTH=4)
    protocol.dataReceived(b"a\nlong" + b"!" * 5 + rest)
    assert protocol.events == [b"a", ("long", b"long!!!!!" + rest)]
    protocol.dataReceived(b"d\n")
    assert protocol.events[2:] == [b"d"]


def test_a_line_without_an_end_is_long_once_its_end_would_be() -> None:
    protocol = receiver(face.LineReceiver, delimiter=b"\r\n", MAX_LENGTH=4)
    protocol.dataReceived(b"four\r")
    assert protocol.events == []
    protocol.dataReceived(b"!")
    assert protocol.events == [("long", b"four\r!")]


def test_delimiter_and_limit_may_change_in_a_callback() -> None:
    def act(self: Any, line: bytes) -> None:
        if line == b"a":
            self.delimiter = b";"
        elif line == b"b\nc":
            self.MAX_LENGTH = 3

    protocol = receiver(face.LineReceiver, act)
    protocol.dataReceived(b"a\nb\nc;ddd;eeee;f")
    assert protocol.events == [b"a", b"b\nc", b"ddd", ("long", b"eeee;f")]


# --- LineOnlyReceiver ------------------------------------------------------------------------------------------------


def test_lines_behind_the_one_that_closes_are_disregarded() -> None:
    protocol = receiver(face.LineOnlyReceiver, lambda self, line: self.transport.loseConnection(), MAX_LENGTH=4)
    protocol.dataReceived(b"a\nb\nc\nlong!")
    assert protocol.events == [b"a"]
    assert protocol._buffer == b"long!"
    protocol.dataReceived(b"\nd\n")
    assert protocol.events == [b"a"]


def test_the_hosts_buffer_may_be_replaced_in_a_callback() -> None:
    def act(self: Any, line: bytes) -> None:
        if line == b"a":
            assert self._buffer == b"b\nc"
            self._buffer = b"x\ny"

    protocol = receiver(face.LineOnlyReceiver, act)
    protocol.dataReceived(b"a\nb\nc")
    assert protocol.events == [b"a", b"x"]
    protocol.dataReceived(b"z\n")
    assert protocol.events == [b"a", b"x", b"yz"]


def test_lines_behind_a_long_one_come_whatever_the_pieces() -> None:
    data = b"a\nlong!\nb\nlong!!\nc\n"
    for cut in [1, 2, 8, 9, 10, len(data)]:
        protocol = receiver(face.LineOnlyReceiver, MAX_LENGTH=4)
        for piece in pieces(data, [cut]):
            protocol.dataReceived(piece)
        assert protocol.events == [b"a", ("long", b"long!"), b"b", ("long", b"long!!"), b"c"]


def test_what_line_length_exceeded_returns_is_returned() -> None:
    class Failing(Lines, face.LineOnlyReceiver):
        MAX_LENGTH = 4

        def lineLengthExceeded(self, line: bytes) -> bytes:
            return line

    protocol = Failing()
    protocol.makeConnection(StringTransport())
    assert protocol.dataReceived(b"a\nlong!\nb\n") == b"long!"
    assert protocol.dataReceived(b"longer") == b"longer"
    assert protocol.events == [b"a", b"b"]


def test_a_line_without_an_end_is_long_beyond_the_limit() -> None:
    protocol = receiver(face.LineOnlyReceiver, MAX_LENGTH=4)
    protocol.dataReceived(b"a\nfour")
    assert protocol.events == [b"a"]
    protocol.dataReceived(b"!")
    assert protocol.events == [b"a", ("long", b"four!")]


# --- Against the host ------------------------------------------------------------------------------------------------


def run(cls: Any, chunks: list[bytes], acts: list[int], limit: int, delimiter: bytes) -> list[object]:
    """What a protocol of this class did with the chunks: its calls, and what can be seen of it behind each chunk."""
    pauses = issubclass(cls, basic.LineReceiver)

    def act(self: Any, line: bytes) -> None:
        what = acts[len(self.events) * 7 % len(acts)]
        if what == 1:
            self.transport.loseConnection()
        elif what == 2:
            self.MAX_LENGTH = limit + 1 if limit == self.MAX_LENGTH else limit
        elif not pauses:
            pass
        elif what == 3 and not self.transport.disconnecting:
            self.pauseProducing()
        elif what == 4:
            self.setRawMode()
        elif what == 5:
            self.events.append(self.clearLineBuffer())
        elif what == 6:
            self.delimiter = b"a" if self.delimiter == delimiter else delimiter

    trace: list[object] = []
    protocol = receiver(cls, act, MAX_LENGTH=limit, delimiter=delimiter)
    for chunk in chunks:
        protocol.dataReceived(chunk)
        while pauses and protocol.paused:
            protocol.resumeProducing()
        if pauses and not protocol.line_mode:
            protocol.setLineMode(b"a")
        long = [i for i, event in enumerate(protocol.events) if isinstance(event, tuple)]
        if long and not pauses:
            # Here the host forgets lines.
            return [*trace, protocol.events[: long[0] + 1]]
        trace.append((list(protocol.events), protocol._buffer))
    return trace


@given(
    st.text("ab\r\n", max_size=60),
    st.lists(st.integers(0, 12), max_size=12),
    st.lists(st.integers(0, 6), min_size=1, max_size=8),
    st.integers(1, 8),
    st.sampled_from([b"\n", b"\r\n"]),
)
def test_lines_are_delivered_as_the_host_does(
    text: str, sizes: list[int], acts: list[int], limit: int, delimiter: bytes
) -> None:
    chunks = pieces(text.encode(), sizes)
    for name in ("LineReceiver", "LineOnlyReceiver"):
        ours = run(getattr(face, name), chunks, acts, limit, delimiter)
        assert ours == run(getattr(basic, name), chunks, acts, limit, delimiter)
