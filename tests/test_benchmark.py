"""The hot paths, timed: `pytest tests/test_benchmark.py`. Each benchmark checks its answer first."""

from typing import Any

import pytest

import fastframe as ff

FRAMINGS = {
    "u32": ff.LengthField(4),
    "line": ff.Delimiter(b"\r\n"),
    "netstring": ff.Netstring(),
    "varint": ff.VarintLength(),
}
BYTES = 65536


def stream(framing: Any, size: int) -> tuple[bytes, list[bytes]]:
    """About 64 KiB on the wire, and the payloads in it."""
    payloads = [b"x" * size] * (BYTES // (size + 4))
    return framing.encode_many(payloads), payloads


@pytest.fixture
def quick(benchmark: Any) -> Any:
    """A benchmark that takes a fraction of a second."""
    benchmark._min_rounds = 5
    benchmark._max_time = 0.1
    benchmark._min_time = 0.000005
    return benchmark


@pytest.mark.parametrize("size", [16, 1024])
@pytest.mark.parametrize("name", FRAMINGS)
def test_feed(engine: Any, quick: Any, name: str, size: int) -> None:
    wire, payloads = stream(FRAMINGS[name], size)
    decoder = engine.Decoder(FRAMINGS[name])
    assert decoder.feed(wire) == payloads
    quick(decoder.feed, wire)


@pytest.mark.parametrize("size", [16, 1024])
def test_feed_batch(engine: Any, quick: Any, size: int) -> None:
    wire, payloads = stream(FRAMINGS["u32"], size)
    decoder = engine.Decoder(FRAMINGS["u32"])
    assert list(decoder.feed_batch(wire)) == payloads
    quick(decoder.feed_batch, wire)


@pytest.mark.parametrize("size", [16, 1024])
def test_pop(engine: Any, quick: Any, size: int) -> None:
    wire, payloads = stream(FRAMINGS["u32"], size)
    decoder = engine.Decoder(FRAMINGS["u32"])

    def work() -> int:
        decoder.push(wire)
        count = 0
        while decoder.pop() is not None:
            count += 1
        return count

    assert work() == len(payloads)
    quick(work)


@pytest.mark.parametrize("size", [16, 1024])
def test_encode_many(quick: Any, size: int) -> None:
    framing = FRAMINGS["u32"]
    wire, payloads = stream(framing, size)
    assert quick(framing.encode_many, payloads) == wire
