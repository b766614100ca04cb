"""The bar of a file that takes long to read: only then, and only where it is wanted."""

import importlib
import io

import pytest

pytest.importorskip("rich")

from rich.console import Console

from fastframe.cli.meter import Meter

module = importlib.import_module("fastframe.cli.meter")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the meter's terminal is sent."""
    text = io.StringIO()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(module, "Console", lambda stderr: Console(file=text, force_terminal=True, width=80))
    return text


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is, in its only item."""
    now = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


def test_what_is_done_in_a_moment_shows_nothing(terminal: io.StringIO, clock: list[float]) -> None:
    with Meter(1000, True) as meter:
        for _ in range(1000):
            meter.advance(1)
    assert terminal.getvalue() == ""


def test_what_takes_longer_shows_how_much_is_done(terminal: io.StringIO, clock: list[float]) -> None:
    with Meter(1000, True) as meter:
        meter.advance(100)
        clock[0] += 5
        meter.advance(150)
        clock[0] += 5
        meter.advance(250)
    text = terminal.getvalue()
    assert "0.1/1.0 kB" not in text
    assert text.index("0.2/1.0 kB") < text.index("0.5/1.0 kB")
    assert text.rstrip().endswith("\x1b[2K")  # it goes in the end


def test_of_a_pipe_the_total_is_unknown(terminal: io.StringIO, clock: list[float]) -> None:
    with Meter(None, True) as meter:
        clock[0] += 5
        meter.advance(700)
    assert "700/?" in terminal.getvalue()


def test_where_it_is_not_wanted_there_is_none(terminal: io.StringIO, clock: list[float]) -> None:
    with Meter(1000, False) as meter:
        clock[0] += 5
        meter.advance(1000)
    assert terminal.getvalue() == ""


def test_it_goes_after_an_error_too(terminal: io.StringIO, clock: list[float]) -> None:
    with pytest.raises(OSError, match="unplugged"), Meter(1000, True) as meter:
        clock[0] += 5
        meter.advance(1)
        raise OSError("unplugged")
    assert terminal.getvalue().rstrip().endswith("\x1b[2K")


def test_it_moves_at_a_pace(terminal: io.StringIO, clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    with Meter(None, True) as meter:
        clock[0] += 5
        meter.advance(1)
        moves: list[int] = []
        assert meter._progress is not None
        monkeypatch.setattr(meter._progress, "update", lambda task, completed: moves.append(completed))
        for _ in range(1000):
            clock[0] += 0.001
            meter.advance(1)
    assert 5 <= len(moves) <= 11
