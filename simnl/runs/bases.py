"""The base method of a method that works on top of another one, as TransCLIP works on the logits of any method."""

from __future__ import annotations

from yacs.config import CfgNode as CN

from simnl.declarations import is_method, loaded, method
from simnl.locations import CONFIGS


def base_file(cfg: CN) -> str:
    """The yaml of the base method that a config names; empty for a method that stands alone."""
    name = base_of(cfg)
    return str(CONFIGS / "trainers" / f"{name}.yaml") if name else ""


def base_of(cfg: CN) -> str:
    """The registered name of the base method that a config names; empty for a method that stands alone."""
    name = cfg.TRAINER.NAME
    return "" if not is_method(name) or method(name).stands_alone else loaded(name).base_of(cfg)
