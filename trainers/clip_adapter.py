"""CLIP-Adapter: a small bottleneck network on the image feature, whose output is blended with the feature itself.

    a(x)   = ReLU(W2 ReLU(W1 x))            x the raw image feature, W1 (D/4, D), W2 (D, D/4), no bias
    logits = s norm(r a(x) + (1 - r) x) . t_c
    loss   = CE

The unit text classifier t is frozen. W1 and W2 are learned, which are D^2 / 2 numbers for any number of classes. They
start at random as torch's linear layers do, from a generator that is seeded with the run's seed.

Source: Gao et al., "CLIP-Adapter: Better Vision-Language Models with Feature Adapters", IJCV 2024, arXiv:2110.04544,
and the module in the authors' released code, which takes its training recipe from CoOp.
Differences from the authors' code: the width is that of the model, where the authors' code has 1024. The text
classifier is computed once, and not in each step.
Parity: an earlier comparison with the authors' code, which is not in this repository, found equal results. The formulas
are checked in tests/trainers/test_clip_adapter.py.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.fewshot.head import Head
from simnl.fewshot.loaders import seeded_generator
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer


class CLIPAdapterHead(Head):
    """The adapter. Learned: `down` (D // REDUCTION, D) and `up` (D, D // REDUCTION).

    Args:
        text: t, unit rows, (C, D).
        logit_scale: s.
        ratio: r, the share of the adapter's output, in [0, 1].
        reduction: the number of times that the hidden layer is narrower than D.
        seed: the seed of the initial weights.
    """

    text: Tensor

    def __init__(self, text: Tensor, logit_scale: float, ratio: float, reduction: int, seed: int):
        super().__init__()
        width = text.shape[1]
        if not 0 <= ratio <= 1:
            raise ValueError(f"TRAINER.CLIPADAPTER.RATIO is {ratio}, but it must be from 0 to 1 (authors: 0.2).")
        if not 1 <= reduction <= width:
            raise ValueError(
                f"TRAINER.CLIPADAPTER.REDUCTION is {reduction}. Choose 1 to {width}, the width of the features."
            )
        self.logit_scale, self.ratio = logit_scale, ratio
        self.frozen_buffer("text", text)
        self.down = nn.Parameter(_linear_weight(width // reduction, width, seed, "down"))
        self.up = nn.Parameter(_linear_weight(width, width // reduction, seed, "up"))

    def adapter(self, features: Tensor) -> Tensor:
        """a(x) of raw image features (B, D), which is (B, D) and nowhere negative."""
        return F.relu(F.relu(features @ self.down.T) @ self.up.T)

    def forward(self, features: Tensor) -> Tensor:
        """Raw image features (B, D) to logits (B, C)."""
        blend = self.ratio * self.adapter(features) + (1 - self.ratio) * features
        return self.logit_scale * F.normalize(blend, dim=-1) @ self.text.T


def _linear_weight(rows: int, columns: int, seed: int, name: str) -> Tensor:
    """Initial weights (rows, columns) as of torch's linear layer, uniform within 1 / sqrt(columns) of 0."""
    bound = columns**-0.5
    return torch.empty(rows, columns).uniform_(-bound, bound, generator=seeded_generator(seed, "CLIPAdapter", name))


@TRAINER_REGISTRY.register()
class CLIPAdapter(VLTrainer):
    """The method as a trainer.

    Table row:
        prediction: s norm(r a(x) + (1 - r) x)·t_c, a a bottleneck
        learned: the bottleneck
        parameters: D*D//2
        checked: authors' code, once; formula
    """

    base_to_new = True

    @classmethod
    def default_cfg(cls) -> CN:
        """RATIO: r. REDUCTION: D divided by the hidden width."""
        return CN({"RATIO": 0.2, "REDUCTION": 4})

    def build_head(self, task: FewShotTask, cfg: CN) -> CLIPAdapterHead:
        """The adapter before the template classifier."""
        return CLIPAdapterHead(
            task.text_features("template"), task.logit_scale, cfg.RATIO, cfg.REDUCTION, self.cfg.SEED
        )
