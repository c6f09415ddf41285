"""Distances between the rows of two matrices."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["F", "compute_distance_matrix", "cosine_distance", "euclidean_squared_distance", "torch"]


def compute_distance_matrix(input1: Tensor, input2: Tensor, metric: str = "euclidean") -> Tensor:
    """Distances of (N, D) rows to (M, D) rows, (N, M).

    Args:
        input1: (N, D), float.
        input2: (M, D), float.
        metric: `euclidean` (squared) or `cosine`.

    Raises:
        ValueError: unknown metric, or the shapes do not fit.
    """
    for name, value in (("input1", input1), ("input2", input2)):
        if value.dim() != 2:
            raise ValueError(f"{name} must have two dimensions, not {value.dim()}: shape {tuple(value.shape)}")
    if input1.size(1) != input2.size(1):
        raise ValueError(f"rows must be equally long, not {input1.size(1)} and {input2.size(1)}")
    if metric == "euclidean":
        return euclidean_squared_distance(input1, input2)
    if metric == "cosine":
        return cosine_distance(input1, input2)
    raise ValueError(f"Unknown distance metric '{metric}'. Choose 'euclidean' or 'cosine'")


def euclidean_squared_distance(input1: Tensor, input2: Tensor) -> Tensor:
    """Squared Euclidean distances (N, M), as `|a|^2 + |b|^2 - 2 a.b`; rounding may give some just below 0."""
    squares1 = input1.pow(2).sum(dim=1, keepdim=True)  # (N, 1)
    squares2 = input2.pow(2).sum(dim=1)  # (M,)
    return torch.addmm(squares1 + squares2, input1, input2.t(), alpha=-2)


def cosine_distance(input1: Tensor, input2: Tensor) -> Tensor:
    """One minus the cosine of the rows, (N, M), in [0, 2]."""
    return 1 - F.normalize(input1, dim=1) @ F.normalize(input2, dim=1).t()
