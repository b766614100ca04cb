"""What every engine object is: used by one call at a time, and neither copied nor pickled.

A call takes the object by deleting its slot `_idle` and gives it back by setting it.
Deleting is one bytecode that fails if somebody was faster, and neither it nor the
assignment is a point where Python runs signal handlers or another thread: unlike a
lock's `acquire()`, whose caller may be interrupted before it knows the answer, an
object can't stay taken. By the same rule state is changed everywhere in this engine
by a few assignments in a row, with no call among them, once everything that may
raise is done: a handler that raises loses nothing.
"""

from __future__ import annotations

from .errors import ConcurrentUse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, SupportsIndex


class Guarded:
    """The base of the engine's classes."""

    __slots__ = ("__weakref__", "_idle")

    _idle: bool

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            # A slot that isn't set: __new__ was called without __init__.
            if name[:1] == "_" and hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__}.__init__() was not called")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} can't be copied or pickled")

    def _once(self) -> None:
        """Raise TypeError if `__init__` has been called before."""
        try:
            self._framing  # type: ignore[attr-defined]  # noqa: B018 - asks whether the slot is set
        except TypeError:
            return
        raise TypeError(f"{type(self).__name__}.__init__() can't be called twice")

    def _taken(self) -> Exception:
        """Why `_idle` can't be deleted."""
        try:
            self._framing  # type: ignore[attr-defined]  # noqa: B018 - as above
        except TypeError as error:
            return error
        return ConcurrentUse()
