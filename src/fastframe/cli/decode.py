"""The verb `decode`: the frames of a recorded stream, and where and why it breaks off."""

from __future__ import annotations

import io
import os
import stat
import sys

import click

from fastframe import Framing, InvalidFrame, TruncatedFrame

from . import hexdump
from .capture import Capture
from .diagnosis import diagnosis
from .formats import ESCAPE, FORMATS
from .meter import Meter
from .options import framing_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["decode"]

PIECE = 1 << 20
"""The most bytes read at a time."""
LINE = 1 << 16
"""The most bytes of a hex dump's line that are taken at a time."""
LENGTHS = "lengths"


@click.command()
@click.argument("file", type=click.File("rb"))
@framing_option
@click.option(
    "--format",
    "form",
    type=click.Choice([*FORMATS, LENGTHS]),
    default="hex",
    show_default=True,
    help="How to show a frame.",
)
@click.option("--count", "-n", type=click.IntRange(1), help="Stop after so many frames.")
@click.option("--hex", "is_hex", is_flag=True, help="FILE is a hex dump: plain, or of xxd, hexdump -C, od -A x -t x1.")
@click.option(
    "--summary/--no-summary", default=None, help="Count frames and sizes on stderr; on a terminal, the default."
)
def decode(
    file: io.BufferedReader, framing: Framing, form: str, count: int | None, is_hex: bool, summary: bool | None
) -> None:
    """Show the frames in FILE, or in standard input if FILE is -.

    \b
    hex      a line about each frame, and a hex dump of its payload
    text     a line for each frame; what isn't printable UTF-8 is escaped: \\n, \\xff
    json     a JSON object on each line: frame (its number), offset (of the frame
             in the stream), size (of the payload), and payload, if it is UTF-8,
             or payload_hex
    lengths  the payload's size in bytes, a line each

    Where the bytes break the framing or end inside a frame, the frames before come first; stderr tells what is
    wrong, and where, and the exit status is 1.
    """
    out, is_terminal = sys.stdout, sys.stderr.isatty()
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(errors=ESCAPE)
    fault: list[str] = []
    with Meter(_size(file), is_terminal and not out.isatty()) as meter:
        capture = Capture(_pieces(file, is_hex, meter), framing, count)
        texts = capture.lengths() if form == LENGTHS else capture.shown(FORMATS[form])
        try:
            for text in texts:
                out.write(text)
                out.flush()
        except (InvalidFrame, TruncatedFrame) as error:
            fault = [*diagnosis(error, framing, capture.frames + 1, capture.around())]
        except hexdump.DumpError as error:
            fault = [f"not a hex dump: {error}"]
        except ReadError as error:
            fault = [str(error)]
    for line in fault:
        click.echo(line, err=True)
    if summary if summary is not None else is_terminal:
        click.echo(capture.summary(), err=True)
    if fault:
        raise click.exceptions.Exit(1)


class ReadError(Exception):
    """The file can't be read any further."""


def _pieces(file: io.BufferedReader, is_hex: bool, meter: Meter) -> Iterator[bytes]:
    """The bytes of the stream that the file records."""
    if is_hex:
        return hexdump.bytes_of(_read(file, lambda: file.readline(LINE), meter))
    return _read(file, lambda: file.read1(PIECE), meter)


def _read(file: io.BufferedReader, read: Callable[[], bytes], meter: Meter) -> Iterator[bytes]:
    """What `read` gives, to the end of the file."""
    try:
        while piece := read():
            meter.advance(len(piece))
            yield piece
    except OSError as error:
        raise ReadError(f"{click.format_filename(file.name)}: {error.strerror}") from error


def _size(file: io.BufferedReader) -> int | None:
    """The bytes of a regular file; None for all else."""
    try:
        facts = os.fstat(file.fileno())
    except OSError:  # nor has it a descriptor, perhaps
        return None
    return facts.st_size if stat.S_ISREG(facts.st_mode) else None
