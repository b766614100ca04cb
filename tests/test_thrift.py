"""Thrift's framed transport: against the host's own in both directions, and where the host's own goes wrong, on both engines."""

import struct
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("thrift")

from thrift.protocol.TBinaryProtocol import TBinaryProtocol, TBinaryProtocolAccelerated
from thrift.Thrift import TMessageType, TType
from thrift.transport import TTransport
from thrift.transport.TSocket import TSocket

import fastframe.thrift as face
from connections import LONG, Thread
from support import tcp_pair
from tlspairs import shaken

Host = TTransport.TFramedTransport
Ours = face.TFramedTransport
Error = TTransport.TTransportException
LIMIT = 16_384_000
SIZES = [0, 1, 3, 4, 5, 255, 16_383, 16_384, 65_531, 65_532, 65_536, 262_144, 262_145, 1_000_000]

both_ways = pytest.mark.parametrize(("sending", "receiving"), [(Host, Ours), (Ours, Host), (Ours, Ours)])


@pytest.fixture(autouse=True)
def on_engine(engine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face, "Decoder", engine.Decoder)


@pytest.fixture
def sockets() -> Iterator[tuple[TSocket, TSocket]]:
    """Both ends of a TCP connection."""
    ends = []
    for sock in tcp_pair():
        end = TSocket()
        end.setHandle(sock)
        end.setTimeout(LONG * 1000)
        ends.append(end)
    yield ends[0], ends[1]
    for end in ends:
        end.close()


class Script(TTransport.TTransportBase):
    """Gives these pieces, one at most for each read, raises those that are exceptions, and is at its end then."""

    def __init__(self, *pieces: bytes | BaseException) -> None:
        self.pieces = list(pieces)
        self.sizes: list[int] = []
        self.written: list[bytes] = []
        self.opened = True

    def isOpen(self) -> bool:
        return self.opened

    def open(self) -> None:
        self.opened = True

    def close(self) -> None:
        self.opened = False

    def read(self, sz: int) -> bytes:
        self.sizes.append(sz)
        if not self.pieces:
            return b""
        piece = self.pieces.pop(0)
        if isinstance(piece, BaseException):
            raise piece
        if piece[sz:]:
            self.pieces.insert(0, piece[sz:])
        return piece[:sz]

    def write(self, buf: bytes) -> None:
        self.written.append(buf)

    def flush(self) -> None:
        pass


def wire(*payloads: bytes) -> bytes:
    return b"".join(struct.pack(">i", len(payload)) + payload for payload in payloads)


def refused(trans: Any, size: int = 1) -> Error:
    """What a read of this size raises."""
    with pytest.raises(Error) as caught:
        trans.readAll(size)
    return caught.value


# --- The same bytes --------------------------------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("size", [*SIZES, LIMIT])
def test_one_writes_what_the_other_reads(sending: type, receiving: type, size: int) -> None:
    payload = bytes(i % 251 for i in range(min(size, 1000))) * (size // 1000 or 1)
    payload += b"z" * (size - len(payload))
    carrier = TTransport.TMemoryBuffer()
    sender = sending(carrier)
    for part in (payload[: size // 2], payload[size // 2 :]):
        sender.write(part)
    sender.flush()
    sender.write(b"next")
    sender.flush()
    assert carrier.getvalue() == wire(payload, b"next")
    receiver = receiving(TTransport.TMemoryBuffer(carrier.getvalue()))
    assert receiver.readAll(size) == payload
    for _ in range(2 if size == 0 else 0):
        receiver.readFrame()  # the host takes an empty frame for an end, unless it is asked for the frame
    assert receiver.read(10) == b"next"


@both_ways
@pytest.mark.parametrize("protocol", [TBinaryProtocol, TBinaryProtocolAccelerated])
def test_a_call_and_its_reply(sockets: tuple[TSocket, TSocket], sending: type, receiving: type, protocol: type) -> None:
    texts = ["x" * size for size in (0, 1, 20_000, 300_000)]
    client, server = protocol(sending(sockets[0])), protocol(receiving(sockets[1]))

    def serve() -> None:
        for _ in texts:
            name, kind, number = server.readMessageBegin()
            assert (name, kind) == ("echo", TMessageType.CALL)
            text = server.readString()
            server.writeMessageBegin("echo", TMessageType.REPLY, number)
            server.writeString(text)
            server.trans.flush()

    thread = Thread(serve)
    for number, text in enumerate(texts):
        client.writeMessageBegin("echo", TMessageType.CALL, number)
        client.writeString(text)
        client.trans.flush()
        assert client.readMessageBegin() == ("echo", TMessageType.REPLY, number)
        assert client.readString() == text
    thread.done()


class Record:
    """What a thrift compiler would make of a struct with two fields."""

    thrift_spec = (None, (1, TType.STRING, "text", "UTF8", None), (2, TType.I64, "number", None, None))

    def __init__(self, text: str | None = None, number: int | None = None) -> None:
        self.text, self.number = text, number


@both_ways
def test_the_accelerated_protocol_reads_frames_by_itself(sending: type, receiving: type) -> None:
    pytest.importorskip("thrift.protocol.fastbinary")
    carrier = TTransport.TMemoryBuffer()
    writing = TBinaryProtocolAccelerated(sending(carrier))
    for number, text in enumerate(["", "abc", "x" * 70_000]):
        writing.trans.write(writing._fast_encode(Record(text, number), [Record, Record.thrift_spec]))
        writing.trans.flush()
    reading = TBinaryProtocolAccelerated(receiving(TTransport.TMemoryBuffer(carrier.getvalue())))
    assert isinstance(reading.trans, TTransport.CReadableTransport)
    for number, text in enumerate(["", "abc", "x" * 70_000]):
        record = Record()
        reading._fast_decode(record, reading, [Record, Record.thrift_spec])
        assert (record.text, record.number) == (text, number)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_a_message_of_many_frames(size: int) -> None:
    pytest.importorskip("thrift.protocol.fastbinary")
    encoded = TBinaryProtocolAccelerated(None)._fast_encode(Record("text" * 50, 7), [Record, Record.thrift_spec])
    frames = [encoded[i : i + size] for i in range(0, len(encoded), size)]
    reading = TBinaryProtocolAccelerated(Ours(Script(wire(b"", *frames, b"", b"rest"))))
    record = Record()
    reading._fast_decode(record, reading, [Record, Record.thrift_spec])
    assert (record.text, record.number) == ("text" * 50, 7)
    assert reading.trans.readAll(4) == b"rest"


# --- Reading ---------------------------------------------------------------------------------------------------------


def test_reads_of_any_size_go_through_frames() -> None:
    for transport in (Host, Ours):
        trans = transport(Script(wire(b"abcdef", b"gh", b"ijkl")))
        assert [trans.read(4), trans.read(4), trans.read(1)] == [b"abcd", b"ef", b"g"]
        assert trans.readAll(4) == b"hijk"
        assert trans.read(100) == b"l"
        with pytest.raises(EOFError):
            trans.read(1)


def test_nothing_read_drops_nothing() -> None:
    trans = Ours(Script(wire(b"abc")))
    assert trans.read(1) == b"a"
    assert trans.read(0) == trans.readAll(0) == b""
    assert trans.read(5) == b"bc"


def test_an_empty_frame_is_not_an_end() -> None:
    data = wire(b"", b"a", b"", b"", b"b")
    assert Ours(Script(data)).readAll(2) == b"ab"
    with pytest.raises(EOFError):
        Host(Script(data)).readAll(2)


def test_every_cut_gives_the_same() -> None:
    data = wire(b"one", b"", b"three")
    for first in range(len(data) + 1):
        for second in range(first, len(data) + 1):
            pieces = [piece for piece in (data[:first], data[first:second], data[second:]) if piece]
            assert Ours(Script(*pieces)).readAll(8) == b"onethree"


def test_no_byte_beyond_the_frame_is_taken_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "frames"
    path.write_bytes(wire(b"first", b"x" * 300_000) + b"something else")
    with path.open("rb") as file:
        trans = Ours(TTransport.TFileObjectTransport(file))
        assert trans.readAll(5) == b"first"
        assert file.tell() == 9
        assert trans.readAll(300_000) == b"x" * 300_000
        assert file.read() == b"something else"


def test_a_burst_over_a_socket_is_received_at_once(sockets: tuple[TSocket, TSocket]) -> None:
    trans = Ours(sockets[1])
    sockets[0].write(wire(*(bytes([i]) for i in range(100))))
    sockets[0].close()
    assert trans.readAll(1) == b"\0"
    asked: list[int] = []
    read = sockets[1].read
    sockets[1].read = lambda size: asked.append(size) or read(size)
    assert trans.isOpen()  # the peer has gone, the frames are here
    assert trans.readAll(99) == bytes(range(1, 100))
    assert asked == []
    assert refused(trans).type == Error.END_OF_FILE
    assert not trans.isOpen()


def test_reading_over_tls() -> None:
    ends = [TSocket(), TSocket()]
    for end, sock in zip(ends, shaken(*tcp_pair()), strict=True):
        end.setHandle(sock)
    payloads = [b"a", b"b" * 100_000, b"c"]
    thread = Thread(lambda: ends[0].write(wire(*payloads)))
    assert Ours(ends[1]).readAll(100_002) == b"".join(payloads)
    thread.done()
    for end in ends:
        end.close()


def test_reading_over_a_buffered_transport(sockets: tuple[TSocket, TSocket]) -> None:
    sender, receiver = Host(sockets[0]), Ours(TTransport.TBufferedTransport(sockets[1]))
    for payload in (b"a", b"b" * 10_000):
        sender.write(payload)
        sender.flush()
    assert receiver.readAll(10_001) == b"a" + b"b" * 10_000


# --- Ends and errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [-1, -(2**31), -4])
def test_a_negative_length_is_refused(length: int) -> None:
    script = Script(wire(b"ok") + struct.pack(">i", length), wire(b"more"))
    trans = Ours(script)
    assert trans.readAll(2) == b"ok"
    error = refused(trans)
    assert error.type == Error.NEGATIVE_SIZE
    assert str(length) in error.message
    assert error.inner is not None
    assert script.pieces == [wire(b"more")]


@pytest.mark.parametrize(("limit", "length"), [(LIMIT, LIMIT + 1), (LIMIT, 2**31 - 1), (10, 11), (1, 2)])
def test_a_length_beyond_the_limit_is_refused_before_any_of_it_is_read(limit: int, length: int) -> None:
    script = Script(struct.pack(">i", length), b"x" * 20)
    error = refused(Ours(script, limit))
    assert error.type == Error.SIZE_LIMIT
    assert str(length) in error.message
    assert str(limit) in error.message
    assert script.pieces == [b"x" * 20]


def test_as_much_as_the_limit_is_read() -> None:
    assert Ours(Script(wire(b"x" * 10)), 10).readAll(10) == b"x" * 10


def test_what_is_declared_is_not_asked_for_at_once() -> None:
    script = Script(struct.pack(">i", LIMIT), b"x" * 1000)
    assert refused(Ours(script)).type == Error.END_OF_FILE
    assert max(script.sizes) <= 1 << 18


def test_frames_come_before_the_error_and_it_stays_until_the_transport_is_opened_anew(
    sockets: tuple[TSocket, TSocket],
) -> None:
    trans = Ours(sockets[1])
    sockets[0].write(wire(b"good", b"frames") + b"\xff\xff\xff\xffrest")
    assert trans.readAll(10) == b"goodframes"
    for _ in range(3):
        assert refused(trans).type == Error.NEGATIVE_SIZE
    again = Script(b"\x80\0\0\0", wire(b"new"))
    trans = Ours(again)
    assert refused(trans).type == refused(trans).type == Error.NEGATIVE_SIZE
    trans.close()
    trans.open()
    assert trans.readAll(3) == b"new"


@pytest.mark.parametrize("cut", range(1, 14))
def test_a_stream_that_ends_inside_a_frame(cut: int) -> None:
    data = wire(b"first", b"other")
    trans = Ours(TTransport.TMemoryBuffer(data[: 4 + cut]))
    assert cut < 5 or trans.readAll(5) == b"first"
    if cut == 5:
        with pytest.raises(EOFError):
            trans.readAll(1)
        return
    for _ in range(2):
        error = refused(trans)
        assert error.type == Error.END_OF_FILE
        assert "ended" in error.message


def test_a_clean_end_is_the_end_of_the_transport_below(sockets: tuple[TSocket, TSocket]) -> None:
    for transport in (Host, Ours):
        trans = transport(Script(wire(b"a"), b""))
        assert trans.read(1) == b"a"
        for _ in range(2):
            with pytest.raises(EOFError):
                trans.read(1)
    sockets[0].close()
    error = refused(Ours(sockets[1]))
    assert (error.type, error.message) == (Error.END_OF_FILE, "TSocket read 0 bytes")


@pytest.mark.parametrize("error", [Error(Error.TIMED_OUT, "read timeout"), InterruptedError(), KeyboardInterrupt()])
def test_an_interruption_at_any_byte_loses_nothing(error: BaseException) -> None:
    data = wire(b"one", b"two")
    for cut in range(len(data)):
        trans = Ours(Script(*([data[:cut]] if cut else []), error, data[cut:]))
        with pytest.raises(type(error)):
            trans.readAll(6)
        assert trans.readAll(6) == b"onetwo"


def test_a_socket_that_times_out_inside_a_frame_goes_on(sockets: tuple[TSocket, TSocket]) -> None:
    data = wire(b"hello")
    trans = Ours(sockets[1])
    sockets[1].setTimeout(5)
    sent = 0
    for cut in (2, 6):
        sockets[0].write(data[sent:cut])
        sent = cut
        assert refused(trans, 5).type == Error.TIMED_OUT
    sockets[0].write(data[sent:])
    sockets[1].setTimeout(LONG * 1000)
    assert trans.readAll(5) == b"hello"


@pytest.mark.parametrize("reopen", ["open", "close"])
def test_opening_and_closing_forget_what_was_received(reopen: str) -> None:
    script = Script(wire(b"abc")[:5], Error(Error.TIMED_OUT), wire(b"new"))
    trans = Ours(script)
    assert refused(trans).type == Error.TIMED_OUT
    getattr(trans, reopen)()
    assert script.opened == (reopen == "open")
    assert trans.readAll(3) == b"new"


# --- Sending ---------------------------------------------------------------------------------------------------------


def test_a_frame_is_one_write() -> None:
    script = Script()
    trans = Ours(script)
    for part in (b"a", b"bc", b""):
        trans.write(part)
    trans.flush()
    trans.flush()
    assert script.written == [wire(b"abc"), wire(b"")]


def test_a_frame_that_is_too_large_is_not_sent() -> None:
    script = Script()
    trans = Ours(script, 10)
    trans.write(b"x" * 11)
    with pytest.raises(Error) as caught:
        trans.flush()
    assert caught.value.type == Error.SIZE_LIMIT
    assert "11" in caught.value.message
    assert script.written == []
    trans.write(b"x" * 10)
    trans.flush()
    assert script.written == [wire(b"x" * 10)]


def test_what_the_transport_below_raises_passes() -> None:
    class Broken(Script):
        def write(self, buf: bytes) -> None:
            raise Error(Error.NOT_OPEN, "Transport not open")

    trans = Ours(Broken(OSError("gone")))
    trans.write(b"x")
    with pytest.raises(Error, match="Transport not open"):
        trans.flush()
    with pytest.raises(OSError, match="gone"):
        trans.read(1)


# --- Making one ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, -1, 2**30])
def test_a_limit_that_cannot_be(size: int) -> None:
    with pytest.raises(ValueError):
        Ours(Script(), size)
    assert Ours(Script(), max_frame_size=2**30 - 1).isOpen()


def test_a_factory_hands_its_limit_on() -> None:
    made = face.TFramedTransportFactory().getTransport(Script(struct.pack(">i", LIMIT + 1)))
    assert type(made) is Ours
    assert refused(made).type == Error.SIZE_LIMIT
    small = face.TFramedTransportFactory(max_frame_size=3).getTransport(Script(wire(b"four")))
    assert refused(small).type == Error.SIZE_LIMIT


def test_open_and_closed_is_the_transport_below() -> None:
    script = Script()
    trans = Ours(script)
    trans.close()
    assert not trans.isOpen()
    assert not script.opened
    trans.open()
    assert trans.isOpen()
