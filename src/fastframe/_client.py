"""One client of a server, as its handler sees it.

The server's thread reads from it and hands over what came; any thread may send. Everything that
changes what is waited for on its descriptor is done in the server's thread.
"""

from __future__ import annotations

from threading import get_ident
from time import sleep

from ._channel import GONE
from .errors import ConcurrentUse, ConnectionClosed, ConnectionLost, QueueFull

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from typing_extensions import Buffer

    from ._engine import FrameReader, FrameWriter
    from ._loop import Loop
    from ._transport import Transport
    from .errors import FrameError
    from .framing import Framing
    from .stats import Stats

__all__ = ["Client"]


class Client:
    """A connection that a server has accepted. Handlers get it; nobody else makes one.

    Any thread may send and close; frames come in the server's thread only. A send never waits: what the client
    doesn't take at once is queued, and beyond Limits.high_water nothing more is received from it until it has taken that.
    """

    __slots__ = (
        "__weakref__",
        "_address",
        "_hides",
        "_lock",
        "_loop",
        "_paused",
        "_reader",
        "_refusal",
        "_transport",
        "_writer",
        "state",
    )

    _loop: Loop
    _transport: Transport
    _address: Any
    _reader: FrameReader
    _writer: FrameWriter
    _lock: Any  # an RLock: for the writer, and for the descriptor's close
    _refusal: FrameError | None  # why nothing can be sent any more
    _paused: bool
    _hides: bool  # something may be there to receive that the descriptor doesn't tell of
    state: Any
    """Yours: whatever the handler wants to remember of this client. None at first."""

    def send(self, payload: Buffer) -> None:
        """Send a frame. Any thread may.

        Nothing is taken if it raises: FrameTooLarge, ValueError or TypeError for what can't be sent; QueueFull beyond Limits.max_pending,
        which ends this client; ConnectionClosed, ConnectionLost. A handler needn't catch the last three for the client that it was
        called for. OSError: the system has no memory for it now.
        """
        sent = self._writer._rush(payload)
        if sent:
            return
        if sent is None or not self._write(self._writer.write, payload):
            self._loop.call(self._unsent)

    def send_many(self, payloads: Iterable[Buffer]) -> None:
        """Send frames, in few system calls: all, or none if it raises as `send` does. Any thread may."""
        sent = self._writer._rush(payloads)
        if sent:
            return
        if type(payloads) is not list:
            # They may take their time, during which the lock is the others'; and may all be made in the same memory.
            payloads = [one if type(one) is bytes else memoryview(one).tobytes() for one in payloads]
        if sent is None or not self._write(self._writer.write_many, payloads):
            self._loop.call(self._unsent)

    def close(self) -> None:
        """Close, once the client has everything that was sent; Limits.close_timeout says how long it has for that.

        Returns at once; no further frame comes. Any thread may.
        """
        self._refuse()
        self._loop.call(self._leave)

    def abort(self) -> None:
        """Close at once and drop everything: over TCP the client sees a reset. Any thread may."""
        self._refuse()
        self._loop.call(self.cut_off)

    def pause(self) -> None:
        """Receive nothing more until `resume`: for handlers whose replies come from other threads, later. Any thread may.

        It ends as well when nothing can be sent any more: `closed` is to be told of that, after the frames that came before.
        """
        self._paused = True
        self._loop.call(self._rewatch)

    def resume(self) -> None:
        """Receive again. Any thread may."""
        self._paused = False
        self._loop.call(self._soon)

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._refusal is not None

    @property
    def pending(self) -> int:
        """Bytes that were sent and that the client has yet to take."""
        return self._writer.pending

    @property
    def framing(self) -> Framing:
        """Of the frames that come. The handler may assign another one; frames that have come together were parsed together."""
        return self._reader.framing

    @framing.setter
    def framing(self, framing: Framing) -> None:
        self._reader.framing = framing
        self._transport.expect(framing)
        self._hides = True

    @property
    def send_framing(self) -> Framing:
        """Of the frames that are sent. Assignable."""
        return self._writer.framing

    @send_framing.setter
    def send_framing(self, framing: Framing) -> None:
        with self._lock:
            self._writer.framing = framing

    @property
    def local_address(self) -> Any:
        """This end's address, as socket.getsockname gives it."""
        return self._transport.local_address()

    @property
    def peer_address(self) -> Any:
        """The client's address, as socket.accept gives it."""
        return self._address

    @property
    def stats(self) -> tuple[Stats, Stats]:
        """Frames, bytes and errors: received, and sent."""
        return self._reader.stats, self._writer.stats

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"on descriptor {self._transport.fileno()}"
        return f"<Client {state}, {self.framing!r}>"

    # --- Helpers

    def _write(self, write: Callable[[Any], bool], given: Any) -> bool:
        """Call a method of the writer, and see to what it raises."""
        if self._refusal is not None:
            raise self._refusal._again()
        is_inside = get_ident() == self._loop.thread
        try:
            if is_inside:
                # A lock would take as long as some frames: who meets another thread here is told so by the writer.
                try:
                    return write(given)
                except ConcurrentUse:
                    pass
            return self._write_in_turn(write, given, is_inside)
        except (QueueFull, OSError) as error:
            self._cannot_send(error)
            raise

    def _write_in_turn(self, write: Callable[[Any], bool], given: Any, is_inside: bool) -> bool:
        """Do that where another thread may be inside, or is. ConcurrentUse if it is this one, by a signal handler."""
        if self._lock._is_owned():
            raise ConcurrentUse
        while True:
            with self._lock:
                if self._refusal is not None:
                    raise self._refusal._again()
                try:
                    return write(given)
                except ConcurrentUse:
                    if is_inside:
                        raise
            # The loop's thread is inside. It doesn't stay there, but a signal handler there may want the lock first.
            sleep(0)

    def _refuse(self) -> None:
        """Let nothing more be sent."""
        with self._lock:
            self._writer._still()
            if self._refusal is None:
                self._refusal = ConnectionClosed("the connection is closed")

    def _cannot_send(self, error: QueueFull | OSError) -> None:
        """A send has failed. If that is the client's fault, let nothing more be sent; what it has sent still comes."""
        self._writer._still()
        if isinstance(error, QueueFull):
            self._refusal = error
            self._loop.call(self._overflow)
        elif isinstance(error, ConnectionLost):
            self._refusal = error
            self._loop.call(self._unsent)
        elif error.errno in GONE:
            self._refusal = ConnectionLost(error.errno, error.strerror)
            self._loop.call(self.vanish)
            raise self._refusal._again() from error
        else:
            self._loop.call(self._rest, error)

    if TYPE_CHECKING:
        # The server's side of it, in _session.py, does these in its own thread.
        _leave: Callable[[], None]
        cut_off: Callable[[], None]
        _overflow: Callable[[], None]
        _unsent: Callable[[], None]
        _rewatch: Callable[[], None]
        _soon: Callable[[], None]
        _rest: Callable[[OSError], None]
        vanish: Callable[[], None]
