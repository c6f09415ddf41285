"""Cross-entropy with smoothed labels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = ["cross_entropy"]


def cross_entropy(input: Tensor, target: Tensor, label_smooth: float = 0, reduction: str = "mean") -> Tensor:
    """Cross-entropy of logits.

    Args:
        input: logits (B, C).
        target: labels (B,), int64.
        label_smooth: share of the target that goes to all classes equally, in [0, 1].
        reduction: `none` gives (B,); `mean` and `sum` a scalar.
    """
    return F.cross_entropy(input, target, label_smoothing=label_smooth, reduction=reduction)
