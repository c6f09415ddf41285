"""Heads with a positive and a negative side, and two options of how the sides are combined.

    A = R + alpha P,  B = Q + alpha N        the positive and the negative side: a text classifier and a cache each
    logits = lambda A + (1 - lambda) B

Both options are ours, and off by default. Routing (ROUTED): the negative side only separates the `count` classes T that
A finds most likely for an image. Every other class gets the smallest Q and the smallest N of the classes in T, so that
the negative side never helps it.

Fusion by support (FUSION): lambda follows from how well each side separates the support images, each left out of its
own side:

    m_i   = Z_iy - max_{c != y} Z_ic,       Z = A or B
    phi   = variance over classes of mean m / mean over classes of variance of m         (Fisher's criterion)
    share = phi(A) / (phi(A) + phi(B)),     lambda = (share / sd A) / (share / sd A + (1 - share) / sd B)

Here sd is the standard deviation of the margins of a side, so that scaling a side changes no prediction.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from simnl.fewshot.adapters import MovedKeys, NegativeText, TextMixture
from simnl.fewshot.cache import instance_weights
from simnl.fewshot.head import SearchableHead
from simnl.fewshot.options import Options
from simnl.fewshot.task import FewShotTask

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SidesOptions(Options):
    """Constants of heads with two sides. A subclass has those of its method.

    Attributes:
        tau: temperature of the instance weights.
        routed: the number of classes of an image that the negative side tells apart; 0: all.
        fusion: lambda is `fixed` (as given and searched), or follows from the `support` images.
    """

    tau: float = 1.0
    routed: int = 0
    fusion: Literal["fixed", "support"] = "fixed"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.routed < 0:
            raise ValueError(f"{self.NODE}.ROUTED is {self.routed}: a number of classes, or 0 for all of them.")


class TwoSidedHead(SearchableHead):
    """The base of heads whose logits are lambda (R + alpha P) + (1 - lambda) (Q + alpha N).

    A subclass makes the four adapters that are named below, and gives `terms`, `affine`, and a `stage` of the tensors
    R, P, Q and N, (B, C) each, which it hands through `routed`.

    Args:
        options: the constants.
        logit_scale: s.
        hparams: the initial beta, alpha and lam.
    """

    MIXING = ("lam",)
    LINEAR = "lam"
    TERMS = {"R": "positive text", "P": "positive cache", "Q": "negative text", "N": "negative cache"}
    support_terms = ("positive cache",)  # the keys of the negative cache are of no single image

    positive_text: TextMixture
    positive_cache: MovedKeys
    negative_text: NegativeText
    negative_cache: MovedKeys
    options: SidesOptions

    def __init__(self, options: SidesOptions, logit_scale: float, **hparams: float):
        super().__init__(**hparams)
        self.options, self.logit_scale = options, logit_scale
        self.initial_alpha = self.hparams["alpha"]

    def routed(self, stage: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The stage with the option ROUTED applied, at the initial alpha: so T does not move with the search."""
        return routed(stage, self.options.routed, self.initial_alpha)

    def sides(self, features: Tensor) -> dict[str, Tensor]:
        """A and B, the caches alone, and the cosines with positive and negative texts."""
        f, alpha = F.normalize(features, dim=-1), self.hparams["alpha"]
        stage = self.stage(self.terms(features), beta=self.hparams["beta"])
        return {
            "positive": stage["R"] + alpha * stage["P"],
            "negative": stage["Q"] + alpha * stage["N"],
            "cache": stage["P"],
            "negative_cache": stage["N"],
            "asserted": f @ F.normalize(self.positive_text(), dim=-1).T,
            "denied": f @ self.negative_text().T,
        }

    def support_evidence(self, features: Tensor, classes: Tensor) -> Tensor:
        """The evidence that the base class defines: alpha lambda times what each row adds to P."""
        h, cache = self.hparams, self.positive_cache
        rows = cache.row_logits(self.terms(features)["P"], h["beta"])
        return h["alpha"] * h["lam"] * rows * (cache.rows.speakers.classes == classes[:, None])


def routed(stage: Mapping[str, Tensor], count: int, alpha: float) -> Mapping[str, Tensor]:
    """R, P, Q and N, (B, C) each, with Q and N of classes outside T at the smallest value inside.

    Args:
        stage: the four terms.
        count: the number of classes in T; with 0, or with all classes, nothing changes.
        alpha: the weight of P when T is chosen. It is the initial one, so that T does not depend on the search.
    """
    if not 0 < count < stage["R"].shape[1]:
        return stage
    near = (stage["R"] + alpha * stage["P"]).detach().topk(count, dim=1).indices
    inside = torch.zeros_like(stage["R"], dtype=torch.bool).scatter(1, near, True)
    moved = {}
    for name in ("Q", "N"):
        least = stage[name].gather(1, near).amin(1, keepdim=True)
        moved[name] = torch.where(inside, stage[name], least)
    return {**stage, **moved}


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """How far the label is ahead of the best other class, (N,). logits: (N, C), C > 1; labels: (N,) int64."""
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    return logits.gather(1, labels[:, None]).squeeze(1) - others


def fisher(values: Tensor, labels: Tensor, num_classes: int) -> float:
    """Fisher's criterion: the variance of the class means over the mean of the class variances.

    It uses the classes with two values or more. values: (N,); labels: (N,) int64. The result is NaN if fewer than two
    classes have two values, or if values do not vary.
    """
    groups = [values[labels == label] for label in range(num_classes)]
    kept = [group for group in groups if len(group) > 1]
    if len(kept) < 2:
        return float("nan")
    between = torch.stack([group.mean() for group in kept]).var()
    within = torch.stack([group.var() for group in kept]).mean()
    return (between / within).item() if within > 0 else float("nan")


def weight_by_support(positive: Tensor, negative: Tensor, labels: Tensor) -> float | None:
    """lambda from the logits (N, C) of the two sides on support images, each left out of the caches; labels: (N,)
    int64.

    None if lambda cannot be computed: with one image per class, or if margins do not vary.
    """
    sides = [margins(side, labels) for side in (positive, negative)]
    found = [fisher(side, labels, positive.shape[1]) for side in sides]
    total = sum(found)
    if not total > 0 or not torch.isfinite(torch.tensor(found)).all():
        return None
    share = found[0] / total
    weights = [part / side.std().item() for part, side in zip((share, 1 - share), sides, strict=True)]
    return weights[0] / sum(weights)


def sides_left_out(
    text: Tensor, against: Tensor, keys: Tensor, labels: Tensor, *, tau: float, alpha: float, beta: float
) -> tuple[Tensor, Tensor]:
    """A and B of the support images before anything is learned, (N, C), each image left out of both caches.

    The weights of the other images of the class are scaled so that their sum stays the same.

    Args:
        text: s times the positive text classifier, (C, D).
        against: g s times the negative text classifier, (C, D); Q = g s - f.against.
        keys: unit rows, (N, D); labels: (N,) int64; each label has two rows or more.
        tau: the temperature of the instance weights. alpha, beta: the weight and the sharpness of the caches.
    """
    count, rows = len(text), torch.arange(len(labels), device=keys.device)
    hot = F.one_hot(labels, count).to(keys.dtype)
    weights, affinity = instance_weights(keys, labels, count, tau), keys @ keys.T
    spoken = weights * torch.exp(-beta * (1 - affinity))
    spoken[rows, rows] = 0.0
    totals, own = weights @ hot, weights[:, None] * hot
    left = totals - own
    stretch = torch.where(left > 0, totals / left.clamp(min=1e-12), torch.zeros_like(left))
    positive = keys @ text.T + alpha * stretch * (spoken @ hot)
    sums = keys.sum(0) - hot.T @ keys  # sums over the images of all other classes, (C, D)
    moved = keys @ sums.T - (1 - hot)  # f_i . sum; f_i itself is left out of the sum
    lengths = (sums.square().sum(1) - (1 - hot) * (2 * keys @ sums.T - 1)).clamp(min=1e-12).sqrt()
    scale = against.norm(dim=1)
    negative = scale - keys @ against.T + alpha * totals * torch.exp(-beta * moved / lengths)
    return positive, negative


@torch.no_grad()
def set_weight_by_support(head: TwoSidedHead, task: FewShotTask) -> None:
    """Set lambda of an untrained head by the support images. If that is impossible, leave it and warn."""
    h, keys, labels = head.hparams, task.cache_keys(), task.support_labels
    text = head.logit_scale * head.positive_text()
    against = head.negative_text.scale * head.negative_text()
    found = None
    if torch.bincount(labels, minlength=task.num_classes).max() > 1:
        tau = head.options.tau
        sides = sides_left_out(text, against, keys, labels, tau=tau, alpha=h["alpha"], beta=h["beta"])
        found = weight_by_support(*sides, labels)
    if found is None:
        log.warning("lambda cannot be computed from these support images, so it stays at %g (LAM).", h["lam"])
        return
    log.info("The support images give lambda %.4f instead of %g.", found, h["lam"])
    h["lam"] = found


Own = TypeVar("Own", bound=TwoSidedHead)


def fused(head: Own, task: FewShotTask) -> Own:
    """The head with the option FUSION applied: where the support images set lambda, no search changes it."""
    if head.options.fusion == "support":
        set_weight_by_support(head, task)
        head.settled = ("lam",)
    return head
