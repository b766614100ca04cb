"""The process in which faults happen. It reads tasks, a line of JSON each, and writes what it does, a line for each case.

{}: {"engines", "parts"}, what there is; a part that can't be done has a reason instead of names.
{"part", "engine", "name", "every", "only", "start"}: of the cases every so many, or a single one, from number `start` on.
{"case", "number"}: the next one begins. {"case", "number", "kind", "faults", "notes"}: it is over. {"end"}: they all are.
"""

import gc
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import fastframe._fds  # its modules have to be there before an engine is chosen
import fastframe._tls  # noqa: F401 - as above

from . import engines
from .calls import Calls
from .decoding import Decoding
from .memory import Memory
from .parts import Case, Outcome, Part, Strays
from .shim import Shim
from .storm import Storm


def parts() -> dict[str, Part]:
    """What there is to do."""
    shim, strays = Shim(), Strays()
    return {
        "calls": Calls(shim, strays),
        "memory": Memory(shim, strays),
        "decoding": Decoding(strays),
        "signals": Storm(shim, strays),
    }


def serve() -> None:
    """Do what stdin says. What is printed by accident goes to stderr."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)

    def tell(**what: Any) -> None:
        out.write(json.dumps(what) + "\n")

    known = parts()
    gc.freeze()
    for line in sys.stdin:
        task = json.loads(line)
        if task:
            for case, number, outcome in cases(known[task["part"]], **task):
                if outcome is None:
                    tell(case=str(case), number=number)
                else:
                    tell(case=str(case), number=number, kind=case.counted_as, **outcome._asdict())
            tell(end=True)
        else:
            tell(engines=engines.available(), parts={n: part.missing() or part.names() for n, part in known.items()})


def cases(
    tortures: Part, part: str, engine: str, name: str, every: int, only: int | None, start: int
) -> Iterator[tuple[Case, int, Outcome | None]]:
    """Each case before it runs, without an outcome, and then with it."""
    engines.use(engine)
    for number, case in enumerate(tortures.cases(engine, name)):
        is_wanted = number % every == 0 if only is None else number == only
        if case is not None and is_wanted and number >= start:
            yield case, number, None
            yield case, number, tortures.run(name, case)
