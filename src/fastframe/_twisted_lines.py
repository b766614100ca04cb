"""Lines: drop-ins for `LineReceiver` and `LineOnlyReceiver` of twisted.protocols.basic."""

from __future__ import annotations

from functools import lru_cache

from twisted.protocols import basic

from ._engine import Decoder
from ._twisted_frames import UNLIMITED, Undelivered
from .framing import Delimiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["LineOnlyReceiver", "LineReceiver"]


@lru_cache(64)
def lines(delimiter: bytes) -> Delimiter:
    """Lines of any length."""
    return Delimiter(delimiter, max_size=UNLIMITED)


class LineReceiver(basic.LineReceiver):
    """Lines with a delimiter, or raw data: `lineReceived` or `rawDataReceived`, whichever mode it is.

    MAX_LENGTH, delimiter, the mode and `paused` are looked at before each line, and may change in a callback.
    An empty delimiter is a ValueError.
    """

    __decoder: Decoder | None = None
    __delimiter: bytes | None = None
    _busyReceiving: bool

    def dataReceived(self, data: bytes) -> Any:
        """Take bytes and call `lineReceived` or `rawDataReceived` with them; what is left when paused stays held.

        Returns what the callback that stopped it returned. In a callback the bytes are only taken.
        """
        if self._busyReceiving:
            self.__opened().push(data)
            return None
        self._busyReceiving = True
        try:
            return self.__deliver(data)
        finally:
            self._busyReceiving = False

    def __opened(self) -> Decoder:
        """The decoder, for lines that end with the delimiter of this moment."""
        decoder, delimiter = self.__decoder, self.delimiter
        if decoder is None:
            decoder = self.__decoder = Decoder(lines(delimiter))
        elif delimiter != self.__delimiter:
            decoder.framing = lines(delimiter)
        self.__delimiter = delimiter
        return decoder

    def __deliver(self, data: bytes) -> Any:
        decoder = self.__opened()
        if self.line_mode or self.paused or decoder.buffered:
            decoder.push(data)
            data = b""
        while not self.paused:
            if self.line_mode:
                if self.delimiter is not self.__delimiter:
                    self.__opened()
                line = decoder.pop()
                if line is None:
                    if decoder.buffered >= self.MAX_LENGTH + len(self.delimiter):
                        return self.lineLengthExceeded(decoder.unread())
                    return None
                if len(line) > self.MAX_LENGTH:
                    return self.lineLengthExceeded(line + self.delimiter + decoder.unread())
                why = self.lineReceived(line)
                if why or (self.transport and self.transport.disconnecting):
                    return why
            else:
                raw, data = data or decoder.unread(), b""
                if not raw:
                    return None
                why = self.rawDataReceived(raw)
                if why:
                    return why
        return None

    def clearLineBuffer(self) -> bytes:
        """Forget and return all bytes that are held."""
        return b"" if self.__decoder is None else self.__decoder.unread()

    @property
    def _buffer(self) -> bytes:
        """The bytes held, for subclasses that know the host's attribute. Each look at it copies them."""
        rest = self.clearLineBuffer()
        if rest:
            self.__opened().push(rest)
        return rest

    @_buffer.setter
    def _buffer(self, data: bytes) -> None:
        self.clearLineBuffer()
        if data:
            self.__opened().push(data)


class LineOnlyReceiver(basic.LineOnlyReceiver):
    """Lines with a delimiter, and nothing else: `lineReceived`.

    Lines that come in one piece with one that is too long are delivered, unless the connection is closing;
    so are those behind one whose `lineReceived` has raised, by the next `dataReceived`.
    A new delimiter counts from the next `dataReceived` on. An empty one is a ValueError.
    """

    __held: Undelivered | None = None
    __delimiter: bytes | None = None
    __busy = False

    def dataReceived(self, data: bytes) -> Any:
        """Take bytes and call `lineReceived` with each line. In a callback the bytes are only taken."""
        if self.__held is None or self.delimiter != self.__delimiter:
            self.__open(self._buffer)
            assert self.__held is not None
        if self.__busy:
            self.__held.add(data)
            return None
        self.__busy = True
        try:
            why, done = self.__deliver(data)
        finally:
            self.__busy = False
        if done and self.__held.buffered > self.MAX_LENGTH:
            return self.lineLengthExceeded(self._buffer)
        return why

    def __deliver(self, data: bytes) -> tuple[Any, bool]:
        """Call back for all lines; whether they are through, and what the callback returned that stopped it."""
        while True:
            held = self.__held
            assert held is not None
            found, limit = held.frames(data), self.MAX_LENGTH
            if held.most > limit:
                limit = None
            for line in found:
                if self.transport.disconnecting:
                    # What came in one piece with the line that made us close is disregarded.
                    held.drop()
                    return None, False
                # As long as it is the limit that none of the batch exceeds, there is no need to compare.
                if self.MAX_LENGTH is limit or len(line) <= self.MAX_LENGTH:
                    self.lineReceived(line)
                elif why := self.lineLengthExceeded(line):
                    return why, False
            held.finish()
            data = b""
            if held is self.__held and not held.added:
                return None, True

    def __open(self, data: bytes) -> None:
        framing = lines(self.delimiter)
        held = self.__held
        self.__held = Undelivered(framing, data) if held is None else held.replaced(framing, data)
        self.__delimiter = self.delimiter

    @property
    def _buffer(self) -> bytes:
        """The bytes held, for subclasses that know the host's attribute: within a callback, with the lines to come."""
        return b"" if self.__held is None else self.__held.unread()

    @_buffer.setter
    def _buffer(self, data: bytes) -> None:
        if data or self.__held is not None:
            self.__open(data)
