"""Connections and the processes at their ends: killed, stopped, short of memory, shut down, run in other modes."""

import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import fastframe as ff
from connections import FRAMING, LONG, Thread, clean, on_engine, pair, raw, reset, wire

__all__ = ["clean", "on_engine", "pair", "raw"]  # the fixtures that pytest is to find here

resource = pytest.importorskip("resource")

PACKAGE = Path(ff.__file__).parent.parent

posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


def script(engine: ModuleType, code: str, *options: str, **variables: str) -> list[str]:
    """A command that runs `code` in a new interpreter on the same engine."""
    pure = "1" if engine.__name__.endswith("_pure") else "0"
    env = {"FASTFRAME_PURE": pure, "PYTHONPATH": str(PACKAGE), **variables}
    return [
        "env",
        *(f"{name}={value}" for name, value in env.items()),
        sys.executable,
        *options,
        "-c",
        textwrap.dedent(code),
    ]


def run(engine: ModuleType, code: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        script(engine, code, *options, **variables), capture_output=True, text=True, timeout=60, check=False
    )


# --- Peers that are killed or stopped --------------------------------------------------------------------------------

SENDER = """
    import os, sys
    import fastframe as ff
    conn = ff.wrap(int(sys.argv[1]) if len(sys.argv) > 1 else 0, ff.LengthField(4))
    conn.send(b"whole")
    conn.send(bytes(15_000_000))
"""


@posix
def test_a_killed_sender_never_leaves_a_short_frame_as_a_whole_one(engine: ModuleType) -> None:
    ours, peers = socket.socketpair()
    with peers:
        process = subprocess.Popen(script(engine, SENDER), stdin=peers)
    with ff.wrap(ours, FRAMING, timeout=LONG) as conn:
        assert conn.recv() == b"whole"
        assert select.select([conn], [], [], LONG)[0]  # it is in the middle of a frame that has no room
        process.kill()
        process.wait()
        with pytest.raises(ff.TruncatedFrame) as caught:
            conn.recv()
        assert 0 < caught.value.got < 15_000_004 == caught.value.want


@posix
def test_a_stopped_peer_is_waited_for(engine: ModuleType) -> None:
    ours, peers = socket.socketpair()
    echo = "import fastframe as ff\nconn = ff.wrap(0, ff.LengthField(4))\nfor frame in conn: conn.send(frame)"
    with peers:
        process = subprocess.Popen(script(engine, echo), stdin=peers)
    with ff.wrap(ours, FRAMING, timeout=LONG) as conn:
        conn.send(b"up")
        assert conn.recv() == b"up"
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        conn.send(b"later")
        with pytest.raises(ff.FrameTimeout):
            conn.recv(timeout=0.05)
        process.send_signal(signal.SIGCONT)
        assert conn.recv() == b"later"
    assert process.wait(LONG) == 0


def test_a_reset_inside_a_frame_comes_after_the_frames(clean: list[Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        conn = ff.connect(listener.getsockname(), FRAMING, timeout=LONG)
        peer = listener.accept()[0]
    clean.append(conn)
    peer.sendall(wire(b"one", b"two") + b"\0\0")
    assert conn.poll(LONG)
    time.sleep(0.01)
    reset(peer)
    got: list[bytes] = []
    with pytest.raises(ff.ConnectionLost):
        while True:
            got += conn.recv_many()
    # The system itself drops what a reset finds unread; never more than that is missing, and nothing is doubled.
    assert got in ([], [b"one", b"two"])


@posix
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_no_broken_socket_kills_the_process(engine: ModuleType, kind: str) -> None:
    code = f"""
        import signal, socket
        import fastframe as ff
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        if {kind == "unix"}:
            ours, peers = socket.socketpair()
        else:
            listener = socket.create_server(("127.0.0.1", 0))
            ours = socket.create_connection(listener.getsockname())
            peers = listener.accept()[0]
        conn = ff.wrap(ours, ff.LengthField(4), timeout=10)
        peers.close()
        for payloads in ([b"x"], [b"x"] * 3, [bytes(100_000)] * 20, [b"x"]):
            try:
                conn.send_many(payloads)
            except ff.ConnectionLost as error:
                print(error.errno is not None)
        conn.close()
    """
    result = run(engine, code)
    assert result.returncode == 0, result
    assert set(result.stdout.split()) == {"True"}


@posix
def test_a_request_and_its_answer_dont_wait_for_nagle(pair: tuple[ff.Connection, socket.socket]) -> None:
    conn, peer = pair
    with ff.wrap(peer, FRAMING, timeout=LONG) as other:
        start = time.monotonic()
        for _ in range(50):
            conn.send(b"request")
            other.recv()
            other.send(b"answer")
            conn.recv()
        # Header and payload in two packets, or Nagle's wait, would cost 40 ms each time.
        assert time.monotonic() - start < 50 * 0.04 / 2


# --- Descriptors and memory that run out -----------------------------------------------------------------------------


@posix
def test_descriptors_beyond_1024(clean: list[Any]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 3000:
        pytest.skip("so many descriptors aren't allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (3000, hard))
    held = []
    try:
        while not held or held[-1] < 2000:
            held.append(os.dup(0))
        ours, peers = socket.socketpair()
        with ff.wrap(ours, FRAMING, timeout=LONG) as conn, ff.wrap(peers, FRAMING, timeout=LONG) as other:
            thread = Thread(conn.recv)
            other.send(bytes(3_000_000))
            assert thread.done() == bytes(3_000_000)
            assert conn.fileno() > 1024
        read_end, write_end = os.pipe()
        with ff.wrap(read_end, FRAMING, timeout=LONG) as conn, ff.wrap(write_end, FRAMING, timeout=LONG) as other:
            thread = Thread(conn.recv)
            other.send(bytes(300_000))
            assert thread.done() == bytes(300_000)
    finally:
        for number in held:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps to RLIMIT_AS")
@pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="ASan needs more address space than there is")
def test_a_frame_that_memory_has_no_room_for(engine: ModuleType) -> None:
    code = """
        import resource, socket, threading
        import fastframe as ff
        framing = ff.LengthField(4, max_size=1 << 30)
        pairs = [socket.socketpair() for _ in range(2)]
        small, large = (ff.wrap(ours, framing, timeout=20) for ours, _ in pairs)
        size = 256 << 20
        chunk = bytes(1 << 20)
        def feed():
            try:
                pairs[1][1].sendall(size.to_bytes(4, "big"))
                for _ in range(size // len(chunk)):
                    pairs[1][1].sendall(chunk)
            except OSError:
                pass
        thread = threading.Thread(target=feed, daemon=True)
        now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        thread.start()
        resource.setrlimit(resource.RLIMIT_AS, (now + (128 << 20), -1))
        try:
            large.recv()
        except MemoryError:
            print("MemoryError")
        pairs[0][1].sendall(framing.encode(b"lives"))
        print(small.recv())
        large.abort()
        resource.setrlimit(resource.RLIMIT_AS, (-1, -1))  # glibc aborts where a thread's end finds no memory
        thread.join()
        pairs[1][1].close()
        small.abort()
    """
    result = run(engine, code)
    assert result.returncode == 0, result
    assert result.stdout.split() == ["MemoryError", "b'lives'"]


# --- Interpreters ----------------------------------------------------------------------------------------------------

TOUR = """
    import os, socket, threading
    import fastframe as ff
    framing = ff.LengthField(4, max_size=1_000_000)
    ours, peers = socket.socketpair()
    with ff.wrap(ours, framing, timeout=10) as conn, ff.wrap(peers, framing, timeout=10) as other:
        conn.send_many([b"a", b"bb", bytes(3)])
        print(other.recv_many())
        thread = threading.Thread(target=conn.send, args=[bytes(900_000)])
        thread.start()
        print(len(other.recv()))
        thread.join()
        try:
            conn.send(bytes(1_000_001))
        except ff.FrameTooLarge as error:
            print(error)
        try:
            other.recv(timeout=0)
        except ff.FrameTimeout as error:
            print(error)
        conn.shutdown_send()
        try:
            other.recv()
        except ff.ConnectionClosed as error:
            print(repr(error))
    read_end, write_end = os.pipe()
    with ff.wrap(read_end, ff.Netstring(), timeout=10) as conn, ff.wrap(write_end, ff.Netstring()) as other:
        other.send(b"x" * 1000)
        print(len(conn.recv_batch()[0]))
"""


@pytest.mark.parametrize(
    ("options", "variables"),
    [
        (("-O",), {}),
        (("-OO",), {}),
        (("-X", "dev", "-W", "error"), {}),
        (("-bb", "-W", "error"), {}),
        ((), {"PYTHONMALLOC": "debug"}),
        (("-I",), {}),
    ],
    ids=["O", "OO", "dev", "bb", "malloc-debug", "isolated"],
)
@posix
def test_other_modes_of_the_interpreter_give_the_same(
    engine: ModuleType, options: tuple[str, ...], variables: dict[str, str]
) -> None:
    code = textwrap.dedent(TOUR)
    if "-I" in options:
        code = f"import sys\nsys.path.insert(0, {str(PACKAGE)!r})\n{code}"
    plain = run(engine, code)
    other = run(engine, code, *options, **variables)
    assert plain.returncode == other.returncode == 0, other.stderr
    assert len(plain.stdout.splitlines()) == 6
    assert plain.stdout == other.stdout
    assert other.stderr == ""


@posix
@pytest.mark.parametrize("kept", ["conn", "sys.kept = conn", "loop = [conn]; loop.append(loop)", "threads"])
def test_the_interpreter_may_end_with_connections_open(engine: ModuleType, kept: str) -> None:
    code = f"""
        import socket, sys, threading
        import fastframe as ff
        ours, peers = socket.socketpair()
        conn = ff.wrap(ours, ff.LengthField(4))
        if {kept == "threads"}:
            threading.Thread(target=conn.recv, daemon=True).start()
        else:
            {kept if kept != "threads" else "pass"}
        conn.send(b"bye")
        other = ff.wrap(peers, ff.LengthField(4))
        print(other.recv())
    """
    result = run(engine, code, "-X", "dev")
    assert result.returncode == 0, result
    assert result.stdout.strip() == "b'bye'"
    assert "Fatal" not in result.stderr
    assert "Error" not in result.stderr


@pytest.mark.skipif(sys.version_info < (3, 12), reason="subinterpreters are awkward before 3.12")
def test_subinterpreters_work_or_refuse(engine: ModuleType) -> None:
    code = """
        import sys
        import fastframe
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        for _ in range(3):
            one = interpreters.create()
            interpreters.run_string(one, '''
        try:
            import fastframe
            assert fastframe.Decoder(fastframe.LengthField(4)).feed(b"\\\\0\\\\0\\\\0\\\\1a") == [b"a"]
        except ImportError:
            pass
        '''.replace(chr(10) + ' ' * 8, chr(10)))
            interpreters.destroy(one)
        print("done")
    """
    result = run(engine, code)
    assert result.returncode == 0, result
    assert result.stdout.strip() == "done"
