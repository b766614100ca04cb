"""A sender's and a receiver's process: what they measure, and how they end when something is wrong."""

import time

import pytest

from fastframe.cli import pair
from fastframe.cli.contenders import CONTENDERS, HOWTO, Contender
from fastframe.cli.pair import EngineMissing, Failed, measure
from fastframe.cli.traffic import payloads

LIMIT = 30.0
PURE = next(contender for contender in CONTENDERS if contender.engine == "pure")
CYTHON = next(contender for contender in CONTENDERS if contender.engine == "cython")

PROGRAM = pair.PROGRAM
CHANGED = "\nmain(**"
"""What stands before the program's last line."""


def change(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Run this in both processes, once all is imported."""
    before, after = pair.PROGRAM.split(CHANGED)
    monkeypatch.setattr(pair, "PROGRAM", f"{before}\nfrom fastframe.cli import peer, traffic\n{code}{CHANGED}{after}")


@pytest.mark.parametrize("contender", [HOWTO, PURE], ids=["howto", "pure"])
def test_it_measures(contender: Contender) -> None:
    run = measure(contender, 3, 0.05, LIMIT)
    given = payloads(3)
    assert run.frames > 0
    assert run.frames % len(given) == 0
    assert run.size == run.frames // len(given) * sum(map(len, given))
    assert run.seconds > 0
    assert run.receiver_cpu >= 0 <= run.sender_cpu


@pytest.mark.parametrize(
    "code",
    [
        "if ROLE: peer.payloads = lambda seed, make=peer.payloads: [b'x' * 9, *make(seed)[1:]]",
        "if ROLE: peer.payloads = lambda seed, make=peer.payloads: make(seed)[1:]",
        "if ROLE: peer.payloads = lambda seed, make=peer.payloads: make(seed + 1)",
        "if ROLE: traffic.last_frame = lambda count: b'the last frame, behind %d others' % (count + 1)",
    ],
    ids=["corrupts", "loses", "another seed", "miscounts"],
)
def test_what_a_bad_sender_sends_is_detected(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    change(monkeypatch, code.replace("ROLE", "{job!r}['role'] == 'sender'"))
    with pytest.raises(Failed, match=r"receiver: Spoiled: frame \d+ "):
        measure(HOWTO, 1, 0.05, LIMIT)


def test_a_missing_engine_is_told_from_a_broken_one(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = "raise ModuleNotFoundError('gone', name={!r})"
    for name, expected in (("fastframe.engine", EngineMissing), ("somebody", Failed)):
        monkeypatch.setattr(pair, "PROGRAM", PROGRAM.replace("    import fastframe\n", f"    {missing.format(name)}\n"))
        with pytest.raises(expected):
            measure(CYTHON, 1, 0.05, LIMIT)


def test_a_process_that_dies_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch, "raise SystemExit('because')")
    with pytest.raises(Failed, match="receiver: because; sender: because"):
        measure(HOWTO, 1, 0.05, LIMIT)


def test_a_process_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(pair, "GRACE", 0.0)
    begin = time.monotonic()
    with pytest.raises(Failed, match=r"no result in 0\.5 s"):
        measure(HOWTO, 1, 0.05, 0.5)
    assert time.monotonic() - begin < LIMIT


def test_a_sender_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch, "import time; traffic.monotonic = lambda: time.sleep(60)")
    with pytest.raises(Failed, match=r"no result in 1\.0 s"):
        measure(HOWTO, 1, 0.05, 1.0)
