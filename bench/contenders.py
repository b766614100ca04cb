"""The contenders of the benchmark, in the order of the table's rows."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CONTENDERS", "Contender"]


class Contender(NamedTuple):
    """A program's way to do some of the works."""

    name: str
    """Unique."""
    title: str
    """As it is shown."""
    program: str
    """A file under peers, or what build.py builds."""
    works: tuple[str, ...]
    """Of receive, send, echo, trip and parse."""
    needs: tuple[str, ...] = ()
    """The modules that must be importable."""
    header: bytes = b""
    """What stands before each length, where the frames have to look like something else's."""
    note: str = ""
    """What a reader of the table has to know."""
    warm: int = 1
    """How many times the usual warm-up it gets."""
    environment: tuple[tuple[str, str], ...] = ()
    """Variables and their values."""
    alias: str = ""
    """The program's own name for it, if it has another."""


SOCKETS = "python/sockets.py"
ASYNCIO = "python/asyncio_.py"
FASTFRAME = "python/fastframe_.py"
FASTFRAME_ASYNCIO = "python/fastframe_asyncio.py"
ANYIO = "python/fastframe_anyio.py"
OWN_ANYIO = ("fastframe._speedups", "anyio")


def _fastframe(
    name: str, title: str, *works: str, needs: tuple[str, ...] = (), program: str = FASTFRAME
) -> tuple[Contender, Contender]:
    """On both engines."""
    return (
        Contender(name, f"fastframe {title}", program, works, ("fastframe._speedups", *needs)),
        Contender(f"pure-{name}", f"fastframe, pure: {title}", program, works, ("fastframe", *needs)),
    )


# Large blocks stay on the heap, and the heap stays as large as it was: see mallopt(3).
UNTRIMMED = (("MALLOC_TRIM_THRESHOLD_", "268435456"), ("MALLOC_MMAP_THRESHOLD_", "33554432"))


def _untrimmed(name: str, title: str, program: str, needs: tuple[str, ...] = ()) -> Contender:
    """A contender that glibc's heap trimming may slow down, without that."""
    note = "told by the environment: how much of the distance is glibc's trimming of the heap"
    return Contender(
        f"{name}-untrimmed",
        f"{title}, heap not trimmed",
        program,
        ("receive",),
        needs,
        note=note,
        environment=UNTRIMMED,
        alias=name,
    )


# Each with its pure twin: the table has all of the one engine, then all of the other.
_OWN = (
    _fastframe("reader", "FrameReader.read", "receive"),
    _fastframe("views", "FrameReader.read_batch, views", "receive"),
    _fastframe("lengths", "FrameReader.read_batch, lengths in NumPy", "receive", needs=("numpy",)),
    _fastframe("iterate", "for frame in Connection", "receive"),
    _fastframe("recv_many", "Connection.recv_many", "receive"),
    _fastframe("recv", "Connection.recv", "receive"),
    _fastframe("connection", "Connection.send, send_many", "send"),
    _fastframe("writer", "FrameWriter.write, write_many", "send"),
    _fastframe("server", "Server, a handler of batches", "echo"),
    _fastframe("server-function", "Server, a function of a frame", "echo"),
    _fastframe("loop", "FrameReader and FrameWriter in an epoll loop", "echo"),
    _fastframe("frame-protocol", "FrameProtocol on asyncio", "echo", program=FASTFRAME_ASYNCIO),
    _fastframe(
        "frame-protocol-uvloop", "FrameProtocol on uvloop", "echo", needs=("uvloop",), program=FASTFRAME_ASYNCIO
    ),
    _fastframe("start-server", "start_server on asyncio", "echo", program=FASTFRAME_ASYNCIO),
    _fastframe("start-server-uvloop", "start_server on uvloop", "echo", needs=("uvloop",), program=FASTFRAME_ASYNCIO),
    _fastframe("trip", "Connection.send and recv", "trip"),
    _fastframe("trip-timeout", "Connection.send and recv, timeout of 5 s", "trip"),
    _fastframe("decoder", "Decoder.feed", "parse"),
)

CONTENDERS: tuple[Contender, ...] = (
    Contender("c", "C, epoll, parse, copy", "c-reference", ("receive", "send", "echo", "trip", "parse")),
    Contender("c-views", "C without the copy", "c-reference", ("receive",)),
    Contender("c-list", "C, a chunk's frames kept, then freed together", "c-reference", ("parse",)),
    *(cython for cython, _ in _OWN),
    *(pure for _, pure in _OWN),
    Contender("anyio-frames", "fastframe.anyio receive_many, send_many", ANYIO, ("receive", "echo"), OWN_ANYIO),
    Contender("anyio-frames-one", "fastframe.anyio receive, send", ANYIO, ("receive", "echo"), OWN_ANYIO),
    Contender("trio-frames", "fastframe.anyio on trio, many", ANYIO, ("receive", "echo"), (*OWN_ANYIO, "trio")),
    Contender(
        "trio-frames-one", "fastframe.anyio on trio, one by one", ANYIO, ("receive", "echo"), (*OWN_ANYIO, "trio")
    ),
    Contender("tokio", "Rust tokio-util", "tokio", ("receive", "send", "echo")),
    Contender("tokio-256k", "Rust tokio-util, 256 KiB buffer", "tokio", ("receive", "send", "echo")),
    Contender("go", "Go bufio + encoding/binary", "go", ("receive", "send", "echo")),
    Contender("erlang", "Erlang {packet, 4}", "erlang", ("receive", "send", "echo")),
    Contender(
        "netty",
        "Netty LengthFieldBasedFrameDecoder",
        "netty",
        ("receive", "send", "echo"),
        note="warmed up 50 times as long, for its compiler",
        warm=50,
    ),
    Contender(
        "msgpack",
        "msgpack Unpacker",
        "python/msgpack_.py",
        ("receive", "parse"),
        ("msgpack",),
        header=b"\xc6",
        note="its own wire format: each frame is a MessagePack object, of bin 32; its Packer would choose shorter"
        " headers, so it doesn't take part in sending",
    ),
    Contender(
        "picows",
        "picows on uvloop",
        "python/picows_.py",
        ("receive",),
        ("picows", "uvloop", "fastframe"),
        note="its own wire format, WebSocket's, over TCP only, and a peer of its own, which translates what the source sends; as an echo"
        " server it would need clients of its own, so it isn't measured as one",
    ),
    Contender(
        "pyzmq",
        "pyzmq PULL",
        "python/zmq_.py",
        ("receive",),
        ("zmq", "fastframe"),
        note="its own protocol, ZMTP: the same payloads from a PUSH socket, in a peer of its own; its I/O thread counts",
    ),
    Contender(
        "uvloop-protocol", "uvloop Protocol, parser in Python", ASYNCIO, ("receive", "send", "echo"), ("uvloop",)
    ),
    Contender("uvloop-streams", "uvloop streams, readexactly twice", ASYNCIO, ("receive", "send", "echo"), ("uvloop",)),
    Contender("protocol", "asyncio Protocol, parser in Python", ASYNCIO, ("receive", "send", "echo")),
    Contender("streams", "asyncio streams, readexactly twice", ASYNCIO, ("receive", "send", "echo")),
    Contender(
        "twisted",
        "Twisted Int32StringReceiver",
        "python/twisted_.py",
        ("receive", "send", "echo", "parse"),
        ("twisted",),
        note="its transport gathers what is sent one by one, and writes up to 64 KiB at once",
    ),
    Contender(
        "fastframe-twisted",
        "fastframe.twisted Int32StringReceiver",
        "python/twisted_.py",
        ("receive", "send", "echo", "parse"),
        ("fastframe._speedups", "twisted"),
    ),
    Contender("trio", "trio, parser in Python", "python/trio_.py", ("receive", "send", "echo"), ("trio",)),
    Contender(
        "anyio",
        "anyio receive_exactly twice",
        "python/anyio_.py",
        ("receive", "send", "echo"),
        ("anyio",),
        note="it copies the rest of what was received for every piece that is taken of it",
    ),
    Contender("anyio-trio", "anyio on trio, receive_exactly twice", ANYIO, ("receive",), ("anyio", "trio")),
    Contender("anyio-parser", "anyio, parser in Python", "python/anyio_.py", ("receive", "echo"), ("anyio",)),
    Contender("gevent", "gevent, Socket HOWTO's loops", "python/gevent_.py", ("receive", "send", "echo"), ("gevent",)),
    Contender(
        "multiprocessing",
        "multiprocessing.connection",
        "python/multiprocessing_.py",
        ("receive", "send", "trip"),
        note="no call for many: its batches are loops",
    ),
    Contender(
        "fastframe-multiprocessing",
        "fastframe.multiprocessing",
        "python/multiprocessing_.py",
        ("receive", "send", "trip"),
        ("fastframe._speedups",),
        note="no call for many: its batches are loops",
    ),
    Contender(
        "fastframe-multiprocessing-readahead",
        "fastframe.multiprocessing, readahead=True",
        "python/multiprocessing_.py",
        ("receive", "trip"),
        ("fastframe._speedups",),
    ),
    Contender(
        "howto",
        "Socket HOWTO's loops",
        SOCKETS,
        ("receive", "send", "trip"),
        note="no call for many: its batches are loops",
    ),
    Contender("makefile", "socket.makefile, read twice", SOCKETS, ("receive", "send")),
    Contender("waitall", "recv with MSG_WAITALL, twice", SOCKETS, ("receive",)),
    Contender("bytearray", "recv, bytearray and del", SOCKETS, ("receive",)),
    Contender("by_hand", "sendall and recv by hand, lengths known", SOCKETS, ("trip",)),
    Contender("by_hand-timeout", "sendall and recv by hand, lengths known, timeout of 5 s", SOCKETS, ("trip",)),
    _untrimmed("reader", "fastframe FrameReader.read", FASTFRAME, ("fastframe._speedups",)),
    _untrimmed("uvloop-protocol", "uvloop Protocol", ASYNCIO, ("uvloop",)),
    _untrimmed("protocol", "asyncio Protocol", ASYNCIO),
    _untrimmed("streams", "asyncio streams", ASYNCIO),
)
