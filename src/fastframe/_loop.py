"""A server's one thread: what is ready gets its turn, then what others have asked for, then what has waited, then the clocks."""

from __future__ import annotations

import socket
from collections import deque
from threading import get_ident
from time import monotonic

from ._alarms import Alarms
from ._handler import Calls
from ._journal import Journal
from ._poller import READ, poller

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from ._limits import Limits
    from ._session import Session

    class Target(Protocol):
        """What has a descriptor that the loop watches."""

        def ready(self, events: int) -> None:
            """So the poller says."""


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
        self.poller = poller()
        self.clients: set[Session] = set()
        self.patience = limits.close_timeout
        """Seconds that a client has which is being closed."""
        self.vacant: Callable[[], None] | None = None
        """Called when a client has left."""
        self.finished = self.aborted = self.failed = 0
        self.received, self.sent = [0, 0, 0], [0, 0, 0]
        self.held = 0
        """Bytes of all clients."""
        self._targets: dict[int, Target] = {}
        self._again: deque[Session] = deque()
        self._asked: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._thread: int | None = None
        self._waker = _Waker()
        self.watch(self._waker, self._waker.fileno())

    # --- For its thread

    def enter(self) -> None:
        """This thread is the loop's from now on."""
        self._thread = get_ident()

    def leave(self) -> None:
        """No thread is."""
        self._thread = None

    def turn(self) -> None:
        """Wait until something is to be done, and do it."""
        timeout = 0.0 if self._again or self._asked else self.alarms.wait(self.clock())
        events = self.poller.poll(timeout)
        self.now = now = self.clock()
        target_of = self._targets.get
        for number, event in events:
            target = target_of(number)
            if target is not None:  # else another's turn has closed it
                target.ready(event)
        for _ in range(len(self._asked)):
            function, given = self._asked.popleft()
            function(*given)
        for _ in range(len(self._again)):
            self._again.popleft()._go_on()
        self.alarms.ring(now)
        if self.limits.max_held is not None and self.held > self.limits.max_held:
            self._make_room(int(self.limits.max_held * _SPARED))

    def watch(self, target: Target, number: int, wants: int = READ) -> None:
        """Let it know when its descriptor is ready. OSError if the system can't."""
        self.poller.watch(number, wants, 0)
        self._targets[number] = target

    def add(self, client: Session) -> None:
        """A client has come."""
        self.clients.add(client)
        self._targets[client._number] = client
        self.log.came(client)
        client.start()

    def forget(self, target: Target, number: int, wants: int) -> None:
        """Watch it no more. wants: what was waited for."""
        if self._targets.get(number) is target:
            del self._targets[number]
            if wants:
                try:
                    self.poller.watch(number, 0, wants)
                except OSError:
                    pass  # somebody has closed it

    def later(self, client: Session) -> None:
        """Let it go on when the others have had their turn."""
        self._again.append(client)

    def hold(self, change: int) -> None:
        """So many bytes more, or fewer, are held."""
        self.held += change

    def left(self, client: Session, cause: BaseException | None, aborted: bool) -> None:
        self.clients.discard(client)
        if cause is not None:
            self.failed += 1
        elif aborted:
            self.aborted += 1
        else:
            self.finished += 1
        for total, stats in zip((self.received, self.sent), client.stats, strict=True):
            total[:] = map(sum, zip(total, stats, strict=True))
        self.log.left(client, cause, aborted)
        if self.vacant is not None:
            self.vacant()

    def close(self) -> None:
        """Give the loop's own descriptors back."""
        self._targets.clear()
        self.alarms.clear()
        self.poller.close()
        self._waker.close()

    # --- For any thread

    def is_inside(self) -> bool:
        """Whether the calling thread is the loop's."""
        return get_ident() == self._thread

    def call(self, function: Callable[..., object], *given: object) -> None:
        """Have it called in the loop's thread; at once, if this is it."""
        if get_ident() == self._thread:
            function(*given)
        else:
            self._asked.append((function, given))
            self._waker.wake()

    # --- Helpers

    def _make_room(self, most: int) -> None:
        """Close those that hold most, until no more than `most` bytes are held."""
        for client in sorted(self.clients, key=lambda client: client.held, reverse=True):
            if self.held <= most:
                return
            client.crowd_out()


class _Waker:
    """Ends the loop's wait, from any thread and from signal handlers."""

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

    def ready(self, events: int) -> None:
        try:
            while self._ends[0].recv(4096):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        for end in self._ends:
            end.close()
