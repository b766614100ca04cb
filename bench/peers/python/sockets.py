"""Contenders on a blocking socket, written by hand."""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable

from program import CHUNK, HEADER, Exchange, Job, Receive, Send, Take, main


def exactly(sock: socket.socket, size: int) -> bytes:
    """So many bytes, as the Socket HOWTO receives them."""
    chunks = []
    got = 0
    while got < size:
        chunk = sock.recv(min(size - got, 2048))
        if not chunk:
            raise EOFError("the stream ended too early")
        chunks.append(chunk)
        got += len(chunk)
    return b"".join(chunks)


def wholly(sock: socket.socket, data: bytes) -> None:
    """All of it, as the Socket HOWTO sends it."""
    sent = 0
    while sent < len(data):
        sent += sock.send(data[sent:])


def howto(sock: socket.socket) -> Receive:
    """The Socket HOWTO's loop, for the header and for the payload."""

    def receive(frames: int, take: Take) -> tuple[int, int]:
        total = 0
        for _ in range(frames):
            (size,) = HEADER.unpack(exactly(sock, 4))
            total += take(exactly(sock, size))
        return frames, total

    return receive


def makefile(sock: socket.socket) -> Receive:
    """A buffered file over the socket."""
    file = sock.makefile("rb")

    def read(size: int) -> bytes:
        data = file.read(size)
        if len(data) < size:
            raise EOFError("the stream ended too early")
        return data

    def receive(frames: int, take: Take) -> tuple[int, int]:
        total = 0
        for _ in range(frames):
            (size,) = HEADER.unpack(read(4))
            total += take(read(size))
        return frames, total

    return receive


def waitall(sock: socket.socket) -> Receive:
    """Header and payload, each in a call that waits for all of it."""

    def read(size: int) -> bytes:
        data = sock.recv(size, socket.MSG_WAITALL)
        if len(data) < size:
            raise EOFError("the stream ended too early")
        return data

    def receive(frames: int, take: Take) -> tuple[int, int]:
        total = 0
        for _ in range(frames):
            (size,) = HEADER.unpack(read(4))
            total += take(read(size))
        return frames, total

    return receive


def gathered(sock: socket.socket) -> Receive:
    """A bytearray that is filled at its end and emptied at its start."""
    buffer = bytearray()

    def receive(frames: int, take: Take) -> tuple[int, int]:
        count = total = 0
        while True:
            while len(buffer) >= 4:
                (size,) = HEADER.unpack_from(buffer)
                if len(buffer) < 4 + size:
                    break
                total += take(bytes(buffer[4 : 4 + size]))
                del buffer[: 4 + size]
                count += 1
                if count == frames:
                    return count, total
            data = sock.recv(CHUNK)
            if not data:
                raise EOFError("the stream ended too early")
            buffer.extend(data)

    return receive


def howto_send(sock: socket.socket) -> tuple[Send, Send]:
    """The Socket HOWTO's loop."""

    def send(payloads: list[bytes]) -> None:
        for payload in payloads:
            wholly(sock, HEADER.pack(len(payload)) + payload)

    return send, send


def makefile_send(sock: socket.socket) -> tuple[Send, Send]:
    """A buffered file over the socket, flushed behind each frame or each batch."""
    file = sock.makefile("wb")

    def one_by_one(payloads: list[bytes]) -> None:
        for payload in payloads:
            file.write(HEADER.pack(len(payload)))
            file.write(payload)
            file.flush()

    def many(payloads: list[bytes]) -> None:
        for payload in payloads:
            file.write(HEADER.pack(len(payload)))
            file.write(payload)
        file.flush()

    return one_by_one, many


def howto_trip(sock: socket.socket) -> Exchange:
    """The Socket HOWTO's loops."""

    def exchange(payloads: list[bytes], take: Take) -> int:
        total = 0
        for payload in payloads:
            wholly(sock, HEADER.pack(len(payload)) + payload)
            (size,) = HEADER.unpack(exactly(sock, 4))
            total += take(exactly(sock, size))
        return total

    return exchange


def by_hand(sock: socket.socket) -> Exchange:
    """Frames encoded beforehand, their answers' lengths known: the least that a socket can do."""

    def exchange(frames: list[bytes], take: Take) -> int:
        total = 0
        for frame in frames:
            sock.sendall(frame)
            answer = sock.recv(len(frame))
            while len(answer) < len(frame):
                rest = sock.recv(len(frame) - len(answer))
                if not rest:
                    raise EOFError("the stream ended too early")
                answer += rest
            total += take(answer[4:])
        return total

    return exchange


def framed(payload: bytes) -> bytes:
    """A payload behind its header."""
    return HEADER.pack(len(payload)) + payload


RECEIVERS = {"howto": howto, "makefile": makefile, "waitall": waitall, "bytearray": gathered}
SENDERS = {"howto": howto_send, "makefile": makefile_send}


def run_receive(job: Job) -> None:
    """Receive frames."""
    job.receive(RECEIVERS[job.contender](job.connect()))


def run_send(job: Job) -> None:
    """Send frames."""
    sock = job.connect()
    job.send(*SENDERS[job.contender](sock))
    sock.shutdown(socket.SHUT_WR)


def run_trip(job: Job, timeout: float | None = None) -> None:
    """Send frames and wait for their answers."""
    sock = job.connect()
    sock.settimeout(timeout)
    if job.contender == "howto":
        job.trip(howto_trip(sock))
    else:
        job.trip(by_hand(sock), framed)


if __name__ == "__main__":
    contenders: dict[tuple[str, str], Callable[[Job], None]] = {(name, "receive"): run_receive for name in RECEIVERS}
    contenders |= {(name, "send"): run_send for name in SENDERS}
    contenders |= {(name, "trip"): run_trip for name in ("howto", "by_hand")}
    contenders["by_hand-timeout", "trip"] = functools.partial(run_trip, timeout=5.0)
    main(contenders)
