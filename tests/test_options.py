"""Options that several verbs have."""

import pytest

pytest.importorskip("click")

import click
from click.testing import CliRunner

from fastframe import Framing, LengthField
from fastframe.cli.options import framing_option


@click.command()
@framing_option
def show(framing: Framing) -> None:
    click.echo(repr(framing))


def test_a_framing_is_what_the_text_describes() -> None:
    done = CliRunner().invoke(show, ["--framing", "LengthField(2)"])
    assert (done.exit_code, done.output) == (0, f"{LengthField(2)!r}\n")


@pytest.mark.parametrize(
    ("args", "told"), [(["--framing", "kafak"], "kafka"), ([], "--framing"), (["--framing", "f(x"], "expression")]
)
def test_what_is_no_framing_is_status_2_and_says_why(args: list[str], told: str) -> None:
    done = CliRunner().invoke(show, args)
    assert done.exit_code == 2
    assert told in done.output
