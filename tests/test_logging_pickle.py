"""What a pickle may hold in a log record, and what it may not: nothing is run, imported or allocated because somebody says so."""

import copyreg
import os
import pickle
import pickletools
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastframe._logging_pickle import MAX_CONTAINERS, MAX_DEPTH, BadRecord, Pickle

PROTOCOLS = range(6)
NUMBERS = st.integers(-(1 << 300), 1 << 300)
TEXT = st.text(st.characters(exclude_categories=())) | st.sampled_from(["msg", "a" * 300, "\ud800", "a\nb\\u0041"])
SCALARS = st.none() | st.booleans() | NUMBERS | st.floats() | TEXT
KEYS = st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | TEXT


def nested(scalars: st.SearchStrategy[Any], keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars,
        lambda below: st.lists(below) | st.lists(below).map(tuple) | st.dictionaries(keys, below),
        max_leaves=20,
    )


def read(data: bytes) -> object:
    return Pickle(data).read()


# --- What is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(value=nested(SCALARS, KEYS))
def test_plain_values_come_back_whatever_the_protocol(protocol: int, value: object) -> None:
    for dumps in (pickle.dumps, pickle._dumps):  # type: ignore[attr-defined]
        assert repr(read(dumps(value, protocol))) == repr(value)


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("size", [0, 1, 255, 256, 70_000])
def test_bytes_come_back(protocol: int, size: int) -> None:
    assert read(pickle.dumps([b"\xff" * size, {b"k": None}], protocol)) == [b"\xff" * size, {b"k": None}]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "value",
    [
        [f"{i}" for i in range(600)] * 2,
        ["x" * 256, "x" * 70_000],
        [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        [[i] for i in range(2500)],
        {str(i): (i, -i, i << 8, i << 16, i << 31, float(i)) for i in range(1500)},
        [255, 256, 65535, 65536, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**2039 - 1, -(2**2039)],
        [float("inf"), float("-inf"), -0.0, 5e-324],
    ],
    ids=["memo", "long", "tuples", "lists", "dict", "ints", "floats"],
)
def test_every_size_of_a_thing_comes_back(protocol: int, value: object) -> None:
    assert repr(read(pickle.dumps(value, protocol))) == repr(value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_told_twice_is_the_same_object(protocol: int) -> None:
    shared = ["shared"]
    first, second = read(pickle.dumps([shared, shared], protocol))  # type: ignore[misc]
    assert first is second


@given(st.data())
def test_what_is_taken_is_what_the_host_makes_of_it(data: st.DataObject) -> None:
    """Mutated pickles are refused, or mean the same as they do to the pickle module."""
    frame = bytearray(pickle.dumps(data.draw(nested(SCALARS, KEYS)), data.draw(st.sampled_from(PROTOCOLS))))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(frame) - 1))
        frame[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
        if not frame:
            break
    try:
        value = read(bytes(frame))
    except BadRecord:
        return
    try:
        theirs = pickle.loads(bytes(frame))  # all its opcodes are harmless, as was just seen
    except Exception:
        return
    try:
        text = repr(value)
    except RecursionError:
        return
    assert text == repr(theirs)


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    """Without an opcode that pushes something, there is nothing that could be a value."""
    with pytest.raises(BadRecord):
        read(noise.replace(b".", b"") + b"c")


@given(st.lists(st.sampled_from([bytes([code]) for code in range(256)] + [b"\0\0\0\0", b"1\n", b"a\n"]), max_size=60))
def test_any_row_of_opcodes_is_read_or_refused(codes: list[bytes]) -> None:
    with suppress(BadRecord):
        repr(read(b"".join(codes) + b"."))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pickle_that_is_cut_off_anywhere_is_refused(protocol: int) -> None:
    frame = pickle.dumps({"a": [1, 2.5, None, True, (3, "x" * 300, 1 << 40)], "b": {"c": -1, "d": 70000}}, protocol)
    for size in range(len(frame)):
        with pytest.raises(BadRecord):
            read(frame[:size])
    with pytest.raises(BadRecord):
        read(frame + b".")


@pytest.mark.parametrize(
    "line",
    ["I020", "I1_0", "I+1", "I 1", "I1 ", "I-0", "I002", "I0x10", "I", "I1L", "L1", "L01L", "LL", "L1LL", "F1_0.0", "F1", "F 1.0", "F1e0", "F"],
)  # fmt: skip
def test_a_number_is_written_as_the_pickler_does(line: str) -> None:
    """Readers don't agree on what others are."""
    with pytest.raises(BadRecord):
        read(line.encode() + b"\n.")


# --- What isn't ------------------------------------------------------------------------------------------------------

TAKEN = [
    "MARK",
    "INT",
    "LONG",
    "FLOAT",
    "UNICODE",
    "PUT",
    "GET",
    "LIST",
    "TUPLE",
    "DICT",
    "APPEND",
    "SETITEM",
    "NONE",
    "STOP",
    "BININT",
    "BININT1",
    "BININT2",
    "BINFLOAT",
    "BINUNICODE",
    "EMPTY_LIST",
    "EMPTY_TUPLE",
    "EMPTY_DICT",
    "APPENDS",
    "SETITEMS",
    "BINPUT",
    "LONG_BINPUT",
    "BINGET",
    "LONG_BINGET",
    "PROTO",
    "TUPLE1",
    "TUPLE2",
    "TUPLE3",
    "NEWTRUE",
    "NEWFALSE",
    "LONG1",
    "BINBYTES",
    "SHORT_BINBYTES",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "BINBYTES8",
    "MEMOIZE",
    "FRAME",
]
OTHERS = [code for code in pickletools.opcodes if code.name not in TAKEN]


@pytest.mark.parametrize("code", OTHERS, ids=lambda code: code.name)
def test_all_other_opcodes_are_refused_by_name(code: Any) -> None:
    """Whatever follows, and whatever stands on the stack."""
    for before in (b"", b"(", b"N", b"(NN", b"]", b"X\x01\0\0\0a", b"X\x02\0\0\0osX\x06\0\0\0system"):
        with pytest.raises(BadRecord, match=f"opcode {ord(code.code):#04x}"):
            read(before + code.code.encode("latin-1") + b"\0" * 9 + b"\n\n.")


def test_the_list_of_opcodes_is_whole() -> None:
    assert len(OTHERS) + len(TAKEN) == len(pickletools.opcodes)
    unknown = set(range(256)) - {ord(code.code) for code in pickletools.opcodes}
    for code in unknown:
        with pytest.raises(BadRecord, match="opcode"):
            read(bytes([code]) + b".")


class Touch:
    """Its pickle makes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def attacks(path: str) -> dict[str, bytes]:
    text = path.encode()
    binary = b"X" + len(text).to_bytes(4, "little") + text
    return {
        **{f"reduce {protocol}": pickle.dumps(Touch(path), protocol) for protocol in PROTOCOLS},
        **{f"inside {protocol}": pickle.dumps({"name": "x", "msg": Touch(path)}, protocol) for protocol in PROTOCOLS},
        "global": b"cos\nmkdir\n(V" + text + b"\ntR.",
        "stack global": b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93" + binary + b"\x85R.",
        "inst": b"(V" + text + b"\nios\nmkdir\n.",
        "obj": b"(cos\nmkdir\nV" + text + b"\no.",
        "newobj": b"\x80\x02cos\nmkdir\n" + binary + b"\x85\x81.",
        "newobj_ex": b"\x80\x04cos\nmkdir\n" + binary + b"\x85}\x92.",
        "ext": b"\x80\x02\x82\x07" + binary + b"\x85R.",
        "ext4": b"\x80\x02\x84\x07\0\0\0" + binary + b"\x85R.",
        "persid": b"P" + text + b"\n.",
        "binpersid": binary + b"Q.",
        "build": b"}(X\x0a\0\0\0__reduce__cos\nmkdir\nub.",
    }


@pytest.mark.parametrize("name", attacks("x"))
def test_nothing_is_run(name: str, tmp_path: Path) -> None:
    made = tmp_path / "made"
    copyreg.add_extension("os", "mkdir", 7)
    try:
        with pytest.raises(BadRecord):
            read(attacks(str(made))[name])
        assert not made.exists()
    finally:
        copyreg.remove_extension("os", "mkdir", 7)


def test_these_attacks_work_where_there_is_no_guard(tmp_path: Path) -> None:
    pickle.loads(attacks(str(tmp_path / "made"))["stack global"])
    assert (tmp_path / "made").exists()


# --- Memory and time -------------------------------------------------------------------------------------------------

MANY = 100_000
BOMBS = {
    "put far away": b"Nr\xff\xff\xff\x7f.",
    "put as text": b"Np2000000000\n.",
    "put, a number as long as the pickle": b"Np" + b"9" * MANY + b"\n.",
    "put at the same place again": b"]Nq\0aNq\0a.",
    "get as text": b"Np0\ng-1\n.",
    "long4": b"\x8b\x00\xe1\xf5\x05" + b"\xff" * 1000 + b".",
    "long1 beyond the end": b"\x8a\xff\x01.",
    "text beyond the end": b"X\xff\xff\xff\x7f.",
    "text8 beyond the end": b"\x8d" + b"\xff" * 8 + b".",
    "bytes beyond the end": b"B\xff\xff\xff\xff.",
    "bytes8 beyond the end": b"\x8e" + b"\xff" * 7 + b"\x7f.",
    "bytearray": b"\x96\0\0\0\0\1\0\0\0.",
    "int as text": b"I" + b"7" * MANY + b"\n.",
    "long as text": b"L" + b"7" * MANY + b"L\n.",
    "float as text": b"F" + b"7" * MANY + b"\n.",
    "marks": b"(" * MANY + b".",
    "empty lists": b"]" * MANY + b".",
    "empty dicts": b"}" * MANY + b".",
    "lists within each other": b"]" * MANY + b"a" * (MANY - 1) + b".",
    "tuples within each other": b"N" + b"\x85" * MANY + b".",
    "lists of marks": b"(l" * MANY + b".",
    "a string": b"S'text'\n.",
    "tuple keys": b"}(" + b"".join(b"K%cK%c\x86N" % (i >> 8 & 255, i & 255) for i in range(5000)) + b"u.",
    "large int keys": b"}(" + b"".join(b"\x8a\x0a" + (i * ((1 << 61) - 1)).to_bytes(10, "little") + b"N" for i in range(9000)) + b"u.",
    "float keys": b"}(G\x3f\xf0\0\0\0\0\0\0Nu.",
    "a list as key": b"}]Ns.",
    "an odd item": b"}(Nu.",
    "an item of a list": b"](NNu.",
    "an append to a dict": b"}Na.",
    "more than one value": b"NN.",
    "a mark": b"N(.",
    "nothing": b".",
    "no bytes": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_and_takes_no_more_memory_than_its_size_says(name: str) -> None:
    frame = BOMBS[name]
    tracemalloc.start()
    try:
        with pytest.raises(BadRecord):
            read(frame)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(frame) + (MAX_CONTAINERS * 200) + 100_000
    finally:
        tracemalloc.stop()


GREEDY = {
    "memo": b"N" + b"\x94" * MANY + b".",
    "nothings": b"(" + b"N" * MANY + b"l.",
    "empty tuples": b"(" + b")" * MANY + b"l.",
    "small ints": b"(" + b"M\xff\xff" * MANY + b"l.",
    "floats": b"(" + b"F1.0\n" * MANY + b"l.",
    "short texts": b"(" + b"\x8c\x02ab" * MANY + b"l.",
    "keys": b"}(" + b"".join(b"J%bN" % i.to_bytes(4, "little") for i in range(MANY)) + b"u.",
    "wide text": b"X" + (MANY + 4).to_bytes(4, "little") + b"a" * MANY + "\U0001f600".encode() + b".",
}


@pytest.mark.parametrize("name", GREEDY)
def test_what_is_taken_needs_memory_in_proportion(name: str) -> None:
    frame = GREEDY[name]
    tracemalloc.start()
    try:
        read(frame)
        assert tracemalloc.get_traced_memory()[1] < 40 * len(frame) + 100_000
    finally:
        tracemalloc.stop()


def test_so_many_containers_and_no_more() -> None:
    assert read(b"(" + b"]" * (MAX_CONTAINERS - 1) + b"l.") == [[]] * (MAX_CONTAINERS - 1)
    with pytest.raises(BadRecord, match=f"more than {MAX_CONTAINERS} containers"):
        read(b"(" + b"]" * MAX_CONTAINERS + b"l.")


def test_containers_within_each_other_as_deep_as_a_record_may_be() -> None:
    value: object = None
    for _ in range(MAX_DEPTH):
        value = [value, 1]
    for protocol in PROTOCOLS:
        assert read(pickle.dumps(value, protocol)) == value


def test_an_error_pickles_and_equals_its_copy() -> None:
    with pytest.raises(BadRecord) as raised:
        read(b"c")
    assert pickle.loads(pickle.dumps(raised.value)) == raised.value
    assert isinstance(raised.value, ValueError)
