"""The contenders Twisted and fastframe.twisted: Int32StringReceiver."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import cycle

from program import CHUNK, LIMIT, Job, Take, main, ready
from twisted.internet import endpoints, protocol, reactor
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

if sys.argv[1] == "twisted":
    from twisted.protocols.basic import Int32StringReceiver
else:
    from fastframe.twisted import Int32StringReceiver


class Frames(Int32StringReceiver):
    """Frames of up to 16 MiB, without delay."""

    MAX_LENGTH = LIMIT

    def connectionMade(self) -> None:
        """Switch Nagle's algorithm off."""
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)


class Receiver(Frames):
    """Counts the payloads that come."""

    def __init__(self, job: Job) -> None:
        """`job`: the work `receive`."""
        self.finished = False
        self._meter = job.meter
        self._strings: list[bytes] = []
        # The cheapest callback there is: the receiver is measured, not what its user does.
        self.stringReceived = self._strings.append
        self._count = self._total = 0

    def dataReceived(self, data: bytes) -> None:
        """Take what came with it."""
        super().dataReceived(data)
        self._count += len(self._strings)
        self._total += sum(map(self._meter.take, self._strings))
        self._strings.clear()
        if self._count >= self._meter.left and not self.finished:
            if self._meter.turn(self._count, self._total):
                self._count = self._total = 0
            else:
                self.finished = True
                self.transport.loseConnection()

    def connectionLost(self, reason: Failure) -> None:
        """Nothing comes any more."""
        reactor.stop()


@implementer(IPushProducer)
class Sender(Frames):
    """Sends while the transport has room."""

    def __init__(self, job: Job) -> None:
        """`job`: the work `send`."""
        self.finished = False
        self._paused = False
        self._parts = job.sending()
        self._batches: Iterator[list[bytes]] = iter(())
        # One by one, the transport is asked behind each.
        self._each = job.batch == 1

    def connectionMade(self) -> None:
        """Begin."""
        super().connectionMade()
        self.transport.registerProducer(self, True)
        self.resumeProducing()

    def pauseProducing(self) -> None:
        """The transport is full."""
        self._paused = True

    def stopProducing(self) -> None:
        """Nobody takes it any more."""
        self._paused = True

    def resumeProducing(self) -> None:
        """There is room: send until there is none."""
        self._paused = False
        while not self._paused:
            batch = next(self._batches, None)
            if batch is None:
                self._next_part()
                return
            for string in batch:
                self.sendString(string)

    def _next_part(self) -> None:
        """All of a part is written."""
        batches = next(self._parts, None)
        if batches is None:
            self.finished = True
            self.transport.unregisterProducer()
            self.transport.loseConnection()
            return
        self._batches = iter([[string] for batch in batches for string in batch] if self._each else batches)
        reactor.callLater(0, self.resumeProducing)

    def connectionLost(self, reason: Failure) -> None:
        """All of it is sent, or nobody takes it."""
        reactor.stop()


class Echo(Frames):
    """Sends every frame back. What the peer doesn't take holds back what is read from it."""

    def connectionMade(self) -> None:
        """Let the transport pause itself."""
        super().connectionMade()
        self.transport.registerProducer(self.transport, True)

    def stringReceived(self, string: bytes) -> None:
        """Answer."""
        self.sendString(string)


def client(job: Job, made: Receiver | Sender) -> None:
    """Connect, and run until the connection is closed."""
    kind, _, where = job.endpoint.partition(":")
    if kind == "tcp":
        endpoint = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", int(where))
    else:
        endpoint = endpoints.UNIXClientEndpoint(reactor, where)
    endpoints.connectProtocol(endpoint, made).addErrback(lambda failure: reactor.stop())
    reactor.run()
    if not made.finished:
        raise SystemExit("the stream ended too early")


def parse(job: Job) -> None:
    """Give a receiver the chunks that a transport would give it."""
    with open(job.file, "rb") as file:
        chunks = cycle(list(iter(lambda: file.read(CHUNK), b"")))
    receiver, strings = Frames(), list[bytes]()
    receiver.stringReceived = strings.append

    def receive(frames: int, take: Take) -> tuple[int, int]:
        count = total = 0
        while count < frames:
            receiver.dataReceived(next(chunks))
            count += len(strings)
            total += sum(map(take, strings))
            strings.clear()
        return count, total

    job.receive(receive)


def echo(job: Job) -> None:
    """Serve until killed."""
    kind, _, where = job.endpoint.partition(":")
    if kind == "tcp":
        endpoint = endpoints.TCP4ServerEndpoint(reactor, int(where), interface="127.0.0.1", backlog=4096)
    else:
        endpoint = endpoints.UNIXServerEndpoint(reactor, where, backlog=4096)
    endpoint.listen(protocol.Factory.forProtocol(Echo)).addCallback(lambda port: ready())
    reactor.run()


if __name__ == "__main__":
    works = {
        "receive": lambda job: client(job, Receiver(job)),
        "send": lambda job: client(job, Sender(job)),
        "echo": echo,
        "parse": parse,
    }
    main({(name, work): run for name in ("twisted", "fastframe-twisted") for work, run in works.items()})
