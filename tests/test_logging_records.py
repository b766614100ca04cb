"""Log records as pickles and JSON: what comes through is a record that can be handled, everything else is BadRecord."""

import json
import logging
import logging.handlers
import pickle
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastframe._logging_pickle import MAX_CONTAINERS, MAX_DEPTH
from fastframe._logging_records import BadRecord, dumps, loads

FORMATTER = logging.Formatter(
    "%(asctime)s %(name)s %(levelno)d %(levelname)s %(pathname)s %(filename)s %(module)s %(lineno)d %(funcName)s %(created)f"
    " %(msecs)d %(relativeCreated)d %(thread)s %(threadName)s %(process)s %(processName)s %(message)s"
)
PROTOCOLS = range(6)
FORMATS = ("pickle", "json")


def made(**given: Any) -> logging.LogRecord:
    """A record as a logger makes one."""
    record = logging.LogRecord("app.part", logging.WARNING, "/srv/app/part.py", 7, "hello %s", ("you",), None, "greet")
    record.__dict__.update(given)
    return record


SAME = made(created=1e9, msecs=250.0, relativeCreated=12.5, process=4321, thread=140_000_000_000).__dict__
"""Of one size, whenever it is made."""


def facts(**given: Any) -> dict[str, Any]:
    """What SocketHandler sends of a record."""
    return {**SAME, "msg": "hello you", "args": None, **given}


def frame(form: str, value: Any, protocol: int = 1) -> bytes:
    return json.dumps(value).encode() if form == "json" else pickle.dumps(value, protocol)


def stock(record: logging.LogRecord) -> bytes:
    """The frame's payload of the host's handler."""
    return logging.handlers.SocketHandler("", 0).makePickle(record)[4:]


def with_error() -> logging.LogRecord:
    try:
        raise KeyError("lost")
    except KeyError as error:
        return made(exc_info=(KeyError, error, error.__traceback__))


in_both = pytest.mark.parametrize("form", FORMATS)


# --- What comes through ----------------------------------------------------------------------------------------------

RECORDS: dict[str, logging.LogRecord] = {
    "plain": made(),
    "no arguments": made(msg="100 %", args=()),
    "surrogates": made(msg="caf\udce9 \U0001f600", args=None),
    "extras": made(user="me", count=3, ratio=0.5, flag=True, nothing=None, tags=["a", {"b": {"c": 1}}]),
    "error": with_error(),
    "stack": made(stack_info="Stack (most recent call last):"),
    "no process": made(process=None, processName=None, thread=None, threadName=None),
}


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_what_the_host_sends_is_read_as_the_host_reads_it(record: logging.LogRecord) -> None:
    sent = stock(record)
    assert loads(sent).__dict__ == logging.makeLogRecord(pickle.loads(sent)).__dict__


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_json_holds_the_same(record: logging.LogRecord) -> None:
    sent = stock(record)  # makes exc_text
    assert loads(dumps(record)).__dict__ == pickle.loads(sent)
    assert list(json.loads(dumps(record))) == list(pickle.loads(sent))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_subclasses_may_use_any_protocol(protocol: int) -> None:
    given = facts(tags=["a", ("b", 1)])
    assert loads(frame("pickle", given, protocol)).__dict__ == given


def test_a_record_of_ones_own_kind_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(logging.LogRecord):
        def shout(self) -> str:
            return self.getMessage().upper()

    monkeypatch.setattr(logging, "_logRecordFactory", Mine)
    record = loads(stock(made()))
    assert isinstance(record, Mine)
    assert record.shout() == "HELLO YOU"
    with pytest.raises(BadRecord, match="attribute"):
        loads(stock(made(shout="not any more")))


@in_both
def test_a_percent_sign_in_the_message_formats_nothing(form: str) -> None:
    assert loads(frame(form, facts(msg="%999999999d %s"))).getMessage() == "%999999999d %s"


def test_only_what_handlers_need_must_be_there() -> None:
    needed = {"name": "a", "msg": "b", "levelname": "INFO", "levelno": 20}
    record = loads(json.dumps(needed).encode())
    assert FORMATTER.format(record).endswith(" b")
    for key in needed:
        with pytest.raises(BadRecord, match=f"a record without {key}"):
            loads(json.dumps({**needed, key: None} | {}).encode().replace(f'"{key}": null'.encode(), b'"x": 1'))


def test_a_frame_is_bytes() -> None:
    for other in ("{}", bytearray(b"{}"), None):
        with pytest.raises(TypeError):
            loads(other)  # type: ignore[arg-type]


# --- What JSON can't hold --------------------------------------------------------------------------------------------


class Loud:
    def __str__(self) -> str:
        return "loud"


def circle() -> list[Any]:
    """A list that holds itself."""
    it: list[Any] = []
    it.append(it)
    return it


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02 00:00:00+00:00"),
        (Loud(), "loud"),
        ([Loud(), 1], ["loud", 1]),
        (b"\xff", "b'\\xff'"),
        ({1}, "{1}"),
        (float("nan"), "nan"),
        ([float("inf")], "[inf]"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        ({1: 2}, {"1": 2}),
        (circle(), "[[...]]"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_that_json_cannot_hold_are_told_by_their_str(value: object, told: object) -> None:
    record = loads(dumps(made(value=value, other=Loud())))
    assert (record.__dict__["value"], record.__dict__["other"]) == (told, "loud")
    json.loads(dumps(made(value=value)), parse_constant=pytest.fail)


# --- What doesn't come through ---------------------------------------------------------------------------------------

WRONG: dict[str, Any] = {
    "name": [None, 5, b"bytes", ["list"]],
    "msg": [None, 5, ["list"], {}],
    "args": [[], ["x"], {"a": 1}, "text", 0],
    "levelname": [None, 5],
    "levelno": [None, "10", 10.0, True],
    "pathname": [None, 5],
    "filename": [None, 5],
    "module": [None, 5],
    "exc_info": [True, ["x"], "text"],
    "exc_text": [5, ["x"]],
    "stack_info": [5, ["x"]],
    "lineno": [None, "7", 7.0, True],
    "funcName": [5],
    "created": [None, "now", True, -1, float("1e300"), 10**30, 32_503_680_000],
    "msecs": [None, "1", -1, 1e300, 1000.5],
    "relativeCreated": [None, "1", 1e300, -1e300, 10**400],
    "thread": ["1", 1.5],
    "threadName": [5],
    "processName": [5],
    "process": ["1", 1.5],
    "taskName": [5],
}


@in_both
@pytest.mark.parametrize("key", WRONG)
def test_what_a_record_has_is_of_the_types_that_records_have(form: str, key: str) -> None:
    for value in WRONG[key]:
        if form == "json" and isinstance(value, bytes):
            continue
        with pytest.raises(BadRecord):
            loads(frame(form, facts(**{key: value})))


@pytest.mark.parametrize("key", ["created", "msecs", "relativeCreated"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_time_is_finite(key: str, value: float) -> None:
    for form in FORMATS:
        with pytest.raises(BadRecord):
            loads(frame(form, facts(**{key: value})))
    with pytest.raises(BadRecord):
        loads(json.dumps(facts(**{key: 8642.0})).replace("8642.0", "1e999").encode())


@in_both
@pytest.mark.parametrize("key", ["getMessage", "__class__", "__dict__", "__init__", "__str__", "__reduce__"])
def test_no_attribute_hides_what_a_record_can_do(form: str, key: str) -> None:
    with pytest.raises(BadRecord, match="attribute"):
        loads(frame(form, facts(**{key: "x"})))


@in_both
def test_the_length_of_a_name_is_limited(form: str) -> None:
    assert len(loads(frame(form, facts(name="n" * 1000))).name) == 1000
    with pytest.raises(BadRecord, match="1001 characters, limit 1000"):
        loads(frame(form, facts(name="n" * 1001)))


@pytest.mark.parametrize("key", [None, 5, b"name", True])
def test_an_attribute_has_a_name(key: object) -> None:
    with pytest.raises(BadRecord, match="attribute"):
        loads(pickle.dumps({**facts(), key: 1}, 4))


@pytest.mark.parametrize("value", [None, 5, [], "text", [facts()], ("a",)])
def test_a_record_is_a_dict(value: object) -> None:
    with pytest.raises(BadRecord, match="for a record"):
        loads(pickle.dumps(value))


@pytest.mark.parametrize("value", [datetime(2026, 1, 1, tzinfo=UTC), {1, 2}, bytearray(b"x"), 1j, Ellipsis, made()])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_extras_that_are_objects_are_refused(value: object, protocol: int) -> None:
    with pytest.raises(BadRecord, match="opcode"):
        loads(pickle.dumps(facts(extra=value), protocol))


BROKEN_JSON = {
    "nothing in it": b"{",
    "not json": b"{name: 1}",
    "not utf-8": b'{"name": "\xff"}',
    "utf-16": '{"name": "x"}'.encode("utf-16-le"),
    "something behind it": json.dumps(facts()).encode() + b"{}",
    "nan": json.dumps(facts(x=float("nan"))).encode(),
    "infinity": json.dumps(facts(x=float("-inf"))).encode(),
    "a huge number": json.dumps(facts(x=1)).encode()[:-1] + b', "y": ' + b"7" * 100_000 + b"}",
    "nested": b'{"x":' * 100_000 + b"1" + b"}" * 100_000,
    "nested lists": b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "never closed": b'{"x":' + b"[" * 100_000,
}


@pytest.mark.parametrize("name", BROKEN_JSON)
def test_json_that_is_none_or_worse_is_refused(name: str) -> None:
    with pytest.raises(BadRecord):
        loads(BROKEN_JSON[name])


# --- Size ------------------------------------------------------------------------------------------------------------


def deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@in_both
def test_so_deep_and_no_deeper(form: str) -> None:
    most = MAX_DEPTH - 1  # the extras are in the record
    assert loads(frame(form, facts(x=deep(most)))).__dict__["x"] == deep(most)
    with pytest.raises(BadRecord, match=f"more than {MAX_DEPTH} containers within each other"):
        loads(frame(form, facts(x=deep(most + 1))))


@in_both
def test_so_many_containers_and_no_more(form: str) -> None:
    most = MAX_CONTAINERS - 2
    assert len(loads(frame(form, facts(x=[[] for _ in range(most)]))).__dict__["x"]) == most
    with pytest.raises(BadRecord, match=f"more than {MAX_CONTAINERS} containers"):
        loads(frame(form, facts(x=[[] for _ in range(most + 1)])))


def laughs() -> Any:
    """A thousand million, in a pickle of a few hundred bytes."""
    value: Any = ["ha"]
    for _ in range(9):
        value = [value] * 10
    return value


def test_a_pickle_that_would_grow_is_refused() -> None:
    bomb = frame("pickle", facts(x=laughs()))
    assert len(bomb) < 2000
    with pytest.raises(BadRecord):
        loads(bomb)


def test_a_long_text_that_is_told_often_is_refused() -> None:
    text = "x" * 100_000
    assert loads(frame("pickle", facts(x=[text] * 10))).__dict__["x"] == [text] * 10
    for bomb in (
        {"x": [text] * 1000},
        {"x": {str(i): text for i in range(1000)}},
        {f"x{i}": text for i in range(1000)},
    ):
        with pytest.raises(BadRecord, match="grows too much"):
            loads(frame("pickle", facts(**bomb)))
    with pytest.raises(BadRecord, match="grows too much"):
        loads(frame("pickle", facts(x=[(None,) * 90_000] * 100)))


def test_what_is_told_now_and_then_again_is_no_bomb() -> None:
    shared = {"path": "/srv", "tags": ["a", "b"]}
    for protocol in PROTOCOLS:
        given = facts(one=shared, two=[shared, shared])
        assert loads(frame("pickle", given, protocol)).__dict__ == given


@pytest.mark.parametrize("protocol", [0, 1, 4])
def test_a_record_that_holds_itself_is_refused(protocol: int) -> None:
    around: dict[str, Any] = facts()
    around["self"] = around
    for it in (around, facts(x=circle())):
        with pytest.raises(BadRecord):
            loads(frame("pickle", it, protocol))


GREEDY = {
    "lists": b'{"x":[' + b"[]," * 33_000 + b"0]}",
    "dicts": b'{"x":[' + b"{}," * 33_000 + b"0]}",
    "numbers": b'{"x":[' + b"-9," * 33_000 + b"0]}",
    "texts": b'{"x":[' + b'"ab",' * 20_000 + b"0]}",
    "attributes": b"{" + b",".join(b'"%x":0' % i for i in range(16_000)) + b"}",
    "laughs": pickle.dumps(facts(x=laughs()), 1),
    "long": pickle.dumps(facts(x=["x" * 100_000] * 1000), 1),
}


@pytest.mark.parametrize("name", GREEDY)
def test_what_is_refused_needs_memory_in_proportion(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BadRecord):
            loads(GREEDY[name])
        assert tracemalloc.get_traced_memory()[1] < 40 * len(GREEDY[name]) + 100_000
    finally:
        tracemalloc.stop()


# --- Whatever comes --------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(max_size=9),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=3), below, max_size=3),
    max_leaves=6,
)


def is_refused_or_handled(sent: bytes) -> None:
    """If it is taken for a record, formatters and handlers have no trouble with it."""
    try:
        record = loads(sent)
    except BadRecord as refused:
        error = str(refused)
    else:
        is_handled(record)
        return
    assert error.isascii()
    assert error.isprintable()


def is_handled(record: logging.LogRecord) -> None:
    FORMATTER.format(record)
    assert isinstance(record.levelno >= logging.INFO, bool)
    repr(record)
    repr(record.__dict__)


@in_both
@given(changes=st.dictionaries(st.sampled_from(sorted(WRONG)) | st.text(max_size=9), VALUES, max_size=3))
def test_what_is_let_in_can_be_formatted(form: str, changes: dict[str, Any]) -> None:
    is_refused_or_handled(frame(form, facts(**changes)))


@in_both
@given(data=st.data())
def test_a_record_with_a_few_other_bytes_is_handled_or_refused(form: str, data: st.DataObject) -> None:
    sent = bytearray(frame(form, facts(tags=["a", {"b": 1}]), data.draw(st.sampled_from(PROTOCOLS))))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(sent) - 1))
        sent[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(min_size=1, max_size=3))
    is_refused_or_handled(bytes(sent))


@given(st.sampled_from([b"", b"{", b"(", b"}", b"\x80\x02}"]), st.binary(max_size=100))
def test_noise_is_refused(start: bytes, noise: bytes) -> None:
    with pytest.raises(BadRecord):
        loads(start + noise)


def test_no_message_holds_what_a_peer_has_sent() -> None:
    evil = "\x1b[31m\nINFO: all is well \u202e"
    for bad in (facts(**{evil: made()}), facts(getMessage=evil), {evil: evil}, facts(name=evil * 100)):
        with pytest.raises(BadRecord) as raised:
            loads(pickle.dumps(bad))
        assert str(raised.value).isprintable()
        assert "31m" not in str(raised.value)
        assert raised.value.__cause__ is None
