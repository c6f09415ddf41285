"""The registry of evaluators."""

from __future__ import annotations

from typing import Any

from yacs.config import CfgNode

from dassl.utils import Registry, check_availability

__all__ = ["EVALUATOR_REGISTRY", "Registry", "build_evaluator", "check_availability"]

EVALUATOR_REGISTRY = Registry("EVALUATOR")


def build_evaluator(cfg: CfgNode, **kwargs: Any) -> Any:
    """Build the evaluator `cfg.TEST.EVALUATOR` by calling its class with `cfg` and `kwargs`.

    Raises:
        ValueError: no evaluator of this name is registered.
    """
    check_availability(cfg.TEST.EVALUATOR, EVALUATOR_REGISTRY.registered_names())
    if cfg.VERBOSE:
        print(f"Loading evaluator: {cfg.TEST.EVALUATOR}")
    return EVALUATOR_REGISTRY.get(cfg.TEST.EVALUATOR)(cfg, **kwargs)
