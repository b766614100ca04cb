"""A server's limits: what they are unless told, and what they can't be."""

import pickle

import pytest

import fastframe as ff


def test_each_has_a_default_and_a_name() -> None:
    limits = ff.Limits()
    assert (limits.max_connections, limits.max_pending, limits.max_held) == (None, 16 << 20, 1 << 30)
    assert (limits.idle_timeout, limits.frame_timeout, limits.handshake_timeout, limits.close_timeout) == (
        None,
        60,
        10,
        5,
    )
    assert (limits.high_water, limits.low_water, limits.backlog) == (64 << 10, 16 << 10, 1024)
    assert (limits.turn_bytes, limits.turn_frames) == (64 << 10, 256)


def test_they_are_values() -> None:
    limits = ff.Limits(idle_timeout=5)
    assert limits == ff.Limits(idle_timeout=5.0) != ff.Limits()
    assert hash(limits) == hash(ff.Limits(idle_timeout=5))
    assert eval(repr(limits), {"Limits": ff.Limits}) == limits
    assert pickle.loads(pickle.dumps(limits)) == limits
    with pytest.raises(AttributeError):
        limits.idle_timeout = 6  # type: ignore[misc]


@pytest.mark.parametrize("name", ["max_connections", "backlog", "turn_bytes", "turn_frames"])
def test_at_least_one_of_these(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
        ff.Limits(**{name: 0})


@pytest.mark.parametrize("name", ["max_pending", "max_held", "high_water", "low_water"])
def test_none_of_these_is_negative(name: str) -> None:
    with pytest.raises(ValueError, match="-1"):
        ff.Limits(**{name: -1})


@pytest.mark.parametrize("value", ["5", 5.0, True, None])
def test_numbers_are_ints(value: object) -> None:
    with pytest.raises(TypeError, match="turn_frames must be an int"):
        ff.Limits(turn_frames=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["idle_timeout", "frame_timeout", "handshake_timeout", "close_timeout"])
@pytest.mark.parametrize(
    ("value", "kind"), [(-1, ValueError), (float("nan"), ValueError), ("5", TypeError), (True, TypeError)]
)
def test_times_are_seconds(name: str, value: object, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=name):
        ff.Limits(**{name: value})  # type: ignore[arg-type]


def test_no_limit_is_none() -> None:
    limits = ff.Limits(max_connections=None, max_held=None, frame_timeout=None, idle_timeout=float("inf"))
    assert limits.max_held is limits.frame_timeout is limits.idle_timeout is None


def test_the_low_water_is_not_above_the_high_one() -> None:
    with pytest.raises(ValueError, match="low_water must be 0 to high_water, 100, not 101"):
        ff.Limits(high_water=100, low_water=101)


def test_they_are_named() -> None:
    with pytest.raises(TypeError):
        ff.Limits(5)  # type: ignore[misc]
