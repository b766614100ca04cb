"""A server and forks: what a child process can't do to its parent's clients."""

import os
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import fastframe as ff
from connections import needs_fork
from servers import Told, in_a_process, on_engine, serving, to

__all__ = ["on_engine"]


def child(act: Any) -> int:
    """Fork; the child acts and ends. What it ended with."""
    process = os.fork()
    if not process:
        status = 1
        try:
            act()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_can_do_nothing_to_its_parents_clients(tmp_path: Path) -> None:
    told = Told()
    address = str(tmp_path / "socket")

    def act() -> None:
        (conn,) = told.conns
        for call in (lambda: conn.send(b"x"), lambda: conn.send_many([b"x"]), server.shutdown, server.serve_forever):
            with pytest.raises(ff.ConcurrentUse):
                call()
        for do in (conn.pause, conn.resume, conn.close, conn.abort, server.close):
            do()
        assert conn.closed

    with serving(told, address) as server, to(server) as conn:
        conn.send(b"1")
        assert conn.recv() == b"1"
        assert child(act) == 0
        conn.send(b"2")
        assert conn.recv() == b"2"
        with to(server) as another:
            another.send(b"3")
            assert another.recv() == b"3"
    assert server.stats.failed == 0


@needs_fork
@pytest.mark.parametrize("way", ["return", "sys.exit", "raise"])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_by_a_handler_ends_nothing_of_its_parents(way: str, engine: ModuleType, tmp_path: Path) -> None:
    script = f"""
        import logging, os, sys, threading
        import fastframe as ff
        from servers import FRAMING, serving, to

        logging.disable()

        def handler(frame):
            global process
            if frame == b"fork":
                process = os.fork()
                if not process:
                    if {way!r} == "sys.exit":
                        sys.exit(7)
                    if {way!r} == "raise":
                        raise ValueError
                    return b"child"
            return frame

        server = ff.Server(handler, {str(tmp_path / "socket")!r}, FRAMING)
        parent = os.getpid()

        def client():
            with to(server) as first, to(server) as second:
                for frame in (b"1", b"fork"):
                    first.send(frame)
                    assert first.recv() == frame
                how = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
                assert how == (7 if {way!r} == "sys.exit" else 9), how
                for conn in (first, second):
                    conn.send(b"2")
                    assert conn.recv() == b"2"
                with to(server) as third:
                    third.send(b"3")
                    assert third.recv() == b"3"
            server.shutdown()

        thread = threading.Thread(target=client)
        thread.start()
        try:
            server.serve_forever()
        except BaseException as error:
            if os.getpid() != parent:
                os._exit(7 if isinstance(error, SystemExit) else 9 if isinstance(error, ff.ConcurrentUse) else 1)
            raise
        thread.join()
        assert not os.path.exists({str(tmp_path / "socket")!r})
    """
    in_a_process(engine, "import warnings\nwarnings.simplefilter('ignore', DeprecationWarning)", script)
