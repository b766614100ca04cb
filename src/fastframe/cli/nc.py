"""The verb `nc`: lines or files go out as frames, and the frames that come back are shown."""

from __future__ import annotations

import io
import os
import socket
import ssl
import sys
import threading

import click

import fastframe
from fastframe import (
    ConnectionClosed,
    ConnectionLost,
    Delimiter,
    FrameError,
    FrameTimeout,
    FrameTooLarge,
    InvalidFrame,
    TruncatedFrame,
)

from .diagnosis import diagnosis
from .formats import ESCAPE, FORMATS, Frame, escaped
from .options import framing_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn, TextIO

    from fastframe import Connection, Framing

    from .formats import Format

__all__ = ["nc"]

LINE_ENDS = dict.fromkeys((b"\n", os.linesep.encode()))


def as_line(frame: Frame) -> str:
    """The payload alone, `escaped`, on a line of its own."""
    return f"{escaped(frame.payload)}\n"


SHOWN: dict[str, Format] = {"line": as_line, **FORMATS}


@click.command()
@click.argument("place", nargs=-1, required=True, metavar="HOST PORT | PATH")
@framing_option
@click.option("--file", "files", type=click.File("rb"), multiple=True, help="Send this file as one frame. Repeatable.")
@click.option(
    "--format", "form", type=click.Choice([*SHOWN]), default="line", show_default=True, help="How to show a frame."
)
@click.option("--tls", is_flag=True, help="Speak TLS.")
@click.option("--ca", type=click.Path(exists=True, dir_okay=False), help="A PEM file: trust what these have signed.")
@click.option("--insecure", is_flag=True, help="Trust any certificate.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), help="Seconds to connect in, and to idle at most.")
def nc(
    place: tuple[str, ...],
    framing: Framing,
    files: tuple[io.BufferedReader, ...],
    form: str,
    tls: bool,
    ca: str | None,
    insecure: bool,
    timeout: float | None,
) -> None:
    """Connect to HOST PORT, or to the unix socket at PATH; send frames and show those that come.

    Each line of standard input is sent as a frame, without its line feed; with --file, each file instead. Once all is
    sent the peer is told so; what it still sends is shown, to its own end.

    \b
    line   a line for each frame: what isn't printable UTF-8 is escaped: \\n, \\xff
    hex, text, json   as decode shows them

    The exit status is 0 if everything was sent and the peer ended between two frames; else it is 1, and stderr tells
    why.
    """
    if not tls and (ca or insecure):
        raise click.UsageError("--ca and --insecure are for --tls")
    conn = _connected(place, framing, _context(ca, insecure) if tls else None, timeout)
    sender = Sender(conn, files)
    try:
        with conn:
            sender.start()
            _show(conn, SHOWN[form], " port ".join(place))
            sender.finish()
    finally:
        sender.stop()
    if sender.fault:
        _fail(sender.fault)


def _fail(*lines: str) -> NoReturn:
    for line in lines:
        click.echo(line, err=True)
    raise click.exceptions.Exit(1)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


# --- Connecting


def _connected(
    place: tuple[str, ...], framing: Framing, context: ssl.SSLContext | None, timeout: float | None
) -> Connection:
    address: str | tuple[str, int]
    if len(place) == 1:
        address = place[0]
        host, colon, port = address.rpartition(":")
        if colon and port.isdecimal() and os.sep not in address:
            raise click.UsageError(f"the port is an argument of its own: {host} {port}")
        if context is not None and context.check_hostname:
            raise click.UsageError("a unix socket has no name that a certificate could show: --tls needs --insecure")
    elif len(place) == 2 and place[1].isdecimal():
        address = place[0], int(place[1])
    else:
        raise click.UsageError("HOST PORT is needed, PORT a number, or the PATH of a unix socket")
    try:
        conn = fastframe.connect(address, framing, ssl=context, timeout=timeout, idle_timeout=timeout)
    except (OSError, FrameError) as error:
        _fail(f"no connection to {' port '.join(place)}: {_why_not_connected(error, timeout)}")
    except (ValueError, OverflowError) as error:
        raise click.UsageError(str(error)) from None
    conn.timeout = None
    return conn


def _context(ca: str | None, insecure: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except ssl.SSLError:
        raise click.BadParameter(f"{ca} has no certificate in PEM", param_hint="--ca") from None
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _why_not_connected(error: Exception, timeout: float | None) -> str:
    """What is wrong, and what can be done about it."""
    if isinstance(error, FrameTimeout):
        return f"none in {timeout:g} s: is the address right, and no firewall between? Else a longer --timeout"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: does the server run, and listen there?"
    if isinstance(error, FileNotFoundError):
        return "there is no such socket: HOST PORT, or the PATH of a unix socket that a server listens on"
    if isinstance(error, socket.gaierror):
        return f"{_reason(error)}: is the host's name right?"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{error.verify_message}: --ca FILE trusts the certificates in FILE, --insecure any"
    if isinstance(error, (ssl.SSLError, ConnectionLost, ConnectionClosed)):
        return f"{_reason(error)}: does the server speak TLS there?"
    return _reason(error)


# --- Receiving


def _show(conn: Connection, show: Format, where: str) -> None:
    """Show the frames to the stream's normal end."""
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(errors=ESCAPE)
    number, fault = 0, []
    frames = _frames(conn, out)
    while True:
        try:
            frame = next(frames, None)
        except (InvalidFrame, TruncatedFrame) as error:
            fault = _why_not_decoded(error, conn.framing, number + 1)
            break
        except FrameTimeout:
            fault = [f"{where}: nothing was sent or received for {conn.idle_timeout:g} s: --timeout allows more"]
            break
        except ConnectionLost as error:
            fault = [f"{where}: the connection broke behind frame {number}: {_reason(error)}"]
            break
        if frame is None:
            break
        number = frame.number
        out.write(show(frame))
    out.flush()
    if fault:
        conn.abort()
        _fail(*fault)


def _frames(conn: Connection, out: TextIO) -> Iterator[Frame]:
    """The frames that come; `out` is flushed before they are waited for."""
    number = offset = 0
    while True:
        if not conn.poll(0):
            out.flush()
        try:
            payload = conn.recv()
        except ConnectionClosed:
            return
        number += 1
        yield Frame(number, offset, payload)
        offset = conn.stats.received.bytes


def _why_not_decoded(error: InvalidFrame | TruncatedFrame, framing: Framing, number: int) -> list[str]:
    known = error.partial if isinstance(error, TruncatedFrame) else error.header
    lines = [*diagnosis(error, framing, number, ((error.offset or 0) + len(known), b""))]
    if isinstance(error, TruncatedFrame):
        return [*lines, "the peer ended, or was cut off, inside a frame: look there for the reason"]
    return [*lines, f"is {framing!r} what the peer speaks? `fastframe presets` lists protocols"]


# --- Sending


class Sender:
    """Sends what there is to send, then the end, while others receive.

    fault: why not everything was sent, a line of text; "" if it was, or nobody knows yet.
    """

    def __init__(self, conn: Connection, files: tuple[io.BufferedReader, ...]) -> None:
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._conn = conn
        self._files = files
        self._input: Connection | None = None
        self._is_typed = False
        if not files and sys.stdin is not None:
            lines = Delimiter(*LINE_ENDS, at_eof="deliver", max_size=conn.send_framing.limit)
            self._is_typed = sys.stdin.isatty()
            self._input = fastframe.wrap(sys.stdin.buffer, lines, timeout=None)
        self.fault = ""

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """The peer has ended: send what there is, but don't wait for somebody who types."""
        if not self._is_typed:
            self._thread.join()

    def stop(self) -> None:
        """Wait for no more input."""
        if self._input is not None:
            self._input.close(0)

    def _run(self) -> None:
        try:
            for first, payloads in self._batches():
                if not self._send(first, payloads):
                    break
            self._conn.shutdown_send()
        except ConnectionClosed:
            pass  # the receiver came to an end, and closed
        except ConnectionLost as error:
            self.fault = f"the peer didn't take everything: {_reason(error)}"
        except Exception as error:
            if not self._conn.closed:
                self.fault = f"{type(error).__name__}: {error}"
                self._conn.abort()  # or the receiver would wait for ever

    def _batches(self) -> Iterator[tuple[int, list[bytes]]]:
        """The payloads, and the number of the first, from 1."""
        for number, file in enumerate(self._files, 1):
            try:
                payload = file.read()
            except OSError as error:
                self.fault = f"{self._name(number)} can't be read: {_reason(error)}"
                return
            yield number, [payload]
        number = 1
        while self._input is not None:
            try:
                lines = self._input.recv_many()
            except FrameTooLarge as error:
                self.fault = f"{self._name(number)} has more than {error.limit} bytes, the most that a frame may"
                return
            except ConnectionLost as error:
                self.fault = f"standard input can't be read: {_reason(error)}"
                return
            except (ConnectionClosed, ValueError):  # ValueError: stopped
                return
            yield number, lines
            number += len(lines)

    def _send(self, first: int, payloads: list[bytes]) -> bool:
        """Send them. If one can't be, send those before it, and note which one and why."""
        try:
            self._conn.send_many(payloads)
        except ValueError as error:
            if self._conn.closed:
                raise
            good = self._good(payloads)
            self.fault = f"{self._name(first + good)} can't be sent: {error}"
            self._conn.send_many(payloads[:good])
            return False
        return True

    def _good(self, payloads: list[bytes]) -> int:
        """How many there are before the first that can't be sent."""
        for count, payload in enumerate(payloads):
            try:
                self._conn.send_framing.encode(payload)
            except ValueError:
                return count
        return 1  # each can, but not one behind another

    def _name(self, number: int) -> str:
        if self._files:
            return click.format_filename(self._files[number - 1].name)
        return f"line {number} of standard input"
