"""The torture of a decoder's allocations: each call of it, on streams of several framings, from several places on."""

import faulthandler
import importlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import fastframe as ff

from . import engines, starvation
from .memory import MOST, TIMES, Starvation
from .parts import WATCH, Outcome, Strays, measured
from .starvation import Starved, is_confused

PAYLOADS = [b"first", b"2", b"", b"the fourth frame", b"x" * 600, b"y"]

FRAMINGS: dict[str, ff.Framing] = {
    "length": ff.LengthField(4),
    "trailer": ff.LengthField(3, trailer=b"\r\n"),
    "varint": ff.VarintLength(),
    "delimiter": ff.Delimiter(b"\n"),
    "netstring": ff.Netstring(),
    "content_length": ff.ContentLength(),
    "until_eof": ff.UntilEOF(),
}
NATIVE = ("length", "trailer", "varint", "delimiter")
"""Framings for which the Cython engine runs no Python code: so it can be without any memory."""

CUTS = (0, 2, 7, 40)

Action = Callable[[Any, bytes], tuple[Callable[..., Any], tuple[Any, ...]]]


def filled(decoder: Any, data: bytes) -> int:
    view = decoder.get_buffer(len(data))
    size = min(len(view), len(data))
    view[:size] = data[:size]
    return size


def pushed(decoder: Any, data: bytes) -> Any:
    decoder.push(data)
    return decoder


ACTIONS: dict[str, Action] = {
    "feed": lambda decoder, data: (decoder.feed, (data,)),
    "feed_copy": lambda decoder, data: (decoder.feed, (bytearray(data),)),
    "feed_batch": lambda decoder, data: (decoder.feed_batch, (data,)),
    "push": lambda decoder, data: (decoder.push, (data,)),
    "pop": lambda decoder, data: (pushed(decoder, data).pop, ()),
    "feed_eof": lambda decoder, data: (pushed(decoder, data).feed_eof, ()),
    "unread": lambda decoder, data: (pushed(decoder, data).unread, ()),
    "needed": lambda decoder, data: (getattr, (pushed(decoder, data), "needed")),
    "get_buffer": lambda decoder, data: (decoder.get_buffer, (len(data),)),
    "buffer_updated": lambda decoder, data: (decoder.buffer_updated, (filled(decoder, data),)),
    "batch_items": lambda decoder, data: (list, (decoder.feed_batch(data),)),
}
"""What is called without memory, once the decoder is where it can be. Both by name of the call."""

DELIVERING = ("feed", "feed_copy", "feed_batch", "feed_eof", "buffer_updated", "batch_items")


class Decoding:
    """Each allocation fails. A name is a call and a framing; the n of a case is one of the CUTS."""

    def __init__(self, strays: Strays) -> None:
        self._strays = strays
        self._is_over = False
        self._engine: ModuleType | None = None

    def missing(self) -> str | None:
        return starvation.missing()

    def names(self) -> list[str]:
        return [f"{action} {framing}" for action in ACTIONS for framing in FRAMINGS]

    def cases(self, engine: str, name: str) -> Iterator[Starvation | None]:
        self._engine = importlib.import_module(engines.MODULES[engine])
        is_native = engine == "cython" and name.partition(" ")[2] in NATIVE
        for n in range(2 * len(CUTS)):
            self._is_over = False
            for k in range(MOST):
                for times in (*TIMES[engine], 0) if is_native else TIMES[engine]:
                    yield None if self._is_over else Starvation(n, k, times)

    def run(self, name: str, case: Starvation) -> Outcome:
        # CPython leaks by itself: 3.13 the attributes of objects that are freed while there is no memory, 3.11 more.
        is_native = self._engine is not None and self._engine.__name__.endswith("_speedups")
        return measured(lambda: self._play(name, case), leaks=case.times == 1 and is_native)

    def _play(self, name: str, case: Starvation) -> tuple[int, list[str]]:
        self._strays.is_orderly = False
        faulthandler.dump_traceback_later(WATCH, exit=True)
        action, _, framing = name.partition(" ")
        assert self._engine is not None
        payloads = [b"only" * 5000] if framing == "until_eof" else PAYLOADS
        if case.n >= len(CUTS):
            payloads = [*payloads, b"z" * 300_000] if framing != "until_eof" else [b"only" * 50_000]
        run = Run(self._engine.Decoder(FRAMINGS[framing]), FRAMINGS[framing], payloads, CUTS[case.n % len(CUTS)])
        run.play(action, case)
        self._is_over = self._is_over or run.is_short
        faulthandler.cancel_dump_traceback_later()
        return int(not run.is_short), run.notes + self._strays.taken()


class Run:
    """A decoder, its stream, and what has come out."""

    def __init__(self, decoder: Any, framing: ff.Framing, payloads: list[bytes], cut: int) -> None:
        self._decoder, self._payloads = decoder, payloads
        self._wire = framing.encode_many(payloads)
        self._cut = cut
        self._frames: list[bytes] = decoder.feed(self._wire[:cut])
        self.notes: list[str] = []
        self.is_short = False

    def play(self, action: str, case: Starvation) -> None:
        """Make the call without memory, and then go on."""
        call, args = ACTIONS[action](self._decoder, self._wire[self._cut :])
        before = self._position()
        starved = Starved()
        result = None
        try:
            result = starved.call(case.k, case.times, call, *args)
        except Exception as error:
            if not isinstance(error, MemoryError) and not is_confused(error):
                self.notes.append(f"{action} raised {error!r}")
            failed = True
        else:
            failed = False
            if action == "pop" and result is not None:
                self._frames.append(result)
            elif action in DELIVERING:
                self._frames += result
        self.is_short = starved.is_short
        if action == "batch_items" and failed:
            self._frames += args[0]
        if action == "unread" and not failed:
            self._decoder.push(result)
        try:
            self._go_on(action, args, before, failed)
        except MemoryError:
            self._check_broken()
        except Exception as error:
            self.notes.append(f"the stream went on with {error!r}")

    def _position(self) -> int:
        """How many bytes of the stream the decoder has taken."""
        return self._decoder.stats.bytes + self._decoder.buffered

    def _go_on(self, action: str, args: tuple[Any, ...], before: int, failed: bool) -> None:
        decoder, wire = self._decoder, self._wire
        if action == "buffer_updated" and failed and self._position() == before:
            filled(decoder, wire[before:])
            self._frames += decoder.buffer_updated(*args)
        if action == "unread" and not failed:
            self._frames += decoder.feed(b"")
        else:
            at = self._position()
            if failed and at not in (before, before + len(wire) - self._cut, before + self._lent(action, args)):
                decoder.feed(b"")  # raises if it is broken
                self.notes.append(f"{at - before} bytes were taken of a call that failed")
            self._frames += decoder.feed(wire[at:] if not decoder.error else b"")
        self._frames += decoder.feed_eof()
        if self._frames != self._payloads:
            sizes = [len(frame) for frame in self._frames], [len(frame) for frame in self._payloads]
            self.notes.append("frames came out of {} bytes, and {} went in".format(*sizes))

    @staticmethod
    def _lent(action: str, args: tuple[Any, ...]) -> int:
        return int(args[0]) if action == "buffer_updated" else 0

    def _check_broken(self) -> None:
        """The bytes that were lost have ended the stream, and every call says so; what came before is right."""
        try:
            self._decoder.feed(b"")
            self.notes.append("MemoryError again, and then none")
        except MemoryError:
            pass
        if self._frames != self._payloads[: len(self._frames)]:
            self.notes.append("other frames came out than went in, before it broke")
