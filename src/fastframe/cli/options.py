"""Options that several verbs have."""

from __future__ import annotations

import click

from fastframe import Framing

from .expression import framing_of

__all__ = ["framing_option"]


def _framing(ctx: click.Context, param: click.Parameter, text: str) -> Framing:
    try:
        return framing_of(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


framing_option = click.option(
    "--framing",
    metavar="FRAMING",
    callback=_framing,
    required=True,
    help="A preset's name, or a description: kafka, 'LengthField(4, \"little\", max_size=1000)'.",
)
