"""What the numbers of a run belong to."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sysconfig
from pathlib import Path

import fastframe

__all__ = ["machine", "versions"]

PACKAGES = ("numpy", "uvloop", "twisted", "trio", "anyio", "gevent", "pyzmq", "msgpack", "picows")
TOOLS = {
    "C compiler": ("cc", "--version"),
    "Rust": ("rustc", "--version"),
    "Go": ("go", "version"),
    "Erlang": ("erl", "-noshell", "-eval", 'io:format("~s~n", [erlang:system_info(otp_release)]), halt().'),
    "Java": ("javac", "-version"),
}


def machine() -> dict[str, str | int]:
    """The processor and the system."""
    found: dict[str, str | int] = {
        "cpu": platform.processor() or platform.machine(),
        "cpus": os.cpu_count() or 1,
        "system": platform.platform(),
    }
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        memory = Path("/proc/meminfo").read_text(encoding="utf-8").split()
    except OSError:
        return found
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            found["cpu"] = value.strip()
        elif name.strip() == "cache size":
            found["cache"] = value.strip()
    found["memory"] = f"{int(memory[memory.index('MemTotal:') + 1]) // 1024} MiB"
    return found


def versions() -> dict[str, str]:
    """Python and how it was built, and what else takes part."""
    built = "shared" if sysconfig.get_config_var("Py_ENABLE_SHARED") else "static"
    found = {
        "python": f"{platform.python_implementation()} {platform.python_version()}, {built}, {platform.python_compiler()}",
        "fastframe": f"{fastframe.__version__}, {fastframe.engine}",
    }
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    for name, command in TOOLS.items():
        if shutil.which(command[0]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            found[name] = (done.stdout or done.stderr).partition("\n")[0].strip()
    return found
