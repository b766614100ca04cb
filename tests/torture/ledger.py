"""The frames of one direction of a connection: what was sent, what arrived, and what is wrong between the two."""

import random
import re
import string
import zlib
from bisect import bisect_right
from collections.abc import Callable
from functools import lru_cache

import fastframe as ff

LETTERS = "".join(random.Random(2026).choices(string.ascii_letters, k=1 << 16))
FORM = re.compile(rb"(\w)(\d{6})([0-9a-f]{8})(\w*)\Z", re.ASCII)
SMALLEST = 15
"""Bytes of the shortest frame that isn't empty."""


@lru_cache(maxsize=4096)
def payload_of(name: str, number: int, size: int) -> bytes:
    """The frame of this number, `size` bytes or at least SMALLEST: name, number, checksum, letters. 0 bytes are 0."""
    if not size:
        return b""
    at = number * 7919 % 40_000
    rest = max(size - SMALLEST, 0)
    body = (LETTERS[at:] + LETTERS * (rest // len(LETTERS) + 1))[:rest].encode()
    return b"%s%06d%08x%s" % (name.encode(), number, zlib.crc32(body, number), body)


@lru_cache(maxsize=4096)
def wire_size(framing: ff.Framing, payload: bytes) -> int:
    """The bytes that the frame takes."""
    return sum(map(len, framing.parts(payload)))


class Ledger:
    """One direction. Empty frames carry no number: their place tells.

    name: one letter, different for the directions that could be mixed up.
    note: takes a line for each thing that is wrong.
    """

    def __init__(self, name: str, framing: ff.Framing, note: Callable[[str], None]) -> None:
        self.name = name
        self.framing = framing
        self.issued: list[bytes] = []
        self.promised = 0
        """So many frames are whole with the kernel, as the sender was told."""
        self.arrived = 0
        self.carried: dict[int, list[int]] = {}
        """The inodes of the descriptors that went with a frame, by its number."""
        self._ends: list[int] = []
        self._note = note

    def issue(self, size: int) -> bytes:
        """The payload of the next frame to be sent."""
        payload = payload_of(self.name, len(self.issued), size)
        self.issued.append(payload)
        self._ends.append(self.bytes_of(len(self._ends)) + wire_size(self.framing, payload))
        return payload

    def withdraw(self) -> None:
        """The last frame wasn't taken, and isn't sent again."""
        self.issued.pop()
        self._ends.pop()

    def arrive(self, frame: bytes) -> None:
        """A frame was received."""
        expected = self.issued[self.arrived] if self.arrived < len(self.issued) else None
        if not frame and isinstance(self.framing, ff.UntilEOF) and not self.promised:
            return  # where a stream is a frame, one that carried nothing is an empty one
        if frame != expected:
            self._note(f"{self.name}: {self._fault_of(frame)}, where frame {self.arrived} was due")
            # Whatever is the next one: each fault is told once.
            found = FORM.match(frame)
            if found is None or self.issued[int(found[2]) :][:1] != [frame]:
                return
            self.arrived = int(found[2])
        self.arrived += 1

    def _fault_of(self, frame: bytes) -> str:
        found = FORM.match(frame)
        if found is None:
            return f"damaged: {len(frame)} bytes" if frame else "doubled, or never sent: an empty frame"
        name, number = found[1].decode(), int(found[2])
        if name != self.name:
            return f"foreign: frame {number} of {name}"
        if number >= len(self.issued):
            return f"never sent: frame {number} of {len(self.issued)}"
        if frame != self.issued[number]:
            return f"damaged: frame {number}"
        return f"doubled or late: frame {number}" if number < self.arrived else f"lost before frame {number}"

    def bytes_of(self, frames: int) -> int:
        """The bytes of the first so many frames on the wire, or of all that there are."""
        return self._ends[min(frames, len(self._ends)) - 1] if frames and self._ends else 0

    def frames_in(self, size: int) -> int:
        """How many frames are whole in the first `size` bytes on the wire."""
        return bisect_right(self._ends, size)
