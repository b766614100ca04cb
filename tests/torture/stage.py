"""Where a scenario is played: its sources, its two ends, and the judgement when it is over."""

from __future__ import annotations

import os
import socket
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastframe as ff

from .ends import CLOSED, ENDED, TIMEOUT, End, Interrupted
from .faults import Fault, described
from .ledger import Ledger
from .shim import Shim
from .sources import LOCAL, PAIRS, Source, source_of


class NoConnection(Exception):
    """The fault has, as it may, kept the connection from being opened: the scenario is over."""


class Stage:
    """One run of a scenario, with a fault or without.

    shim: counts bytes and calls; None where nothing is preloaded.
    """

    def __init__(self, shim: Shim | None = None, fault: Fault | None = None) -> None:
        self.fault = fault
        self.notes: list[str] = []
        self.ends: list[End] = []
        self.aborted = False
        """Whether the scenario drops a connection: then frames may be lost."""
        self.hurried = False
        """Whether it closes within a time that isn't enough for frames sent in tiny pieces."""
        self.passes = True
        """Whether errors that say nothing about the connection leave it as it is."""
        self._shim = shim
        self._open: list[Any] = []

    def api(self, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Make a call of a connection: all of them are made here, so that something can be done to them."""
        return call(*args, **named)

    # --- Connections

    def pair(
        self,
        kind: str,
        framing: ff.Framing,
        *,
        back: ff.Framing | None = None,
        room: int | None = None,
        **options: Any,
    ) -> tuple[End, End]:
        """Two ends of a connection of a kind that sources.py has.

        back: the framing of the second one's frames, if it is another. room: bytes that the kernel holds.
        options: those of `wrap`.
        """
        first, second = PAIRS[kind](room)
        for source in (first, second):
            self._open += [thing for thing in (source.source, source.writer) if thing is not None]
            self._mark(source.reading, source.writing)
        self.passes = first.passes
        back = back or framing
        one = self.wrapped(first, back, send_framing=framing, **options)
        other = self.wrapped(second, framing, send_framing=back, **options)
        return self.ends_of(
            (one, self._as_written(one, first)),
            (other, self._as_written(other, second)),
            framing,
            back,
            exact=not options.get("readahead", True),
        )

    def wrapped(self, source: Source, framing: ff.Framing, *, timeout: float | None = TIMEOUT, **options: Any) -> Any:
        """The source as a connection."""
        try:
            conn = self.api(ff.wrap, source.source, framing, writer=source.writer, timeout=timeout, **options)
        except Exception as error:
            for number in (source.reading, source.writing):
                if not is_open(number) and not isinstance(error, Interrupted):
                    self.note(f"wrap raised {error!r} and closed the source")
            raise self._no_connection(error) from None
        self._open = [thing for thing in self._open if thing is not source.source and thing is not source.writer]
        self._open.append(conn)
        return conn

    def connected(self, kind: str, framing: ff.Framing) -> tuple[End, End]:
        """An end that has connected, by TCP or to a unix socket, and the one that was accepted."""
        with tempfile.TemporaryDirectory() as folder:
            if kind == "tcp":
                server = socket.create_server(LOCAL)
            else:
                server = socket.create_server(str(Path(folder) / "socket"), family=socket.AF_UNIX)
            with server:
                self._mark(server.fileno())
                self._mark_new(True)
                try:
                    conn = self.api(ff.connect, server.getsockname(), framing, timeout=TIMEOUT)
                except Exception as error:
                    raise self._no_connection(error) from None
                finally:
                    self._mark_new(False)
                self._open.append(conn)
                other = source_of(self._accepted(server))
        return self.ends_of((conn, source_of(conn)), (self.wrapped(other, framing), other), framing, framing)

    def _accepted(self, server: socket.socket) -> socket.socket:
        server.setblocking(False)  # the system has accepted already
        try:
            sock, _ = server.accept()
        except OSError as error:
            if self.fault is None or error.errno != self.fault.value:
                raise
            sock, _ = server.accept()
        sock.setblocking(True)
        self._open.append(sock)
        self._mark(sock.fileno())
        return sock

    def ends_of(
        self,
        first: tuple[ff.Connection, Source],
        second: tuple[ff.Connection, Source],
        framing: ff.Framing,
        back: ff.Framing,
        exact: bool = False,
    ) -> tuple[End, End]:
        """Both ends, with a ledger for each direction."""
        note = self.ignore if self.is_deceived else self.note
        to, fro = Ledger("a", framing, note), Ledger("b", back, note)
        a, b = End(self, *first, to, fro, exact), End(self, *second, fro, to, exact)
        a.peer, b.peer = b, a
        self.ends += [a, b]
        return a, b

    def finish(self, a: End, b: End) -> None:
        """End both directions, so that both ends see it."""
        a.half_close()
        if a.sending != ENDED:
            a.close()
        b.to_the_end()
        b.close()
        if not a.conn.closed:
            a.to_the_end()
            a.close()

    # --- What the ends ask

    def note(self, what: str) -> None:
        """Something is wrong; each thing is said once."""
        if what not in self.notes:
            self.notes.append(what)

    def ignore(self, what: str) -> None:
        """Something is wrong, and no wonder."""

    def sent(self, end: End) -> int | None:
        """The bytes that the kernel took from this end; None if nobody has counted them."""
        counts = self._shim is not None and end.source.counts and not end.conn.closed
        return self._shim.sent(end.source.writing) if self._shim is not None and counts else None

    def received(self, end: End) -> int | None:
        """The bytes that the kernel gave to this end."""
        counts = self._shim is not None and end.source.counts and not end.conn.closed
        return self._shim.received(end.source.reading) if self._shim is not None and counts else None

    def allows(self, error: Exception) -> bool:
        """Whether a call of a connection may raise this."""
        if self.aborted and isinstance(error, ff.ConnectionLost | ff.TruncatedFrame):
            return True
        if self.fault is not None:
            return self.fault.allows(error)
        return isinstance(error, ff.FrameTimeout | ff.SendInterrupted | ff.ConnectionClosed | Interrupted)

    @property
    def is_deceived(self) -> bool:
        """Whether the kernel's answers can't be right: then nothing balances, and only crashes and leaks count."""
        return self.fault is not None and self.fault.kind == "lie"

    @property
    def is_harmless(self) -> bool:
        """Whether all must arrive."""
        if self.fault is None or (self.hurried and self.fault.kind == "short"):
            return self.fault is None
        return self.fault.is_harmless and (self.passes or not self.fault.is_passing)

    # --- The end

    def clear(self) -> list[weakref.ref[Any]]:
        """Close what is still open, and forget it; references to the connections, which nobody may hold now."""
        references = [weakref.ref(thing) for thing in self._open if isinstance(thing, ff.Connection)]
        for thing in self._open:
            try:
                if isinstance(thing, ff.Connection):
                    thing.abort()
                elif isinstance(thing, int):
                    os.close(thing)
                else:
                    thing.close()
            except OSError as error:
                self.note(f"{thing!r} can't be closed any more: {error!r}")
        self._open.clear()
        self.ends.clear()
        return references

    def judge(self) -> None:
        """Balance both directions."""
        if self.is_deceived:
            return
        for sender in self.ends:
            self._balance(sender, sender.peer)

    def _balance(self, sender: End, receiver: End) -> None:
        ledger = sender.out
        numbers = f"{ledger.arrived} arrived, {ledger.promised} promised, {len(ledger.issued)} issued"
        how = f"{ledger.name}: {numbers}; sending: {sender.sending}, receiving: {receiver.receiving}"
        if receiver.receiving == ENDED and ledger.arrived < ledger.promised:
            self.note(f"lost before a clean end: {how}")
        if not self.is_harmless or self.aborted:
            return
        if sender.sending != ENDED and not (self.fault and self.fault.is_of_close):
            self.note(f"sending didn't go on: {how}")
        if receiver.receiving not in (ENDED, CLOSED):
            self.note(f"receiving didn't go on: {how}")
        if receiver.receiving == ENDED and not ledger.arrived == ledger.promised == len(ledger.issued):
            self.note(f"not everything has arrived: {how}")

    # --- Helpers

    def _no_connection(self, error: Exception) -> Exception:
        if self.fault is None or not self.fault.allows_no_connection(error):
            self.note(f"no connection: {error!r}")
        return NoConnection(described(error))

    def _as_written(self, conn: ff.Connection, source: Source) -> Source:
        """The source, with the descriptor that is written: a blocking pipe may have another way to it, which doesn't wait."""
        number = conn._transport.sending
        if not isinstance(number, int) or number == source.writing:
            return source
        self._mark(number)
        return source._replace(writing=number)

    def _mark(self, *numbers: int) -> None:
        if self._shim is not None:
            for number in numbers:
                self._shim.mark(number)

    def _mark_new(self, on: bool) -> None:
        if self._shim is not None:
            self._shim.mark_new(on)


def is_open(number: int) -> bool:
    """Whether this is a descriptor's number."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
