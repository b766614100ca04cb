"""Runs one contender once: its process, the process at its other end, and what they say."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from build import build
from contenders import Contender
from results import Case
from wire import Wire

__all__ = ["Failed", "Measured", "Programs", "Unsupported"]

HERE = Path(__file__).parent
PATIENCE = 60
"""Seconds that a run may take."""
MIB = 1 << 20
"""A file of frames has about that many bytes,"""
LEAST_FRAMES = 4
"""but at least so many frames, and"""
UNSUPPORTED = 3
"""The exit status of a contender that can't do a work."""
SLOW_FRAMES = 2048
"""at most so many where each costs a system call or more."""


class Measured(NamedTuple):
    """What a run says: seconds and frames, after the warm-up."""

    cpu: float
    wall: float
    frames: int


class Failed(Exception):
    """A contender didn't do its work; the text says how that was noticed."""


class Unsupported(Exception):
    """A contender can't do this work here; the text says what it lacks."""


class Programs:
    """The contenders' programs, built, and their other ends."""

    def __init__(self, folder: Path, built: Path) -> None:
        """folder: for files of frames; built: for programs."""
        self._folder = folder
        self._built = built
        self._wires: dict[tuple[int, int, bytes], Wire] = {}
        self._commands: dict[str, list[str]] = {}
        self._load = self.command("load")
        self._reference = self.command("c-reference")
        cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self._own_cpus, self._cpu, self._other_cpu = set(cpus), cpus[:1], cpus[1:2] or cpus[:1]

    def command(self, program: str) -> list[str]:
        """What starts a program, built if need be; build.Missing if it can't be."""
        if program not in self._commands:
            if program.endswith(".py"):
                self._commands[program] = [sys.executable, str(HERE / "peers" / program)]
            else:
                self._commands[program] = build(program, self._built / program)
        return self._commands[program]

    def wire(self, contender: Contender, case: Case) -> Wire:
        """The frames of a case."""
        most = SLOW_FRAMES if case.work in ("echo", "trip") or case.batch == 1 else MIB
        key = max(LEAST_FRAMES, min(most, MIB // case.size)), case.size, contender.header
        if key not in self._wires:
            self._wires[key] = Wire(self._folder, *key)
        return self._wires[key]

    def measure(self, contender: Contender, case: Case, frames: int) -> Measured:
        """Let a contender carry at least so many frames, after the warm-up; Failed if one is wrong, lost or late."""
        wire = self.wire(contender, case)
        times = -(-frames // wire.frames)
        run = getattr(self, f"_{case.work}")
        with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
            endpoint = "memory" if case.transport == "memory" else _endpoint(case.transport, folder)
            measured: Measured = run(stack, contender, case, wire, endpoint, times)
        if measured.frames <= 0:
            raise Failed("no frame was measured")
        return measured

    def _receive(
        self, stack: ExitStack, contender: Contender, case: Case, wire: Wire, endpoint: str, times: int
    ) -> Measured:
        warm = contender.warm
        load = ["source", endpoint, str(wire.path), str(warm + times)]
        stack.enter_context(self._started([*self._load, *load], self._other_cpu, ready=True))
        frames = [str(warm * wire.frames), str(times * wire.frames)]
        answer = self._answer(self._run(contender, "receive", endpoint, *frames), wire.crc(warm), case.size)
        return Measured(answer["cpu"], answer["wall"], answer["frames"])

    def _send(
        self, stack: ExitStack, contender: Contender, case: Case, wire: Wire, endpoint: str, times: int
    ) -> Measured:
        warm = contender.warm
        load = ["sink", endpoint, str(wire.path), str(warm)]
        sink = stack.enter_context(self._started([*self._load, *load], self._other_cpu, ready=True))
        given = [str(wire.path), str(warm * wire.frames), str(times * wire.frames), str(case.batch)]
        answer = self._answer(self._run(contender, "send", endpoint, *given), None, case.size)
        came, sent = json.loads(_finished(sink))["bytes"], wire.path.stat().st_size * (warm + times)
        if came != sent:
            raise Failed(f"{came} bytes came of {sent}")
        return Measured(answer["cpu"], answer["wall"], answer["frames"])

    def _echo(
        self, stack: ExitStack, contender: Contender, case: Case, wire: Wire, endpoint: str, times: int
    ) -> Measured:
        command = [*self.command(contender.program), contender.alias or contender.name, "echo", endpoint]
        server = stack.enter_context(self._started(command, self._cpu, ready=True, contender=contender))
        load = [*self._load, "clients", endpoint, str(wire.path), str(case.connections), str(case.in_flight)]
        warm = contender.warm * case.in_flight * wire.frames  # with one in flight it takes as long
        load += [str(warm), str(times * wire.frames), str(server.pid)]
        clients = stack.enter_context(self._started(load, self._other_cpu))
        answer = json.loads(_finished(clients))
        return Measured(answer["cpu"], answer["wall"], answer["frames"])

    def _trip(
        self, stack: ExitStack, contender: Contender, case: Case, wire: Wire, endpoint: str, times: int
    ) -> Measured:
        # On one processor: which of two wakes the other, and how deep it sleeps, costs more than what is measured.
        stack.enter_context(self._started([*self._reference, "c", "echo", endpoint], self._cpu, ready=True))
        given = [str(wire.path), str(wire.frames), str(times * wire.frames)]
        answer = self._answer(self._run(contender, "trip", endpoint, *given), wire.crc(1), case.size)
        return Measured(answer["cpu"], answer["wall"], answer["frames"])

    def _parse(
        self, stack: ExitStack, contender: Contender, case: Case, wire: Wire, endpoint: str, times: int
    ) -> Measured:
        given = [str(wire.path), str(wire.frames), str(times * wire.frames)]
        answer = self._answer(self._run(contender, "parse", *given), wire.crc(1), case.size)
        return Measured(answer["cpu"], answer["wall"], answer["frames"])

    def _run(self, contender: Contender, work: str, *given: str) -> str:
        """What a contender prints that does a work."""
        command = [*self.command(contender.program), contender.alias or contender.name, work, *given]
        with self._started(command, self._cpu, contender=contender) as process:
            return _finished(process)

    def _answer(self, printed: str, crc: int | None, size: int) -> dict[str, Any]:
        """The line of JSON, checked."""
        answer: dict[str, Any] = json.loads(printed)
        if crc is not None and answer["crc"] != crc:
            raise Failed("the payloads that came aren't those that were sent")
        if answer["bytes"] != answer["frames"] * size:
            raise Failed(f"{answer['frames']} frames of {size} bytes can't have {answer['bytes']}")
        return answer

    @contextmanager
    def _started(
        self, command: list[str], cpus: list[int], *, ready: bool = False, contender: Contender | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        """A process on these processors, ended behind the block."""
        environment = {**os.environ, **(dict(contender.environment) if contender else {})}
        # A child inherits it: nothing has to run between its fork and its exec.
        if cpus:
            os.sched_setaffinity(0, cpus)
        try:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
            )
        finally:
            if cpus:
                os.sched_setaffinity(0, self._own_cpus)
        try:
            if ready:
                assert process.stdout is not None
                line = process.stdout.readline()
                if line.strip() != "ready":
                    raise Failed(f"it isn't ready, but says {_finished(process, line)!r}")
            yield process
        finally:
            process.kill()
            process.communicate()


def _finished(process: subprocess.Popen[str], printed: str = "") -> str:
    """The last line that a process printed before it ended well; `printed` was read already."""
    try:
        rest, told = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise Failed(f"not done within {PATIENCE} seconds") from None
    last = (printed + rest).strip().rpartition("\n")[2]
    if process.returncode == UNSUPPORTED:
        raise Unsupported(json.loads(last)["unsupported"])
    if process.returncode:
        raise Failed((told.strip().splitlines() or [f"exit status {process.returncode}"])[-1])
    return last


def _endpoint(transport: str, folder: str) -> str:
    if transport == "unix":
        return f"unix:{folder}/socket"
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"tcp:{free.getsockname()[1]}"
