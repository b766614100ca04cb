"""What carries bytes where no descriptor does: TLS, and file objects. The engine calls it in a descriptor's place."""

from __future__ import annotations

import errno

PASSING = frozenset((errno.ENOBUFS, errno.ENOMEM, errno.EBADF, errno.ENOTSOCK))
"""What a call may answer that says nothing of the peer: it may be made again, or the descriptor is none any more."""

GONE = frozenset((errno.EBADF, errno.ENOTSOCK))
"""Those of them by which the descriptor is none any more: its number may be another's."""


class Channel:
    """Gives and takes bytes, without waiting where it can. It is called by one reader and one writer.

    A method that raises ConnectionLost has ended its direction. What else it raises changes nothing: it has
    taken no byte then, or else ends its direction at the next call.
    """

    __slots__ = ()

    def receive(self, size: int) -> bytes | None:
        """Up to `size` bytes; b"" at the end of the stream; None would have to wait."""
        raise NotImplementedError

    def send(self, data: bytes) -> int | None:
        """How many of the bytes were taken; None would have to wait. What wasn't taken is given again, or more of it."""
        raise NotImplementedError
