"""Whether a method, given by its name, can do what a run asks for. simnl/fewshot/capabilities.py has the reasons."""

from __future__ import annotations

from typing import Any

from simnl.declarations import method as declared_of
from simnl.fewshot import capabilities


def refusal(method: str, **wanted: Any) -> str | None:
    """`simnl.fewshot.capabilities.refusal` for a method by its registered name (`SimNL`, `CoOp`, ...).

    Raises:
        KeyError: there is no such method.
    """
    return capabilities.refusal(declared_of(method), **wanted)
