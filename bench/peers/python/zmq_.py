"""The contender pyzmq: its own protocol, between a PUSH and a PULL socket; a bridge carries the payloads."""

from __future__ import annotations

import bridge
import zmq
from program import Job, Take, main

PATIENCE = 10_000
"""Milliseconds to wait for the other end."""


def socket_of(kind: int) -> zmq.Socket[bytes]:
    """A socket that doesn't wait for ever."""
    sock: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
    sock.rcvtimeo = sock.sndtimeo = sock.linger = PATIENCE
    return sock


def push(endpoint: str, address: str) -> None:
    """Send on what comes from the endpoint."""
    sock = socket_of(zmq.PUSH)
    sock.connect(address)
    for payload in bridge.connection(endpoint):
        sock.send(payload)
    sock.close()
    zmq.Context.instance().term()


def receive(job: Job) -> None:
    """Receive each, over the same transport as the endpoint's."""
    sock = socket_of(zmq.PULL)
    transport, _, path = job.endpoint.partition(":")
    sock.bind("tcp://127.0.0.1:*" if transport == "tcp" else f"ipc://{path}.zmq")
    bridge.start(push, job.endpoint, sock.get_string(zmq.LAST_ENDPOINT))

    def receive(frames: int, take: Take) -> tuple[int, int]:
        total = 0
        for _ in range(frames):
            total += take(sock.recv())
        return frames, total

    try:
        job.receive(receive)
    except zmq.Again:
        raise SystemExit("the stream ended too early") from None


if __name__ == "__main__":
    main({("pyzmq", "receive"): receive})
