"""SimNL: positive and negative learning on both modalities of a frozen CLIP.

Four adapters, each a residual on a frozen tensor: positive and negative text classifiers, positive and negative cache
keys. A negative classifier scores the absence of a class, so one minus its cosine speaks for the class.

    R = s f.m                        positive text      m_c = (1 - w) norm(T_c + rho_T) + w norm(U_c + rho_U)
    P = sum_n w_n exp(-beta (1 - f.k_n))    positive cache     k_n = norm(F_n + r_pos), rows of class c
    Q = g s (1 - f.v)                negative text      v_c = norm(V_c + rho_V)
    N = sum_n w_n exp(-beta f.q_n)   negative cache     q_n = norm(F-_n + r_neg)
    logits = lambda (R + alpha P) + (1 - lambda) (Q + alpha N)
    loss   = CE + L_rank + 8 L_cons  (+ L_neg, Eq. 14/18 of the paper, an option)

T, U, V: classifiers of the templates, the CuPL sentences and the negative templates; F: cache keys; F-: their negative
counterparts; w_n: instance weights (label refinement); s: the model's logit scale.

Source: Zhang et al., "Enhancing Vision-Language Few-Shot Adaptation with Negative Learning", WACV 2025,
arXiv:2403.12964, and the authors' released code.
Differences from the authors' code: one shot gives weight 1 (theirs divides 0 by 0); parameters of no effect are left
out; the quirks that move numbers are named switches in configs/trainers/SimNL.yaml (preset `official` turns them on,
`repaired` off). Parity: tests/parity/test_simnl.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.fewshot.cache import (
    Groups,
    cache_logits,
    class_negative_keys,
    class_sum,
    instance_weights,
    inverse_norms,
    key_overlaps,
    shots_if_equal,
    slot_negative_keys,
    slot_products,
    slot_sums,
)
from simnl.fewshot.head import SearchableHead
from simnl.fewshot.losses import consistency_loss, negative_risk, rerank_loss
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer

ADAPTERS = {  # and their residuals
    "positive-text": ("res_template", "res_cupl"),
    "positive-cache": ("res_keys",),
    "negative-text": ("res_negative",),
    "negative-cache": ("res_negative_keys",),
}


@dataclass(frozen=True)
class SimNLOptions:
    """Constants of the method. Each is documented, with its source, in configs/trainers/SimNL.yaml."""

    cupl_weight: float = 0.55
    negative_text_scale: float = 0.15
    tau: float = 1.0
    reweight_positive: bool = True
    reweight_negative: bool = True
    reweight_size: str = "rows"  # rows | shots
    negative_keys: str = "class"  # class | slot
    rerank_weight: float = 1.0
    rerank_scale: float = 4.0
    rerank_neighbours: int = 3
    consistency_weight: float = 8.0
    consistency_axis: str = "class"  # class | channel
    negative_loss: str = "none"  # none | eq18
    negative_loss_weight: float = 1.0
    negative_lr_factor: float = 5.0
    precision: str = "fp32"  # fp32 | fp16: type of the learned parameters and of the optimiser's state
    adapters: tuple[str, ...] = tuple(ADAPTERS)  # those that learn; the residuals of the others stay zero

    def __post_init__(self):
        choices = {
            "reweight_size": ("rows", "shots"),
            "negative_keys": ("class", "slot"),
            "consistency_axis": ("class", "channel"),
            "negative_loss": ("none", "eq18"),
            "precision": ("fp32", "fp16"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"TRAINER.SIMNL.{name.upper()} is '{getattr(self, name)}'. Choose one of {allowed}.")
        if not set(self.adapters) <= set(ADAPTERS):
            raise ValueError(f"TRAINER.SIMNL.ADAPTERS is {list(self.adapters)}. Choose from {', '.join(ADAPTERS)}.")


class SimNLHead(SearchableHead):
    """The four adapters. Learned: 5 residuals of shape (C, D), 4 without CuPL, all zero at the start.

    Args:
        template, negative: unit text classifiers (C, D); cupl: the same, or None (then templates alone).
        cache_keys: unit rows (N, D), sorted by `classes`.
        labels: (N,) label of each row; they weigh the rows and say to which class a row's affinity counts.
        classes: (N,) sorted; the class whose residual moves a row. Equal to the labels but for the authors'
            treatment of noisy labels.
        logit_scale: s.
        num_shots: K, used where the authors' code uses it instead of a label's number of rows.
        options: constants.
        beta, alpha, lam: the initial hyper-parameters.
    """

    STAGE = ("beta",)
    MIXING = ("lam",)
    LINEAR = "lam"

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
        beta: float,
        alpha: float,
        lam: float,
    ):
        super().__init__(beta=beta, alpha=alpha, lam=lam)
        self.options, self.logit_scale = options, logit_scale
        self.num_classes = len(template)
        self.cupl_weight = options.cupl_weight if cupl is not None else 0.0
        self.search_width = len(cache_keys)
        for name, tensor in (("template", template), ("negative", negative), ("keys", cache_keys), ("labels", labels)):
            self.frozen_buffer(name, tensor)
        self.frozen_buffer("cupl", cupl if cupl is not None else template)
        self.frozen_buffer("classes", classes)
        self.block_shots = shots_if_equal(classes, self.num_classes)  # K if all blocks are equal, else None
        self.label_shots = shots_if_equal(labels, self.num_classes)
        self._init_weights(num_shots)
        self._init_negative_keys()
        self._init_anchors()
        self._init_residuals()

    def _init_weights(self, num_shots: int) -> None:
        size = num_shots if self.options.reweight_size == "shots" else None
        weights = instance_weights(self.keys, self.labels, self.num_classes, self.options.tau, size)
        ones = torch.ones_like(weights)
        self.frozen_buffer("positive_weights", weights if self.options.reweight_positive else ones)
        self.frozen_buffer("negative_weights", weights if self.options.reweight_negative else ones)

    def _init_negative_keys(self) -> None:
        """`slot`: N keys, one per row, known by their products alone. `class`: (C, D), weighed by the sum of its rows'
        weights."""
        if self.options.negative_keys == "class":
            weights = class_sum(self.negative_weights, self.labels, self.num_classes, None)
            self.frozen_buffer("negative_weights", weights)
            self.frozen_buffer("class_keys", class_negative_keys(self.keys, self.classes, self.num_classes))
            self.frozen_buffer("each_class", torch.arange(self.num_classes, device=self.keys.device))
        elif self.block_shots is not None:
            sums, inverse = slot_sums(self.keys, self.block_shots)
            self.frozen_buffer("slot_sums", sums)
            self.frozen_buffer("slot_inverse", inverse)
        else:
            raise ValueError(
                "Slot-wise negative keys need the same number of images in every class, and here some class has fewer "
                "than the others. Set TRAINER.SIMNL.NEGATIVE_KEYS to 'class' (or PRESET to 'repaired')."
            )

    @property
    def negative_keys(self) -> Tensor:
        """F-, unit rows: (C, D), or (N, D) of slot-wise keys, which are made here and used nowhere else."""
        if self.options.negative_keys == "class":
            return self.class_keys
        return slot_negative_keys(self.keys, self.num_classes, self.block_shots)

    def _init_anchors(self) -> None:
        """(1 - w) T + w U, (C, D), both of unit length along the axis of the consistency loss: one product for both."""
        dim, w = self.consistency_dim, self.cupl_weight
        template, cupl = (F.normalize(t, dim=dim, eps=1e-7) for t in (self.template, self.cupl))
        self.frozen_buffer("anchors", (1 - w) * template + w * cupl)

    def _init_residuals(self) -> None:
        dtype = torch.float16 if self.options.precision == "fp16" else torch.float32
        learns = {name for adapter in self.options.adapters for name in ADAPTERS[adapter]}
        names = ["res_template", "res_cupl", "res_keys", "res_negative", "res_negative_keys"]
        for name in names if self.cupl_weight else [n for n in names if n != "res_cupl"]:
            zeros = torch.zeros_like(self.template, dtype=dtype)
            self.register_parameter(name, nn.Parameter(zeros, requires_grad=name in learns))

    @property
    def consistency_dim(self) -> int:
        """The axis along which the cosines of the consistency loss are taken."""
        return 1 if self.options.consistency_axis == "class" else 0

    def parameter_groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """The negative branch learns faster by `negative_lr_factor`."""
        learned = {name: p for name, p in self.named_parameters() if p.requires_grad}
        positive = [p for name, p in learned.items() if not name.startswith("res_negative")]
        negative = [p for name, p in learned.items() if name.startswith("res_negative")]
        return [(1.0, positive), (self.options.negative_lr_factor, negative)]

    # ------------------------------------------------------------------ formulas

    def residual(self, name: str) -> Tensor:
        """A learned residual (C, D) in the type in which everything is computed."""
        return getattr(self, name).to(self.keys.dtype)

    def positive_text(self) -> Tensor:
        """m, (C, D): the mixture of template and CuPL classifiers; its rows are shorter than 1."""
        template = F.normalize(self.template + self.residual("res_template"), dim=-1)
        if not self.cupl_weight:
            return template
        cupl = F.normalize(self.cupl + self.residual("res_cupl"), dim=-1)
        return (1 - self.cupl_weight) * template + self.cupl_weight * cupl

    def negative_text(self) -> Tensor:
        """v, (C, D), unit rows."""
        return F.normalize(self.negative + self.residual("res_negative"), dim=-1)

    @property
    def num_products(self) -> int:
        """N with the keys, and K with the sums of slots or C with negative keys of classes."""
        return len(self.keys) + len(self._negative_rows)

    @property
    def _negative_rows(self) -> Tensor:
        """What products with negative keys follow from: sums of slots (K, D), or the keys of classes (C, D)."""
        return self.class_keys if self.options.negative_keys == "class" else self.slot_sums

    def products(self, features: Tensor) -> Tensor:
        """f.k, then f.S or f.n: all products with rows that are not learned, (B, N + K) or (B, N + C)."""
        return torch.cat(self._products(F.normalize(features, dim=-1)), dim=1)

    def _products(self, f: Tensor) -> tuple[Tensor, Tensor]:
        return f @ self.keys.T, f @ self._negative_rows.T

    def terms(self, features: Tensor, products: Tensor | None = None) -> Mapping[str, Tensor]:
        """R, Q `(B, C)`, and for each cache what its cosines follow from (`fewshot.cache.cache_logits`): products with
        the frozen keys `(B, N)`, with the residuals `(B, C)`, and inverse lengths of the moved keys `(N,)`. Negative
        keys that are one per class have C in place of N."""
        return self._terms(F.normalize(features, dim=-1), self.positive_text(), products)

    def _terms(self, f: Tensor, text: Tensor, products: Tensor | None) -> Mapping[str, Tensor]:
        """The same from unit features (B, D) and m (C, D)."""
        r, q = self.residual("res_keys"), self.residual("res_negative_keys")
        (movers, _), (away_movers, _) = self._groups()
        rows = len(self.keys), len(self._negative_rows)
        dots, away = self._products(f) if products is None else products.split(rows, dim=1)
        if self.options.negative_keys == "slot":
            overlap, crossed = key_overlaps(self.keys, (r, q), movers)
            away = slot_products(dots, away.unsqueeze(1), self.slot_inverse)
            away_overlap = slot_products(crossed, q @ self.slot_sums.T, self.slot_inverse)
        else:
            (overlap,) = key_overlaps(self.keys, (r,), movers)
            away_overlap = (self.class_keys * q).sum(-1)
        return {
            "positive_text": self.logit_scale * (f @ text.T),
            "negative_text": self.options.negative_text_scale * self.logit_scale * (1 - f @ self.negative_text().T),
            "positive_cache": (dots, f @ r.T, inverse_norms(overlap, r, movers)),
            "negative_cache": (away, f @ q.T, inverse_norms(away_overlap, q, away_movers)),
        }

    def _groups(self) -> tuple[tuple[Groups, Groups], tuple[Groups, Groups]]:
        """Of the positive and of the negative cache: the class whose residual moves a row, and that it speaks for."""
        classes = self.num_classes
        rows = Groups(self.classes, classes, self.block_shots), Groups(self.labels, classes, self.label_shots)
        if self.options.negative_keys == "slot":
            return rows, rows
        one = Groups(self.each_class, classes, 1)
        return rows, (one, one)

    def stage(self, terms: Mapping[str, Tensor], *, beta: float) -> Mapping[str, Tensor]:
        """P and N `(B, C)` at a sharpness beta, beside R and Q."""
        positive, negative = self._groups()
        return {
            "R": terms["positive_text"],
            "Q": terms["negative_text"],
            "P": cache_logits(*terms["positive_cache"], self.positive_weights, beta, -beta, *positive),
            "N": cache_logits(*terms["negative_cache"], self.negative_weights, -beta, 0.0, *negative),
        }

    def affine(self, stage: Mapping[str, Tensor], *, lam: float) -> tuple[Tensor, Tensor]:
        """logits = [lambda R + (1 - lambda) Q] + alpha [lambda P + (1 - lambda) N]."""
        base = lam * stage["R"] + (1 - lam) * stage["Q"]
        return base, lam * stage["P"] + (1 - lam) * stage["N"]

    # ------------------------------------------------------------------ losses

    def losses(self, features: Tensor, labels: Tensor, products: Tensor | None = None) -> dict[str, Tensor]:
        """Cross-entropy, re-ranking and consistency, and where asked for the negative-learning risk."""
        o, f, text = self.options, F.normalize(features, dim=-1), self.positive_text()
        terms = self._terms(f, text, products)
        similarity = terms["positive_text"] / self.logit_scale
        rerank = rerank_loss(similarity, text, labels, o.rerank_neighbours, o.rerank_scale)
        losses = {
            "ce": F.cross_entropy(self.combine(terms), labels),
            "rerank": o.rerank_weight * rerank,
            "consistency": o.consistency_weight * consistency_loss(text, self.anchors, self.consistency_dim),
        }
        if o.negative_loss == "eq18":
            away = self.logit_scale * f @ self.negative_text().T
            losses["negative"] = o.negative_loss_weight * negative_risk(away, labels)
        return losses


@TRAINER_REGISTRY.register()
class SimNL(VLTrainer):
    """The paper's method as a trainer. Prompts: templates, CuPL (optional), negative templates."""

    prompt_sets = ("template", "negative")
    optional_prompt_sets = ("cupl",)

    @classmethod
    def default_cfg(cls) -> CN:
        """Initial hyper-parameters and every constant of `SimNLOptions`."""
        node = CN({name.upper(): value for name, value in SimNLOptions().__dict__.items()})
        node.BETA, node.ALPHA, node.LAM = 1.0, 1.0, 0.75
        node.GRID = CN({"BETA": [0.0, 7.0, 200], "ALPHA": [0.0, 7.0, 40], "LAM": [0.6, 1.0, 20]})
        return node

    def build_optim(self, groups: list[dict]) -> torch.optim.Optimizer:
        """AdamW in one pass over parameters and state, else a tenth of a step. Not in half precision, where the
        rounding between its passes is what the official preset is about."""
        optim = super().build_optim(groups)
        for group in optim.param_groups:
            if "fused" in group and self.head.options.precision == "fp32":
                group["fused"] = True
        return optim

    def build_head(self, task: FewShotTask, cfg: CN) -> SimNLHead:
        """Hand the head its tensors and numbers."""
        return SimNLHead(
            template=task.text_features("template"),
            cupl=task.text_features("cupl") if "cupl" in task.prompts else None,
            negative=task.text_features("negative"),
            cache_keys=task.cache_keys(),
            labels=task.support_labels,
            classes=task.support_classes,
            logit_scale=task.logit_scale,
            num_shots=task.num_shots,
            options=SimNLOptions(**{name: cfg[name.upper()] for name in SimNLOptions.__dataclass_fields__}),
            beta=cfg.BETA,
            alpha=cfg.ALPHA,
            lam=cfg.LAM,
        )
