"""Both engines are the same: any calls in any order, side by side, with the same frames, errors, and state."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import fastframe as ff
from support import cases, framings, result, streams


def state(decoder: Any) -> Any:
    error = decoder.error
    told = error and (type(error), error.args, str(error))
    return decoder.buffered, told, decoder.stats, decoder.framing


def same(calls: list[Any], first: Any, second: Any) -> None:
    """Make the calls on both decoders and compare each result and the state behind it."""
    for call in calls:
        assert result(call, first) == result(call, second)
        assert state(first) == state(second)


def fill(decoder: Any, data: bytes, count: int) -> Any:
    view = decoder.get_buffer()
    view[: len(data)] = data
    return decoder.buffer_updated(count)


@given(case=cases(), eof=st.booleans())
def test_feeds(both: Any, case: Any, eof: bool) -> None:
    framing, chunks = case
    first, second = (engine.Decoder(framing) for engine in both)
    calls = [lambda d, c=chunk: (d.feed(c), d.needed) for chunk in chunks]
    same([*calls, *[lambda d: d.feed_eof()] * 2 * eof, lambda d: d.unread()], first, second)


class Pair(RuleBasedStateMachine):
    """Two decoders, one of each engine, and every call there is."""

    engines: tuple[Any, Any]

    @initialize(framing=framings(), data=st.data())
    def start(self, framing: Any, data: Any) -> None:
        self.pair = [engine.Decoder(framing) for engine in self.engines]
        self.stream = data.draw(streams(framing)) * 2
        self.framing = framing
        self.handed = False

    def agree(self, call: Any) -> Any:
        results = [result(call, decoder) for decoder in self.pair]
        assert results[0] == results[1]
        return results[0]

    def some(self, count: int) -> bytes:
        chunk, self.stream = self.stream[:count], self.stream[count:]
        return chunk

    @rule(count=st.integers(0, 20), kind=st.sampled_from([bytes, bytearray, memoryview]))
    def feed(self, count: int, kind: Any) -> None:
        chunk = self.some(count)
        self.agree(lambda d: d.feed(kind(chunk)))

    @rule(count=st.integers(0, 20), kind=st.sampled_from([bytes, bytearray]))
    def feed_batch(self, count: int, kind: Any) -> None:
        chunk = self.some(count)
        self.agree(lambda d: list(d.feed_batch(kind(chunk))))

    @rule(count=st.integers(0, 20))
    def push(self, count: int) -> None:
        chunk = self.some(count)
        self.agree(lambda d: d.push(chunk))

    @rule()
    def pop(self) -> None:
        self.agree(lambda d: d.pop())

    @rule()
    def needed(self) -> None:
        self.agree(lambda d: d.needed)

    @rule(count=st.integers(0, 20))
    def buffer(self, count: int) -> None:
        chunk = self.some(count)
        self.agree(lambda d: fill(d, chunk, len(chunk)))

    @rule(hint=st.integers(-1, 100))
    def get_buffer(self, hint: int) -> None:
        self.agree(lambda d: len(d.get_buffer(hint)) >= 1)

    @rule(count=st.sampled_from([-1, 0, 1 << 40]))
    def buffer_updated(self, count: int) -> None:
        self.agree(lambda d: d.buffer_updated(count))

    @rule()
    def unread(self) -> None:
        self.agree(lambda d: d.unread())

    @rule(framing=framings())
    def assign(self, framing: Any) -> None:
        self.agree(lambda d: setattr(d, "framing", framing))

    @rule(limit=st.integers(0, 20))
    def limit(self, limit: int) -> None:
        if not isinstance(self.framing, ff.FixedSize):
            try:
                framing = self.framing.replace(max_size=limit)
            except ValueError:
                return
            self.agree(lambda d: setattr(d, "framing", framing))

    @rule(wrong=st.sampled_from([None, "text", 3]))
    def misuse(self, wrong: Any) -> None:
        for method in ("feed", "feed_batch", "push", "__init__"):
            self.agree(lambda d, m=method: getattr(d, m)(wrong))

    @precondition(lambda self: len(self.stream) < 10)
    @rule()
    def feed_eof(self) -> None:
        self.agree(lambda d: d.feed_eof())

    @invariant()
    def states_agree(self) -> None:
        if hasattr(self, "pair"):
            assert state(self.pair[0]) == state(self.pair[1])


def test_any_calls_in_any_order(both: Any) -> None:
    Pair.engines = both
    run_state_machine_as_test(Pair, settings=settings(stateful_step_count=30))


@given(case=cases(), data=st.data())
def test_large_chunks_of_small_frames(both: Any, case: Any, data: Any) -> None:
    framing, chunks = case
    first, second = (engine.Decoder(framing) for engine in both)
    wire = b"".join(chunks) * data.draw(st.sampled_from([1, 300, 3000]))
    same([lambda d: d.feed(wire), lambda d: d.feed(wire), lambda d: d.feed_eof()], first, second)


ODD = [
    lambda header: -1,
    lambda header: 0,
    lambda header: 1 << 100,
    lambda header: None,
    lambda header: "5",
    lambda header: 5.0,
    lambda header: True,
    lambda header: header[5],
    lambda header: 1 // 0,
    int,
    lambda header: next(iter(())),
    lambda header: (_ for _ in ()).throw(ff.BadMagic("my words", header)),
    lambda header: (_ for _ in ()).throw(ff.ConcurrentUse()),
    lambda header: (_ for _ in ()).throw(MemoryError()),
]


@pytest.mark.parametrize("index", range(len(ODD)))
def test_odd_functions(both: Any, index: int) -> None:
    framing = ff.Computed(2, ODD[index])
    for before in (b"", b"\0\2hi"):
        first, second = (engine.Decoder(ff.LengthField(2)) for engine in both)
        calls: list[Any] = [
            lambda d, b=before: d.feed(b),
            lambda d: setattr(d, "framing", framing),
            *[lambda d: d.feed(b"a"), lambda d: d.needed] * 3,
            lambda d: d.pop(),
            lambda d: d.feed_eof(),
            lambda d: d.unread(),
        ]
        same(calls, first, second)
