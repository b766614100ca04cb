"""Which logger handles a record that was received, and that none is made for it."""

import logging
from collections.abc import Iterator

import pytest

from fastframe._logging_records import checked, handle_record
from logs import made


class Note(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def note() -> Iterator[Note]:
    """A handler of the logger `known`, which lets only ERROR through, and not to the root."""
    logger = logging.getLogger("known")
    note = Note()
    logger.addHandler(note)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    yield note
    logger.removeHandler(note)
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def test_its_logger_handles_it_and_is_not_asked_for_its_level(note: Note) -> None:
    handle_record(made(name="known", levelno=1))
    assert [record.levelno for record in note.records] == [1]


def test_handlers_have_their_say(note: Note) -> None:
    note.setLevel(logging.ERROR)
    handle_record(made(name="known", levelno=logging.INFO))
    handle_record(made(name="known.other", levelno=logging.ERROR))
    assert [record.levelno for record in note.records] == [logging.ERROR]


@pytest.mark.parametrize("name", ["known.by.nobody", "known.", "known..a", "known.\u00e9\udcff"])
def test_a_name_that_nobody_uses_goes_to_those_above_it_and_stays_unused(note: Note, name: str) -> None:
    before = set(logging.root.manager.loggerDict)
    handle_record(made(name=name))
    assert [record.name for record in note.records] == [name]
    assert set(logging.root.manager.loggerDict) == before


def test_filters_are_those_of_the_logger_of_its_name(note: Note) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        return False

    logger = logging.getLogger("known")
    logger.addFilter(refuse)
    try:
        handle_record(made(name="known"))
        handle_record(made(name="known.by.nobody"))
    finally:
        logger.removeFilter(refuse)
    assert [record.name for record in note.records] == ["known.by.nobody"]


def test_a_place_that_is_only_a_parent_is_no_logger(note: Note) -> None:
    logging.getLogger("known.place.below")
    handle_record(made(name="known.place"))
    handle_record(made(name="known.place.beside"))
    assert [record.name for record in note.records] == ["known.place", "known.place.beside"]


@pytest.mark.parametrize("name", ["root", ""])
def test_the_root_has_two_names(name: str) -> None:
    note = Note()
    refused: list[str] = []

    def look(record: logging.LogRecord) -> bool:
        refused.append(record.name)
        return True

    logging.root.addHandler(note)
    logging.root.addFilter(look)
    try:
        handle_record(made(name=name))
        handle_record(made(name="nobody"))
    finally:
        logging.root.removeHandler(note)
        logging.root.removeFilter(look)
    assert [record.name for record in note.records] == [name, "nobody"]
    assert refused == [name]


def test_who_handles_is_callable_and_no_coroutine_function() -> None:
    async def later(record: logging.LogRecord) -> None:
        """Nobody would await it."""

    assert checked(None) is handle_record
    assert checked(print) is print
    for wrong in (5, "text", later):
        with pytest.raises(TypeError):
            checked(wrong)  # type: ignore[arg-type]
