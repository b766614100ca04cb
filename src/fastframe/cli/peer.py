"""The inside of a sender's or a receiver's process: `pair` starts it and says what to do.

The receiver writes the port it listens on, the sender that it is ready; the sender reads the port. In the end each
writes what it has measured, or its error. All are lines of JSON.
"""

from __future__ import annotations

import faulthandler
import json
import socket
import sys
from time import perf_counter, process_time

import fastframe

from .contenders import CONTENDERS
from .traffic import batches, payloads, verify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contenders import Contender

__all__ = ["main"]

LOOPBACK = "127.0.0.1"


def main(role: str, name: str, seed: int, seconds: float, limit: float) -> None:
    """Be the sender or the receiver of the contender of this name; end the process after `limit` seconds."""
    faulthandler.dump_traceback_later(limit, exit=True)
    (contender,) = (one for one in CONTENDERS if one.name == name)
    try:
        if contender.engine not in (None, fastframe.engine):
            raise RuntimeError(f"the engine is {fastframe.engine}")
        given = payloads(seed)
        _say(_send(contender, given, seconds) if role == "sender" else _receive(contender, given))
    except Exception as error:  # whatever it is, the table tells it
        _say({"error": f"{type(error).__name__}: {error}"})


def _send(contender: Contender, given: list[bytes], seconds: float) -> dict[str, float]:
    _say("ready")
    sock = socket.create_connection((LOOPBACK, json.loads(sys.stdin.readline())))
    begin = process_time()
    contender.send(sock, batches(given, seconds))
    return {"cpu": process_time() - begin}


def _receive(contender: Contender, given: list[bytes]) -> dict[str, float]:
    with socket.create_server((LOOPBACK, 0)) as listener:
        _say(listener.getsockname()[1])
        sock, _ = listener.accept()
    begin, begin_cpu = perf_counter(), process_time()
    frames = contender.receive(sock, lambda arriving: verify(arriving, given))
    cpu, seconds = process_time() - begin_cpu, perf_counter() - begin
    return {"frames": frames, "size": frames // len(given) * sum(map(len, given)), "seconds": seconds, "cpu": cpu}


def _say(what: object) -> None:
    print(json.dumps(what), flush=True)
