"""Trainers by name."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from yacs.config import CfgNode

from dassl.engine.trainer_registry import TRAINER_REGISTRY
from dassl.utils import Registry, check_availability

__all__ = ["TRAINER_REGISTRY", "Registry", "build_trainer", "check_availability"]


def build_trainer(cfg: CfgNode) -> Any:
    """Build the trainer `cfg.TRAINER.NAME` by calling its class with `cfg`.

    Raises:
        ValueError: no trainer of this name is registered.
    """
    import_module("dassl.engine.dg")  # the baseline registers itself
    check_availability(cfg.TRAINER.NAME, TRAINER_REGISTRY.registered_names())
    if cfg.VERBOSE:
        print(f"Loading trainer: {cfg.TRAINER.NAME}")
    return TRAINER_REGISTRY.get(cfg.TRAINER.NAME)(cfg)
