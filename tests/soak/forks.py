"""Processes forked with a connection open: the child uses it as far as it may, and ends; the parent's is unharmed."""

import gc
import os
import random
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import fastframe as ff
from connections import FRAMING, LONG, Thread

from .ledger import Ledger, Stream
from .pairs import SHARES, ends
from .report import Report, share

FRAMES = 6
LARGE = 1_000_000

ENDS: dict[str, Callable[[list[ff.Connection]], None]] = {
    "exit": lambda conns: None,
    "close": lambda conns: conns[0].close(),
    "abort": lambda conns: conns[0].abort(),
    "forget": lambda conns: conns.clear(),
}
CALLS: dict[str, Callable[[ff.Connection], object]] = {
    "recv": lambda conn: conn.recv(0),
    "recv_many": lambda conn: conn.recv_many(0),
    "recv_batch": lambda conn: conn.recv_batch(0),
    "iteration": lambda conn: next(iter(conn)),
    "poll": lambda conn: conn.poll(0),
    "unread": lambda conn: conn.unread(),
    "send": lambda conn: conn.send(b"?", 0),
    "send_many": lambda conn: conn.send_many([b"?"], 0),
    "flush": lambda conn: conn.flush(0),
    "shutdown_send": lambda conn: conn.shutdown_send(0),
}


def run(number: int, report: Report) -> None:
    """So many forks."""
    share(1, number, lambda i: fork(random.Random(i), report), report)


def fork(rng: random.Random, report: Report) -> None:
    """A connection with frames on their way, one of them half received, and a child that inherits it."""
    kind, readahead, end = rng.choice(list(SHARES)), rng.random() < 0.5, rng.choice(list(ENDS))
    queued = rng.random() < 0.25
    what = f"{kind}, readahead={readahead}{', frames queued' if queued else ''}, the child's {end}"
    # What is in both processes is for one of them only: bytes read ahead or queued, and a TLS connection's state.
    usable = not readahead and not queued and kind != "tls"
    given, theirs = ends(kind)
    conns = [ff.wrap(framing=FRAMING, readahead=readahead, timeout=LONG, **given)]  # and nothing else refers to it
    try:
        with theirs:
            theirs.settimeout(LONG)
            inwards, outwards = Stream(), Stream()
            ledger = Ledger(inwards, lambda line: report.found(f"{what}, received: {line}"))
            data = FRAMING.encode_many(inwards.payload(i, 300) for i in range(FRAMES))
            cut = rng.randrange(len(data) * 2 // 3, len(data))
            theirs.sendall(data[:cut])
            ledger.take(conns[0].recv())
            sent = 12 if queued else 1
            with suppress(ff.SendInterrupted):
                conns[0].send_many([outwards.payload(i, LARGE if queued else 300) for i in range(sent)], 0)

            wrong = in_child(lambda: child(conns, usable, end, inwards, outwards))
            if wrong:
                report.found(f"{what}: {wrong}")

            theirs.sendall(data[cut:])
            if usable:
                ledger.take(inwards.payload(1, 300))  # the child has had it, and answered
                sent += 1
            while ledger.taken < FRAMES:
                ledger.take(conns[0].recv())
            ledger.balance(FRAMES)
            answers = Ledger(outwards, lambda line: report.found(f"{what}, sent: {line}"))
            reader = Thread(lambda: read(theirs, answers))
            conns[0].send(outwards.payload(sent, 300))
            conns[0].close()
            reader.done()
            answers.balance(sent + 1)
    finally:
        conns.pop().abort()
    report.add(f"forks, readahead={readahead}")
    report.add(f"forks, {kind}")
    report.add("forks with frames queued", queued)
    report.add(f"forks, the child's {end}")
    report.done()


def read(theirs: Any, ledger: Ledger) -> None:
    """All that comes, to its end."""
    decoder = ff.Decoder(FRAMING)
    while data := theirs.recv(65_536):
        for frame in decoder.feed(data):
            ledger.take(frame)
    decoder.feed_eof()


# --- The child -------------------------------------------------------------------------------------------------------


def in_child(act: Callable[[], str]) -> str:
    """What the call says in a child process; or what it raises, or how the child ends otherwise."""
    ours, its = os.pipe()
    with warnings.catch_warnings():
        # The other threads wait for this one, or draw a bar; the child does neither.
        warnings.simplefilter("ignore", DeprecationWarning)
        process = os.fork()
    if process == 0:
        try:
            said = act()
        except BaseException as error:
            said = f"the child gets {error!r}"
        os.write(its, said.encode())
        os._exit(0)
    os.close(its)
    with open(ours, encoding="utf-8") as pipe:
        said = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return f"the child ends with {status}" if status else said


def child(conns: list[ff.Connection], usable: bool, end: str, inwards: Stream, outwards: Stream) -> str:
    """What the child does: what is wrong, if anything is."""
    conn = conns[0]
    if not usable:
        for name, call in CALLS.items():
            try:
                call(conn)
            except ff.ConcurrentUse:
                continue
            return f"in the child, {name} isn't ConcurrentUse"
    else:
        if conn.recv() != inwards.payload(1, 300):
            return "the child gets the wrong frame"
        conn.send(outwards.payload(1, 300))
    left = weakref.ref(conn)
    del conn
    with warnings.catch_warnings(record=True, action="always") as said:
        ENDS[end](conns)
        gc.collect()
    if end == "forget" and left() is not None:
        return "the child doesn't forget it"
    return f"the child warns: {said[0].message}" if said else ""
