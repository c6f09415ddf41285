"""The algebra of key-value caches: one function per formula, shared by every cache method.

Rows (support images) are grouped by class. `classes` (N,) is the class of each row, sorted ascending.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def shots_if_equal(classes: Tensor, num_classes: int) -> int | None:
    """K when the rows are sorted and every class has exactly K of them, else None."""
    shots, rest = divmod(len(classes), num_classes)
    if rest or shots == 0:
        return None
    blocks = torch.arange(num_classes, device=classes.device).repeat_interleave(shots)
    return shots if torch.equal(blocks, classes) else None


def class_sum(values: Tensor, classes: Tensor, num_classes: int, shots: int | None) -> Tensor:
    """Sum the last dimension within each class: (..., N) -> (..., C).

    This is the product with one-hot values of Tip-Adapter's Eq. 4 without the zeros; `shots` is what
    `shots_if_equal` says of `classes` (None: blocks of unequal size, or unsorted labels).
    """
    if shots is not None:
        return values.unflatten(-1, (num_classes, shots)).sum(-1)
    return values.new_zeros(*values.shape[:-1], num_classes).index_add(-1, classes, values)


def class_expand(values: Tensor, classes: Tensor, shots: int | None) -> Tensor:
    """Repeat the last dimension for each row of the class: (..., C) -> (..., N); the transpose of `class_sum`."""
    if shots is not None:
        return values.unsqueeze(-1).expand(*values.shape, shots).flatten(-2)
    return values.index_select(-1, classes)


def residual_affinity(features: Tensor, keys: Tensor, residual: Tensor, classes: Tensor, shots: int | None) -> Tensor:
    """Cosine of unit features with keys moved by a residual of their class: f . norm(k + r_c).

    Computed as (f.k + f.r_c) / sqrt(1 + 2 k.r_c + |r_c|^2), so that only f.k costs N products of length D.

    Args:
        features: unit rows, (B, D).
        keys: unit rows, (N, D).
        residual: one row per class, (C, D).
        classes: class of each key, (N,); shots: what `shots_if_equal` says of them.

    Returns:
        (B, N), differentiable in features and residual.
    """
    if shots is not None:
        overlap = (keys.view(len(residual), shots, -1) @ residual.unsqueeze(-1)).flatten()
    else:
        overlap = (keys * residual.index_select(0, classes)).sum(-1)
    square = 1 + 2 * overlap + class_expand(residual.square().sum(-1), classes, shots)
    return (features @ keys.T + class_expand(features @ residual.T, classes, shots)) * square.rsqrt()


def instance_weights(keys: Tensor, labels: Tensor, num_classes: int, tau: float, shots: int | None = None) -> Tensor:
    """Few-shot instance reweighting: how typical is a support image of its label's rows? (label refinement)

        a_n = mean cosine to the other rows of the same label,   w_n = K softmax(a_n / tau) over the label's rows

    A label with a single row gives it the weight 1 (its authors' code divides 0 by 0 there).

    Args:
        keys: unit rows, (N, D).
        labels: (N,) int64, any order.
        tau: temperature, > 0; large values give weights near 1.
        shots: K for all labels, as the authors' code has it also where noise makes the groups unequal; None: each
            label's own number of rows.

    Returns:
        (N,); the weights of a label sum to K.
    """
    if tau <= 0:
        raise ValueError(f"The reweighting temperature tau must be positive, got {tau}.")
    counts = torch.bincount(labels, minlength=num_classes).to(keys.dtype)
    size = counts if shots is None else torch.full_like(counts, shots)
    sums = keys.new_zeros(num_classes, keys.shape[1]).index_add(0, labels, keys)
    others = (keys * sums.index_select(0, labels)).sum(-1) - 1
    score = others / (size.index_select(0, labels) - 1).clamp(min=1) / tau
    peak = score.new_full((num_classes,), -torch.inf).scatter_reduce(0, labels, score, "amax")
    unnormalised = (score - peak.index_select(0, labels)).exp()
    total = keys.new_zeros(num_classes).index_add(0, labels, unnormalised)
    return unnormalised / total.index_select(0, labels) * size.index_select(0, labels)


def slot_negative_keys(keys: Tensor, num_classes: int, shots: int) -> Tensor:
    """The authors' negative keys: slot k of class c is the unit mean of slot k of all other classes, (C*K, D).

    The mean over the C-1 others equals, up to length, the sum over all minus the key itself: O(CKD).
    """
    blocks = keys.view(num_classes, shots, -1)
    return F.normalize(blocks.sum(dim=0, keepdim=True) - blocks, dim=-1).flatten(0, 1)


def class_negative_keys(keys: Tensor, classes: Tensor, num_classes: int) -> Tensor:
    """One negative key per class: the unit mean of all support rows of other classes, (C, D)."""
    sums = keys.new_zeros(num_classes, keys.shape[1]).index_add(0, classes, keys)
    return F.normalize(sums.sum(dim=0, keepdim=True) - sums, dim=-1)
