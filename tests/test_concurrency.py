"""Two users at once are an error, never a mixture: threads, and a Computed function that comes back."""

import signal
import socket
import threading
from typing import Any

import pytest

import fastframe as ff

CALLS: dict[str, Any] = {
    "feed": lambda d: d.feed(b"xx"),
    "feed_batch": lambda d: d.feed_batch(b"xx"),
    "push": lambda d: d.push(b"xx"),
    "pop": lambda d: d.pop(),
    "feed_eof": lambda d: d.feed_eof(),
    "get_buffer": lambda d: d.get_buffer(),
    "buffer_updated": lambda d: d.buffer_updated(0),
    "unread": lambda d: d.unread(),
    "framing": lambda d: setattr(d, "framing", ff.Netstring()),
    "init": lambda d: d.__init__(ff.Netstring()),
}


@pytest.mark.parametrize("outer", ["feed", "feed_batch", "pop", "buffer_updated", "feed_eof"])
@pytest.mark.parametrize("inner", CALLS)
def test_function_that_comes_back_in(engine: Any, outer: str, inner: str) -> None:
    caught: list[BaseException] = []
    seen: list[Any] = []

    def function(header: bytes) -> int:
        seen.append((decoder.framing, decoder.error, type(decoder.stats), type(decoder.buffered)))
        try:
            CALLS[inner](decoder)
        except Exception as error:
            caught.append(error)
        return 3

    framing = ff.Computed(1, function)
    decoder = engine.Decoder(framing)
    data = b"abcdefgh"
    if outer in ("feed", "feed_batch"):
        frames = list(getattr(decoder, outer)(data))
    elif outer == "buffer_updated":
        decoder.get_buffer()[: len(data)] = data
        frames = decoder.buffer_updated(len(data))
    else:
        decoder.push(data[:6] if outer == "feed_eof" else data)
        frames = [decoder.pop()] if outer == "pop" else decoder.feed_eof()
    assert frames == ([b"abc"] if outer == "pop" else [b"abc", b"def"])
    assert caught
    allowed = (ff.ConcurrentUse, TypeError) if inner == "init" else ff.ConcurrentUse
    assert all(isinstance(error, allowed) for error in caught)
    assert all(got == (framing, None, ff.Stats, int) for got in seen)
    assert decoder.framing is framing


@pytest.mark.parametrize("method", ["feed", "feed_batch"])
@pytest.mark.parametrize("error", [LookupError, StopIteration, MemoryError, ff.ConcurrentUse])
def test_function_that_raises_passes_and_loses_nothing(engine: Any, method: str, error: Any) -> None:
    angry = [True]

    def function(header: bytes) -> int:
        if header == b"!" and angry[0]:
            raise error
        return 3

    decoder = engine.Decoder(ff.Computed(1, function))
    call = getattr(decoder, method)
    assert list(call(b"abc!d")) == [b"abc"]  # frames first, without an error
    assert (decoder.error, decoder.buffered) == (None, 2)
    with pytest.raises(error):
        call(b"e")
    with pytest.raises(error):
        call(b"")
    assert (decoder.error, decoder.buffered) == (None, 3)
    angry[0] = False
    assert list(call(b"xyz")) == [b"!de", b"xyz"]
    assert decoder.stats == (3, 9, 0)


@pytest.mark.parametrize("method", ["feed", "feed_batch", "pop"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, SystemExit])
def test_interrupt_is_not_kept_for_later_and_loses_nothing(engine: Any, method: str, error: Any) -> None:
    angry = [True]

    def function(header: bytes) -> int:
        if header == b"!" and angry[0]:
            angry[0] = False
            raise error
        return 3

    decoder = engine.Decoder(ff.Computed(1, function))
    frames: list[bytes] = []
    raised = 0
    if method == "pop":
        decoder.push(b"abc!dexyz")
    data = b"abc!dexyz"
    while len(frames) < 3:
        try:
            got = decoder.pop() if method == "pop" else getattr(decoder, method)(data)
            frames += [got] if method == "pop" else got
        except error:
            raised += 1
        data = b""
    assert frames == [b"abc", b"!de", b"xyz"]
    assert raised == 1
    assert decoder.stats == (3, 9, 0)


def test_function_that_raises_while_popping(engine: Any) -> None:
    angry = [True]

    def function(header: bytes) -> int:
        if angry[0]:
            raise LookupError
        return 2

    decoder = engine.Decoder(ff.Computed(1, function))
    decoder.push(b"abcd")
    for _ in range(3):
        with pytest.raises(LookupError):
            decoder.pop()
        with pytest.raises(LookupError):
            decoder.feed_eof()
        with pytest.raises(LookupError):
            decoder.buffer_updated(0)
    angry[0] = False
    assert [decoder.pop(), decoder.pop(), decoder.pop()] == [b"ab", b"cd", None]


@pytest.mark.parametrize(
    "size",
    [0, -1, 1, 1 << 100, -(1 << 100), None, "3", 3.0, b""],
    ids=repr,
)
def test_function_that_returns_nonsense(engine: Any, size: Any) -> None:
    decoder = engine.Decoder(ff.Computed(2, lambda header: size))
    wanted = TypeError if not isinstance(size, int) else ff.FrameTooLarge if size > 2 else ff.BadLength
    with pytest.raises(wanted) as caught:
        decoder.feed(b"abc")
    if wanted is TypeError:
        assert (decoder.error, decoder.buffered) == (None, 3)
    else:
        assert (caught.value.header, caught.value.offset, decoder.buffered) == (b"ab", 0, 0)


def test_function_sees_bytes_of_the_header_alone(engine: Any) -> None:
    seen: list[Any] = []

    def function(header: bytes) -> int:
        seen.append(header)
        return 4

    for data in (b"abcdefgh", bytearray(b"abcdefgh"), memoryview(b"abcdefgh")):
        engine.Decoder(ff.Computed(2, function)).feed(data)
    assert {(type(header), header) for header in seen} == {(bytes, b"ab"), (bytes, b"ef")}


def test_function_that_clears_the_input(engine: Any) -> None:
    data = bytearray(b"\3ab\3cd\3e")

    def function(header: bytes) -> int:
        try:
            data.clear()
        except BufferError:
            pass
        return header[0] or 1

    for method in ("feed", "feed_batch"):
        data[:] = b"\3ab\3cd\3e"
        decoder = engine.Decoder(ff.Computed(1, function))
        assert list(getattr(decoder, method)(data)) == [b"\3ab", b"\3cd"]
        data[:] = b"\xff" * 20
        assert decoder.unread() == b"\3e"


def test_function_that_drops_the_decoder(engine: Any) -> None:
    holder: list[Any] = []

    def function(header: bytes) -> int:
        holder.clear()
        return 2

    holder.append(engine.Decoder(ff.Computed(1, function)))
    assert holder[0].feed(b"abcd") == [b"ab", b"cd"]


@pytest.mark.parametrize("call", CALLS)
def test_second_thread_is_refused_and_the_first_goes_on(engine: Any, call: str) -> None:
    inside, done = threading.Event(), threading.Event()

    def function(header: bytes) -> int:
        inside.set()
        assert done.wait(20)
        return 3

    decoder = engine.Decoder(ff.Computed(1, function))
    frames: list[bytes] = []
    thread = threading.Thread(target=lambda: frames.extend(decoder.feed(b"abc")))
    thread.start()
    try:
        assert inside.wait(20)
        with pytest.raises((ff.ConcurrentUse, TypeError) if call == "init" else ff.ConcurrentUse):
            CALLS[call](decoder)
    finally:
        done.set()
        thread.join()
    assert frames == [b"abc"]
    assert decoder.feed(b"def") == [b"def"]


def test_threads_that_feed_the_same_decoder_lose_nothing_of_what_was_taken(engine: Any) -> None:
    framing = ff.LengthField(2)
    decoder = engine.Decoder(framing)
    wire = framing.encode(b"x" * 50) * 20
    taken: list[int] = []
    frames: list[bytes] = []

    def work() -> None:
        for _ in range(200):
            try:
                frames.extend(decoder.feed(wire))
                taken.append(20)
            except ff.ConcurrentUse:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert frames == [b"x" * 50] * sum(taken)
    assert decoder.stats == (len(frames), 52 * len(frames), 0)


def test_signal_handler_that_uses_the_writer_gets_concurrent_use_or_its_turn(engine: Any) -> None:
    ours, peers = socket.socketpair()
    peers.setblocking(False)
    framing = ff.LengthField(4)
    inner: list[Any] = []
    got: list[bytes] = []
    decoder = engine.Decoder(framing)
    with ours, peers:
        writer = engine.FrameWriter(ours, framing, max_pending=1 << 30)

        def handler(*_: Any) -> None:
            try:
                inner.append(writer.write(b"inner"))
            except ff.ConcurrentUse as error:
                inner.append(error)

        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        try:
            for i in range(300):
                writer.write_many([bytes([i % 256]) * 3000] * 20)
                while writer.pending:
                    got += decoder.feed(peers.recv(1 << 18))
                    writer.flush()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        while True:
            writer.flush()
            try:
                got += decoder.feed(peers.recv(1 << 18))
            except BlockingIOError:
                break
    assert [frame for frame in got if frame != b"inner"] == [
        bytes([i % 256]) * 3000 for i in range(300) for _ in range(20)
    ]
    assert got.count(b"inner") == sum(isinstance(result, bool) for result in inner)


def test_reader_whose_function_comes_back_in(engine: Any) -> None:
    caught: list[BaseException] = []

    def function(header: bytes) -> int:
        for call in (reader.read, reader.read_one, reader.unread):
            with pytest.raises(ff.ConcurrentUse) as error:
                call()
            caught.append(error.value)
        return 3

    ours, peers = socket.socketpair()
    with ours, peers:
        reader = engine.FrameReader(ours, ff.Computed(1, function))
        peers.send(b"abcdef")
        assert reader.read() == [b"abc", b"def"]
    assert len(caught) >= 6


def test_reader_whose_function_raises_loses_nothing(engine: Any) -> None:
    angry = [True]

    def function(header: bytes) -> int:
        if header == b"!" and angry[0]:
            raise LookupError
        return 3

    ours, peers = socket.socketpair()
    with ours, peers:
        reader = engine.FrameReader(ours, ff.Computed(1, function))
        peers.send(b"abc!de")
        assert reader.read() == [b"abc"]
        for _ in range(2):
            with pytest.raises(LookupError):
                reader.read()
        angry[0] = False
        assert reader.read() == [b"!de"]
