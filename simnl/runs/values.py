"""Give the value of a config key the type of the key, or say why that is impossible."""

from __future__ import annotations

import ast
import math

from simnl.escaping import shortened

LARGEST = 2**63 - 1  # the largest whole number that tensors and generators take


def coerce(old: object, value: object) -> object:
    """Give a new value the type of the old one if no information is lost.

    Text is read as a Python literal unless text is expected. A whole number may stand for a fraction, a list for a
    tuple, and a tuple for a list.

    Raises:
        ValueError: the types do not fit, or a number is infinite, NaN or beyond 64 bits.
    """
    if isinstance(old, str) and isinstance(value, str):
        return value
    if isinstance(old, str) and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        value = _literal(value)
    _require_finite(value)
    if isinstance(old, float) and type(value) is int:
        return float(value)
    if isinstance(old, list | tuple) and isinstance(value, list | tuple):
        return type(old)(value)
    if type(old) is not type(value):
        hint = ". Put it in quotes" if isinstance(old, str) else ""
        raise ValueError(
            f"expected {type(old).__name__} as in {old!r}, got {type(value).__name__} {shortened(repr(value))}{hint}."
        )
    return value


def _require_finite(value: object) -> None:
    """Raise ValueError for a number, also inside a list or dict, that is infinite, NaN or beyond 64 bits."""
    if isinstance(value, list | tuple | set | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            _require_finite(inner)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {value}.")
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError(f"expected a number of at most {len(str(LARGEST))} digits.")


def _literal(text: str) -> object:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.strip().lstrip("+-").lower() in ("nan", "inf", "infinity"):
        return float(text)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):  # the last two: thousands of brackets
        return text
