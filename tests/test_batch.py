"""FrameBatch: a sequence of frames that aren't objects yet, valid for ever."""

import gc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastframe as ff

FRAMING = ff.LengthField(1)


def batch_of(engine: Any, payloads: list[bytes]) -> Any:
    return engine.Decoder(FRAMING).feed_batch(FRAMING.encode_many(payloads))


PAYLOADS = [b"a", b"", b"ccc", b"dd"]


def test_batch_is_a_sequence(engine: Any) -> None:
    batch = batch_of(engine, PAYLOADS)
    assert type(batch) is engine.FrameBatch
    assert len(batch) == 4
    assert list(batch) == list(iter(batch)) == PAYLOADS
    assert [batch[i] for i in range(4)] == PAYLOADS
    assert [batch[i] for i in range(-4, 0)] == PAYLOADS
    assert all(type(frame) is bytes for frame in batch)
    assert list(reversed(batch)) == PAYLOADS[::-1]
    assert b"ccc" in batch


@pytest.mark.parametrize("index", [4, -5, 1 << 62, -(1 << 62)])
def test_index_beyond_it_is_an_index_error(engine: Any, index: int) -> None:
    with pytest.raises(IndexError):
        batch_of(engine, PAYLOADS)[index]


@pytest.mark.parametrize("index", ["0", None, 1.0, b""])
def test_index_of_another_type_is_a_type_error(engine: Any, index: Any) -> None:
    with pytest.raises(TypeError):
        batch_of(engine, PAYLOADS)[index]


@given(
    payloads=st.lists(st.binary(max_size=9), max_size=9),
    cut=st.slices(9),
)
def test_slice_is_a_list(engine: Any, payloads: list[bytes], cut: slice) -> None:
    got = batch_of(engine, payloads)[cut]
    assert type(got) is list
    assert got == payloads[cut]


def test_empty_batch(engine: Any) -> None:
    batch = batch_of(engine, [])
    assert (len(batch), list(batch), batch[:], list(batch.views())) == (0, [], [], [])
    assert not batch
    assert len(batch.offsets) == len(batch.lengths) == 0
    with pytest.raises(IndexError):
        batch[0]


def test_offsets_and_lengths_index_into_buffer(engine: Any) -> None:
    batch = batch_of(engine, PAYLOADS)
    assert (batch.buffer.format, batch.offsets.format, batch.lengths.format) == ("B", "q", "q")
    assert batch.buffer.readonly
    assert batch.offsets.readonly
    assert batch.lengths.readonly
    frames = [bytes(batch.buffer[o : o + n]) for o, n in zip(batch.offsets, batch.lengths, strict=True)]
    assert frames == PAYLOADS
    assert list(batch.lengths) == [1, 0, 3, 2]


@given(payloads=st.lists(st.binary(max_size=9), max_size=9), cut=st.integers(0, 99))
def test_offsets_and_lengths_for_any_pieces(engine: Any, payloads: list[bytes], cut: int) -> None:
    wire = FRAMING.encode_many(payloads)
    decoder = engine.Decoder(FRAMING)
    got = []
    for chunk in (wire[:cut], wire[cut:]):
        batch = decoder.feed_batch(chunk)
        got += [bytes(batch.buffer[o : o + n]) for o, n in zip(batch.offsets, batch.lengths, strict=True)]
    assert got == payloads


def test_views_do_not_copy_but_compare(engine: Any) -> None:
    batch = batch_of(engine, PAYLOADS)
    views = list(batch.views())
    assert [bytes(view) for view in views] == PAYLOADS
    assert [len(view) for view in views] == [1, 0, 3, 2]
    assert [bytes(memoryview(view)) for view in views] == PAYLOADS
    assert views[2] == b"ccc"
    assert views[2] == memoryview(b"ccc")
    assert views[2] == next(v for v in batch.views() if len(v) == 3)
    assert views[2] != b"ccd"
    assert views[2] != b"cc"
    assert views[2] != "ccc"
    assert memoryview(views[2]).readonly


def test_batch_stays_valid_whatever_the_decoder_does_next(engine: Any) -> None:
    decoder = engine.Decoder(FRAMING)
    batches, wanted = [], []
    for i in range(60):
        payloads = [bytes([i]) * (j % 7) for j in range(i)]
        wire = FRAMING.encode_many(payloads)
        cut = len(wire) // 2 + 1
        batches += [decoder.feed_batch(bytearray(wire[:cut])), decoder.feed_batch(wire[cut:])]
        wanted.append(payloads)
    views = [[(batch, list(batch.views())) for batch in batches[i : i + 2]] for i in range(0, 120, 2)]
    decoder.push(b"\3xy")
    decoder.unread()
    decoder.feed_eof()
    del decoder, batches
    gc.collect()
    for pair, payloads in zip(views, wanted, strict=True):
        assert [frame for batch, _ in pair for frame in batch] == payloads
        assert [bytes(view) for _, some in pair for view in some] == payloads


def test_views_and_buffers_outlive_their_batch(engine: Any) -> None:
    batch = batch_of(engine, PAYLOADS)
    view, buffer, offsets = list(batch.views())[2], batch.buffer, batch.offsets
    iterator = iter(batch)
    next(iterator)
    del batch
    gc.collect()
    assert bytes(view) == b"ccc"
    assert bytes(buffer[offsets[3] :][:2]) == b"dd"
    assert list(iterator) == PAYLOADS[1:]


def test_mutable_input_is_not_in_the_batch(engine: Any) -> None:
    for cut in range(10):
        decoder = engine.Decoder(FRAMING)
        wire = FRAMING.encode_many(PAYLOADS)
        decoder.push(wire[:cut])
        data = bytearray(wire[cut:])
        batch = decoder.feed_batch(data)
        data[:] = b"\xff" * len(data)
        data.clear()
        assert list(batch) == PAYLOADS


def test_immutable_input_is_not_copied(engine: Any) -> None:
    wire = FRAMING.encode_many([b"x" * 200] * 5000)
    batch = engine.Decoder(FRAMING).feed_batch(wire)
    assert batch.buffer.obj is wire
    assert len(batch) == 5000


def test_batch_behind_pushed_bytes(engine: Any) -> None:
    wire = FRAMING.encode_many(PAYLOADS)
    for cut in range(len(wire) + 1):
        for second in range(cut, len(wire) + 1):
            decoder = engine.Decoder(FRAMING)
            decoder.push(wire[:cut])
            decoder.push(wire[cut:second])
            assert list(decoder.feed_batch(wire[second:] + b"\2x")) == PAYLOADS
            assert decoder.unread() == b"\2x"


def test_large_batch(engine: Any) -> None:
    payloads = [b"%d" % i for i in range(100_000)]
    batch = batch_of(engine, payloads)
    assert list(batch) == payloads
    assert sum(batch.lengths) == sum(map(len, payloads))
    assert [bytes(view) for view in batch.views()] == payloads


def test_repr(engine: Any) -> None:
    assert repr(batch_of(engine, PAYLOADS)) == "<FrameBatch of 4 frames>"
    assert repr(batch_of(engine, [])) == "<FrameBatch of 0 frames>"


def test_batch_is_not_made_by_users(engine: Any) -> None:
    with pytest.raises(TypeError):
        engine.FrameBatch()
    with pytest.raises(TypeError):
        engine.FrameBatch([b"a"])


def test_batch_made_without_init_is_a_clean_error(engine: Any) -> None:
    try:
        raw = engine.FrameBatch.__new__(engine.FrameBatch)
    except TypeError:
        return
    for use in (len, list, repr, bytes, lambda b: b[0], lambda b: b[:], lambda b: list(b.views()), lambda b: b.buffer):
        try:
            use(raw)
        except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):
            pass


def test_batch_is_read_only(engine: Any) -> None:
    batch = batch_of(engine, PAYLOADS)
    for name in ("buffer", "offsets", "lengths"):
        with pytest.raises(AttributeError):
            setattr(batch, name, b"")
    with pytest.raises(TypeError):
        batch[0] = b""
    with pytest.raises(TypeError):
        batch.offsets[0] = 1


def test_numpy_takes_it_without_a_copy(engine: Any) -> None:
    numpy = pytest.importorskip("numpy")
    batch = batch_of(engine, PAYLOADS)
    lengths = numpy.asarray(batch.lengths)
    assert lengths.dtype == numpy.int64
    assert lengths.sum() == 6
    assert numpy.frombuffer(batch.buffer, "u1")[numpy.asarray(batch.offsets)[2]] == ord("c")
