"""The contenders multiprocessing.connection and fastframe.multiprocessing: messages are frames of a 4-byte length, up to 2 GiB."""

from __future__ import annotations

from multiprocessing.connection import Connection

from program import Job, Take, main


def connection(job: Job) -> Connection:
    """A Connection over the socket's descriptor."""
    number = job.connect().detach()
    if job.contender == "multiprocessing":
        return Connection(number)
    from fastframe import multiprocessing

    return multiprocessing.Connection(number, readahead=job.contender.endswith("readahead"))


def receive(job: Job) -> None:
    """recv_bytes for each."""
    conn = connection(job)

    def receive(frames: int, take: Take) -> tuple[int, int]:
        total = 0
        for _ in range(frames):
            total += take(conn.recv_bytes())
        return frames, total

    job.receive(receive)


def send(job: Job) -> None:
    """send_bytes for each: there is no call for many."""
    conn = connection(job)

    def send(payloads: list[bytes]) -> None:
        for payload in payloads:
            conn.send_bytes(payload)

    job.send(send, send)
    conn.close()


def trip(job: Job) -> None:
    """send_bytes and recv_bytes."""
    conn = connection(job)

    def exchange(payloads: list[bytes], take: Take) -> int:
        total = 0
        for payload in payloads:
            conn.send_bytes(payload)
            total += take(conn.recv_bytes())
        return total

    job.trip(exchange)


if __name__ == "__main__":
    works = {"receive": receive, "send": send, "trip": trip}
    names = ("multiprocessing", "fastframe-multiprocessing", "fastframe-multiprocessing-readahead")
    main({(name, work): run for name in names for work, run in works.items()})
