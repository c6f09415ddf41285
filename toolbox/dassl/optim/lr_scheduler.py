"""Learning-rate schedules, with a warm-up before them. One step is one epoch."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, StepLR
from yacs.config import CfgNode

from dassl._lazy import lazy

# Upstream's module has no `__all__`, and plugins import from it what it imports itself.
LAZY = {"torch": "torch", "_LRScheduler": "torch.optim.lr_scheduler:LRScheduler"}
__all__ = ["AVAI_SCHEDS", "ConstantWarmupScheduler", "LinearWarmupScheduler", "build_lr_scheduler", *LAZY]

__getattr__ = lazy(__name__, LAZY)

AVAI_SCHEDS = ["single_step", "multi_step", "cosine"]
AVAI_WARMUPS = ["constant", "linear"]


class _BaseWarmupScheduler(LRScheduler):
    """Warm-up for `warmup_epoch` steps, then whatever `successor` does.

    The first step after the warm-up gives the rates that `successor` has at that time, its initial ones;
    each further one steps `successor`. A subclass implements `warmup_lr`, or `get_lr` as upstream's do.

    Args:
        optimizer: whose rates are set.
        successor: the schedule after the warm-up.
        warmup_epoch: length of the warm-up.
        last_epoch: -1 to begin.
        verbose: accepted and ignored, as torch dropped it.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        successor: LRScheduler,
        warmup_epoch: int,
        last_epoch: int = -1,
        verbose: bool = False,
    ):
        self.successor = successor
        self.warmup_epoch = warmup_epoch
        super().__init__(optimizer, last_epoch)

    def warmup_lr(self) -> list[Any]:
        """Rates of epoch `self.last_epoch`, which is below `warmup_epoch`; one per parameter group."""
        raise NotImplementedError

    def get_lr(self) -> list[Any]:
        """Rates of epoch `self.last_epoch`."""
        if self.last_epoch >= self.warmup_epoch:
            return self.successor.get_last_lr()
        return self.warmup_lr()

    def step(self, epoch: int | None = None) -> None:
        """Go to the next epoch."""
        if self.last_epoch >= self.warmup_epoch:
            self.successor.step(epoch)
            self._last_lr = self.successor.get_last_lr()
        else:
            super().step(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Plain values only: that of the successor is its own state dict under `successor`."""
        return {**super().state_dict(), "successor": self.successor.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state; the successor stays the live one, bound to the live optimiser."""
        state = dict(state_dict)
        successor = state.pop("successor")
        super().load_state_dict(state)
        self.successor.load_state_dict(successor)


class ConstantWarmupScheduler(_BaseWarmupScheduler):
    """Warm-up with the rate `cons_lr` for all parameter groups."""

    def __init__(
        self,
        optimizer: Optimizer,
        successor: LRScheduler,
        warmup_epoch: int,
        cons_lr: float,
        last_epoch: int = -1,
        verbose: bool = False,
    ):
        self.cons_lr = cons_lr
        super().__init__(optimizer, successor, warmup_epoch, last_epoch)

    def warmup_lr(self) -> list[float]:
        """`cons_lr` for each group."""
        return [self.cons_lr for _ in self.base_lrs]


class LinearWarmupScheduler(_BaseWarmupScheduler):
    """Warm-up from `min_lr` in epoch 0 along `base_lr * epoch / warmup_epoch`."""

    def __init__(
        self,
        optimizer: Optimizer,
        successor: LRScheduler,
        warmup_epoch: int,
        min_lr: float,
        last_epoch: int = -1,
        verbose: bool = False,
    ):
        self.min_lr = min_lr
        super().__init__(optimizer, successor, warmup_epoch, last_epoch)

    def warmup_lr(self) -> list[Any]:
        """A share of each group's base rate that grows with the epoch."""
        if self.last_epoch == 0:
            return [self.min_lr for _ in self.base_lrs]
        return [lr * self.last_epoch / self.warmup_epoch for lr in self.base_lrs]


def build_lr_scheduler(optimizer: Optimizer, optim_cfg: CfgNode) -> LRScheduler:
    """Build the schedule `optim_cfg.LR_SCHEDULER`, after a warm-up if `WARMUP_EPOCH` > 0.

    With WARMUP_RECOUNT the main schedule begins after the warm-up at its own epoch 0, so a cosine of length
    MAX_EPOCH does not reach zero in MAX_EPOCH epochs. Without, it counts the warm-up's epochs as done.

    Raises:
        ValueError: unknown name of schedule or warm-up.
        TypeError: multi_step whose STEPSIZE is no list of epochs.
    """
    scheduler = _build_main(optimizer, optim_cfg)
    if optim_cfg.WARMUP_EPOCH <= 0:
        return scheduler
    if optim_cfg.WARMUP_TYPE not in AVAI_WARMUPS:
        raise ValueError(f"OPTIM.WARMUP_TYPE is '{optim_cfg.WARMUP_TYPE}'. Choose one of {AVAI_WARMUPS}")
    if not optim_cfg.WARMUP_RECOUNT:
        # As upstream: the count moves on, the rate does not. The cosine's recursive form then scales its
        # tail up to the full base rate.
        scheduler.last_epoch = optim_cfg.WARMUP_EPOCH
    if optim_cfg.WARMUP_TYPE == "constant":
        return ConstantWarmupScheduler(optimizer, scheduler, optim_cfg.WARMUP_EPOCH, optim_cfg.WARMUP_CONS_LR)
    return LinearWarmupScheduler(optimizer, scheduler, optim_cfg.WARMUP_EPOCH, optim_cfg.WARMUP_MIN_LR)


def _build_main(optimizer: Optimizer, optim_cfg: CfgNode) -> LRScheduler:
    name, stepsize = optim_cfg.LR_SCHEDULER, optim_cfg.STEPSIZE
    if name == "single_step":
        last = stepsize[-1] if isinstance(stepsize, (list, tuple)) else stepsize
        return StepLR(optimizer, step_size=last if last > 0 else optim_cfg.MAX_EPOCH, gamma=optim_cfg.GAMMA)
    if name == "multi_step":
        if not isinstance(stepsize, (list, tuple)):
            raise TypeError(f"OPTIM.STEPSIZE of multi_step must be a list of epochs, not {type(stepsize).__name__}")
        return MultiStepLR(optimizer, milestones=list(stepsize), gamma=optim_cfg.GAMMA)
    if name == "cosine":
        length: Any = float(optim_cfg.MAX_EPOCH)  # as upstream's; torch means a whole number
        return CosineAnnealingLR(optimizer, length)
    raise ValueError(f"OPTIM.LR_SCHEDULER is '{name}'. Choose one of {AVAI_SCHEDS}")
