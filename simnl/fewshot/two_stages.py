"""Methods that learn in two stages, one after the other in the epochs of one run."""

from __future__ import annotations

import math

import torch
from torch.optim.lr_scheduler import LambdaLR
from yacs.config import CfgNode as CN

from simnl.fewshot.trainer import VLTrainer


def two_cosines(first: int, second: int, end: float):
    """The factor on the rate as a function of the step: two cosines from 1 to `end`, of `first` and `second` steps."""

    def factor(step: int) -> float:
        place, length = (step, first) if step < first else (step - first, second)
        return end + (1 - end) * (1 + math.cos(math.pi * min(place / max(length, 1), 1))) / 2

    return factor


class LearnsInTwoStages(VLTrainer):
    """The base of such methods. The node has STAGE1, the share of the epochs of stage 1, and MIN_LR, the rate at which
    each stage ends; the head has `second_stage`, which says of which stage its losses are."""

    def check_cfg(self, cfg: CN) -> None:
        """Check as the base class does, and the share.

        Raises:
            ValueError: the share is none.
        """
        super().check_cfg(cfg)
        if not 0 <= (share := self.node_of(cfg).STAGE1) <= 1:
            name = self.base_of(cfg) or type(self).__name__
            raise ValueError(f"TRAINER.{name.upper()}.STAGE1 is {share}, but it is a share of the epochs from 0 to 1.")

    @property
    def first_epochs(self) -> int:
        """The number of epochs of stage 1."""
        return int(self.node.STAGE1 * self.cfg.OPTIM.MAX_EPOCH)

    def build_schedule(self, optim: torch.optim.Optimizer) -> LambdaLR:
        """A cosine in each stage, which counts epochs or batches as OPTIM.STEP says."""
        unit = len(self.train_loader_x) if self.cfg.OPTIM.STEP == "batch" else 1
        first, second = self.first_epochs, self.cfg.OPTIM.MAX_EPOCH - self.first_epochs
        return LambdaLR(optim, two_cosines(first * unit, second * unit, self.node.MIN_LR / self.cfg.OPTIM.LR))

    def before_epoch(self) -> None:
        """Begin stage 2 at its first epoch."""
        super().before_epoch()
        self.head.second_stage = self.epoch >= self.first_epochs
