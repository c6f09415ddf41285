"""What a method can do, asked by its name. The reasons are in simnl/fewshot/capabilities.py."""

from __future__ import annotations

from simnl.declarations import method as declared_of
from simnl.fewshot import capabilities


def refusal(method: str, *, task: str = "few-shot", arch: str = "", eval_only: bool = False) -> str | None:
    """`simnl.fewshot.capabilities.refusal` for a method by its registered name (`SimNL`, `CoOp`, ...).

    Raises:
        KeyError: no such method.
    """
    return capabilities.refusal(declared_of(method), task=task, arch=arch, eval_only=eval_only)
