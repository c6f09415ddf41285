"""Batch normalisation that weighs channels by how transferable they are.

Source: Wang et al., "Transferable Normalization: Towards Improving Transferability of Deep Neural Networks", NeurIPS
2019, https://papers.nips.cc/paper/8470.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["TransNorm1d", "TransNorm2d"]


class _TransNorm(nn.Module):
    """Source and target are normalised with their own statistics, with shared weight and bias.

    The first half of a training batch is the source domain, the second half the target. In evaluation the target's
    running statistics are used. With `adaptive_alpha`, channel c of the result is multiplied by 1 + alpha_c, where
    alpha_c is C / (1 + d_c), divided by the sum of 1 / (1 + d) over channels, and d is the distance between the
    domains' `mean / sqrt(var + eps)`. No gradient flows through alpha.

    Args:
        num_features: channels.
        eps: added to variances.
        momentum: weight of a batch in the running statistics.
        adaptive_alpha: see above.
    """

    dims: tuple[int, ...]  # ranks of the input
    running_mean_s: Tensor
    running_mean_t: Tensor
    running_var_s: Tensor
    running_var_t: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, adaptive_alpha: bool = True):
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.adaptive_alpha = adaptive_alpha
        for domain in "st":
            self.register_buffer(f"running_mean_{domain}", torch.zeros(num_features))
            self.register_buffer(f"running_var_{domain}", torch.ones(num_features))
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def reset_running_stats(self) -> None:
        """Forget the running statistics."""
        for domain in "st":
            getattr(self, f"running_mean_{domain}").zero_()
            getattr(self, f"running_var_{domain}").fill_(1)

    def reset_parameters(self) -> None:
        """Forget the running statistics, and set weights to one and biases to zero."""
        self.reset_running_stats()
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, ...).

        Raises:
            ValueError: the input has another number of dimensions, or a training batch has an odd number of rows.
        """
        if input.dim() not in self.dims:
            expected = " or ".join(map(str, self.dims))
            raise ValueError(f"{type(self).__name__} needs {expected} dimensions, not {input.dim()}")
        if not self.training:
            return self._scale(self._normalise(input, "t"), self.running_stats())
        if len(input) % 2:
            raise ValueError(f"A batch has two halves, source and target: {len(input)} rows cannot be halved")
        source, target = input.chunk(2)
        over = [d for d in range(input.dim()) if d != 1]
        stats = [(half.mean(over), half.var(over, unbiased=False)) for half in (source, target)]
        output = torch.cat([self._normalise(source, "s"), self._normalise(target, "t")])
        return self._scale(output, stats)

    def running_stats(self) -> list[tuple[Tensor, Tensor]]:
        """Running mean and variance (C,) of the source and of the target."""
        return [(self.running_mean_s, self.running_var_s), (self.running_mean_t, self.running_var_t)]

    def _normalise(self, x: Tensor, domain: str) -> Tensor:
        mean, var = getattr(self, f"running_mean_{domain}"), getattr(self, f"running_var_{domain}")
        return F.batch_norm(x, mean, var, self.weight, self.bias, self.training, self.momentum, self.eps)

    def _scale(self, x: Tensor, stats: list[tuple[Tensor, Tensor]]) -> Tensor:
        if not self.adaptive_alpha:
            return x
        with torch.no_grad():
            source, target = (mean / (var + self.eps).sqrt() for mean, var in stats)
            nearness = 1 / (1 + (source - target).abs())
            alpha = self.num_features * nearness / nearness.sum()
        return x * (1 + alpha).view(1, -1, *[1] * (x.dim() - 2))


class TransNorm1d(_TransNorm):
    """For features (B, D) or (B, D, L)."""

    dims = (2, 3)


class TransNorm2d(_TransNorm):
    """For feature maps (B, C, H, W)."""

    dims = (4,)
