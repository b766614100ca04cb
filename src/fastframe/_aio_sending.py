"""How a FrameProtocol's frames go out: through the transport, or, where a descriptor can be written to, past it."""

from __future__ import annotations

import asyncio
import sys

from ._engine import FrameWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn

    from typing_extensions import Buffer

    from .framing import Framing


class Outlet:
    """Takes frames. This one drops them: nobody is there any more."""

    pending = 0
    """Bytes that the transport doesn't know of, and that the kernel hasn't taken."""
    framing: Framing
    """Of the frames; assigned by whoever knows."""

    def write(self, payload: Buffer) -> None:
        """Take one frame."""

    def write_many(self, payloads: Iterable[Buffer]) -> None:
        """Take a frame for each payload, or none if one of them can't be sent."""

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
        self.framing = framing

    def write(self, payload: Buffer) -> None:
        self._write(self.framing.encode(payload))

    def write_many(self, payloads: Iterable[Buffer]) -> None:
        self._write(self.framing.encode_many(payloads))


class Direct(Outlet):
    """Past the transport, to its descriptor: no bytes object of all frames, and half the steps.

    protocol: whose pause_writing and resume_writing are called, as a transport does.
    broken: called once with the error, when nothing can be sent any more.
    """

    def __init__(
        self,
        loop: Any,
        number: int,
        framing: Framing,
        protocol: asyncio.BaseProtocol,
        broken: Callable[[OSError], None],
    ) -> None:
        self._loop, self._number, self._protocol, self._broken = loop, number, protocol, broken
        self._writer = FrameWriter(number, framing, max_pending=sys.maxsize)
        self._waits = self._is_full = self._is_stopped = False
        self._then: Callable[[], None] | None = None

    @property
    def framing(self) -> Framing:
        return self._writer.framing

    @framing.setter
    def framing(self, framing: Framing) -> None:
        self._writer.framing = framing

    @property
    def pending(self) -> int:  # type: ignore[override]
        return self._writer.pending

    def write(self, payload: Buffer) -> None:
        try:
            if self._writer.write(payload):
                return
        except OSError as error:
            self._fail(error)
        else:
            self._wait()

    def write_many(self, payloads: Iterable[Buffer]) -> None:
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
        if self._waits:
            self._waits = False
            self._loop._remove_writer(self._number)

    def _wait(self) -> None:
        """The kernel takes no more for now."""
        if self._is_stopped:
            return
        if not self._waits:
            self._waits = True
            self._loop._add_writer(self._number, self._writable)
        if not self._is_full and not self._writer.writable:
            self._is_full = True
            self._tell(self._protocol.pause_writing)

    def _writable(self) -> None:
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
            self._loop._remove_writer(self._number)
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
