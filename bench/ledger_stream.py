"""Frames that can be told from all others: a secret of their connection, a number, filler and a checksum in each."""

from __future__ import annotations

import random
import struct
import zlib
from typing import NamedTuple

import numpy as np

__all__ = ["LEAST", "Block", "Stream", "judged"]

HEAD = struct.Struct(">I8s8s")
"""The length, the secret, and the number."""
LEAST = HEAD.size + 8
"""Bytes of a frame without filler: behind it stands the checksum."""
NOISE = np.frombuffer(random.Random(0).randbytes(1 << 20), np.uint8)
MIXERS = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


class Block(NamedTuple):
    """Frames of one size, one behind the other, as they are on the wire."""

    data: bytes
    size: int
    """Of a frame."""


class Stream:
    """One direction of one connection."""

    def __init__(self, rng: random.Random) -> None:
        self.secret = rng.randbytes(8)
        self._rng = rng
        self._next = 0

    def block(self, count: int, filler: int) -> Block:
        """The next so many frames, with so many bytes of filler in each: at most 1 MiB."""
        at = self._rng.randrange(len(NOISE) - filler + 1)
        noise = NOISE[at : at + filler]
        numbers = np.arange(self._next, self._next + count, dtype="<u8")
        self._next += count
        frames = np.empty((count, LEAST + filler), np.uint8)
        frames[:, :4] = np.frombuffer((LEAST + filler - 4).to_bytes(4, "big"), np.uint8)
        frames[:, 4:12] = np.frombuffer(self.secret, np.uint8)
        frames[:, 12:20] = numbers.view(np.uint8).reshape(count, 8)
        frames[:, 20:-8] = noise
        frames[:, -8:] = checksums(self.secret, numbers, noise.tobytes()).view(np.uint8).reshape(count, 8)
        return Block(frames.tobytes(), LEAST + filler)


def checksums(secret: bytes, numbers: np.ndarray, filler: bytes) -> np.ndarray:
    """Of frames that differ in their numbers alone; each bit depends on all of them."""
    key = int.from_bytes(secret, "little") ^ zlib.crc32(filler) * MIXERS[0] & 0xFFFFFFFFFFFFFFFF
    mixed = numbers ^ np.uint64(key)
    for mixer in MIXERS:
        mixed = (mixed ^ mixed >> np.uint64(31)) * np.uint64(mixer)
    return (mixed ^ mixed >> np.uint64(29)).astype("<u8")


def judged(expected: bytes, came: bytes) -> str:
    """What has happened to a frame, in whose place other bytes came: perhaps not all of them are there, or more."""
    _, secret, number = HEAD.unpack_from(expected)
    place = int.from_bytes(number, "little")
    size = 4 + int.from_bytes(came[:4], "big")
    if not LEAST <= size <= len(came):
        return f"altered: {came[:64]!r}… in place of frame {place}"
    _, its_secret, its_number = HEAD.unpack_from(came)
    its_checksum = checksums(its_secret, np.frombuffer(its_number, "<u8"), came[HEAD.size : size - 8]).tobytes()
    if its_checksum != came[size - 8 : size]:
        return f"altered: frame {place} has another checksum"
    its_place = int.from_bytes(its_number, "little")
    if its_secret != secret:
        return f"crossed: another connection's frame {its_place} in place of frame {place}"
    return f"{'lost' if its_place > place else 'doubled'}: frame {its_place} in place of frame {place}"
