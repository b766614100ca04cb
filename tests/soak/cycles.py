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
    numbers: set[int] = set()
    receivers = queue.SimpleQueue[Receiver]()
    for _ in range(THREADS):
        receivers.put(Receiver())

    def work(i: int) -> None:
        receiver = receivers.get()
        try:
            cycle(random.Random(i), receiver, numbers, report, soon)
        except BaseException:
            receiver.stop()  # where it is, nobody knows
            receiver = Receiver()
            raise
        finally:
            receivers.put(receiver)

    share(THREADS, number, work, report)
    for _ in range(THREADS):
        receivers.get().stop()
    report.add("descriptor numbers used", len(numbers))
    report.add("cycles on a number used before", number - len(numbers))
    if number > 1000 and len(numbers) > number / 10:
        report.found("the numbers of descriptors aren't used again, so this run shows little")


def cycle(rng: random.Random, receiver: "Receiver", numbers: set[int], report: Report, soon: float) -> None:
    """One connection, from its opening to its end."""
    kind, end = kind_of(rng), rng.choice([ff.Connection.close, ff.Connection.close, ff.Connection.abort])
    waits = rng.random() < 0.9  # else the end comes at any moment, even before the receive
    stuffed = end is ff.Connection.close and rng.random() < 0.02  # the peer doesn't read, and close can't settle
    timeout = rng.choice(TIMEOUTS)
    with connected(kind, readahead=rng.random() < 0.8, timeout=timeout) as (conn, theirs):
        numbers.add(conn.fileno())
        inwards, outwards = Stream(), Stream()
        ledger = Ledger(inwards, lambda line: report.found(f"{kind}: {line}"))
        count = rng.randrange(4)
        data = FRAMING.encode_many(inwards.payload(i, 100) for i in range(count + 1))
        theirs.sendall(data[: -rng.choice([1, 20, 102, 104])])  # the last frame stays unfinished, or isn't begun
        answers = [outwards.payload(i, 100) for i in range(rng.randrange(3))]
        conn.send_many(answers)
        if stuffed:
            many = [outwards.payload(i, 1_000_000) for i in range(len(answers), 12)]
            answers += many
            with suppress(ff.SendInterrupted):
                conn.send_many(many, 0)

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
            report.found(f"{kind}, {end.__name__}: the receiver gets {error!r}")
        if waits:
            what = f"{kind}, {end.__name__}{' that gives up' if stuffed else ''}"
            report.took(f"woken, {what}", woken - start)
            if woken - start > soon:
                report.found(f"{what}: woken after {woken - start:.3f} s")
        check_answers(theirs, FRAMING.encode_many(answers), end is ff.Connection.close and not stuffed, report)
    report.add(f"cycles by {end.__name__}, {kind}")
    report.add("receivers woken" if waits else "ends at any moment")
    report.add("frames received", ledger.taken)
    report.done()


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
