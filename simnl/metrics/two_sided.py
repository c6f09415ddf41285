"""Scores of known classes for a method with a positive and a negative side (SimNL); larger scores mean known.

The positive side A is the evidence for a class, and the negative side B is larger, the less evidence there is against
it. The logits are lambda A + (1 - lambda) B. These scores are ours; they have not been published elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from simnl.metrics import scores

Floats = NDArray[np.float64]

DENIAL = 0.01  # temperature of the softmax over classes of cosines with negative texts


@dataclass(frozen=True)
class Sides:
    """The two sides of the logits of N images. Arrays are (N, C) float64.

    Attributes:
        positive: A. negative: B.
        cache, negative_cache: the parts of A and B that come from images, before they are weighed.
        asserted: cosines with the positive texts, brought to unit length. denied: those with the negative texts.
        lam: lambda, the share of the positive side.
        scale: the model's logit scale.
    """

    positive: Floats
    negative: Floats
    cache: Floats
    negative_cache: Floats
    asserted: Floats
    denied: Floats
    lam: float
    scale: float

    @property
    def logits(self) -> Floats:
        """lambda A + (1 - lambda) B."""
        return self.lam * self.positive + (1 - self.lam) * self.negative

    @property
    def margins(self) -> Floats:
        """s (f.m - f.v): how much more an image is like a class than like its absence."""
        return self.scale * (self.asserted - self.denied)

    @property
    def not_denied(self) -> Floats:
        """1 - softmax_c(f.v_c / t): the share of the denials that does not fall on a class."""
        return 1 - softmax(self.denied / DENIAL, axis=1)

    def mixed(self, lam: float) -> Sides:
        """These sides with another share of the positive one."""
        return replace(self, lam=lam)


def offset(margins: Floats, labels: NDArray[np.int64]) -> float:
    """b of `yes_no`: the median margin of labelled images with their own classes. margins: (N, C)."""
    return float(np.median(margins[np.arange(len(labels)), labels]))


def agree(sides: Sides) -> Floats:
    """p_c (1 - denial_c) of the class c with the largest p, p = softmax(A): asserted and not denied."""
    p = softmax(sides.positive, axis=1)
    best = p.argmax(1)[:, None]
    return np.take_along_axis(p * sides.not_denied, best, axis=1)[:, 0]


def agree_sum(sides: Sides) -> Floats:
    """sum_c p_c (1 - denial_c)."""
    return (softmax(sides.positive, axis=1) * sides.not_denied).sum(1)


def yes_no(sides: Sides, b: float) -> Floats:
    """sum_c softmax_c(l) sigmoid(margin_c - b), b of `offset`."""
    return (softmax(sides.logits, axis=1) * expit(sides.margins - b)).sum(1)


def evidence_gap(sides: Sides) -> Floats:
    """max_c (f.m_c - f.v_c), in which the image's closeness to texts in general cancels."""
    return (sides.asserted - sides.denied).max(1)


def affirmation(sides: Sides) -> Floats:
    """Minus the entropy of softmax(-f.v / t): a known image is denied by the negative texts of all classes but one."""
    return scores.negative_entropy(-sides.denied, DENIAL)


def least_denied(sides: Sides) -> Floats:
    """-min_c f.v_c."""
    return -sides.denied.min(1)


# The order is that in which ties are decided: the plain scores of the fused logits come first.
TWO_SIDED: dict[str, Callable[[Sides, float], Floats]] = {
    "maxlogit": lambda sides, b: scores.maxlogit(sides.logits),
    "msp": lambda sides, b: scores.msp(sides.logits),
    "energy": lambda sides, b: scores.energy(sides.logits),
    "agree": lambda sides, b: agree(sides),
    "agree_sum": lambda sides, b: agree_sum(sides),
    "yes_no": yes_no,
    "evidence_gap": lambda sides, b: evidence_gap(sides),
    "affirmation": lambda sides, b: affirmation(sides),
    "least_denied": lambda sides, b: least_denied(sides),
    "cache": lambda sides, b: sides.cache.max(1),
    "negative_cache": lambda sides, b: -sides.negative_cache.min(1),
}
OWN = [name for name in TWO_SIDED if name not in scores.LOGIT_SCORES]  # those that need more than logits


def conformal_threshold(held_out: Floats, recall: float) -> float:
    """The score that an image must reach to be accepted, so that known images are with a probability of `recall`.

    The order statistic floor((1 - recall)(n + 1)), counted from 1, of known images that nothing was learned from; the
    smallest score where there are too few images for it. Source: split conformal prediction.
    """
    rank = int(np.floor((1 - recall) * (len(held_out) + 1) + 1e-9))
    return float(np.sort(held_out)[max(rank - 1, 0)])
