"""The engine in Python: for interpreters without the compiled one. Its files begin with `_pure`.

The same classes, errors and promises; `_pure_core` tells how it works.
"""

from __future__ import annotations

import operator

from ._pure_batch import FrameBatch, batch
from ._pure_core import Core
from ._pure_encoding import encode, encode_many
from ._pure_io import wait
from ._pure_parser import ALL, LARGE, ONE, immutable
from ._pure_poller import Poller
from ._pure_reader import FrameReader
from ._pure_slices import Slices
from ._pure_writer import FrameWriter
from .errors import ConnectionClosed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Buffer

    from .framing import Framing

__all__ = ["Decoder", "FrameBatch", "FrameReader", "FrameWriter", "Poller", "Slices", "encode", "encode_many", "wait"]


class Decoder(Core):
    """Finds the frames in a stream of bytes, without I/O.

    framing: what a frame looks like; TypeError for what isn't a Framing.

    When the bytes break the framing, a call that has frames returns them and the next one raises
    the InvalidFrame; `error` shows it at once. From then on every call raises an equal one, and
    nothing is kept. What a Computed's function raises passes unchanged; nothing is lost, and the
    next call asks it again. A second call while one is running is ConcurrentUse and changes nothing.
    Any buffer can be fed; it isn't referenced after the call, unless it is `bytes`.
    """

    __slots__ = ("_lent", "_lent_size", "_memory")

    _memory: bytearray
    _lent: memoryview | None
    _lent_size: int

    def __init__(self, framing: Framing) -> None:
        self._once()
        self._start(framing)
        self._lent, self._lent_size, self._memory = None, 0, bytearray()
        self._idle = True

    def feed(self, data: Buffer) -> list[bytes]:
        """Take bytes that arrived; return every frame that is now complete.

        Raises InvalidFrame if there is none before the fault, ConnectionClosed for bytes after the end, TypeError for
        what isn't a buffer, ConcurrentUse.
        """
        data = data if type(data) is bytes else immutable(data)
        try:
            del self._idle
        except AttributeError:
            raise self._taken() from None
        try:
            self._take(data)
            self._run(ALL)
            return self._hand_all()
        finally:
            self._idle = True

    def feed_batch(self, data: Buffer) -> FrameBatch:
        """As `feed`; the frames come as a batch that hasn't made objects of them.

        Of `bytes` that begin with a frame nothing is copied.
        """
        data = immutable(data)
        try:
            del self._idle
        except AttributeError:
            raise self._taken() from None
        try:
            self._take(data)
            made = self._hand_batch()
            return batch(b"", [], []) if made is None else made
        finally:
            self._idle = True

    def push(self, data: Buffer) -> None:
        """Take bytes that arrived, for `pop()`. Nothing is parsed.

        Raises the error that the stream has ended in, ConnectionClosed for bytes after the end, TypeError for what
        isn't a buffer, ConcurrentUse.
        """
        data = immutable(data)
        try:
            del self._idle
        except AttributeError:
            raise self._taken() from None
        try:
            self._take(data)
        finally:
            self._idle = True

    def pop(self) -> bytes | None:
        """The next frame, or None if it isn't complete. Only this frame is parsed.

        Raises InvalidFrame if that is what comes next, ConcurrentUse.
        """
        try:
            del self._idle
        except AttributeError:
            raise self._taken() from None
        try:
            self._take(b"")
            if not self._out:
                self._run(ONE)
            return self._hand_one()
        finally:
            self._idle = True

    def get_buffer(self, hint: int = -1) -> memoryview:
        """A writable buffer to receive into, for `buffer_updated()`: 64 KiB, or more in a large frame.

        hint: the bytes expected; passed over.

        It is valid until the next method call on this decoder, and released then. Raises the error that the stream
        has ended in, ConnectionClosed after the end, TypeError for a hint that isn't an int, ConcurrentUse.
        """
        operator.index(hint)
        try:
            del self._idle
        except AttributeError:
            raise self._taken() from None
        try:
            self._take(b"")
            if self._ended:
                raise ConnectionClosed
            size = LARGE
            if self._open is not None:
                size = max(size, min(self._open[0] - self._have, self._have))
            self._memory = bytearray(size)
            self._lent, self._lent_size = memoryview(self._memory), size
            return self._lent
        finally:
            self._idle = True

    def buffer_updated(self, nbytes: int) -> list[bytes]:
        """Take the first `nbytes` bytes of what `get_buffer()` gave; return every frame that is now complete.

        Raises as `feed` does; ValueError, and nothing has changed, for less than 0 or more than the buffer has.
        """
        nbytes = operator.index(nbytes)
        try:
            del self._idle
        except AttributeError:
            raise self._taken() from None
        try:
            if self._error is None and not 0 <= nbytes <= self._lent_size:
                raise ValueError(f"nbytes must be 0 to {self._lent_size}, the bytes handed out, not {nbytes}")
            data = b""
            if nbytes and self._error is None and self._lent is not None:
                # Not from the view that was lent: its user may have released that.
                data = bytes(memoryview(self._memory)[:nbytes])
            self._take(data)
            self._run(ALL)
            return self._hand_all()
        finally:
            self._idle = True

    def feed_eof(self) -> list[bytes]:
        """The stream has ended: return the frames that are left, [] if there is none.

        Raises TruncatedFrame if it ended inside a frame and no complete one is left, InvalidFrame as `feed` does,
        ConcurrentUse. After a clean end it returns [] again.
        """
        try:
            del self._idle
        except AttributeError:
            raise self._taken() from None
        try:
            self._take(b"")
            self._run(ALL)
            if self._error is None and not self._queue and not self._ended:
                self._finish()
            return self._hand_all()
        finally:
            self._idle = True

    def _take(self, data: bytes) -> None:
        """What every method begins with: end the lent buffer's life, raise what is to be raised, queue the bytes."""
        if self._lent is not None:
            self._called()
        self._check()
        if data:
            if self._ended:
                raise ConnectionClosed
            self._keep(data)

    def _called(self) -> None:
        lent, self._lent, self._lent_size, self._memory = self._lent, None, 0, bytearray()
        if lent is not None:
            try:
                lent.release()
            except BufferError:
                # A view of it is held elsewhere: it keeps a memory that nobody reads any more.
                pass
