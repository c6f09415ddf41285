"""A sequence of modules of which each may take and give several tensors."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["Sequential2"]


class Sequential2(nn.Sequential):
    """Like `nn.Sequential`, but a tuple that a module gives becomes the arguments of the next."""

    def forward(self, *inputs: Any) -> Any:
        """Call the modules one after the other."""
        for module in self:
            inputs = module(*inputs) if isinstance(inputs, tuple) else module(inputs)
        return inputs
