"""Kernel ridge regression in float64, which ProKeR and ReHARK solve."""

from __future__ import annotations

import torch
from torch import Tensor


def ridge_coefficients(gram: Tensor, targets: Tensor, ridge: float) -> Tensor:
    """(K + ridge I)^-1 T, (N, m) float64. This overwrites `gram`.

    Args:
        gram: K, positive semi-definite, (N, N) float64.
        targets: T, (N, m).
        ridge: > 0.

    Raises:
        torch.linalg.LinAlgError: K + ridge I is not positive definite in float64.
    """
    gram.diagonal().add_(ridge)
    return torch.cholesky_solve(targets.double(), torch.linalg.cholesky(gram))
