"""Frames that have not been made into objects yet."""

from __future__ import annotations

import operator
import struct

from ._pure_guard import Guarded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import overload


class FrameBatch(Guarded):
    """A sequence of frames that have not been made into objects yet.

    `len`, iteration and indexing give `bytes`, a slice gives a list of them. All of it stays
    valid as long as the batch, or anything it gave, is held, whatever the reader or decoder does
    next; it holds the whole chunk that its frames lie in, and no other.
    A batch can't be made, copied or pickled: it comes from `feed_batch` or `read_batch`.
    """

    __slots__ = ("_data", "_starts", "_stops")

    _data: bytes
    _starts: list[int]
    _stops: list[int]

    def __init__(self) -> None:
        raise TypeError("a FrameBatch can't be made: it comes from feed_batch() or read_batch()")

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[bytes]:
        return map(self._data.__getitem__, map(slice, self._starts, self._stops))

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, index: int) -> bytes: ...
        @overload
        def __getitem__(self, index: slice) -> list[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        """The frame at `index`, negative from the end, or a list for a slice. Raises IndexError, TypeError."""
        if isinstance(index, slice):
            return list(map(self._data.__getitem__, map(slice, self._starts[index], self._stops[index])))
        at = operator.index(index)
        if not -len(self._starts) <= at < len(self._starts):
            raise IndexError("frame index out of range")
        return self._data[self._starts[at] : self._stops[at]]

    def __repr__(self) -> str:
        return f"<FrameBatch of {len(self._starts)} frames>"

    def views(self) -> Iterator[memoryview]:
        """The frames as objects with `len`, `bytes()`, `memoryview()` and `==` that don't copy."""
        return map(memoryview(self._data).__getitem__, map(slice, self._starts, self._stops))

    @property
    def buffer(self) -> memoryview:
        """The bytes in which `offsets` and `lengths` tell where the frames are: read-only, format "B"."""
        return memoryview(self._data)

    @property
    def offsets(self) -> memoryview:
        """Where each frame starts in `buffer`, in bytes: read-only, format "q" (int64)."""
        return _int64(self._starts)

    @property
    def lengths(self) -> memoryview:
        """The size of each frame in bytes: read-only, format "q" (int64)."""
        return _int64([stop - start for start, stop in zip(self._starts, self._stops, strict=True)])


def batch(data: bytes, starts: list[int], stops: list[int]) -> FrameBatch:
    """The batch of the frames `data[start:stop]`."""
    made = FrameBatch.__new__(FrameBatch)
    made._data, made._starts, made._stops = data, starts, stops
    return made


def _int64(numbers: list[int]) -> memoryview:
    return memoryview(struct.pack(f"{len(numbers)}q", *numbers)).cast("q")
