"""Frames that several threads send on one connection, both ways at once: whole, once, and each thread's in its order.

Sends run out of time: one of which nothing was taken is sent again, one of which some was isn't.
"""

import os
import random
import socket
import time
from functools import partial

import fastframe as ff
from connections import LONG, Thread

from .ledger import Ledger, Stream, secret_of
from .pairs import SHARES, both
from .report import Report

SENDERS = 3
STALLS = 5.0
"""Seconds in which what was sent has to arrive, on a busy machine too."""
FRAMES = 300
"""So many each sends on a connection."""


def run(number: int, report: Report) -> None:
    """So many frames, or a few more."""
    for seed in range(number):
        if report.counts["frames sent"] >= number:
            break
        report.attempt(connection, random.Random(seed), report)


def connection(rng: random.Random, report: Report) -> None:
    """One connection, with senders and a receiver at each end."""
    kind = rng.choice(list(SHARES))
    with both(kind) as conns:
        for conn in conns if kind != "pipes" else ():
            with socket.socket(fileno=os.dup(conn.fileno())) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, rng.choice([4096, 100_000]))
        streams = [[Stream() for _ in range(SENDERS)] for _ in conns]
        seeds = iter([rng.random() for _ in range(100)])
        receivers = [
            Thread(partial(receive, conn, sent, kind, random.Random(next(seeds)), report))
            for conn, sent in zip(conns, reversed(streams), strict=True)
        ]
        senders = [
            Thread(partial(send, conn, stream, random.Random(next(seeds)), report))
            for conn, sent in zip(conns, streams, strict=True)
            for stream in sent
        ]
        for sender in senders:
            sender.done()
        start = time.monotonic()
        for conn in conns:
            conn.shutdown_send()
        for receiver in receivers:
            receiver.done()
        took = time.monotonic() - start
    if took > STALLS:
        report.found(f"{kind}: stalled: the end reaches the receivers after {took:.1f} s")
    report.took("from the half-close to the receivers' end", took)
    report.add(f"connections, {kind}")


def send(conn: ff.Connection, stream: Stream, rng: random.Random, report: Report) -> None:
    """FRAMES frames of this stream, alone and in batches."""
    sent = 0
    while sent < FRAMES:
        most = rng.choice([50, 50, 2000, 60_000])
        timeout = rng.choice([LONG, LONG, 0, rng.random() * 0.002])
        payloads = [
            stream.payload(sent + i, rng.randrange(most)) for i in range(min(rng.choice([0, 1, 9]), FRAMES - sent))
        ]
        try:
            if payloads:
                conn.send_many(payloads, timeout)
            else:
                payloads = [stream.payload(sent, rng.randrange(most))]
                conn.send(payloads[0], timeout)
        except ff.FrameTimeout:
            report.add("sends of which nothing was taken")
            time.sleep(0.0005)
            continue
        except ff.SendInterrupted:
            report.add("sends of which a part was taken")
        sent += len(payloads)
        report.add("frames sent", len(payloads))
        report.done(len(payloads))


def receive(conn: ff.Connection, streams: list[Stream], kind: str, rng: random.Random, report: Report) -> None:
    """To the end: each sender's frames into its own ledger."""
    ledgers = {stream.secret: Ledger(stream, lambda line: report.found(f"{kind}: {line}")) for stream in streams}
    try:
        while True:
            for frame in conn.recv_many():
                ledger = ledgers.get(secret_of(frame))
                if ledger is None:
                    report.found(f"{kind}: foreign or damaged: {len(frame)} bytes of no stream")
                else:
                    ledger.take(frame)
            if rng.random() < 0.1:
                time.sleep(0.001)
    except ff.ConnectionClosed:
        pass
    except BaseException:
        conn.abort()  # or the senders would wait for ever
        raise
    for ledger in ledgers.values():
        ledger.balance(FRAMES)
        report.add("frames received", ledger.taken)
