"""The verb `decode` as its user sees it: files, pipes, dumps and terminals; frames, errors and exit statuses."""

import errno
import importlib
import io
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import fastframe as ff
from fastframe.cli.decode import decode
from fastframe.cli.hexdump import rows
from support import framings, outcome, streams
from test_formats import HOSTILE, json_payload

LONG = 60.0
FRAMING = ff.LengthField(2)
PAYLOADS = [b"hello", b"", b"\xff\x1b[31m\n", "gr\u00fc\u00df".encode()]
STREAM = FRAMING.encode_many(PAYLOADS)
WORDS = ("--framing", "LengthField(2)")

capturing = importlib.import_module("fastframe.cli.capture")
diagnosing = importlib.import_module("fastframe.cli.diagnosis")
module = importlib.import_module("fastframe.cli.decode")


@pytest.fixture(autouse=True)
def on_engine(engine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capturing, "Decoder", engine.Decoder)
    monkeypatch.setattr(diagnosing, "Decoder", engine.Decoder)


def run(data: bytes, *args: str) -> Result:
    """Decode `data` from standard input."""
    return CliRunner().invoke(decode, ["-", *args], input=data)


# --- Formats ---------------------------------------------------------------------------------------------------------


def test_hex_is_what_is_shown_unless_told_otherwise() -> None:
    done = run(STREAM, *WORDS)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == run(STREAM, *WORDS, "--format", "hex").stdout
    assert done.stdout.splitlines() == [
        "frame 1 at offset 0, 5 bytes",
        *rows(b"hello"),
        "frame 2 at offset 7, 0 bytes",
        "frame 3 at offset 9, 7 bytes",
        *rows(PAYLOADS[2]),
        "frame 4 at offset 18, 6 bytes",
        *rows(PAYLOADS[3]),
    ]


def test_text() -> None:
    assert run(STREAM, *WORDS, "--format", "text").stdout.splitlines() == [
        "frame 1 at offset 0, 5 bytes: hello",
        "frame 2 at offset 7, 0 bytes: ",
        r"frame 3 at offset 9, 7 bytes: \xff\x1b[31m\n",
        "frame 4 at offset 18, 6 bytes: gr\u00fc\u00df",
    ]


def test_json() -> None:
    assert [json.loads(line) for line in run(STREAM, *WORDS, "--format", "json").stdout.splitlines()] == [
        {"frame": 1, "offset": 0, "size": 5, "payload": "hello"},
        {"frame": 2, "offset": 7, "size": 0, "payload": ""},
        {"frame": 3, "offset": 9, "size": 7, "payload_hex": PAYLOADS[2].hex()},
        {"frame": 4, "offset": 18, "size": 6, "payload": "gr\u00fc\u00df"},
    ]


def test_lengths() -> None:
    assert run(STREAM, *WORDS, "--format", "lengths").stdout == "5\n0\n7\n6\n"


@pytest.mark.parametrize("form", ["hex", "text", "json", "lengths"])
def test_an_empty_stream_has_no_frames(form: str) -> None:
    done = run(b"", *WORDS, "--format", form)
    assert (done.exit_code, done.output) == (0, "")


@given(st.lists(st.binary(max_size=80) | st.sampled_from(HOSTILE)))
def test_json_is_lossless(payloads: list[bytes]) -> None:
    done = run(FRAMING.encode_many(payloads), *WORDS, "--format", "json")
    assert done.exit_code == 0
    assert [json_payload(line) for line in done.stdout.splitlines()] == payloads


@given(st.data())
def test_any_stream_of_any_framing(draw: st.DataObject) -> None:
    framing = draw.draw(framings())
    stream = draw.draw(streams(framing))
    if isinstance(framing, ff.Computed):
        return
    expected = outcome(ff.Decoder(framing), [stream])
    done = run(stream, "--framing", repr(framing), "--format", "json")
    assert [json_payload(line) for line in done.stdout.splitlines()] == expected.frames
    assert done.exit_code == (expected.error is not None)
    assert bool(done.stderr) == (expected.error is not None)


@pytest.mark.parametrize("form", ["hex", "text", "json"])
@pytest.mark.parametrize("broken", [False, True], ids=["whole", "broken"])
def test_no_control_character_reaches_the_terminal(form: str, broken: bool) -> None:
    stream = FRAMING.encode_many(HOSTILE) + b"\x80\x1b[2J\x9b\x07" * broken
    done = run(stream, *WORDS, "--format", form)
    assert done.exit_code == broken
    assert len(done.stdout.splitlines()) >= len(HOSTILE)
    for line in (*done.stdout.split("\n"), *done.stderr.split("\n")):
        assert line.isprintable()


# --- Where it comes from ---------------------------------------------------------------------------------------------


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    path.write_bytes(STREAM)
    done = CliRunner().invoke(decode, [str(path), *WORDS, "--format", "lengths"])
    assert (done.exit_code, done.output) == (0, "5\n0\n7\n6\n")


def test_a_file_larger_than_a_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 1000)
    sizes = [number * 37 % 997 for number in range(200)]
    path = tmp_path / "stream"
    path.write_bytes(FRAMING.encode_many([bytes(size) for size in sizes]))
    done = CliRunner().invoke(decode, [str(path), *WORDS, "--format", "lengths"])
    assert done.stdout.splitlines() == [*map(str, sizes)]


@pytest.mark.parametrize("line", [1, 7, 1 << 16])
def test_a_hex_dump(line: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = FRAMING.encode_many([*PAYLOADS, bytes(100)])
    expected = run(stream, *WORDS).stdout
    dump = "".join(f"{row}\n" for row in rows(stream))
    assert run(dump.encode(), *WORDS, "--hex").stdout == expected
    monkeypatch.setattr(module, "LINE", line)
    assert run(stream.hex().encode(), *WORDS, "--hex").stdout == expected


def test_a_bad_hex_dump_is_told_behind_the_frames() -> None:
    done = run(f"{STREAM.hex()}\nzz\n".encode(), *WORDS, "--hex", "--format", "lengths")
    assert done.exit_code == 1
    assert done.stdout == "5\n0\n7\n6\n"
    assert done.stderr == "not a hex dump: line 2: 'zz' is not hexadecimal\n"


def test_a_file_that_fails_is_told_behind_the_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(io.BytesIO):
        name = "tape"

        def read1(self, size: int | None = -1, /) -> bytes:
            data = super().read1(size)
            if not data:
                raise OSError(errno.EIO, "Input/output error")
            return data

    monkeypatch.setattr("click.File.convert", lambda *args: Failing(STREAM))
    done = CliRunner().invoke(decode, ["tape", *WORDS, "--format", "lengths"])
    assert done.exit_code == 1
    assert done.stdout == "5\n0\n7\n6\n"
    assert done.stderr == "tape: Input/output error\n"


def test_a_preset() -> None:
    done = run(ff.preset("kafka").encode(b"hello"), "--framing", "kafka", "--format", "text")
    assert done.stdout == "frame 1 at offset 0, 5 bytes: hello\n"


# --- How much of it --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["hex", "text", "json", "lengths"])
@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_the_first_frames(form: str, count: int) -> None:
    everything = run(STREAM, *WORDS, "--format", form).stdout
    some = run(STREAM, *WORDS, "--format", form, "-n", str(count))
    assert everything.startswith(some.stdout)
    assert run(FRAMING.encode_many(PAYLOADS[:count]), *WORDS, "--format", form).stdout == some.stdout
    # What is behind them doesn't matter.
    again = run(FRAMING.encode_many(PAYLOADS[:count]) + b"\xff", *WORDS, "--format", form, "--count", str(count))
    assert (again.exit_code, again.stdout) == (0 if count < 5 else 1, some.stdout)


def test_a_summary() -> None:
    done = run(STREAM, *WORDS, "--format", "lengths", "--summary")
    assert done.stderr == "frames: 4, payload bytes: 18, smallest: 0, median: 5, largest: 7\n"
    assert run(STREAM, *WORDS, "--no-summary").stderr == ""
    done = run(STREAM[:-1], *WORDS, "--format", "lengths", "--summary")
    assert done.stderr.splitlines()[-1] == "frames: 3, payload bytes: 12, smallest: 0, median: 5, largest: 7"


# --- Errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["hex", "text", "json", "lengths"])
def test_broken_bytes_are_told_behind_the_frames(form: str) -> None:
    words = ("--framing", "LengthField(2, max_size=9)", "--format", form)
    done = run(STREAM + b"\x10\x00abc", *words)
    assert done.exit_code == 1
    assert done.stdout == run(STREAM, *words).stdout
    assert done.stderr.splitlines() == [
        "FrameTooLarge: frame of 4096 bytes, limit 9, at offset 26",
        "frame 5 begins at offset 26 (0x1a)",
        "00000000  00 05 68 65 6c 6c 6f 00  00 00 07 ff 1b 5b 33 31  |..hello......[31|",
        "00000010  6d 0a 00 06 67 72 c3 bc  c3 9f 10 00 61 62 63     |m...gr......abc|",
        "                                         ^^ ^^",
        "^^ the length",
    ]


@pytest.mark.parametrize("cut", range(1, len(STREAM)))
def test_an_end_inside_a_frame_is_told(cut: int) -> None:
    boundaries = [0, 7, 9, 18, 26]
    done = run(STREAM[:cut], *WORDS, "--format", "lengths")
    whole = sum(end <= cut for end in boundaries[1:])
    assert done.stdout.splitlines() == ["5", "0", "7", "6"][:whole]
    if cut in boundaries:
        assert (done.exit_code, done.stderr) == (0, "")
    else:
        assert done.exit_code == 1
        assert done.stderr.startswith("TruncatedFrame: ")
        assert f"frame {whole + 1} begins at offset {boundaries[whole]} " in done.stderr


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["-"], "--framing"),
        (["-", "--framing", "kafak"], "did you mean 'kafka'?"),
        (["-", "--framing", "LengthField(9)"], "width must be 1 to 8, not 9"),
        (["-", "--framing", "exit()"], "no description is called 'exit'"),
        (["-", *WORDS, "--format", "yaml"], "yaml"),
        (["-", *WORDS, "--count", "0"], "0"),
        (["no such file", *WORDS], "no such file"),
        ([], "FILE"),
    ],
)
def test_a_wrong_call_is_status_2(args: list[str], told: str) -> None:
    done = CliRunner().invoke(decode, args)
    assert done.exit_code == 2
    assert told in done.stderr
    assert done.stdout == ""


# --- As a process ----------------------------------------------------------------------------------------------------

COMMAND = [sys.executable, "-m", "fastframe", "decode"]
MEANT_FOR_OTHERS = {"FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS", "PYTHONUNBUFFERED"}
PLAIN = {name: value for name, value in os.environ.items() if name not in MEANT_FOR_OTHERS}


Start = Callable[..., "subprocess.Popen[bytes]"]


class TestProcess:
    @pytest.fixture
    def start(self, engine: ModuleType) -> Iterator[Start]:
        """start(*args, **environment): a process with pipes, on this engine, which doesn't live longer than LONG."""
        pure = "1" if engine.__name__.endswith("_pure") else "0"
        watchdogs: list[threading.Timer] = []

        def start(*args: str, stderr: int = subprocess.PIPE, **environment: str) -> "subprocess.Popen[bytes]":
            process = subprocess.Popen(
                [*COMMAND, *args],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                bufsize=0,
                env=PLAIN | {"FASTFRAME_PURE": pure, "PYTHONIOENCODING": "utf-8"} | environment,
            )
            watchdogs.append(threading.Timer(LONG, process.kill))
            watchdogs[-1].start()
            return process

        yield start
        for watchdog in watchdogs:
            watchdog.cancel()

    def test_frames_come_out_as_they_come_in(self, start: Start) -> None:
        with start("-", *WORDS, "--format", "json") as process:
            assert process.stdin is not None
            assert process.stdout is not None
            for payload in PAYLOADS:
                process.stdin.write(FRAMING.encode(payload))
                assert json_payload(process.stdout.readline().decode()) == payload
            process.stdin.close()
            assert process.stdout.read() == b""
            assert process.wait(LONG) == 0

    def test_an_error_is_status_1(self, start: Start) -> None:
        with start("-", *WORDS, "--format", "lengths") as process:
            out, err = process.communicate(STREAM[:-1], LONG)
        assert (process.returncode, out.split()) == (1, [b"5", b"0", b"7"])
        assert err.startswith(b"TruncatedFrame: ")
        assert b"Traceback" not in err

    @pytest.mark.parametrize("form", ["hex", "lengths"])
    def test_a_reader_that_has_seen_enough_ends_it_quietly(self, start: Start, form: str, tmp_path: Path) -> None:
        path = tmp_path / "stream"
        path.write_bytes(FRAMING.encode(b"x" * 64) * 100_000)
        with start(str(path), *WORDS, "--format", form) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b""
            process.wait(LONG)

    @pytest.mark.skipif(os.name != "posix", reason="no SIGINT for one process here")
    def test_an_interrupt_ends_it(self, start: Start) -> None:
        with start("-", *WORDS, "--format", "lengths") as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(FRAMING.encode(b"hello"))
            assert process.stdout.readline() == b"5\n"
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=LONG)
        assert process.returncode == 130
        assert b"Traceback" not in err

    def test_an_ascii_output_loses_nothing(self, start: Start) -> None:
        with start("-", *WORDS, "--format", "text", PYTHONIOENCODING="ascii") as process:
            out, _ = process.communicate(FRAMING.encode("gr\u00fc\u00df".encode()), LONG)
        assert out.rstrip() == rb"frame 1 at offset 0, 6 bytes: gr\xc3\xbc\xc3\x9f"

    @pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals here")
    def test_on_a_terminal_what_takes_long_shows_a_bar_and_all_a_summary(self, start: Start) -> None:
        master, slave = os.openpty()
        with open(master, "rb", buffering=0) as terminal:
            with start("-", *WORDS, "--format", "lengths", stderr=slave, TERM="xterm") as process:
                os.close(slave)
                assert process.stdin is not None
                assert process.stdout is not None
                deadline = time.monotonic() + LONG
                while not select.select([terminal], [], [], 0.01)[0]:
                    assert time.monotonic() < deadline
                    process.stdin.write(FRAMING.encode(b"hello"))
                    process.stdout.read(2)
                process.stdin.close()
                shown = everything(terminal)
                process.stdout.read()
        assert process.returncode == 0
        assert re.search(rb"[0-9]/\? (bytes|kB)", shown)
        assert re.search(rb"frames: [0-9]+, payload bytes: ", shown)

    @pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals here")
    def test_what_is_done_at_once_shows_no_bar(self, start: Start) -> None:
        master, slave = os.openpty()
        with open(master, "rb", buffering=0) as terminal:
            with start("-", *WORDS, "--format", "lengths", "--no-summary", stderr=slave, TERM="xterm") as process:
                os.close(slave)
                process.communicate(STREAM, LONG)
                assert everything(terminal) == b""


def everything(terminal: io.RawIOBase) -> bytes:
    """All that a terminal gets until nobody has it open any more."""
    shown = b""
    while True:
        try:
            more = terminal.read(4096)
        except OSError:  # what Linux says instead of an end
            return shown
        if not more:
            return shown
        shown += more
