"""Log records as they travel: the dict of a LogRecord, as a pickle or as JSON; what is let in, and who handles it."""

from __future__ import annotations

import json
import logging

from ._handler import refuse_coroutine
from ._logging_pickle import MAX_CONTAINERS, MAX_DEPTH, MAX_DIGITS, BadRecord, Pickle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, NoReturn

__all__ = ["MAX_SIZE", "BadRecord", "checked", "dumps", "handle_record", "loads"]

MAX_SIZE = 1 << 20
"""Bytes of a record, unless somebody says otherwise."""
_MAX_NAME = 1000
"""Characters of a logger's name."""
_MAX_CREATED = 32_503_680_000
"""Seconds: the year 3000, the last that every system's localtime can tell."""
_FAR = 1e15
"""Milliseconds from the start of a program."""
_GROWTH = 16
"""Shared values count as often as they are told: a record may be so many times its frame, and _SPARE bytes more."""
_SPARE = 64 << 10

_NONE = type(None)
_TEXT, _TEXT_OR_NONE, _INT, _INT_OR_NONE, _NUMBER = (str,), (str, _NONE), (int,), (int, _NONE), (float, int)
_TYPES: dict[str, tuple[type, ...]] = {
    "name": _TEXT,
    "msg": _TEXT,
    "args": (_NONE,),
    "levelname": _TEXT,
    "levelno": _INT,
    "pathname": _TEXT,
    "filename": _TEXT,
    "module": _TEXT,
    "exc_info": (_NONE,),
    "exc_text": _TEXT_OR_NONE,
    "stack_info": _TEXT_OR_NONE,
    "lineno": _INT,
    "funcName": _TEXT_OR_NONE,
    "created": _NUMBER,
    "msecs": _NUMBER,
    "relativeCreated": _NUMBER,
    "thread": _INT_OR_NONE,
    "threadName": _TEXT_OR_NONE,
    "processName": _TEXT_OR_NONE,
    "process": _INT_OR_NONE,
    "taskName": _TEXT_OR_NONE,
}
"""What LogRecord has, and of which types it is once SocketHandler has made text of the message and of the exception."""
_NEEDED = ("name", "msg", "levelname", "levelno")
_SCALARS = frozenset([_NONE, bool, int, float])


def loads(frame: bytes) -> logging.LogRecord:
    """The record in a frame: a pickle or JSON, told by the first byte.

    BadRecord for all that isn't the dict of a LogRecord with plain extras. No code of the sender's is run, nothing is imported,
    and memory and time follow the size of the frame.
    """
    if type(frame) is not bytes:
        raise TypeError(f"a frame is bytes, not {type(frame).__name__}")
    facts = _object(frame) if frame[:1] == b"{" else Pickle(frame).read()
    if type(facts) is not dict:
        raise BadRecord(f"a {type(facts).__name__} for a record")
    record = logging.makeLogRecord({})
    _check(facts, type(record), len(frame) * _GROWTH + _SPARE)
    record.__dict__.update(facts)
    return record


def dumps(record: logging.LogRecord) -> bytes:
    """The record as JSON: what logging.handlers.SocketHandler.makePickle takes of it, what JSON can't hold by its str."""
    facts = {**record.__dict__, "msg": record.getMessage(), "args": None, "exc_info": None}
    facts.pop("message", None)
    try:
        text = json.dumps(facts, default=str, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        text = json.dumps({str(key): _told(value) for key, value in facts.items()}, default=str)
    return text.encode()


def handle_record(record: logging.LogRecord) -> None:
    """Have it handled as logging.getLogger(record.name).handle would, whatever that logger's level: its sender has looked at levels.

    No logger is made for it, which would stay for good: a name that nobody here has used goes straight to the handlers above it.
    """
    loggers, name = logging.root.manager.loggerDict, record.name
    logger = logging.root if name in ("", "root") else loggers.get(name)
    if isinstance(logger, logging.Logger):
        logger.handle(record)
        return
    while name and not isinstance(logger, logging.Logger):
        name = name.rpartition(".")[0]
        logger = loggers.get(name)
    (logger if isinstance(logger, logging.Logger) else logging.root).callHandlers(record)


def checked(handle: Callable[[logging.LogRecord], object] | None) -> Callable[[logging.LogRecord], object]:
    """Who handles records; TypeError for what can't."""
    if handle is None:
        return handle_record
    if not callable(handle):
        raise TypeError(f"handle must be callable, not {type(handle).__name__}")
    refuse_coroutine(handle, "start a task")
    return handle


# --- Helpers


def _object(frame: bytes) -> object:
    """The value of JSON."""
    try:
        return _DECODER.decode(str(frame, "utf-8"))
    except BadRecord:
        raise
    except (ValueError, RecursionError):
        raise BadRecord("JSON that is broken or nested too deeply") from None


def _refuse(constant: str) -> NoReturn:
    raise BadRecord(f"JSON with {constant}, which it doesn't have")


def _number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise BadRecord(f"a number of {len(digits)} digits")
    return int(digits)


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_int=_number)


def _check(facts: dict[Any, Any], record: type, most: int) -> None:
    """BadRecord if these can't be the attributes of such a record, or are more than so many bytes as text."""
    extras = {}
    for key, value in facts.items():
        types = _TYPES.get(key)
        if types is None:
            extras[key] = value
        elif type(value) not in types:
            raise BadRecord(f"a record whose {key} is of type {type(value).__name__}")
    for key in _NEEDED:
        if key not in facts:
            raise BadRecord(f"a record without {key}")
    if len(facts["name"]) > _MAX_NAME:
        raise BadRecord(f"a record whose name has {len(facts['name'])} characters, limit {_MAX_NAME}")
    # What formatters fail at.
    if not 0 <= facts.get("created", 0) < _MAX_CREATED:
        raise BadRecord("a record that was created at no time")
    if not 0 <= facts.get("msecs", 0) <= 1000:
        raise BadRecord("a record with more or less than 0 to 1000 msecs")
    if not -_FAR < facts.get("relativeCreated", 0) < _FAR:
        raise BadRecord("a record whose relativeCreated is no number of milliseconds")
    if extras:
        for key in extras:
            # A method of the record would be hidden by an attribute of its name.
            if type(key) is not str or any(key in base.__dict__ for base in record.__mro__):
                raise BadRecord("a record with an attribute of a name that none can have")
        _weigh(extras, most)


def _weigh(extras: dict[str, object], most: int) -> None:
    """BadRecord for what isn't plain, is nested too deeply or in a circle, or is larger than so many bytes, as a tree."""
    within: list[Iterator[object]] = [iter((extras,))]
    containers = 0
    while within:
        for value in within[-1]:
            kind = type(value)
            most -= 1
            if kind is str or kind is bytes:
                most -= len(value)  # type: ignore[arg-type]
            elif kind not in _SCALARS:
                containers += 1
                within.append(_inside(value))
                break
            if most < 0:
                raise BadRecord("a record that grows too much by what it holds several times")
        else:
            within.pop()
        if len(within) > MAX_DEPTH + 1:
            raise BadRecord(f"more than {MAX_DEPTH} containers within each other")
        if containers > MAX_CONTAINERS:
            raise BadRecord(f"more than {MAX_CONTAINERS} containers")


def _inside(container: Any) -> Iterator[object]:
    """What is in it; of a dict, the keys too."""
    if type(container) is dict:
        for key, value in container.items():
            yield key
            yield value
    else:
        yield from container


def _told(value: object) -> object:
    """The value if JSON can hold it, else its str."""
    try:
        json.dumps(value, default=str, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return str(value)
    return value
