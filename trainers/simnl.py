"""SimNL: positive and negative learning on both modalities of a frozen CLIP.

There are four adapters (simnl/fewshot/adapters.py). Each is a learned residual on a frozen tensor: on the positive and
the negative text classifier, and on the positive and the negative cache keys. A negative classifier scores the absence
of a class, so that one minus its cosine speaks for the class.

    R = s f.m                               positive text      m_c = (1 - w) norm(T_c + rho_T) + w norm(U_c + rho_U)
    P = sum_n w_n exp(-beta (1 - f.k_n))    positive cache     k_n = norm(F_n + r_pos), rows of class c
    Q = g s (1 - f.v)                       negative text      v_c = norm(V_c + rho_V)
    N = sum_n w_n exp(-beta f.q_n)          negative cache     q_n = norm(F-_n + r_neg)
    logits = lambda (R + alpha P) + (1 - lambda) (Q + alpha N)
    loss   = CE + L_rank + 8 L_cons  (+ L_neg, Eq. 14/18 of the paper, an option)

T, U and V are the classifiers of the templates, of the CuPL sentences and of the negative templates. F are the cache
keys, and F- are their negative counterparts. w_n are instance weights, and s is the model's logit scale.

Source: Zhang et al., "Enhancing Vision-Language Few-Shot Adaptation with Negative Learning", WACV 2025,
arXiv:2403.12964, and the authors' released code.
Differences from the authors' code: one shot gives the weight 1, where the authors' code divides 0 by 0. Parameters
without effect are left out. The quirks that move figures are named switches in configs/trainers/SimNL.yaml: the preset
`official` turns them on, and `repaired` turns them off. The options ROUTED and FUSION are ours
(simnl/fewshot/two_sides.py).
Parity: tests/parity/test_simnl.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.fewshot import adapters
from simnl.fewshot.head import Terms
from simnl.fewshot.losses import consistency_loss, negative_risk, rerank_loss
from simnl.fewshot.schedule import in_one_pass
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer
from simnl.fewshot.two_sides import SidesOptions, TwoSidedHead, fused

Adapter = Literal["positive-text", "positive-cache", "negative-text", "negative-cache"]
ADAPTERS: tuple[Adapter, ...] = get_args(Adapter)
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16}


@dataclass(frozen=True)
class SimNLOptions(SidesOptions):
    """Constants of the method. Each is documented, with its source, in configs/trainers/SimNL.yaml."""

    NODE = "TRAINER.SIMNL"

    cupl_weight: float = 0.55
    negative_text_scale: float = 0.15
    reweight_positive: bool = True
    reweight_negative: bool = True
    reweight_size: Literal["rows", "shots"] = "rows"
    negative_keys: Literal["class", "slot"] = "class"
    rerank_weight: float = 1.0
    rerank_scale: float = 4.0
    rerank_neighbours: int = 3
    consistency_weight: float = 8.0
    consistency_axis: Literal["class", "channel"] = "class"
    negative_loss: Literal["none", "eq18"] = "none"
    negative_loss_weight: float = 1.0
    negative_lr_factor: float = 5.0
    precision: Literal["fp32", "fp16"] = "fp32"  # that of the learned parameters and of the optimiser's state
    adapters: tuple[Adapter, ...] = ADAPTERS  # those that learn; the residuals of the others stay zero


class SimNLHead(TwoSidedHead):
    """The four adapters, in which 5 residuals of shape (C, D) are learned (4 without CuPL), all zero at the start.

    Args:
        template, negative: unit text classifiers (C, D); cupl: the same, or None (then templates alone).
        cache_keys: unit rows (N, D), sorted by `classes`.
        labels: (N,) label of each row; they weigh the rows and say for which class a row's affinity counts.
        classes: (N,) sorted; the class whose residual moves a row. Equal to the labels but for the authors'
            treatment of noisy labels.
        logit_scale: s.
        num_shots: K, used where the authors' code uses it instead of a label's number of rows.
        options: the constants.
        hparams: the initial beta, alpha and lam.
    """

    options: SimNLOptions

    def __init__(
        self,
        *,
        template: Tensor,
        cupl: Tensor | None,
        negative: Tensor,
        cache_keys: Tensor,
        labels: Tensor,
        classes: Tensor,
        logit_scale: float,
        num_shots: int,
        options: SimNLOptions,
        **hparams: float,
    ):
        super().__init__(options, logit_scale, **hparams)
        dtype, axis = PRECISIONS[options.precision], adapters.AXES[options.consistency_axis]
        rows = adapters.SupportRows(cache_keys, classes, labels, len(template))
        weights = rows.weights(options.tau, num_shots if options.reweight_size == "shots" else None)
        equal = torch.ones_like(weights)
        make_negative = adapters.NEGATIVE_KEYS[options.negative_keys]
        self.positive_text = adapters.TextMixture(template, cupl, options.cupl_weight, axis, dtype)
        self.positive_cache = adapters.MovedKeys(rows, weights if options.reweight_positive else equal, dtype)
        self.negative_text = adapters.NegativeText(negative, options.negative_text_scale * logit_scale, dtype)
        self.negative_cache = make_negative(rows, weights if options.reweight_negative else equal, dtype)
        for name in ADAPTERS:
            self.get_submodule(name.replace("-", "_")).requires_grad_(name in options.adapters)
        self.caches = self.positive_cache, self.negative_cache
        self.search_width, self.num_products = len(cache_keys), sum(len(cache.factors) for cache in self.caches)

    def parameter_groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """The negative branch learns faster by `negative_lr_factor`."""
        learned = [(name, p) for name, p in self.named_parameters() if p.requires_grad]
        factors = {"positive": 1.0, "negative": self.options.negative_lr_factor}
        return [(factor, [p for name, p in learned if name.startswith(branch)]) for branch, factor in factors.items()]

    # ------------------------------------------------------------------ logits

    def products(self, features: Tensor) -> Tensor:
        """Products of features with what is frozen in both caches, (B, num_products)."""
        return torch.cat(adapters.cache_products(self.caches, F.normalize(features, dim=-1)), dim=1)

    def terms(self, features: Tensor, products: Tensor | None = None, text: Tensor | None = None) -> Terms:
        """R and Q, (B, C), and the terms of each cache from which P and N follow. `text` is m, where it is known."""
        f = F.normalize(features, dim=-1)
        positive, negative = adapters.cache_terms(self.caches, f, products)
        return {
            "R": self.logit_scale * (f @ (self.positive_text() if text is None else text).T),
            "Q": self.negative_text.logits(f),
            "P": positive,
            "N": negative,
        }

    def stage(self, terms: Terms, *, beta: float) -> Mapping[str, Tensor]:
        """P and N, (B, C), at a sharpness beta, beside R and Q."""
        P, N = self.positive_cache.logits(terms["P"], beta), self.negative_cache.logits(terms["N"], beta)
        return self.routed({**terms, "P": P, "N": N})

    def affine(self, stage: Mapping[str, Tensor], *, lam: float) -> tuple[Tensor, Tensor]:
        """logits = [lambda R + (1 - lambda) Q] + alpha [lambda P + (1 - lambda) N]."""
        base = lam * stage["R"] + (1 - lam) * stage["Q"]
        return base, lam * stage["P"] + (1 - lam) * stage["N"]

    # ------------------------------------------------------------------ losses

    def losses(self, features: Tensor, labels: Tensor, products: Tensor | None = None) -> dict[str, Tensor]:
        """Cross-entropy, re-ranking and consistency, and where asked for the negative-learning risk."""
        o, mixture = self.options, self.positive_text
        text = mixture()
        terms = self.terms(features, products, text)
        rerank = rerank_loss(terms["R"] / self.logit_scale, text, labels, o.rerank_neighbours, o.rerank_scale)
        losses = {
            "ce": F.cross_entropy(self.combine(terms), labels),
            "rerank": o.rerank_weight * rerank,
            "consistency": o.consistency_weight * consistency_loss(text, mixture.anchors, mixture.axis),
        }
        if o.negative_loss == "eq18":
            away = self.logit_scale * F.normalize(features, dim=-1) @ self.negative_text().T
            losses["negative"] = o.negative_loss_weight * negative_risk(away, labels)
        return losses


@TRAINER_REGISTRY.register()
class SimNL(VLTrainer):
    """The paper's method as a trainer.

    Table row:
        prediction: λ (s f·m_c + α P_c) + (1 - λ)(Q_c + α N_c): positive and negative text and caches
        learned: residuals on all of them
        parameters: 5*C*D
        checked: authors' code, K = 2 … 16
    """

    prompt_sets = ("template", "negative")
    optional_prompt_sets = ("cupl",)

    @classmethod
    def default_cfg(cls) -> CN:
        """Initial hyper-parameters and every constant of `SimNLOptions`."""
        node = CN(SimNLOptions.defaults())
        node.BETA, node.ALPHA, node.LAM = 1.0, 1.0, 0.75
        node.GRID = CN({"BETA": [0.0, 7.0, 200], "ALPHA": [0.0, 7.0, 40], "LAM": [0.6, 1.0, 20]})
        return node

    def build_optim(self, groups: list[dict]) -> torch.optim.Optimizer:
        """AdamW in one pass over parameters and state, else a tenth of a step. Not in half precision, where the
        rounding between its passes is what the official preset is about."""
        optim = super().build_optim(groups)
        return in_one_pass(optim) if self.head.options.precision == "fp32" else optim

    def build_head(self, task: FewShotTask, cfg: CN) -> SimNLHead:
        """Hand the head its tensors and numbers."""
        head = SimNLHead(
            template=task.text_features("template"),
            cupl=task.text_features("cupl") if "cupl" in task.prompts else None,
            negative=task.text_features("negative"),
            classes=task.support_classes,
            num_shots=task.num_shots,
            options=SimNLOptions.of(cfg),
            **task.support_inputs(),
            **SimNLHead.hparams_of(cfg),
        )
        return fused(head, task)
