"""RAdam as in Dassl: rectified Adam with decoupled weight decay; and two optimisers that upstream has beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["AdamW", "Optimizer", "PlainRAdam", "RAdam", "math", "torch"]


class RAdam(torch.optim.RAdam):
    """Rectified Adam; the first steps, where the variance is not tractable, use momentum only.

    torch's implementation with `decoupled_weight_decay=True`: a step first scales parameters by `1 - lr *
    weight_decay`, as upstream's does, instead of adding the decay to the gradient.

    Source: Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", ICLR 2020,
    https://arxiv.org/abs/1908.03265.

    Args:
        params, lr, betas, eps, weight_decay: as for Adam.
        degenerated_to_sgd: false: leave the parameters alone in the first steps, instead of using momentum.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        degenerated_to_sgd: bool = True,
    ):
        self.degenerated_to_sgd = degenerated_to_sgd
        super().__init__(params, lr, betas, eps, weight_decay, decoupled_weight_decay=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; returns what the closure gives."""
        if getattr(self, "degenerated_to_sgd", True):
            return super().step(closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        waiting = [(p, p.clone()) for group in self.param_groups for p in group["params"] if self._waits(p, group)]
        super().step()
        for parameter, before in waiting:
            parameter.copy_(before)
        return loss

    def _waits(self, parameter: Tensor, group: dict[str, Any]) -> bool:
        """True if the next step of a parameter is one whose variance is not tractable."""
        if parameter.grad is None:
            return False
        step = int(self.state[parameter]["step"]) + 1 if self.state[parameter] else 1
        beta2 = group["betas"][1]
        return 2 / (1 - beta2) - 1 - 2 * step * beta2**step / (1 - beta2**step) <= 5


class PlainRAdam(RAdam):
    """The same formula; upstream has it twice, here without buffers for what the parameters share."""


class AdamW(torch.optim.AdamW):
    """Adam with decoupled weight decay, whose rate rises linearly in the first `warmup` steps.

    Args:
        params, lr, betas, eps, weight_decay: as for Adam.
        warmup: number of steps; step t (from 1) of them has the rate `1e-8 + t * lr / warmup`. 0 for none.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        warmup: int = 0,
    ):
        super().__init__(params, lr, betas, eps, weight_decay)
        for group in self.param_groups:
            group.setdefault("warmup", warmup)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; returns what the closure gives."""
        rates = [group["lr"] for group in self.param_groups]
        for group, rate in zip(self.param_groups, rates, strict=True):
            step = 1 + max((int(self.state[p]["step"]) for p in group["params"] if p in self.state), default=0)
            if step < group["warmup"]:
                group["lr"] = 1e-8 + step * rate / group["warmup"]
        try:
            return super().step(closure)
        finally:
            for group, rate in zip(self.param_groups, rates, strict=True):
                group["lr"] = rate
