"""ProKeR: kernel ridge regression of the labels, regularised towards the zero-shot function. Training-free.

Of all functions f, this is the one that minimises |f(X) - alpha Y|^2 + lambda |f - f_zs|_H^2, where H is the space of
the kernel:

    f(x)   = f_zs(x) + k(x, X) (K + lambda I)^-1 (alpha Y - f_zs(X)),   logits = s f
    k(x,z) = exp(-beta |x - z|^2 / 2) = exp(-beta (1 - x.z)),           K = k(X, X)

x is the unit image feature. X are the cache keys (N, D), which are unit means over the augmented views of each support
image, and Y are their one-hot labels (N, C). f_zs(x) = x W^T are the cosines with the text classifier of the templates,
and s is the model's logit scale. Tip-Adapter is the same with the identity in the place of (K + lambda I)^-1 and
without f_zs(X). For a query that is like no support image, f is f_zs. alpha, the target of the right class, is 1 unless
TRAINER.PROKER.GRID.ALPHA has more values. beta and lambda are searched, both as parts of the stage; each pair costs a
Cholesky factorisation, O(N^3), in float64.

Source: Bendou et al., "ProKeR: A Kernel Perspective on Few-Shot Adaptation of Large Vision-Language Models", CVPR 2025,
arXiv:2501.11175.
Differences from the authors' code: none is known, because this was written from the formula and not compared with their
code. The scale of f_zs (cosines) and the grid are ours. Parity: the formulas are checked in
tests/trainers/test_proker.py.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.fewshot.cache_head import CacheHead
from simnl.fewshot.ridge import ridge_coefficients
from simnl.fewshot.search import Grid, axis
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer


class ProKeRHead(CacheHead):
    """The zero-shot function plus a kernel regression of its errors on the support images.

    Args:
        inputs: the arguments of `CacheHead`, with beta, lam > 0 and alpha.
    """

    targets: Tensor
    STAGE = ("beta", "lam")
    TERMS = {"zeroshot": "smoothed zero-shot", "labels": "smoothed labels"}
    support_terms = tuple(TERMS.values())

    def __init__(self, **inputs):
        super().__init__(**inputs)
        hot = F.one_hot(self.labels, self.num_classes).to(self.text.dtype)
        self.frozen_buffer("targets", torch.cat([self.cache_keys @ self.text.T, hot], dim=1))
        self._solved: tuple[tuple, Tensor] | None = None

    def coefficients(self, beta: float, lam: float) -> Tensor:
        """(K + lambda I)^-1 [f_zs(X), Y], (N, 2 C) float64; the last solution is stored.

        Raises:
            ValueError: lam is not positive.
        """
        if lam <= 0:
            raise ValueError(f"ProKeR's ridge lambda must be positive, not {lam} (TRAINER.PROKER.LAM, or its GRID).")
        key = (beta, lam, self.cache_keys.device)
        if self._solved is None or self._solved[0] != key:
            keys = self.cache_keys.double()
            gram = self.kernel(keys @ keys.T, beta)
            self._solved = (key, ridge_coefficients(gram, self.targets, lam))
        return self._solved[1]

    def terms(self, features: Tensor) -> Mapping[str, Tensor]:
        """Zero-shot cosines (B, C) and affinities x.k (B, N)."""
        f = F.normalize(features, dim=-1)
        return {"text": f @ self.text.T, "affinity": f @ self.cache_keys.T}

    def kernel(self, affinity: Tensor, beta: float) -> Tensor:
        """exp(-beta (1 - x.z)) in float64, from x.z of any shape."""
        return torch.exp(-beta * (1 - affinity.double()))

    def stage(self, terms: Mapping[str, Tensor], *, beta: float, lam: float) -> Mapping[str, Tensor]:
        """The smoothed f_zs and Y of the support images, k(x, X) (K + lambda I)^-1 [f_zs(X), Y], both (B, C)."""
        smoothed = (self.kernel(terms["affinity"], beta) @ self.coefficients(beta, lam)).to(terms["text"].dtype)
        zeroshot, labels = smoothed.chunk(2, dim=1)
        return {"text": terms["text"], "zeroshot": zeroshot, "labels": labels}

    def support_evidence(self, features: Tensor, classes: Tensor) -> Tensor:
        """What each support image adds to one logit: k(x, x_n) times row n of the coefficients of the class."""
        h, terms = self.hparams, self.terms(features)
        kernel = self.kernel(terms["affinity"], h["beta"])
        zeroshot, labels = self.coefficients(h["beta"], h["lam"]).chunk(2, dim=1)
        rows = h["alpha"] * labels.T[classes] - zeroshot.T[classes]  # (B, N)
        return (self.logit_scale * kernel * rows).to(terms["text"].dtype)

    def affine(self, stage: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """logits = s [f_zs(x) - smoothed f_zs] + alpha s [smoothed labels]."""
        return self.logit_scale * (stage["text"] - stage["zeroshot"]), self.logit_scale * stage["labels"]


@TRAINER_REGISTRY.register()
class ProKeR(VLTrainer):
    """The method as a trainer.

    Table row:
        prediction: f_zs(x) + k(x, S)(K + λ I)⁻¹(Y - f_zs(S))
        learned: nothing; kernel ridge regression
        parameters: 0
        checked: formula
    """

    training_free = True

    @classmethod
    def default_cfg(cls) -> CN:
        """Initial hyper-parameters; the grid holds the decimal logarithms of beta and lambda."""
        grid = CN({"LOG10_BETA": [-1.0, 1.5, 10], "LOG10_LAM": [-3.0, 1.5, 9], "ALPHA": [1.0, 2.0, 1]})
        return CN({"BETA": 1.0, "LAM": 1.0, "ALPHA": 1.0, "GRID": grid})

    def search_space(self, cfg: CN) -> Grid:
        """Powers of ten for beta and lambda."""
        axes = {name: axis(low, high, int(steps)) for name, (low, high, steps) in cfg.GRID.items()}
        beta, lam = ([10.0**power for power in axes[name]] for name in ("LOG10_BETA", "LOG10_LAM"))
        return Grid({"beta": beta, "lam": lam, "alpha": axes["ALPHA"]})

    def build_head(self, task: FewShotTask, cfg: CN) -> ProKeRHead:
        """Give the head its tensors and numbers."""
        return ProKeRHead(**task.cache_inputs("template"), **ProKeRHead.hparams_of(cfg))
