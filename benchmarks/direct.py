"""The opponents: SimNL's formulas evaluated as they are written, without any algebra.

What the authors' released code computes, in the order in which it computes it, written from the formulas alone: keys
gathered class by class, moved keys formed and normalised, dense products with one-hot values, one full pass over
validation images and keys for every point of the grid. `tests/benchmarks/test_benchmarks.py` checks that each gives
what the program gives. Rows are sorted by class, K per class.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from simnl.fewshot.search import Grid
from trainers.simnl import SimNLHead


def negative_keys(keys: Tensor, num_classes: int, classes: Iterable[int]) -> Tensor:
    """Slot-wise negative keys of some classes, (len(classes), K, D): gather the others' keys, then average.

    The others are the C - 1 classes whose mean is least similar to the class's own.
    """
    blocks = keys.view(num_classes, -1, keys.shape[-1])
    means = F.normalize(blocks.mean(1), dim=-1)
    rows = []
    for c in classes:
        others = (means @ means[c]).topk(num_classes - 1, largest=False).indices
        rows.append(F.normalize(blocks[others].mean(0), dim=-1))
    return torch.stack(rows)


def instance_weights(keys: Tensor, num_classes: int, tau: float) -> Tensor:
    """One-hot values weighed by how typical a row is of its class, (N, C): a (K, K) similarity matrix per class."""
    shots = len(keys) // num_classes
    values = F.one_hot(torch.arange(num_classes, device=keys.device).repeat_interleave(shots)).to(keys.dtype)
    for c in range(num_classes):
        rows = (values[:, c] > 0).nonzero().squeeze(1)
        own = keys[rows]
        score = ((own @ own.T).sum(1) - 1) / (shots - 1)
        values[rows, c] = shots * (score / tau).softmax(0)
    return values


def text_classifier(features: Tensor, classes: Tensor, num_classes: int) -> Tensor:
    """Unit mean of the unit features of each class's prompts, (C, D): one gather per class."""
    rows = [F.normalize(F.normalize(features[classes == c], dim=-1).mean(0), dim=-1) for c in range(num_classes)]
    return torch.stack(rows)


class DirectSimNL:
    """SimNL's logits and losses on the parameters of a head.

    Args:
        head: with slot-wise negative keys; its parameters are used, and get the gradients.
    """

    def __init__(self, head: SimNLHead):
        positive, negative = head.positive_cache, head.negative_cache
        groups = positive.rows.speakers
        self.head, self.shots, self.keys = head, groups.shots, positive.keys
        self.negative_keys = negative.keys  # by the closed form: its own cost is measured apart
        hot = F.one_hot(groups.classes, groups.count).to(self.keys.dtype)
        self.positive_values = hot * positive.weights[:, None]  # (N, C)
        self.negative_values = hot * negative.weights[:, None]

    def text(self) -> Tensor:
        """m, (C, D)."""
        mixture = self.head.positive_text
        template, cupl = (F.normalize(t.text + t.residual, dim=-1) for t in (mixture.template, mixture.cupl))
        return (1 - mixture.weight) * template + mixture.weight * cupl

    def _moved(self, keys: Tensor, residual: Tensor) -> Tensor:
        return F.normalize(keys + residual.repeat_interleave(self.shots, 0), dim=-1)

    def logits(self, features: Tensor, beta: float, alpha: float, lam: float) -> Tensor:
        """(B, C) at one setting, everything anew."""
        h, f = self.head, F.normalize(features, dim=-1)
        negative_text = F.normalize(h.negative_text.text + h.negative_text.residual, dim=-1)
        affinity = f @ self._moved(self.keys, h.positive_cache.residual).T
        away = 1 - f @ self._moved(self.negative_keys, h.negative_cache.residual).T
        scale = h.logit_scale
        r = scale * f @ self.text().T
        q = h.options.negative_text_scale * scale * (1 - f @ negative_text.T)
        p = torch.exp(-beta * (1 - affinity)) @ self.positive_values
        n = torch.exp(-beta * (1 - away)) @ self.negative_values
        return lam * (r + alpha * p) + (1 - lam) * (q + alpha * n)

    def losses(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """As `SimNLHead.losses`."""
        h, o, text = self.head, self.head.options, self.text()
        f = F.normalize(features, dim=-1)
        distance = torch.cdist(f, text)
        near = distance.topk(o.rerank_neighbours, largest=False)
        margin = (1 - (text[near.indices] * text[labels].unsqueeze(1)).sum(-1)) / o.rerank_scale
        anchor = (f - text[labels]).norm(dim=-1, keepdim=True)
        mixture, w = h.positive_text, h.positive_text.weight
        axis = 1 if o.consistency_axis == "class" else 0
        to_template = 1 - F.cosine_similarity(text, mixture.template.text, dim=axis, eps=1e-7)
        to_cupl = 1 - F.cosine_similarity(text, mixture.cupl.text, dim=axis, eps=1e-7)
        return {
            "ce": F.cross_entropy(self.logits(features, **h.hparams), labels),
            "rerank": o.rerank_weight * (anchor + margin - near.values).clamp(min=0).mean(),
            "consistency": o.consistency_weight * ((1 - w) * to_template + w * to_cupl).mean(),
        }


@torch.no_grad()
def grid_counts(direct: DirectSimNL, features: Tensor, labels: Tensor, grid: Grid) -> Tensor:
    """Right answers at every point, one full pass per point, in the order of the authors' loops; `grid.shape`."""
    points = itertools.product(*grid.axes.values())
    counts = [count_point(direct, features, labels, dict(zip(grid.axes, point, strict=True))) for point in points]
    return torch.tensor(counts).view(grid.shape)


@torch.no_grad()
def count_point(direct: DirectSimNL, features: Tensor, labels: Tensor, point: dict[str, float]) -> int:
    """Right answers at one point of the grid."""
    return int((direct.logits(features, **point).argmax(1) == labels).sum())


def first_maximum(counts: Tensor, grid: Grid) -> dict[str, float]:
    """The authors' choice: the first setting in loop order that is better than all before it."""
    best, chosen = -1, {}
    for point, count in zip(itertools.product(*grid.axes.values()), counts.flatten().tolist(), strict=True):
        if count > best:
            best, chosen = count, dict(zip(grid.axes, point, strict=True))
    return chosen


def encode_again(encode, batches: Sequence[Tensor], passes: int) -> Tensor:
    """Features of all batches, encoded anew in every pass, (N, D) of the last pass."""
    features = torch.zeros(0)
    for _ in range(passes):
        features = torch.cat([encode(batch) for batch in batches])
    return features
