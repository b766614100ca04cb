"""What a connection stands on: something that carries bytes, can be waited for, and has an end.

`Transport` is what the connection asks of it, and what a source without any of that answers. The kinds
of sources have a file each: sockets here, TLS in _tls.py, descriptors and files in _descriptor.py.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections import deque
from functools import partial
from time import sleep

from ._engine import wait
from ._sockets import INTERNET, UNIX, is_acknowledged, no_delay
from .stats import Stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn

    from .framing import Framing

_DISCARD_BYTES = 64 * 1024
_DISCARD_READS = 16

DONTWAIT = getattr(socket, "MSG_DONTWAIT", 0)


class Transport:
    """A source, as the connection uses it."""

    source: Any
    """What was given, and what `release` gives back."""
    receiving: Any = None
    """What a FrameReader reads; None if nothing can be received."""
    sending: Any = None
    """What a FrameWriter writes; None if nothing can be sent."""
    timeout: float | None = None
    """The source's own, in seconds."""
    may_wait = False
    """Whether a receive may wait in the system call itself, and is woken there."""
    may_wait_to_send = False
    """Whether a send may wait in the system call itself, where nobody wakes it."""
    can_wake_first = True
    """Whether who receives can be woken before everything is sent."""
    is_shareable = True
    """Whether two processes may use it after a fork."""
    is_plain = True
    """Whether its descriptor tells, and carries, nothing but what is received and sent."""
    is_committed = False
    """Whether bytes that were offered and not taken are on their way nevertheless."""

    def fileno(self) -> int:
        """The descriptor that is received from, or else sent to; -1 if there is none."""
        raise NotImplementedError

    @property
    def watched(self) -> int:
        """The descriptor that tells, to a poller, when `awaits` is there."""
        return self.fileno()

    def awaits(self, for_write: bool) -> bool:
        """What to wait for before receiving, or sending: False until something comes, True until something can be sent."""
        return for_write

    def shake(self) -> bool:
        """Bring a handshake on, if there is one: whether it is over. If not, it has to wait as for sending. ConnectionLost."""
        return True

    def take_over(self) -> bytes:
        """The bytes that the source had received before; what it had still to send is sent."""
        return b""

    @property
    def held(self) -> int:
        """Bytes that were received and that nobody has asked for yet."""
        return 0

    @property
    def hides(self) -> bool:
        """Whether something has come that `watched` doesn't tell of any more."""
        return False

    def unread(self) -> bytes:
        """Those bytes, which are forgotten."""
        return b""

    def expect(self, framing: Framing) -> None:
        """Frames of this kind are received from now on."""

    def forked(self) -> None:
        """This is the child process of a fork, and the source may be used here too."""

    def wait(self, for_write: bool, timeout: float | None) -> bool:
        """Wait until something can be received, or sent: True. False when the time, in seconds, is up."""
        raise NotImplementedError

    def wake(self, how: int) -> None:
        """Make those return who wait. how: what of a socket may be shut down for it, as socket.shutdown takes it."""

    def linger(self, for_write: bool, timeout: float) -> None:
        """As `wait`, where those who wait may have been woken."""
        self.wait(for_write, timeout)

    def half_close(self) -> bool:
        """Tell the peer that nothing more will come. False: it is to be called again once something can be sent.

        ValueError if this source can't without ending the other direction; OSError.
        """
        raise ValueError("the source can't be half-closed: its one descriptor is for both directions")

    def finish(self) -> bool:
        """As `half_close`, before `close`: nothing more has to be received."""
        return True

    def discard(self) -> int | None:
        """Throw away what the peer has sent: how many bytes; None if nothing more will come, or matters."""
        return None

    def is_delivered(self, receiving: bool) -> bool:
        """Whether the peer's system has everything that was sent, the end included; False where that can't be known.

        receiving: whether somebody still does, so that nothing is discarded.
        """
        return True

    def reset(self) -> None:
        """Make the close a reset, if there is such a thing, which drops what isn't delivered yet."""

    def close(self) -> None:
        """Give the descriptors back to the system, and say nothing to the peer.

        It may be called again: what an exception broke off is done then, and nothing twice.
        """
        raise NotImplementedError

    def abandon(self) -> None:
        """Forget the descriptor, without giving it back: somebody else has, and its number may be another's by now."""
        raise NotImplementedError

    def release(self) -> Any:
        """Give the source back, open and as it was."""
        return self.source

    def local_address(self) -> Any:
        """This end's address."""
        raise ValueError("only a socket has addresses")

    def peer_address(self) -> Any:
        """The other end's address."""
        raise ValueError("only a socket has addresses")


class SocketTransport(Transport):
    """A stream socket, or what has one's descriptor."""

    def __init__(self, sock: socket.socket, source: Any = None) -> None:
        self.sock = sock
        self.source = sock if source is None else source
        self.receiving = self.sending = sock
        self.timeout = sock.gettimeout() if source is None else None
        # Windows has no way to interrupt such a call by a signal.
        self.may_wait = os.name != "nt"
        self.is_local = sock.family == UNIX
        self._woken = self._is_shared = False
        self._shutdown: Callable[[int], None] = sock.shutdown
        self._receive: Callable[[int, int], bytes] = sock.recv
        # The socket's own close is several steps of Python, which a signal handler may break off.
        given: Any = sock  # gevent's isn't one of these
        close = partial(socket.SocketType.close, given) if isinstance(given, socket.SocketType) else given.close
        self._close: Callable[[], None] = close
        no_delay(sock)

    def fileno(self) -> int:
        return self.sock.fileno()

    def wait(self, for_write: bool, timeout: float | None) -> bool:
        number = self.sock.fileno()
        if number < 0:
            raise ValueError("connection is closed: somebody else has closed its socket")
        return wait(number, for_write, timeout)

    def forked(self) -> None:
        self._is_shared = True

    def wake(self, how: int) -> None:
        if self._is_shared:
            return  # it would end the other process's stream: who waits here leaves when something comes
        self._woken = True
        try:
            self._shutdown(how)
        except OSError:
            pass  # it has gone, which wakes them too

    def linger(self, for_write: bool, timeout: float) -> None:
        if self._woken and not for_write:
            look_again(timeout, timeout)  # it can be received from, and gives the end
        else:
            self.wait(for_write, timeout)

    def half_close(self) -> bool:
        self._shutdown(socket.SHUT_WR)
        return True

    def finish(self) -> bool:
        # What a unix socket sent has arrived. Left unread, what comes now would make its close a reset.
        self._shutdown(socket.SHUT_RDWR if self.is_local else socket.SHUT_WR)
        return True

    def discard(self) -> int | None:
        count = 0
        for _ in range(_DISCARD_READS):
            if not wait(self.sock.fileno(), False, 0):
                break
            try:
                data = self._receive(_DISCARD_BYTES, DONTWAIT)
            except BlockingIOError:
                break
            if not data:
                # After our own shutdown that says nothing of the peer.
                return count if self._woken and not self.is_local else None
            count += len(data)
        return count

    def is_delivered(self, receiving: bool) -> bool:
        if self.is_local:
            return receiving  # it is, but what is unread has to go first
        if sys.platform != "linux" or self.sock.family not in INTERNET:
            return False
        return is_acknowledged(self.sock.fileno())

    def reset(self) -> None:
        width = 2 if sys.platform == "win32" else 4
        on, seconds = (1).to_bytes(width, sys.byteorder), bytes(width)
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, on + seconds)
        except OSError:
            pass

    def close(self) -> None:
        if self.source is self.sock or isinstance(self.source, int):
            self._close()
            self.sock.close()
        else:
            self.sock.detach()
            self.source.close()

    def abandon(self) -> None:
        self.sock.detach()

    def release(self) -> Any:
        if self.source is not self.sock:
            self.sock.detach()
        return self.source

    def local_address(self) -> Any:
        return self.sock.getsockname()

    def peer_address(self) -> Any:
        return self.sock.getpeername()


class GeventTransport(SocketTransport):
    """A socket of gevent's, which is waited for in gevent's loop."""

    def __init__(self, sock: Any, source: Any) -> None:
        super().__init__(sock, source)
        self.may_wait = False

    def wait(self, for_write: bool, timeout: float | None) -> bool:
        from gevent.socket import wait_read, wait_write

        number = self.sock.fileno()
        if number < 0:
            raise ValueError("connection is closed: somebody else has closed its socket")
        try:
            (wait_write if for_write else wait_read)(number, timeout)
        except TimeoutError:
            return wait(number, for_write, 0)
        return True


class Absent:
    """Stands for the reader or the writer of a source that has no such direction."""

    _waits = False
    pending = buffered = 0
    error = None
    stats = Stats(0, 0, 0)

    def __init__(self, framing: Framing, lacking: str) -> None:
        self.framing = framing
        self._lacking = lacking

    def flush(self) -> bool:
        """Nothing is pending."""
        return True

    def _hush(self) -> None:
        """Nothing is received."""

    def _still(self, alone: bool = False) -> None:
        """Nothing is sent."""

    def _ready(self) -> tuple[()]:
        return ()

    def _incoming(self) -> Absent:
        return self

    def __iter__(self) -> NoReturn:
        self.__getattr__("read_one")()

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        def refuse(*given: object) -> NoReturn:
            raise ValueError(f"nothing can be {self._lacking}: the source isn't open for that")

        return refuse


class Owned:
    """Descriptors that were opened here. They are closed once, at the latest when nobody refers to them any more.

    opened: gives them, and opens them as it does. One C call takes them all, and another closes them: no signal handler
    comes between.
    """

    def __init__(self, opened: Iterable[int]) -> None:
        self.numbers: list[int] = []
        self._still_open = iter(self.numbers)
        self.numbers.extend(opened)

    def close(self) -> None:
        """Close those that aren't closed yet."""
        deque(map(os.close, self._still_open), 0)

    def __del__(self) -> None:
        self.close()


def look_again(timeout: float | None, seconds: float) -> bool:
    """Wait where nothing tells that something has changed: True after a while, False when the time is up."""
    if timeout is not None and timeout <= 0:
        return False
    sleep(seconds if timeout is None else min(seconds, timeout))
    return True


def lost(error: OSError) -> tuple[int, str]:
    """What a ConnectionLost says of an error of the system."""
    return error.errno or errno.EIO, error.strerror or str(error)
