"""Handlers: what of them is called, and what becomes of replies."""

from itertools import chain
from typing import Any

import pytest

from fastframe._handler import Calls, Replies


class Conn:
    """Takes bytes, as a client does: all or none."""

    def __init__(self) -> None:
        self.calls: list[list[bytes]] = []

    def send_many(self, payloads: list[Any]) -> None:
        if not all(isinstance(payload, bytes) for payload in payloads):
            raise TypeError("not bytes")
        self.calls.append(list(payloads))

    def send(self, payload: Any) -> None:
        self.send_many([payload])


def run(function: Any, *batches: list[bytes]) -> list[list[bytes]]:
    conn, replies = Conn(), Replies(function)
    for batch in batches:
        replies.frames(conn, batch)  # type: ignore[arg-type]
    return conn.calls


def test_replies_to_frames_that_came_together_are_sent_together() -> None:
    assert run(bytes.upper, [b"a", b"b"], [b"c"]) == [[b"A", b"B"], [b"C"]]


def test_replies_of_several_frames_and_of_none() -> None:
    replies = {b"a": [b"1", b"2"], b"b": None, b"c": b"3", b"d": []}
    calls = run(replies.get, [b"a", b"b", b"c", b"d"], [b"b"], [b"d", b"b"], [b"a", b"c"])
    assert list(chain(*calls)) == [b"1", b"2", b"3", b"1", b"2", b"3"]
    assert calls[-1] == [b"1", b"2", b"3"]  # once it knows them, in one call again


def test_if_it_raises_the_replies_before_are_sent() -> None:
    def function(frame: bytes) -> bytes:
        return frame[:1] if frame else 1 / 0  # type: ignore[return-value]

    conn = Conn()
    with pytest.raises(ZeroDivisionError):
        Replies(function).frames(conn, [b"a", b"b", b"", b"c"])  # type: ignore[arg-type]
    assert conn.calls == [[b"a", b"b"]]


def test_a_reply_that_cannot_be_sent_is_found_where_it_stands() -> None:
    conn = Conn()
    with pytest.raises(TypeError):
        Replies({b"a": b"1", b"b": "text", b"c": b"3"}.get).frames(conn, [b"a", b"b", b"c"])  # type: ignore[arg-type]
    assert conn.calls == [[b"1"]]


def test_an_object_needs_only_frames() -> None:
    class Only:
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            pass

    calls = Calls(Only())
    assert (calls.connected, calls.ended, calls.closed) == (None, None, None)


def test_a_functions_attributes_are_its_own() -> None:
    def function(frame: bytes) -> bytes:
        return frame

    function.closed = lambda: 1 / 0  # type: ignore[attr-defined]
    assert Calls(function).closed is None


def test_an_object_that_is_callable_too_is_asked_for_frames() -> None:
    class Both:
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            conn.send_many(frames)

        def __call__(self, frame: bytes) -> None:
            raise AssertionError("not this one")

    conn = Conn()
    Calls(Both()).frames(conn, [b"a"])  # type: ignore[arg-type]
    assert conn.calls == [[b"a"]]


class Wrong:
    frames = 5


@pytest.mark.parametrize("handler", [None, 5, "frames", object(), Wrong()])
def test_anything_else_is_no_handler(handler: Any) -> None:
    with pytest.raises(TypeError, match="a handler is a function of a frame, or an object with a method `frames`, not"):
        Calls(handler)
