"""The method on top of which another one works, as TransCLIP does on the logits of any."""

from __future__ import annotations

from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.locations import CONFIGS


def base_file(cfg: CN) -> str:
    """The yaml of the method on top of which that of a config works; empty for one that stands alone."""
    name = base_of(cfg)
    return str(CONFIGS / "trainers" / f"{name}.yaml") if name else ""


def base_of(cfg: CN) -> str:
    """The method on top of which that of a config works; empty for one that stands alone."""
    registered = cfg.TRAINER.NAME in TRAINER_REGISTRY.registered_names()
    return TRAINER_REGISTRY.get(cfg.TRAINER.NAME).base_of(cfg) if registered else ""
