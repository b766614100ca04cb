"""What the presets are for: a few words for each, and for nothing else."""

import fastframe
from fastframe.cli.protocols import PROTOCOLS


def test_every_preset_has_its_words() -> None:
    assert set(PROTOCOLS) == set(fastframe.presets())


def test_the_words_are_few_and_tell_presets_apart() -> None:
    for words in PROTOCOLS.values():
        assert words == words.strip()
        assert words.isprintable()
        assert words.isascii()
        assert 4 <= len(words) <= 60
        assert not words.endswith(".")
    assert len(set(PROTOCOLS.values())) == len(PROTOCOLS)
