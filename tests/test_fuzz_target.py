"""What the fuzzer runs, on random inputs and without it: every input means something, and a broken engine is found."""

import random
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent.parent / "bench"))
atheris_fuzz, fuzz_input, fuzz_target = map(import_module, ["atheris_fuzz", "fuzz_input", "fuzz_target"])

INPUTS = 300


def inputs(seed: str, count: int = INPUTS) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(rng.choice([0, 10, 30, 60, 100])) for _ in range(count)]


def test_random_inputs(engine: Any) -> None:
    target = fuzz_target.Target(engine)
    for data in inputs("runs"):
        target(data)
    assert target.inputs == INPUTS
    assert target.runs > 10 * INPUTS
    assert target.writers > 0


def test_an_input_always_means_the_same() -> None:
    for data in inputs("same", 100):
        first, second = (fuzz_input.case_of(data) for _ in range(2))
        assert first == second
        cuts = [[*fuzz_input.cuts_of(first.stream, first.numbers, 0, failing)] for failing in (False, True)]
        assert all(b"".join(chunks) == first.stream for some in cuts for chunks, _ in some)


def test_most_streams_hold_frames_and_many_fail() -> None:
    seen = [fuzz_target.outcome_of(*fuzz_input.case_of(data)[:2]) for data in inputs("streams")]
    assert sum(bool(outcome.frames) for outcome in seen) > INPUTS / 3
    assert INPUTS / 5 < sum(outcome.error is not None for outcome in seen) < INPUTS * 4 / 5
    assert len({type(outcome.error) for outcome in seen}) > 4


def test_every_kind_of_framing_is_made() -> None:
    framings = {fuzz_input.framing_of(data)[0] for data in inputs("framings", 2000)}
    assert len({type(framing) for framing in framings}) == 9
    assert len(framings) > 500


class Forgetful:
    """A decoder that loses a frame where two come at once."""

    def __init__(self, decoder: Any) -> None:
        self.decoder = decoder

    def __getattr__(self, name: str) -> Any:
        return getattr(self.decoder, name)

    def feed(self, data: Any) -> Any:
        return self.decoder.feed(data)[:1]


def test_a_lost_frame_is_found(engine: Any) -> None:
    broken = SimpleNamespace(Decoder=lambda framing: Forgetful(engine.Decoder(framing)), FrameReader=engine.FrameReader)
    target = fuzz_target.Target(broken)
    with pytest.raises(AssertionError, match=r"expected Outcome"):
        for data in inputs("lost"):
            target(data)


def test_what_the_fuzzer_says_is_understood(capsys: pytest.CaptureFixture[str]) -> None:
    told = atheris_fuzz.Told()
    told.hear("#2048\tpulse  cov: 1999 ft: 10111 corp: 321/12Kb lim: 120 exec/s: 512 rss: 180Mb")
    told.hear("@ 2048 70001 33")
    assert (told.edges, told.features, told.corpus) == (1999, 10111, 321)
    assert (told.inputs, told.runs, told.writers) == (2048, 70001, 33)
    assert not capsys.readouterr().out
    told.hear("artifact_prefix='finding-'; Test unit written to finding-crash-12ab")
    assert told.finding == "finding-crash-12ab"
    assert "finding-crash-12ab" in capsys.readouterr().out
