"""What a method can do, asked by its name. The reasons are in simnl/fewshot/capabilities.py."""

from __future__ import annotations

from typing import Any

from simnl.declarations import method as declared_of
from simnl.fewshot import capabilities


def refusal(method: str, **wanted: Any) -> str | None:
    """`simnl.fewshot.capabilities.refusal` for a method by its registered name (`SimNL`, `CoOp`, ...).

    Raises:
        KeyError: no such method.
    """
    return capabilities.refusal(declared_of(method), **wanted)
