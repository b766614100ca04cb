"""Message framing: describe a frame once, then read and write it over any stream of bytes."""

from __future__ import annotations

from ._engine import Decoder, FrameBatch, FrameReader, FrameWriter, engine
from .connection import Connection, connect, wrap
from .errors import (
    BadLength,
    BadMagic,
    BadTrailer,
    ConcurrentUse,
    ConnectionClosed,
    ConnectionLost,
    FrameError,
    FrameTimeout,
    FrameTooLarge,
    InvalidFrame,
    QueueFull,
    SendInterrupted,
    TruncatedFrame,
)
from .framing import (
    AsciiLength,
    Computed,
    ContentLength,
    Delimiter,
    FixedSize,
    Framing,
    LengthField,
    Netstring,
    UntilEOF,
    VarintLength,
)
from .presets import preset, presets
from .stats import Stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from . import anyio as anyio
    from . import asyncio as asyncio
    from . import logging as logging
    from . import multiprocessing as multiprocessing
    from . import rpyc as rpyc
    from . import thrift as thrift
    from . import twisted as twisted
    from ._limits import Limits as Limits
    from .server import Server as Server
    from .server import serve as serve

__version__ = "0.1.0"

_LATER = {
    "Limits": "_limits",
    "Server": "server",
    "anyio": "anyio",
    "asyncio": "asyncio",
    "logging": "logging",
    "multiprocessing": "multiprocessing",
    "rpyc": "rpyc",
    "serve": "server",
    "server": "server",
    "thrift": "thrift",
    "twisted": "twisted",
}
"""What is imported when it is first asked for, and from where: who doesn't use it doesn't pay for it."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f"{__name__}.{_LATER[name]}")
    found = module if name == _LATER[name] else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    from importlib.util import find_spec

    missing = {name for name in ("anyio", "rpyc", "thrift", "twisted") if find_spec(name) is None}
    return sorted({*globals(), *_LATER} - missing)


__all__ = [
    "AsciiLength",
    "BadLength",
    "BadMagic",
    "BadTrailer",
    "Computed",
    "ConcurrentUse",
    "Connection",
    "ConnectionClosed",
    "ConnectionLost",
    "ContentLength",
    "Decoder",
    "Delimiter",
    "FixedSize",
    "FrameBatch",
    "FrameError",
    "FrameReader",
    "FrameTimeout",
    "FrameTooLarge",
    "FrameWriter",
    "Framing",
    "InvalidFrame",
    "LengthField",
    "Limits",
    "Netstring",
    "QueueFull",
    "SendInterrupted",
    "Server",
    "Stats",
    "TruncatedFrame",
    "UntilEOF",
    "VarintLength",
    "connect",
    "engine",
    "preset",
    "presets",
    "serve",
    "wrap",
]
