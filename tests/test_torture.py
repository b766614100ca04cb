"""A part of what `python tests/torture` does, on both engines; and whether it would find anything."""

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partialmethod
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import fastframe as ff
from conftest import MODULES
from connections import on_engine
from torture import count, errnos, faults, ledger, resources, shim, supervisor
from torture.ends import ENDED, End
from torture.ledger import Ledger, payload_of
from torture.scenarios import SCENARIOS
from torture.stage import Stage

__all__ = ["on_engine"]

TORTURE = Path(__file__).with_name("torture")
FRAMING = ff.LengthField(4)
EVERY = 499
"""One of so many cases; a prime, so that it is another call and errno in each scenario."""
LEAST = 250
"""Faults that are injected on each engine."""

needs_shim = pytest.mark.skipif(shim.missing() is not None, reason=str(shim.missing()))


# --- The whole thing -------------------------------------------------------------------------------------------------


@needs_shim
def test_injected_faults_lose_nothing(engine: ModuleType) -> None:
    name = next(name for name, module in MODULES.items() if module == engine.__name__)
    command = [sys.executable, str(TORTURE), "--engine", name, "--every", str(EVERY)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    last = re.search(r"([\d,]+) faults \(.*\), ([\d,]+) findings\n\Z", done.stdout)
    assert last is not None, done.stdout[-4000:] + done.stderr[-4000:]
    assert (last[2], done.returncode) == ("0", 0), done.stdout[-8000:]
    assert int(last[1].replace(",", "")) >= LEAST
    for scenario in SCENARIOS:
        assert re.search(rf"^calls {scenario} {name} +[1-9]", done.stdout, re.MULTILINE)


# --- The library -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if (reason := shim.missing()) is not None:
        pytest.skip(reason)
    return shim.build(tmp_path_factory.mktemp("shim"))


BEGIN = """
import errno, os, select, socket
from torture.shim import Shim
shim = Shim()
a, b = socket.socketpair()
shim.mark(a.fileno())
"""

CHECKS = {
    "calls on marked descriptors alone count": """
a.send(b"x"); b.send(b"y"); a.recv(1)
assert {call: n for call, n in shim.counts().items() if n} == {"send": 1, "recv": 1}
""",
    "the k-th call fails, once, and does nothing": """
shim.arm("send", 2, "fail", errno.ENOBUFS)
a.send(b"1")
try:
    a.send(b"2")
except OSError as error:
    assert error.errno == errno.ENOBUFS
else:
    raise AssertionError
a.send(b"3")
assert (b.recv(9), shim.fired) == (b"13", 1)
""",
    "from the k-th call on for ever": """
shim.arm("recv", 1, "fail", errno.EIO, 0)
b.send(b"x")
for n in range(5):
    try:
        a.recv(1)
    except OSError as error:
        assert error.errno == errno.EIO
    else:
        raise AssertionError
assert shim.fired == 5
""",
    "counts are shortened, and bytes counted": """
shim.arm("send", 1, "short", 3)
assert (a.send(b"123456"), a.send(b"789"), b.recv(9)) == (3, 3, b"123789")
b.send(b"abcdef")
shim.arm("recv", 1, "short", 2)
assert (a.recv(9), a.recv(9)) == (b"ab", b"cdef")
assert (shim.sent(a.fileno()), shim.received(a.fileno())) == (6, 6)
""",
    "many parts are shortened to the byte": """
shim.arm("sendmsg", 1, "short", 5)
assert (a.sendmsg([b"abc", b"", b"defg", b"h"]), b.recv(9)) == (5, b"abcde")
""",
    "what isn't shortened hasn't happened": """
shim.arm("send", 1, "short", 3)
a.send(b"123")
assert shim.fired == 0
""",
    "poll answers what it is told": """
poll = select.poll()
poll.register(a, select.POLLIN)
for events in (select.POLLERR, 0):
    shim.arm("poll", shim.counts()["poll"] + 1, "answer", events)
    assert poll.poll(50) == ([(a.fileno(), events)] if events else [])
assert poll.poll(0) == []
""",
    "close closes, whatever it says": """
number = a.fileno()
shim.arm("close", 1, "after", errno.EINTR)
try:
    a.close()
except InterruptedError:
    pass
else:
    raise AssertionError
try:
    os.fstat(number)
except OSError as error:
    assert error.errno == errno.EBADF
else:
    raise AssertionError
""",
    "a new socket is marked if that is wanted": """
shim.mark_new(True)
shim.arm("socket", 2, "fail", errno.EMFILE)
c = socket.socket()
try:
    socket.socket()
except OSError as error:
    assert error.errno == errno.EMFILE
else:
    raise AssertionError
c.close()
assert (shim.counts()["socket"], shim.counts()["close"]) == (2, 1)
""",
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=list(CHECKS))
def test_shim(library: Path, check: str) -> None:
    environment = {**shim.preloaded(library), "PYTHONPATH": str(TORTURE.parent)}
    subprocess.run([sys.executable, "-c", BEGIN + check], env=environment, check=True, timeout=60)


def test_every_call_that_is_wrapped_has_its_errnos() -> None:
    assert set(errnos.ERRNOS) == set(shim.CALLS)
    assert all(len(numbers) >= 4 for numbers in errnos.ERRNOS.values())


@needs_shim
def test_every_errno_is_injected_once_and_again() -> None:
    for call in faults.RECEIVING + faults.SENDING + faults.WAITING:
        made = list(faults.faults_of(call, 1, lies=False, blocks=False))
        for number in errnos.ERRNOS[call]:
            times = [fault.times for fault in made if fault.kind == "fail" and fault.value == number]
            assert len(times) == 2
            assert 1 in times


# --- The ledger ------------------------------------------------------------------------------------------------------


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def book(notes: list[str]) -> Iterator[Ledger]:
    """A ledger in which four frames were sent."""
    made = Ledger("a", FRAMING, notes.append)
    for size in (20, 0, 300, 15):
        made.issue(size)
    return made


def test_all_frames_in_order_are_right(book: Ledger, notes: list[str]) -> None:
    for frame in book.issued:
        book.arrive(frame)
    assert (book.arrived, notes) == (4, [])


@pytest.mark.parametrize(
    ("order", "word"),
    [
        ([0, 2], "lost before frame 2"),
        ([0, 1, 3], "lost before frame 3"),
        ([0, 0], "doubled or late: frame 0"),
        ([0, 1, 1], "doubled"),
        ([0, 1, 3, 2], "doubled or late: frame 2"),
        ([1], "an empty frame"),
    ],
)
def test_lost_doubled_and_swapped_frames_are_found(book: Ledger, notes: list[str], order: list[int], word: str) -> None:
    for number in order:
        book.arrive(book.issued[number])
    assert word in " ".join(notes)


def test_damaged_and_foreign_frames_are_found(book: Ledger, notes: list[str]) -> None:
    good = book.issued[0]
    for frame, word in [
        (good[:-1], "damaged"),
        (good[:-1] + b"!", "damaged"),
        (good + b"a", "damaged"),
        (payload_of("b", 0, 20), "foreign: frame 0 of b"),
        (payload_of("a", 4, 20), "never sent: frame 4 of 4"),
    ]:
        notes.clear()
        book.arrive(frame)
        assert [word in note for note in notes] == [True]


def test_frames_that_are_whole_in_so_many_bytes(book: Ledger) -> None:
    assert [book.bytes_of(n) for n in range(5)] == [0, 24, 28, 332, 351]
    assert [book.frames_in(n) for n in (0, 23, 24, 27, 28, 331, 332, 999)] == [0, 0, 1, 1, 2, 2, 3, 4]


def test_payloads_say_which_they_are() -> None:
    found = ledger.FORM.match(payload_of("x", 12, 1000))
    assert found is not None
    assert (found[1], int(found[2]), len(found[0])) == (b"x", 12, 1000)
    assert payload_of("x", 1, 0) == b""


# --- The judgement ---------------------------------------------------------------------------------------------------


def played(name: str) -> list[str]:
    stage = Stage()
    try:
        SCENARIOS[name](stage)
        stage.judge()
    finally:
        stage.clear()
    return stage.notes


@needs_shim
@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_is_found_without_a_fault(name: str) -> None:
    assert played(name) == []


class Sabotage:
    """Does something to the third frame that a connection receives."""

    def __init__(self, what: str, receive: Any) -> None:
        self._what, self._receive = what, receive
        self._count = 0
        self._kept: list[bytes] = []

    def __call__(self, end: End, timeout: float) -> list[bytes]:
        if self._kept:
            return [self._kept.pop()]
        frames = self._receive(end, timeout)
        self._count += len(frames)
        if self._count != 3 or not frames:
            return frames
        self._count += 1
        if self._what == "lost":
            return []
        if self._what == "doubled":
            return [*frames, *frames]
        if self._what == "damaged":
            return [frames[0][:-1]]
        self._kept = frames
        return []


@needs_shim
@pytest.mark.parametrize("what", ["lost", "doubled", "damaged"])
def test_sabotage_is_found(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(End, "_by_recv", partialmethod(Sabotage(what, End._by_recv)))
    monkeypatch.setattr("torture.ends.TIMEOUT", 0.05)
    monkeypatch.setattr("torture.ends.TRIES", 3)
    assert played("one_by_one_pair") != []


@needs_shim
def test_an_undocumented_error_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(end: End, timeout: float) -> list[bytes]:
        raise KeyError("out of nowhere")

    monkeypatch.setattr(End, "_by_recv", fail)
    assert "raised KeyError" in " ".join(played("one_by_one_pair"))


@pytest.mark.skipif(not any(resources.memory()), reason="below a sanitizer nothing tells what memory is in use")
def test_a_leak_is_found() -> None:
    hoard: list[object] = []

    def run() -> None:
        hoard.append([object() for _ in range(100)])

    before = resources.memory()
    run()
    assert "leaks" in str(resources.leak(run, before))
    before = resources.memory()
    assert resources.leak(lambda: None, before) is None


def test_what_ends_a_direction_is_told() -> None:
    stage = Stage()
    a, b = stage.pair("pair", FRAMING)
    try:
        stage.finish(a, b)
        assert (a.sending, b.receiving, a.receiving, b.sending) == (ENDED,) * 4
    finally:
        stage.clear()


def test_counts_and_findings_add_up() -> None:
    made = count.Count()
    made.add("calls", "x", "pure", {"case": "recv #1", "number": 1, "kind": "recv", "faults": 3, "notes": []})
    made.add("calls", "x", "pure", {"case": "recv #2", "number": 2, "kind": "recv", "faults": 0, "notes": []})
    made.add("calls", "x", "pure", {"case": "send #1", "number": 3, "kind": "send", "faults": 1, "notes": ["bad"]})
    assert (made.total, made.calls, len(made.findings)) == (2, 4, 1)
    assert made.rows() == [("calls x pure", "2", "recv 1, send 1")]


# --- Processes that die ----------------------------------------------------------------------------------------------

DYING = """
import json, sys
for line in sys.stdin:
    start = json.loads(line)["start"]
    for number in range(start, 5):
        print(json.dumps({"case": f"case {number}", "number": number}), flush=True)
        if number == 2:
            sys.stderr.write("Timeout (0:00:02)!")
            sys.exit(1)
        told = {"case": f"case {number}", "number": number, "kind": "k", "faults": 1, "notes": []}
        print(json.dumps(told), flush=True)
    print(json.dumps({"end": True}), flush=True)
"""


@needs_shim
def test_who_hangs_is_started_again_and_told_of_once(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "START", DYING)
    watched = supervisor.Supervisor(library)
    try:
        events = list(watched.cases({"part": "calls", "name": "x", "engine": "pure", "every": 1}))
    finally:
        watched.close()
    assert [(event["number"], event["kind"], len(event["notes"])) for event in events] == [
        (0, "k", 0),
        (1, "k", 0),
        (2, "death", 1),
        (3, "k", 0),
        (4, "k", 0),
    ]
    assert "Timeout" in events[2]["notes"][0]


def test_whose_crash_it_was() -> None:
    stack = "C stack:\n{}\nlibpython3.13.so.1.0(_PyEval_EvalFrameDefault+0x1)[0x1]\n_speedups.so(f)[0x2]\n"
    assert supervisor.is_the_interpreters(stack.format("libpython3.13.so.1.0(PyFunction_New+0x2)[0x1]"))
    assert not supervisor.is_the_interpreters(stack.format("_speedups.so(+0x1234)[0x1]"))
    assert not supervisor.is_the_interpreters("Timeout (0:00:02)!")
