"""The `fastframe` command and its verbs, one file each."""

from __future__ import annotations

import io
import sys

import click

from fastframe import __version__, engine

from .decode import decode
from .demo import demo
from .listing import presets
from .nc import nc

__all__ = ["fastframe", "run"]

INTERRUPTED = 130


@click.group()
@click.version_option(__version__, prog_name="fastframe", message=f"%(prog)s %(version)s, {engine} engine")
def fastframe() -> None:
    """Message framing: describe a frame once, then read and write it over any stream of bytes."""


fastframe.add_command(decode)
fastframe.add_command(demo)
fastframe.add_command(nc)
fastframe.add_command(presets)


def run() -> int:
    """Do what the command line says: the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without µ must not end a measurement
    try:
        # None from a verb that came to its end, else the status it has left with.
        return fastframe.main(standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
