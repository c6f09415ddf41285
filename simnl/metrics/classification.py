"""Figures of predicted classes and probabilities. Logits and probabilities are (N, C) float64, labels (N,) int64."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LEAST = 1e-12  # the least probability of a true class in the NLL of probabilities


def checked(rows: ArrayLike, labels: ArrayLike) -> tuple[Floats, Integers]:
    """Rows (N, C) as float64 with labels (N,) as int64.

    Raises:
        ValueError: numbers are NaN or infinite, there is no image, or labels are too few, too many or not columns.
    """
    rows, labels = np.asarray(rows, np.float64), np.asarray(labels, np.int64)
    if rows.ndim != 2 or labels.shape != rows.shape[:1] or not rows.size:
        raise ValueError(f"Rows must be (N, C) with N labels, at least one of each; got {rows.shape}, {labels.shape}.")
    bad = ~np.isfinite(rows).all(1)
    if bad.any():
        raise ValueError(f"{int(bad.sum())} of {len(rows)} rows hold NaN or infinite numbers.")
    if labels.min() < 0 or labels.max() >= rows.shape[1]:
        last = rows.shape[1] - 1
        raise ValueError(f"Labels must be from 0 to {last}; they go from {labels.min()} to {labels.max()}.")
    return rows, labels


def accuracy(predicted: ArrayLike, labels: ArrayLike) -> float:
    """Share of right predictions."""
    return float((np.asarray(predicted) == np.asarray(labels)).mean())


def balanced_accuracy(predicted: ArrayLike, labels: ArrayLike) -> float:
    """Mean over the classes that occur of the share of their images that are right."""
    predicted, labels = np.asarray(predicted), np.asarray(labels)
    totals = np.bincount(labels)
    right = np.bincount(labels, weights=predicted == labels, minlength=len(totals))
    return float((right[totals > 0] / totals[totals > 0]).mean())


def macro_f1(predicted: ArrayLike, labels: ArrayLike) -> float:
    """Mean of 2 TP / (2 TP + FP + FN) over the classes that occur among labels or predictions."""
    predicted, labels = np.asarray(predicted), np.asarray(labels)
    size = int(max(predicted.max(), labels.max())) + 1
    counts = np.bincount(labels, minlength=size) + np.bincount(predicted, minlength=size)
    hits = np.bincount(labels[predicted == labels], minlength=size)
    return float((2 * hits[counts > 0] / counts[counts > 0]).mean())


def nll_of(probabilities: Floats, labels: Integers) -> float:
    """Mean negative log-likelihood of the true classes, in nats; probabilities below 1e-12 count as 1e-12."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], LEAST)).mean())


def brier(probabilities: Floats, labels: Integers) -> float:
    """Mean of sum_c (p_c - [y = c])^2, from 0 to 2."""
    truth = probabilities[np.arange(len(labels)), labels]
    return float(((probabilities**2).sum(1) - 2 * truth + 1).mean())
