"""Two options of how SimNL puts its two sides together. Both are ours, and off by default.

    A = R + alpha P,  B = Q + alpha N        the positive and the negative side (trainers/simnl.py)

Routing: the negative side tells apart only the `count` classes T of an image that A finds the most likely. Every other
class gets the smallest Q and the smallest N of those in T, so that it never gains by the negative side.

Fusion by support: lambda follows from how well each side separates the support images, each left out of its own side:

    m_i   = Z_iy - max_{c != y} Z_ic,       Z = A or B
    phi   = variance over classes of mean m / mean over classes of variance of m         (Fisher's criterion)
    share = phi(A) / (phi(A) + phi(B)),     lambda = (share / sd A) / (share / sd A + (1 - share) / sd B)

with sd the standard deviation of the margins of a side, so that scaling a side changes no prediction.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from simnl.fewshot.cache import class_sum, instance_weights
from simnl.fewshot.search import Grid

log = logging.getLogger(__name__)

NUMBERS = 2**24  # of a temporary (image, key) or (image, class) tensor of the fusion: 64 MB


def routed(stage: Mapping[str, Tensor], count: int, alpha: float) -> Mapping[str, Tensor]:
    """R, P, Q and N, (B, C) each, with Q and N of classes outside T at the smallest value inside.

    Args:
        stage: the four terms.
        count: of classes in T; 0, or as many as there are: nothing changes.
        alpha: the weight of P where T is chosen. It is the initial one, so that T does not move with the search.
    """
    if not 0 < count < stage["R"].shape[1]:
        return stage
    near = (stage["R"] + alpha * stage["P"]).detach().topk(count, dim=1).indices
    inside = torch.zeros_like(stage["R"], dtype=torch.bool).scatter(1, near, True)
    moved = {}
    for name in ("Q", "N"):
        least = stage[name].gather(1, near).amin(1, keepdim=True)
        moved[name] = torch.where(inside, stage[name], least)
    return {**stage, **moved}


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """By how much the label is ahead of the best other class, (N,). logits: (N, C), C > 1; labels: (N,) int64."""
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    return logits.gather(1, labels[:, None]).squeeze(1) - others


def fisher(values: Tensor, labels: Tensor, num_classes: int) -> float:
    """Variance over classes of their mean, over the mean of their variances; of classes with two values or more.

    values: (N,); labels: (N,) int64. NaN where fewer than two classes have two values, or where values do not vary.
    """
    counts = torch.bincount(labels, minlength=num_classes).tolist()
    groups = values[labels.argsort(stable=True)].split(counts)
    kept = [group for group in groups if len(group) > 1]
    if len(kept) < 2:
        return float("nan")
    between = torch.stack([group.mean() for group in kept]).var()
    within = torch.stack([group.var() for group in kept]).mean()
    return (between / within).item() if within > 0 else float("nan")


def weight_by_support(positive: Tensor, negative: Tensor, labels: Tensor, num_classes: int) -> float | None:
    """lambda of the two sides' margins (N,) of support images, each left out of its own; labels: (N,) int64.

    None where the images do not say: one image per class, or margins that do not vary.
    """
    found = [fisher(side, labels, num_classes) for side in (positive, negative)]
    total = sum(found)
    if not total > 0 or not torch.isfinite(torch.tensor(found)).all():
        return None
    share = found[0] / total
    weights = [part / side.std().item() for part, side in zip((share, 1 - share), (positive, negative), strict=True)]
    return weights[0] / sum(weights)


def sides_left_out(
    text: Tensor, against: Tensor, keys: Tensor, labels: Tensor, *, tau: float, alpha: float, beta: float
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """A and B of the support images before anything is learned, each image left out of both caches.

    The other images of a class stand for the one that is left out: their weights add up to the same.

    Args:
        text: s times the positive text classifier, (C, D).
        against: g s times the negative one, (C, D), in the same units; Q = g s - f.against.
        keys: unit rows, (N, D); labels: (N,) int64, two rows or more of each label that there is.
        tau: of the instance weights. alpha, beta: weight and sharpness of the caches.

    Yields:
        Which images, and their A and B, (n, C) each: so many that no tensor (n, N) or (n, C) is too large.
    """
    count = len(text)
    step = max(1, NUMBERS // max(len(keys), count))
    blocks = [slice(start, start + step) for start in range(0, len(keys), step)]

    def hot(rows: slice) -> Tensor:
        return F.one_hot(labels[rows], count).to(keys.dtype)

    weights = instance_weights(keys, labels, count, tau)
    totals = sum(weights[rows] @ hot(rows) for rows in blocks)
    sums = keys.sum(0) - sum(hot(rows).T @ keys[rows] for rows in blocks)  # of the images of all other classes, (C, D)
    square, scale = sums.square().sum(1), against.norm(dim=1)
    for rows in blocks:
        f, own = keys[rows], hot(rows)
        spoken = weights * torch.exp(-beta * (1 - f @ keys.T))
        spoken[range(len(f)), range(rows.start, rows.start + len(f))] = 0.0
        left = totals - weights[rows, None] * own
        stretch = torch.where(left > 0, totals / left.clamp(min=1e-12), torch.zeros_like(left))
        heard = class_sum(spoken, labels, count, None)
        products, apart = f @ sums.T, 1 - own
        lengths = (square - apart * (2 * products - 1)).clamp(min=1e-12).sqrt()
        moved = products - apart  # f_i . (sum without f_i, where it is in the sum)
        negative = scale - f @ against.T + alpha * totals * torch.exp(-beta * moved / lengths)
        yield rows, f @ text.T + alpha * stretch * heard, negative


@torch.no_grad()
def set_weight_by_support(head, task) -> None:
    """Set lambda of a head of SimNL, which has learned nothing yet, by the support images; or leave it and say so."""
    h, o, keys = head.hparams, head.options, task.cache_keys()
    text = head.logit_scale * head.positive_text()
    against = head.negative_text.scale * head.negative_text()
    found, labels = None, task.support_labels
    if torch.bincount(labels, minlength=task.num_classes).max() > 1:
        blocks = sides_left_out(text, against, keys, labels, tau=o.tau, alpha=h["alpha"], beta=h["beta"])
        each = [(margins(a, labels[rows]), margins(b, labels[rows])) for rows, a, b in blocks]
        found = weight_by_support(*map(torch.cat, zip(*each, strict=True)), labels, task.num_classes)
    if found is None:
        log.warning("The support images do not say how to weigh the two sides: lambda stays at %g (LAM).", h["lam"])
        return
    log.info("lambda by the support images: %.4f instead of %g", found, h["lam"])
    h["lam"] = found


def at_weight(grid: Grid | None, lam: float) -> Grid | None:
    """The grid with lambda at one value."""
    return None if grid is None else Grid({**grid.axes, "lam": [lam]})
