"""On top of which other method a method works, such as TransCLIP on the logits of any."""

from __future__ import annotations

from yacs.config import CfgNode as CN

from simnl.declarations import declared, loaded
from simnl.locations import CONFIGS


def base_file(cfg: CN) -> str:
    """The yaml of the method on top of which that of a config works; empty for one that stands alone."""
    name = base_of(cfg)
    return str(CONFIGS / "trainers" / f"{name}.yaml") if name else ""


def base_of(cfg: CN) -> str:
    """The method on top of which that of a config works; empty for one that stands alone."""
    method = declared().get(cfg.TRAINER.NAME)
    return "" if method is None or method.stands_alone else loaded(cfg.TRAINER.NAME).base_of(cfg)
