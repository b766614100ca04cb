"""The torture of system calls: a scenario, once as it is, to count them; then again and again, one call failing."""

from collections.abc import Iterator

from .faults import Fault, faults_of
from .parts import WARM, Outcome, Strays, measured, played
from .scenarios import SCENARIOS
from .shim import Shim
from .stage import Stage

BLOCKING = ("pipes", "buffered")
"""How the names of scenarios end whose descriptors may wait."""


class Calls:
    """Each call fails in each way."""

    def __init__(self, shim: Shim, strays: Strays) -> None:
        self._shim, self._strays = shim, strays

    def missing(self) -> str | None:
        return None

    def names(self) -> list[str]:
        return list(SCENARIOS)

    def cases(self, engine: str, name: str) -> Iterator[Fault]:
        """Every fault that can happen in the scenario. It is played without any first."""
        for _ in range(WARM):
            _, notes = self._play(name, None)
            if notes:
                raise RuntimeError(f"{name} fails without a fault: {notes}")
        for call, count in self._shim.counts().items():
            for k in range(1, count + 1):
                for fault in faults_of(call, k, lies=engine == "cython", blocks=name.endswith(BLOCKING)):
                    if not ("tls" in name and fault.spins):
                        yield fault

    def run(self, name: str, case: Fault) -> Outcome:
        """Play the scenario with this fault."""
        return measured(lambda: self._play(name, case))

    def _play(self, name: str, fault: Fault | None) -> tuple[int, list[str]]:
        shim = self._shim
        shim.reset()
        self._strays.is_orderly = True
        if fault is not None:
            shim.arm(fault.call, fault.k, fault.kind, fault.value, fault.times)
        notes = played(name, Stage(shim, fault), self._strays, shim.disarm)
        return shim.fired, notes
