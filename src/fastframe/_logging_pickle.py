"""Pickles of plain values, read without the pickle module: nothing is imported or called, and no memory is taken because a
peer says so.

Plain are None, bool, int, float, str and bytes; and lists, tuples and dicts of them. All that CPython's pickler writes for them,
in the protocols 0 to 5, can be read. Any other opcode is refused before anything is done for it.
"""

from __future__ import annotations

import struct

from .errors import FrameError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Step = Callable[["Pickle", int], int]

__all__ = ["MAX_CONTAINERS", "MAX_DEPTH", "MAX_DIGITS", "BadRecord", "Pickle"]

MAX_DEPTH = 32
"""Containers within each other."""
MAX_CONTAINERS = 10_000
"""Containers in one record: an empty one takes eighty times the memory of its opcode."""
MAX_DIGITS = 620
"""Characters of a number written as text, about what 255 bytes can say: from text to int takes quadratic time."""

_NONE, _STOP = ord("N"), ord(".")
_INT1, _INT2, _FLOAT8, _TEXT4 = ord("K"), ord("M"), ord("G"), ord("X")
_PUT1, _GET1 = ord("q"), ord("h")

_OBJECTS = (ord("c"), 0x93)
"""What names a class or a function: first for whatever isn't plain."""

_BOOLS: dict[bytes, int] = {b"00\n": False, b"01\n": True}
"""As the protocols 0 and 1 write them."""

_uint4 = struct.Struct("<I").unpack_from
_int4 = struct.Struct("<i").unpack_from
_float8 = struct.Struct(">d").unpack_from


class BadRecord(FrameError, ValueError):
    """A frame that isn't a log record, or holds more than a log record needs."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class Pickle:
    """A pickle that is being read. Its steps take the place behind an opcode, and return the place of the next."""

    __slots__ = ("_containers", "_data", "_marked", "_memo", "_stack")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []  # the stacks below the marks
        self._memo: list[Any] = []
        self._containers = 0

    def read(self) -> object:
        """The value. BadRecord if this isn't a pickle of plain values, whole and with nothing behind it."""
        pos = 0
        try:
            pos = self._run()
            (value,) = self._stack
        except (IndexError, ValueError, struct.error) as error:
            if isinstance(error, BadRecord):
                raise
            raise BadRecord("a pickle that is broken or cut off") from None
        if self._marked or pos != len(self._data):
            raise BadRecord("a pickle that is broken, or with something behind it")
        return value

    def _run(self) -> int:
        """Do what the opcodes say. Those that records are made of are done here, for speed; the others by their steps."""
        data, memo, size = self._data, self._memo, len(self._data)
        push = self._stack.append
        pos = 0
        while (code := data[pos]) != _STOP:
            pos += 1
            if code == _TEXT4:
                begin = pos + 4
                pos = begin + _uint4(data, pos)[0]
                if pos >= size:
                    raise IndexError
                text = data[begin:pos].decode("utf-8", "surrogatepass")
                push(text)
                if data[pos] == _PUT1 and data[pos + 1] == len(memo):
                    memo.append(text)
                    pos += 2
            elif code == _NONE:
                push(None)
            elif code == _INT1:
                push(data[pos])
                pos += 1
            elif code == _INT2:
                push(data[pos] | data[pos + 1] << 8)
                pos += 2
            elif code == _FLOAT8:
                push(_float8(data, pos)[0])
                pos += 8
            elif code == _GET1:
                push(memo[data[pos]])
                pos += 1
            else:
                step = _STEPS.get(code)
                if step is None:
                    why = "only plain values are read: send it as text" if code in _OBJECTS else "which no record needs"
                    raise BadRecord(f"a pickle with the opcode {code:#04x}, {why}")
                pos = step(self, pos)
                push = self._stack.append
        return pos + 1

    # --- Bytes

    def _sized(self, width: int, pos: int) -> tuple[bytes, int]:
        """Bytes behind their length, which is `width` wide; and the place behind them."""
        begin = pos + width
        end = begin + int.from_bytes(self._data[pos:begin], "little")
        if end >= len(self._data):  # STOP follows, at least
            raise IndexError
        return self._data[begin:end], end

    def _line(self, pos: int) -> tuple[bytes, int]:
        end = self._data.index(b"\n", pos)
        return self._data[pos:end], end + 1

    def _number(self, pos: int, suffix: bytes = b"") -> tuple[int, int]:
        """An int as text, as the pickler writes it: readers don't agree on what 020 or 1_0 is."""
        line, pos = self._line(pos)
        if len(line) > MAX_DIGITS or not line.endswith(suffix):
            raise ValueError
        number = int(line.removesuffix(suffix))
        if b"%d%b" % (number, suffix) != line:
            raise ValueError
        return number, pos

    # --- Numbers and text

    def _int_line(self, pos: int) -> int:
        value = _BOOLS.get(self._data[pos : pos + 3])
        if value is None:
            value, pos = self._number(pos)
        else:
            pos += 3
        self._stack.append(value)
        return pos

    def _long_line(self, pos: int) -> int:
        number, pos = self._number(pos, b"L")
        self._stack.append(number)
        return pos

    def _float_line(self, pos: int) -> int:
        line, pos = self._line(pos)
        number = float(line) if len(line) <= MAX_DIGITS else 0.0
        if repr(number).encode() != line:
            raise ValueError
        self._stack.append(number)
        return pos

    def _text_line(self, pos: int) -> int:
        line, pos = self._line(pos)
        self._stack.append(str(line, "raw-unicode-escape"))
        return pos

    def _int4(self, pos: int) -> int:
        self._stack.append(_int4(self._data, pos)[0])
        return pos + 4

    def _long1(self, pos: int) -> int:
        number, pos = self._sized(1, pos)
        self._stack.append(int.from_bytes(number, "little", signed=True))
        return pos

    # --- Containers

    def _mark(self, pos: int) -> int:
        if len(self._marked) > MAX_DEPTH:
            raise BadRecord(f"more than {MAX_DEPTH} containers within each other")
        self._marked.append(self._stack)
        self._stack = []
        return pos

    def _marked_items(self) -> list[Any]:
        """What was pushed since the mark, which is gone."""
        items, self._stack = self._stack, self._marked.pop()
        return items

    def _add(self, container: object) -> None:
        self._containers += 1
        if self._containers > MAX_CONTAINERS:
            raise BadRecord(f"more than {MAX_CONTAINERS} containers")
        self._stack.append(container)

    def _list(self, pos: int) -> int:
        self._add(self._marked_items())
        return pos

    def _tuple(self, pos: int) -> int:
        self._add(tuple(self._marked_items()))
        return pos

    def _dict(self, pos: int) -> int:
        items = self._marked_items()
        self._add({})
        self._update(items)
        return pos

    def _append(self, pos: int) -> int:
        self._extend([self._stack.pop()])
        return pos

    def _appends(self, pos: int) -> int:
        self._extend(self._marked_items())
        return pos

    def _setitem(self, pos: int) -> int:
        value, key = self._stack.pop(), self._stack.pop()
        self._update([key, value])
        return pos

    def _setitems(self, pos: int) -> int:
        self._update(self._marked_items())
        return pos

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise ValueError
        target += items

    def _update(self, items: list[Any]) -> None:
        """Put keys and values, which take turns, into the dict at the top of the stack."""
        target, keys = self._stack[-1], items[::2]
        if type(target) is not dict or len(items) % 2:
            raise ValueError
        _check_keys(keys)
        target.update(zip(keys, items[1::2], strict=True))

    # --- The memo

    def _put(self, index: int, pos: int) -> int:
        """The pickler numbers them one by one: no other index is taken, nor the memory up to it."""
        if index != len(self._memo):
            raise ValueError
        self._memo.append(self._stack[-1])
        return pos

    def _memoize(self, pos: int) -> int:
        self._memo.append(self._stack[-1])
        return pos

    def _get(self, index: int, pos: int) -> int:
        if index < 0:
            raise ValueError
        self._stack.append(self._memo[index])
        return pos

    def _put_line(self, pos: int) -> int:
        index, pos = self._number(pos)
        return self._put(index, pos)

    def _get_line(self, pos: int) -> int:
        index, pos = self._number(pos)
        return self._get(index, pos)


def _check_keys(keys: Iterable[object]) -> None:
    """BadRecord for keys that could be made to collide, which takes quadratic time: large ints, tuples, floats."""
    for key in keys:
        kind = type(key)
        if kind is str or kind is bytes or key is None or kind is bool or (kind is int and -(1 << 63) <= key < 1 << 63):  # type: ignore[operator]
            continue
        raise BadRecord(f"a dict with a {kind.__name__} for a key, or a large int")


def _pushes(value: object) -> Step:
    """A step that pushes a constant."""

    def step(pickle: Pickle, pos: int) -> int:
        pickle._stack.append(value)
        return pos

    return step


def _bytes(width: int) -> Step:
    """A step that pushes the bytes behind a length so wide."""

    def step(pickle: Pickle, pos: int) -> int:
        data, pos = pickle._sized(width, pos)
        pickle._stack.append(data)
        return pos

    return step


def _text(width: int) -> Step:
    """A step that pushes the text behind a length so wide."""

    def step(pickle: Pickle, pos: int) -> int:
        data, pos = pickle._sized(width, pos)
        pickle._stack.append(str(data, "utf-8", "surrogatepass"))
        return pos

    return step


def _tuple(size: int) -> Step:
    """A step that makes a tuple of so many values."""

    def step(pickle: Pickle, pos: int) -> int:
        stack = pickle._stack
        if len(stack) < size:
            raise IndexError
        items = stack[-size:]
        del stack[-size:]
        pickle._add(tuple(items))
        return pos

    return step


def _empty(kind: type) -> Step:
    """A step that makes an empty container."""

    def step(pickle: Pickle, pos: int) -> int:
        pickle._add(kind())
        return pos

    return step


def _indexed(method: Callable[[Pickle, int, int], int], width: int) -> Step:
    """A step for an index into the memo that is so wide."""

    def step(pickle: Pickle, pos: int) -> int:
        end = pos + width
        return method(pickle, int.from_bytes(pickle._data[pos:end], "little"), end)

    return step


def _skips(width: int) -> Step:
    """A step over what says nothing that is needed."""
    return lambda pickle, pos: pos + width


_STEPS: dict[int, Step] = {
    # Protocol 0
    ord("("): Pickle._mark,
    ord("I"): Pickle._int_line,
    ord("L"): Pickle._long_line,
    ord("F"): Pickle._float_line,
    ord("V"): Pickle._text_line,
    ord("p"): Pickle._put_line,
    ord("g"): Pickle._get_line,
    ord("l"): Pickle._list,
    ord("t"): Pickle._tuple,
    ord("d"): Pickle._dict,
    ord("a"): Pickle._append,
    ord("s"): Pickle._setitem,
    # Protocol 1
    ord("J"): Pickle._int4,
    ord("]"): _empty(list),
    ord(")"): _pushes(()),
    ord("}"): _empty(dict),
    ord("e"): Pickle._appends,
    ord("u"): Pickle._setitems,
    ord("q"): _indexed(Pickle._put, 1),
    ord("r"): _indexed(Pickle._put, 4),
    ord("j"): _indexed(Pickle._get, 4),
    # Protocol 2: the protocol's number, small tuples, bools, longs
    0x80: _skips(1),
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    0x88: _pushes(True),
    0x89: _pushes(False),
    0x8A: Pickle._long1,
    # Protocol 3
    ord("B"): _bytes(4),
    ord("C"): _bytes(1),
    # Protocol 4: text and bytes, the memo in turn, and the length of what follows, all of which is here
    0x8C: _text(1),
    0x8D: _text(8),
    0x8E: _bytes(8),
    0x94: Pickle._memoize,
    0x95: _skips(8),
}
"""What each opcode does that isn't done on the spot. There are no others."""
