"""Which engine the connections stand on: the faces' names of its classes are exchanged."""

import importlib
import sys
from types import ModuleType

MODULES = {"cython": "fastframe._speedups", "pure": "fastframe._pure"}
NAMES = ("Decoder", "FrameBatch", "FrameReader", "FrameWriter", "wait")


def available() -> list[str]:
    """The engines that can be imported here."""
    return [name for name in MODULES if importable(name)]


def importable(name: str) -> bool:
    try:
        importlib.import_module(MODULES[name])
    except ImportError:
        return False
    return True


def use(name: str) -> ModuleType:
    """Let all faces use this engine from now on; its module."""
    engine = importlib.import_module(MODULES[name])
    chosen = importlib.import_module("fastframe._engine")
    known = {other: [getattr(module, other) for module in loaded()] for other in NAMES}
    for module in faces():
        for other in NAMES:
            if module is not chosen and getattr(module, other, None) in known[other]:
                setattr(module, other, getattr(engine, other))
    return engine


def loaded() -> list[ModuleType]:
    """The engines' modules."""
    return [importlib.import_module(MODULES[name]) for name in available()]


def faces() -> list[ModuleType]:
    """Every module of the package that isn't part of an engine."""
    skipped = ("fastframe._pure", "fastframe._speedups", "fastframe._engine")
    return [
        module for name, module in sys.modules.items() if name.startswith("fastframe.") and not name.startswith(skipped)
    ]
