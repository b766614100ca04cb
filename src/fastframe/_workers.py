"""Processes that serve the same address: forked, watched, replaced when they die, and stopped together."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from threading import get_ident
from time import monotonic

from ._journal import Journal
from ._loop import Waker
from ._readiness import READ, readiness
from ._service import ServerStats, Service
from .stats import Stats, total

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import NoReturn

    from ._readiness import Readiness
    from ._service import Terms

_PAUSE = 1.0
"""Seconds from the start of a worker that dies to its successor's, at least."""
_GRACE = 5.0
"""Seconds beyond the time to close in, after which a worker is killed."""


class Worker:
    """A process, as its parent knows it."""

    def __init__(self, process: int, report: int, sock: socket.socket) -> None:
        """report: the pipe that it reports by, and that ends with it."""
        self.process, self.report, self.sock = process, report, sock
        self.begun = monotonic()

    def end(self) -> tuple[bytes, str]:
        """It has ended: what it has reported, b"" if it has died, and how it ended."""
        said = b""
        while data := os.read(self.report, 65536):
            said += data
        os.close(self.report)
        code = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        return said, f"exit status {code}" if code >= 0 else f"signal {-code}"


class Life:
    """The pipe that ends with the parent, in a worker's loop."""

    plain = False

    def __init__(self, service: Service, timeout: float | None) -> None:
        self._service, self._timeout = service, timeout

    def ready(self, what: object, event: int) -> None:
        """It has ended."""
        self._service.stop(self._timeout)


class Workers:
    """A process for each of these sockets, with a service of its own. The sockets stay here too: whoever waits at one that has no
    worker at the moment gets the next."""

    def __init__(self, socks: list[socket.socket], terms: Terms) -> None:
        """socks: listen; the same one several times, if it is shared."""
        self._socks, self._terms = socks, terms
        self._timeout = terms.limits.close_timeout
        self._workers: dict[int, Worker] = {}  # by their pipes
        self._vacant = [(0.0, sock) for sock in socks]  # those without a worker, and when they may get one
        self._life, self._alive = os.pipe()  # ends when we do
        self._waker = Waker()
        self._thread: int | None = None
        self._is_stopping = self._is_closed = False
        self._reports: list[ServerStats] = []
        self._log = Journal(monotonic).logger

    def run(self) -> None:
        """Keep them going, until `stop` or an exception; then have them close."""
        ready = readiness()
        self._thread = get_ident()
        try:
            self._keep_going(ready)
        finally:
            ready.close()
            self._close_all()
            self._thread = None
            self.close()

    def stop(self, timeout: float | None) -> None:
        """Have `run` come to its end. Any thread may. timeout: None waits for the workers as long as it takes."""
        self._timeout = timeout
        self._is_stopping = True
        self._waker.wake()

    @property
    def is_inside(self) -> bool:
        """Whether the calling thread is the one in `run`."""
        return get_ident() == self._thread

    @property
    def stats(self) -> ServerStats:
        """What those have done that have ended well."""
        reports = [ServerStats(0, 0, 0, 0, 0, 0, Stats(0, 0, 0), Stats(0, 0, 0)), *self._reports]
        *plain, received, sent = zip(*reports, strict=True)
        return ServerStats._make([*map(sum, plain), total(received), total(sent)])

    def close(self) -> None:
        """Give all descriptors back. Not while it runs."""
        if not self._is_closed:
            self._is_closed = True
            for number in (self._life, self._alive):
                os.close(number)
            self._waker.close()

    def _keep_going(self, ready: Readiness) -> None:
        ready.watch(self._waker.fileno(), READ, 0)
        while not self._is_stopping:
            now = monotonic()
            for place in [place for place in self._vacant if place[0] <= now]:
                ready.watch(self._start(place[1]), READ, 0)
                self._vacant.remove(place)
            wait = min((when for when, _ in self._vacant), default=None)
            for number, _ in ready.poll(None if wait is None else max(wait - monotonic(), 0.0)):
                if number in self._workers:
                    ready.watch(number, 0, READ)
                    self._replace(self._workers.pop(number))

    def _start(self, sock: socket.socket) -> int:
        """Start one; its pipe."""
        report, reporting = os.pipe()
        try:
            process = os.fork()
        except BaseException:
            os.close(report)
            os.close(reporting)
            raise
        if not process:
            self._work(sock, reporting, [report, *self._workers])
        os.close(reporting)
        self._workers[report] = Worker(process, report, sock)
        return report

    def _work(self, sock: socket.socket, reporting: int, others: list[int]) -> NoReturn:
        """Be a worker, and nothing else."""
        status = 1
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all: the parent says what it means
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._give_back(others, sock)
            service = Service(self._terms, sock)
            service.loop.poller.watch(Life(service, self._timeout), self._life, READ)
            service.run()
            with suppress(BrokenPipeError):  # the parent has gone
                os.write(reporting, json.dumps(service.stats).encode())
            status = 0
        except BaseException:
            self._log.exception("worker %d has failed", os.getpid())
        finally:
            # Not an ordinary end: what the parent has registered for its own isn't ours to run.
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(status)

    def _give_back(self, others: list[int], sock: socket.socket) -> None:
        """Close what a worker has inherited and doesn't need: all but its own socket."""
        for number in (*others, self._alive):
            os.close(number)
        for other in self._socks:
            if other is not sock:
                other.close()

    def _replace(self, worker: Worker) -> None:
        _, how = worker.end()
        self._vacant.append((worker.begun + _PAUSE, worker.sock))
        self._log.warning("worker %d has died (%s); another one takes its place", worker.process, how)

    def _close_all(self) -> None:
        """Tell all of them to close, and wait; kill those that take too long."""
        os.close(self._alive)
        self._alive = os.open(os.devnull, os.O_RDONLY)  # for `close`
        ready = readiness()
        try:
            self._wait_for_all(ready)
        finally:
            ready.close()
            for worker in self._workers.values():
                os.kill(worker.process, signal.SIGKILL)
                self._collect(worker)
            self._workers.clear()

    def _wait_for_all(self, ready: Readiness) -> None:
        deadline = None if self._timeout is None else monotonic() + self._timeout + _GRACE
        for number in self._workers:
            ready.watch(number, READ, 0)
        while self._workers and (deadline is None or monotonic() < deadline):
            for number, _ in ready.poll(None if deadline is None else max(deadline - monotonic(), 0.0)):
                ready.watch(number, 0, READ)
                self._collect(self._workers.pop(number))

    def _collect(self, worker: Worker) -> None:
        said, how = worker.end()
        if said:
            *plain, received, sent = json.loads(said)
            self._reports.append(ServerStats._make([*plain, Stats(*received), Stats(*sent)]))
        else:
            self._log.warning("worker %d has died (%s)", worker.process, how)
