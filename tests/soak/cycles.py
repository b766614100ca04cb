"""Connections opened, and closed or aborted while a receiver waits in another thread.

It must be woken soon, by ConnectionClosed. Descriptors' numbers are used again at once, by the other threads too; so each
connection has its own secret in all that it carries, both ways.
"""

import queue
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import fastframe as ff
from connections import FRAMING, LONG, is_waiting

from .clock import Clock
from .ledger import Ledger, Stream
from .pairs import connected, kind_of
from .report import Report, share

THREADS = 4
TIMEOUTS = [LONG, None]
"""Of the connections. Without one a receive of a socket waits in the system call that reads."""
GIVES_UP = 0.3
"""Seconds that `close` is given where the peer doesn't read."""
SOON = 0.1
"""Seconds in which a receiver has to be woken."""

CALLS: dict[str, Callable[[ff.Connection], list[bytes]]] = {
    "recv": lambda conn: [conn.recv()],
    "recv_many": lambda conn: conn.recv_many(),
    "recv_batch": lambda conn: list(conn.recv_batch()),
    "poll": lambda conn: [conn.recv()] if conn.poll(conn.timeout) else [],
}


def run(number: int, report: Report, soon: float = SOON) -> None:
    """So many cycles."""
    with Clock() as clock:
        cycles = Cycles(report, clock, soon)
        share(THREADS, number, cycles.cycle, report)
    cycles.stop()
    used = len(cycles.numbers)
    report.add("descriptor numbers used", used)
    report.add("cycles on a number used before", number - used)
    if number > 1000 and used > number / 10:
        report.found("the numbers of descriptors aren't used again, so this run shows little")


class Cycles:
    """What the cycles of a run have in common.

    soon: seconds in which a receiver has to be woken, besides those by which the machine is late anyway.
    """

    def __init__(self, report: Report, clock: Clock, soon: float) -> None:
        self.numbers: set[int] = set()
        self._report, self._clock, self._soon = report, clock, soon
        self._receivers = queue.SimpleQueue[Receiver]()
        for _ in range(THREADS):
            self._receivers.put(Receiver())

    def stop(self) -> None:
        for _ in range(THREADS):
            self._receivers.get().stop()

    def cycle(self, seed: int) -> None:
        """One connection, from its opening to its end."""
        receiver = self._receivers.get()
        try:
            self._cycle(random.Random(seed), receiver)
        except BaseException:
            receiver.stop()  # where it is, nobody knows
            receiver = Receiver()
            raise
        finally:
            self._receivers.put(receiver)

    def _cycle(self, rng: random.Random, receiver: "Receiver") -> None:
        report = self._report
        kind, end = kind_of(rng), rng.choice([ff.Connection.close, ff.Connection.close, ff.Connection.abort])
        waits = rng.random() < 0.9  # else the end comes at any moment, even before the receive
        stuffed = end is ff.Connection.close and rng.random() < 0.02  # the peer doesn't read, and close can't settle
        timeout = rng.choice(TIMEOUTS)
        what = f"{kind}, {end.__name__}{' that gives up' if stuffed else ''}"
        with connected(kind, readahead=rng.random() < 0.8, timeout=timeout) as (conn, theirs):
            self.numbers.add(conn.fileno())
            inwards = Stream()
            ledger = Ledger(inwards, lambda line: report.found(f"{kind}: {line}"))
            count = rng.randrange(4)
            data = FRAMING.encode_many(inwards.payload(i, 100) for i in range(count + 1))
            theirs.sendall(data[: -rng.choice([1, 20, 102, 104])])  # the last frame stays unfinished, or isn't begun
            answers = answer(conn, rng, stuffed)

            receiver.start_on(conn, CALLS[rng.choice(list(CALLS))], ledger)
            if waits:
                until(lambda: ledger.taken == count and (is_waiting(receiver.ident) or timeout is None))
                time.sleep(rng.choice([0, 0.0001]) if timeout else 0.0005)
            start = time.monotonic()
            end(conn, *([GIVES_UP] if stuffed else []))
            error, woken = receiver.ended()

            # That a receiver without a timeout waits can't be seen, but is as good as sure.
            expected = (ff.ConnectionClosed,) if waits and timeout else (ff.ConnectionClosed, ValueError)
            if not isinstance(error, expected):
                report.found(f"{what}: the receiver gets {error!r}")
            if waits:
                self._judge(what, start, woken)
            check_answers(theirs, answers, end is ff.Connection.close and not stuffed, report)
        report.add(f"cycles by {end.__name__}, {kind}")
        report.add("receivers woken" if waits else "ends at any moment")
        report.add("frames received", ledger.taken)
        report.done()

    def _judge(self, what: str, start: float, woken: float) -> None:
        took = woken - start
        self._report.took(f"woken, {what}", took)
        if took <= self._soon:
            return
        if took - self._clock.late_between(start, woken) > self._soon:
            self._report.found(f"{what}: woken after {took:.3f} s")
        else:
            self._report.add("woken late, as the machine was")


def answer(conn: ff.Connection, rng: random.Random, stuffed: bool) -> bytes:
    """Send some frames, or many more than fit into the kernel: the bytes of all."""
    outwards = Stream()
    answers = [outwards.payload(i, 100) for i in range(rng.randrange(3))]
    conn.send_many(answers)
    if stuffed:
        many = [outwards.payload(i, 1_000_000) for i in range(len(answers), 12)]
        answers += many
        with suppress(ff.SendInterrupted):
            conn.send_many(many, 0)
    return FRAMING.encode_many(answers)


def check_answers(theirs: Any, sent: bytes, all_of_it: bool, report: Report) -> None:
    """The peer must see what this connection has sent, and nothing else; after an abort, perhaps less."""
    got = b""
    try:
        while more := theirs.recv(65_536):
            got += more
    except OSError:
        if all_of_it:
            report.found("closed, and the peer sees a reset")
    if got != sent if all_of_it else not sent.startswith(got):
        report.found(
            f"the peer got {len(got)} bytes, of which not all are this connection's, or not all of {len(sent)}"
        )


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the receiver doesn't wait")
        time.sleep(0)


class Receiver(threading.Thread):
    """Receives from one connection after another, from each until that ends."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._ends: queue.SimpleQueue[tuple[Exception, float]] = queue.SimpleQueue()
        self.start()

    def start_on(self, conn: ff.Connection, call: Callable[[ff.Connection], list[bytes]], ledger: Ledger) -> None:
        self._jobs.put((conn, call, ledger))

    def ended(self) -> tuple[Exception, float]:
        """How the connection ended for it, and when it knew."""
        try:
            return self._ends.get(timeout=LONG)
        except queue.Empty:
            raise TimeoutError("the receiver isn't woken") from None

    def stop(self) -> None:
        self._jobs.put(None)

    def run(self) -> None:
        while (job := self._jobs.get()) is not None:
            conn, call, ledger = job
            try:
                while True:
                    for frame in call(conn):
                        ledger.take(frame)
            except Exception as error:
                self._ends.put((error.with_traceback(None), time.monotonic()))
            del job, conn, call, ledger
