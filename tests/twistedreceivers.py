"""Receivers for the tests of the Twisted face: a fixture, which each file imports and names in `__all__`; and helpers."""

import gc
import struct
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("twisted")

from twisted.internet.testing import StringTransport

import fastframe._twisted_frames
import fastframe._twisted_lines

MODULES = [fastframe._twisted_frames, fastframe._twisted_lines]
Act = Callable[[Any, bytes], object]


@pytest.fixture(autouse=True)
def on_engine(engine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in MODULES:
        monkeypatch.setattr(module, "Decoder", engine.Decoder)


@pytest.fixture
def given_bytes(engine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all that decoders are given."""

    class Counting:
        def __init__(self, framing: Any) -> None:
            self._decoder = engine.Decoder(framing)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._decoder, name)

        def feed(self, data: bytes) -> Any:
            sizes.append(len(data))
            return self._decoder.feed(data)

        def push(self, data: bytes) -> None:
            sizes.append(len(data))
            self._decoder.push(data)

    sizes: list[int] = []
    for module in MODULES:
        monkeypatch.setattr(module, "Decoder", Counting)
    return sizes


class Strings:
    """A receiver of strings that keeps what it is called with; `act` is called with itself and each string."""

    act: Act | None = None

    def __init__(self) -> None:
        self.events: list[object] = []

    def stringReceived(self, string: bytes) -> None:
        self.events.append(string)
        if self.act is not None:
            self.act(string)

    def lengthLimitExceeded(self, length: int) -> None:
        self.events.append(length)


class Lines:
    """A receiver of lines that keeps what it is called with; `act` is called with itself and each line."""

    act: Act | None = None
    delimiter = b"\n"

    def __init__(self) -> None:
        self.events: list[object] = []

    def lineReceived(self, line: bytes) -> object:
        self.events.append(line)
        return self.act(line) if self.act is not None else None

    def rawDataReceived(self, data: bytes) -> None:
        self.events.append(("raw", data))

    def lineLengthExceeded(self, line: bytes) -> None:
        self.events.append(("long", line))


def receiver(cls: Any, act: Act | None = None, **attributes: Any) -> Any:
    """A connected protocol of this class that records; `attributes` are those of its class."""
    recorder = Lines if "Line" in cls.__name__ else Strings
    made = type(cls.__name__, (recorder, cls), {"act": act, **attributes})()
    made.makeConnection(StringTransport())
    return made


def wire(*strings: bytes, form: str | bytes = "!I") -> bytes:
    return b"".join(struct.pack(form, len(string)) + string for string in strings)


def netstrings(*strings: bytes) -> bytes:
    return b"".join(b"%d:%b," % (len(string), string) for string in strings)


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    """The data in pieces of these sizes, the rest as the last one."""
    out = []
    for size in sizes:
        out.append(data[:size])
        data = data[size:]
    return [*out, data]


def feed(protocol: Any, data: bytes, size: int) -> None:
    """Let the protocol have the data, so many bytes at a time."""
    for at in range(0, len(data), size):
        protocol.dataReceived(data[at : at + size])


def traced(call: Callable[[], object]) -> tuple[int, int]:
    """The bytes of memory that the call has left in use, and the most there were meanwhile."""
    if sys.implementation.name != "cpython":
        pytest.skip("the bounds are CPython's")
    import tracemalloc

    tracemalloc.start()
    try:
        call()
        peak = tracemalloc.get_traced_memory()[1]
        gc.collect()
        return tracemalloc.get_traced_memory()[0], peak
    finally:
        tracemalloc.stop()
