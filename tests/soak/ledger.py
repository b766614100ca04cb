"""Frames that tell on arrival whether one was lost, doubled, reordered, damaged, or is another stream's."""

import os
import struct
import zlib
from collections.abc import Callable

HEAD = struct.Struct(">8sI")
SMALLEST = HEAD.size + 4
FILLER = os.urandom(1 << 20)


class Stream:
    """One direction of one connection: it has a secret of its own, which is in each of its frames.

    empty_every: each so many frames one is empty; 0 for none. Its place alone tells that it is there.
    """

    def __init__(self, empty_every: int = 0) -> None:
        self.secret = os.urandom(8)
        self._empty_every = empty_every

    def is_empty(self, number: int) -> bool:
        return self._empty_every > 0 and number % self._empty_every == self._empty_every - 1

    def payload(self, number: int, size: int) -> bytes:
        """The frame of this number, from 0 on: the secret, the number, filler, a checksum; about `size` bytes."""
        if self.is_empty(number):
            return b""
        at = number * 7919 % len(FILLER)
        body = HEAD.pack(self.secret, number) + FILLER[at : at + max(0, size - SMALLEST)]
        return body + zlib.crc32(body).to_bytes(4, "big")


def secret_of(frame: bytes) -> bytes:
    """The secret of the stream that the frame says it belongs to."""
    return bytes(frame[:8])


class Ledger:
    """Takes the frames of a stream as they arrive; `note` gets a line for each that is wrong."""

    def __init__(self, stream: Stream, note: Callable[[str], None]) -> None:
        self._stream, self._note = stream, note
        self._next = 0
        self._missing: set[int] = set()
        self.taken = 0

    def take(self, frame: bytes) -> None:
        """The next frame that arrived."""
        self.taken += 1
        if not frame:
            if self._stream.is_empty(self._next):
                self._next += 1
            else:
                self._note(f"doubled or foreign: an empty frame in place of frame {self._next}")
            return
        if len(frame) < SMALLEST or zlib.crc32(frame[:-4]).to_bytes(4, "big") != frame[-4:]:
            self._note(f"damaged: {len(frame)} bytes in place of frame {self._next}")
            return
        secret, number = HEAD.unpack_from(frame)
        if secret != self._stream.secret:
            self._note(f"foreign: another stream's frame {number} in place of frame {self._next}")
        elif number >= self._next:
            self._missing |= set(range(self._next, number))
            self._next = number + 1
        elif number in self._missing:
            self._missing.remove(number)
            self._note(f"reordered: frame {number} after frame {self._next - 1}")
        else:
            self._note(f"doubled: frame {number} after frame {self._next - 1}")

    def balance(self, sent: int) -> None:
        """The stream has ended, and so many frames were sent."""
        self._missing |= set(range(self._next, sent))
        if self._missing:
            self._note(f"lost: {len(self._missing)} of {sent} frames, the first is {min(self._missing)}")
        if self._next > sent:
            self._note(f"never sent: {self._next - sent} frames behind the last, {sent - 1}")
