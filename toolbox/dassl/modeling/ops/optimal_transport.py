"""Distances between two batches by entropic optimal transport.

Source: Cuturi, "Sinkhorn Distances", NeurIPS 2013, https://arxiv.org/abs/1306.0895; Genevay et al., "Learning
Generative Models with Sinkhorn Divergences", AISTATS 2018, https://arxiv.org/abs/1706.00292; Salimans et al.,
"Improving GANs Using Optimal Transport", ICLR 2018, https://arxiv.org/abs/1803.05573.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dassl.metrics import compute_distance_matrix

__all__ = ["MinibatchEnergyDistance", "OptimalTransport", "SinkhornDivergence"]


class OptimalTransport(nn.Module):
    """Cost of moving one batch onto another, all rows weighing the same.

    Args:
        dist_metric: `cosine` or `euclidean` (squared).
        eps: weight of the entropy; the smaller, the nearer to the true cost and the more iterations are needed.
        max_iter: iterations of Sinkhorn's algorithm at most.
        bp_to_sinkhorn: let gradients flow through the plan too, not only through the distances.
    """

    threshold = 1e-3  # mean change of the dual variable at which iterating stops

    def __init__(self, dist_metric: str = "cosine", eps: float = 0.01, max_iter: int = 5, bp_to_sinkhorn: bool = False):
        super().__init__()
        self.dist_metric = dist_metric
        self.eps = eps
        self.max_iter = max_iter
        self.bp_to_sinkhorn = bp_to_sinkhorn

    @staticmethod
    def distance(batch1: Tensor, batch2: Tensor, dist_metric: str = "cosine") -> Tensor:
        """Distances of (N, D) rows to (M, D) rows, (N, M)."""
        return compute_distance_matrix(batch1, batch2, dist_metric)

    def transport_cost(self, x: Tensor, y: Tensor) -> Tensor:
        """Cost of the plan that moves rows (N, D) onto rows (M, D); a scalar."""
        distances = self.distance(x, y, self.dist_metric)
        with torch.set_grad_enabled(self.bp_to_sinkhorn and torch.is_grad_enabled()):
            plan = self.sinkhorn_iterate(distances)
        return (plan * distances).sum()

    def sinkhorn_iterate(self, distances: Tensor) -> Tensor:
        """The entropic plan (N, M) for distances (N, M); its entries sum to one."""
        rows, columns = distances.shape
        scores = -distances / self.eps
        u, v = scores.new_zeros(rows, 1), scores.new_zeros(1, columns)
        for _ in range(self.max_iter):
            before = u
            u = -math.log(rows) - torch.logsumexp(scores + v, dim=1, keepdim=True)
            v = -math.log(columns) - torch.logsumexp(scores + u, dim=0, keepdim=True)
            if self.eps * (u - before).abs().mean().item() < self.threshold:
                break
        return (scores + u + v).exp()


class SinkhornDivergence(OptimalTransport):
    """`2 W(x, y) - W(x, x) - W(y, y)`, where W is the transport cost."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Rows (N, D) and (M, D) -> a scalar."""
        return 2 * self.transport_cost(x, y) - self.transport_cost(x, x) - self.transport_cost(y, y)


class MinibatchEnergyDistance(OptimalTransport):
    """`2 E[W(X, Y)] - E[W(X, X')] - E[W(Y, Y')]` over independent batches: halves of those given."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Rows (N, D) and (M, D), an even number each -> a scalar.

        Raises:
            ValueError: an odd number of rows.
        """
        if len(x) % 2 or len(y) % 2:
            raise ValueError(f"Batches of {len(x)} and {len(y)} rows cannot be halved")
        (x1, x2), (y1, y2) = x.chunk(2), y.chunk(2)
        between = sum(self.transport_cost(a, b) for a in (x1, x2) for b in (y1, y2))
        return between - 2 * self.transport_cost(x1, x2) - 2 * self.transport_cost(y1, y2)
