"""A short version of each long run, on both engines; and that each of them finds what it looks for."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import fastframe as ff
from connections import LONG, PROMPT, on_engine
from fastframe import _gate
from soak import __main__ as command
from soak import clock as clock_module
from soak import closes, cycles, forks, pairs, threads, timeouts
from soak.clock import Clock
from soak.ledger import Ledger, Stream
from soak.report import Report, Run, conduct

__all__ = ["on_engine"]  # the fixture that pytest is to find here

pytestmark = pytest.mark.skipif(os.name != "posix", reason="no descriptors to inherit and no forks here")


def conducted(run: Run, number: int) -> Report:
    report = Report()
    conduct(run, number, report)
    return report


# --- Short runs ------------------------------------------------------------------------------------------------------


def test_closes() -> None:
    report = conducted(closes.run, 80)
    assert not report.findings
    assert report.counts["frames sent"] == report.counts["frames received"] > 80
    assert report.counts["closes with unread input"] > 40
    assert 0 < report.counts["closes with the peer talking"] < 80
    assert sum(report.counts[f"closes, {kind}"] for kind in pairs.SHARES) == 80


def test_timeouts() -> None:
    report = conducted(timeouts.run, 1000)
    assert not report.findings
    assert report.counts["frames sent"] == report.counts["frames received"] > 0
    assert report.counts["timeouts"] >= 1000
    for what in ("header", "payload", "trailer", "between frames", "another process"):
        assert report.counts[f"timeouts, {what}"] > 10
    for call in timeouts.CALLS:
        assert report.counts[f"timeouts of {call}"] > 10


def test_cycles() -> None:
    report = conducted(partial(cycles.run, soon=PROMPT), 90)
    assert not report.findings
    assert report.counts["receivers woken"] > 45
    assert report.counts["cycles on a number used before"] > 45
    assert report.counts["frames received"] > 0
    for kind in ("tcp", "pair"):
        for end in ("close", "abort"):
            assert report.counts[f"cycles by {end}, {kind}"] > 0


def test_threads() -> None:
    report = conducted(threads.run, 3000)
    assert not report.findings
    assert report.counts["frames sent"] == report.counts["frames received"] >= 3000
    assert report.counts["sends of which nothing was taken"] > 0
    assert report.counts["sends of which a part was taken"] > 0


def test_forks() -> None:
    report = conducted(forks.run, 16)
    assert not report.findings
    for readahead in (True, False):
        assert report.counts[f"forks, readahead={readahead}"] > 0
    assert report.counts["forks with frames queued"] > 0
    for end in forks.ENDS:
        assert report.counts[f"forks, the child's {end}"] > 0


# --- They find what they look for ------------------------------------------------------------------------------------


def entered(frames: Callable[[Stream], list[bytes]], sent: int) -> list[str]:
    """What the ledger of a stream notes whose every third frame is empty."""
    stream = Stream(empty_every=3)
    lines: list[str] = []
    ledger = Ledger(stream, lines.append)
    for frame in frames(stream):
        ledger.take(frame)
    ledger.balance(sent)
    return [line.partition(":")[0] for line in lines]


def picked(*numbers: int) -> Callable[[Stream], list[bytes]]:
    return lambda stream: [stream.payload(number, 50 * number) for number in numbers]


def flipped(frame: bytes, at: int) -> bytes:
    return frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1 :]


@pytest.mark.parametrize(
    ("frames", "found"),
    [
        (picked(0, 1, 2, 3, 4, 5), []),
        (picked(0, 1, 2, 3, 4), ["lost"]),
        (picked(0, 2, 3, 4, 5), ["doubled or foreign", "lost"]),
        (picked(0, 1, 3, 4, 5), ["lost"]),
        (picked(1, 2, 3, 4, 5), ["lost"]),
        (picked(0, 1, 1, 2, 3, 4, 5), ["doubled"]),
        (picked(0, 1, 2, 2, 3, 4, 5), ["doubled or foreign"]),
        (picked(0, 1, 2, 4, 3, 5), ["reordered"]),
        (picked(0, 1, 2, 3, 4, 5, 6), ["never sent"]),
        (lambda stream: [stream.payload(0, 0)[:-1], *picked(1, 2, 3, 4, 5)(stream)], ["damaged", "lost"]),
        (lambda stream: [flipped(stream.payload(0, 99), 50), *picked(1, 2, 3, 4, 5)(stream)], ["damaged", "lost"]),
        (lambda stream: [*picked(0, 1, 2)(stream), *picked(3)(Stream()), *picked(4, 5)(stream)], ["foreign", "lost"]),
    ],
)
def test_the_ledger(frames: Callable[[Stream], list[bytes]], found: list[str]) -> None:
    assert entered(frames, 6) == found


def kinds(report: Report) -> str:
    return "\n".join(report.findings)


def test_closes_finds_a_close_that_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ff.Connection, "close", lambda conn, timeout=0: conn.abort())
    assert "lost: " in kinds(conducted(closes.run, 30))


def every(number: int, otherwise: Callable[..., Any], call: Callable[..., Any]) -> Callable[..., Any]:
    """`call`, but each so many times the other."""
    calls = count(1)

    def either(*args: Any) -> Any:
        return (call if next(calls) % number else otherwise)(*args)

    return either


def spoiled(kind: str, call: Callable[..., bytes]) -> Callable[..., bytes]:
    """A receive that now and then spoils what it gives."""
    last = [b"?"]

    def kept(*args: Any) -> bytes:
        last[0] = call(*args)
        return last[0]

    spoil = {
        "lost: ": lambda conn, *args: (call(conn, *args), call(conn))[1],
        "doubled: ": lambda conn, *args: last[0] or call(conn, *args),
        "damaged: ": lambda conn, *args: call(conn, *args)[1:] or b"?",
    }[kind]
    return every(5, spoil, kept)


@pytest.mark.parametrize("kind", ["lost: ", "doubled: ", "damaged: "])
def test_timeouts_finds_a_spoiled_frame(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(ff.Connection, "recv", spoiled(kind, ff.Connection.recv))
    monkeypatch.setattr(pairs, "LONG", 0.1)
    monkeypatch.setattr(timeouts, "LONG", 0.1)
    assert kind in kinds(conducted(timeouts.run, 300))


def test_timeouts_finds_a_false_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ff.Connection, "poll", every(5, lambda conn, timeout: True, ff.Connection.poll))
    assert "poll said" in kinds(conducted(timeouts.run, 300))


def test_cycles_finds_a_foreign_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [b"?"]

    def swapped(conn: ff.Connection, timeout: float = LONG, call: Callable[..., bytes] = ff.Connection.recv) -> bytes:
        frames.append(call(conn, timeout))
        return frames.pop(0)

    monkeypatch.setattr(ff.Connection, "recv", swapped)
    assert "foreign: " in kinds(conducted(partial(cycles.run, soon=PROMPT), 60))


def test_cycles_finds_a_receiver_that_isnt_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gate.Gate, "_wake", lambda *args: None)
    monkeypatch.setattr(cycles, "TIMEOUTS", [0.6])
    assert "woken after 0.6" in kinds(conducted(partial(cycles.run, soon=0.5), 9))


def test_cycles_finds_a_late_wake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clock, "late_between", lambda clock, start, stop: 0)
    assert "woken after" in kinds(conducted(partial(cycles.run, soon=0), 12))


def test_a_machine_that_is_late_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clock, "late_between", lambda clock, start, stop: stop - start)
    report = conducted(partial(cycles.run, soon=0), 12)
    assert not report.findings
    assert report.counts["woken late, as the machine was"] == report.counts["receivers woken"] > 0


def test_the_clock_sees_a_late_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with Clock() as clock:
        start = time.monotonic()
        monkeypatch.setattr(clock_module, "time", LateTime)
        time.sleep(0.3)
        monkeypatch.undo()
        assert 0.1 < clock.late_between(start, start + 0.05) < PROMPT


class LateTime:
    monotonic = time.monotonic

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(seconds + 0.15)


def test_cycles_finds_bytes_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    send = ff.Connection.send_many
    monkeypatch.setattr(
        ff.Connection, "send_many", lambda conn, payloads: send(conn, [*payloads, Stream().payload(0, 0)])
    )
    assert "the peer got" in kinds(conducted(partial(cycles.run, soon=PROMPT), 12))


@pytest.mark.parametrize("kind", ["lost: ", "doubled: "])
def test_threads_finds_what_isnt_sent_once(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    send = ff.Connection.send
    twice = {
        "lost: ": lambda conn, *args: None,
        "doubled: ": lambda conn, *args: (send(conn, *args), send(conn, *args)),
    }
    monkeypatch.setattr(ff.Connection, "send", every(50, twice[kind], send))
    assert kind in kinds(conducted(threads.run, 1000))


def test_threads_finds_a_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "STALLS", 0)
    assert "stalled: " in kinds(conducted(threads.run, 1000))


def test_threads_finds_frames_that_are_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gate.threading, "RLock", NoLock)
    monkeypatch.setattr(pairs, "LONG", 1.0)
    monkeypatch.setattr(threads, "LONG", 1.0)
    assert conducted(threads.run, 1000).findings


class NoLock:
    """Lets everybody in."""

    def __init__(self) -> None:
        self._local = threading.local()

    def acquire(self, *args: Any, **named: Any) -> bool:
        self._local.mine = True
        return True

    def release(self) -> None:
        self._local.mine = False

    def _is_owned(self) -> bool:
        return getattr(self._local, "mine", False)


def test_forks_finds_a_child_that_shuts_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def shut(conns: list[ff.Connection]) -> None:
        with socket.socket(fileno=os.dup(conns[0]._transport.fileno())) as sock:
            sock.shutdown(socket.SHUT_RDWR)

    monkeypatch.setattr(forks, "ENDS", {"exit": shut})
    monkeypatch.setattr(forks, "SHARES", {"pair": 1})
    found = conducted(forks.run, 4).findings
    assert len(found) >= 4
    assert all(line.startswith("raised: ") for line in found if not line.startswith("left open"))


def test_forks_finds_a_child_that_takes_what_isnt_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gate.Gate, "forked", lambda gate, usable: None)
    assert "isn't ConcurrentUse" in kinds(conducted(forks.run, 12))


def test_a_descriptor_left_open_is_found() -> None:
    left: list[socket.socket] = []
    try:
        assert (
            kinds(conducted(lambda number, report: left.extend(socket.socketpair()), 1)) == "left open: 2 descriptors"
        )
    finally:
        for sock in left:
            sock.close()


# --- The command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def only_findings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(closes, "run", lambda number, report: report.found(f"{number} closes"))
    before = os.environ.get("FASTFRAME_PURE")
    yield
    if before is None:
        os.environ.pop("FASTFRAME_PURE", None)
    else:
        os.environ["FASTFRAME_PURE"] = before


@pytest.mark.usefixtures("only_findings")
def test_a_finding_is_the_commands_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["soak", "closes", "--engine", ff.engine, "--scale", "0.001"])
    assert command.main() == 1
    assert "FOUND 1 times: 10 closes" in capsys.readouterr().out


def test_the_command(engine: Any) -> None:
    name = "pure" if engine.__name__.endswith("pure") else "cython"
    words = [sys.executable, str(Path(command.__file__).parent), "timeouts", "threads", "--engine", name]
    done = subprocess.run([*words, "--scale", "0.005"], capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"timeouts, {name}: 500 in" in done.stdout
    assert f"threads, {name}: 1,000 in" in done.stdout
    assert done.stdout.count(" 0 findings") == 2
