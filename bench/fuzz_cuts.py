"""What the fuzzer does with an input where the number of runs counts: the stream at every cut, and nothing else.

A run is one stream through one fresh Decoder, in two pieces, at each place in turn; and in single bytes once. Frames
and error must be those of the stream in one piece, which the pure engine gives for each input anew.
"""

from __future__ import annotations

from typing import Any

import fastframe as ff
from fuzz_input import case_of
from fuzz_target import found, outcome_of

LONGEST = 300  # bytes of a stream; longer ones are cut off


class Cuts:
    """Takes inputs; counts the runs made of them."""

    def __init__(self, engine: Any) -> None:
        self.decoder = engine.Decoder
        self.inputs = 0
        self.runs = 0
        self.writers = 0

    def __call__(self, data: bytes) -> None:
        """All that is done with one input. Raises AssertionError, or whatever else should not come out."""
        self.inputs += 1
        framing, stream, _, _ = case_of(data)
        stream = stream[:LONGEST]
        expected = outcome_of(framing, stream)
        frames, error = expected.frames, expected.error
        size = len(stream)
        self.check(framing, [stream[at : at + 1] for at in range(size)], frames, error)
        places = range(size + 1)
        if isinstance(error, ff.InvalidFrame):
            for at in places:
                self.check(framing, [stream[:at], stream[at:]], frames, error)
            return
        self.runs += len(places)
        # Whether the end is clean doesn't depend on the cuts that end on the same bytes held: what is held tells.
        whole = self.decoder(framing)
        sent, left = whole.feed(stream), whole.buffered
        if sent + self.rest_of(whole) != frames or whole.error != error:
            found("in one piece", framing, [stream], expected, sent, whole.error)
        make = self.decoder
        for at in places:
            decoder = make(framing)
            got = decoder.feed(stream[:at])
            got += decoder.feed(stream[at:])
            if got != sent or decoder.buffered != left:
                found("cut in two", framing, [stream[:at], stream[at:]], expected, got, decoder.buffered)

    def check(self, framing: ff.Framing, chunks: list[bytes], frames: list[bytes], error: ff.FrameError | None) -> None:
        """One run, to its end."""
        self.runs += 1
        decoder = self.decoder(framing)
        got: list[bytes] = []
        try:
            for chunk in chunks:
                got += decoder.feed(chunk)
            got += decoder.feed_eof()
        except ff.FrameError:
            pass
        if got != frames or decoder.error != error:
            found("cut", framing, chunks, frames, got, decoder.error)

    @staticmethod
    def rest_of(decoder: Any) -> list[bytes]:
        try:
            rest: list[bytes] = decoder.feed_eof()
        except ff.FrameError:
            rest = []
        return rest
