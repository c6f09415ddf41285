"""TaskRes: one learned residual per class, added to a frozen text classifier.

    logits = s f . norm(b_c + a x_c)        f the unit image feature, s the model's logit scale
    loss   = CE

Frozen: b, the mean of the raw text features of a class (not brought to unit length, so that `a` and the step size act
on CLIP's own scale). Learned: x (C, D), zero at the start, where the method is zero-shot CLIP.

Source: Yu et al., "Task Residual for Tuning Vision-Language Models", CVPR 2023, arXiv:2211.10277, and the authors'
released code. This is the method on the regular base; the enhanced base needs a tuned text projection.
Differences from the authors' code: it keeps the underscores of class names in prompts, which are spaces here.
Parity: tests/parity/test_task_res.py.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from fewshot.head import Head
from fewshot.task import FewShotTask
from trainers.base import VLTrainer


class TaskResHead(Head):
    """Cosine with the moved classifier, times the logit scale. Learned: `residual` (C, D).

    Args:
        base: b, raw text features, (C, D).
        logit_scale: s.
        scale: a, the weight of the residual, above 0.
    """

    def __init__(self, base: Tensor, logit_scale: float, scale: float):
        super().__init__()
        if scale <= 0:
            raise ValueError(f"TRAINER.TASKRES.SCALE is {scale}: the residual's weight must be above 0 (authors: 0.5).")
        self.logit_scale, self.scale = logit_scale, scale
        self.frozen_buffer("base", base)
        self.residual = nn.Parameter(torch.zeros_like(base))

    def forward(self, features: Tensor) -> Tensor:
        """Raw image features (B, D) to logits (B, C)."""
        classifier = F.normalize(self.base + self.scale * self.residual, dim=-1)
        return self.logit_scale * F.normalize(features, dim=-1) @ classifier.T


@TRAINER_REGISTRY.register()
class TaskRes(VLTrainer):
    """The method as a trainer, on templates."""

    @classmethod
    def default_cfg(cls) -> CN:
        """SCALE: a."""
        return CN({"SCALE": 0.5})

    def build_head(self, task: FewShotTask, cfg: CN) -> TaskResHead:
        """The residual on the raw text base."""
        return TaskResHead(task.text_features("template", averaging="mean"), task.logit_scale, cfg.SCALE)
