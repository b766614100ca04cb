"""A frame's drawing: boxes that close, offsets that are right, and notes that say what the description does."""

from itertools import pairwise

import pytest
from hypothesis import given

import fastframe as ff
from fastframe.cli.layout import layout
from support import framings

AMQP = """\
0         3         7
+---------+---------+---------+------------+
| header  | length  | payload | trailer ce |
| 3 bytes | 4 bytes |         | 1 byte     |
+---------+---------+---------+------------+
length     big-endian, unsigned
frame      length + 8 bytes
delivered  the frame without its trailer
limit      131079 bytes delivered"""

MLLP = """\
0          1
+----------+---------+-------+
| start 0b | payload | end   |
| 1 byte   |         | 1c 0d |
+----------+---------+-------+
delivered   the payload
at the end  a last frame without its end is an error
limit       16777216 bytes delivered"""


def test_drawings() -> None:
    assert "\n".join(layout(ff.preset("amqp091"))) == AMQP
    assert "\n".join(layout(ff.preset("mllp"))) == MLLP


def boxes(framing: ff.Framing) -> list[tuple[str, str, str]]:
    """Of each box: the offset above its left edge, and its two lines."""
    offsets, edge, labels, sizes, again, *_ = layout(framing)
    assert edge == again
    edges = [at for at, char in enumerate(edge) if char == "+"]
    assert len(edge) == len(labels) == len(sizes) == edges[-1] + 1
    assert all(line[at] == "|" for line in (labels, sizes) for at in edges)
    offsets = offsets.ljust(len(edge))
    return [(offsets[a:b].strip(), labels[a + 1 : b].strip(), sizes[a + 1 : b].strip()) for a, b in pairwise(edges)]


def notes(framing: ff.Framing) -> dict[str, str]:
    pairs = [line.split("  ", 1) for line in layout(framing)[5:]]
    return {name: note.strip() for name, note in pairs}


@pytest.mark.parametrize(
    ("framing", "shown"),
    [
        (ff.LengthField(2), [("0", "length", "2 bytes"), ("2", "payload", "")]),
        (
            ff.preset("bgp"),
            [
                ("0", "magic ff ff ff ff ...", "16 bytes"),
                ("16", "length", "2 bytes"),
                ("18", "header", "1 byte"),
                ("19", "payload", ""),
            ],
        ),
        (
            ff.preset("tuya_6699"),
            [
                ("0", "magic 00 00 66 99", "4 bytes"),
                ("4", "header", "10 bytes"),
                ("14", "length", "4 bytes"),
                ("18", "payload", ""),
                ("", "trailer 00 00 99 66", "4 bytes"),
            ],
        ),
        (
            ff.LengthField(4, adjustment=3, trailer_size=3, trailer=b"!"),
            [
                ("0", "length", "4 bytes"),
                ("4", "payload", ""),
                ("", "trailer", "2 bytes"),
                ("", "trailer 21", "1 byte"),
            ],
        ),
        (ff.preset("mqtt"), [("0", "header", "1 byte"), ("1", "length", "1 to 4 bytes"), ("", "payload", "")]),
        (ff.preset("ascii10"), [("0", "length", "10 bytes"), ("10", "payload", "")]),
        (
            ff.preset("syslog_rfc6587"),
            [("0", "length", "1 to 10 digits"), ("", "separator 20", "1 byte"), ("", "payload", "")],
        ),
        (
            ff.Netstring(),
            [
                ("0", "length", "1 to 20 digits"),
                ("", "colon 3a", "1 byte"),
                ("", "payload", ""),
                ("", "comma 2c", "1 byte"),
            ],
        ),
        (
            ff.ContentLength(),
            [("0", "header lines", "Content-Length: n"), ("", "empty line 0d 0a", "2 bytes"), ("", "payload", "")],
        ),
        (ff.Delimiter(b"\r\n", b"\n"), [("0", "payload", ""), ("", "end", "0d 0a or 0a")]),
        (ff.preset("dbus"), [("0", "header", "16 bytes"), ("16", "rest", "")]),
        (ff.FixedSize(12), [("0", "payload", "12 bytes")]),
        (ff.UntilEOF(), [("0", "payload", "")]),
    ],
    ids=repr,
)
def test_boxes(framing: ff.Framing, shown: list[tuple[str, str, str]]) -> None:
    assert boxes(framing) == shown


@pytest.mark.parametrize(
    ("framing", "name", "note"),
    [
        (ff.LengthField(4, "little", signed=True), "length", "little-endian, signed"),
        (ff.preset("mp_connection"), "length", "big-endian, signed; -1 means that it is in the 8 bytes behind"),
        (ff.preset("onc_rpc"), "length", "big-endian, unsigned, its bits 0x7fffffff alone"),
        (ff.preset("smpp"), "frame", "length bytes"),
        (ff.preset("postgres"), "frame", "length + 1 bytes"),
        (ff.LengthField(2, adjustment=-3), "frame", "length - 1 bytes"),
        (ff.LengthField(4), "delivered", "the payload"),
        (ff.LengthField(4, strip=0), "delivered", "the whole frame"),
        (ff.LengthField(4, strip=0, trailer=b"!"), "delivered", "the frame without its trailer"),
        (ff.LengthField(4, offset=2, strip=2), "delivered", "the frame from byte 2"),
        (ff.LengthField(4, offset=2, strip=1, trailer=b"!"), "delivered", "the frame from byte 1, without its trailer"),
        (ff.VarintLength(strict=False), "length", "unsigned LEB128, not necessarily minimal"),
        (ff.VarintLength(strip=0), "delivered", "the whole frame"),
        (ff.preset("ascii10"), "length", "decimal, aligned left, padded with b' '"),
        (ff.preset("adb_host"), "length", "hexadecimal, aligned right, padded with b'0'"),
        (ff.AsciiLength(4, adjustment=-4, strip=0), "frame", "header + length - 4 bytes"),
        (ff.AsciiLength(4, strip=0), "delivered", "the whole frame"),
        (ff.Delimiter(b"\n", keep=True), "delivered", "the payload with its end"),
        (ff.preset("jsonlines"), "at the end", "a last frame without its end is delivered"),
        (ff.Computed(1, len), "delivered", "the whole frame"),
        (ff.Netstring(7), "limit", "7 bytes delivered"),
    ],
    ids=repr,
)
def test_notes(framing: ff.Framing, name: str, note: str) -> None:
    assert notes(framing)[name] == note


def test_what_a_function_computes_is_told_by_its_docstring() -> None:
    assert notes(ff.preset("git_pktline"))["frame"].startswith("hhhh, the whole packet's size in hex, and data.")


@pytest.mark.parametrize("name", ff.presets())
def test_every_preset_is_drawn(name: str) -> None:
    framing = ff.preset(name)
    assert boxes(framing)
    assert notes(framing)["limit"] == f"{framing.limit} bytes delivered"


@given(framings())
def test_every_description_is_drawn(framing: ff.Framing) -> None:
    assert boxes(framing)
    assert all(line.isascii() and line.isprintable() for line in layout(framing))


@given(framings())
def test_the_drawing_is_where_the_bytes_are(framing: ff.Framing) -> None:
    """The length begins at the offset above it, and what it says makes the frame that the notes say."""
    if not isinstance(framing, ff.LengthField) or framing.mask or framing.escape:
        return
    shown = boxes(framing)
    (at,) = (int(offset) for offset, label, _ in shown if label == "length")
    try:
        payload = bytes(framing.header_size - framing.strip) if framing.strip <= framing.offset else b""
        wire = framing.encode(framing.magic[framing.strip :] + payload[len(framing.magic[framing.strip :]) :])
    except ValueError:  # a description that can only decode, or frames that have no room for this
        return
    length = int.from_bytes(wire[at : at + framing.width], framing.byteorder)
    more = notes(framing)["frame"].removeprefix("length").removesuffix("bytes").replace(" ", "")
    assert length + int(more or "0") == len(wire)
