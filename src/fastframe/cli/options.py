"""Options that several verbs have."""

from __future__ import annotations

import click

from fastframe import Framing

from .expression import framing_of

__all__ = ["framing_option"]


class _FramingType(click.ParamType):
    name = "framing"

    def convert(self, value: str | Framing, param: click.Parameter | None, ctx: click.Context | None) -> Framing:
        if isinstance(value, Framing):
            return value
        try:
            return framing_of(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


framing_option = click.option(
    "--framing",
    type=_FramingType(),
    metavar="FRAMING",
    required=True,
    help="A preset's name, or a description: kafka, 'LengthField(4, \"little\", max_size=1000)'.",
)
