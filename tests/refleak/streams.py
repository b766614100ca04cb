"""The operations of FrameReader, FrameWriter and `wait`, each as a call without arguments."""

import copy
import os
import pickle
import socket
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import fastframe as ff

from .decoder import BAD, FRAMING, GOOD, WIRE, byte
from .expected import raises
from .meter import Operation

READS = ("read", "read_batch", "read_one")


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe's ends: of each, who closes it puts nothing in its place."""
    reading, writing = os.pipe()
    try:
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


def streams(engine: Any) -> Iterator[tuple[str, Operation]]:
    for method in READS:
        for readahead in (True, False):
            way = f"{method}, readahead={readahead}"
            for name, (framing, frames) in GOOD.items():
                if name == "Delimiter" and not readahead:
                    frames = frames[:2]  # a large one takes a system call for each of its bytes
                yield f"{way}, {name}", partial(read, engine, framing, frames, method, readahead)
            for number, (framing, data, kind) in enumerate(BAD):
                yield (
                    f"{kind.__name__} by {way}, {number}",
                    partial(fail, engine, framing, data, kind, method, readahead),
                )
            yield f"{way}, from a pipe", partial(read_pipe, engine, method, readahead)
            yield f"ConnectionLost by {way}", partial(lose, engine, method, readahead)
    for name, (framing, frames) in GOOD.items():
        if name != "UntilEOF":
            yield f"write, {name}", partial(write, engine, framing, frames)
    for name, operation in OPERATIONS.items():
        yield name, partial(operation, engine)


# --- FrameReader -----------------------------------------------------------------------------------------------------


def taken(reader: Any, method: str) -> list[bytes]:
    """What one call gives; [] would have to wait."""
    got = getattr(reader, method)()
    return list(got) if method != "read_one" else [] if got is None else [got]


def read(engine: Any, framing: ff.Framing, frames: list[bytes], method: str, readahead: bool) -> None:
    """Nothing, a part, all of a stream, and its clean end."""
    with pair() as (ours, theirs):
        reader = engine.FrameReader(ours, framing, readahead=readahead)
        assert taken(reader, method) == []
        data = framing.encode_many(frames)
        theirs.sendall(data[:2])
        got = taken(reader, method)
        theirs.sendall(data[2:])
        theirs.shutdown(socket.SHUT_WR)
        try:
            while True:
                got += taken(reader, method)
        except ff.ConnectionClosed:
            assert got == frames
        raises(ff.ConnectionClosed, getattr(reader, method))
        assert reader.stats.frames == len(frames)
        assert reader.unread() == b""


def fail(
    engine: Any, framing: ff.Framing, data: bytes, kind: type[ff.FrameError], method: str, readahead: bool
) -> None:
    """A stream that breaks, or ends too early."""
    with pair() as (ours, theirs):
        reader = engine.FrameReader(ours, framing, readahead=readahead)
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        try:
            while taken(reader, method):
                pass
        except kind:
            assert type(reader.error) is kind
        for call in (reader.read, reader.read_batch, reader.read_one, reader.unread):
            raises(kind, call)


def read_pipe(engine: Any, method: str, readahead: bool) -> None:
    reading, writing = os.pipe()
    try:
        with open(writing, "wb", buffering=0) as file:
            reader = engine.FrameReader(reading, FRAMING, buffer_size=7, readahead=readahead)
            assert taken(reader, method) == []
            file.write(WIRE + b"\0")
        got = []
        try:
            while True:
                got += taken(reader, method)
        except ff.TruncatedFrame:
            assert got == FRAMING.decode(WIRE)
    finally:
        os.close(reading)


def lose(engine: Any, method: str, readahead: bool) -> None:
    """A reset, behind a frame: a unix socket's, whose peer closes with something unread."""
    with pair() as (ours, theirs):
        reader = engine.FrameReader(ours, FRAMING, readahead=readahead)
        ours.send(b"unread")
        theirs.sendall(FRAMING.encode(b"x"))
        theirs.close()
        assert taken(reader, method) == [b"x"]
        for _ in range(2):
            raises(ff.ConnectionLost, getattr(reader, method))


def put_down(engine: Any) -> None:
    """Readers that go with all that they hold."""
    for cut in (2, 6, 50_000):
        with pair() as (ours, theirs):
            reader = engine.FrameReader(ours, FRAMING)
            theirs.sendall((WIRE + FRAMING.encode(b"x" * 90_000))[: len(WIRE) + cut])
            assert reader.read_one() == b"one"
            assert reader.buffered > 0
            assert reader.needed == 0
            assert reader.fileno() == ours.fileno()
            reader.framing = ff.FixedSize(2)
            reader.framing = FRAMING
            raises(TypeError, setattr, reader, "framing", None)
            if cut == 6:
                assert reader.unread()
            assert repr(reader)


def wrong_reader(engine: Any) -> None:
    with pair() as (ours, theirs), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        make = engine.FrameReader
        for source in (None, "x", 1.5, True, object()):
            raises(TypeError, make, source, FRAMING)
        for source in (-1, 1 << 20, 1 << 80):
            raises(ValueError, make, source, FRAMING)
        raises(TypeError, make, datagrams, FRAMING)
        raises(TypeError, make, ours, b"x")
        raises(TypeError, make, ours)
        raises(TypeError, make)
        raises(TypeError, make, ours, FRAMING, buffer_size="x")
        raises(ValueError, make, ours, FRAMING, buffer_size=0)
        reader = make(ours, FRAMING)
        raises(TypeError, reader.__init__, ours, FRAMING)
        raises(TypeError, copy.copy, reader)
        raises(TypeError, pickle.dumps, reader)
        theirs.close()
        ours.close()
        raises(OSError, reader.read)
        raises(ValueError, make, ours, FRAMING)


def computed_in_a_reader(engine: Any) -> None:
    """Its exceptions pass, and a call that comes back in is ConcurrentUse."""
    with pair() as (ours, theirs):
        reader = engine.FrameReader(ours, ff.Computed(1, byte))
        theirs.sendall(b"\x02a\xfe")
        assert reader.read() == [b"\x02a"]
        for call in (reader.read, reader.read_one, reader.read_batch):
            raises(LookupError, call)

        def function(header: bytes) -> int:
            raises(ff.ConcurrentUse, reader.read)
            raises(ff.ConcurrentUse, reader.unread)
            raise KeyboardInterrupt

        reader.framing = ff.Computed(1, function)
        raises(KeyboardInterrupt, reader.read)
        reader.framing = FRAMING


# --- FrameWriter -----------------------------------------------------------------------------------------------------


def write(engine: Any, framing: ff.Framing, frames: list[bytes]) -> None:
    """One by one and many, of every kind of buffer."""
    with pair() as (ours, theirs):
        writer = engine.FrameWriter(ours, framing)
        assert writer.write(frames[0])
        assert writer.write(bytearray(frames[0]))
        assert writer.write(memoryview(frames[0]))
        assert writer.write(array("B", frames[0]))
        assert writer.write_many([bytearray(frame) for frame in frames])
        assert writer.write_many(iter(frames))
        assert writer.write_many([])
        assert writer.flush()
        size = writer.stats.bytes
        data = b""
        while len(data) < size:
            data += theirs.recv(size)
        assert framing.decode(data) == frames[:1] * 4 + frames * 2


def queue(engine: Any) -> None:
    """What the kernel doesn't take is queued, flushed, withdrawn, or goes down with the writer."""
    with pair() as (ours, theirs):
        writer = engine.FrameWriter(ours, FRAMING, max_pending=1_000_000, high_water=10, low_water=5)
        assert not writer.write(bytearray(600_000))
        pending = writer.pending
        assert not writer.writable
        assert not writer.write(b"small")
        assert writer._withdraw()
        assert not writer.write_many([b"a" * 5000, bytearray(5000), b"b"])
        assert not writer.write_many(iter([b"a"] * 100))
        assert writer.pending > pending
        raises(ff.QueueFull, writer.write, b"x" * 1_000_000)
        raises(ff.QueueFull, writer.write_many, [b"x" * 1_000_000] * 2)
        writer.framing = ff.Netstring()
        assert not writer.write(b"x")
        for _ in range(2):
            theirs.recv(100_000)
            writer.flush()
        assert writer.fileno() == ours.fileno()
        assert repr(writer)


def refused_payloads(engine: Any) -> None:
    """Nothing of them is taken."""
    with pair() as (ours, _):
        writer = engine.FrameWriter(ours, ff.LengthField(1, max_size=10))
        for payload in (None, "x", 5, [b"x"]):
            raises(TypeError, writer.write, payload)
            raises(TypeError, writer.write_many, [b"x", payload])
        raises(TypeError, writer.write_many, 5)
        raises(TypeError, writer.write)
        raises(ff.FrameTooLarge, writer.write, b"x" * 11)
        raises(ff.FrameTooLarge, writer.write_many, [b"x", b"x" * 11])
        for kind in (LookupError, KeyboardInterrupt, StopAsyncIteration):
            raises(kind, writer.write_many, breaking(kind))
        writer.framing = ff.LengthField(1, trailer_size=2)
        raises(ValueError, writer.write, b"x")
        writer.framing = ff.Delimiter(b"\n")
        raises(ValueError, writer.write, b"x\ny")
        raises(TypeError, setattr, writer, "framing", 5)
        assert writer.stats.frames == writer.pending == 0


def breaking(kind: type[BaseException]) -> Iterator[bytes]:
    yield b"x"
    yield bytearray(b"y")
    raise kind


def broken_pipe(engine: Any) -> None:
    """It stays, and what was pending goes."""
    with pair() as (ours, theirs):
        writer = engine.FrameWriter(ours, FRAMING)
        assert not writer.write(bytearray(600_000))
        theirs.close()
        raises(ff.ConnectionLost, writer.flush)
        raises(ff.ConnectionLost, writer.write, b"x")
        raises(ff.ConnectionLost, writer.write_many, [b"x"])
        raises(ff.ConnectionLost, setattr, writer, "framing", FRAMING)
        assert writer.pending == 0
        assert type(writer.error) is ff.ConnectionLost


def wrong_writer(engine: Any) -> None:
    with pair() as (ours, theirs):
        make = engine.FrameWriter
        for sink in (None, "x", 1.5, True):
            raises(TypeError, make, sink, FRAMING)
        raises(ValueError, make, -1, FRAMING)
        raises(TypeError, make, ours, 5)
        raises(TypeError, make, ours)
        raises(ValueError, make, ours, FRAMING, low_water=2, high_water=1)
        raises(ValueError, make, ours, FRAMING, max_pending=-1)
        raises(TypeError, make, ours, FRAMING, high_water="x")
        writer = make(ours, FRAMING)
        raises(TypeError, writer.__init__, ours, FRAMING)
        raises(TypeError, copy.copy, writer)
        raises(TypeError, pickle.dumps, writer)
        assert not writer.write(bytes(600_000))
        theirs.close()
        ours.close()
        raises(OSError, writer.flush)
        raises(OSError, writer.write, b"x")


def an_iterable_that_comes_back_in(engine: Any) -> None:
    with pair() as (ours, _):
        writer = engine.FrameWriter(ours, FRAMING)

        def payloads() -> Iterator[bytes]:
            for call in (lambda: writer.write(b"x"), lambda: writer.write_many([b"x"]), writer.flush):
                try:
                    call()
                except ff.ConcurrentUse:
                    pass
            yield b"y"

        assert writer.write_many(payloads())


def write_to_a_pipe(engine: Any) -> None:
    with pipe() as (reading, writing):
        writer = engine.FrameWriter(writing, FRAMING)
        assert writer.write(b"x" * 1000)
        assert not writer.write(b"x" * 100_000)
        os.read(reading, 65_536)
        writer.flush()


def wait(engine: Any) -> None:
    with pair() as (ours, theirs):
        assert not engine.wait(ours.fileno(), False, 0)
        assert engine.wait(ours.fileno(), True, 0)
        theirs.send(b"x")
        assert engine.wait(ours.fileno(), False, None)
        raises(ValueError, engine.wait, ours.fileno(), False, -1)
        raises(TypeError, engine.wait, ours.fileno(), False, "x")
        raises(TypeError, engine.wait, "x", False, 0)


OPERATIONS: dict[str, Callable[[Any], None]] = {
    function.__name__.replace("_", " "): function
    for function in (
        put_down,
        wrong_reader,
        computed_in_a_reader,
        queue,
        refused_payloads,
        broken_pipe,
        wrong_writer,
        an_iterable_that_comes_back_in,
        write_to_a_pipe,
        wait,
    )
}
