"""The library that makes system calls fail: built by the system's compiler, preloaded, steered from here."""

import ctypes
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")

CALLS = (
    *("recv", "recvfrom", "recvmsg", "read", "readv", "send", "sendto", "sendmsg", "write", "writev", "poll", "ppoll"),
    *("connect", "accept", "accept4", "socket", "close", "shutdown", "getsockopt", "setsockopt"),
)
"""In the order in which shim.c has them."""

KINDS = ("none", "fail", "after", "short", "answer", "lie")
"""The same."""


def missing() -> str | None:
    """Why the library can't be built here, or None if it can."""
    if not sys.platform.startswith("linux"):
        return "LD_PRELOAD and errnos are those of Linux"
    if sys.implementation.name != "cpython":
        return "only CPython's calls are counted"
    if compiler() is None:
        return "no C compiler here"
    return None


def compiler() -> str | None:
    """The system's C compiler."""
    return next(filter(None, map(shutil.which, (os.environ.get("CC", ""), "cc", "gcc", "clang"))), None)


def build(folder: Path) -> Path:
    """Compile the library into the folder."""
    library = folder / "shim.so"
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-U_FORTIFY_SOURCE", "-fPIC", "-shared"]
    command = [str(compiler()), *flags, "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return library


def preloaded(library: Path) -> dict[str, str]:
    """This process's environment, with the library behind what else is preloaded: a sanitizer has to come first."""
    before = os.environ.get("LD_PRELOAD", "")
    return {**os.environ, "LD_PRELOAD": f"{before} {library}".strip()}


class Shim:
    """The library, in a process that has preloaded it."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        if not hasattr(self._library, "ff_shim_arm"):
            raise RuntimeError("the library isn't preloaded")
        self._library.ff_shim_arm.argtypes = [ctypes.c_int, ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_long]
        self._library.ff_shim_count.restype = ctypes.c_long
        self._library.ff_shim_fired.restype = ctypes.c_long
        self._library.ff_shim_bytes.restype = ctypes.c_longlong
        self.reset()

    def reset(self) -> None:
        """No descriptor is marked, nothing counted, nothing fails."""
        self._library.ff_shim_reset()

    def mark(self, sock: socket.socket | int) -> None:
        """Count, and fail, the calls on this descriptor until it is closed."""
        number = sock if isinstance(sock, int) else sock.fileno()
        if self._library.ff_shim_mark(number):
            raise ValueError(f"descriptor {number} can't be marked")

    def mark_new(self, on: bool) -> None:
        """Whether new sockets are marked from their first call on."""
        self._library.ff_shim_mark_new(int(on))

    def arm(self, call: str, k: int, kind: str, value: int, times: int = 1) -> None:
        """From the k-th on (1 is the first), let so many calls fail; 0 times is for ever."""
        self._library.ff_shim_arm(CALLS.index(call), k, KINDS.index(kind), value, times)

    def disarm(self) -> None:
        """Let nothing fail any more."""
        self._library.ff_shim_disarm()

    def counts(self) -> dict[str, int]:
        """How often each function was called on marked descriptors."""
        return {call: self._library.ff_shim_count(number) for number, call in enumerate(CALLS)}

    @property
    def fired(self) -> int:
        """How many calls have failed, were shortened, or lied."""
        fired: int = self._library.ff_shim_fired()
        return fired

    def received(self, number: int) -> int:
        """Bytes that the kernel gave since the descriptor was marked."""
        size: int = self._library.ff_shim_bytes(number, 0)
        return size

    def sent(self, number: int) -> int:
        """Bytes that the kernel took since the descriptor was marked."""
        size: int = self._library.ff_shim_bytes(number, 1)
        return size
