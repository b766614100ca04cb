"""Other framing systems' own tests, at every cut, in every way of feeding: tests/data/vectors.json."""

import json
from pathlib import Path
from typing import Any

import pytest

import fastframe as ff
from support import WAYS, cuts, outcome

VECTORS = json.loads((Path(__file__).parent / "data" / "vectors.json").read_text("utf-8"))["vectors"]
DECODE = [vector for vector in VECTORS if vector["direction"] == "decode"]
ENCODE = [vector for vector in VECTORS if vector["direction"] == "encode"]
MANY = 400  # bytes; a longer stream isn't cut at every place, but around its frames' edges


def framing_of(vector: dict[str, Any]) -> ff.Framing:
    given = dict(vector["framing"])
    ends = [bytes.fromhex(end) for end in given.pop("ends", [])]
    for name in ("magic", "trailer", "template", "start", "separator", "pad"):
        if name in given:
            given[name] = bytes.fromhex(given[name])
    if given.get("escape"):
        given["escape"] = tuple(given["escape"])
    return getattr(ff, given.pop("class"))(*ends, **given)


def hexed(pieces: list[str]) -> list[bytes]:
    return [bytes.fromhex(piece) for piece in pieces]


def pieces_of(vector: dict[str, Any]) -> list[list[bytes]]:
    """Its own chunks, and other cuts of the same bytes."""
    own = hexed(vector["chunks"])
    data = b"".join(own)
    if len(data) <= MANY:
        return [own, *cuts(data)]
    near = [*range(1, 24), *range(len(data) - 24, len(data))]
    return [own, [data], *([data[:i], data[i:]] for i in near)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("vector", DECODE, ids=[vector["id"] for vector in DECODE])
def test_decode_at_every_cut(engine: Any, vector: dict[str, Any], way: str) -> None:
    framing = framing_of(vector)
    wanted = hexed(vector["frames"])
    for chunks in pieces_of(vector):
        frames, error = outcome(engine.Decoder(framing), chunks, way, vector["eof"])
        assert frames == wanted
        assert (error and error.kind.__name__) == vector["error"]
        assert (error and error.offset) == vector["error_offset"]


@pytest.mark.parametrize("vector", ENCODE, ids=[vector["id"] for vector in ENCODE])
def test_encode(vector: dict[str, Any]) -> None:
    framing = framing_of(vector)
    payloads = hexed(vector["payloads"])
    assert [framing.encode(payload) for payload in payloads] == hexed(vector["wire"])
    assert framing.encode_many(payloads) == b"".join(hexed(vector["wire"]))


@pytest.mark.parametrize("vector", ENCODE, ids=[vector["id"] for vector in ENCODE])
def test_encoded_vector_decodes(engine: Any, vector: dict[str, Any]) -> None:
    wire = b"".join(hexed(vector["wire"]))
    for chunks in cuts(wire[:MANY]):
        decoder = engine.Decoder(framing_of(vector))
        frames = [frame for chunk in [*chunks, wire[MANY:]] for frame in decoder.feed(chunk)]
        assert frames == hexed(vector["payloads"])
