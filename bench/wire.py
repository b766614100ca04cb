"""The frames that the contenders carry, in a file."""

from __future__ import annotations

import random
import zlib
from pathlib import Path

__all__ = ["Wire"]


class Wire:
    """A file of so many frames as they are on the wire: `size` bytes of payload each, no two the same.

    header: bytes that stand before each length.
    """

    def __init__(self, folder: Path, frames: int, size: int, header: bytes = b"") -> None:
        """Make the file in `folder`."""
        self.frames = frames
        self.path = folder / f"{frames}-{size}-{header.hex()}.frames"
        noise = random.Random(size).randbytes(frames * size)
        lead = header + size.to_bytes(4, "big")
        with self.path.open("wb") as file:
            for start in range(0, len(noise), size):
                file.write(lead)
                file.write(noise[start : start + size])
        self._noise = noise

    def crc(self, times: int) -> int:
        """The CRC-32 of the payloads, so many times one after another."""
        crc = 0
        for _ in range(times):
            crc = zlib.crc32(self._noise, crc)
        return crc
