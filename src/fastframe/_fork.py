"""Forks: which connections a child process may go on with.

What was read ahead, and what waits to be sent, is in both processes after a fork, and only one of them may go on.
"""

from __future__ import annotations

import os
from weakref import WeakSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Forked(Protocol):
        """What wants to know that it is in a child process now."""

        def _in_child(self) -> None: ...


_known: WeakSet[Forked] = WeakSet()


def tell(one: Forked) -> None:
    """Call its `_in_child` after a fork, in the child."""
    _known.add(one)


def _after_fork() -> None:
    for one in list(_known):
        one._in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
