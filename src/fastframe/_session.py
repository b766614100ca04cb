"""A client as the server's loop sees it: when to read and to send, which clocks run, and how it ends.

All of it runs in the loop's thread. Nothing here waits, and nothing raises but what isn't an Exception: the server lives on.
"""

from __future__ import annotations

import errno
import os
import threading

from ._channel import GONE, PASSING
from ._client import Client
from ._engine import FrameReader, FrameWriter
from ._farewell import Farewell
from ._readiness import READ, WRITE
from .errors import ConcurrentUse, ConnectionClosed, ConnectionLost, FrameError, FrameTimeout, QueueFull

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from ._loop import Loop
    from ._transport import Transport
    from .framing import Framing

_RETRY = 0.1
"""Seconds after which a call is made again for which the system had no memory."""
_NO_ROOM = (errno.ENOMEM, errno.ENOSPC)


class Session(Client):
    """One client, from its accept to its end."""

    __slots__ = (
        "_active",
        "_backlog",
        "_begun",
        "_cause",
        "_ended",
        "_farewell",
        "_held",
        "_is_known",
        "_is_over",
        "_is_queued",
        "_reads",
        "_shaking",
        "_taken",
        "_wants",
        "alarm",
        "number",
        "plain",
    )

    def __init__(self, loop: Loop, transport: Transport, address: Any, framing: Framing, send_framing: Framing) -> None:
        limits = loop.limits
        self._loop, self._transport, self._address = loop, transport, address
        self.number = transport.watched
        self._reader = FrameReader(transport.receiving, framing, buffer_size=limits.turn_bytes)
        self._writer = FrameWriter(
            transport.sending,
            send_framing,
            high_water=limits.high_water,
            low_water=limits.low_water,
            max_pending=limits.max_pending,
        )
        self._writer._calm()
        transport.expect(framing)
        self._lock = threading.RLock()
        self._refusal = None
        self.state = None
        self._active = loop.now  # when it came, received by itself, or was seen to have taken something
        self._taken = 0  # the bytes that it had taken then
        self._begun = loop.now  # when the handshake, or the unfinished frame, began; 0: there is none
        self._held = 0  # the bytes that the loop has counted
        self._backlog: list[bytes] | None = None  # frames that have come and are yet to be handled
        self._is_known = False  # to the handler
        self._is_over = False
        self._shaking = True  # TLS's handshake isn't over
        self._ended = False  # nothing more comes
        self._paused = self._hides = False
        self._is_queued = False  # in the loop
        self._reads = False
        self._wants = 0
        self._cause: BaseException | None = None  # what the handler is told at the end
        self._farewell: Farewell | None = None
        self.alarm: float | None = None
        self.plain = False

    # --- What the loop calls

    def start(self) -> None:
        """It was accepted."""
        limits = self._loop.limits
        if limits.idle_timeout is not None:
            self._loop.alarms.set(self, self._active + limits.idle_timeout)
        self._shake()
        if self._shaking and limits.handshake_timeout is not None and not self._is_over:
            self._loop.alarms.set(self, self._begun + limits.handshake_timeout)

    def ready(self, what: list[bytes] | Exception | None, event: int) -> None:
        """So the poller says of its descriptor: what was read, or which event there is."""
        if self._is_over:
            pass
        elif self._farewell is not None:
            self._part()
        elif what is not None:
            self._received(what)
        elif self._shaking:
            self._shake()
        else:
            if self._writer.pending:
                self._flush()
            if self._reads and (event & ~WRITE or self._transport.awaits(False)):
                self._receive()

    def failed(self, error: BaseException) -> None:
        """The handler has raised: it is closed for that, unless a send has told it so that this client is no more."""
        if not isinstance(error, Exception):
            self._fail(error)
            raise error
        if isinstance(error, FrameError) and self._refusal is not None:
            return
        self._loop.log.handler(self, error)
        self._fail(error)

    def look(self) -> None:
        """Its alarm has rung."""
        if self._is_over:
            return
        if self._farewell is not None:
            self._part()
            return
        taken = self._writer.stats.bytes - self._writer.pending
        if taken != self._taken:
            self._taken, self._active = taken, self._loop.now
        due = self._due()
        if due is not None and due[0] <= self._loop.now:
            error = FrameTimeout(f"{due[1]} within {due[2]:g} seconds")
            error.clock = due[3]
            self._fail(error)
            return
        if due is not None:
            self._loop.alarms.set(self, due[0])
        self._flush()  # and receive: perhaps the system had no memory

    def stop(self) -> None:
        """The server stops: handle what has come, send what there is, and close."""
        while self._backlog is not None and self._take_slice():
            pass
        self._refuse()
        self._leave()

    def again(self) -> None:
        """It is its turn again, as it has asked for."""
        self._is_queued = False
        self._go_on()

    def crowd_out(self) -> None:
        """It holds more than others, and together they hold too much."""
        most = self._loop.limits.max_held or 0
        self._cause = self._cause or QueueFull(self._held, self._loop.held - self._held, most)
        self.cut_off()

    def disown(self) -> None:
        """It is the parent's, in a child process after a fork: give the descriptors back, and say nothing to the client."""
        self._is_over = True
        self._reads = self.plain = False
        self._backlog = None
        self._writer._still(alone=True)
        self._lock = threading.RLock()  # the other one may be a thread's that isn't here
        self._refusal = ConcurrentUse("the client belongs to the process that this one was forked from")
        self._transport.close()

    @property
    def held(self) -> int:
        """Bytes of unfinished frames, and those that wait to be sent."""
        return self._held

    @property
    def _is_paused(self) -> bool:
        return self._paused and self._refusal is None

    # --- Receiving

    def _receive(self) -> None:
        self._active = self._loop.now
        what: list[bytes] | Exception
        try:
            what = self._reader.read()
        except Exception as error:
            what = error
        self._received(what)

    def _received(self, what: list[bytes] | Exception) -> None:
        """Frames have come, perhaps none; or the end, or an error."""
        waits = self._backlog is not None or self._is_paused
        if isinstance(what, Exception):
            self._hides = waits  # and is told again then
            if not waits:
                self._not_received(what)
            return
        if what and (waits or len(what) > self._loop.limits.turn_frames):
            self._backlog = what if self._backlog is None else self._backlog + what
            self._soon()
        elif what:
            self._call(self._loop.calls.frames, self, what)
        self._look_inside(bool(what))

    def _look_inside(self, moved: bool) -> None:
        """See to an error behind the frames, and to a frame that is unfinished. moved: another one may have begun."""
        if self._is_over or self._farewell is not None:
            return
        reader = self._reader
        if reader.error is not None and self._backlog is None:
            if not self._is_paused:
                self._not_received(reader.error)
                return
            self._hides = True
        if not reader.buffered:
            self._begun = 0.0
        elif moved or not self._begun:
            self._begin()
        if self._hides or self._transport.hides:
            self._hides = True
            self._soon()
        self._count()
        self._rewatch()

    def _begin(self) -> None:
        """The clock of the unfinished frame starts."""
        limit = self._loop.limits.frame_timeout
        self._begun = self._loop.now
        if limit is not None:
            self._loop.alarms.set(self, self._begun + limit)

    def _not_received(self, error: Exception) -> None:
        """A receive has raised: the end, an error of the peer's, or one of the system's."""
        if isinstance(error, ConnectionClosed) and isinstance(self._refusal, ConnectionLost):
            self._fail(self._refusal)  # a send was told first, and the system tells it once
        elif isinstance(error, ConnectionClosed):
            self._end()
        elif isinstance(error, FrameError):
            self._fail(error)
        elif isinstance(error, OSError) and error.errno in PASSING:
            self._rest(error)
        else:
            self._loop.log.handler(self, error)  # there was no memory, or a Computed's function has failed
            self._fail(error)

    def _end(self) -> None:
        """The peer has ended its direction. It gets the replies; later ones too, if the handler has said it wants to send some."""
        self._ended = True
        self._begun = 0.0
        if self._loop.calls.ended is None:
            self._refuse()
            self._leave()
            return
        self._rewatch()
        self._call(self._loop.calls.ended, self)

    # --- Handling

    def _go_on(self) -> None:
        """Handle frames that have come before, so many that the others get their turn too; then receive again."""
        if self._backlog is not None and not self._is_paused and self._writer.writable:
            if self._take_slice():
                self._soon()
            else:
                self._look_inside(True)
            return
        self._rewatch()
        if self._hides and self._reads:
            self._hides = False
            self._receive()

    def _soon(self) -> None:
        """Go on when the others have had their turn, and no handler is running."""
        if not self._is_queued:
            self._is_queued = True
            self._loop.later(self)

    def _take_slice(self) -> bool:
        """Handle some; whether there are more."""
        most = self._loop.limits.turn_frames
        backlog = self._backlog
        assert backlog is not None
        frames = backlog[:most]
        del backlog[:most]
        if not backlog:
            self._backlog = None
        self._call(self._loop.calls.frames, self, frames)
        return self._backlog is not None

    def _call(self, method: Any, *given: object) -> None:
        """Call a handler's method."""
        try:
            method(*given)
        except BaseException as error:
            self.failed(error)

    # --- Sending

    def _flush(self) -> None:
        try:
            with self._lock:
                self._writer.flush()
        except ConnectionLost as error:
            if self._refusal is None:
                self._refusal = error
        except OSError as error:
            self._rest(error)
            return
        self._unsent()

    def _unsent(self) -> None:
        """Something waits to be sent, or less does than before."""
        if self._is_over or self._farewell is not None:
            return
        self._count()
        if self._ended and isinstance(self._refusal, ConnectionLost):
            self._fail(self._refusal)  # nothing else would tell
            return
        self._rewatch()
        if self._backlog is not None or self._hides:
            self._soon()

    def _overflow(self) -> None:
        """More waits than may."""
        self._cause = self._cause or self._refusal
        self.cut_off()

    # --- What is waited for

    def _rewatch(self) -> None:
        """Wait for what is needed now."""
        if self._is_over or self._shaking or self._farewell is not None:
            return
        writer = self._writer
        reads = not self._is_paused and self._backlog is None and not self._ended and writer.writable
        if reads and not self._reads and self._begun:
            self._begin()  # it isn't the client that has let it wait
        self._reads = reads
        self.plain = reads and not self._held
        self._watch(self._reads, writer.pending > 0)

    def _watch(self, for_read: bool, for_write: bool) -> bool:
        """False: it is over."""
        awaits = self._transport.awaits
        wants = (WRITE if awaits(False) else READ) if for_read else 0
        if for_write:
            wants |= WRITE if awaits(True) else READ
        if wants != self._wants:
            try:
                self._loop.poller.watch(self, self.number, wants)
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._cause = self._cause or error
                    self.cut_off()
                else:
                    self.vanish()
                return False
            self._wants = wants
        return True

    def _rest(self, error: OSError) -> None:
        """The system couldn't do what it was asked for: try again a little later; or somebody has taken the descriptor away."""
        if self._is_over or self._farewell is not None:
            return
        if error.errno in GONE:
            self.vanish()
            return
        self._watch(False, False)
        self._loop.alarms.set(self, self._loop.now + _RETRY)

    def _count(self) -> None:
        held = self._reader.buffered + self._writer.pending
        self._loop.hold(held - self._held)
        self._held = held

    def _due(self) -> tuple[float, str, float, Literal["frame", "idle"]] | None:
        """When which of its clocks runs out."""
        limits, due = self._loop.limits, []
        active = max(self._active, self._loop.poller.active(self.number))
        clocks: tuple[tuple[object, float, str, float | None, Literal["frame", "idle"]], ...] = (
            (self._shaking, self._begun, "no TLS handshake", limits.handshake_timeout, "frame"),
            (self._begun and self._reads, self._begun, "no whole frame", limits.frame_timeout, "frame"),
            (True, active, "nothing", limits.idle_timeout, "idle"),
        )
        for runs, since, lacking, limit, clock in clocks:
            if runs and limit is not None:
                due.append((since + limit, lacking, limit, clock))
        return min(due, default=None)

    # --- Beginning and end

    def _shake(self) -> None:
        try:
            self._shaking = not self._transport.shake()
        except (ConnectionLost, OSError) as error:
            self._cause = error
            self.cut_off()
            return
        if self._shaking:
            self._watch(False, True)
            return
        self._begun = 0.0
        self._is_known = True
        self._rewatch()
        if self._transport.is_plain and not self._is_over:
            self._loop.poller.receive(self.number, self._reader)
        if self._loop.calls.connected is not None:
            self._call(self._loop.calls.connected, self)

    def _fail(self, error: BaseException) -> None:
        """Close it for what it, or the handler, has done. It gets the replies to what came before."""
        self._cause = self._cause or error
        self._refuse()
        self._leave()

    def _leave(self) -> None:
        """Close, when it has everything."""
        if self._is_over or self._farewell is not None:
            return
        self._backlog = None
        self._reads = self.plain = False
        timeout = self._loop.patience
        deadline = None if timeout is None else self._loop.now + timeout
        self._farewell = Farewell(self._transport, self._writer, deadline)
        self._part()

    def _part(self) -> None:
        """Another step of that."""
        farewell = self._farewell
        if farewell is None or self._is_over:
            return
        try:
            with self._lock:
                done = farewell.step(self._loop.now)
        except OSError:
            self.vanish()
            return
        if done is None:
            if not self._watch(*farewell.wants):
                return
            if self._wants:
                self._loop.poller.receive(self.number, None)
            self._count()
            self._loop.alarms.set(self, farewell.next)
        elif done:
            self._finish()
        else:
            self.cut_off()

    def cut_off(self) -> None:
        """Close at once; what it hasn't got is lost."""
        if not self._is_over:
            self._refuse()
            if self._shaking or self._writer.pending or self._farewell is None:
                self._transport.reset()
            self._finish(aborted=True)

    def vanish(self) -> None:
        """Its descriptor was closed by somebody else: the number may be another's by now."""
        if self._is_over:
            return
        self._cause = self._cause or ConnectionLost(errno.EBADF, os.strerror(errno.EBADF))
        self._refuse()
        self._transport.abandon()
        self._finish(aborted=True)

    def _finish(self, aborted: bool = False) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._reads = self.plain = False
        self._backlog = None
        loop = self._loop
        loop.poller.forget(self, self.number)
        loop.alarms.forget(self)
        loop.hold(-self._held)
        self._held = 0
        loop.log.left(self, self._cause, aborted)  # while it still has an address
        try:
            with self._lock:
                self._transport.close()
        except OSError as error:
            self._cause = self._cause or error
        loop.left(self, self._cause, aborted)
        if self._is_known and loop.calls.closed is not None:
            # Not inside another call of the handler, which may be at this very client, or go through all of them.
            loop.soon(self._tell, loop.calls.closed)

    def _tell(self, closed: Any) -> None:
        try:
            closed(self, self._cause)
        except Exception as error:
            self._loop.log.handler(self, error)
