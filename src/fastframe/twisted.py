"""Drop-ins for the receivers of twisted.protocols.basic: change the import, keep the code.

    from fastframe.twisted import Int32StringReceiver

The same: names, callbacks and what they are called with, sendString and its StringTooLongError, MAX_LENGTH and
delimiter that may change in a callback, pausing, and stopping behind any string, `recvd` to look at and to replace,
line and raw mode, brokenPeer. Each is a subclass of the host's class of its name.

Better:
- The time is linear in the bytes, however they come: the host copies what it holds for each piece, netstring or line.
  A piece with many strings takes a fraction of the host's time, one with a single short string a little more.
  (The engine in Python is slower than the host where pieces are short.)
- A `stringReceived` that raises, or calls `resumeProducing` or `dataReceived`, or an oversized length, has the host
  deliver strings twice. Here each comes once, in order; bytes given to `dataReceived` within a callback come behind
  those that are held.
- Assigning `recvd` counts at once, not just within `stringReceived`.

Different on purpose:
- Length fields of IntNStringReceiver are a single integer of any of struct's formats, with or without byte order.
  Other formats, and a `prefixLength` that isn't theirs, are a ValueError at `dataReceived`. A new structFormat counts
  from the next `dataReceived` on, also for what is held.
- A negative length, over which the host loops or reads what is none, goes to `lengthLimitExceeded` as the unsigned
  number that its bytes are, whatever MAX_LENGTH is; so does a length that no memory has (beyond `sys.maxsize`, about).
- Of a netstring that is wrong, and of what follows it, nothing is kept.
- LineOnlyReceiver delivers the lines behind one that is too long, unless the connection is closing; the host
  forgets those that came in the same piece. An empty delimiter is a ValueError.
- The host's private attributes aren't kept up, except `_buffer` of the line receivers.
"""

from __future__ import annotations

import re
import struct
import sys
from functools import lru_cache

try:
    from twisted.protocols import basic
    from twisted.protocols.basic import (
        FileSender,
        IncompleteNetstring,
        NetstringParseError,
        StatefulStringProtocol,
        StringTooLongError,
    )
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("fastframe.twisted needs Twisted: install fastframe[twisted]", name=error.name) from error

from ._twisted_frames import UNLIMITED, Undelivered
from ._twisted_lines import LineOnlyReceiver, LineReceiver
from .errors import FrameTooLarge
from .framing import LengthField, Netstring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

__all__ = [
    "FileSender",
    "IncompleteNetstring",
    "Int8StringReceiver",
    "Int16StringReceiver",
    "Int32StringReceiver",
    "IntNStringReceiver",
    "LineOnlyReceiver",
    "LineReceiver",
    "NetstringParseError",
    "NetstringReceiver",
    "StatefulStringProtocol",
    "StringTooLongError",
]

_FORMAT = re.compile(r"([@=<>!]?)1?([bBhHiIlLqQnN])")
_NETSTRING = Netstring(max_size=UNLIMITED)
_MOST_DIGITS = 20


@lru_cache(64)
def _field(form: str | bytes, width: int) -> LengthField:
    """Strings with a length of this struct format. Raises ValueError for what isn't one integer of `width` bytes."""
    found = _FORMAT.fullmatch(form if isinstance(form, str) else form.decode("latin-1"))
    try:
        actual = struct.calcsize(form) if found else None
    except struct.error:
        actual = None
    if found is None or actual is None:
        raise ValueError(
            f"structFormat {form!r} isn't one integer: twisted.protocols.basic.IntNStringReceiver takes such formats"
        )
    if actual != width:
        raise ValueError(f"prefixLength is {width}, but structFormat {form!r} has {actual} bytes")
    order, letter = found.groups()
    little = order == "<" or (order in ("", "@", "=") and sys.byteorder == "little")
    byteorder: Literal["big", "little"] = "little" if little else "big"
    # A negative length is, unsigned, one beyond the limit.
    return LengthField(width, byteorder, max_size=(1 << (8 * width - letter.islower())) - 1)


class IntNStringReceiver(basic.IntNStringReceiver):
    """Strings behind a length: `stringReceived` with each, `lengthLimitExceeded` with a length beyond MAX_LENGTH.

    structFormat, prefixLength: the length field, as one integer in struct's words, and its bytes. A length is judged
    as soon as it is there; the string it belongs to stays held, and is judged again by each later `dataReceived`.
    """

    __held: Undelivered | None = None
    __form: str | bytes | None = None
    __busy = False

    def dataReceived(self, data: bytes) -> None:
        """Take bytes and call `stringReceived` with each complete string; what is left when paused stays held.

        What a callback raises passes; that string counts as delivered. In a callback the bytes are only taken. Raises
        ValueError for a structFormat that isn't one integer of prefixLength bytes.
        """
        held = self.__held
        if held is None or self.structFormat != self.__form:
            held = self.__open(self.recvd)
        if self.__busy or self.paused:
            held.add(data)
            return
        self.__busy = True
        try:
            length = self.__deliver(held, data)
        finally:
            self.__busy = False
        if length is not None:
            self.lengthLimitExceeded(length)

    def __deliver(self, held: Undelivered, data: bytes) -> int | None:
        """Call back for the strings; the length that is next if it is too long, or None."""
        while True:
            strings, limit = held.frames(data), self.MAX_LENGTH
            if held.most > limit:
                limit = None
            for string in strings:
                # As long as it is the limit that none of the batch exceeds, there is no need to compare.
                if self.MAX_LENGTH is not limit and len(string) > self.MAX_LENGTH:
                    held.put_back()
                    return len(string)
                self.stringReceived(string)
                if self.paused:
                    held.stop()
                    return None
            held.finish()
            if held is self.__held and not held.added:
                return self.__excess(held) if held.buffered else None
            data = b""
            held = self.__held or held  # a callback has brought bytes, or assigned `recvd`

    def __excess(self, held: Undelivered) -> int | None:
        """The length of the string that isn't complete yet, if it is too long."""
        if isinstance(held.fault, FrameTooLarge):
            return held.fault.size
        if held.buffered >= self.prefixLength:
            length: int = held.buffered + held.decoder.needed - self.prefixLength
            if length > self.MAX_LENGTH:
                return length
        return None

    def __open(self, data: bytes) -> Undelivered:
        """Hold `data` instead of what is held, for the length field of this moment."""
        framing, held = _field(self.structFormat, self.prefixLength), self.__held
        fresh = self.__held = Undelivered(framing, data) if held is None else held.replaced(framing, data)
        self.__form = self.structFormat
        return fresh

    @property
    def recvd(self) -> bytes:
        """The bytes that aren't delivered yet; assigning replaces them, in a callback too. Each look copies them."""
        return b"" if self.__held is None else self.__held.unread()

    @recvd.setter
    def recvd(self, data: bytes) -> None:
        if data or self.__held is not None:
            self.__open(data)


class Int32StringReceiver(IntNStringReceiver, basic.Int32StringReceiver):
    """Strings behind four bytes of length, the most significant first."""


class Int16StringReceiver(IntNStringReceiver, basic.Int16StringReceiver):
    """Strings behind two bytes of length, the more significant first."""


class Int8StringReceiver(IntNStringReceiver, basic.Int8StringReceiver):
    """Strings behind one byte of length."""


class NetstringReceiver(basic.NetstringReceiver):
    """Netstrings: `stringReceived` with each. A wrong one closes the connection and sets brokenPeer.

    MAX_LENGTH is looked at for each string, and may change in a callback.
    """

    __held: Undelivered | None = None
    __broken = False
    __busy = False

    def makeConnection(self, transport: Any) -> None:
        """Begin anew."""
        self.__held, self.__broken = None, False
        super().makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes and call `stringReceived` with each complete string. In a callback the bytes are only taken.

        What a callback raises passes; that string counts as delivered.
        """
        held = self.__held
        if held is None:
            held = self.__held = Undelivered(_NETSTRING)
        if self.__busy:
            held.add(data)
            return
        if not self.__broken:
            self.__busy = True
            try:
                self.__broken = not self.__deliver(held, data)
            finally:
                self.__busy = False
        if self.__broken:
            self.__held = None
            self._handleParseError()

    def __deliver(self, held: Undelivered, data: bytes) -> bool:
        """Call back for the strings; False if what comes next is wrong."""
        while True:
            strings, limit = held.frames(data), self.MAX_LENGTH
            if held.most > limit:
                limit = None
            for string in strings:
                if self.MAX_LENGTH is not limit and len(string) > self.MAX_LENGTH:
                    return False
                self.stringReceived(string)
            held.finish()
            if not held.added:
                return held.fault is None and (not held.buffered or self.__fits(held))
            data = b""

    def __fits(self, held: Undelivered) -> bool:
        """Whether the string that isn't complete yet can become one of at most MAX_LENGTH bytes."""
        if held.buffered > _MOST_DIGITS:
            # Its size with digits, colon and comma.
            return bool(held.buffered + held.decoder.needed <= len(str(self.MAX_LENGTH)) + self.MAX_LENGTH + 2)
        # It may be digits without a colon: the host knows how to judge them.
        self._remainingData = held.unread()
        try:
            self._consumeLength()
        except IncompleteNetstring:
            pass
        except NetstringParseError:
            return False
        finally:
            self._remainingData, self._expectedPayloadSize = b"", 0
        return True
