"""How a FrameProtocol's frames go out: through the transport, or, where a descriptor can be written to, past it."""

from __future__ import annotations

import asyncio
import errno
import os
import sys

from ._engine import FrameWriter
from .stats import Stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn

    from typing_extensions import Buffer

    from ._aio_hub import Hub
    from .framing import Framing


_MOST_GATHERED = 256
"""Frames after which they are sent though the turn isn't over."""


class Outlet:
    """Takes frames. This one drops them: nobody is there any more."""

    pending = 0
    """Bytes that the transport doesn't know of, and that the kernel hasn't taken."""
    framing: Framing
    """Of the frames; assigned by whoever knows."""
    stats = Stats(0, 0, 0)
    """Frames taken, and their bytes."""

    def write(self, payload: Buffer) -> None:
        """Take one frame."""

    def write_many(self, payloads: Iterable[Buffer]) -> None:
        """Take a frame for each payload, or none if one of them can't be sent."""

    def writable(self) -> None:
        """The kernel takes more."""

    def after(self, then: Callable[[], None]) -> None:
        """Do something once nothing is pending any more: at once, if nothing is."""
        then()

    def stop(self) -> None:
        """Send nothing more."""


class Refusing(Outlet):
    """It is the user's mistake to write."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def write(self, payload: Buffer) -> NoReturn:
        raise ValueError(self._reason)

    def write_many(self, payloads: Iterable[Buffer]) -> NoReturn:
        raise ValueError(self._reason)


class Encoding(Outlet):
    """Through the transport."""

    def __init__(self, transport: Any, framing: Framing) -> None:
        self._write = transport.write
        self._frames = self._bytes = 0
        self.framing = framing

    @property
    def stats(self) -> Stats:  # type: ignore[override]
        return Stats(self._frames, self._bytes, 0)

    def write(self, payload: Buffer) -> None:
        self._hand(self.framing.encode(payload), 1)

    def write_many(self, payloads: Iterable[Buffer]) -> None:
        items = payloads if isinstance(payloads, (list, tuple)) else list(map(kept, payloads))
        self._hand(self.framing.encode_many(items), len(items))

    def _hand(self, data: bytes, frames: int) -> None:
        self._frames += frames
        self._bytes += len(data)
        self._write(data)


class Direct(Outlet):
    """Past the transport, to its descriptor: no bytes object of all frames, and half the steps.

    Small frames that are written one by one in a turn of the hub are sent together at its end.

    protocol: whose pause_writing and resume_writing are called, as a transport does.
    watch: called with True when `writable` is to be called, once the kernel takes more; with False when not any more.
    broken: called once with the error, when nothing can be sent any more.
    gathers_lists: so are those of write_many. It pays if much is done between one client's and the next one's.
    """

    def __init__(
        self,
        hub: Hub,
        loop: Any,
        number: int,
        framing: Framing,
        protocol: asyncio.BaseProtocol,
        watch: Callable[[bool], None],
        broken: Callable[[OSError], None],
        gathers_lists: bool,
    ) -> None:
        self._hub, self._loop, self._protocol, self._watch, self._broken = hub, loop, protocol, watch, broken
        self._gathers_lists = gathers_lists
        self._writer = FrameWriter(number, framing, max_pending=sys.maxsize)
        self._gathered: list[Buffer] = []
        self._waits = self._is_full = self._is_stopped = False
        self._then: Callable[[], None] | None = None

    @property
    def framing(self) -> Framing:
        return self._writer.framing

    @framing.setter
    def framing(self, framing: Framing) -> None:
        self.send_gathered()
        self._writer.framing = framing

    @property
    def stats(self) -> Stats:  # type: ignore[override]
        self.send_gathered()
        return self._writer.stats

    @property
    def pending(self) -> int:  # type: ignore[override]
        self.send_gathered()
        return self._writer.pending

    def write(self, payload: Buffer) -> None:
        if self._hub.gathering is not None and self._writer._fits(payload):
            self._gather((payload,))
            return
        if self._gathered:
            self.send_gathered()
        try:
            if self._writer.write(payload):
                return
        except OSError as error:
            self._fail(error)
        else:
            self._wait()

    def write_many(self, payloads: Iterable[Buffer]) -> None:
        if (self._gathers_lists or self._gathered) and self._hub.gathering is not None and self._writer._fits(payloads):
            self._gather(payloads)
            return
        if self._gathered:
            self.send_gathered()
        self._write_many(payloads)

    def send_gathered(self) -> None:
        """Send what this turn has gathered."""
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            try:
                self._write_many(gathered)
            except MemoryError:
                self._fail(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)))  # who sent them was told they would be

    def _gather(self, payloads: Iterable[Buffer]) -> None:
        if not self._gathered and self._hub.gathering is not None:
            self._hub.gathering.append(self)
        self._gathered += payloads
        if len(self._gathered) > _MOST_GATHERED:
            self.send_gathered()

    def _write_many(self, payloads: Iterable[Buffer]) -> None:
        try:
            if self._writer.write_many(payloads):
                return
        except OSError as error:
            self._fail(error)
        else:
            self._wait()

    def after(self, then: Callable[[], None]) -> None:
        if self.pending and not self._is_stopped:
            self._then = then
        else:
            then()

    def stop(self) -> None:
        self._is_stopped = True
        self._then = None
        self._gathered = []
        if self._waits:
            self._waits = False
            self._watch(False)

    def _wait(self) -> None:
        """The kernel takes no more for now."""
        if self._is_stopped:
            return
        if not self._waits:
            self._waits = True
            self._watch(True)
        if not self._is_full and not self._writer.writable:
            self._is_full = True
            self._tell(self._protocol.pause_writing)

    def writable(self) -> None:
        try:
            self._writer.flush()
        except OSError as error:
            self._fail(error)
            return
        if self._is_full and self._writer.writable:
            self._is_full = False
            self._tell(self._protocol.resume_writing)
        if not self.pending and not self._is_stopped:
            self._waits = False
            self._watch(False)
            then, self._then = self._then, None
            if then is not None:
                then()

    def _fail(self, error: OSError) -> None:
        if not self._is_stopped:
            self.stop()
            self._broken(error)

    def _tell(self, callback: Callable[[], None]) -> None:
        """What such a callback raises is told, and changes nothing, as with the transports."""
        try:
            callback()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._loop.call_exception_handler(
                {"message": f"{callback.__qualname__} has raised", "exception": error, "protocol": self._protocol}
            )


def kept(payload: Buffer) -> bytes:
    """The iterable may use the same memory for its next payload."""
    return payload if type(payload) is bytes else bytes(memoryview(payload))
