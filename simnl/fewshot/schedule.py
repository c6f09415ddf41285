"""Learning-rate schedules that count epochs or optimisation steps."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from yacs.config import CfgNode as CN

from dassl.optim import build_lr_scheduler


def build_schedule(optim: Optimizer, optim_cfg: CN, steps_per_epoch: int) -> LRScheduler:
    """The schedule that OPTIM names, in the unit in which OPTIM.STEP says it is counted.

    The engine's schedules count the calls of `step()`, which their config calls epochs. Where OPTIM.STEP is `batch`,
    `step()` is called after every batch, so the schedule is as long as all batches of all epochs.

    Args:
        optim: the optimiser whose rates are scheduled.
        optim_cfg: the node OPTIM.
        steps_per_epoch: batches in an epoch.
    """
    if optim_cfg.STEP == "epoch":
        return build_lr_scheduler(optim, optim_cfg)
    return build_lr_scheduler(optim, CN({**optim_cfg, "MAX_EPOCH": optim_cfg.MAX_EPOCH * steps_per_epoch}))
