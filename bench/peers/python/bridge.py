"""A process that carries frames between an endpoint and a contender that speaks a protocol of its own."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from typing import Any

import program

import fastframe


def start(carry: Callable[..., None], *arguments: Any) -> None:
    """Run it in a process of its own, which ends with this one."""
    multiprocessing.get_context("spawn").Process(target=_run, args=(carry, arguments), daemon=True).start()


def _run(carry: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    # It would take its turns from the contender.
    if hasattr(os, "sched_setaffinity"):
        others = set(range(os.cpu_count() or 1)) - os.sched_getaffinity(0)
        if others:
            os.sched_setaffinity(0, others)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    carry(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def connection(endpoint: str) -> fastframe.Connection:
    """The endpoint's side of the bridge."""
    return fastframe.wrap(program.connect(endpoint), fastframe.LengthField(4))
