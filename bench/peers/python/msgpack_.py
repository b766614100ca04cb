"""The contender msgpack: its Unpacker, over a stream of objects of the type bin 32."""

from __future__ import annotations

import msgpack
from program import CHUNK, LIMIT, Job, Receive, Take, main


def receive(job: Job) -> None:
    """Feed it what a socket receives."""
    sock = job.connect()
    unpacker = msgpack.Unpacker(max_buffer_size=2 * LIMIT)

    def receive(frames: int, take: Take) -> tuple[int, int]:
        count = total = 0
        while count < frames:
            data = sock.recv(CHUNK)
            if not data:
                raise EOFError("the stream ended too early")
            unpacker.feed(data)
            payloads = list(unpacker)
            count += len(payloads)
            total += sum(map(take, payloads))
        return count, total

    job.receive(receive)


def unpacked(chunks: list[bytes]) -> Receive:
    """Feed it chunk by chunk, from the first again when they are through."""
    unpacker = msgpack.Unpacker(max_buffer_size=2 * LIMIT)

    def receive(frames: int, take: Take) -> tuple[int, int]:
        count = total = 0
        while count < frames:
            for chunk in chunks:
                unpacker.feed(chunk)
                payloads = list(unpacker)
                count += len(payloads)
                total += sum(map(take, payloads))
        return count, total

    return receive


def parse(job: Job) -> None:
    """Parse objects in memory."""
    with open(job.file, "rb") as file:
        chunks = list(iter(lambda: file.read(CHUNK), b""))
    job.receive(unpacked(chunks))


if __name__ == "__main__":
    main({("msgpack", "receive"): receive, ("msgpack", "parse"): parse})
