"""Gaussian discriminant analysis with one covariance for all classes: the classifier of GDA and TIMO."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from simnl import sharing
from simnl.sealed import tensors_checksum


class Moments(NamedTuple):
    """The sums of rows that a discriminant needs, in float64; the moments of two sets of rows add up to those of both.

    `counts` is the number of rows of each class, (C,), `sums` the sum of each class, (C, D), and `gram` the sum of x x'
    over all rows, (D, D).
    """

    counts: Tensor
    sums: Tensor
    gram: Tensor

    @classmethod
    def of(cls, rows: Tensor, labels: Tensor, num_classes: int) -> Moments:
        """The moments of rows (n, D) with labels (n,) int64 in any order."""
        x = rows.double()
        counts = torch.bincount(labels, minlength=num_classes)
        return cls(counts, x.new_zeros(num_classes, x.shape[1]).index_add(0, labels, x), x.T @ x)

    @classmethod
    def shared(cls, rows: Tensor, labels: Tensor, num_classes: int) -> Moments:
        """The same, computed once where the runs of one process share what they read: GDA's are TIMO's, too."""
        kept = sharing.current()
        if kept is None:
            return cls.of(rows, labels, num_classes)
        content = tensors_checksum({"rows": rows.cpu(), "labels": labels.cpu()}, "")
        key = ("moments", content, num_classes, rows.device)
        moments = kept.get(key)
        if moments is None:
            moments = cls.of(rows, labels, num_classes)
            kept.put(key, moments, sum(part.nbytes for part in moments))
        return moments

    def plus(self, other: Moments) -> Moments:
        """The moments of both sets of rows."""
        return Moments(self.counts + other.counts, self.sums + other.sums, self.gram + other.gram)


def discriminant(moments: Moments) -> tuple[Tensor, Tensor]:
    """Weights P mu_c (C, D) and biases log pi_c - mu_c' P mu_c / 2 (C,), float64, with equal priors pi_c = 1/C.

    P = D (S + tr(S) / (n - 1) I)^-1, S the sum of the squared differences from the class means mu_c. A class without
    rows gets the mean of all rows.

    Raises:
        ValueError: every class has one row, or equal rows, so there is no covariance.
    """
    counts, sums, gram = moments
    total, width = counts.sum(), sums.shape[1]
    means = sums / counts.clamp(min=1)[:, None]
    means = torch.where(counts[:, None] == 0, sums.sum(0) / total, means)
    scatter = gram - (means * counts[:, None]).T @ means
    if scatter.trace() <= 1e-12 * total:
        raise ValueError(
            "The covariance needs rows that differ within a class, but each class has a single row, or equal ones. Use "
            "more shots, or more augmented views (VIEWS.CACHE)."
        )
    shrunk = scatter + scatter.trace() / (total - 1) * torch.eye(width, dtype=gram.dtype, device=gram.device)
    weights = width * torch.linalg.solve(shrunk, means.T).T
    return weights, -math.log(len(counts)) - (weights * means).sum(-1) / 2


def gda_classifier(rows: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """The weights (C, D) and biases (C,) of `discriminant`, in the type of the rows.

    Args:
        rows: (N, D).
        labels: (N,) int64, any order.

    Raises:
        ValueError: see `discriminant`.
    """
    weights, biases = discriminant(Moments.shared(rows, labels, num_classes))
    return weights.to(rows.dtype), biases.to(rows.dtype)
