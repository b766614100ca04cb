"""What a process holds: descriptors, and memory in several ways of counting."""

import ctypes
import gc
import os
import sys
from collections.abc import Callable


class Mallinfo(ctypes.Structure):
    """struct mallinfo2 of glibc."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


def mallinfo() -> Callable[[], Mallinfo] | None:
    """glibc's mallinfo2, where it says what is in use: not below a sanitizer."""
    found = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if found is None or "libasan" in os.environ.get("LD_PRELOAD", ""):
        return None
    found.restype = Mallinfo
    return found


_mallinfo = mallinfo()
_references: Callable[[], int] = getattr(sys, "gettotalrefcount", int)


def descriptors() -> set[str]:
    """The numbers of the open descriptors."""
    return set(os.listdir("/proc/self/fd"))


def memory() -> tuple[int, int, int]:
    """Blocks of the interpreter, bytes of malloc, references (of a debug build): what is in use after a collection."""
    gc.collect()
    used = 0
    if _mallinfo is not None:
        info = _mallinfo()
        used = info.uordblks + info.hblkhd
    return sys.getallocatedblocks(), used, _references()


LEAST = 100
"""So many times running something must be left behind before it is a leak and not a cache that still grows."""


def leak(run: Callable[[], object], before: tuple[int, int, int]) -> str | None:
    """What `run` leaves behind each time, if anything; it has run once, since `before`."""
    after = memory()
    grown = [is_more(*pair) for pair in zip(before, after, strict=True)]
    for _ in range(LEAST):
        if not any(grown):
            return None
        before = after
        run()
        after = memory()
        grown = [was and is_more(*pair) for was, pair in zip(grown, zip(before, after, strict=True), strict=True)]
    names = [name for name, still in zip(("blocks", "bytes", "references"), grown, strict=True) if still]
    return f"leaks {', '.join(names)}: {before} and then {after}" if names else None


def is_more(before: int, after: int) -> bool:
    return after > before
