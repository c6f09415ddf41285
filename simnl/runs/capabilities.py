"""What a method can do, asked by its name. The reasons are in simnl/fewshot/capabilities.py."""

from __future__ import annotations

from typing import Any

from dassl.engine import TRAINER_REGISTRY
from simnl.fewshot import capabilities
from simnl.plugins import load_plugins


def refusal(method: str, **wanted: Any) -> str | None:
    """`simnl.fewshot.capabilities.refusal` for a method by its registered name (`SimNL`, `CoOp`, ...).

    Raises:
        KeyError: no such method.
    """
    load_plugins()

    trainer = TRAINER_REGISTRY.get(method)
    return capabilities.refusal(trainer, **wanted)
