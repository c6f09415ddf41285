"""Linear probe: multinomial logistic regression on frozen image features.

    logits = x W^T + b                      x the raw image feature (not brought to unit length)
    loss   = sum_n CE + |W|^2 / (2 C)       b is not penalised

W (C, D) and b (C,) are learned by scikit-learn's L-BFGS. The text tower is not used. C, the inverse strength of the
penalty, is searched on the selection images: first among powers of ten, then by eight halvings (in log C) of the
interval around the best of them.

Source: Radford et al., ICML 2021, arXiv:2103.00020; the search is that of CoOp's released code (Zhou et al., IJCV 2022,
arXiv:2109.01134).
Differences from that code: the few-shot draw is the one that all methods here share, where that code has another, by
numpy. A value of C that comes up twice is fitted once. A class without images, which noisy labels can leave, keeps the
weight 0 and never wins. `repaired` takes the best C of all that were tried; `official` takes the end of the interval
that survives the last halving.
Parity: an earlier comparison with the authors' code, which is not in this repository, found equal results.
tests/trainers/test_linear_probe.py compares objective, optimum and search with references.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.config_names import check_choice
from simnl.fewshot.head import Head
from simnl.fewshot.selection import may_search
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer

RULES = ("best", "last")
ABSENT = -1e4  # the bias of a class without training images
SMALL = 10**8  # with fewer multiplications in a step, threads cost more than they gain


class LinearProbeHead(Head):
    """Learned: `weight` (C, D) and `bias` (C,), zero until they are fitted."""

    def __init__(self, num_classes: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_classes, width))
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def forward(self, features: Tensor) -> Tensor:
        """Raw image features (B, D) to logits (B, C)."""
        return features @ self.weight.T + self.bias

    @torch.no_grad()
    def fit(self, features: Tensor, labels: Tensor, c: float, max_iter: int) -> None:
        """Minimise the loss over training rows.

        Args:
            features: raw, (N, D); labels: (N,) int64.
            c: C, above 0.
            max_iter: the largest number of iterations of L-BFGS, which a large C may need, as in the source.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        two = len(labels.unique()) == 2  # scikit-learn then learns the difference of the rows, and penalises it twice
        solver = LogisticRegression(C=2 * c if two else c, max_iter=max_iter)
        threads = 1 if features.numel() * len(self.weight) < SMALL else None
        with warnings.catch_warnings(), threadpool_limits(threads):
            warnings.simplefilter("ignore", ConvergenceWarning)
            solver.fit(features.double().cpu().numpy(), labels.cpu().numpy())
        weight, bias = torch.from_numpy(solver.coef_), torch.from_numpy(solver.intercept_)
        if two:
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        self.weight.zero_()
        self.bias.fill_(ABSENT)
        present = torch.from_numpy(solver.classes_).to(self.weight.device)
        self.weight[present] = weight.to(self.weight)
        self.bias[present] = bias.to(self.bias)


def search_c(score: Callable[[float], float], coarse: list[float], halvings: int, rule: str) -> float:
    """CoOp's search for C.

    Args:
        score: a function of C that gives the validation accuracy of a fit; the caller caches it.
        coarse: the values of the first stage. The first best one is the centre of an interval of two decades.
        halvings: the number of steps of the second stage. Each keeps the better end (the left one if both are equal)
            and moves the other one to the middle of the interval of log C.
        rule: `last` for the end that the last step keeps; `best` for the best of all tried values, the smallest of
            equal ones.
    """
    scores = {c: score(c) for c in coarse}
    centre = max(coarse, key=lambda c: scores[c])
    left, right, kept = math.log10(centre) - 1, math.log10(centre) + 1, centre
    for _ in range(halvings):
        for end in (left, right):
            scores[10**end] = score(10**end)
        if scores[10**left] < scores[10**right]:
            kept, left = 10**right, (left + right) / 2
        else:
            kept, right = 10**left, (left + right) / 2
    return kept if rule == "last" else min(scores, key=lambda c: (-scores[c], c))


@TRAINER_REGISTRY.register()
class LinearProbe(VLTrainer):
    """The probe as a trainer.

    Table row:
        prediction: x·w_c + bias_c; CE + squared norm of w, L-BFGS
        learned: a classifier on image features
        parameters: C*(D + 1)
        checked: authors' code, once; formula
    """

    prompt_sets = ()

    @classmethod
    def default_cfg(cls) -> CN:
        """See configs/trainers/LinearProbe.yaml."""
        coarse = [1e6, 1e4, 1e2, 1.0, 1e-2, 1e-4, 1e-6]
        return CN({"C": 1.0, "COARSE": coarse, "HALVINGS": 8, "RULE": "best", "MAX_ITER": 1000})

    def build_head(self, task: FewShotTask, cfg: CN) -> LinearProbeHead:
        """A probe of zeros, which `fit` fills."""
        check_choice("TRAINER.LINEARPROBE.RULE", cfg.RULE, RULES)
        if cfg.C <= 0 or min(cfg.COARSE, default=1) <= 0:
            raise ValueError("TRAINER.LINEARPROBE.C and COARSE must be above 0, because C is the inverse of a penalty.")
        return LinearProbeHead(task.num_classes, task.support_features.shape[-1])

    def fit(self) -> None:
        """Choose C on the selection images, if there are any, and fit with it."""
        node, support = self.node, self.support
        rows = support.train_features.flatten(0, 1)
        labels = support.train_labels.repeat(len(support.train_features))
        tried: dict[float, tuple[float, dict]] = {}

        def score(c: float) -> float:
            if c not in tried:
                self.head.fit(rows, labels, c, node.MAX_ITER)
                state = {name: value.clone() for name, value in self.head.state_dict().items()}
                tried[c] = self.validation_accuracy(), state
            return tried[c][0]

        if not may_search(self):
            c = self.settled.get("c", node.C)
            self.head.fit(rows, labels, c, node.MAX_ITER)
            self.head.hparams = {"c": c}
            return
        chosen = search_c(score, list(node.COARSE), node.HALVINGS, node.RULE)
        self.head.load_state_dict(tried[chosen][1])
        self.head.hparams, self.num_settings = {"c": chosen}, len(tried)
