"""Instructions, counted by valgrind's callgrind: the same number each time, however busy the machine is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

TUNABLES = ":".join(
    (
        "glibc.cpu.hwcaps=-AVX2,-ERMS,-FSRM",
        "glibc.cpu.x86_non_temporal_threshold=0x10000000",
        "glibc.malloc.tcache_max=65536",
        "glibc.malloc.tcache_count=2000",
    )
)
"""memcpy and its like come in variants, and glibc takes one by the processor's features and caches: always the same here.
What malloc does for larger objects hangs on the length of paths and arguments, unless all are kept for the next one."""

KEPT = ("PATH", "PYTHONPATH", "LANG", "TMPDIR", "FASTFRAME_PURE")
"""What a counted program gets of the environment. PYTHONHASHSEED decides how dicts and sets are probed."""


def missing() -> str | None:
    """Why nothing can be counted here, or None."""
    if shutil.which("valgrind") is None:
        return "valgrind isn't installed"
    return None


def mark() -> None:
    """The end of a stretch of the program, and the start of the next one."""
    os.getppid()


def count(command: list[str], **environment: str) -> list[list[int]]:
    """Run the command under callgrind: for each process that has marks, the instructions between each two of them.

    Processes are in the order of their first marks; the kernel's instructions aren't counted. The environment holds
    little more than the given variables. RuntimeError if the command fails, with what it said.
    """
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/%p", "--dump-before=getppid", *command],
            env=kept | {"PYTHONHASHSEED": "0", "GLIBC_TUNABLES": TUNABLES} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if not line.startswith("==")]
            raise RuntimeError("\n".join([f"{' '.join(command)}: status {done.returncode}", *said]))
        # At each mark a dump PID.NUMBER is written, of what came before it. What comes behind the last is in PID.
        processes: dict[str, list[int]] = {}
        for dump in sorted(Path(folder).glob("*.*"), key=lambda path: (path.stat().st_mtime_ns, int(path.suffix[1:]))):
            processes.setdefault(dump.stem, []).append(total(dump))
        return [totals[1:] for totals in processes.values()]


def total(dump: Path) -> int:
    """The instructions in a dump."""
    found = re.search(r"^totals: (\d+)", dump.read_text(errors="replace"), re.MULTILINE)
    if found is None:
        raise RuntimeError("callgrind's output has no totals")
    return int(found[1])
