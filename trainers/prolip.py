"""ProLIP: the image tower's last projection is fine-tuned, on stored features before it.

    logits = s norm(h P + b) . t_c        h the hidden feature of an image, before the projection P (H, D); s the
                                          model's logit scale; t_c the unit text classifier of the templates
    loss   = CE + lambda |P - P0|^2       summed over all entries; lambda = LAM / (N / C)^POWER

P is learned, from the model's own P0; it has H D numbers. Everything else is frozen, and so is b, which the attention
pool of CLIP's ResNet has and a ViT has not (it is 0 there). A step uses all N support images, with one view of each.

Source: Fahes et al., "CLIP's Visual Embedding Projector is a Few-shot Cornucopia", arXiv:2410.05270, and the authors'
released code.
Differences from the authors' code: numbers are in float32. In the authors' code P, Adam's moments and the penalty are
in half precision, where squares of differences below 2.4e-4 are zero, so that the penalty is mostly absent at small
rates. Step e reads view e, where the authors' code reads view e + 1; all views are drawn alike. K in lambda is the mean
number of images of a class. Preset `official` trains on 300 views and sweeps the authors' 49 settings.
Parity: tests/parity/test_prolip.py compares with recorded outputs of the authors' code.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.clip.model import ImageProjection
from simnl.fewshot.head import Head
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer


class ProLIPHead(Head):
    """Cosine of projected hidden features with text. Learned: `projection` (H, D).

    Args:
        text: t, unit rows, (C, D).
        start: the initial P0, (H, D).
        bias: b, (D,).
        logit_scale: s.
        penalty: lambda.
    """

    text: Tensor
    start: Tensor
    bias: Tensor

    def __init__(self, text: Tensor, start: Tensor, bias: Tensor, logit_scale: float, penalty: float):
        super().__init__()
        self.logit_scale, self.penalty = logit_scale, penalty
        self.frozen_buffer("text", text)
        self.frozen_buffer("start", start)
        self.frozen_buffer("bias", bias)
        self.projection = nn.Parameter(start.clone())

    def forward(self, features: Tensor) -> Tensor:
        """Hidden features (B, H) to logits (B, C)."""
        return self.logit_scale * F.normalize(features @ self.projection + self.bias, dim=-1) @ self.text.T

    def losses(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy, and the pull to P0."""
        distance = (self.projection - self.start).square().sum()
        return {**super().losses(features, labels), "penalty": self.penalty * distance}


@TRAINER_REGISTRY.register()
class ProLIP(VLTrainer):
    """The method as a trainer.

    Table row:
        prediction: s norm(h P + b)·t_c, h before the image tower's projection; CE + λ |P - P_0|²
        learned: the image tower's projection P
        parameters: H*D
        checked: authors' code, K = 1 … 16; formula
    """

    before_projection = True
    base_to_new = True

    @classmethod
    def default_cfg(cls) -> CN:
        """LAM, POWER: lambda = LAM / K^POWER."""
        return CN({"LAM": 1.0, "POWER": 1.0})

    def build_head(self, task: FewShotTask, cfg: CN) -> ProLIPHead:
        shots = len(task.support_labels) / task.num_classes or 1.0  # without images: classes that training did not see
        penalty = cfg.LAM / shots**cfg.POWER
        start = cast(ImageProjection, task.clip.image_projection)  # there because of `before_projection`
        return ProLIPHead(task.text_features("template"), start.weight, start.bias, task.logit_scale, penalty)
