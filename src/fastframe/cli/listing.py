"""The verb `presets`: the descriptions of real protocols, all in a list, or one in full."""

from __future__ import annotations

import json

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

import fastframe

from .layout import layout
from .protocols import PROTOCOLS

__all__ = ["presets"]

UNFOLDED = 1000
"""Columns where there is no terminal: each preset is one line."""


@click.command()
@click.argument("name", default="")
@click.option("--json", "as_json", is_flag=True, help="A JSON object on each line: name, protocol, framing, limit.")
def presets(name: str, as_json: bool) -> None:
    """List the presets, or those with NAME in their name or protocol.

    A preset of exactly this NAME is shown in full: its description, what a frame looks like, and the most bytes that
    one delivers.
    """
    names = fastframe.presets()
    found = [name] if name in names else [preset for preset in names if _matches(preset, name)]
    if not found:
        try:
            fastframe.preset(name)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="NAME") from None
    if as_json:
        for preset in found:
            click.echo(json.dumps(_facts(preset)))
    elif found == [name]:
        framing = fastframe.preset(name)
        for line in (f"{name}: {PROTOCOLS[name]}", repr(framing), "", *layout(framing)):
            click.echo(line)
    else:
        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = UNFOLDED
        console.print(_table(found))


def _matches(preset: str, part: str) -> bool:
    return part.lower() in preset or part.lower() in PROTOCOLS[preset].lower()


def _facts(preset: str) -> dict[str, object]:
    framing = fastframe.preset(preset)
    return {"name": preset, "protocol": PROTOCOLS[preset], "framing": repr(framing), "limit": framing.limit}


def _table(found: list[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("preset", style="bold", no_wrap=True)
    table.add_column("protocol")
    table.add_column("framing", overflow="fold")
    for preset in found:
        table.add_row(preset, Text(PROTOCOLS[preset]), Text(repr(fastframe.preset(preset))))
    return table
