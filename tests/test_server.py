"""What a server promises to its handler and to the program around it."""

import errno
import logging
import os
import signal
import socket
import ssl
import stat
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import fastframe as ff
from connections import needs_signals, needs_unix
from servers import FRAMING, LONG, Told, on_engine, received, serving, to

__all__ = ["on_engine"]  # the fixture that pytest is to find here


# --- Functions as handlers -------------------------------------------------------------------------------------------


def test_a_function_is_called_with_each_frame_and_its_replies_are_sent() -> None:
    with serving(bytes.upper) as server, to(server) as conn:
        conn.send(b"hello")
        assert conn.recv() == b"HELLO"
        conn.send_many([b"%d" % i for i in range(5000)])
        assert [conn.recv() for _ in range(5000)] == [b"%d" % i for i in range(5000)]


def test_a_reply_may_be_a_frame_many_or_none() -> None:
    replies: dict[bytes, Any] = {
        b"one": b"1",
        b"many": [b"1", b"2", b"3"],
        b"tuple": (b"4", b"5"),
        b"none": None,
        b"nothing": [],
        b"empty": b"",
        b"buffer": bytearray(b"6"),
    }
    with serving(replies.get) as server, to(server) as conn:
        conn.send_many([*replies, b"one"])
        assert [conn.recv() for _ in range(9)] == [b"1", b"1", b"2", b"3", b"4", b"5", b"", b"6", b"1"]
        conn.send_many([b"none"] * 10)
        conn.send(b"one")
        assert conn.recv() == b"1"


def test_a_function_that_raises_closes_its_client_which_gets_the_replies_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def handler(frame: bytes) -> bytes:
        if frame == b"bad":
            raise RuntimeError("by its own fault")
        return frame

    with serving(handler) as server, to(server) as other, to(server) as conn:
        conn.send_many([b"good", b"bad", b"good"])
        assert list(conn) == [b"good"]
        other.send(b"still there")
        assert other.recv() == b"still there"
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "by its own fault"


@pytest.mark.parametrize("reply", ["text", 5, [b"good", "text"], {}])
def test_a_wrong_reply_closes_its_client_and_is_logged(reply: object, caplog: pytest.LogCaptureFixture) -> None:
    with serving({b"x": reply, b"y": b"Y"}.get) as server, to(server) as conn:
        conn.send_many([b"y", b"x", b"y"])
        assert list(conn) == ([b"Y", b"good"] if isinstance(reply, list) else [b"Y"])
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], TypeError)


def test_a_reply_that_is_too_large_closes_its_client_which_gets_those_before(caplog: pytest.LogCaptureFixture) -> None:
    with serving(lambda frame: frame * 2, framing=ff.LengthField(4, max_size=10)) as server, to(server) as conn:
        conn.send_many([b"12345", b"123456", b"1"])
        assert list(conn) == [b"1234512345"]
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ff.FrameTooLarge)


# --- Objects as handlers ---------------------------------------------------------------------------------------------


def test_an_object_is_told_of_a_client_its_frames_and_its_end() -> None:
    told = Told()
    with serving(told) as server:
        with to(server) as conn:
            conn.send(b"a")
            assert conn.recv() == b"a"
            conn.send(b"b")
            assert conn.recv() == b"b"
        told.wait()
    assert told.events == [("connected",), ("frame", b"a"), ("frame", b"b"), ("closed", None)]


def test_frames_that_come_together_are_handed_over_together() -> None:
    calls = []

    class Handler:
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            calls.append(frames)
            conn.send(b"done")

    with serving(Handler()) as server, to(server) as conn:
        conn.send_many([b"x"] * 100)
        assert conn.recv() == b"done"
    assert calls == [[b"x"] * 100]


@pytest.mark.parametrize("handler", [None, 5, "text", object(), [1]])
def test_a_handler_is_callable_or_has_frames(handler: Any) -> None:
    with pytest.raises(TypeError, match="a handler is a function of a frame, or an object with a method `frames`"):
        ff.Server(handler, ("127.0.0.1", 0), FRAMING)


def test_bad_frames_come_behind_the_good_ones_and_the_handler_is_told_why() -> None:
    told = Told()
    with serving(told, framing=ff.LengthField(4, max_size=100)) as server:
        with socket.create_connection(server.address) as sock:
            sock.sendall(FRAMING.encode(b"good") + b"\xff\xff\xff\xff")
            assert received(sock, 100) == FRAMING.encode(b"good")
        told.wait()
    assert told.events[1] == ("frame", b"good")
    assert isinstance(told.error, ff.FrameTooLarge)
    assert (told.error.size, told.error.limit, told.error.offset) == (0xFFFFFFFF, 100, 8)


def test_a_stream_that_ends_inside_a_frame_is_truncated() -> None:
    told = Told()
    with serving(told) as server:
        with socket.create_connection(server.address) as sock:
            sock.sendall(b"\0\0\0\5hel")
        told.wait()
    assert isinstance(told.error, ff.TruncatedFrame)
    assert (told.error.got, told.error.want) == (7, 9)


def test_replies_may_come_from_other_threads() -> None:
    threads = []

    class Later:
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            threads.append(threading.Thread(target=conn.send_many, args=[[frame.upper() for frame in frames]]))
            threads[-1].start()

    with serving(Later()) as server, to(server) as conn:
        for i in range(50):
            conn.send(b"frame %d" % i)
            assert conn.recv() == b"FRAME %d" % i
    for thread in threads:
        thread.join()


def test_many_threads_send_whole_frames() -> None:
    class Flood:
        def connected(self, conn: Any) -> None:
            self.threads = [threading.Thread(target=self.send, args=[conn, name]) for name in (b"a", b"b", b"c")]
            for thread in self.threads:
                thread.start()

        def send(self, conn: Any, name: bytes) -> None:
            for i in range(200):
                conn.send(name * (i * 17 % 3000))

        def frames(self, conn: Any, frames: list[bytes]) -> None:
            raise AssertionError("nothing was sent")

    with serving(Flood(), limits=ff.Limits(max_pending=1 << 30)) as server, to(server) as conn:
        frames = [conn.recv() for _ in range(600)]
    assert sorted(map(len, frames)) == sorted([i * 17 % 3000 for i in range(200)] * 3)
    assert all(len(set(frame)) <= 1 for frame in frames)


def test_one_clients_frames_may_be_sent_to_all() -> None:
    class Chat(Told):
        def frames(self, conn: Any, frames: list[bytes]) -> None:
            for other in self.conns:
                other.send_many(frames)

    with serving(Chat()) as server, to(server) as a, to(server) as b:
        a.send(b"from a")
        assert a.recv() == b"from a"
        b.send(b"from b")
        while (frame := b.recv()) != b"from b":
            assert frame == b"from a"
        assert a.recv() == b"from b"


async def coroutine(*given: object) -> None:
    raise AssertionError("nobody awaits it")


class Coroutines:
    frames = coroutine


@pytest.mark.parametrize("handler", [coroutine, Coroutines(), Told])
def test_what_would_never_be_called_rightly_is_refused(handler: Any) -> None:
    with pytest.raises(TypeError, match=r"coroutine function, which isn't awaited|an instance of Told is needed"):
        ff.Server(handler, ("127.0.0.1", 0), FRAMING)


# --- Where it listens ------------------------------------------------------------------------------------------------


def test_the_address_has_the_port_that_was_chosen() -> None:
    with ff.Server(bytes.upper, ("127.0.0.1", 0), FRAMING) as server:
        assert server.address[0] == "127.0.0.1"
        assert server.address[1] > 0


def test_a_text_like_host_and_port_is_refused_with_advice() -> None:
    with pytest.raises(ValueError, match="for TCP, give a tuple"):
        ff.Server(bytes.upper, "localhost:9000", FRAMING)


def test_a_port_that_is_taken_is_an_oserror_that_names_it() -> None:
    with ff.Server(bytes.upper, ("127.0.0.1", 0), FRAMING) as server:
        with pytest.raises(OSError, match=str(server.address[1])) as caught:
            ff.Server(bytes.upper, server.address, FRAMING)
    assert caught.value.errno == errno.EADDRINUSE


def test_no_host_is_every_interface() -> None:
    with serving(bytes.upper, ("", 0)) as server:
        assert server.address[0] == "0.0.0.0"
        with ff.connect(("127.0.0.1", server.address[1]), FRAMING, timeout=LONG) as conn:
            conn.send(b"hello")
            assert conn.recv() == b"HELLO"


def test_a_port_alone_is_refused_with_advice() -> None:
    with pytest.raises(ValueError, match="for TCP give"):
        ff.Server(bytes.upper, 30000, FRAMING)


@needs_unix
def test_a_unix_socket_is_removed_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with serving(bytes.upper, path) as server:
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert server.address == str(path)
        with to(server) as conn:
            conn.send(b"hello")
            assert conn.recv() == b"HELLO"
    assert not path.exists()


@needs_unix
def test_a_stale_unix_socket_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    with ff.Server(bytes.upper, path, FRAMING), pytest.raises(OSError, match=r"."):
        ff.Server(bytes.upper, path, FRAMING)
    Path(path).write_text("a file of somebody's")
    with pytest.raises(OSError, match="isn't a socket"):
        ff.Server(bytes.upper, path, FRAMING)
    assert Path(path).read_text() == "a file of somebody's"


@needs_unix
def test_the_unix_socket_of_a_successor_stays(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with ff.Server(bytes.upper, path, FRAMING):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as successor:
            successor.bind(str(path))
            successor.listen()
    assert path.exists()


@pytest.mark.parametrize("kind", ["descriptor", "socket"])
def test_a_listening_socket_can_be_inherited(kind: str) -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    with serving(bytes.upper, sock.detach() if kind == "descriptor" else sock) as server, to(server) as conn:
        conn.send(b"hello")
        assert conn.recv() == b"HELLO"


def test_what_does_not_listen_is_refused() -> None:
    with socket.socket() as idle, pytest.raises(ValueError, match="isn't listening"):
        ff.Server(bytes.upper, idle, FRAMING)
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams, pytest.raises(TypeError, match="only stream sockets"):
        ff.Server(bytes.upper, datagrams, FRAMING)


# --- Its life --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"framing": 4}, TypeError),
        ({"send_framing": "x"}, TypeError),
        ({"limits": {"idle_timeout": 5}}, TypeError),
        ({"workers": 0}, ValueError),
        ({"workers": 1.0}, TypeError),
        ({"workers": True}, TypeError),
        ({"ssl": True}, TypeError),
        ({"ssl": ssl.create_default_context()}, ValueError),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(given: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        ff.Server(bytes.upper, ("127.0.0.1", 0), **{"framing": FRAMING, **given})


def test_it_serves_once() -> None:
    with serving(bytes.upper) as server:
        with to(server) as conn:  # it serves
            conn.send(b"x")
            conn.recv()
        with pytest.raises(ff.ConcurrentUse):
            server.serve_forever()
    with pytest.raises(ValueError, match="closed"):
        server.serve_forever()
    server.shutdown()
    server.close()


def test_a_server_that_never_served_is_closed() -> None:
    server = ff.Server(bytes.upper, ("127.0.0.1", 0), FRAMING)
    server.shutdown()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.address, timeout=LONG)
    with pytest.raises(ValueError, match="closed"):
        server.serve_forever()
    assert "closed" in repr(server)


def test_the_handler_may_shut_the_server_down() -> None:
    def handler(frame: bytes) -> bytes:
        server.shutdown()
        return frame.upper()

    server = ff.Server(handler, ("127.0.0.1", 0), FRAMING)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with to(server) as conn:
        conn.send(b"last")
        assert list(conn) == [b"LAST"]
    thread.join(LONG)
    assert not thread.is_alive()
    assert server.stats.finished == 1


def test_what_has_come_is_handled_and_what_was_sent_delivered_before_the_end() -> None:
    entered, go = threading.Event(), threading.Event()

    def handler(frame: bytes) -> bytes:
        entered.set()
        assert go.wait(LONG)
        return frame * 1000

    server = ff.Server(handler, ("127.0.0.1", 0), FRAMING, limits=ff.Limits(turn_frames=10))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with to(server) as conn:
        conn.send_many([b"%4d" % i for i in range(100)])
        assert entered.wait(LONG)
        stop = threading.Thread(target=server.shutdown)
        stop.start()
        go.set()
        assert list(conn) == [b"%4d" % i * 1000 for i in range(100)]
    stop.join(LONG)
    thread.join(LONG)
    assert server.stats[:6] == (0, 1, 1, 0, 0, 0)


def test_who_does_not_take_what_was_sent_is_cut_off_at_the_deadline() -> None:
    def handler(frame: bytes) -> bytes:
        asked.set()
        return bytes(10 << 20)

    asked = threading.Event()
    server = ff.Server(handler, ("127.0.0.1", 0), FRAMING)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with socket.create_connection(server.address) as deaf, to(server) as good:
        deaf.sendall(FRAMING.encode(b"x"))
        good.send(b"x")
        assert len(good.recv()) == 10 << 20
        assert asked.wait(LONG)
        server.shutdown(timeout=0.1)
        thread.join(LONG)
    assert (server.stats.finished, server.stats.aborted) == (1, 1)


@needs_signals
def test_an_exception_of_a_signal_handler_ends_it_and_passes() -> None:
    class Stop(Exception):
        pass

    def stop(*given: object) -> None:
        raise Stop

    before = signal.signal(signal.SIGALRM, stop)
    told = Told()
    try:
        with ff.Server(told, ("127.0.0.1", 0), FRAMING) as server:
            with socket.create_connection(server.address) as sock:
                sock.sendall(FRAMING.encode(b"x"))
                signal.setitimer(signal.ITIMER_REAL, 0.2)
                with pytest.raises(Stop):
                    server.serve_forever()
                assert received(sock, 100) == FRAMING.encode(b"x")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert told.events == [("connected",), ("frame", b"x"), ("closed", None)]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_passes_through_serve_forever(kind: type[BaseException]) -> None:
    def handler(frame: bytes) -> bytes:
        if frame == b"bad":
            raise kind
        return frame

    server = ff.Server(handler, ("127.0.0.1", 0), FRAMING)
    caught: list[BaseException] = []

    def serve() -> None:
        try:
            server.serve_forever()
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    with to(server) as good, to(server) as bad:
        good.send(b"good")
        assert good.recv() == b"good"
        bad.send(b"bad")
        assert list(good) == []
    thread.join(LONG)
    assert [type(error) for error in caught] == [kind]


def test_serve_serves_until_an_exception_comes() -> None:
    def handler(frame: bytes) -> None:
        raise KeyboardInterrupt

    sock = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(sock.getsockname())
    client.sendall(FRAMING.encode(b"x"))
    with client, pytest.raises(KeyboardInterrupt):
        ff.serve(handler, sock, FRAMING)


def test_counters_count() -> None:
    told = Told()
    with serving(told) as server:
        with to(server) as conn:
            conn.send_many([b"abc"] * 10)
            assert [conn.recv() for _ in range(10)] == [b"abc"] * 10
            assert server.stats.connections == 1
            assert server.stats.received == (10, 70, 0)
        told.wait()
        with socket.create_connection(server.address) as sock:
            sock.sendall(b"\xff\xff\xff\xff")
            received(sock, 1)
        told.wait()
    stats = server.stats
    assert stats[:6] == (0, 2, 1, 0, 1, 0)
    assert stats.received == (10, 70, 1)
    assert stats.sent == (10, 70, 0)


def test_the_two_directions_may_have_framings_of_their_own() -> None:
    with serving(bytes.upper, send_framing=ff.Netstring()) as server:
        with to(server, ff.Netstring(), send_framing=FRAMING) as conn:
            conn.send(b"hello")
            assert conn.recv() == b"HELLO"


@pytest.mark.skipif(sys.platform == "win32", reason="no /proc or fork")
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc here to count descriptors in")
def test_no_descriptor_is_left() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with serving(bytes.upper) as server:
        for _ in range(20):
            with to(server) as conn:
                conn.send(b"x")
                conn.recv()
    assert len(os.listdir("/proc/self/fd")) == before
