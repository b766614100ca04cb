"""Receives that run out of time at random bytes, of every kind of receive: no frame is lost, doubled or reordered.

Most streams drip in the same thread, so that it is known at which byte each time ran out; the others drip out of
another process, whenever they like.
"""

import random
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate, pairwise

import fastframe as ff
from connections import LONG

from . import drip
from .ledger import Ledger, Stream
from .pairs import connected, kind_of
from .report import Report

FRAMINGS = [
    ff.LengthField(4),
    ff.LengthField(2, "little", magic=b"FR", offset=2, trailer=b"\r\n", max_size=60_000),
    ff.VarintLength(),
    ff.Netstring(),
]
LARGEST = 50_000
"""Bytes of the largest frame."""

BY_PROCESS = 10_000
"""Timeouts for which a process drips."""


def run(number: int, report: Report) -> None:
    """So many timeouts; every tenth with another process."""
    for seed in range(number):
        if report.counts["timeouts"] >= number:
            break
        rng, framing = random.Random(seed), FRAMINGS[seed % len(FRAMINGS)]
        if report.counts["timeouts, another process"] < number / 10:
            report.attempt(apart, rng, framing, min(BY_PROCESS, number / 10), report)
        else:
            report.attempt(together, rng, framing, report)
    for place in ("header", "payload", "trailer", "between frames"):
        if number >= 1000 and not report.counts[f"timeouts, {place}"]:
            report.found(f"no time ran out in any {place}")


class Wire:
    """A stream's frames as bytes, and what lies where."""

    def __init__(self, rng: random.Random, framing: ff.Framing, count: int) -> None:
        self.stream = Stream(empty_every=7)
        self.count = count
        frames = [framing.parts(self.stream.payload(i, size(rng))) for i in range(count)]
        self.data = b"".join(part for frame in frames for part in frame)
        self._ends = list(accumulate(len(part) for frame in frames for part in frame))

    def whole(self, at: int) -> int:
        """How many frames end before or at this place."""
        return bisect_right(self._ends, at) // 3

    def cuts(self, rng: random.Random) -> list[int]:
        """Where to cut: near the end of each frame, so also in the next one's header, and anywhere."""
        near = [end + rng.randrange(-3, 5) for end in self._ends[2::3] for _ in range(2)]
        anywhere = [rng.randrange(len(self.data)) for _ in range(self.count)]
        return sorted({0, len(self.data), *(at for at in near + anywhere if 0 < at < len(self.data))})

    def place(self, at: int) -> str:
        """Within what a stream ends that is cut here."""
        part = bisect_right(self._ends, at)
        start = self._ends[part // 3 * 3 - 1] if part >= 3 else 0
        return "between frames" if at == start else ("header", "payload", "trailer")[part % 3]


def size(rng: random.Random) -> int:
    return rng.randrange(rng.choice([30, 30, 200, LARGEST]))


# --- The stream drips in this very thread ----------------------------------------------------------------------------


def together(rng: random.Random, framing: ff.Framing, report: Report) -> None:
    """One connection: a few bytes, then receives with little time or none, and again."""
    kind, readahead = kind_of(rng), rng.random() < 0.7
    wire = Wire(rng, framing, 40)
    with connected(kind, framing, readahead=readahead) as (conn, theirs):
        ledger = Ledger(wire.stream, lambda line: report.found(f"{kind}, {framing!r}: {line}"))
        for start, stop in pairwise(wire.cuts(rng)):
            theirs.sendall(wire.data[start:stop])
            left = rng.randrange(1, 3)
            while left:
                if not receive(conn, ledger, rng, report, rng.choice([0, 0, 0, 0.0005])):
                    left -= 1
                    report.add(f"timeouts, {wire.place(stop)}")
            # What was sent is there at once, but for TCP.
            if kind in ("pair", "pipes") and ledger.taken != wire.whole(stop):
                report.found(f"out of time with {ledger.taken} frames, where {wire.whole(stop)} were there")
        while ledger.taken < wire.count:
            ledger.take(conn.recv())
        if conn.poll(0):
            report.found(f"{kind}, {framing!r}: there is more than was sent")
    finish(ledger, wire, report)


def finish(ledger: Ledger, wire: Wire, report: Report) -> None:
    ledger.balance(wire.count)
    report.add("frames sent", wire.count)
    report.add("frames received", ledger.taken)
    report.add("connections")


# --- The stream drips out of another process -------------------------------------------------------------------------


def apart(rng: random.Random, framing: ff.Framing, enough: float, report: Report) -> None:
    """One connection, until about so many times have run out."""
    before = report.counts["timeouts"]
    wire = Wire(rng, framing, 40 + round(enough))
    with connected(rng.choice(["tcp", "pair"]), framing, readahead=rng.random() < 0.7) as (conn, theirs):
        ledger = Ledger(wire.stream, lambda line: report.found(f"another process, {framing!r}: {line}"))
        number = str(theirs.fileno())
        command = [sys.executable, "-S", drip.__file__, number, str(rng.randrange(1 << 30))]
        with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[int(number)]) as process:
            theirs.close()
            with process.stdin:
                process.stdin.write(wire.data)
            try:
                while ledger.taken < wire.count and report.counts["timeouts"] - before < enough:
                    receive(conn, ledger, rng, report, rng.choice([0, rng.random() * 0.0005]))
                for frame in conn:
                    ledger.take(frame)
            finally:
                conn.abort()  # or the process would wait for a reader
        if process.returncode:
            report.found(f"the other process ends with {process.returncode}")
    finish(ledger, wire, report)
    report.add("timeouts, another process", report.counts["timeouts"] - before)


# --- Receiving -------------------------------------------------------------------------------------------------------


def receive(conn: ff.Connection, ledger: Ledger, rng: random.Random, report: Report, timeout: float) -> bool:
    """A receive of any kind: whether it was in time."""
    name = rng.choice(list(CALLS))
    try:
        for frame in CALLS[name](conn, timeout):
            ledger.take(frame)
    except ff.FrameTimeout:
        report.add("timeouts")
        report.add(f"timeouts of {name}")
        report.done()
        return False
    return True


def by_iteration(conn: ff.Connection, timeout: float) -> Iterator[bytes]:
    conn.timeout = timeout
    try:
        for frame in conn:
            yield frame
            return
    finally:
        conn.timeout = LONG
    raise ff.ConnectionClosed


def after_poll(conn: ff.Connection, timeout: float) -> list[bytes]:
    if not conn.poll(timeout):
        raise ff.FrameTimeout
    try:
        return [conn.recv(0)]
    except ff.FrameTimeout as error:
        raise AssertionError("poll said that a frame was there") from error


def into(conn: ff.Connection, timeout: float) -> list[bytes]:
    buffer = bytearray(LARGEST)
    return [bytes(buffer[: conn.recv_into(buffer, timeout)])]


CALLS: dict[str, Callable[[ff.Connection, float], Iterator[bytes] | list[bytes]]] = {
    "recv": lambda conn, timeout: [conn.recv(timeout)],
    "recv_many": lambda conn, timeout: conn.recv_many(timeout),
    "recv_batch": lambda conn, timeout: list(conn.recv_batch(timeout)),
    "recv_into": into,
    "iteration": by_iteration,
    "poll": after_poll,
}
