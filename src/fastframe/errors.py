"""Every exception that fastframe raises because of a peer, a stream or a clock.

Both engines raise these very classes. An instance is made from positional
arguments only, which `args` keeps: so each pickles, copies, and equals another
of the same class and arguments. Messages carry both numbers and never a peer's
bytes unescaped.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, Self

__all__ = [
    "BadLength",
    "BadMagic",
    "BadTrailer",
    "ConcurrentUse",
    "ConnectionClosed",
    "ConnectionLost",
    "FrameError",
    "FrameTimeout",
    "FrameTooLarge",
    "InvalidFrame",
    "QueueFull",
    "SendInterrupted",
    "TruncatedFrame",
]


class FrameError(Exception):
    """The base of all errors of this package."""

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return self._facts() == other._facts()

    def __hash__(self) -> int:
        return hash((type(self), self._facts()))

    def _facts(self) -> tuple[object, ...]:
        """What two equal errors have in common."""
        return self.args

    def _again(self) -> Self:
        """An equal, fresh instance, without traceback or context."""
        return type(self)(*self.args)


class InvalidFrame(FrameError, ValueError):
    """The bytes break the framing. Sticky: the stream can't be read any further.

    offset: where the frame at fault begins, in bytes from the start of the
    stream; None for a payload that was refused by `encode`.
    header: the frame's bytes up to the end of its length field, or up to the
    first byte that can't be right.
    """

    def __init__(self, reason: str, header: bytes = b"", offset: int | None = None, hint: str = "") -> None:
        super().__init__(reason, header, offset, hint)
        self.header = header
        self.offset = offset
        self._reason = reason
        self._hint = hint

    def __str__(self) -> str:
        where = "" if self.offset is None else f", at offset {self.offset}"
        return f"{self._reason}{where}{self._hint}"

    def _facts(self) -> tuple[object, ...]:
        # The hint depends on how many bytes were there beyond the fault.
        return self.args[:-1]

    def _located(self, offset: int, first: bytes) -> Self:
        """The same error at `offset`; `first` are the frame's first bytes, as far as they are there."""
        args: tuple[Any, ...] = (*self.args[:-2], offset, _hint(first) if offset == 0 else "")
        return type(self)(*args)


class FrameTooLarge(InvalidFrame):
    """A frame, or a payload to encode, is larger than the limit.

    size: the bytes it would deliver; None if the frame doesn't declare it.
    limit: the most bytes that the description delivers.
    """

    def __init__(
        self, size: int | None, limit: int, header: bytes = b"", offset: int | None = None, hint: str = ""
    ) -> None:
        what = f"frame of {size} bytes" if size is not None else f"frame of more than {limit} bytes"
        super().__init__(f"{what}, limit {limit}", header, offset, hint)
        self.args = (size, limit, header, offset, hint)
        self.size = size
        self.limit = limit


class BadLength(InvalidFrame):
    """The length can't be: negative, too short, not minimal, not digits, without an end."""


class BadMagic(InvalidFrame):
    """The frame doesn't begin with the bytes that all of its kind begin with."""


class BadTrailer(InvalidFrame):
    """The frame doesn't end with the bytes that all of its kind end with."""


class TruncatedFrame(FrameError, EOFError):
    """The stream ended inside a frame.

    stage: "header" or "payload", where it ended.
    got, want: bytes of the whole frame, header included; want is None if unknown.
    partial: the raw bytes that came, from the frame's start.
    offset: where the frame begins, in bytes from the start of the stream.
    """

    def __init__(
        self, stage: Literal["header", "payload"], got: int, want: int | None, partial: bytes, offset: int
    ) -> None:
        super().__init__(stage, got, want, partial, offset)
        self.stage = stage
        self.got = got
        self.want = want
        self.partial = partial
        self.offset = offset

    def __str__(self) -> str:
        of = "" if self.want is None else f" of {self.want}"
        return f"stream ended in the {self.stage} of a frame: {self.got}{of} bytes, at offset {self.offset}"


class ConnectionClosed(FrameError, EOFError):
    """The stream ended between two frames: the normal end."""

    def __init__(self, reason: str = "the stream has ended") -> None:
        super().__init__(reason)


class ConnectionLost(FrameError, ConnectionError):
    """The connection broke: `errno` says how. Every complete frame was delivered before."""


class FrameTimeout(FrameError, TimeoutError):
    """The time is up. Nothing was taken and nothing is lost: call again.

    clock: whose time: "call" for a call's own timeout; "frame" for a connection's frame_timeout and "idle" for its
    idle_timeout, which stay over until more comes: calling again raises at once then.
    """

    clock: Literal["call", "frame", "idle"] = "call"

    def _facts(self) -> tuple[object, ...]:
        return (*self.args, self.clock)


class SendInterrupted(FrameError):
    """Some of it was sent. The rest stays queued: `flush()` or the next send finishes it; don't resend.

    pending: bytes still queued.
    """

    def __init__(self, pending: int) -> None:
        super().__init__(pending)
        self.pending = pending

    def __str__(self) -> str:
        return f"send interrupted, {self.pending} bytes stay queued: flush() or the next send finishes them, don't send them again"


class ConcurrentUse(FrameError):
    """Somebody else is inside this object: another thread, or this one through a callback or signal handler."""

    def __init__(self, reason: str = "already in use by another call") -> None:
        super().__init__(reason)


class QueueFull(FrameError):
    """More bytes than may wait to be sent. Nothing was taken.

    size: the bytes refused. pending: the bytes that wait. limit: the most that may.
    """

    def __init__(self, size: int, pending: int, limit: int) -> None:
        super().__init__(size, pending, limit)
        self.size = size
        self.pending = pending
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.size} bytes more than {self.pending} pending exceed {self.limit}: flush() first"


# What the first bytes of other protocols look like, each at least three bytes long.
_FOREIGN = (
    ("HTTP", (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"TRACE ")),
    ("HTTP", (b"HTTP/", b"PRI * HTTP/2")),
    ("SSH", (b"SSH-",)),
    ("the PROXY protocol", (b"PROXY ", b"\r\n\r\n\x00\r\nQUIT\n")),
)
_TLS_RECORDS = range(20, 24)


def _hint(first: bytes) -> str:
    """What else the stream could be, as the tail of a message; "" if nothing is known."""
    if len(first) >= 2 and first[0] in _TLS_RECORDS and first[1] == 3:
        return ": looks like TLS"
    for name, starts in _FOREIGN:
        for start in starts:
            common = min(len(start), len(first))
            if common >= 3 and first[:common] == start[:common]:
                return f": looks like {name}"
    return ""
