"""The method on top of which another one works, as TransCLIP does on the logits of any."""

from __future__ import annotations

from yacs.config import CfgNode as CN

from simnl.declarations import is_method, loaded, method
from simnl.locations import CONFIGS


def base_file(cfg: CN) -> str:
    """The yaml of the method on top of which that of a config works; empty for one that stands alone."""
    name = base_of(cfg)
    return str(CONFIGS / "trainers" / f"{name}.yaml") if name else ""


def base_of(cfg: CN) -> str:
    """The method on top of which that of a config works; empty for one that stands alone."""
    name = cfg.TRAINER.NAME
    return "" if not is_method(name) or method(name).stands_alone else loaded(name).base_of(cfg)
