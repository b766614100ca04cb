"""What is played: each scenario uses a connection in another way, over TCP, a unix socket or a socketpair."""

from collections.abc import Callable
from functools import partial

import fastframe as ff

from .ends import ENDED
from .sources import versions
from .stage import Stage

FRAMING = ff.LengthField(4)
SIZES = [20, 0, 300, 15, 5000, 70_000, 0, 40]
FEW = [20, 4000, 16]
ROOM = 32 * 1024
"""Bytes of a small kernel buffer."""
BRIEFLY = 0.005
"""Seconds of a close: that everything has arrived is acknowledged late if nobody reads it, for nobody else runs here."""

TLS = versions()
KINDS = ["tcp", "pair", "numbers", "processes", "pipes", "buffered", "streams", *TLS]


def there(*kinds: str) -> list[str]:
    """Those of them that can be made here."""
    return [kind for kind in kinds if kind in KINDS]


Scenario = Callable[[Stage], None]

SCENARIOS: dict[str, Scenario] = {}


def scenario(play: Scenario) -> Scenario:
    SCENARIOS[play.__name__] = play
    return play


# --- Opening ---------------------------------------------------------------------------------------------------------


def echo(stage: Stage, kind: str) -> None:
    a, b = stage.connected(kind, FRAMING)
    for size in FEW:
        a.send(size)
        b.receive()
        b.send(size)
        a.receive()
    stage.finish(a, b)


@scenario
def connect_tcp(stage: Stage) -> None:
    echo(stage, "tcp")


@scenario
def connect_unix(stage: Stage) -> None:
    echo(stage, "unix")


# --- Ways to send and receive ----------------------------------------------------------------------------------------


def one_by_one(stage: Stage, kind: str, way: str, readahead: bool = True) -> None:
    a, b = stage.pair(kind, FRAMING, readahead=readahead)
    for size in SIZES:
        a.send(size)
        b.receive(way)
    a.send(*FEW)
    b.send(*FEW)
    a.receive(way)
    b.receive(way)
    stage.finish(a, b)


for _kind in KINDS:
    SCENARIOS[f"one_by_one_{_kind}"] = partial(one_by_one, kind=_kind, way="recv")

for _way in ("iteration", "poll", "patience", "recv_into"):
    SCENARIOS[_way] = partial(one_by_one, kind="pair", way=_way)
SCENARIOS["poll_pipes"] = partial(one_by_one, kind="pipes", way="poll")

for _kind in there("pair", "pipes", "tls12", "streams"):
    SCENARIOS[f"no_readahead_{_kind}"] = partial(one_by_one, kind=_kind, way="recv", readahead=False)
SCENARIOS["no_readahead_poll"] = partial(one_by_one, kind="tcp", way="poll", readahead=False)


@scenario
def descriptors(stage: Stage) -> None:
    """They travel with frames, of which one is too large to go at once."""
    a, b = stage.pair("pair", FRAMING, readahead=False, room=4096)
    b.way = "recv_fds"
    for size in (20, 0, 20_000, 16):
        a.send_fds(size)
        b.receive("recv_fds")
        b.send(min(size, 100))
        a.receive("recv_fds")
    stage.finish(a, b)


def many(stage: Stage, kind: str, sizes: list[int], way: str) -> None:
    a, b = stage.pair(kind, FRAMING)
    for _ in range(3):
        a.send_many(sizes, timeout=0)
        b.receive(way)
    b.send_many(sizes, timeout=0)
    a.receive(way)
    stage.finish(a, b)


SMALL_ONES = [20] * 150 + [0, 0]
LARGE_ONES = [20_000, 30, 70_000, 8000, 0, 5000]

SCENARIOS["many_small"] = partial(many, kind="pair", sizes=SMALL_ONES, way="recv_many")
SCENARIOS["many_small_batch"] = partial(many, kind="tcp", sizes=SMALL_ONES, way="recv_batch")
SCENARIOS["many_large_batch"] = partial(many, kind="pair", sizes=LARGE_ONES, way="recv_batch")
for _kind in there("tcp", "pipes", "tls12", "streams"):
    SCENARIOS[f"many_large_{_kind}"] = partial(many, kind=_kind, sizes=LARGE_ONES, way="recv_many")


@scenario
def many_of_an_iterator(stage: Stage) -> None:
    a, b = stage.pair("pair", FRAMING, room=ROOM)
    a.send_many([500] * 1100 + [9000] * 3, timeout=0, form=iter)
    b.receive("recv_many")
    stage.finish(a, b)


# --- More than the kernel holds --------------------------------------------------------------------------------------


def large(stage: Stage, kind: str, size: int, way: str = "recv", readahead: bool = True) -> None:
    a, b = stage.pair(kind, FRAMING, room=ROOM, readahead=readahead)
    a.send(30, size, 30, timeout=0)
    b.receive(way)
    stage.finish(a, b)


SCENARIOS["megabyte_tcp"] = partial(large, kind="tcp", size=1 << 20)
SCENARIOS["megabyte_many"] = partial(large, kind="pair", size=1 << 20, way="recv_many")
SCENARIOS["megabyte_no_readahead"] = partial(large, kind="pair", size=1 << 20, readahead=False)
for _kind in there("pipes", "tls12", "streams"):
    SCENARIOS[f"large_{_kind}"] = partial(large, kind=_kind, size=200_000)


@scenario
def flush_after_interruption(stage: Stage) -> None:
    a, b = stage.pair("pair", FRAMING, room=4096)
    a.send_many([1000, 0, 9000, 20, 20_000, 30])
    b.receive()
    a.send(20_000, 50)
    b.receive()
    stage.finish(a, b)


@scenario
def clocks(stage: Stage) -> None:
    """A whole frame has its time, and so has a peer that is idle."""
    a, b = stage.pair("pair", FRAMING, room=4096, frame_timeout=0.001, idle_timeout=0.001)
    b.take_once("recv", 1)
    a.leave_queued(20_000)
    b.take_once("recv", 1)
    b.take_once("poll", 1)
    a.flush()
    stage.finish(a, b)


@scenario
def timeouts(stage: Stage) -> None:
    a, b = stage.pair("pair", FRAMING, room=4096)
    b.take_once("recv", 0.0005)
    b.take_once("poll", 0.0005)
    a.send(9000, timeout=0.0005)
    b.receive()
    b.take_once("recv_many", 0.0005)
    a.send(16)
    b.take_once("recv_batch", 0.0005)
    stage.finish(a, b)


def close_flushes(stage: Stage, kind: str) -> None:
    """What an interrupted send has left is sent by the close."""
    stage.hurried = True
    a, b = stage.pair(kind, FRAMING, room=ROOM)
    a.leave_queued(40_000)
    b.take()
    if stage.fault is not None:
        # The rest has to fit into the kernel's buffers, for nobody reads during the close.
        a.top_up()
    b.send(*FEW)
    a.close(BRIEFLY)
    b.to_the_end()
    b.close()


for _kind in there("tcp", "pair", "pipes", "tls12"):
    SCENARIOS[f"close_flushes_{_kind}"] = partial(close_flushes, kind=_kind)


# --- Ends ------------------------------------------------------------------------------------------------------------


def half_close(stage: Stage, kind: str) -> None:
    a, b = stage.pair(kind, FRAMING)
    a.send(*FEW)
    a.half_close()
    if a.sending == ENDED:
        b.to_the_end("iteration")
        b.send(*FEW)
    stage.finish(a, b)


for _kind in ("tcp", "pipes", *TLS):
    SCENARIOS[f"half_close_{_kind}"] = partial(half_close, kind=_kind)


def unread(stage: Stage, kind: str) -> None:
    a, b = stage.pair(kind, FRAMING)
    a.send(*FEW)
    b.send(*SIZES)
    a.receive(most=1)
    a.close(BRIEFLY)
    b.to_the_end()
    b.close()


for _kind in there("tcp", "pair", "pipes", "tls12"):
    SCENARIOS[f"close_unread_{_kind}"] = partial(unread, kind=_kind)


@scenario
def abort(stage: Stage) -> None:
    stage.aborted = True
    a, b = stage.pair("tcp", FRAMING)
    a.send(*FEW)
    b.send(*FEW)
    a.receive(most=1)
    a.abort()
    b.to_the_end()
    b.send(*FEW)
    b.close()


# --- Framings --------------------------------------------------------------------------------------------------------


FRAMINGS: dict[str, tuple[ff.Framing, list[int]]] = {
    "little_endian": (ff.LengthField(2, "little"), [20, 0, 300]),
    "trailer": (ff.LengthField(3, trailer=b"\r\n", magic=b"F", offset=1), [20, 0, 70_000]),
    "varint": (ff.VarintLength(), [20, 0, 300, 20_000]),
    "ascii_length": (ff.AsciiLength(6), [20, 0, 300]),
    "netstring": (ff.Netstring(), [20, 0, 300, 20_000]),
    "delimiter": (ff.Delimiter(b"\r\n", b"\n"), [20, 0, 300, 20_000]),
    "content_length": (ff.ContentLength(), [20, 0, 300]),
    "fixed_size": (ff.FixedSize(64), [64, 64, 64]),
}


def framed(name: str, readahead: bool) -> Scenario:
    framing, sizes = FRAMINGS[name]
    if not readahead:
        sizes = sizes[:2]  # some of them are taken byte by byte

    def play(stage: Stage) -> None:
        a, b = stage.pair("pair" if readahead else "tcp", framing, readahead=readahead)
        a.send(*sizes)
        b.receive(most=len(sizes) - 1)
        b.send_many(sizes)
        a.receive("recv_many")
        stage.finish(a, b)

    return play


for _name in FRAMINGS:
    SCENARIOS[_name] = framed(_name, True)
    SCENARIOS[f"{_name}_no_readahead"] = framed(_name, False)


@scenario
def until_eof(stage: Stage) -> None:
    a, b = stage.pair("tcp", ff.UntilEOF())
    a.send(20_000)
    b.send(300)
    stage.finish(a, b)


@scenario
def until_eof_large(stage: Stage) -> None:
    # A unix socket has no reset, which is what tells a frame that was cut off from a whole one.
    a, b = stage.pair("tcp", ff.UntilEOF(), room=ROOM)
    a.send(200_000)
    b.send(300)
    stage.finish(a, b)


@scenario
def another_framing_back(stage: Stage) -> None:
    a, b = stage.pair("pair", ff.Netstring(), back=ff.Delimiter(b"\n"))
    for size in FEW:
        a.send(size)
        b.receive()
        b.send(size)
        a.receive()
    stage.finish(a, b)


@scenario
def another_framing_from_here(stage: Stage) -> None:
    """Both sides go over to another framing between two frames."""
    a, b = stage.pair("pair", FRAMING, readahead=False)
    for framing in (ff.Delimiter(b"\n"), ff.VarintLength(), ff.AsciiLength(8)):
        a.send(20, 0, 30)
        b.receive()
        if not a.sending and not b.receiving:
            a.out.framing = a.conn.send_framing = b.conn.framing = framing
    stage.finish(a, b)
