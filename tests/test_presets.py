"""Every preset against its layout in data/presets.json, which was written down independently of the table."""

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fastframe as ff
from fastframe import presets as list_presets
from fastframe.presets import avro_block_size, dbus_size, fix_size, git_pktline_size, pyro5_size
from support import cuts

LAYOUTS: dict[str, dict[str, Any]] = {
    layout["name"]: layout
    for layout in json.loads((Path(__file__).parent / "data" / "presets.json").read_text())["presets"]
}

LEFT_OUT = {
    "arrow_ipc": "the body's size is inside the metadata, a flatbuffer of any size",
    "avro_rpc": "a message is a row of frames, joined: later",
    "bolt": "a message is a row of chunks, joined: later",
    "dask_comm": "the sizes of what follows stand in a table of any size",
    "esphome_plain": "two varints, of which the second isn't counted: the smallest frame is shorter than they can be",
    "nats": "the length is the last word of a line",
    "resp": "a recursive grammar of lines",
    "websocket": "three widths of length and a mask flag: the smallest frame is shorter than its header can be",
    "wyoming": "two lengths inside a line of JSON",
}

# What the widest length of four or more bytes can say is not a limit.
NO_LIMIT = {None, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1, 10**10 - 1}

TRAILERS = {"amqp091": b"\xce", "rpyc": b"\n", "tuya_6699": b"\x00\x00\x99\x66"}


def byteorder(layout: dict[str, Any]) -> Any:
    return sys.byteorder if layout["endian"] == "native" else layout["endian"]


def magic(layout: dict[str, Any]) -> bytes:
    """The constant that the frame begins with. Alternatives are none."""
    text = layout.get("magic", "").partition(" ")[0]
    return b"MI" if layout["name"] == "mitogen" else b"" if "|" in text else bytes.fromhex(text)


def says_more(layout: dict[str, Any]) -> bool:
    """Whether there is more in a header than length and magic, or a checksum behind the payload."""
    if layout["name"] == "tpkt":  # a reserved byte says nothing
        return False
    known = len(magic(layout)) + layout["length_width"]
    return layout["header_size"] > known or "length_mask" in layout or layout["name"] == "bson"


FIELDS = [
    name
    for name, layout in LAYOUTS.items()
    if name not in LEFT_OUT and isinstance(layout.get("length_width"), int) and layout["kind"] != "ascii_length"
]

# Of these the whole frame is delivered. A BSON document isn't one without its length.
WHOLE = [name for name in FIELDS if says_more(LAYOUTS[name])]

HELLO = (
    b"l\1\0\1\0\0\0\0\1\0\0\0n\0\0\0"
    b"\1\1o\0\x15\0\0\0/org/freedesktop/DBus\0\0\0"
    b"\6\1s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0"
    b"\2\1s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0"
    b"\3\1s\0\5\0\0\0Hello\0\0\0"
)
SIGNAL = b"B\4\1\1\0\0\0\5\0\0\0\7\0\0\0\11" + b"\1\1o\0\0\0\0\1/" + bytes(7) + b"hello"
PYRO = b"PYRO\1\xf6\4\2\0\0\0\1\0\0\0\5\0\0\0\3" + bytes(16) + b"\0\0\x4d\xc5" + b"ANNhello"
LOGON = b"8=FIX.4.2|9=65|35=A|49=SERVER|56=CLIENT|34=177|52=20090107-18:15:16|98=0|108=30|10=062|".replace(b"|", b"\1")
HEARTBEAT = b"8=FIX.4.0|9=5|35=0|10=161|".replace(b"|", b"\1")

# Frames and what is delivered of them, for what isn't a binary length field.
WRITTEN: dict[str, list[tuple[bytes, bytes]]] = {
    "adb_host": [(b"000chost:version", b"host:version"), (b"0000", b"")],
    "ascii10": [(b"5         hello", b"hello"), (b"0         ", b"")],
    "ascii64": [(b"12".ljust(64) + b"Hello, world", b"Hello, world")],
    "avro_container": [
        (frame, frame) for frame in (b"\0\0" + b"s" * 16, b"\4\6abc" + b"s" * 16, b"\x80\1\x80\1" + b"d" * 80)
    ],
    "dbus": [(HELLO, HELLO), (SIGNAL, SIGNAL), (b"l\2\1\1" + bytes(12), b"l\2\1\1" + bytes(12))],
    "fix": [(LOGON, LOGON), (HEARTBEAT, HEARTBEAT)],
    "git_pktline": [(frame, frame) for frame in (b"0009hello", b"0000", b"0001", b"0002", b"0004", b"000Aab cde")],
    "jsonlines": [(b'{"a": 1}\n', b'{"a": 1}'), (b"\n", b"")],
    "lsp": [(b"Content-Length: 5\r\n\r\nhello", b"hello"), (b"Content-Length: 0\r\n\r\n", b"")],
    "minecraft": [(b"\5hello", b"hello"), (b"\xac\2" + b"x" * 300, b"x" * 300)],
    "mllp": [(b"\x0bMSH|^~\\&|\r\x1c\r", b"MSH|^~\\&|\r"), (b"\x0b\x1c\r", b"")],
    "mqtt": [(b"\xc0\0", b"\xc0\0"), (b"\x30\5hello", b"\x30\5hello")],
    "netstring": [(b"5:hello,", b"hello"), (b"0:,", b"")],
    "protobuf_delimited": [(b"\5hello", b"hello"), (b"\0", b""), (b"\xac\2" + b"x" * 300, b"x" * 300)],
    "pyro5": [(PYRO, PYRO)],
    "syslog_rfc6587": [(b"5 hello", b"hello"), (b"11 <34>1 hello", b"<34>1 hello")],
}


def header(name: str, raw: int) -> bytes:
    """The header of a frame with this in its length field, as the layout says."""
    layout = LAYOUTS[name]
    start, width = layout["length_offset"], layout["length_width"]
    filling = bytes(range(0xA0, 0xA0 + layout["header_size"])) if name in WHOLE else bytes(layout["header_size"])
    filling = magic(layout) + filling[len(magic(layout)) :]
    return filling[:start] + raw.to_bytes(width, byteorder(layout)) + filling[start + width :]


def built(name: str, size: int) -> tuple[bytes, bytes]:
    """A frame with a payload of `size` bytes, as the layout says, and what is delivered of it."""
    layout = LAYOUTS[name]
    payload = bytes(range(size))
    trailer = TRAILERS.get(name, b"\xee" * layout.get("trailer_size", 0))
    head = header(name, size + len(trailer) - layout["adjustment"])
    frame = head + payload + trailer
    known = len(TRAILERS.get(name, b""))
    return frame, frame[: len(frame) - known] if name in WHOLE else payload


def golden(name: str) -> list[tuple[bytes, bytes]]:
    """The layout's own frame, and what is delivered of it."""
    layout = LAYOUTS[name]
    if "golden" not in layout or (layout.get("endian") == "native" and sys.byteorder == "big"):
        return []
    frame, payload = (bytes.fromhex(layout["golden"][part]) for part in ("frame_hex", "payload_hex"))
    if name in (*WHOLE, "mqtt", "git_pktline"):
        return [(frame, frame[: len(frame) - len(TRAILERS.get(name, b""))])]
    return [(frame, payload)]


def samples(name: str) -> list[tuple[bytes, bytes]]:
    found = golden(name) + WRITTEN.get(name, [])
    if name in FIELDS:
        found += [built(name, size) for size in (0, 1, 40) if size or name != "modbus_tcp"]
    return found


SAMPLES = [pytest.param(name, *pair, id=f"{name}-{i}") for name in LAYOUTS for i, pair in enumerate(samples(name))]


# --- The table -------------------------------------------------------------------------------------------------------


def test_every_protocol_is_there_or_left_out_for_a_reason():
    assert set(LAYOUTS) - set(ff.presets()) == set(LEFT_OUT)
    assert set(ff.presets()) <= set(LAYOUTS)


def test_names_come_sorted_in_a_tuple():
    assert ff.presets() == tuple(sorted(ff.presets()))
    assert list_presets is ff.presets


def test_every_preset_has_a_sample():
    assert [name for name in ff.presets() if not samples(name)] == []


@pytest.mark.parametrize("name", ff.presets())
def test_each_call_gives_an_equal_description(name):
    framing = ff.preset(name)
    assert isinstance(framing, ff.Framing)
    assert ff.preset(name) == framing
    assert hash(ff.preset(name)) == hash(framing)


@pytest.mark.parametrize("name", ff.presets())
def test_repr_evaluates_back(name):
    functions = {f.__name__: f for f in (avro_block_size, dbus_size, fix_size, git_pktline_size, pyro5_size)}
    assert eval(repr(ff.preset(name)), {**vars(ff), **functions}) == ff.preset(name)


@pytest.mark.parametrize("name", ff.presets())
def test_pickles(name):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(ff.preset(name), protocol)) == ff.preset(name)


@pytest.mark.parametrize("name", FIELDS)
def test_field_lies_where_the_layout_says(name):
    framing, layout = ff.preset(name), LAYOUTS[name]
    assert isinstance(framing, ff.LengthField)
    assert (framing.offset, framing.width) == (layout["length_offset"], layout["length_width"])
    assert framing.byteorder == byteorder(layout)
    assert framing.signed == (layout["length_encoding"] == "int")
    assert (framing.header_size, framing.adjustment) == (layout["header_size"], layout["adjustment"])
    assert framing.strip == (0 if name in WHOLE else framing.header_size)
    assert framing.magic == magic(layout)
    assert framing.trailer == TRAILERS.get(name, b"")
    assert framing.trailer_size == len(framing.trailer)
    assert framing.mask == (int(layout["length_mask"], 16) if "length_mask" in layout else None)


# --- Limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIELDS)
def test_limit_is_the_layouts_in_delivered_bytes(name):
    framing, layout = ff.preset(name), LAYOUTS[name]
    around = framing.header_size + framing.adjustment - framing.strip - framing.trailer_size
    raw = layout.get("max")
    if raw not in NO_LIMIT:
        expected = raw + around
    elif framing.width < 4:
        expected = (1 << 8 * framing.width) - 1 + around
    else:
        expected = 16 << 20
    assert framing.limit == expected


@pytest.mark.parametrize("name", [name for name in FIELDS if LAYOUTS[name].get("max") not in NO_LIMIT])
def test_greatest_length_is_taken_and_one_more_is_not(name):
    framing, raw = ff.preset(name), LAYOUTS[name]["max"]
    head = header(name, raw)
    assert framing._measure(head, 0, len(head))[0] == framing.header_size + raw + framing.adjustment
    if raw < (framing.mask or (1 << 8 * framing.width) - 1):
        head = header(name, raw + 1)
        with pytest.raises(ff.FrameTooLarge):
            framing._measure(head, 0, len(head))


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("adb_host", 0xFFFF),
        ("ascii10", 16 << 20),
        ("ascii64", 16 << 20),
        ("dbus", 128 << 20),
        ("git_pktline", 65_520),
        ("jsonlines", 16 << 20),
        ("lsp", 16 << 20),
        ("minecraft", 2_097_151),
        ("mqtt", 5 + 268_435_455),
        ("netstring", 16 << 20),
        ("protobuf_delimited", 16 << 20),
        ("pyro5", 16 << 20),
    ],
)
def test_limit_of_what_is_no_field(name, limit):
    assert ff.preset(name).limit == limit


# --- Frames ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "wire", "delivered"), SAMPLES)
def test_reference_finds_the_end_of_the_frame(name, wire, delivered):
    framing = ff.preset(name)
    size, start, stop, _ = framing._measure(wire + wire, 0, 2 * len(wire))
    assert (size, wire[start:stop]) == (len(wire), delivered)
    for count in range(1, len(wire)):
        measured = framing._measure(wire, 0, count)
        assert measured > count if isinstance(measured, int) else measured[0] == len(wire)


@pytest.mark.parametrize(("name", "wire", "delivered"), SAMPLES)
def test_decodes_at_every_cut(engine, name, wire, delivered):
    for chunks in cuts(wire):
        decoder = engine.Decoder(ff.preset(name))
        assert [frame for chunk in chunks for frame in decoder.feed(chunk)] == [delivered]
        assert decoder.feed_eof() == []


@pytest.mark.parametrize("name", ff.presets())
def test_decodes_one_frame_behind_the_other(engine, name):
    pairs = samples(name)
    decoder = engine.Decoder(ff.preset(name))
    assert decoder.feed(b"".join(wire for wire, _ in pairs)) == [delivered for _, delivered in pairs]


@pytest.mark.parametrize(("name", "wire", "delivered"), SAMPLES)
def test_encoding_is_the_inverse(name, wire, delivered):
    framing = ff.preset(name)
    assert framing.encode(delivered) == wire
    assert b"".join(framing.parts(bytearray(delivered))) == wire
    assert framing.encode_many([delivered, delivered]) == wire + wire


@pytest.mark.parametrize("name", [name for name in FIELDS if name in WHOLE])
def test_encode_writes_the_length_into_a_whole_frame(name):
    framing = ff.preset(name)
    wire, delivered = built(name, 9)
    at = framing.offset
    no_length = header(name, 0)[at : at + framing.width]
    assert framing.encode(delivered[:at] + no_length + delivered[at + framing.width :]) == wire


def test_onc_rpc_keeps_the_last_fragment_bit():
    frame = b"\x80\0\0\5hello"
    assert ff.preset("onc_rpc").encode(b"\x80\0\0\0hello") == frame
    assert ff.preset("onc_rpc")._measure(frame, 0, len(frame))[0] == len(frame)


def test_multiprocessing_announces_a_wider_length():
    framing = ff.preset("mp_connection")
    head = b"\xff\xff\xff\xff" + (1 << 20).to_bytes(8, "big")
    assert framing._measure(head, 0, 12) == (12 + (1 << 20), 12, 12 + (1 << 20), 12)


@pytest.mark.parametrize("name", ["minecraft", "protobuf_delimited"])
def test_readers_take_a_varint_that_is_not_minimal(name):
    wire = b"\x85\x80\0hello"
    assert ff.preset(name)._measure(wire, 0, len(wire)) == (8, 3, 8, 3)


def test_mqtt_refuses_a_length_that_is_not_minimal():
    with pytest.raises(ff.BadLength):
        ff.preset("mqtt")._measure(b"\x30\x85\0hello", 0, 8)


def test_jsonlines_delivers_a_last_value_without_newline(engine):
    decoder = engine.Decoder(ff.preset("jsonlines"))
    assert decoder.feed(b"1\n2") == [b"1"]
    assert decoder.feed_eof() == [b"2"]


@pytest.mark.parametrize("name", [name for name in FIELDS if magic(LAYOUTS[name])])
def test_wrong_magic_is_refused(name):
    wire, _ = built(name, 1)
    with pytest.raises(ff.BadMagic):
        ff.preset(name)._measure(bytes([wire[0] ^ 1]) + wire[1:], 0, len(wire))


# --- Computed sizes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param(name, data, id=f"{name}-{data[:12]!r}")
        for name, bad in {
            "git_pktline": [
                b"0003",
                b"+005",
                b"  5a",
                b"0x05",
                b"5_00",
                b"-001",
                b"00 5",
                b"\xb2\xb2\xb2\xb2",
                b"000g",
            ],
            "dbus": [b"x" + HELLO[1:], b"\0" + HELLO[1:], b"L" + HELLO[1:]],
            "fix": [
                LOGON.replace(b"9=65", b"9=+65"),
                LOGON.replace(b"9=65", b"9="),
                LOGON.replace(b"9=65", b"9=6_5"),
                LOGON.replace(b"\x019=65", b"\x0135=A\x019=65"),
                LOGON.replace(b"9=65", b"9=" + b"0" * 26),
                LOGON.replace(b"\1", b"|"),
                LOGON.replace(b"9=65", b"9=-1"),
                b"8=FIX.4.2\x019=0\x0110=000\x018=FIX",
            ],
            "avro_container": [
                b"\1\0" + bytes(16),
                b"\0\1" + bytes(16),
                b"\xff" * 18,
                b"\0" + b"\x80" * 17,
                b"\xff" * 9 + b"\2" + b"\xff" * 8,
            ],
        }.items()
        for data in bad
    ],
)
def test_header_that_cannot_be_is_bad_length(engine, name, data):
    framing = ff.preset(name)
    decoder = engine.Decoder(framing)
    with pytest.raises(ff.BadLength) as caught:
        decoder.feed(data)
    assert caught.value.header == data[: framing.header_size]
    assert caught.value.offset == 0
    with pytest.raises(ff.BadLength):
        framing.encode(data)


@pytest.mark.parametrize(
    ("name", "data"), [("pyro5", b"PYRA" + PYRO[4:]), ("pyro5", PYRO[:38] + b"\0\0"), ("fix", b"9" + LOGON[1:])]
)
def test_header_without_its_constant_is_bad_magic(engine, name, data):
    with pytest.raises(ff.BadMagic):
        engine.Decoder(ff.preset(name)).feed(data)


@pytest.mark.parametrize(
    ("name", "data", "size"),
    [
        ("git_pktline", b"fff1", 65_521),
        ("dbus", b"l\1\0\1" + b"\xff" * 4 + bytes(4) + b"\xff" * 4, 16 + 2**32 + 2**32 - 1),
        ("pyro5", PYRO[:12] + b"\xff" * 8 + PYRO[20:40], 40 + 2 * (2**32 - 1)),
        ("fix", b"8=FIXT.1.1\x019=99999999999\x01x", 11 + 14 + 99_999_999_999 + 7),
        ("avro_container", b"\2" + b"\xfe\xff\xff\xff\x0f" + bytes(12), 6 + 2**31 - 1 + 16),
    ],
)
def test_computed_size_beyond_the_limit(engine, name, data, size):
    with pytest.raises(ff.FrameTooLarge) as caught:
        engine.Decoder(ff.preset(name)).feed(data)
    assert (caught.value.size, caught.value.limit) == (size, ff.preset(name).limit)


@pytest.mark.parametrize("name", ["avro_container", "dbus", "fix", "git_pktline", "pyro5"])
def test_computed_header_is_no_longer_than_the_smallest_frame(name):
    smallest = {"pyro5": 40}.get(name) or min(len(wire) for wire, _ in samples(name))
    assert ff.preset(name).header_size == smallest


def test_encode_refuses_a_whole_frame_of_another_size():
    with pytest.raises(ValueError, match="says 9 bytes"):
        ff.preset("git_pktline").encode(b"0009hello!")


# --- Names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "close"), [("kafak", "'kafka'"), ("KAFKA", "'kafka'"), ("http", "'http2'"), ("xyzzy", "presets()")]
)
def test_unknown_name_is_a_value_error_with_close_ones(name, close):
    with pytest.raises(ValueError, match="no preset is called") as caught:
        ff.preset(name)
    assert close in str(caught.value)


@pytest.mark.parametrize("name", [b"kafka", None, 4, ["kafka"]])
def test_name_must_be_a_str(name):
    with pytest.raises(TypeError, match="name must be a str"):
        ff.preset(name)


def test_difflib_is_imported_only_for_a_wrong_name():
    code = "import sys, fastframe; fastframe.preset('kafka'); sys.exit('difflib' in sys.modules)"
    beside = Path(ff.__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=beside, check=False).returncode == 0
