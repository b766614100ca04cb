"""A server's one thread: what is ready gets its turn, then what has waited, then the clocks, then what others have asked for."""

from __future__ import annotations

import socket
import sys
from collections import deque
from threading import get_ident
from time import monotonic

from ._alarms import Alarms
from ._deadline import deadline_in
from ._engine import Poller
from ._handler import Calls
from ._journal import Journal
from ._readiness import READ
from .stats import Stats, total

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Protocol

    from ._limits import Limits
    from ._session import Session

    class Target(Protocol):
        """What has a descriptor that the loop watches."""

        plain: bool
        """Whether frames can be handled with nothing else to be seen to."""

        def ready(self, what: Any, event: int) -> None:
            """So `Poller.poll` says."""


_SPARED = 0.9
"""Of Limits.max_held, what may be held once those that held most were closed."""


class Loop:
    """What all clients of a server share."""

    def __init__(self, handler: Any, limits: Limits, clock: Callable[[], float] = monotonic) -> None:
        self.calls = Calls(handler)
        self.limits = limits
        self.log = Journal(clock)
        self.clock = clock
        self.now = clock()
        """The time, as of this turn."""
        self.alarms = Alarms()
        self.poller = Poller(clock, limits.turn_frames)
        self.clients: set[Session] = set()
        self._numbers: dict[int, Session] = {}  # by their descriptors
        self.patience = limits.close_timeout
        """Seconds that a client has which is being closed."""
        self.vacant: Callable[[], None] | None = None
        """Called when a client has left."""
        self.finished = self.aborted = self.failed = 0
        self.received = self.sent = Stats(0, 0, 0)
        self.held = 0
        """Bytes of all clients."""
        self._events: Iterator[tuple[Any, Any, int]] | None = None
        self._most = sys.maxsize if limits.max_held is None else limits.max_held
        self._again: deque[Session] = deque()
        self._asked: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self.thread: int | None = None
        """The one that it runs in."""
        self._waker = Waker()
        self.poller.watch(self._waker, self._waker.fileno(), READ)

    # --- For its thread

    def enter(self) -> None:
        """This thread is the loop's from now on."""
        self.thread = get_ident()

    def leave(self) -> None:
        """No thread is."""
        self.thread = None

    def turn(self) -> None:
        """Wait until something is to be done, and do it."""
        if self._events is not None:
            self._handle(self._events)  # what a turn has left that an exception broke off
        timeout = None
        if self._again or self._asked:
            timeout = 0.0
        elif self.alarms.heap:
            timeout = self.alarms.wait(self.clock())
        self._events = events = iter(self.poller.poll(timeout))
        self.now = self.poller.now
        self._handle(events)
        self._events = None
        if self._again:
            self._give_turns()
        if self.alarms.heap:
            self.alarms.ring(self.now)
        if self.held > self._most:
            self._make_room(int(self._most * _SPARED))
        if self._asked:
            self._do_asked()

    def add(self, client: Session) -> None:
        """A client has come."""
        before = self._numbers.get(client.number)
        if before is not None:
            before.vanish()
        self._numbers[client.number] = client
        self.clients.add(client)
        self.log.came(client)
        client.start()

    def later(self, client: Session) -> None:
        """Let it go on when the others have had their turn."""
        self._again.append(client)

    def soon(self, function: Callable[..., object], *given: object) -> None:
        """Have it called when no handler is running."""
        self._asked.append((function, given))

    def hold(self, change: int) -> None:
        """So many bytes more, or fewer, are held."""
        self.held += change

    def left(self, client: Session, cause: BaseException | None, aborted: bool) -> None:
        """A client has gone."""
        self.clients.discard(client)
        if self._numbers.get(client.number) is client:
            del self._numbers[client.number]
        if cause is not None:
            self.failed += 1
        elif aborted:
            self.aborted += 1
        else:
            self.finished += 1
        received, sent = client.stats
        self.received, self.sent = total((self.received, received)), total((self.sent, sent))
        if self.vacant is not None:
            self.vacant()

    def drain(self, timeout: float | None) -> None:
        """Let the clients have what was sent to them; after `timeout` seconds, cut off those that are left."""
        self.patience = timeout
        deadline = deadline_in(timeout)
        try:
            self._see_off(deadline)
        finally:
            self._cut_off()

    def disown(self) -> None:
        """The clients are the parent's, in a child process after a fork."""
        self.clients.clear()
        self._numbers.clear()
        self._asked.clear()
        self._again.clear()

    def close(self) -> None:
        """Give the loop's own descriptors back."""
        self.alarms.clear()
        self.poller.close()
        self._waker.close()

    # --- For any thread

    @property
    def is_inside(self) -> bool:
        """Whether the calling thread is the loop's."""
        return get_ident() == self.thread

    def call(self, function: Callable[..., object], *given: object) -> None:
        """Have it called in the loop's thread; at once, if this is it."""
        if get_ident() == self.thread:
            function(*given)
        else:
            self._asked.append((function, given))
            self._waker.wake()

    def wake(self) -> None:
        """End its wait."""
        self._waker.wake()

    # --- Helpers

    def _give_turns(self) -> None:
        for _ in range(len(self._again)):
            self._again.popleft().again()

    def _do_asked(self) -> None:
        for _ in range(len(self._asked)):
            function, given = self._asked.popleft()
            function(*given)

    def _handle(self, events: Iterator[tuple[Any, Any, int]]) -> None:
        hand = self.calls.frames
        for target, what, event in events:
            if event or not target.plain:
                target.ready(what, event)
                continue
            try:
                hand(target, what)
            except BaseException as error:
                target.failed(error)

    def _see_off(self, deadline: float | None) -> None:
        for client in list(self.clients):
            client.stop()
        while self.clients and (deadline is None or monotonic() < deadline):
            self.turn()

    def _cut_off(self) -> None:
        for client in list(self.clients):
            client.cut_off()
        while self._asked:
            function, given = self._asked.popleft()
            function(*given)

    def _make_room(self, most: int) -> None:
        """Close those that hold most, until no more than `most` bytes are held."""
        for client in sorted(self.clients, key=lambda client: client.held, reverse=True):
            if self.held <= most:
                return
            client.crowd_out()


class Waker:
    """Ends a wait, from any thread and from signal handlers."""

    plain = False

    def __init__(self) -> None:
        self._ends = socket.socketpair()
        for end in self._ends:
            end.setblocking(False)

    def fileno(self) -> int:
        return self._ends[0].fileno()

    def wake(self) -> None:
        try:
            self._ends[1].send(b"\0")
        except OSError:
            pass  # it is awake, as much is waiting; or the loop is over

    def ready(self, what: object, event: int) -> None:
        try:
            self._ends[0].recv(65536)  # if there is more, it is told again
        except OSError:
            pass  # nothing is left

    def close(self) -> None:
        for end in self._ends:
            end.close()
