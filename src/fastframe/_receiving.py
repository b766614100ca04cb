"""The receiving half of a connection."""

from __future__ import annotations

from functools import partial

from ._calls import OWN, Calls
from .errors import ConcurrentUse, ConnectionClosed, ConnectionLost, FrameError, FrameTimeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeVar

    from typing_extensions import Buffer

    from ._engine import FrameBatch
    from ._fds import Passing
    from ._watch import Watch
    from .framing import Framing

    T = TypeVar("T")


class Receiving(Calls):
    """Frames come in."""

    _watch: Watch
    _passing: Passing | None

    def recv(self, timeout: float | None = OWN) -> bytes:
        """The next frame."""
        if timeout is OWN:
            for frame in self._ready:
                return frame
        # What _receive does, in line: this is the call that is made most often.
        gate = self._gate
        deadline = OWN if timeout is OWN else self._until(timeout)
        try:
            del gate.place
        except AttributeError:
            raise ConcurrentUse from None
        try:
            if gate.closed:
                raise gate.why()
            self._reader._waits = self._patient and timeout is OWN
            for frame in self._frames:
                return frame
            return self._receive_later(self._reader.read_one, deadline)
        except FrameError:
            gate.check()
            raise
        finally:
            gate.place = True
            if gate.closed:
                gate.left()

    def recv_many(self, timeout: float | None = OWN) -> list[bytes]:
        """All frames that are there, at least one. (With readahead=False: one.)"""
        return self._receive(self._reader.read, timeout, [])

    def recv_batch(self, timeout: float | None = OWN) -> FrameBatch:
        """All frames that are there, at least one, as a FrameBatch."""
        return self._receive(self._reader._read_batch, timeout)

    def recv_into(self, buffer: Buffer, timeout: float | None = OWN) -> int:
        """Put the next frame at the start of a writable buffer: how many bytes it has.

        ValueError if it has more than the buffer; it is still the next one then.
        """
        view = memoryview(buffer).cast("B")
        try:
            if view.readonly:
                raise TypeError("the buffer must be writable")
            # Nothing comes behind it: a signal handler's exception would lose the frame that is in the buffer by then.
            return self._receive(partial(self._into, view), timeout)
        except BaseException:
            view.release()
            raise

    def recv_fds(self, timeout: float | None = OWN) -> tuple[bytes, list[int]]:
        """The next frame, and the descriptors that were sent with it, which are the caller's to close.

        Over a unix socket, with readahead=False; else ValueError. Any other receive closes the
        descriptors that come with its frame. None of them is inheritable.
        """
        passing = self._fd_passing()
        if self._reads_ahead:
            raise ValueError("descriptors come with the frame that is read: recv_fds needs readahead=False")
        return self._receive(passing.receive, timeout)

    def __iter__(self) -> Iterator[bytes]:
        """The frames until the stream's normal end, or until the connection is closed here; what else ends it raises."""
        self._gate.open()
        steps: Iterator[bytes] = self._reader._iterate(self._step)
        return steps

    def poll(self, timeout: float | None = 0) -> bool:
        """True once a receive would return or raise without waiting, False when the time is up, whichever.

        `select` on the descriptor can't tell: frames may have been read already.
        """
        try:
            self._receive(self._look(), timeout)
        except FrameTimeout:
            return False
        except ConnectionLost:
            if self._gate.closed:
                raise
        return True

    @property
    def framing(self) -> Framing:
        """Of the frames received. Assigning it parses anew every byte that isn't delivered yet."""
        return self._reader.framing

    @framing.setter
    def framing(self, framing: Framing) -> None:
        self._receive(partial(self._set_framing, framing), None)

    def unread(self) -> bytes:
        """The bytes that are received and not delivered; the connection forgets them."""
        return self._receive(self._unread, None)

    # --- Helpers

    _reads_ahead: bool
    _ready: Iterable[bytes]
    """Frames that can be had without asking anybody: they lie in the reader, and nothing was called since it gave one."""
    _frames: Iterable[bytes]
    _patient: bool
    """Where no time is kept the system call itself may wait: one call less for each frame that has to be waited for."""

    def _fd_passing(self) -> Passing:
        raise NotImplementedError

    def _look(self) -> Callable[[], int | None]:
        """What looks for the next frame: how many bytes it has, None if it would have to wait."""
        raise NotImplementedError

    def _step(self) -> bytes | None:
        """The next frame of an iteration; None at the end."""
        if self._gate.is_closed:
            return None
        try:
            return self.recv()
        except ConnectionClosed:
            return None

    def _receive(self, read: Callable[[], T | None], timeout: float | None, nothing: T | None = None) -> T:
        """What `read` gives, once it gives something, as the only one who receives. It gives `nothing` if it would wait."""
        gate = self._gate
        deadline = OWN if timeout is OWN else self._until(timeout)
        try:
            del gate.place
        except AttributeError:
            raise ConcurrentUse from None
        try:
            if gate.closed:
                raise gate.why()
            self._reader._waits = self._patient and timeout is OWN
            if self._passing is not None:
                self._passing.settle()
            # A signal handler may raise behind any call, and what the call gave would be lost. Not so in a for
            # loop: nothing comes between the iterator's step and the return, nor in the frames that return it.
            for got in iter(read, nothing):
                return got  # type: ignore[return-value]
            return self._receive_later(read, deadline, nothing)
        except FrameError:
            gate.check()
            raise
        finally:
            gate.place = True
            if gate.closed:
                gate.left()

    def _receive_later(self, read: Callable[[], T | None], deadline: float | None, nothing: T | None = None) -> T:
        if deadline is OWN:
            deadline = self._until(OWN)
        while True:
            until = self._watch.until(self._reader, self._writer) if self._watch else None
            sooner = until is not None and (deadline is None or until < deadline)
            if not self._wait(False, until if sooner else deadline):
                if not sooner:
                    raise FrameTimeout("no whole frame in time")
                if self._watch.until(self._reader, self._writer) == until:
                    raise self._watch.why(self._reader)
                continue  # another thread has sent in the meantime, or the time was changed
            for got in iter(read, nothing):
                return got  # type: ignore[return-value]

    def _into(self, view: memoryview) -> int | None:
        reader = self._reader
        size = reader._look()
        if size is None:
            return None
        if size > len(view):
            raise ValueError(f"the next frame has {size} bytes, the buffer {len(view)}")
        for frame in self._frames:
            view[:size] = frame
            return size
        return None

    def _unread(self) -> bytes:
        return self._reader.unread() + self._transport.unread()

    def _set_framing(self, framing: Framing) -> bool:
        self._reader.framing = framing
        self._transport.expect(framing)
        return True
