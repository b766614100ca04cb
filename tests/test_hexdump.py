"""Hex dumps: written as hexdump writes them, read back from all that write them, and errors that name the line."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastframe.cli.hexdump import DumpError, bytes_of, row, rows
from support import pieces_of

RAW = b"GET / HTTP/1.1\r\n" + bytes(range(0x20, 0x30)) + bytes(48) + b"\0 *|:\xff  "
"""Two rows, three that are the same, and a short one that ends in blanks."""


def read(text: str | bytes) -> bytes:
    lines = (text.encode() if isinstance(text, str) else text).splitlines(keepends=True)
    return b"".join(bytes_of(lines))


# --- Samples, as the programs print RAW ------------------------------------------------------------------------------

XXD = """\
00000000: 4745 5420 2f20 4854 5450 2f31 2e31 0d0a  GET / HTTP/1.1..
00000010: 2021 2223 2425 2627 2829 2a2b 2c2d 2e2f   !"#$%&'()*+,-./
00000020: 0000 0000 0000 0000 0000 0000 0000 0000  ................
00000030: 0000 0000 0000 0000 0000 0000 0000 0000  ................
00000040: 0000 0000 0000 0000 0000 0000 0000 0000  ................
00000050: 0020 2a7c 3aff 2020                      . *|:.  \n"""

XXD_A = """\
0000000: 47 45 54 20 2f 20 48 54 54 50 2f 31 2e 31 0d 0a  GET / HTTP/1.1..
0000010: 20 21 22 23 24 25 26 27 28 29 2a 2b 2c 2d 2e 2f   !"#$%&'()*+,-./
0000020: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  ................
*
0000050: 00 20 2a 7c 3a ff 20 20                          . *|:.
"""

HEXDUMP = """\
00000000  47 45 54 20 2f 20 48 54  54 50 2f 31 2e 31 0d 0a  |GET / HTTP/1.1..|
00000010  20 21 22 23 24 25 26 27  28 29 2a 2b 2c 2d 2e 2f  | !"#$%&'()*+,-./|
00000020  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|
*
00000050  00 20 2a 7c 3a ff 20 20                           |. *|:.  |
00000058
"""

OD = """\
000000 47 45 54 20 2f 20 48 54 54 50 2f 31 2e 31 0d 0a
000010 20 21 22 23 24 25 26 27 28 29 2a 2b 2c 2d 2e 2f
000020 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
*
000050 00 20 2a 7c 3a ff 20 20
000058
"""

OD_Z = """\
000000 47 45 54 20 2f 20 48 54 54 50 2f 31 2e 31 0d 0a  >GET / HTTP/1.1..<
000010 20 21 22 23 24 25 26 27 28 29 2a 2b 2c 2d 2e 2f  > !"#$%&'()*+,-./<
000020 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  >................<
*
000050 00 20 2a 7c 3a ff 20 20                          >. *|:.  <
000058
"""

PLAIN = f"{RAW.hex()[:60]}\n{RAW.hex()[60:120]}\n{RAW.hex()[120:]}\n"

SAMPLES = {"xxd": XXD, "xxd -a -g 1": XXD_A, "hexdump -C": HEXDUMP, "od": OD, "od z": OD_Z, "plain": PLAIN}


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=list(SAMPLES))
class TestSamples:
    def test_it_is_read(self, sample: str) -> None:
        assert read(sample) == RAW

    def test_case_and_line_ends_do_not_matter(self, sample: str) -> None:
        assert read(sample.replace("\n", "\r\n")) == RAW
        assert read(re.sub(r"\b[0-9a-f]{2,}\b", lambda found: found[0].upper(), sample)) == RAW
        assert read(f"\n \n{sample}\n\n") == RAW

    def test_it_may_be_cut_at_any_line_that_is_no_repetition(self, sample: str) -> None:
        lines = sample.splitlines(keepends=True)
        for count in range(len(lines)):
            if "*" not in [line.strip() for line in lines[:count]] and (count > 1 or sample != OD):
                assert RAW.startswith(read("".join(lines[:count])))

    def test_it_may_be_indented(self, sample: str) -> None:
        assert read("".join(f"   {line}" for line in sample.splitlines(keepends=True))) == RAW


# --- What the programs of this machine write -------------------------------------------------------------------------

COMMANDS = [
    "xxd",
    "xxd -a",
    "xxd -u -c 32 -g 4",
    "xxd -g 0",
    "xxd -g 1 -c 8",
    "xxd -c 7",
    "xxd -p",
    "xxd -p -c 0",
    "hexdump -C",
    "hexdump -C -v",
    "od -A x -t x1",
    "od -A x -t x1z -v",
    "od -A x -t x1 -w32",
    "od -A n -t x1 -v",
]

SUBJECTS = [
    RAW,
    bytes(1),
    bytes(16),
    bytes(17),
    bytes(10_000),
    bytes(range(256)) * 3,
    b"a" * 16 + b"b" * 160 + b"a" * 8,
    b"  " * 100,
    b"00000010: 4142  AB\n" * 9,
    b"* |a| >b<\n" * 50,
]


@pytest.mark.parametrize("command", COMMANDS)
def test_real_dumps_are_read(command: str, tmp_path: Path) -> None:
    words = command.split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"no {words[0]} here")
    path = tmp_path / "raw"
    for raw in SUBJECTS:
        path.write_bytes(raw)
        done = subprocess.run([*words, path], capture_output=True, check=True, timeout=60)
        assert read(done.stdout) == raw


def test_rows_are_those_of_hexdump(tmp_path: Path) -> None:
    if shutil.which("hexdump") is None:
        pytest.skip("no hexdump here")
    path = tmp_path / "raw"
    for raw in SUBJECTS:
        path.write_bytes(raw)
        done = subprocess.run(["hexdump", "-C", "-v", path], capture_output=True, check=True, timeout=60)
        assert [*rows(raw), f"{len(raw):08x}"] == done.stdout.decode("ascii").splitlines()


# --- Any bytes -------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=100))
def test_rows_are_read_back(data: bytes) -> None:
    assert read("\n".join(rows(data))) == data


@given(st.binary(), st.data())
def test_plain_hex_comes_in_parts_of_any_size(data: bytes, draw: st.DataObject) -> None:
    text = data.hex().encode()
    parts = draw.draw(pieces_of(text))
    assert b"".join(bytes_of(part for part in parts if part)) == data


@given(st.lists(st.binary(min_size=1, max_size=5), max_size=9), st.data())
def test_plain_hex_is_spaced_anyhow(pieces: list[bytes], draw: st.DataObject) -> None:
    blanks = st.sampled_from([" ", "  ", "\n", "\t", "\r\n"])
    text = "".join(piece.hex() + draw.draw(blanks) for piece in pieces)
    expected = b"".join(pieces)
    if len(pieces) > 1 and text.count("\n") and read_as_offsets(text):
        return
    assert read(text) == expected


def read_as_offsets(text: str) -> bool:
    """Whether the second line begins with a number that is greater than the first line's by the bytes in that."""
    lines = text.splitlines()
    if len(lines) < 2 or not lines[0].split() or not lines[1].split():
        return False
    first, second = lines[0].split(), lines[1].split()
    count = len("".join(first[1:])) // 2
    return count > 0 and int(second[0], 16) - int(first[0], 16) == count


@given(st.binary(max_size=64) | st.text("0123456789abcdef :*|>\n", max_size=64).map(str.encode))
def test_any_text_is_read_or_refused_by_line(text: bytes) -> None:
    told = ""
    try:
        read(text)
    except DumpError as error:
        told = str(error)
    assert re.match(r"(line \d+: .|$)", told)
    assert told.isascii()
    assert told.isprintable()


# --- What is wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("00 01\n02 0x\n", r"line 2: '0x' is not hexadecimal"),
        ("hello world", r"line 1: 'hello' is not hexadecimal"),
        ("\n\n0 1", r"line 3: '0' has an odd number of digits"),
        ("000", r"line 1: the last byte has one digit"),
        ("00\n0\n11", r"line 2: '0' has an odd number of digits"),
        ("0000000" + " 61" * 16 + "\n0000020 61\n0000021\n", r"line 1: '0000000' has an odd number .*\(od -A x\)"),
        ("0000000 6261 6463\n0000004\n", r"line 1: '6261' is not a byte of two digits"),
        ("00000000: 00\n00000002: 00", r"line 2: offset 0x2 where 0x1 is expected"),
        ("00000000: 00\n00000000: 00", r"line 2: offset 0x0 where 0x1 is expected"),
        ("00000000: 00\n11 22", r"line 2: offset 0x11 where 0x1 is expected"),
        ("00000000: 00\nxyz", r"line 2: 'xyz' is no offset"),
        ("00000000: 00\n\x1b[31m 00", r"line 2: '\\x1b\[31m' is no offset"),
        ("00000000: \xff", r"line 1: '\\xc3\\xbf' is not hexadecimal"),
        ("00000000: 64636261  abcd", r"line 1: the characters beside the bytes are others"),
        ("00000000  00 |.|\n*\n", r"line 2: \* is the last line"),
        ("00000000  00 |.|\n*\n*\n00000002", r"line 3: \* has no line before it"),
        ("00000000  |\n*\n00000000 00", r"line 2: \* has no line before it"),
        ("00000000: 0000\n*\n00000003: 00", r"line 3: offset 0x3 where 0x2 is expected"),
        ("00000004: 0000\n*\n00000000: 00", r"line 3: offset 0x0 where 0x6 is expected"),
        ("*\n00000010: 00", r"line 1: '\*' is not hexadecimal"),
    ],
)
def test_errors_name_the_line(text: str, told: str) -> None:
    with pytest.raises(DumpError, match=f"^{told}"):
        read(text)


def test_the_bytes_before_an_error_are_given() -> None:
    def lines() -> Iterator[bytes]:
        yield b"00000000: 6162\n"
        yield b"00000002: 63\n"
        yield b"00000009: 64\n"

    pieces = bytes_of(lines())
    assert next(pieces) == b"abc"
    with pytest.raises(DumpError, match=r"^line 3: "):
        next(pieces)


def test_the_bytes_before_any_other_error_are_given_too() -> None:
    def lines() -> Iterator[bytes]:
        yield b"6162\n"
        yield b"63\n"
        raise OSError("unplugged")

    pieces = bytes_of(lines())
    assert next(pieces) == b"abc"
    with pytest.raises(OSError, match="unplugged"):
        next(pieces)


def test_half_a_byte_waits_for_the_rest_of_its_line_only() -> None:
    assert b"".join(bytes_of([b"616", b"263", b"\n64"])) == b"abcd"
    with pytest.raises(DumpError, match=r"^line 2: "):
        b"".join(bytes_of([b"61", b"62", b" 63\n", b"64", b" zz"]))
    for lines in ([b"616", b"\n", b"2"], [b"616", b" 2"], [b"616", b"2 6"]):
        with pytest.raises(DumpError, match=r"^line [12]: "):
            b"".join(bytes_of(lines))


def test_an_offset_needs_a_sign_that_it_is_one() -> None:
    assert read("010203040506 07\n08") == bytes(range(1, 9))
    assert read("00000005 68 65 6c 6c 6f") == b"\0\0\0\5hello"
    assert read("00000005 68 65 6c 6c 6f |hello|") == b"hello"
    assert read("00000005 68 65 6c 6c 6f\n0000000a 21") == b"hello!"
    assert read("00000005 68\n*\n00000008") == b"hhh"
    assert read("0000000 68 69\n0000002 21") == b"hi!"
    assert read("00000100: 68\n00000101: 69") == b"hi"
    assert read("") == read("\n \n") == b""


def test_repetitions_come_in_pieces() -> None:
    """A sparse file's dump is short, and what it stands for may be larger than the memory."""
    pieces = bytes_of([b"00000000: 6162\n", b"*\n", b"7ffffffffffffffe: 63\n"])
    sizes = [len(next(pieces)) for _ in range(10)]
    assert min(sizes) >= 4096
    assert max(sizes) <= 1 << 18


def test_a_row_is_blank_where_bytes_are_unknown() -> None:
    full = row(0x10, bytes(range(0x41, 0x51)))
    part = row(0x10, bytes(range(0x4B, 0x51)), 10)
    assert len(full) == len(part)
    assert part[:10] == full[:10]
    assert part[10:41].strip() == ""
    assert part[41:58] == full[41:58]
    assert part.endswith("|KLMNOP|")
    assert row(1 << 36, b"a").startswith("1000000000  61 ")
