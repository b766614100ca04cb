"""A client as the server's loop sees it: when to read and to send, which clocks run, and how it ends.

All of it runs in the loop's thread. Nothing here waits, and nothing raises but what isn't an Exception: the server lives on.
"""

from __future__ import annotations

import errno
import threading

from ._channel import PASSING
from ._client import Client
from ._engine import FrameReader, FrameWriter
from ._farewell import Farewell
from ._readiness import READ, WRITE
from .errors import ConnectionClosed, ConnectionLost, FrameError, FrameTimeout, QueueFull

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from ._loop import Loop
    from ._transport import Transport
    from .framing import Framing

_RETRY = 0.1
"""Seconds after which a call is made again for which the system had no memory."""
_GONE = (errno.EBADF, errno.ENOTSOCK)


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
        "_number",
        "_reads",
        "_shaking",
        "_wants",
        "alarm",
        "plain",
    )

    def __init__(self, loop: Loop, transport: Transport, framing: Framing, send_framing: Framing) -> None:
        limits = loop.limits
        self._loop = loop
        self._transport = transport
        self._number = transport.watched
        self._reader = FrameReader(transport.receiving, framing, buffer_size=limits.turn_bytes)
        self._writer = FrameWriter(
            transport.sending,
            send_framing,
            high_water=limits.high_water,
            low_water=limits.low_water,
            max_pending=limits.max_pending,
        )
        transport.expect(framing)
        self._lock = threading.RLock()
        self._refusal = None
        self.state = None
        self._active = loop.now  # when it came, or something was sent to it
        self._begun = loop.now  # when the handshake, or the unfinished frame, began; 0: there is none
        self._held = 0  # the bytes that the loop has counted
        self._backlog: list[bytes] | None = None  # frames that have come and are yet to be handled
        self._is_known = False  # to the handler
        self._is_over = False
        self._shaking = True  # TLS's handshake isn't over
        self._ended = False  # nothing more comes
        self._paused = False
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
            self._cause = error
            self._drop()
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
        due = self._due()
        if due is None:
            self._flush()  # and receive: perhaps the system had no memory
        elif due[0] <= self._loop.now:
            error = FrameTimeout(f"{due[1]} within {due[2]:g} seconds")
            error.clock = due[3]
            self._fail(error)
        else:
            self._loop.alarms.set(self, due[0])
            self._flush()

    def stop(self) -> None:
        """The server stops: handle what has come, send what there is, and close."""
        while self._backlog is not None and self._take_slice():
            pass
        self._refuse()
        self._leave()

    def cut_off(self) -> None:
        """The time is up."""
        self._drop()

    def crowd_out(self) -> None:
        """It holds more than others, and together they hold too much."""
        most = self._loop.limits.max_held or 0
        self._cause = self._cause or QueueFull(self._held, self._loop.held - self._held, most)
        self._drop()

    @property
    def held(self) -> int:
        """Bytes of unfinished frames, and those that wait to be sent."""
        return self._held

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
        if isinstance(what, Exception):
            self._not_received(what)
            return
        if len(what) > self._loop.limits.turn_frames:
            self._backlog = what
            self._go_on()
        elif what:
            self._call(self._loop.calls.frames, self, what)
        self._look_inside(bool(what))

    def _look_inside(self, moved: bool) -> None:
        """See to an error behind the frames, and to a frame that is unfinished. moved: another one may have begun."""
        if self._is_over or self._farewell is not None:
            return
        reader, limits = self._reader, self._loop.limits
        if reader.error is not None and self._backlog is None:
            self._not_received(reader.error)
            return
        if not reader.buffered:
            self._begun = 0.0
        elif moved or not self._begun:
            self._begun = self._loop.now
            if limits.frame_timeout is not None:
                self._loop.alarms.set(self, self._begun + limits.frame_timeout)
        self._count()
        self._rewatch()

    def _not_received(self, error: Exception) -> None:
        """A receive has raised: the end, an error of the peer's, or one of the system's."""
        if isinstance(error, ConnectionClosed):
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
        if self._backlog is not None and not (self._paused or self._is_over) and self._writer.writable:
            if self._take_slice():
                self._loop.later(self)
            else:
                self._look_inside(True)
        self._rewatch()

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
        if self._is_over:
            return
        self._active = self._loop.now
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
        if self._backlog is not None:
            self._go_on()
        else:
            self._rewatch()

    def _overflow(self) -> None:
        """More waits than may."""
        self._cause = self._cause or self._refusal
        self._drop()

    # --- What is waited for

    def _rewatch(self) -> None:
        """Wait for what is needed now."""
        if self._is_over or self._shaking or self._farewell is not None:
            return
        writer = self._writer
        self._reads = not self._paused and self._backlog is None and not self._ended and writer.writable
        self.plain = self._reads and not self._held
        self._watch(self._reads, writer.pending > 0)

    def _watch(self, for_read: bool, for_write: bool) -> None:
        awaits = self._transport.awaits
        wants = (WRITE if awaits(False) else READ) if for_read else 0
        if for_write:
            wants |= WRITE if awaits(True) else READ
        if wants != self._wants:
            try:
                self._loop.poller.watch(self, self._number, wants)
            except OSError as error:
                self._vanish(error)
                return
            self._wants = wants

    def _rest(self, error: OSError) -> None:
        """The system couldn't do what it was asked for: try again a little later; or somebody has taken the descriptor away."""
        if error.errno in _GONE:
            self._vanish(error)
            return
        self._watch(False, False)
        self._loop.alarms.set(self, self._loop.now + _RETRY)

    def _count(self) -> None:
        held = self._reader.buffered + self._writer.pending
        self._loop.hold(held - self._held)
        self._held = held

    def _due(self) -> tuple[float, str, float, Literal["frame", "idle"]] | None:
        """When which of its clocks runs out."""
        limits = self._loop.limits
        due: list[tuple[float, str, float, Literal["frame", "idle"]]] = []
        if self._shaking:
            if limits.handshake_timeout is not None:
                due.append(
                    (self._begun + limits.handshake_timeout, "no TLS handshake", limits.handshake_timeout, "frame")
                )
        elif self._begun and self._reads and limits.frame_timeout is not None:
            due.append((self._begun + limits.frame_timeout, "no whole frame", limits.frame_timeout, "frame"))
        if limits.idle_timeout is not None:
            active = max(self._active, self._loop.poller.active(self._number)) if self._wants else self._active
            due.append((active + limits.idle_timeout, "nothing", limits.idle_timeout, "idle"))
        return min(due, default=None)

    # --- Beginning and end

    def _shake(self) -> None:
        try:
            self._shaking = not self._transport.shake()
        except (ConnectionLost, OSError) as error:
            self._cause = error
            self._drop()
            return
        if self._shaking:
            self._watch(False, True)
            return
        self._begun = 0.0
        self._is_known = True
        self._rewatch()
        if self._transport.is_plain and not self._is_over:
            self._loop.poller.receive(self._number, self._reader)
        if self._loop.calls.connected is not None:
            self._call(self._loop.calls.connected, self)

    def _fail(self, error: BaseException) -> None:
        """Close it for what it, or the handler, has done. It gets the replies to what came before."""
        self._cause = self._cause or error
        self._refuse()
        if isinstance(error, ConnectionLost):
            self._drop()
        else:
            self._leave()

    def _leave(self) -> None:
        """Close, when it has everything."""
        if self._is_over or self._farewell is not None:
            return
        self._backlog = None
        self._reads = self.plain = False
        if self._wants:
            self._loop.poller.receive(self._number, None)
        timeout = self._loop.patience
        deadline = None if timeout is None else self._loop.now + timeout
        self._farewell = Farewell(self._transport, self._writer, deadline)
        self._part()

    def _part(self) -> None:
        """Another step of that."""
        farewell = self._farewell
        if farewell is None or self._is_over:
            return
        with self._lock:
            done = farewell.step(self._loop.now)
        if done is None:
            self._watch(*farewell.wants)
            self._count()
            self._loop.alarms.set(self, farewell.next)
        elif done:
            self._finish()
        else:
            self._drop()

    def _drop(self) -> None:
        """Close at once; what it hasn't got is lost."""
        if not self._is_over:
            self._refuse()
            if self._shaking or self._writer.pending or self._farewell is None:
                self._transport.reset()
            self._finish(aborted=True)

    def _vanish(self, error: OSError) -> None:
        """Its descriptor isn't ours any more: the number may be another's by now."""
        self._cause = self._cause or error
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
        loop.poller.forget(self, self._number)
        loop.alarms.forget(self)
        loop.hold(-self._held)
        self._held = 0
        try:
            with self._lock:
                self._transport.close()
        except OSError as error:
            self._cause = self._cause or error
        loop.left(self, self._cause, aborted)
        if self._is_known and loop.calls.closed is not None:
            try:
                loop.calls.closed(self, self._cause)
            except Exception as error:
                loop.log.handler(self, error)
