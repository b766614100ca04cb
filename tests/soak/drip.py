"""Run as a program of its own: sends its input to a socket that it inherits, at random cuts and at random moments.

python drip.py DESCRIPTOR SEED
"""

import random
import socket
import sys
import time

PAUSE = 0.0003


def drip(sock: socket.socket, data: bytes, rng: random.Random) -> None:
    """Send it all, then the end."""
    with sock:
        sock.settimeout(None)
        at = 0
        while at < len(data):
            size = rng.randrange(1, rng.choice([1, 1, 20, 300, 50_000]) + 1)
            sock.sendall(data[at : at + size])
            at += size
            if rng.random() < 0.5:
                time.sleep(rng.random() * PAUSE)


if __name__ == "__main__":
    drip(socket.socket(fileno=int(sys.argv[1])), sys.stdin.buffer.read(), random.Random(int(sys.argv[2])))
