"""Frames as text: nothing is lost, one line is one line, and no terminal obeys what a peer has sent."""

import io
import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastframe.cli import hexdump
from fastframe.cli.formats import ESCAPE, FORMATS, Frame, as_hex, as_json, as_text, escaped

HOSTILE = [
    b"\x1b[2J\x1b]0;title\x07",
    b"\x9b31m",
    "\x9b31m".encode(),
    "\u202etxt.exe".encode(),
    "a\u2028b\u0085c".encode(),
    b"\r\x08\x7f\x00",
    b"\xff\xfe",
    "\ufeff\u200b".encode(),
    b"\xed\xa0\x80",
    b'"\\\n',
]

payloads = st.one_of(st.binary(max_size=60), st.text(max_size=40).map(str.encode), st.sampled_from(HOSTILE))


def test_the_three() -> None:
    frame = Frame(3, 70, b"hi\xff\n")
    assert {name: show(frame) for name, show in FORMATS.items()} == {
        "hex": "frame 3 at offset 70, 4 bytes\n00000000  68 69 ff 0a                                       |hi..|\n",
        "text": "frame 3 at offset 70, 4 bytes: hi\\xff\\n\n",
        "json": '{"frame": 3, "offset": 70, "size": 4, "payload_hex": "6869ff0a"}\n',
    }
    assert as_json(Frame(1, 0, "h\u00e9".encode())) == '{"frame": 1, "offset": 0, "size": 3, "payload": "h\\u00e9"}\n'


def test_an_empty_frame_is_seen() -> None:
    assert as_hex(Frame(1, 0, b"")) == "frame 1 at offset 0, 0 bytes\n"
    assert as_text(Frame(1, 0, b"")) == "frame 1 at offset 0, 0 bytes: \n"
    assert json.loads(as_json(Frame(1, 0, b"")))["payload"] == ""


@pytest.mark.parametrize("show", FORMATS.values(), ids=list(FORMATS))
@given(payload=payloads)
def test_all_of_it_is_printable_and_ends_its_line(show, payload: bytes) -> None:
    text = show(Frame(1, 0, payload))
    assert text.endswith("\n")
    assert all(line.isprintable() for line in text[:-1].split("\n"))
    if show is not as_text:
        assert text.isascii()
    if show is not as_hex:
        assert text.count("\n") == 1


@given(payload=payloads)
def test_hex_loses_nothing(payload: bytes) -> None:
    _, *lines = as_hex(Frame(1, 0, payload)).splitlines(keepends=True)
    assert b"".join(hexdump.bytes_of(line.encode() for line in lines)) == payload


def json_payload(line: str) -> bytes:
    facts = json.loads(line)
    assert set(facts) - {"frame", "offset", "size"} in ({"payload"}, {"payload_hex"})
    data = facts["payload"].encode() if "payload" in facts else bytes.fromhex(facts["payload_hex"])
    assert len(data) == facts["size"]
    return data


@given(payload=payloads)
def test_json_loses_nothing(payload: bytes) -> None:
    line = as_json(Frame(7, 9, payload))
    assert json_payload(line) == payload
    assert (json.loads(line)["frame"], json.loads(line)["offset"]) == (7, 9)


def unescaped(text: str) -> bytes:
    """What `escaped` was given."""
    short = {"t": b"\t", "n": b"\n", "r": b"\r", "\\": b"\\"}

    def back(found: re.Match[bytes]) -> bytes:
        name = found[1].decode()
        return bytes.fromhex(name[1:]) if name[0] == "x" else short[name]

    return re.sub(rb"\\(x[0-9a-f]{2}|[tnr\\])", back, text.encode())


@given(payload=payloads)
@example(payload=b"\\x41")
@example(payload=b"\\\\\\n\n")
@example(payload="\U000e0001\ufffe\U0010ffff".encode())
def test_text_loses_nothing(payload: bytes) -> None:
    assert unescaped(escaped(payload)) == payload


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"plain ~ text", "plain ~ text"),
        (b"\t\n\r\\", r"\t\n\r\\"),
        (b"\x1b[31m\x00\x7f", r"\x1b[31m\x00\x7f"),
        ("gr\u00fc\u00df \u65e5\u672c \U0001f600".encode(), "gr\u00fc\u00df \u65e5\u672c \U0001f600"),
        (b"caf\xe9", r"caf\xe9"),
        ("\x9b\u202e\u200b\u2028\u00a0".encode(), r"\xc2\x9b\xe2\x80\xae\xe2\x80\x8b\xe2\x80\xa8\xc2\xa0"),
        (b"\xed\xa0\x80\xc0\x80", r"\xed\xa0\x80\xc0\x80"),
    ],
)
def test_what_escaped_makes(payload: bytes, text: str) -> None:
    assert escaped(payload) == text


@given(payload=payloads)
@example(payload="\u20ac\u00e9".encode())
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_an_output_that_lacks_a_character_shows_its_bytes(encoding: str, payload: bytes) -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding, errors=ESCAPE)
    out.write(escaped(payload))
    out.flush()
    assert unescaped(raw.getvalue().decode(encoding)) == payload


def test_the_escapes_are_for_outputs_alone() -> None:
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("utf-8", ESCAPE)
