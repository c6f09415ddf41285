"""ZS-LP and CLAP: a linear probe that starts from the text classifier, and its constrained form.

    logits = s f . norm(w_c)                       f the unit image feature, s the model's logit scale
    loss   = CE                                    ZSLP
    loss   = CE + mean_c lambda_c |w_c - b_c|^2    CLAP

The prototypes w (C, D) are learned, and start at b. Frozen are b, which is the mean of the raw text features of a class
(not brought to unit length), and lambda. lambda says how far zero-shot CLIP is to be trusted: it is the mean
probability that zero-shot CLIP gives to the true class, over the support images of the class. Without a constraint
(ZSLP), w drifts away from what the text knew where there are few shots.

Source: Silva-Rodriguez et al., "A Closer Look at the Few-Shot Adaptation of Large Vision-Language Models", CVPR 2024,
arXiv:2312.12730, and the authors' released code.
Differences from the authors' code: lambda is never updated, which is an option of the authors' code that the paper's
setting does not use. A label without a support image gets a lambda of 1. Underscores of class names are spaces in
prompts.
Parity: tests/parity/test_clap.py.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.config_names import check_choice
from simnl.fewshot.head import ClassifierHead, Head
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer

MULTIPLIERS = ("zero-shot", "corrected", "constant", "balanced")


def class_multipliers(features: Tensor, labels: Tensor, base: Tensor, logit_scale: float, rule: str) -> Tensor:
    """lambda, the weight of each class's constraint.

    Args:
        features: raw features of V views of the support images, (V, N, D).
        labels: (N,) int64.
        base: b, (C, D).
        logit_scale: s.
        rule: `zero-shot` is the mean probability of the true class over the class's rows (the paper). `corrected` is
            the same, scaled to mean 1. `constant` is its mean for all classes. `balanced` is 1.

    Returns:
        (C,); 1 for a label without rows.
    """
    check_choice("TRAINER.CLAP.MULTIPLIERS", rule, MULTIPLIERS)
    ones = base.new_ones(len(base))
    if rule == "balanced":
        return ones
    classifier, trust = F.normalize(base, dim=-1), base.new_zeros(len(base))
    for view in features:
        logits = logit_scale * F.normalize(view, dim=-1) @ classifier.T
        trust.index_add_(0, labels, logits.softmax(-1).gather(1, labels[:, None]).squeeze(1))
    counts = torch.bincount(labels, minlength=len(base)) * len(features)
    trust = torch.where(counts > 0, trust / counts.clamp(min=1), ones)
    if rule == "corrected":
        return trust * len(trust) / trust.sum()
    return trust.mean() * ones if rule == "constant" else trust


class ZSLPHead(Head):
    """A cosine classifier whose prototypes start at the text features. Learned: `prototypes` (C, D).

    Args:
        base: b, raw text features, (C, D).
        logit_scale: s.
    """

    products_suffice = True

    def __init__(self, base: Tensor, logit_scale: float):
        super().__init__()
        self.logit_scale, self.num_products = logit_scale, base.shape[1]
        self.prototypes = nn.Parameter(base.detach().clone())

    def products(self, features: Tensor) -> Tensor:
        """s f, (B, D)."""
        return self.logit_scale * F.normalize(features, dim=-1)

    def forward(self, features: Tensor, products: Tensor | None = None) -> Tensor:
        """Raw image features (B, D) to logits (B, C). `products` are those of the features, where they are known."""
        scaled = self.products(features) if products is None else products
        return scaled @ F.normalize(self.prototypes, dim=-1).T

    def deployed(self) -> ClassifierHead:
        """The prototypes as a constant classifier."""
        return ClassifierHead(F.normalize(self.prototypes, dim=-1), self.logit_scale)


class CLAPHead(ZSLPHead):
    """ZS-LP with a pull of each prototype to its text feature.

    Args:
        base: b, raw text features, (C, D).
        logit_scale: s.
        multipliers: lambda, (C,).
    """

    base: Tensor
    multipliers: Tensor

    def __init__(self, base: Tensor, logit_scale: float, multipliers: Tensor):
        super().__init__(base, logit_scale)
        self.frozen_buffer("base", base)
        self.frozen_buffer("multipliers", multipliers)

    def losses(self, features: Tensor, labels: Tensor, **known: Tensor) -> dict[str, Tensor]:
        """Cross-entropy and the constraint."""
        distance = (self.prototypes - self.base).square().sum(-1)
        return {**super().losses(features, labels, **known), "constraint": (self.multipliers * distance).mean()}


@TRAINER_REGISTRY.register()
class ZSLP(VLTrainer):
    """The unconstrained probe as a trainer.

    Table row:
        prediction: s f·norm(w_c), w_c starts at b_c
        learned: a classifier
        parameters: C*D
        checked: authors' code, K = 1 … 16
    """

    def build_head(self, task: FewShotTask, cfg: CN) -> ZSLPHead:
        """Prototypes at the raw text base."""
        return ZSLPHead(task.text_features("template", averaging="mean"), task.logit_scale)


@TRAINER_REGISTRY.register()
class CLAP(VLTrainer):
    """The constrained probe as a trainer.

    Table row:
        prediction: s f·norm(w_c); CE + mean_c λ_c |w_c - b_c|²
        learned: a classifier that starts at b_c
        parameters: C*D
        checked: authors' code, K = 1 … 16
    """

    @classmethod
    def default_cfg(cls) -> CN:
        """MULTIPLIERS: the rule for lambda."""
        return CN({"MULTIPLIERS": "zero-shot"})

    def build_head(self, task: FewShotTask, cfg: CN) -> CLAPHead:
        """Prototypes at the raw text base, lambda from all cached views."""
        base = task.text_features("template", averaging="mean")
        features = task.support_features.to(task.device)
        multipliers = class_multipliers(features, task.support_labels, base, task.logit_scale, cfg.MULTIPLIERS)
        return CLAPHead(base, task.logit_scale, multipliers)
