"""Build an optimiser from `cfg.OPTIM`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

from .radam import RAdam

__all__ = ["AVAI_OPTIMS", "RAdam", "build_optimizer", "nn", "torch", "warnings"]

AVAI_OPTIMS = ["adam", "amsgrad", "sgd", "rmsprop", "radam", "adamw"]


def build_optimizer(
    model: nn.Module | Iterable, optim_cfg: CfgNode, param_groups: Iterable | None = None
) -> torch.optim.Optimizer:
    """Build the optimiser `optim_cfg.NAME`.

    Args:
        model: a module, of which all parameters are given to the optimiser (frozen ones have no gradient and
            are skipped by it), or parameters or parameter groups.
        optim_cfg: the node `cfg.OPTIM`.
        param_groups: used instead of the model's parameters; STAGED_LR is then ignored, with a warning.

    Raises:
        ValueError: unknown name, or STAGED_LR with NEW_LAYERS that the model lacks.
        TypeError: STAGED_LR without a module.
    """
    if optim_cfg.NAME not in AVAI_OPTIMS:
        raise ValueError(f"OPTIM.NAME is '{optim_cfg.NAME}'. Choose one of {AVAI_OPTIMS}")
    if param_groups is not None:
        if optim_cfg.STAGED_LR:
            warnings.warn("OPTIM.STAGED_LR is ignored, as param_groups is given", stacklevel=2)
        params: Any = param_groups
    elif optim_cfg.STAGED_LR:
        params = _staged_groups(model, optim_cfg)
    else:
        params = model.parameters() if isinstance(model, nn.Module) else model
    return _build(params, optim_cfg)


def _build(params: Any, optim_cfg: CfgNode) -> torch.optim.Optimizer:
    name = optim_cfg.NAME
    common = {"lr": optim_cfg.LR, "weight_decay": optim_cfg.WEIGHT_DECAY}
    if name == "sgd":
        return torch.optim.SGD(
            params,
            momentum=optim_cfg.MOMENTUM,
            dampening=optim_cfg.SGD_DAMPNING,
            nesterov=optim_cfg.SGD_NESTEROV,
            **common,
        )
    if name == "rmsprop":
        return torch.optim.RMSprop(params, momentum=optim_cfg.MOMENTUM, alpha=optim_cfg.RMSPROP_ALPHA, **common)
    betas = (optim_cfg.ADAM_BETA1, optim_cfg.ADAM_BETA2)
    if name == "radam":
        return RAdam(params, betas=betas, **common)
    if name == "adamw":
        return torch.optim.AdamW(params, betas=betas, **common)
    return torch.optim.Adam(params, betas=betas, amsgrad=name == "amsgrad", **common)


def _staged_groups(model: Any, optim_cfg: CfgNode) -> list[dict[str, Any]]:
    """Two groups: pre-trained children with LR * BASE_LR_MULT, those in NEW_LAYERS with LR."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"OPTIM.STAGED_LR needs an nn.Module to find NEW_LAYERS in, not {type(model).__name__}")
    if isinstance(model, nn.DataParallel):
        model = model.module
    new_layers = optim_cfg.NEW_LAYERS
    names = {new_layers} if isinstance(new_layers, str) else set(new_layers)
    children = dict(model.named_children())
    if not names:
        warnings.warn("OPTIM.NEW_LAYERS is empty: with STAGED_LR all layers get LR * BASE_LR_MULT", stacklevel=3)
    if unknown := sorted(names - set(children)):
        raise ValueError(f"OPTIM.NEW_LAYERS has {unknown}; the children of the model are {sorted(children)}")
    base = [p for name, child in children.items() if name not in names for p in child.parameters()]
    new = [p for name, child in children.items() if name in names for p in child.parameters()]
    return [{"params": base, "lr": optim_cfg.LR * optim_cfg.BASE_LR_MULT}, {"params": new}]
