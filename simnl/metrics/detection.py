"""Figures of how well a score tells images of known classes from images of unknown ones.

All functions take the scores of the known images, (n,), and of the unknown ones, (m,). A larger score speaks for a
known class. Images with equal scores are accepted or rejected together. Infinite scores are legal, NaN is not.

R(t) is the share of known images with a score of at least t, and F(t) that of unknown ones. FPR95 has two meanings in
the literature, which differ by tens of points, so both have a name here: `fpr95_id` accepts 95 % of the known images
and counts the unknown ones that are accepted with them (the papers of MCM, NegLabel, LoCoOp); `fpr95_ood` rejects 95 %
of the unknown images and counts the known ones that are rejected with them (OpenOOD).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

RECALL = 0.95

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Curve:
    """The numbers of accepted images at each threshold.

    Attributes:
        thresholds: the distinct scores of all images, descending, (k,).
        known, unknown: the number of images of each kind whose score is at least the threshold, (k,) int64.
        n, m: the number of all images of each kind.
    """

    thresholds: Floats
    known: Integers
    unknown: Integers
    n: int
    m: int


def checked(known: ArrayLike, unknown: ArrayLike) -> tuple[Floats, Floats]:
    """Both kinds of scores as float64 vectors.

    Raises:
        ValueError: one side is empty, is not a vector, or holds NaN. The message says which.
    """
    sides = {"known": np.asarray(known, np.float64), "unknown": np.asarray(unknown, np.float64)}
    for name, scores in sides.items():
        if scores.ndim != 1 or not len(scores):
            raise ValueError(f"There must be a score for at least one {name} image; their shape is {scores.shape}.")
        if np.isnan(scores).any():
            raise ValueError(f"{int(np.isnan(scores).sum())} of {len(scores)} scores of {name} images are NaN.")
    return sides["known"], sides["unknown"]


def curve(known: ArrayLike, unknown: ArrayLike) -> Curve:
    """The counts behind every threshold metric."""
    known, unknown = checked(known, unknown)
    thresholds = np.unique(np.concatenate([known, unknown]))[::-1]
    n, m = len(known), len(unknown)
    reached = [np.searchsorted(np.sort(x), thresholds, side="left") for x in (known, unknown)]
    return Curve(thresholds, n - reached[0], m - reached[1], n, m)


def roc(known: ArrayLike, unknown: ArrayLike) -> tuple[Floats, Floats]:
    """Vertices (F, R) of the full curve, (k + 1,) each, from (0, 0) to (1, 1)."""
    c = curve(known, unknown)
    return np.r_[0, c.unknown] / c.m, np.r_[0, c.known] / c.n


def auroc(known: ArrayLike, unknown: ArrayLike) -> float:
    """Probability that a known image scores higher than an unknown one; equal scores count half."""
    c = curve(known, unknown)
    before, unknowns = np.r_[0, c.known[:-1]], np.diff(c.unknown, prepend=0)
    return int((unknowns * (before + c.known)).sum()) / (2 * c.n * c.m)


def fpr95_id(known: ArrayLike, unknown: ArrayLike, recall: float = RECALL) -> float:
    """F at the largest threshold with R >= 0.95: unknown images accepted where 95 % of the known ones are."""
    c = curve(known, unknown)
    return int(c.unknown[int((c.known / c.n >= recall).argmax())]) / c.m


def fpr95_ood(known: ArrayLike, unknown: ArrayLike, recall: float = RECALL) -> float:
    """The share of known images lost where 95 % of the unknown ones are caught: `fpr95_id` with the roles exchanged."""
    known, unknown = checked(known, unknown)
    return fpr95_id(-unknown, -known, recall)


def aupr_in(known: ArrayLike, unknown: ArrayLike) -> float:
    """Average precision of known images, sum_k (R_k - R_{k-1}) P_k. It depends on n : m."""
    c = curve(known, unknown)
    precision = c.known / (c.known + c.unknown)
    return float((np.diff(c.known, prepend=0) / c.n * precision).sum())


def aupr_out(known: ArrayLike, unknown: ArrayLike) -> float:
    """Average precision of unknown images, by falling score."""
    known, unknown = checked(known, unknown)
    return aupr_in(-unknown, -known)


def trapezoid(y: Floats, x: Floats) -> float:
    """Area below the points (x, y), (k,) each, by the trapezoid rule; negative where x falls."""
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())


def oscr(known: ArrayLike, right: ArrayLike, unknown: ArrayLike) -> float:
    """Area under (F(t), share of known images that are right and reach t), trapezoid.

    Args:
        known, unknown: scores.
        right: whether a known image gets its class, (n,) bool.
    """
    known, unknown = checked(known, unknown)
    c = curve(known, unknown)
    hits = np.sort(known[np.asarray(right, bool)])
    reached = len(hits) - np.searchsorted(hits, c.thresholds, side="left")
    return trapezoid(np.r_[0, reached] / c.n, np.r_[0, c.unknown] / c.m)


def ccr_at_fpr(known: ArrayLike, right: ArrayLike, unknown: ArrayLike, share: float) -> float:
    """Share of known images that are right and score above the ceil(share m)-th largest unknown score (OpenOOD)."""
    known, unknown = checked(known, unknown)
    threshold = np.sort(unknown)[::-1][int(np.ceil(share * len(unknown))) - 1]
    return float((np.asarray(right, bool) & (known > threshold)).mean())


def measures(known: ArrayLike, unknown: ArrayLike) -> dict[str, float]:
    """The five figures of `names.DEFINITIONS`, as shares from 0 to 1."""
    functions = {"auroc": auroc, "fpr95_id": fpr95_id, "fpr95_ood": fpr95_ood, "aupr_in": aupr_in, "aupr_out": aupr_out}
    return {name: function(known, unknown) for name, function in functions.items()}
