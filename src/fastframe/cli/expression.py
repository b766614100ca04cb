"""A framing as the command line gives it: a preset's name, or an expression that builds a description.

`kafka`, `LengthField(4, "little", max_size=1000)`. Nothing is evaluated: the expression is one call of a description's
class, and its arguments are literals.
"""

from __future__ import annotations

import ast
import difflib

import fastframe
from fastframe import Framing

__all__ = ["framing_of"]

CLASSES: dict[str, type[Framing]] = {
    kind.__name__: kind
    for kind in (
        fastframe.AsciiLength,
        fastframe.ContentLength,
        fastframe.Delimiter,
        fastframe.FixedSize,
        fastframe.LengthField,
        fastframe.Netstring,
        fastframe.UntilEOF,
        fastframe.VarintLength,
    )
}
"""The descriptions whose parameters can all be written down as literals: all but Computed."""


def framing_of(text: str) -> Framing:
    """The framing that `text` names or describes. Raises ValueError, which says what is wrong with it."""
    text = text.strip()
    if text in CLASSES:
        raise ValueError(f"{text!r} is a description's class: write {text}(...)")
    if "(" not in text:
        return fastframe.preset(text)
    try:
        call = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"{text!r} is not an expression: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{text!r} is not an expression: {error}") from None
    if not isinstance(call, ast.Call):
        raise ValueError(f"{text!r} is neither a preset's name nor a description like LengthField(4)")
    return _built(call)


def _built(call: ast.Call) -> Framing:
    """The description that the call builds."""
    kind = _class_of(call.func)
    words = {word.arg: _literal(word.value) for word in call.keywords if word.arg is not None}
    if len(words) < len(call.keywords):
        raise ValueError("each argument is a literal or name=literal, each name given once")
    try:
        return kind(*map(_literal, call.args), **words)
    except TypeError as error:
        raise ValueError(f"{kind.__name__}: {str(error).removeprefix(f'{kind.__name__}.__init__() ')}") from error
    except ValueError as error:
        raise ValueError(f"{kind.__name__}: {error}") from error


def _class_of(function: ast.expr) -> type[Framing]:
    name = ast.unparse(function).removeprefix("fastframe.")
    if name in CLASSES:
        return CLASSES[name]
    if name == "Computed":
        raise ValueError("a Computed has a function, which can't be written here: presets have some")
    close = difflib.get_close_matches(name, CLASSES, 1, 0.5)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(CLASSES)}"
    raise ValueError(f"no description is called {name!r}: {hint}")


def _literal(node: ast.expr) -> object:
    try:
        value: object = ast.literal_eval(node)
    except (ValueError, TypeError, MemoryError, RecursionError):
        raise ValueError(f"{ast.unparse(node)} is not a literal: numbers, strings and bytes are, say") from None
    return value
