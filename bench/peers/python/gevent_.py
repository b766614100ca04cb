"""The contender gevent: the Socket HOWTO's loops, over patched sockets."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import socket  # noqa: E402

from gevent.server import StreamServer  # noqa: E402
from program import HEADER, Job, main, ready  # noqa: E402
from sockets import exactly, howto, howto_send  # noqa: E402


def receive(job: Job) -> None:
    """Receive frames."""
    job.receive(howto(job.connect()))


def send(job: Job) -> None:
    """Send frames."""
    sock = job.connect()
    job.send(*howto_send(sock))
    sock.shutdown(socket.SHUT_WR)


def echo(job: Job) -> None:
    """A greenlet for each client."""

    def client(sock: socket.socket, address: object) -> None:
        try:
            while True:
                header = exactly(sock, 4)
                (size,) = HEADER.unpack(header)
                sock.sendall(header + exactly(sock, size))
        except (EOFError, ConnectionError):
            sock.close()

    server = StreamServer(job.listen(), client)
    server.start()
    ready()
    server.serve_forever()


if __name__ == "__main__":
    main({("gevent", "receive"): receive, ("gevent", "send"): send, ("gevent", "echo"): echo})
