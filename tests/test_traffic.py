"""What the demo sends, and that its verification finds every fault."""

import pytest

from fastframe.cli import traffic
from fastframe.cli.traffic import MIX, Spoiled, batches, check_cost, last_frame, payloads, verify

CYCLE = [b"one", b"two", b"three", b""]
STREAM = [*CYCLE, *CYCLE, last_frame(8)]


def test_the_same_seed_gives_the_same_frames() -> None:
    assert payloads(5) == payloads(5)
    assert payloads(5) != payloads(6)


def test_the_mix_is_as_declared() -> None:
    sizes = sorted(map(len, payloads(1)))
    for count, least, most in MIX:
        assert all(least <= size <= most for size in sizes[:count])
        del sizes[:count]
    assert not sizes


@pytest.mark.parametrize("seconds", [0.0, 0.01])
def test_what_is_sent_verifies(seconds: float) -> None:
    sent = list(batches(CYCLE, seconds))
    count = sum(map(len, sent)) - 1
    assert count % len(CYCLE) == 0
    assert verify([frame for batch in sent for frame in batch], CYCLE) == count


def test_batches_are_no_longer_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "BATCH", 3)
    assert list(batches(CYCLE, 0)) == [CYCLE[:3], CYCLE[3:], [last_frame(4)]]


def test_a_corrupted_bit_is_found() -> None:
    for index, frame in enumerate(STREAM):
        for place in range(len(frame)):
            spoiled = bytearray(frame)
            spoiled[place] ^= 1
            with pytest.raises(Spoiled, match=f"frame {index} "):
                verify([*STREAM[:index], bytes(spoiled), *STREAM[index + 1 :]], CYCLE)


def test_a_lost_frame_is_found() -> None:
    for index in range(len(STREAM)):
        with pytest.raises(Spoiled):
            verify(STREAM[:index] + STREAM[index + 1 :], CYCLE)


def test_a_doubled_frame_is_found() -> None:
    for index in range(len(STREAM)):
        with pytest.raises(Spoiled):
            verify([*STREAM[:index], STREAM[index], *STREAM[index:]], CYCLE)


def test_exchanged_frames_are_found() -> None:
    for index in range(len(STREAM) - 1):
        with pytest.raises(Spoiled):
            verify([*STREAM[:index], STREAM[index + 1], STREAM[index], *STREAM[index + 2 :]], CYCLE)


def test_lost_cycles_are_found() -> None:
    for rest in ([*CYCLE, last_frame(8)], [last_frame(8)], CYCLE, []):
        with pytest.raises(Spoiled):
            verify(rest, CYCLE)


def test_the_cost_of_the_check_is_measured() -> None:
    assert 0 < check_cost(CYCLE) < 1
