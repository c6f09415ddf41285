"""Scores against texts of words that are far from the known classes: NegLabel and CSP, larger = known.

Texts are unit rows, float64. Source: Jiang et al., "Negative Label Guided OOD Detection with Pretrained Vision-Language
Models", ICLR 2024; Chen et al., "Conjugated Semantic Pool Improves OOD Detection", NeurIPS 2024; and their code.
Difference from their code: the choice and the grouping of words depend only on the words, where their code depends on
the order of files on a disk and on a GPU's generator.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SHARE = 0.15  # the share of the words that are kept
QUANTILE = 0.95
GROUPS = 100


def nearness(words: Floats, classes: Floats, ceiling: float | None = None) -> Floats:
    """How close words are to the known classes, (W,): a quantile (`QUANTILE`) over classes of their cosines.

    Args:
        words, classes: (W, D) and (C, D).
        ceiling: words with a cosine to any class above it have 1 (CSP: 0.95); None: NegLabel.
    """
    cosines = words @ classes.T
    near = np.quantile(cosines, QUANTILE, axis=1)
    return near if ceiling is None else np.where(cosines.max(1) > ceiling, 1.0, near)


def farthest(near: Floats, share: float = SHARE) -> Integers:
    """Positions of the floor(share W) words that are the farthest, the farthest first. near: as `nearness`, (W,)."""
    return np.argsort(near, kind="stable")[: int(share * len(near))]


def grouping(words: int, groups: int = GROUPS) -> Integers:
    """A fixed permutation of the first W - (W mod G) words; runs of it are the groups."""
    return np.random.default_rng(0).permutation(words - words % groups)


def grouped(known: Floats, words: Floats, order: Integers, groups: int, temperature: float = 1.0) -> Floats:
    """Mean over groups of words of the probability that falls on the known classes, (N,).

    Args:
        known: logits of the classes, (N, C).
        words: logits of the kept words, (N, W).
        order: positions of words; equal runs of it are the groups (`grouping`).
        groups: G, of which the length of `order` is a multiple.
        temperature: the divisor of all logits.
    """
    classes = logsumexp(known / temperature, axis=1)
    parts = (words[:, order] / temperature).reshape(len(words), groups, -1)
    others = logsumexp(parts, axis=2)
    return np.exp(classes[:, None] - np.logaddexp(classes[:, None], others)).mean(1)
