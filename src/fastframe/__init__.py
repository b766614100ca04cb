"""Message framing: describe a frame once, then read and write it over any stream of bytes."""

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

__version__ = "0.1.0"

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
    "Netstring",
    "QueueFull",
    "SendInterrupted",
    "Stats",
    "TruncatedFrame",
    "UntilEOF",
    "VarintLength",
    "connect",
    "engine",
    "preset",
    "presets",
    "wrap",
]
