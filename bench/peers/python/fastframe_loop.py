"""fastframe's echo server: a FrameReader and a FrameWriter for each client, in a loop around epoll."""

from __future__ import annotations

import select
import socket
from contextlib import suppress

from program import Job, ready

import fastframe

FRAMING = fastframe.LengthField(4)


class Client:
    """One connection. What the peer doesn't take holds back what is read from it."""

    def __init__(self, sock: socket.socket) -> None:
        """Read from this socket and write to it."""
        self.sock = sock
        self.reader = fastframe.FrameReader(sock, FRAMING)
        self.writer = fastframe.FrameWriter(sock, FRAMING)

    def turn(self, events: int) -> bool:
        """Do what the events allow; whether all that was read is sent."""
        if events & select.EPOLLOUT:
            return self.writer.flush()
        return self.writer.write_many(self.reader.read())


def echo(job: Job) -> None:
    """Send every frame back."""
    listener = job.listen()
    listener.setblocking(False)
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN)
    clients: dict[int, Client] = {}
    waits_for: dict[int, int] = {}
    ready()
    while True:
        for number, events in epoll.poll():
            if number == listener.fileno():
                with suppress(BlockingIOError):
                    sock = listener.accept()[0]
                    sock.setblocking(False)
                    clients[sock.fileno()] = Client(sock)
                    waits_for[sock.fileno()] = select.EPOLLIN
                    epoll.register(sock, select.EPOLLIN)
                continue
            try:
                wanted = select.EPOLLIN if clients[number].turn(events) else select.EPOLLOUT
            except fastframe.FrameError:
                del waits_for[number]
                clients.pop(number).sock.close()
                continue
            if wanted != waits_for[number]:
                waits_for[number] = wanted
                epoll.modify(number, wanted)
