"""What a method can do, asked by its name. The reasons are in simnl/fewshot/capabilities.py."""

from __future__ import annotations

from dassl.engine import TRAINER_REGISTRY
from simnl.fewshot import capabilities
from simnl.plugins import load_plugins


def refusal(method: str, *, task: str = "few-shot", arch: str = "", eval_only: bool = False) -> str | None:
    """`simnl.fewshot.capabilities.refusal` for a method by its registered name (`SimNL`, `CoOp`, ...).

    Raises:
        KeyError: no such method.
    """
    load_plugins()

    trainer = TRAINER_REGISTRY.get(method)
    return capabilities.refusal(trainer, task=task, arch=arch, eval_only=eval_only)
