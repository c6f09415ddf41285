"""Calibration errors: how far confidences are from the shares of right predictions.

A confidence is the largest probability of an image, (N,) float64; `right` says whether the prediction is right, (N,).
Definitions that other repositories print are in `published`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simnl.metrics.detection import auroc

BINS = 15  # Guo et al. (ICML 2017); the tables of DAC have 10

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bins:
    """Images by confidence. Means of an empty bin are 0.

    Attributes:
        counts: images, (B,).
        confidence, accuracy: means over the images of a bin, (B,) float64.
    """

    counts: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats

    @property
    def gaps(self) -> Floats:
        """|accuracy - confidence|, (B,)."""
        return np.abs(self.accuracy - self.confidence)

    @property
    def shares(self) -> Floats:
        """The share of all images in each bin, (B,)."""
        return self.counts / self.counts.sum()


def equal_width(confidence: ArrayLike, right: ArrayLike, bins: int = BINS) -> Bins:
    """Bins (k/B, (k+1)/B]; the first one has 0, too."""
    confidence = np.asarray(confidence, np.float64)
    inner = np.arange(1, bins) / bins
    return _binned(confidence, right, np.searchsorted(inner, confidence, side="left"), bins)


def equal_mass(confidence: ArrayLike, right: ArrayLike, bins: int = BINS) -> Bins:
    """Bins of nearly equal numbers of images, by rising confidence. The first N mod B bins have one more.

    Equal confidences stay in the order in which they are given.
    """
    confidence = np.asarray(confidence, np.float64)
    index = np.empty(len(confidence), np.int64)
    for number, members in enumerate(np.array_split(np.argsort(confidence, kind="stable"), bins)):
        index[members] = number
    return _binned(confidence, right, index, bins)


def _binned(confidence: Floats, right: ArrayLike, index: NDArray, bins: int) -> Bins:
    counts = np.bincount(index, minlength=bins)
    sums = [np.bincount(index, weights=w, minlength=bins) for w in (confidence, np.asarray(right, np.float64))]
    return Bins(counts, *(s / np.maximum(counts, 1) for s in sums))


def ece(confidence: ArrayLike, right: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error: gaps of bins of equal width, weighted by their images."""
    found = equal_width(confidence, right, bins)
    return float((found.shares * found.gaps).sum())


def ace(confidence: ArrayLike, right: ArrayLike, bins: int = BINS) -> float:
    """Adaptive calibration error: the same with bins of equal mass. Source: as Torch-Uncertainty."""
    found = equal_mass(confidence, right, bins)
    return float((found.shares * found.gaps).sum())


def mce(confidence: ArrayLike, right: ArrayLike, bins: int = BINS) -> float:
    """Maximum calibration error: the largest gap of a bin of equal width."""
    return float(equal_width(confidence, right, bins).gaps.max())


def classwise_ece(probabilities: Floats, labels: ArrayLike, bins: int = BINS) -> float:
    """Mean over all classes c of the ECE of p_c (N,) against [y = c]. Source: Kull et al., NeurIPS 2019."""
    labels = np.asarray(labels)
    return float(np.mean([ece(column, labels == c, bins) for c, column in enumerate(probabilities.T)]))


def overconfidence(confidence: ArrayLike, right: ArrayLike) -> float:
    """Mean confidence minus accuracy: positive where a model is too sure."""
    return float(np.asarray(confidence).mean() - np.asarray(right).mean())


def failure_auroc(confidence: ArrayLike, right: ArrayLike) -> float | None:
    """AUROC of the confidence for right against wrong predictions; None where all are right, or all wrong."""
    confidence, right = np.asarray(confidence, np.float64), np.asarray(right, bool)
    if right.all() or not right.any():
        return None
    return auroc(confidence[right], confidence[~right])
