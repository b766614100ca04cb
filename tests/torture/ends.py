"""One end of a connection under faults. It uses the connection as the documentation says, whatever happens:

what is said to have taken nothing is called again, what is said to be queued is flushed, and
the error that a direction has ended in is the last of it. Each answer is checked against the
bytes that the kernel took and gave. Both ends are played by one thread: whoever can't send any
more lets the other one receive.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import fastframe as ff

from .faults import described

if TYPE_CHECKING:
    from .ledger import Ledger
    from .sources import Source
    from .stage import Stage

BUFFER = bytearray(2 << 20)

TRIES = 64
"""How often something is called again that makes no progress: more often than an ordinary answer comes running."""

TIMEOUT = 1.0
"""Seconds of a call that needn't wait."""

MOMENT = 0.001
"""Seconds of a call for which there may be no room: only once it is over the peer makes some."""

ENDED, GAVE_UP, CLOSED = "ended", "gave up", "closed"
"""How a direction is over, if not by an error: between two frames; an error stayed for ever; closed on this side."""


class Interrupted(Exception):
    """What a signal handler raises."""


AGAIN = (Interrupted, MemoryError)
"""What passes through a call, which then may be made again."""


class End:
    """One end. `out` and `into` are the ledgers of what it sends and receives."""

    peer: End

    def __init__(
        self, stage: Stage, conn: ff.Connection, source: Source, out: Ledger, into: Ledger, exact: bool
    ) -> None:
        self.stage, self.conn, self.source, self.out, self.into = stage, conn, source, out, into
        self.sending = self.receiving = ""
        """How that direction is over; "" while it isn't."""
        self.way = "recv"
        """How it takes what is there."""
        self._exact = exact  # without readahead: no byte is taken beyond a frame
        self._frames: Iterator[bytes] = iter(conn)

    # --- Sending

    def send(self, *sizes: int, timeout: float = MOMENT) -> None:
        """Send a frame for each size, one by one."""
        for size in sizes:
            if self.sending:
                return
            self._offer([self.out.issue(size)], lambda rest: self._api(self.conn.send, rest[0], timeout))

    def send_many(self, sizes: list[int], timeout: float = MOMENT, form: Callable[[Any], Any] = list) -> None:
        """Send a frame for each size, all at once, as a list or whatever `form` makes of one."""
        if not self.sending:
            payloads = [self.out.issue(size) for size in sizes]
            self._offer(payloads, lambda rest: self._api(self.conn.send_many, form(rest), timeout), form is list)

    def send_fds(self, *sizes: int) -> None:
        """Send frames, and a descriptor with each."""
        for size in sizes:
            if self.sending:
                return
            with tempfile.TemporaryFile() as file:
                self.out.carried[len(self.out.issued)] = [os.fstat(file.fileno()).st_ino]
                fds = [file.fileno()]
                self._offer(
                    [self.out.issue(size)], lambda rest, fds=fds: self._api(self.conn.send, rest[0], MOMENT, fds=fds)
                )

    def _offer(self, rest: list[bytes], call: Callable[[list[bytes]], None], is_whole: bool = True) -> None:
        """Have the frames sent by `call`; what it didn't take is given to it again.

        is_whole: whether SendInterrupted means that it took all of them.
        """
        for _ in range(TRIES):
            before = self._taken()
            error = self._try_to_send(call, rest)
            if self.sending:
                return
            taken = self._taken() - before
            self._check_sent()
            if error is None:
                self._expect(taken == len(rest), f"{taken} of {len(rest)} frames were taken, and nothing was raised")
                return self._promise()
            rest = rest[taken:]
            if isinstance(error, ff.FrameTimeout):
                self._expect(not taken, f"FrameTimeout, and {taken} frames were taken")
            if isinstance(error, ff.SendInterrupted):
                # A signal handler may have flushed in between.
                self._expect(error.pending >= self.conn.pending, f"SendInterrupted says {error.pending} bytes")
                self._expect(not rest or not is_whole, f"SendInterrupted, and {len(rest)} frames weren't taken")
            if self.conn.pending and (taken or isinstance(error, ff.SendInterrupted)):
                self.flush()
            else:
                self.peer.take()
            if not rest or self.sending:
                return
        self.sending = GAVE_UP

    def leave_queued(self, size: int) -> None:
        """Send frames until the kernel takes no more, and leave the rest in the queue."""
        for _ in range(TRIES):
            if self.sending or self.conn.pending:
                return
            before = self._taken()
            if self._try_to_send(self._api, self.conn.send, self.out.issue(size), 0) is None:
                self._promise()
            elif self._taken() == before and not self.sending:
                self.out.withdraw()
            self._check_sent()
        self._expect(self.stage.fault is not None, "the kernel takes everything")

    def top_up(self) -> None:
        """Send what the kernel takes, again and again; the peer receives in between."""
        for _ in range(TRIES):
            if self.sending or not self.conn.pending:
                return
            self._try_to_send(self._api, self.conn.flush, 0)
            self._check_sent()
            self.peer.take()

    def flush(self) -> None:
        """Have all sent that is queued."""
        idle = 0
        while idle < TRIES and not self.sending:
            before = self.conn.pending
            error = self._try_to_send(self._api, self.conn.flush, 0)
            if error is None:
                return self._promise()
            self._check_sent()
            self.peer.take()
            idle = 0 if self.conn.pending < before else idle + 1
        self.sending = self.sending or GAVE_UP

    def half_close(self) -> None:
        """End the sending."""
        for _ in range(TRIES):
            if self.conn.pending:
                self.flush()
            if self.sending:
                return
            # For TLS the end is bytes, too, which may need room.
            if self._try_to_send(self._api, self.conn.shutdown_send, MOMENT) is None:
                self.sending = ENDED
                return
            self.peer.take()
        self.sending = GAVE_UP

    def _taken(self) -> int:
        return self.conn.stats.sent.frames

    def _promise(self) -> None:
        """Everything taken is with the kernel, says the connection."""
        self.out.promised = self._taken()
        if not self.conn.pending:
            self._check_sent()
        else:
            self._expect(False, f"all is sent, and {self.conn.pending} bytes are pending")

    def _check_sent(self) -> None:
        """What the kernel took and what is pending are the frames that were taken, no byte less or more."""
        sent, due = self.stage.sent(self), self.out.bytes_of(self._taken())
        if sent is not None and not self.sending and self.conn._writer.error is None:
            self._expect(
                sent + self.conn.pending == due,
                f"{sent} bytes are sent, {self.conn.pending} pending, and the {self._taken()} frames taken have {due}",
            )

    def _try_to_send(self, call: Callable[..., object], *args: Any) -> Exception | None:
        """Call; the error if it says that it may be called again. With any other, the direction is over."""
        _, error = self._try(call, *args)
        if error is None or isinstance(error, (ff.FrameTimeout, ff.SendInterrupted, *AGAIN)):
            return error
        if not isinstance(error, ff.FrameError) and isinstance(error, OSError):
            return error
        self.sending = described(error)
        if isinstance(error, ff.ConnectionLost) and self.conn.pending:
            self._expect(False, f"lost, and {self.conn.pending} bytes are pending")
        return error

    # --- Receiving

    def receive(self, way: str = "recv", most: int | None = None) -> None:
        """Receive all that the peer was told is sent, or `most` frames of it."""
        goal = self.into.promised if most is None else min(self.into.arrived + most, self.into.promised)
        idle = 0
        while self.into.arrived < goal and idle < TRIES and not self.receiving:
            before = self.into.arrived
            if isinstance(self.take_once(way, TIMEOUT), ff.FrameTimeout):
                self._expect(False, f"frame {self.into.arrived} was sent and doesn't come")
                break
            idle = 0 if self.into.arrived > before else idle + 1
        if self.into.arrived < goal:
            self.receiving = self.receiving or GAVE_UP

    def take(self) -> None:
        """Receive what is there."""
        idle = 0
        while idle < 2 and not self.receiving:
            before = self.into.arrived
            self.take_once(self.way, 0)
            idle = 0 if self.into.arrived > before else idle + 1

    def to_the_end(self, way: str = "recv") -> None:
        """Receive all that comes until the stream has ended."""
        idle = 0
        while idle < TRIES and not self.receiving:
            before = self.into.arrived
            if isinstance(self.take_once(way, TIMEOUT), ff.FrameTimeout):
                self._expect(False, "the end doesn't come")
                break
            idle = 0 if self.into.arrived > before else idle + 1
        self.receiving = self.receiving or GAVE_UP

    def take_once(self, way: str, timeout: float) -> Exception | None:
        """One call that receives; its error, if it raised one."""
        frames, error = self._try(getattr(self, f"_by_{way}"), timeout)
        for frame in frames or []:
            self.into.arrive(frame)
        got = self.stage.received(self)
        if self._exact and got is not None and not self.receiving:
            self._expect(
                got <= self.into.bytes_of(self.into.arrived + 1),
                f"{got} bytes were taken: more was taken than the next frame",
            )
        if error is None or isinstance(error, (ff.FrameTimeout, *AGAIN)):
            return error
        if isinstance(error, OSError) and not isinstance(error, ff.FrameError):
            return error
        self.receiving = ENDED if isinstance(error, ff.ConnectionClosed) else described(error)
        self._check_received(error)
        return error

    def _by_recv(self, timeout: float) -> list[bytes]:
        return [self._api(self.conn.recv, timeout)]

    def _by_recv_many(self, timeout: float) -> list[bytes]:
        return self._some(self._api(self.conn.recv_many, timeout))

    def _by_recv_batch(self, timeout: float) -> list[bytes]:
        return self._some(list(self._api(self.conn.recv_batch, timeout)))

    def _by_iteration(self, timeout: float) -> list[bytes]:
        self.conn.timeout = timeout
        try:
            frame = self._api(next, self._frames, None)
        except Exception:
            self._frames = iter(self.conn)
            raise
        if frame is None:
            raise ff.ConnectionClosed
        return [frame]

    def _by_poll(self, timeout: float) -> list[bytes]:
        if not self._api(self.conn.poll, timeout):
            raise ff.FrameTimeout
        try:
            return [self._api(self.conn.recv, 0)]
        except ff.FrameTimeout:
            self._expect(False, "poll said that something is there, and recv found nothing")
            raise

    def _by_patience(self, timeout: float) -> list[bytes]:
        # Without any timeout the system call itself may wait; only where something is there, or will be.
        self.conn.timeout = None
        if not timeout:
            return self._by_recv(0)
        try:
            return [self._api(self.conn.recv)]
        finally:
            self.conn.timeout = TIMEOUT

    def _by_recv_into(self, timeout: float) -> list[bytes]:
        size = self._api(self.conn.recv_into, BUFFER, timeout)
        return [bytes(BUFFER[:size])]

    def _by_recv_fds(self, timeout: float) -> list[bytes]:
        number = self.into.arrived
        frame, fds = self._api(self.conn.recv_fds, timeout)
        found = []
        for fd in fds:
            found.append(os.fstat(fd).st_ino)
            os.close(fd)
        expected = self.into.carried.get(number, [])
        self._expect(found == expected, f"with frame {number} came {found}, not {expected}")
        return [frame]

    def _some(self, frames: list[bytes]) -> list[bytes]:
        self._expect(bool(frames), "no frame, and nothing was raised")
        return frames

    def _check_received(self, error: Exception) -> None:
        """Every frame that came whole was delivered before the end or the error, which stays what it is."""
        got = self.stage.received(self)
        if got is not None and (self.receiving == ENDED or not isinstance(self.into.framing, ff.UntilEOF)):
            whole = self.into.frames_in(got)
            self._expect(self.into.arrived == whole, f"{self.into.arrived} of {whole} frames came before {error!r}")
        if isinstance(error, ff.FrameError):
            _, again = self._try(self.conn.recv, 0)
            self._expect(again == error, f"the same call raised {error!r} first and then {again!r}")

    # --- Closing

    def close(self, timeout: float = TIMEOUT) -> None:
        """Close the connection, whatever has happened to it. It doesn't wait long for what can't happen any more."""
        self._over(self.conn.close, timeout if self.stage.is_harmless else min(timeout, 5 * MOMENT))
        if self.stage.is_harmless and self.sending == ENDED:
            self.out.promised = len(self.out.issued)

    def abort(self) -> None:
        """Drop the connection."""
        self._over(self.conn.abort)

    def _over(self, call: Callable[..., object], *args: Any) -> None:
        try:
            self._api(call, *args)
        except Exception as error:
            fault = self.stage.fault
            if fault is None or not fault.allows_at_close(error):
                self._expect(False, f"{call.__name__} raised {error!r}")
            elif not isinstance(error, AGAIN):
                self._expect(self.conn.closed, f"{call.__name__} raised {error!r} and didn't close")
            call(*args)  # what an exception broke off is finished by another call
        if not self.conn.closed:
            call(*args)
        self._expect(self.conn.closed, f"{call.__name__} didn't close")
        self.sending = self.sending or ENDED
        self.receiving = self.receiving or CLOSED

    # --- Helpers

    def _api(self, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        return self.stage.api(call, *args, **named)

    def is_used_by(self, call: Callable[..., Any], args: tuple[Any, ...]) -> bool:
        """Whether such a call is one of its connection."""
        return getattr(call, "__self__", None) is self.conn or self._frames in args[:1]

    def _try(self, call: Callable[..., Any], *args: Any) -> tuple[Any, Exception | None]:
        """What the call gives, or raises; noted if it may not raise that."""
        try:
            return call(*args), None
        except Exception as error:
            if not self.stage.allows(error):
                self.stage.note(f"end {self.out.name}: {name_of(call, args)} raised {error!r}")
            return None, error.with_traceback(None)

    def _expect(self, is_so: bool, otherwise: str) -> None:
        if not is_so and not self.stage.is_deceived:
            self.stage.note(f"end {self.out.name}: {otherwise}")


def name_of(call: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """What was called."""
    return next(str(thing.__name__) for thing in (*args[:1], call) if hasattr(thing, "__name__"))
