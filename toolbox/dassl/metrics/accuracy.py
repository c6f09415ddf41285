"""Top-k accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["compute_accuracy"]


def compute_accuracy(output: Tensor | Sequence[Tensor], target: Tensor, topk: Sequence[int] = (1,)) -> list[Tensor]:
    """Accuracy over the `k` best predictions, for each `k`.

    Args:
        output: logits or probabilities (B, C); of a tuple or list, the first is taken.
        target: labels (B,), integer.
        topk: values of k, at most C.

    Returns:
        For each k a float tensor (1,) on the device of `output`, in percent.
    """
    logits = output if isinstance(output, Tensor) else output[0]
    with torch.no_grad():
        best = logits.topk(max(topk), dim=1).indices  # (B, K)
        hits = best.eq(target.view(-1, 1))
        return [hits[:, :k].float().sum().reshape(1) * (100.0 / target.size(0)) for k in topk]
