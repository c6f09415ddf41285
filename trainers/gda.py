"""GDA: Gaussian discriminant analysis of the support features, added to the zero-shot classifier. Training-free.

    logits = s f W^T + alpha (f P mu_c + log pi_c - mu_c' P mu_c / 2)
    P      = D ((N - 1) S + tr(S) I)^-1,   S = sum_n (x_n - mu_{y_n})(x_n - mu_{y_n})' / (N - 1)

x_n are the unit features of all augmented views of all support images, which are N = views x images rows. mu_c are the
means of the classes, S is the covariance that all classes share, P its shrunk inverse, and pi_c = 1/C. f is the unit
image feature, W the text classifier of the templates, and s the model's logit scale. Nothing is learned; alpha is
searched.

Source: Wang et al., "A Hard-to-Beat Baseline for Training-free CLIP-based Adaptation", ICLR 2024, arXiv:2402.04087.
Differences from the authors' code: a class without rows, which noisy labels can leave, gets the mean of all rows
instead of NaN. The inverse is taken in float64, where the authors' code takes a pseudo-inverse in float32.
Parity: an earlier comparison with the authors' code, which is not in this repository, found equal results. The formulas
are checked in tests/trainers/test_gda.py.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.fewshot.discriminant import gda_classifier
from simnl.fewshot.head import SearchableHead
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer


class GDAHead(SearchableHead):
    """Text classifier plus Gaussian discriminant.

    Args:
        text: unit text classifier, (C, D).
        weights, biases: the result of `gda_classifier`, (C, D) and (C,).
        logit_scale: s.
        alpha: the initial weight of the discriminant.
    """

    text: Tensor
    weights: Tensor
    biases: Tensor

    STAGE = ()
    TERMS = {"gda": "discriminant"}

    def __init__(self, *, text: Tensor, weights: Tensor, biases: Tensor, logit_scale: float, alpha: float):
        super().__init__(alpha=alpha)
        self.logit_scale, self.search_width = logit_scale, len(text)
        for name, tensor in (("text", text), ("weights", weights), ("biases", biases)):
            self.frozen_buffer(name, tensor)

    def terms(self, features: Tensor) -> Mapping[str, Tensor]:
        """Text logits and discriminants, (B, C)."""
        f = F.normalize(features, dim=-1)
        return {"text": self.logit_scale * f @ self.text.T, "gda": f @ self.weights.T + self.biases}

    def stage(self, terms: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The terms unchanged, because alpha is the only hyper-parameter."""
        return terms

    def affine(self, stage: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """logits = text + alpha gda."""
        return stage["text"], stage["gda"]


@TRAINER_REGISTRY.register()
class GDA(VLTrainer):
    """The method as a trainer.

    Table row:
        prediction: s f·t_c + α (f·P μ_c - μ_c·P μ_c / 2), P a shrunk inverse covariance
        learned: nothing
        parameters: 0
        checked: authors' code, once; formula
    """

    training_free = True

    @classmethod
    def default_cfg(cls) -> CN:
        """Initial alpha; the grid holds its decimal logarithm."""
        return CN({"ALPHA": 0.1, "GRID": CN({"LOG10_ALPHA": [-4.0, 3.0, 7]})})

    def build_head(self, task: FewShotTask, cfg: CN) -> GDAHead:
        """Give the head its tensors and numbers."""
        text = task.text_features("template")
        weights, biases = gda_classifier(*task.view_rows(), len(text))
        return GDAHead(text=text, weights=weights, biases=biases, logit_scale=task.logit_scale, alpha=cfg.ALPHA)
