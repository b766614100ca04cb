"""Frames laid out in bytes of their own."""

from __future__ import annotations

from ._description import flat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer

    from .framing import Framing


def encode(framing: Framing, payload: Buffer) -> bytes:
    """The frame that carries `payload`. Raises as the framing's `parts` does."""
    return b"".join(framing.parts(payload))


def encode_many(framing: Framing, payloads: Iterable[Buffer]) -> bytes:
    """The frames of all payloads, one behind the other. Raises as the framing's `parts` does for the first at fault."""
    pieces: list[bytes | memoryview] = []
    for payload in payloads:
        # The iterable may use the same memory for its next payload.
        pieces += framing.parts(payload if type(payload) is bytes else bytes(flat(payload)))
    return b"".join(pieces)
