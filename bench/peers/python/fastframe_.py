"""The contenders of fastframe. A name that begins with pure- asks for the pure engine, all others for the Cython one."""

from __future__ import annotations

import os
import select
import socket
import sys
from collections.abc import Callable
from itertools import islice

os.environ["FASTFRAME_PURE"] = "1" if "".join(sys.argv[1:2]).startswith("pure-") else "0"

import numpy as np
from fastframe_loop import echo
from fastframe_server import echo_batches, echo_frames
from program import CHUNK, Exchange, Job, Receive, Send, Take, main

import fastframe

FRAMING = fastframe.LengthField(4)
End = Callable[[], None]
"""Closes what was sent to."""


class Waiting:
    """Waits for a descriptor."""

    def __init__(self, sock: socket.socket, event: int) -> None:
        """`event`: of select.poll."""
        self._poll = select.poll()
        self._poll.register(sock, event)

    def wait(self) -> None:
        """Until it is ready."""
        self._poll.poll()


def reader(sock: socket.socket) -> Receive:
    """FrameReader.read: a list of payloads at a time."""
    frame_reader = fastframe.FrameReader(sock, FRAMING)
    readable = Waiting(sock, select.POLLIN)

    def receive(frames: int, take: Take) -> tuple[int, int]:
        count = total = 0
        while count < frames:
            payloads = frame_reader.read()
            if not payloads:
                readable.wait()
            count += len(payloads)
            total += sum(map(take, payloads))
        return count, total

    return receive


def views(sock: socket.socket) -> Receive:
    """FrameReader.read_batch: views of the payloads, without a copy."""
    frame_reader = fastframe.FrameReader(sock, FRAMING)
    readable = Waiting(sock, select.POLLIN)

    def receive(frames: int, take: Take) -> tuple[int, int]:
        count = total = 0
        while count < frames:
            batch = frame_reader.read_batch()
            if not batch:
                readable.wait()
            count += len(batch)
            total += sum(map(take, batch.views()))
        return count, total

    return receive


def lengths(sock: socket.socket) -> Receive:
    """FrameReader.read_batch: where the payloads are, for NumPy."""
    frame_reader = fastframe.FrameReader(sock, FRAMING)
    readable = Waiting(sock, select.POLLIN)

    def receive(frames: int, take: Take) -> tuple[int, int]:
        count = total = 0
        while count < frames:
            batch = frame_reader.read_batch()
            if not batch:
                readable.wait()
            count += len(batch)
            if take is len:
                total += int(np.asarray(batch.lengths).sum())
            else:
                total += sum(map(take, batch))
        return count, total

    return receive


def iterate(sock: socket.socket) -> Receive:
    """For each payload of a connection."""
    conn = fastframe.wrap(sock, FRAMING)

    def receive(frames: int, take: Take) -> tuple[int, int]:
        total = 0
        before = conn.stats.received.frames
        # Only as many as belong to the part: a user's loop goes on to the end of the stream.
        for payload in islice(conn, frames):
            total += take(payload)
        return conn.stats.received.frames - before, total

    return receive


def recv(sock: socket.socket) -> Receive:
    """Connection.recv: one payload at a time."""
    conn = fastframe.wrap(sock, FRAMING)

    def receive(frames: int, take: Take) -> tuple[int, int]:
        total = 0
        for _ in range(frames):
            total += take(conn.recv())
        return frames, total

    return receive


def recv_many(sock: socket.socket) -> Receive:
    """Connection.recv_many: a list of payloads at a time."""
    conn = fastframe.wrap(sock, FRAMING)

    def receive(frames: int, take: Take) -> tuple[int, int]:
        count = total = 0
        while count < frames:
            payloads = conn.recv_many()
            count += len(payloads)
            total += sum(map(take, payloads))
        return count, total

    return receive


def connection(sock: socket.socket) -> tuple[Send, Send, End]:
    """Connection.send and send_many."""
    conn = fastframe.wrap(sock, FRAMING)

    def one_by_one(payloads: list[bytes]) -> None:
        for payload in payloads:
            conn.send(payload)

    return one_by_one, conn.send_many, conn.close


def writer(sock: socket.socket) -> tuple[Send, Send, End]:
    """FrameWriter.write and write_many."""
    # A batch of the largest payloads has to fit.
    frame_writer = fastframe.FrameWriter(sock, FRAMING, max_pending=1 << 40)
    writable = Waiting(sock, select.POLLOUT)

    def one_by_one(payloads: list[bytes]) -> None:
        for payload in payloads:
            done = frame_writer.write(payload)
            while not done:
                writable.wait()
                done = frame_writer.flush()

    def many(payloads: list[bytes]) -> None:
        done = frame_writer.write_many(payloads)
        while not done:
            writable.wait()
            done = frame_writer.flush()

    return one_by_one, many, sock.close


def trip(sock: socket.socket) -> Exchange:
    """Connection.send and recv."""
    conn = fastframe.wrap(sock, FRAMING)

    def exchange(payloads: list[bytes], take: Take) -> int:
        total = 0
        for payload in payloads:
            conn.send(payload)
            total += take(conn.recv())
        return total

    return exchange


def decoder(chunks: list[bytes]) -> Receive:
    """Decoder.feed, chunk by chunk, from the first again when they are through."""
    decode = fastframe.Decoder(FRAMING)

    def receive(frames: int, take: Take) -> tuple[int, int]:
        count = total = 0
        while count < frames:
            for chunk in chunks:
                payloads = decode.feed(chunk)
                count += len(payloads)
                total += sum(map(take, payloads))
        return count, total

    return receive


RECEIVERS = {
    "reader": reader,
    "views": views,
    "lengths": lengths,
    "iterate": iterate,
    "recv_many": recv_many,
    "recv": recv,
}
SENDERS = {"connection": connection, "writer": writer}


def run_receive(job: Job) -> None:
    """Receive frames."""
    job.receive(RECEIVERS[job.contender.removeprefix("pure-")](job.connect()))


def run_send(job: Job) -> None:
    """Send frames."""
    one_by_one, many, end = SENDERS[job.contender.removeprefix("pure-")](job.connect())
    job.send(one_by_one, many)
    end()


def run_trip(job: Job) -> None:
    """Send frames and wait for their answers."""
    sock = job.connect()
    sock.settimeout(5.0 if job.contender.endswith("-timeout") else None)
    job.trip(trip(sock))


def run_parse(job: Job) -> None:
    """Parse frames in memory."""
    with open(job.file, "rb") as file:
        chunks = list(iter(lambda: file.read(CHUNK), b""))
    job.receive(decoder(chunks))


if __name__ == "__main__":
    works = {(name, "receive"): run_receive for name in RECEIVERS}
    works |= {(name, "send"): run_send for name in SENDERS}
    works |= {(name, "trip"): run_trip for name in ("trip", "trip-timeout")}
    works |= {("loop", "echo"): echo, ("server", "echo"): echo_batches, ("server-function", "echo"): echo_frames}
    works |= {("decoder", "parse"): run_parse}
    main(works | {(f"pure-{name}", work): run for (name, work), run in works.items()})
