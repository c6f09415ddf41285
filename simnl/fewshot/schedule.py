"""The parameter groups of the optimiser, and learning-rate schedules that count epochs or optimisation steps."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, StepLR
from yacs.config import CfgNode as CN

from dassl.optim import build_lr_scheduler
from simnl.fewshot.head import Head


def learned_groups(head: Head, optim_cfg: CN) -> list[dict]:
    """The parameter groups of a head for an optimiser, each with its learning rate; empty if nothing is learned.

    Args:
        head: the module to train; its `parameter_groups` give the factors on the learning rate.
        optim_cfg: the node OPTIM.
    """
    groups = [(factor, params) for factor, params in head.parameter_groups() if params]
    return [{"params": params, "lr": optim_cfg.LR * factor, "eps": optim_cfg.EPS} for factor, params in groups]


def in_one_pass(optim: Optimizer) -> Optimizer:
    """The optimiser, set to update parameters and state in one pass over memory if it can.

    PyTorch does not count such a step in the version of a parameter, so a head that knows by the version what is new
    (`PromptHead.remembered`) must not be trained in this way.
    """
    for group in optim.param_groups:
        if "fused" in group:
            group["fused"] = True
    return optim


def build_schedule(optim: Optimizer, optim_cfg: CN, steps_per_epoch: int, min_lr: float = 0.0) -> LRScheduler:
    """The schedule that OPTIM names, which counts epochs or batches, as OPTIM.STEP says.

    The engine's schedules count the calls of `step()`, and those that last for the whole training have as many steps as
    there are epochs. If OPTIM.STEP is `batch`, `step()` is called after every batch, so these schedules get the number
    of all batches as their length. STEPSIZE and WARMUP_EPOCH are numbers of calls in both cases.

    Args:
        optim: the optimiser whose learning rates are scheduled.
        optim_cfg: the node OPTIM.
        steps_per_epoch: the number of batches of an epoch.
        min_lr: the learning rate at which a cosine ends.
    """
    schedule = build_lr_scheduler(optim, optim_cfg)
    main: Any = getattr(schedule, "successor", schedule)  # the schedule after the warm-up, if there is one
    if isinstance(main, CosineAnnealingLR):
        main.eta_min = min_lr
    if optim_cfg.STEP == "batch":
        if isinstance(main, CosineAnnealingLR):
            main.T_max *= steps_per_epoch
        elif isinstance(main, StepLR) and not _is_positive(optim_cfg.STEPSIZE):
            main.step_size *= steps_per_epoch
    return schedule


def _is_positive(stepsize: int | list[int] | tuple[int, ...]) -> bool:
    """False if STEPSIZE is not positive, so that the schedule lasts for the whole training."""
    return (stepsize[-1] if isinstance(stepsize, list | tuple) else stepsize) > 0
