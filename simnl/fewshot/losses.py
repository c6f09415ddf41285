"""SimNL's losses beside cross-entropy, as functions of tensors, after the paper and its authors' code."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def rerank_loss(similarity: Tensor, text: Tensor, labels: Tensor, neighbours: int, scale: float) -> Tensor:
    """Adaptive re-ranking: the label's text should be nearer than the nearest others by a margin of how alike they
    are not: mean over the nearest neighbours j of max(0, |f - m_y| + (1 - m_j.m_y) / scale - |f - m_j|).

    Args:
        similarity: f.m of unit image features f, (B, C), from which |f - m|^2 = 1 + |m|^2 - 2 f.m follows.
        text: m, (C, D), rows of any length.
        labels: (B,) int64.
        neighbours: the number of neighbours; all classes where there are fewer.
        scale: the number by which the margin is divided.
    """
    distance = (1 + text.square().sum(-1) - 2 * similarity).clamp(min=1e-12).sqrt()
    near = distance.topk(min(neighbours, len(text)), largest=False)
    alike = torch.einsum("bnd,bd->bn", F.embedding(near.indices, text), F.embedding(labels, text))
    margin = (1 - alike) / scale
    anchor = distance.gather(1, labels[:, None])
    return (anchor + margin - near.values).clamp(min=0).mean()


def consistency_loss(text: Tensor, anchors: Tensor, dim: int) -> Tensor:
    """The distance of learned classifiers from frozen ones: 1 minus the mean of their cosines.

    Args:
        text: m, (C, D).
        anchors: (C, D), of unit length along `dim`; or the mean of several such, for the mean of their cosines.
        dim: the axis along which cosines are taken: 1, one per class; 0, one per channel.
    """
    return 1 - ((text * anchors).sum(dim) * text.square().sum(dim).clamp(min=1e-14).rsqrt()).mean()


def negative_risk(logits: Tensor, labels: Tensor) -> Tensor:
    """Negative-learning risk, Eq. 14/18: -log(1 - p_y), p = softmax(logits), for logits of "not c": an image of y is no
    "not y". logits: (B, C); labels: (B,) int64."""
    log_p = logits.log_softmax(-1)
    return -log_p.scatter(1, labels[:, None], -torch.inf).logsumexp(-1).mean()
