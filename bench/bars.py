"""The bars that fastframe is held to: the most CPU time that a row may need, in multiples of another's."""

from __future__ import annotations

from typing import NamedTuple

from results import REFERENCE, Case, Ratio, Results, compare

__all__ = ["BARS", "PYTHON", "Bar", "Judgement", "judge"]

PYTHON = "CPython 3.13"  # the bars hold for it, and over TCP on the loopback
SIZES = (16, 64, 256, 1 << 10, 4 << 10, 64 << 10, 1 << 20)
ECHOES = ((64, 1, 1), (64, 64, 1), (64, 64, 16), (64, 1024, 1), (64, 1024, 16), (1 << 10, 64, 16))
"""Bytes, connections, and frames in flight on each."""


class Bar(NamedTuple):
    """`limits` are for payloads of `sizes`, or for ECHOES; `against` is the contender whose CPU time is the unit."""

    title: str
    work: str
    contender: str
    limits: tuple[float, ...]
    batch: int = 0
    against: str = REFERENCE
    sizes: tuple[int, ...] = SIZES

    @property
    def cases(self) -> list[Case]:
        """What the limits are for."""
        if self.work == "echo":
            return [Case("echo", "tcp", size, 0, connections, in_flight) for size, connections, in_flight in ECHOES]
        return [Case(self.work, "memory" if self.work == "parse" else "tcp", size, self.batch) for size in self.sizes]


BARS = (
    Bar("FrameReader.read()", "receive", "reader", (3.0, 3.4, 2.0, 1.8, 1.5, 1.2, 1.2)),
    Bar("read_batch().views()", "receive", "views", (2.9, 3.0, 1.9, 1.3, 1.1, 1.1, 1.3)),
    Bar("read_batch(), NumPy sum of .lengths", "receive", "lengths", (0.5, 0.9, 1.0, 1.05, 1.1, 1.1, 1.3)),
    Bar("for frame in Connection", "receive", "iterate", (5.0, 4.5, 2.6, 1.9, 1.6, 1.2, 1.2)),
    Bar("Connection.recv_many()", "receive", "recv_many", (3.2, 3.6, 2.1, 1.9, 1.5, 1.2, 1.2)),
    Bar("send_many, 1000 frames a call", "send", "connection", (2.3, 1.6, 1.2, 1.2, 1.1, 1.1, 1.1), batch=1000),
    Bar("send, one by one", "send", "connection", (1.4, 1.4, 1.4, 1.3, 1.2, 1.1, 1.1), batch=1),
    Bar("send and recv, a round trip", "trip", "trip", (1.15,) * len(SIZES), against="by_hand"),
    Bar("Server, a handler of batches", "echo", "server", (1.25, 1.2, 1.3, 1.35, 1.45, 1.4)),
    Bar("Server, a function of a frame", "echo", "server-function", (1.3, 1.3, 1.6, 1.4, 1.7, 1.6)),
    Bar("FrameProtocol on uvloop", "echo", "frame-protocol-uvloop", (1.4, 1.3, 1.35, 1.4, 1.5, 1.5)),
    Bar("FrameProtocol on asyncio", "echo", "frame-protocol", (1.4, 1.4, 1.6, 1.8, 1.8, 1.7)),
    Bar(
        "Int32StringReceiver.dataReceived",
        "parse",
        "fastframe-twisted",
        (1 / 6, 1 / 6, 1 / 6, 1 / 40),
        against="twisted",
        sizes=(16, 64, 256, 8 << 20),
    ),
    Bar(
        "Connection.recv_bytes of multiprocessing",
        "receive",
        "fastframe-multiprocessing",
        (1.0, 1 / 4),
        against="multiprocessing",
        sizes=(64, 1 << 20),
    ),
    Bar(
        "the same with readahead",
        "receive",
        "fastframe-multiprocessing-readahead",
        (1 / 15,),
        against="multiprocessing",
        sizes=(64,),
    ),
    Bar("start_server on uvloop", "echo", "start-server-uvloop", (1.8, 1.6, 1.5, 1.7, 1.6, 1.7)),
)


class Judgement(NamedTuple):
    """One bar in one case; `ratio` is what was measured, `against` the title of the row whose time is the unit."""

    bar: Bar
    case: Case
    limit: float
    ratio: Ratio
    against: str

    @property
    def met(self) -> bool:
        """Whether the median, as it is or rounded as it is told, is within the limit."""
        return min(self.ratio.median, round(self.ratio.median, 2)) <= self.limit


def judge(results: Results) -> list[Judgement]:
    """Every bar that was measured, at every size that was. Empty on another Python than the bars are for."""
    found = []
    for bar in BARS if PYTHON in results.versions.get("python", "") else ():
        for case, limit in zip(bar.cases, bar.limits, strict=True):
            row, other = results.find(case, bar.contender), results.find(case, bar.against)
            if row and other and (ratio := compare(row, other)):
                found.append(Judgement(bar, case, limit, ratio, other.title))
    return found
