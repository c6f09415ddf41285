"""Gradient reversal: the identity, whose gradient is turned round.

Source: Ganin and Lempitsky, "Unsupervised Domain Adaptation by Backpropagation", ICML 2015,
https://arxiv.org/abs/1409.7495.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.autograd import Function

__all__ = ["ReverseGrad"]


class _ReverseGrad(Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, grad_scaling: float) -> Tensor:
        ctx.grad_scaling = grad_scaling
        return input.view_as(input)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        return -ctx.grad_scaling * grad_output, None


class ReverseGrad(nn.Module):
    """Passes its input on, and in the backward pass minus `grad_scaling` times the gradient."""

    def forward(self, x: Tensor, grad_scaling: float = 1.0) -> Tensor:
        """A tensor of any shape -> the same.

        Raises:
            ValueError: `grad_scaling` is negative.
        """
        if grad_scaling < 0:
            raise ValueError(f"grad_scaling must be zero or more, not {grad_scaling}")
        return _ReverseGrad.apply(x, grad_scaling)
