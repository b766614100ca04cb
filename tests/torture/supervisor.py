"""Who starts the process in which faults happen, and starts it again where it hung or crashed."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .shim import preloaded

TESTS = Path(__file__).resolve().parent.parent
START = "from torture.worker import serve; serve()"
SHOWN = 6000
"""Characters of what a process said in the end."""

CRASH = "crash of CPython itself"

Event = dict[str, Any]


class Supervisor:
    """A worker, and the next one when it has died."""

    def __init__(self, library: Path) -> None:
        self._library = library
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - `close` does it
        self._worker = self._started()

    def ask(self) -> Event:
        """What there is to do."""
        self._send({})
        return self._next() or {}

    def cases(self, task: Event) -> Iterator[Event]:
        """The outcome of each case of the task; a case in which the worker died has a note of that.

        One that hung gets a second chance: the whole machine may have stood still.
        """
        start, hung = 0, -1
        while True:
            self._send({**task, "start": start})
            case: Event = {"case": "before the first case", "number": start}
            while (event := self._next()) is not None and "end" not in event:
                case = event
                if "notes" in event:
                    yield event
            if event is not None:
                return
            died = self._end_of_worker()
            start = case["number"] + ("notes" in case)
            if "Timeout" in died and hung != start:
                hung = start
                continue
            if task["part"] != "calls" and is_the_interpreters(died):
                yield {"case": case["case"], "number": start, "kind": CRASH, "faults": 1, "notes": []}
            else:
                yield {"case": case["case"], "number": start, "kind": "death", "faults": 1, "notes": [died]}
            if case["case"] == "before the first case":
                return
            start += 1

    def close(self) -> None:
        """End the worker."""
        assert self._worker.stdin is not None
        assert self._worker.stdout is not None
        self._worker.stdin.close()
        self._worker.stdout.close()
        self._worker.wait()
        self._errors.close()

    def _started(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-c", START],
            env={**preloaded(self._library), "PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS), *sys.path]))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
        )

    def _send(self, task: Event) -> None:
        assert self._worker.stdin is not None
        self._worker.stdin.write(json.dumps(task) + "\n")
        self._worker.stdin.flush()

    def _next(self) -> Event | None:
        """What the worker says next; None if it has died."""
        assert self._worker.stdout is not None
        line = self._worker.stdout.readline()
        return json.loads(line) if line.endswith("\n") else None

    def _end_of_worker(self) -> str:
        """What the dead worker has left to say; the next one is started."""
        code = self._worker.wait()
        for pipe in (self._worker.stdin, self._worker.stdout):
            assert pipe is not None
            pipe.close()
        self._errors.seek(0)
        said = self._errors.read().decode("utf-8", "replace")
        self._errors.truncate(0)
        self._errors.seek(0)
        self._worker = self._started()
        return f"the process ended with {code}: {said[-SHOWN:]}"


def is_the_interpreters(died: str) -> bool:
    """Whether the C stack of a crash shows that the interpreter has done it: in what it runs, without the extension.

    Without memory it does: CPython 3.13 makes a function (PyFunction_NewWithQualName) of no name, for one.
    """
    stack = died.partition("C stack:")[2].partition("_PyEval_EvalFrameDefault")
    return bool(stack[1]) and "_speedups" not in stack[0]
