"""Mix two batches of images and of label vectors.

Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018, https://arxiv.org/abs/1710.09412.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["mixup"]


def mixup(
    x1: Tensor, x2: Tensor, y1: Tensor, y2: Tensor, beta: float, preserve_order: bool = False
) -> tuple[Tensor, Tensor]:
    """`w x1 + (1 - w) x2`, and the same for the labels, with a weight per image drawn from Beta(beta, beta).

    Args:
        x1: images (B, C, H, W); x2: the same.
        y1: label vectors (B, K), for example one-hot; y2: the same.
        beta: parameter of the Beta distribution, > 0.
        preserve_order: take the larger of w and 1 - w, so that the result is nearer to the first batch.

    Returns:
        Mixed images (B, C, H, W) and label vectors (B, K).
    """
    weights = torch.distributions.Beta(beta, beta).sample((x1.size(0), 1, 1, 1))
    if preserve_order:
        weights = torch.maximum(weights, 1 - weights)
    weights = weights.to(x1.device)
    images = weights * x1 + (1 - weights) * x2
    weights = weights[:, :, 0, 0]
    return images, weights * y1 + (1 - weights) * y2
