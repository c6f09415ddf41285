"""RAdam as in Dassl: rectified Adam with decoupled weight decay."""

from __future__ import annotations

from collections.abc import Iterable

import torch

__all__ = ["RAdam"]


class RAdam(torch.optim.RAdam):
    """Rectified Adam; the first steps, where the variance is not tractable, use momentum only.

    torch's implementation with `decoupled_weight_decay=True`: a step first scales parameters by `1 - lr *
    weight_decay`, as upstream's does, instead of adding the decay to the gradient.

    Source: Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", ICLR 2020,
    https://arxiv.org/abs/1908.03265.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
    ):
        super().__init__(params, lr, betas, eps, weight_decay, decoupled_weight_decay=True)
