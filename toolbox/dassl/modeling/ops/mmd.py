"""Maximum mean discrepancy between two batches.

Source: Gretton et al., "A Kernel Two-Sample Test", JMLR 2012, https://jmlr.org/papers/v13/gretton12a.html.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dassl.metrics import euclidean_squared_distance

__all__ = ["MaximumMeanDiscrepancy"]

KERNELS = ("linear", "poly", "rbf")
SIGMAS = (1.0, 5.0, 10.0)  # of the mixture of Gaussian kernels


class MaximumMeanDiscrepancy(nn.Module):
    """`mean k(x, x') + mean k(y, y') - 2 mean k(x, y)`; pairs of a row with itself do not count.

    Args:
        kernel_type: `linear` (x.y), `poly` ((x.y + 2)^2) or `rbf` (the sum of Gaussians with sigma 1, 5 and 10).
        normalize: give rows unit length first.

    Raises:
        ValueError: another kernel.
    """

    def __init__(self, kernel_type: str = "rbf", normalize: bool = False):
        super().__init__()
        if kernel_type not in KERNELS:
            raise ValueError(f"kernel_type is '{kernel_type}'. Choose one of {', '.join(KERNELS)}")
        self.kernel_type = kernel_type
        self.normalize = normalize

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Rows (N, D) and (M, D), at least two each -> a scalar."""
        if self.normalize:
            x, y = F.normalize(x, dim=1), F.normalize(y, dim=1)
        return _mean_of_others(self.kernel(x, x)) + _mean_of_others(self.kernel(y, y)) - 2 * self.kernel(x, y).mean()

    def kernel(self, x: Tensor, y: Tensor) -> Tensor:
        """Kernel of all pairs of rows, (N, M)."""
        if self.kernel_type == "linear":
            return x @ y.t()
        if self.kernel_type == "poly":
            return (x @ y.t() + 2) ** 2
        distances = euclidean_squared_distance(x, y)
        return torch.stack([(-distances / (2 * sigma**2)).exp() for sigma in SIGMAS]).sum(0)


def _mean_of_others(kernel: Tensor) -> Tensor:
    """Mean of a square matrix without its diagonal."""
    count = len(kernel)
    return (kernel.sum() - kernel.diagonal().sum()) / (count * (count - 1))
