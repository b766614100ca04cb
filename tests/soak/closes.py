"""Connections closed while unread input is waiting: every frame sent before reaches a peer that reads."""

import random
import select
import time

import fastframe as ff
from connections import LONG, Thread

from .ledger import Ledger, Stream
from .pairs import both, kind_of
from .report import Report, share

THREADS = 4
READING = ["at once", "slowly", "once close waits"]
STALLS = 5.0
"""Seconds in which a peer that reads gets all, on a busy machine too."""
STARTING = 0.0005


def run(number: int, report: Report) -> None:
    """So many closes."""
    share(THREADS, number, lambda i: close(random.Random(i), report), report)


def close(rng: random.Random, report: Report) -> None:
    """One connection, with some input left unread, in which the peer may still be talking."""
    kind = kind_of(rng)
    with both(kind) as (conn, other):
        close_one(kind, conn, other, rng, report)


def close_one(kind: str, conn: ff.Connection, other: ff.Connection, rng: random.Random, report: Report) -> None:
    reading, talks = rng.choice(READING), rng.random() < 0.25
    stream = Stream(empty_every=5)
    ledger = Ledger(stream, lambda line: report.found(f"{kind}, peer reads {reading}: {line}"))
    other.send_many([b"?" * rng.randrange(2000) for _ in range(rng.randrange(1, 10))])
    if rng.random() < 0.5:
        conn.recv()
    other.send(b"?" * rng.randrange(20_000))

    talker = Thread(lambda: talk(other)) if talks else None
    reader = Thread(lambda: read(other, ledger, reading))
    sent = send(conn, stream, rng, may_wait=reading == "at once")
    unread = bool(select.select([conn], [], [], 0)[0])
    start = time.monotonic()
    conn.close(LONG)
    took = time.monotonic() - start
    report.took("close", took)
    if took > STALLS:
        report.found(f"{kind}, peer reads {reading}: close takes {took:.1f} s")
    end = reader.done()
    other.abort()
    if talker is not None:
        talker.done()

    ledger.balance(sent)
    if end is not ff.ConnectionClosed and not talks:
        report.found(f"{kind}, peer reads {reading}: its end is {end.__name__}")
    report.add("frames sent", sent)
    report.add("frames received", ledger.taken)
    report.add(f"closes, {kind}")
    report.add(f"closes, peer reads {reading}")
    report.add("closes with unread input", unread)
    report.add("closes with the peer talking", talks)
    report.add(f"ends: {end.__name__}")
    report.done()


def send(conn: ff.Connection, stream: Stream, rng: random.Random, may_wait: bool) -> int:
    """Send some frames: how many were taken. Of the last, a part may be still queued."""
    sent = 0
    timeout = LONG if may_wait and rng.random() < 0.5 else 0
    most = rng.choice([100, 3000, 40_000, 200_000])
    for _ in range(rng.randrange(1, 12)):
        many = rng.choice([1, 1, 5])
        payloads = [stream.payload(sent + i, rng.randrange(most)) for i in range(many)]
        try:
            conn.send_many(payloads, timeout)
        except ff.FrameTimeout:
            break
        except ff.SendInterrupted:
            sent += many
            break
        sent += many
    return sent


def read(other: ff.Connection, ledger: Ledger, how: str) -> type[ff.FrameError]:
    """Read to the end: how it ends."""
    if how == "once close waits":
        time.sleep(5 * STARTING)
    while True:
        try:
            frames = other.recv_batch()
        except ff.FrameError as error:
            return type(error)
        for frame in frames:
            ledger.take(frame)
        if how == "slowly":
            time.sleep(STARTING)


def talk(other: ff.Connection) -> None:
    """Send until there is nobody to hear it."""
    while True:
        try:
            other.send(b"?" * 1000)
        except (ff.ConnectionLost, ff.ConnectionClosed, ValueError):
            return
