"""Losses besides cross-entropy, as functions of tensors: those of SimNL's paper and code, and others."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def rerank_loss(similarity: Tensor, text: Tensor, labels: Tensor, neighbours: int, scale: float) -> Tensor:
    """Adaptive re-ranking: an image should be nearer to the text of its label than to the nearest texts of other
    classes.

    The margin is the larger, the less alike two texts are. The loss is the mean over the nearest neighbours j of
    max(0, |f - m_y| + (1 - m_j.m_y) / scale - |f - m_j|).

    Args:
        similarity: f.m of unit image features f, (B, C), from which |f - m|^2 = 1 + |m|^2 - 2 f.m follows.
        text: m, (C, D), rows of any length.
        labels: (B,) int64.
        neighbours: the number of nearest texts, at most C. As in the authors' code, the label's own text may be one.
        scale: the number by which the margin is divided.
    """
    distance = (1 + text.square().sum(-1) - 2 * similarity).clamp(min=1e-12).sqrt()
    near = distance.topk(min(neighbours, len(text)), largest=False)
    alike = torch.einsum("bnd,bd->bn", F.embedding(near.indices, text), F.embedding(labels, text))
    margin = (1 - alike) / scale
    anchor = distance.gather(1, labels[:, None])
    return (anchor + margin - near.values).clamp(min=0).mean()


def consistency_loss(text: Tensor, anchors: Tensor, dim: int) -> Tensor:
    """The distance of a learned classifier from a frozen one: 1 minus the mean of their cosines.

    Args:
        text: m, (C, D).
        anchors: (C, D), of unit length along `dim`; or the mean of several such tensors, for the mean of their cosines.
        dim: the axis of the cosines: 1 for one cosine per class, 0 for one per channel.
    """
    return 1 - ((text * anchors).sum(dim) * text.square().sum(dim).clamp(min=1e-14).rsqrt()).mean()


def negative_risk(logits: Tensor, labels: Tensor) -> Tensor:
    """The negative-learning risk of Eq. 14/18: -log(1 - p_y), where p = softmax(logits) and the logits are of "not c".

    An image of class y should not look like "not y". logits: (B, C); labels: (B,) int64.
    """
    log_p = logits.log_softmax(-1)
    return -log_p.scatter(1, labels[:, None], -torch.inf).logsumexp(-1).mean()


def generalised_cross_entropy(logits: Tensor, labels: Tensor, q: float = 1.0) -> Tensor:
    """The mean of (1 - p_y^q) / q, where p = softmax(logits) + 1e-6. Wrong labels have less effect for a larger q.

    It approaches cross-entropy as q goes to 0, and is half of the mean absolute error at q = 1. logits: (B, C);
    labels: (B,) int64; q: in (0, 1].

    Source: Zhang and Sabuncu, NeurIPS 2018, arXiv:1805.07836; the constant is that of NLPrompt's code.
    """
    p = logits.softmax(-1).gather(1, labels[:, None]).squeeze(1) + 1e-6
    return ((1 - p.pow(q)) / q).mean()


def negative_entropy(logits: Tensor) -> Tensor:
    """Mean over rows of sum_c p log p, p = softmax(logits); logits: (B, C)."""
    log_p = logits.log_softmax(-1)
    return (log_p.exp() * log_p).sum(-1).mean()
