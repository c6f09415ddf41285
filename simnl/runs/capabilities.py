"""What a method, by name, can do; the reasons are in simnl/fewshot/capabilities.py."""

from __future__ import annotations

from dassl.engine import TRAINER_REGISTRY
from simnl.fewshot import capabilities


def refusal(method: str, *, task: str = "few-shot", arch: str = "", eval_only: bool = False) -> str | None:
    """As `simnl.fewshot.capabilities.refusal`, for a registered name (`SimNL`, `CoOp`, ...).

    Raises:
        KeyError: no such method.
    """
    import trainers  # noqa: F401 - importing registers every method

    trainer = TRAINER_REGISTRY.get(method)
    return capabilities.refusal(trainer, task=task, arch=arch, eval_only=eval_only)
