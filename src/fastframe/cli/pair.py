"""A sender's and a receiver's process, from their start to their end, which comes in any case.

They are fresh interpreters, for the engine is chosen when fastframe is imported; they find modules where this one does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

    from .contenders import Contender

__all__ = ["EngineMissing", "Failed", "Measured", "measure"]

NOT_INSTALLED = 69
"""The exit status of a process whose engine isn't there."""

GRACE = 1.0
"""A process ends itself when the time is up. Seconds until it is killed if it didn't."""

PROGRAM = """\
import sys
sys.path[:] = {path!r}
try:
    import fastframe
except ModuleNotFoundError as error:
    if {engine!r} == "cython" and (error.name or "").startswith("fastframe."):
        sys.exit({not_installed})
    raise
from fastframe.cli.peer import main
main(**{job!r})
"""


class EngineMissing(Exception):
    """The contender's engine isn't installed."""


class Failed(Exception):
    """There is no result, and why."""


class Measured(NamedTuple):
    """One run: frames, bytes of payload, seconds from the handshake to the end, and seconds of CPU of both."""

    frames: int
    size: int
    seconds: float
    receiver_cpu: float
    sender_cpu: float


def measure(contender: Contender, seed: int, seconds: float, limit: float) -> Measured:
    """Let the contender send for `seconds`; all must be over in `limit` seconds. Raises EngineMissing or Failed."""
    job = {"name": contender.name, "seed": seed, "seconds": seconds, "limit": limit}
    with ExitStack() as stack:
        receiver = stack.enter_context(_Process(contender.engine, {"role": "receiver", **job}))
        sender = stack.enter_context(_Process(contender.engine, {"role": "sender", **job}))
        port = _told(receiver.hear(), sender.hear())[0]
        sender.tell(port)
        received, sent = _told(receiver.hear(), sender.hear())
    return Measured(received["frames"], received["size"], received["seconds"], received["cpu"], sent["cpu"])


def _told(receiver: Any, sender: Any) -> tuple[Any, Any]:
    """What both have said. Failed if that is an error of one or both."""
    errors = [
        f"{who}: {said['error']}"
        for who, said in (("receiver", receiver), ("sender", sender))
        if isinstance(said, dict) and "error" in said
    ]
    if errors:
        raise Failed("; ".join(errors))
    return receiver, sender


class _Process:
    """One of the two. Leaving it ends it."""

    def __init__(self, engine: str | None, job: dict[str, Any]) -> None:
        self._limit = job["limit"]
        program = PROGRAM.format(path=sys.path, engine=engine, not_installed=NOT_INSTALLED, job=job)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-c", program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=os.environ | {"FASTFRAME_PURE": "0" if engine == "cython" else "1"},
                encoding="utf-8",
                errors="replace",
            )
        except BaseException:
            self._errors.close()
            raise
        self._killer = threading.Timer(self._limit + GRACE, self._process.kill)
        self._killer.daemon = True
        self._killer.start()

    def tell(self, what: object) -> None:
        try:
            print(json.dumps(what), file=self._process.stdin, flush=True)
        except OSError:
            pass  # it has gone, which hear() will tell

    def hear(self) -> Any:
        """What it says next; if it ends without a word, an error that says why. Raises EngineMissing."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            return {"error": self._why()}
        try:
            return json.loads(line)
        except ValueError:
            return {"error": f"it said {line!r}"}

    def _why(self) -> str:
        """Why it ended without a word."""
        status = self._process.wait()
        if status == NOT_INSTALLED:
            raise EngineMissing
        self._errors.seek(0)
        said = self._errors.read().decode("utf-8", "replace").strip()
        if said.startswith("Timeout") or not self._killer.is_alive():
            return f"no result in {self._limit:.1f} s"
        return said.rpartition("\n")[2] or f"exit status {status}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._killer.cancel()
        self._process.kill()
        with self._errors, self._process:
            pass
