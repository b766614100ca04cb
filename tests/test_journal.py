"""What a server logs: enough to know, and never more than somebody can read."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

import fastframe as ff
from fastframe._journal import LINES_A_SECOND, Journal
from servers import Clock


class Client:
    def __init__(self, address: Any = ("192.0.2.1", 5)) -> None:
        self.address = address

    @property
    def peer_address(self) -> Any:
        if isinstance(self.address, Exception):
            raise self.address
        return self.address


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[tuple[str, str]]]:
    caplog.set_level(logging.DEBUG, "fastframe.server")
    found: list[tuple[str, str]] = []

    class Note(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append((record.levelname, record.getMessage()))

    note = Note()
    logging.getLogger("fastframe.server").addHandler(note)
    yield found
    logging.getLogger("fastframe.server").removeHandler(note)


def test_who_comes_and_goes_is_told(lines: list[tuple[str, str]]) -> None:
    journal, client = Journal(Clock()), Client()
    journal.came(client)  # type: ignore[arg-type]
    journal.left(client, None, False)  # type: ignore[arg-type]
    journal.left(client, None, True)  # type: ignore[arg-type]
    journal.left(client, ff.FrameTooLarge(5, 4, b"", 0), False)  # type: ignore[arg-type]
    assert lines == [
        ("DEBUG", "client 192.0.2.1:5: connected"),
        ("DEBUG", "client 192.0.2.1:5: closed"),
        ("DEBUG", "client 192.0.2.1:5: cut off"),
        ("INFO", "client 192.0.2.1:5: closed: FrameTooLarge: frame of 5 bytes, limit 4, at offset 0"),
    ]


def test_what_a_handler_raised_comes_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise RuntimeError("by its own fault")
    except RuntimeError as error:
        Journal(Clock()).handler(Client(), error)  # type: ignore[arg-type]
    assert "by its own fault" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("address", ["", b"", OSError("not connected"), ValueError("closed"), None])
def test_who_has_no_address_is_a_client(address: Any, lines: list[tuple[str, str]]) -> None:
    Journal(Clock()).came(Client(address))  # type: ignore[arg-type]
    assert lines == [("DEBUG", "client: connected")]


def test_a_flood_is_counted(lines: list[tuple[str, str]]) -> None:
    clock = Clock()
    journal = Journal(clock)
    for _ in range(1000):
        journal.left(Client(), ff.BadMagic("bad"), False)  # type: ignore[arg-type]
        journal.handler(Client(), RuntimeError())  # type: ignore[arg-type]
    assert len(lines) == LINES_A_SECOND
    clock.now += 1
    journal.left(Client(), ff.BadMagic("bad"), False)  # type: ignore[arg-type]
    assert lines[LINES_A_SECOND:] == [
        ("INFO", f"{2000 - LINES_A_SECOND} more like these"),
        ("INFO", "client 192.0.2.1:5: closed: BadMagic: bad"),
    ]


def test_what_nobody_wants_to_know_is_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "fastframe.server")
    journal = Journal(Clock())
    for _ in range(100):
        journal.came(Client())  # type: ignore[arg-type]
        journal.left(Client(), ff.BadMagic("bad"), False)  # type: ignore[arg-type]
    journal.handler(Client(), RuntimeError("seen"))  # type: ignore[arg-type]
    assert "seen" in caplog.text


def test_other_texts_are_escaped(lines: list[tuple[str, str]]) -> None:
    Journal(Clock()).left(Client(), OSError(5, "evil\x1b[1m\nline"), True)  # type: ignore[arg-type]
    ((_, text),) = lines
    assert "\x1b" not in text
    assert "\n" not in text
