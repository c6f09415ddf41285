"""Configuration: a yacs `CfgNode` with the keys and defaults of Dassl 0.6.3."""

from __future__ import annotations

from yacs.config import CfgNode

from .defaults import _C as cfg_default

__all__ = ["cfg_default", "clean_cfg", "get_cfg_default"]


def get_cfg_default() -> CfgNode:
    """A fresh, unfrozen copy of the default configuration."""
    return cfg_default.clone()


def clean_cfg(cfg: CfgNode, trainer: str) -> None:
    """Drop, in place, the `cfg.TRAINER` nodes of all methods but one; makes a printed cfg readable.

    The node of `trainer` is found regardless of case, so `TRAINER.TaskRes` survives `clean_cfg(cfg,
    "TaskRes")`.
    """
    for key in list(cfg.TRAINER):
        if key != "NAME" and key.upper() != trainer.upper():
            cfg.TRAINER.pop(key)
