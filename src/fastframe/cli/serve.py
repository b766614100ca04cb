"""The verb `serve`: a server that gives every frame back, or drops it."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import socket
import ssl

import click

from fastframe.server import Limits, Server

from .options import framing_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fastframe import Framing
    from fastframe.server import Client

__all__ = ["serve"]

LOCAL = "127.0.0.1"
NAMES = {field.name: field.default for field in dataclasses.fields(Limits)}


class Echo:
    """Gives the frames back."""

    def frames(self, conn: Client, frames: list[bytes]) -> None:
        conn.send_many(frames)


class Discard:
    """Drops the frames."""

    def frames(self, conn: Client, frames: list[bytes]) -> None:
        pass


def _address(ctx: click.Context, param: click.Parameter, text: str) -> str | tuple[str, int]:
    """HOST:PORT, PORT, or a path, which has a separator."""
    if "/" in text or os.sep in text:
        return text
    host, colon, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal() and int(port) < 65_536):
        raise click.BadParameter("HOST:PORT is needed, :PORT for every interface, PORT, or ./PATH")
    return (host.removeprefix("[").removesuffix("]") if colon else LOCAL), int(port)


def _limits(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> Limits:
    values: dict[str, Any] = {}
    for text in given:
        name, _, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if name not in NAMES:
            raise click.BadParameter(f"no limit is called {name!r}: there are {', '.join(NAMES)}")
        values[name] = _number(value.strip())
    try:
        return Limits(**values)
    except (TypeError, ValueError) as error:
        raise click.BadParameter(str(error)) from None


def _number(text: str) -> float | None:
    if text.lower() == "none":
        return None
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither a number nor none") from None


def _context(ctx: click.Context, param: click.Parameter, text: str | None) -> ssl.SSLContext | None:
    if text is None:
        return None
    certificate, _, key = text.partition(",")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key or None)
    except ssl.SSLError as error:
        raise click.BadParameter(f"{text} isn't a certificate and its key in PEM: {error.reason or error}") from None
    except OSError as error:
        raise click.BadParameter(f"{text}: {error.strerror}") from None
    return context


@click.command()
@click.argument("address", default=f"{LOCAL}:0", callback=_address)
@framing_option
@click.option("--discard", is_flag=True, help="Drop the frames instead of giving them back.")
@click.option("--tls", "context", metavar="CERT[,KEY]", callback=_context, help="Speak TLS: PEM files.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes that serve.")
@click.option(
    "--limit",
    "limits",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_limits,
    help="What clients are allowed. Repeatable.",
)
@click.option(
    "--verbose", "-v", is_flag=True, help="Tell on stderr who comes and who leaves, not only whose frames were bad."
)
def serve(
    address: str | tuple[str, int],
    framing: Framing,
    discard: bool,
    context: ssl.SSLContext | None,
    workers: int,
    limits: Limits,
    verbose: bool,
) -> None:
    """Serve at ADDRESS: give every frame back to the client that has sent it.

    ADDRESS is HOST:PORT, :PORT for every interface, PORT on this machine only, or the path of a unix socket, ./NAME for
    one in this folder. Port 0, the default, is any that is free; where it listens is the first line on stdout.

    Ctrl-C or SIGTERM ends it: the clients get what was sent to them, for which the second one doesn't wait, and stderr
    tells what was done.

    Limits, in bytes and seconds, none for no limit:
    """
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("fastframe.server").setLevel(logging.DEBUG if verbose else logging.INFO)
    handler = Discard() if discard else Echo()
    try:
        server = Server(handler, address, framing, ssl=context, workers=workers, limits=limits)
    except OSError as error:
        click.echo(f"can't listen at {_shown(address)}: {_why(error)}", err=True)
        raise click.exceptions.Exit(1) from None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with server:
        came = _stop_by_signals(server)
        click.echo(f"listening at {_shown(server.address)}")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass  # the second one: nobody is waited for
        except ValueError:
            if not came:  # else it was stopped before it served
                raise
    click.echo(_summary(server), err=True)


assert serve.help is not None
serve.help += "\n\n\b\n" + "\n".join(f"{name:<18} {str(value).lower()}" for name, value in NAMES.items())


def _stop_by_signals(server: Server) -> list[int]:
    """Let Ctrl-C and SIGTERM stop it; which of them came. An exception instead would cost the client that has its turn."""
    came: list[int] = []

    def stop(number: int, frame: object) -> None:
        came.append(number)
        signal.signal(number, signal.default_int_handler)
        server.shutdown()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return came


def _shown(address: Any) -> str:
    """As it can be given to this verb."""
    if not isinstance(address, tuple):
        return os.fsdecode(address)
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _why(error: OSError) -> str:
    reason = error.strerror or str(error)
    if isinstance(error, socket.gaierror):
        return f"{reason}: is the host's name right?"
    if isinstance(error, PermissionError):
        return f"{reason}: ports below 1024 are the system's, and a path needs a folder that can be written to"
    return f"{reason}: is it another program's? Port 0 is any that is free"


def _summary(server: Server) -> str:
    stats = server.stats
    return (
        f"{stats.accepted} connections ({stats.failed} failed, {stats.aborted} cut off), "
        f"received {stats.received.frames} frames, {stats.received.bytes} bytes, "
        f"sent {stats.sent.frames} frames, {stats.sent.bytes} bytes"
    )
