"""Maps from logits to probabilities that are fitted on labelled images other than the test images.

Logits are (N, C) float64, labels (N,) int64. Which images a calibrator may be fitted on is not decided here
(`simnl.runs.calibration`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import softmax
from sklearn.isotonic import IsotonicRegression

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LOWEST, HIGHEST = 0.01, 100.0  # the range of temperatures
RIDGE = 1e-9  # share of the given probability that isotonic regression keeps, so that no row is all zero


@dataclass(frozen=True)
class Temperature:
    """What logits are divided by before the softmax.

    Attributes:
        value: T.
        log_error: standard error of log T over the images it was fitted on; infinite where they say nothing of it.
        images: the number of images; 0: T is 1 and was not fitted.
    """

    value: float = 1.0
    log_error: float = float("inf")
    images: int = 0

    @property
    def at_bound(self) -> bool:
        """True where the best T lies outside what is looked at."""
        return self.images > 0 and self.value in (LOWEST, HIGHEST)


def fit_temperature(logits: Floats, labels: Integers) -> Temperature:
    """The T with the least negative log-likelihood, from 0.01 to 100. Source: Guo et al., ICML 2017.

    The likelihood is concave in b = 1/T, so T is the only root of its derivative, which is bracketed and found to
    rounding. The standard error is that of the infinitesimal jackknife over images.
    """
    if not len(labels):
        return Temperature()
    top = logits - logits.max(1, keepdims=True)
    truth = top[np.arange(len(labels)), labels]

    def slopes(log_t: float) -> Floats:  # derivatives of the images' losses by b, (N,)
        return truth - (softmax(top * np.exp(-log_t), axis=1) * top).sum(1)

    low, high = np.log(LOWEST), np.log(HIGHEST)
    if slopes(low).sum() >= 0:  # sharper is better: all images right
        return Temperature(LOWEST, images=len(labels))
    if slopes(high).sum() <= 0:
        return Temperature(HIGHEST, images=len(labels))
    log_t = float(brentq(lambda x: slopes(x).sum(), low, high, xtol=1e-13, rtol=1e-13))
    p = softmax(top * np.exp(-log_t), axis=1)
    curvature = ((p * top**2).sum(1) - (p * top).sum(1) ** 2).sum()
    error = np.sqrt((slopes(log_t) ** 2).sum()) / curvature * np.exp(log_t)
    return Temperature(float(np.exp(log_t)), float(error), len(labels))


def scaled(logits: Floats, temperature: float) -> Floats:
    """softmax(l / T), (N, C)."""
    return softmax(logits / temperature, axis=1)


def fit_isotonic(probabilities: Floats, labels: Integers) -> IsotonicRegression:
    """One monotone map of probabilities for all classes, fitted on all entries against one-hot labels."""
    truth = np.zeros_like(probabilities)
    truth[np.arange(len(labels)), labels] = 1
    return IsotonicRegression(out_of_bounds="clip").fit(probabilities.ravel(), truth.ravel())


def isotonic_raw(model: IsotonicRegression, probabilities: Floats) -> Floats:
    """The mapped probabilities plus 1e-9 of those given, (N, C); rows do not sum to 1. Source: CLIP_Calibration."""
    return model.predict(probabilities.ravel()).reshape(probabilities.shape) + RIDGE * probabilities


def isotonic(model: IsotonicRegression, probabilities: Floats) -> Floats:
    """The result of `isotonic_raw` with rows that sum to 1."""
    raw = isotonic_raw(model, probabilities)
    return raw / raw.sum(1, keepdims=True)
