"""Picks the engine: the only file that names one.

FASTFRAME_PURE=1 asks for the pure one, =0 insists on Cython and lets the ImportError out;
unset or empty, Cython is taken if it is there.
"""

from __future__ import annotations

import os

from ._description import Framing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

_choice = os.environ.get("FASTFRAME_PURE", "")
if _choice not in ("", "0", "1"):
    raise ImportError(f'FASTFRAME_PURE must be "0", "1" or unset, not {_choice!r}')

engine: Literal["cython", "pure"]

if TYPE_CHECKING or _choice == "1":
    from ._pure import Decoder, FrameBatch, FrameReader, FrameWriter, Poller, Slices, encode, encode_many, wait

    engine = "pure"
else:
    try:
        from ._speedups import Decoder, FrameBatch, FrameReader, FrameWriter, Poller, Slices, encode, encode_many, wait

        engine = "cython"
    except ModuleNotFoundError:
        # Only a missing extension falls back; a broken one must not become a slow one.
        if _choice == "0":
            raise
        from ._pure import Decoder, FrameBatch, FrameReader, FrameWriter, Poller, Slices, encode, encode_many, wait

        engine = "pure"

Framing._decoder = Decoder
Framing._encode = encode
Framing._encode_many = encode_many

__all__ = [
    "Decoder",
    "FrameBatch",
    "FrameReader",
    "FrameWriter",
    "Poller",
    "Slices",
    "encode",
    "encode_many",
    "engine",
    "wait",
]
