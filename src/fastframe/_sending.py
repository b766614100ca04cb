"""The sending half of a connection."""

from __future__ import annotations

import errno

from ._calls import OWN, Calls
from ._deadline import remaining
from ._engine import Slices
from ._fds import checked
from ._transport import lost
from .errors import ConcurrentUse, ConnectionLost, FrameError, FrameTimeout, SendInterrupted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable
    from typing import NoReturn

    from typing_extensions import Buffer

    from ._fds import Passing
    from .framing import Framing


class Sending(Calls):
    """Frames go out."""

    _half_closed: bool

    def send(self, payload: Buffer, timeout: float | None = OWN, *, fds: Iterable[int] = ()) -> None:
        """Send one frame, whole; what an interrupted send has left goes first.

        fds: descriptors that go with it, over a unix socket; they stay the caller's as well.

        Raises FrameTimeout if none of it was sent: it is forgotten, call again. SendInterrupted
        if some of it was: the rest stays queued, flush() or the next send finishes it. FrameTooLarge,
        ValueError or TypeError for a payload that can't be sent, of which nothing is. An exception
        of a signal handler passes; if `stats.sent.frames` has grown then, the frame is sent, or the rest of
        it queued. (`pending` may be what an earlier one has left.)
        """
        if fds:
            self._gate.send(self._until(timeout), self._send_with, payload, checked(fds))
            return
        writer = self._writer
        if timeout is OWN:
            sent = writer._dash(payload)
            if sent:
                return
            if sent is None:
                self._go_on()
                return
        gate = self._gate
        # What Gate.send does, in line: this is the call that is made most often.
        deadline = OWN if timeout is OWN else self._until(timeout)
        if gate.is_ours():
            raise ConcurrentUse
        try:
            if not gate.sending.acquire(False):
                if deadline is OWN:
                    deadline = self._until(OWN)
                gate.wait_for_sender(deadline)
            writer._still()
            if gate.closed or self._half_closed:
                self._check_open()
            try:
                if writer.write(payload):
                    writer._calm()
                    return
                if self._drain(self._until(OWN) if deadline is OWN else deadline):
                    return
            except BaseException:
                self._undo()
                raise
            self._interrupted("the frame can't be sent in time")
        finally:
            try:
                gate.sending.release()
            except RuntimeError:
                pass  # not taken
            if gate.closed:
                gate.left()

    def send_many(self, payloads: Iterable[Buffer], timeout: float | None = OWN) -> None:
        """Send a frame for each payload, in slices of up to 1024 frames or 256 KiB.

        A payload that can't be sent, or an exception of the iterable, passes: nothing of its slice
        is sent, but what was before may be. When the time is up: FrameTimeout if nothing was
        taken. Else SendInterrupted, and flush() or the next send finishes what is queued: of a list, or
        any other collection, all the rest; of an iterator, what was taken from it: it can be
        given to send_many again.
        """
        self._gate.send(self._until(timeout), self._send_slices, payloads)

    def flush(self, timeout: float | None = OWN) -> None:
        """Send what an interrupted send has left. Raises SendInterrupted if some of it is still left."""
        self._gate.send(self._until(timeout), self._flush)

    @property
    def pending(self) -> int:
        """Bytes that an interrupted send has left."""
        return self._writer.pending

    @property
    def send_framing(self) -> Framing:
        """Of the frames sent, from the next send on."""
        return self._writer.framing

    @send_framing.setter
    def send_framing(self, framing: Framing) -> None:
        self._gate.send(self._until(OWN), self._set_send_framing, framing)

    def shutdown_send(self, timeout: float | None = OWN) -> None:
        """Flush, then tell the peer that nothing more will come. Receiving goes on; a send is a ValueError.

        Of a socket, sending is shut down; TLS sends its close_notify; of a pair of descriptors or files, the writer is
        closed. ValueError for one descriptor that isn't a socket.
        """
        self._gate.send(self._until(timeout), self._shutdown_send)

    # --- Helpers. Only the one who sends calls them.

    def _fd_passing(self) -> Passing:
        raise NotImplementedError

    def _check_open(self) -> None:
        if self._gate.closed:
            raise self._gate.why()
        if self._half_closed:
            raise ValueError("sending is shut down")

    def _go_on(self) -> None:
        """Send what is left of a frame that has begun."""
        try:
            self.flush()
        except ValueError:
            self._gate.check()
            raise

    def _send_slices(self, deadline: float | None, payloads: Iterable[Buffer]) -> None:
        writer, slices = self._writer, Slices(payloads)
        first = True
        while not slices.done:
            sent = self._put(deadline, slices)
            if not sent or (remaining(deadline) == 0 and not slices.done):
                break
            first = False
        else:
            return
        if slices.repeatable:
            if first and not sent and self._withdraw():
                raise FrameTimeout("the frames can't be sent in time")
            while not slices.done:
                sent = slices.write_to(writer)
        if not sent or not slices.done:
            raise SendInterrupted(writer.pending)

    def _put(self, deadline: float | None, slices: Slices) -> bool:
        """Write a slice, and wait until all of it is sent: True. False when the time is up and some of it is queued."""
        self._check_open()
        writer = self._writer
        try:
            return slices.write_to(writer) or self._drain(deadline)
        except BaseException:
            self._undo()
            raise

    def _send_with(self, deadline: float | None, payload: Buffer, numbers: array[int]) -> None:
        """Send a frame, and descriptors at its first byte."""
        self._check_open()
        passing, frame = self._fd_passing(), self._writer.framing.encode(payload)
        if not frame:
            raise ValueError("descriptors travel with a byte, and the frame has none")
        if not self._writer.flush() and not self._drain(deadline):
            raise FrameTimeout("the frame can't be sent in time")
        try:
            self._pass(deadline, passing, frame, numbers)
        finally:
            if passing.sent:
                self._writer._resume(frame, passing.sent)
        self._flush(deadline)

    def _pass(self, deadline: float | None, passing: Passing, frame: bytes, numbers: array[int]) -> None:
        while passing.send(frame, numbers) is None:
            if not self._wait(True, deadline):
                raise FrameTimeout("the frame can't be sent in time")

    def _undo(self) -> None:
        """Take back what a call has queued that an exception ends."""
        if self._writer.error is None:
            self._withdraw()

    def _withdraw(self) -> bool:
        """Take back what was written last, if none of its bytes has been sent: True if so."""
        return not self._transport.is_committed and self._writer._withdraw()

    def _interrupted(self, none: str) -> NoReturn:
        """The time is up: `none` of the frame was sent, or some of it."""
        if self._withdraw():
            raise FrameTimeout(none)
        raise SendInterrupted(self._writer.pending)

    def _drain(self, deadline: float | None) -> bool:
        """Wait until nothing is queued: True. False when the time is up."""
        while self._wait(True, deadline):
            if self._writer.flush():
                return True
        return False

    def _flush(self, deadline: float | None) -> None:
        if not self._writer.flush() and not self._drain(deadline):
            raise SendInterrupted(self._writer.pending)

    def _set_send_framing(self, deadline: float | None, framing: Framing) -> None:
        self._writer.framing = framing

    def _shutdown_send(self, deadline: float | None) -> None:
        if self._half_closed:
            return
        self._flush(deadline)
        try:
            self._half_close(deadline)
        except OSError as error:
            if isinstance(error, FrameError) or error.errno in (errno.EMFILE, errno.ENFILE):
                raise
            raise ConnectionLost(*lost(error)) from error
        self._half_closed = True

    def _half_close(self, deadline: float | None) -> None:
        while not self._transport.half_close():
            if not self._wait(True, deadline):
                raise FrameTimeout("the end can't be sent in time")
