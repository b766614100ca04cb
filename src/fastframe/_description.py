"""The base of all descriptions: what they share, and what an engine may ask of one.

A description is immutable, does no I/O and keeps no state. It answers four questions
for an engine: where does the frame that starts here end (`_measure`), what if the
stream ends now (`_finish`, `_truncated`), and what is wrong with this frame's trailer
(`_bad_trailer`). An engine may know a faster way to the first answer, never another
one: whatever looks wrong to it, it asks here, so that both engines raise the same
error with the same words. `_measure` judges byte by byte, from the frame's start:
its verdict on n bytes never depends on how they came.
"""

from __future__ import annotations

import operator
import sys

from .errors import BadTrailer, FrameTooLarge, TruncatedFrame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, ClassVar, Literal, NoReturn, Self, TypeVar

    from typing_extensions import Buffer

    Frame = tuple[int, int, int, int]
    """Of a frame whose end is known: its whole size, where its payload starts and ends, its header's size."""

    F = TypeVar("F", bound="Framing")

MAX_SIZE = 16 * 1024 * 1024
"""The default of `max_size`, in bytes delivered."""

MAX_HEADER = 64 * 1024
"""The most bytes that a header, a trailer, a delimiter or an offset in them may have."""

# No limit goes beyond this, so that an engine may add a header and a trailer to it in a signed machine word.
_ADDRESSABLE = sys.maxsize - (1 << 20)


class Framing:
    """What a frame looks like: the base class of all descriptions.

    Descriptions are immutable, hashable, comparable and picklable, and their `repr`
    evaluates back to them. This class can't be extended; for a layout of your own there
    is `Computed`.

    limit: the most bytes that a frame delivers or that `encode` takes: `max_size`, but
        never more than the length field can say.
    """

    __slots__ = ("_given", "_plan", "limit")

    limit: int
    _given: dict[str, Any]
    _plan: object  # what an engine keeps here to encode faster, or None
    _defaults: ClassVar[dict[str, Any]] = {}
    _positional: ClassVar[tuple[str, ...]] = ()

    # The engine's Decoder, and its functions that encode. _engine.py sets them, so that nothing here imports a higher floor.
    _decoder: ClassVar[Callable[[Framing], Any]]
    _encode: ClassVar[Callable[[Framing, Buffer], bytes]]
    _encode_many: ClassVar[Callable[[Framing, Iterable[Buffer]], bytes]]

    # The bytes that a frame ends with behind its payload, and the most bytes `_measure` looks at.
    _trailer: bytes = b""
    _reach: int = 0

    def __init_subclass__(cls) -> None:
        if not cls.__module__.startswith(__package__ + "."):
            raise TypeError("descriptions can't be extended: use fastframe.Computed for a layout of your own")

    def __init__(self) -> None:
        raise TypeError("Framing is the base of all descriptions: make a LengthField, a Delimiter, ...")

    def _keep(self, given: dict[str, Any], limit: int | None = None, **derived: Any) -> None:
        """Set what was given, what follows from it, and the limit that the field allows (None: any)."""
        for name, value in {**given, **derived}.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_given", given)
        object.__setattr__(self, "_plan", None)
        if "max_size" in given:
            most = integer("max_size", given["max_size"], 0)
            limit = most if limit is None else min(most, limit)
        if limit is None or limit < 0:
            raise ValueError("no frame can be like this: its length can't say as much as its header and trailer take")
        object.__setattr__(self, "limit", min(limit, _ADDRESSABLE))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable: replace({name}=...) makes a changed copy")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return bool(self._given == other._given)

    def __hash__(self) -> int:
        return hash((type(self), tuple(self._given.values())))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._given)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __repr__(self) -> str:
        words = [_shown(self._given[name]) for name in self._positional]
        for name, default in self._defaults.items():
            if self._given[name] != default:
                words.append(f"{name}={self._given[name]!r}")
        return f"{type(self).__name__}({', '.join(words)})"

    def replace(self, **changes: Any) -> Self:
        """A copy with other parameters, named as the class names them. Raises as the class does."""
        return _rebuild(type(self), {**self._given, **changes})

    def parts(self, payload: Buffer) -> tuple[bytes, bytes | memoryview, bytes]:
        """Head, body and tail of the frame that carries `payload`, for vectored writing.

        Joined, they are `encode(payload)`. The body is the payload itself or a view of it,
        not a copy. Raises FrameTooLarge beyond `limit`, ValueError for a payload that the
        frame can't carry, TypeError for what isn't a buffer.
        """
        raise NotImplementedError

    def encode(self, payload: Buffer) -> bytes:
        """The frame that carries `payload`; `decode` gives it back. Raises as `parts` does."""
        return self._encode(payload)

    def encode_many(self, payloads: Iterable[Buffer]) -> bytes:
        """The frames of all payloads, one behind the other. Raises as `parts` does, for the first at fault.

        Each payload is taken as it is when the iterable gives it: its memory may then be used for the next one.
        """
        return self._encode_many(payloads)

    def decode(self, data: Buffer) -> list[bytes]:
        """The payloads of all frames in `data`, which ends with the last of them.

        Raises InvalidFrame where the bytes break the framing, and TruncatedFrame if some are left over.
        """
        decoder = type(self)._decoder(self)
        frames: list[bytes] = decoder.feed(data)
        if decoder.error is None:
            frames += decoder.feed_eof()
        if decoder.error is not None:
            raise decoder.error
        return frames

    def _measure(self, data: bytes | bytearray, pos: int, end: int, seen: int = 0) -> Frame | int:
        """How far the frame goes that starts at `pos` of `data`, whose bytes end at `end`.

        An int is how many bytes of the frame must be there before more can be known: to the
        end of the header, or one more than there are. Its first `seen` bytes have been
        measured before and gave no answer. Raises InvalidFrame, without offset.
        """
        raise NotImplementedError

    def _finish(self, rest: bytes) -> list[bytes] | None:
        """What the end of the stream makes of the last, unfinished frame; None: it is truncated."""
        return None if rest else []

    def _truncated(self, rest: bytes, offset: int, measured: Frame | int) -> TruncatedFrame:
        """The error for a stream that ends behind `rest`, which `_measure` has answered so."""
        if isinstance(measured, int):
            return TruncatedFrame("header", len(rest), None, rest, offset)
        stage: Literal["header", "payload"] = "header" if len(rest) < measured[3] else "payload"
        return TruncatedFrame(stage, len(rest), measured[0], rest, offset)

    def _bad_trailer(self, data: bytes, offset: int) -> BadTrailer:
        """The error for the complete frame `data`, which doesn't end as it must."""
        got = data[-len(self._trailer) :]
        reason = f"frame ends with {got.hex()} instead of {self._trailer.hex()}"
        return BadTrailer(reason, self._length_header(data))._located(offset, data[:8])

    def _length_header(self, data: bytes) -> bytes:
        """The bytes of the frame `data` up to the end of its length field."""
        measured = self._measure(data, 0, len(data))
        return b"" if isinstance(measured, int) else data[: measured[3]]

    def _carried(self, body: bytes | memoryview) -> tuple[bytes, bytes | memoryview, bytes]:
        """The parts of a frame whose payload brings its own header along, which must be right."""
        self._fits(len(body))
        start = bytes(body[: self._reach])
        measured = self._measure(start, 0, len(start))
        if isinstance(measured, int):
            raise ValueError(f"the payload must begin with its header: {measured} bytes or more, it has {len(body)}")
        if measured[0] != len(body):
            raise ValueError(f"the payload's header says {measured[0]} bytes, it has {len(body)}")
        return b"", body, b""

    def _fits(self, size: int) -> None:
        """Raise FrameTooLarge if a payload of `size` bytes exceeds the limit."""
        if size > self.limit:
            raise FrameTooLarge(size, self.limit)


def _rebuild(cls: type[F], given: dict[str, Any]) -> F:
    return cls(**given)


def _shown(value: object) -> str:
    return getattr(value, "__qualname__", None) or repr(value)


def integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """`value` as an int within low..high, both included; TypeError or ValueError says which parameter is wrong."""
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not a bool")
    number = operator.index(value)
    if number < low or (high is not None and number > high):
        most = f"at least {low}" if high is None else f"{low} to {high}"
        raise ValueError(f"{name} must be {most}, not {number}")
    return number


def octets(name: str, value: Any) -> bytes:
    """`value`, a bytes-like object of at most MAX_HEADER bytes, as bytes."""
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError(f"{name} must be bytes, not {type(value).__name__}")
    if len(value) > MAX_HEADER:
        raise ValueError(f"{name} must have at most {MAX_HEADER} bytes, not {len(value)}")
    return bytes(value)


def flat(payload: Buffer) -> bytes | memoryview:
    """The payload's bytes: itself, or a one-dimensional view of it; a copy only if its bytes don't lie in a row."""
    if type(payload) is bytes:
        return payload
    view = memoryview(payload)
    if view.nbytes == 0:
        return b""
    return view.cast("B") if view.c_contiguous else view.tobytes()
