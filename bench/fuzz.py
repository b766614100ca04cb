"""Both engines, the same random calls: `python bench/fuzz.py --cases 10000000 [--seed N] [--jobs N]`.

A case is a description out of a pool of 200, a stream of 0 to 40 or so bytes made of good frames, broken ones
and noise, cut into pieces, and calls of every kind on a decoder (or, now and then, a FrameReader over a
socketpair) of each engine. Frames, exceptions with all their arguments, and the state behind each call must be
the same. Ten million cases take about a quarter of an hour on two cores.

The exit status is 1 if anything differs, crashes or hangs. Each difference is cut down to the calls that matter
and printed as a line that replays it. `--block N` runs one block of cases in this process, for a debugger.
The same seed gives the same cases.
"""

import argparse
import faulthandler
import os
import random
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import count
from typing import Any

import fastframe as ff
from fastframe import _pure, _speedups

BLOCK = 2000  # cases that one random number generator makes
POOL = 200
SHOWN = 10  # differences printed
HANGS = 120  # seconds for one block
ENGINES = {"cython": _speedups, "pure": _pure}

Call = tuple[str, Any]


# --- Descriptions ----------------------------------------------------------------------------------------------------


def first_byte(header: bytes) -> int:
    return header[0]


def picky(header: bytes) -> int:
    """Raises every kind of thing."""
    if header[0] == 0x21:
        raise ValueError("reserved")
    if header[0] == 0x30:
        raise LookupError
    if header[0] == 0x31:
        raise ff.BadMagic("not mine")
    return header[-1] % 9


def length_field(rng: random.Random) -> ff.LengthField:
    width = rng.choice([1, 1, 2, 2, 3, 4, 4, 5, 6, 7, 8])
    magic = rng.choice([b"", b"", b"", b"M", b"\0\1", b"GE"])
    offset = len(magic) + rng.choice([0, 0, 1, 2])
    header = offset + width + rng.choice([0, 0, 1, 2])
    trailer = rng.choice([b"", b"", b"", b"\n", b"xy"])
    extra: dict[str, Any] = rng.choice(
        [
            {},
            {},
            {"signed": True},
            {"mask": (1 << rng.randint(3, 8 * width)) - 1},
            {"escape": (rng.choice([-1, 0, 2, 5]), rng.choice([1, 2, 4, 8])), "signed": rng.random() < 0.5},
        ]
    )
    return ff.LengthField(
        width,
        rng.choice(["big", "little"]),
        offset=offset,
        header_size=header,
        adjustment=rng.choice([0, 0, 0, -header, -1, 1, len(trailer), -2, 3]),
        strip=rng.choice([None, None, 0, offset, offset + width, header]),
        trailer=trailer,
        trailer_size=rng.choice([0, 0, 0, len(trailer), len(trailer) + 2]),
        magic=magic,
        max_size=limit(rng),
        **extra,
    )


def ascii_length(rng: random.Random) -> ff.AsciiLength:
    shapes: list[dict[str, Any]] = [
        {},
        {"pad": b" "},
        {"pad": b" ", "align": "left"},
        {"pad": b"\0"},
        {"separator": b" "},
        {"separator": b":;:"},
        {"separator": b"\r\n"},
    ]
    return ff.AsciiLength(
        rng.choice([1, 2, 2, 3, 5, 20]),
        base=rng.choice([10, 16]),
        adjustment=rng.choice([0, 0, 0, -1, 2]),
        strip=rng.choice([None, None, 0]),
        max_size=limit(rng),
        **rng.choice(shapes),
    )


ENDS = [
    (b"\n",),
    (b"\n",),
    (b"\r\n",),
    (b"\r\n", b"\n"),
    (b"aab",),
    (b"abab",),
    (b",", b";", b"\n"),
    (b"aaa", b"ab"),
    (b"b", b"ab", b"aab"),
    (b"aba", b"bb"),
]


def delimiter(rng: random.Random) -> ff.Delimiter:
    ends, keep = rng.choice(ENDS), rng.random() < 0.3
    return ff.Delimiter(
        *ends,
        start=rng.choice([b"", b"", b"", b"\x0b", b"ab"]),
        keep=keep,
        at_eof=rng.choice(["error", "deliver", "drop"]),
        max_size=max(limit(rng), max(map(len, ends)) if keep else 0),
    )


def limit(rng: random.Random) -> int:
    return rng.choice([0, 1, 2, 3, 5, 8, 12, 20, 100, 300, 1 << 24, 1 << 24, 1 << 31, 1 << 40, 1 << 70])


KINDS: list[tuple[int, Any]] = [
    (100, length_field),
    (20, lambda rng: ff.LengthField(rng.choice([1, 2, 4]), rng.choice(["big", "little"]), max_size=limit(rng))),
    (20, ascii_length),
    (24, delimiter),
    (8, lambda rng: ff.Netstring(limit(rng))),
    (
        12,
        lambda rng: ff.VarintLength(
            rng.randint(1, 10),
            offset=rng.choice([0, 0, 1]),
            strict=rng.random() < 0.7,
            strip=rng.choice([None, None, 0]),
            max_size=limit(rng),
        ),
    ),
    (4, lambda rng: ff.FixedSize(rng.randint(1, 9))),
    (3, lambda rng: ff.UntilEOF(limit(rng))),
    (4, lambda rng: ff.ContentLength(limit(rng))),
    (5, lambda rng: ff.Computed(rng.randint(1, 3), rng.choice([first_byte, picky]), max_size=limit(rng))),
]


def pool_of(seed: int) -> list[tuple[ff.Framing, list[bytes]]]:
    """Descriptions, each with pieces that streams for it are made of."""
    rng = random.Random(f"pool {seed}")
    makers = [make for share, make in KINDS for _ in range(share)]
    pool: list[tuple[ff.Framing, list[bytes]]] = []
    for number in count():
        if len(pool) == POOL:
            return pool
        try:
            framing = makers[number % len(makers)](rng)
        except ValueError:  # no frame could be like this
            continue
        pool.append((framing, pieces_for(framing, rng)))
    raise AssertionError


NOISE = [
    b"",
    b"\0",
    b"\1",
    b"\2",
    b"\xff",
    b"\x80",
    b"\0\0\0",
    b"\0\1",
    b"\xff\xff",
    b"\x80\1",
    b"0",
    b"5",
    b"12",
    b"a",
    b"ab",
    b"b",
]
NOISE += [
    b"\r",
    b"\n",
    b":",
    b",",
    b";",
    b" ",
    b"\x16\x03\x01",
    b"GET / HT",
    b"SSH-2.0-",
    b"Content-Length: 2\r\n",
    b"\r\n",
    b"X: y\r\n",
]


def pieces_for(framing: ff.Framing, rng: random.Random) -> list[bytes]:
    pieces = [*NOISE]
    while len(pieces) < 90:
        payload = rng.choice(
            [rng.randbytes(rng.randint(0, 8)), rng.choice(NOISE), b"".join(rng.choices(NOISE, k=2)), b"xyz"]
        )
        try:
            frame = framing.encode(payload)
        except (ValueError, LookupError):
            frame = payload
        if len(frame) > 40:
            frame = frame[:40]
        pieces += [frame, frame, frame[: rng.randint(0, len(frame))]]
    return pieces


# --- Cases -----------------------------------------------------------------------------------------------------------

TAKES = ["feed", "feed", "feed", "feed", "feed_batch", "feed_batch", "push", "push", "fill", "mutable", "strided"]
OTHERS = ["pop", "pop", "pop", "needed", "needed", "unread", "framing", "get_buffer", "updated", "feed_eof", "wrong"]


def case(rng: random.Random, pool: list[Any]) -> tuple[ff.Framing, list[Call]]:
    """A description and the calls on a decoder of it."""
    chance = rng.random
    framing, pieces = pool[int(chance() * len(pool))]
    data = b"".join(rng.choices(pieces, k=1 + int(chance() * 5)))
    size = len(data)
    if size and chance() < 0.2:
        at = int(chance() * size)
        data = data[:at] + bytes((int(chance() * 256),)) + data[at + 1 :]
    calls: list[Call] = []
    if chance() < 0.03:
        options = {"readahead": chance() < 0.5, "buffer_size": int(chance() * 20) + 1}
        calls.append(("reader", options))
    one = TAKES[int(chance() * len(TAKES))] if chance() < 0.5 else ""
    at = 0
    while at < size:
        stop = at + 1 + int(chance() * chance() * (size - at + 4))
        calls.append((one or TAKES[int(chance() * len(TAKES))], data[at:stop]))
        at = stop
        if chance() < 0.25:
            name = OTHERS[int(chance() * len(OTHERS))]
            other = None
            if name == "framing":
                other = pool[int(chance() * len(pool))][0] if chance() < 0.5 else framing
            elif name in ("get_buffer", "updated"):
                other = int(chance() * 30) - 2
            calls.append((name, other))
    if chance() < 0.6:
        calls.append(("feed_eof", None))
    return framing, calls


def fill(decoder: Any, data: bytes) -> Any:
    decoder.get_buffer(len(data))[: len(data)] = data
    return decoder.buffer_updated(len(data))


DO: dict[str, Any] = {
    "feed": lambda d, data: d.feed(data),
    "feed_batch": lambda d, data: list(d.feed_batch(data)),
    "push": lambda d, data: d.push(data),
    "fill": fill,
    "mutable": lambda d, data: d.feed(bytearray(data)),
    "strided": lambda d, data: list(d.feed_batch(memoryview(data + data)[::2])),
    "pop": lambda d, _: d.pop(),
    "needed": lambda d, _: d.needed,
    "unread": lambda d, _: d.unread(),
    "framing": lambda d, framing: setattr(d, "framing", framing),
    "get_buffer": lambda d, hint: len(d.get_buffer(hint)) > 0,
    "updated": lambda d, size: d.buffer_updated(size if size < 3 else 1 << 40),
    "feed_eof": lambda d, _: d.feed_eof(),
    "wrong": lambda d, _: d.feed("text"),
}


def trace(engine: Any, framing: ff.Framing, calls: list[Call]) -> list[Any]:
    """What each call gave or raised, and the state behind it."""
    if calls and calls[0][0] == "reader":
        return trace_reader(engine, framing, calls)
    decoder = engine.Decoder(framing)
    seen: list[Any] = []
    for name, value in calls:
        try:
            seen.append(DO[name](decoder, value))
        except ff.FrameError as error:
            seen.append((type(error), error.args))
        except Exception as error:
            seen.append(type(error))
        seen += (decoder.buffered, decoder.stats)
    return finished(decoder, seen)


def finished(decoder: Any, seen: list[Any]) -> list[Any]:
    error = decoder.error
    seen.append((type(error), error.args, str(error)) if error is not None else None)
    try:
        seen += (decoder.needed, decoder.unread())
    except Exception as caught:
        seen += (type(caught), str(caught))
    return seen


READS = ("read", "read_one", "read_batch")


def trace_reader(engine: Any, framing: ff.Framing, calls: list[Call]) -> list[Any]:
    """The same for a FrameReader: what can be fed is sent to it. How much a read takes ahead, or at a fault, is its own affair."""
    seen: list[Any] = []
    ours, peers = socket.socketpair()
    with ours, peers:
        reader = engine.FrameReader(ours, framing, **calls[0][1])
        for number, (name, value) in enumerate(calls[1:]):
            if name == "feed_eof":
                peers.shutdown(socket.SHUT_WR)
            elif type(value) is bytes:
                peers.send(value)
            elif name in ("needed", "unread", "framing"):
                try:
                    seen.append(DO[name](reader, value))
                except Exception as error:
                    seen.append((type(error), error.args))
            method = READS[(number + len(calls)) % 3]
            for _ in range(60):
                try:
                    got = getattr(reader, method)()
                except Exception as error:
                    seen.append((type(error), error.args if isinstance(error, ff.FrameError) else ()))
                    break
                if got is None or (method != "read_one" and not len(got)):
                    break
                seen += [got] if method == "read_one" else got
            seen += (reader.buffered, reader.stats)
            if name == "feed_eof":
                break
        error = reader.error
        seen.append((type(error), error.args, str(error)) if error is not None else None)
        if calls[0][1]["readahead"] or isinstance(error, ff.InvalidFrame):
            return seen
        ours.setblocking(False)
        try:
            seen.append(ours.recv(1000))
        except OSError as error:
            seen.append(type(error))
    return seen


def differs(framing: ff.Framing, calls: list[Call]) -> bool:
    return trace(_speedups, framing, calls) != trace(_pure, framing, calls)


def smallest(framing: ff.Framing, calls: list[Call]) -> list[Call]:
    """The same difference with fewer calls."""
    at = 0
    while at < len(calls):
        fewer = calls[:at] + calls[at + 1 :]
        if differs(framing, fewer):
            calls = fewer
        else:
            at += 1
    return calls


def replay_line(framing: ff.Framing, calls: list[Call]) -> str:
    return f"python bench/fuzz.py --replay {shlex.quote(repr(framing))} {shlex.quote(repr(calls))}"


# --- Running ---------------------------------------------------------------------------------------------------------

_pools: dict[int, list[Any]] = {}


def run_block(seed: int, block: int, cases: int) -> tuple[int, int, list[str]]:
    """The cases done, how many differ, and lines that replay the first of them."""
    if seed not in _pools:
        _pools[seed] = pool_of(seed)
    pool = _pools[seed]
    rng = random.Random(f"{seed}/{block}")
    bad = 0
    lines = []
    faulthandler.dump_traceback_later(HANGS, exit=True)
    try:
        for _ in range(cases):
            framing, calls = case(rng, pool)
            if trace(_speedups, framing, calls) != trace(_pure, framing, calls):
                bad += 1
                if len(lines) < SHOWN:
                    lines.append(replay_line(framing, smallest(framing, calls)))
    finally:
        faulthandler.cancel_dump_traceback_later()
    return cases, bad, lines


@contextmanager
def progress(total: int) -> Iterator[Any]:
    """A function to call with the cases just done; a bar if rich is there, else a line now and then."""
    try:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        done, said = 0, time.monotonic()

        def plain(cases: int) -> None:
            nonlocal done, said
            done += cases
            if time.monotonic() - said > 10:
                said = time.monotonic()
                print(f"{done} of {total} cases", file=sys.stderr, flush=True)

        yield plain
        return
    from rich.console import Console

    columns = (TextColumn("cases"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda cases: bar.advance(task, cases)


def run(cases: int, seed: int, jobs: int) -> tuple[int, int, list[str]]:
    """All blocks, on so many processes."""
    blocks = iter([(number, min(BLOCK, cases - number * BLOCK)) for number in range(-(-cases // BLOCK))])
    running: dict[Future[Any], int] = {}
    done = bad = 0
    lines: list[str] = []
    with progress(cases) as advance, ProcessPoolExecutor(jobs) as executor:
        for _ in range(2 * jobs):
            for number, size in blocks:
                running[executor.submit(run_block, seed, number, size)] = number
                break
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                try:
                    ran, differing, replays = future.result()
                except BrokenProcessPool:
                    among = sorted(running.values())
                    return done, bad + 1, [*lines, f"crashed or hung: --seed {seed} --block N, N being one of {among}"]
                del running[future]
                done += ran
                bad += differing
                lines += replays
                advance(ran)
                for number, size in blocks:
                    running[executor.submit(run_block, seed, number, size)] = number
                    break
    return done, bad, lines


def replay(framing: str, calls: str) -> int:
    """Show what each engine makes of one case."""
    names = {**vars(ff), **globals()}
    given = eval(framing, names), eval(calls, names)
    traces = {name: trace(engine, *given) for name, engine in ENGINES.items()}
    for name, seen in traces.items():
        print(name, *seen, sep="\n    ")
    return int(traces["cython"] != traces["pure"])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--block", type=int, help="run this block of cases alone, in this process")
    parser.add_argument("--replay", nargs=2, metavar=("FRAMING", "CALLS"), help="run this case alone and show it")
    args = parser.parse_args()
    if args.replay:
        return replay(*args.replay)
    start = time.perf_counter()
    if args.block is not None:
        done, bad, lines = run_block(args.seed, args.block, BLOCK)
    else:
        done, bad, lines = run(args.cases, args.seed, args.jobs)
    took = time.perf_counter() - start
    for line in lines[:SHOWN]:
        print(line)
    print(f"{done} cases, seed {args.seed}: {bad} differences, in {took:.0f} s ({done / took:.0f} a second)")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
