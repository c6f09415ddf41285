"""The algebra of key-value caches: one function per formula, shared by every cache method.

Rows (support images) are grouped by class. `classes` (N,) is the class of each row, sorted ascending.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CACHED_NUMBERS = 2**18  # numbers in a temporary (rows, keys) tensor on a CPU: 1 MB, which fits a core's cache
GPU_NUMBERS = 2**26  # the same on a GPU: 256 MB, because each block costs kernel launches


def shots_if_equal(classes: Tensor, num_classes: int) -> int | None:
    """K if the rows are sorted and every class has exactly K of them, else None."""
    shots, rest = divmod(len(classes), num_classes)
    if rest or shots == 0:
        return None
    blocks = torch.arange(num_classes, device=classes.device).repeat_interleave(shots)
    return shots if torch.equal(blocks, classes) else None


class Groups(nn.Module):
    """The class of each of N rows. It has no parameters, and is a module so that it moves with its head.

    Args:
        classes: (N,) int64.
        count: C.
        shots: K if the rows are sorted with K per class (`shots_if_equal`), else None.
    """

    classes: Tensor

    def __init__(self, classes: Tensor, count: int, shots: int | None):
        super().__init__()
        self.register_buffer("classes", classes, persistent=False)
        self.count, self.shots = count, shots

    @classmethod
    def of(cls, classes: Tensor, count: int) -> Groups:
        """The groups of rows with these classes."""
        return cls(classes, count, shots_if_equal(classes, count))

    def sum(self, values: Tensor) -> Tensor:
        """`class_sum`, (..., N) -> (..., C)."""
        return class_sum(values, self.classes, self.count, self.shots)

    def expand(self, values: Tensor) -> Tensor:
        """`class_expand`, (..., C) -> (..., N)."""
        return class_expand(values, self.classes, self.shots)

    def combine(self, operation: Callable, wide: Tensor, narrow: Tensor, out: Tensor) -> Tensor:
        """operation(wide, expand(narrow)) into `out`, (B, N); torch.add or torch.mul, mostly without an expansion."""
        if self.shots is None:
            return operation(wide, self.expand(narrow), out=out)
        blocks = (-1, self.count, self.shots)
        operation(wide.view(blocks), narrow.unsqueeze(-1), out=out.view(blocks))
        return out


def class_sum(values: Tensor, classes: Tensor, num_classes: int, shots: int | None) -> Tensor:
    """Sum the last dimension within each class: (..., N) -> (..., C).

    This is the product with the one-hot values in Tip-Adapter's Eq. 4, without the zeros. `shots` is the result of
    `shots_if_equal` for `classes`; it is None for blocks of unequal size and for unsorted labels.
    """
    if shots is not None:
        return values.unflatten(-1, (num_classes, shots)) @ values.new_ones(shots)  # twice as fast as sum(-1)
    return values.new_zeros(*values.shape[:-1], num_classes).index_add(-1, classes, values)


def class_expand(values: Tensor, classes: Tensor, shots: int | None) -> Tensor:
    """Repeat the last dimension for each row of the class: (..., C) -> (..., N); the transpose of `class_sum`."""
    if shots is not None:
        return values.unsqueeze(-1).expand(*values.shape, shots).flatten(-2)
    return values.index_select(-1, classes)


def inverse_norms(overlap: Tensor, residual: Tensor, movers: Groups) -> Tensor:
    """1 / |k_n + r_c| of unit keys that are moved by the residual of their class, (N,), without computing the moved
    keys.

    The norms are computed as (1 + 2 k.r + |r|^2)^(-1/2), and are differentiable in overlap and residual.

    Args:
        overlap: k_n . r_c, (N,), e.g. from `key_overlaps`.
        residual: a row per class, (C, D).
        movers: the class of each key.
    """
    return (1 + 2 * overlap + movers.expand(residual.square().sum(-1))).clamp(min=1e-12).rsqrt()


def key_overlaps(keys: Tensor, residuals: Sequence[Tensor], movers: Groups) -> list[Tensor]:
    """Products k_n . r_c of keys (N, D) with the residual of their class, for several residuals (C, D): (N,) each.

    All residuals are taken in one pass over the keys, which are the largest tensor of a cache.
    """
    if movers.shots == 1:
        return [(keys * r).sum(-1) for r in residuals]
    if movers.shots is None:
        return [(keys * r.index_select(0, movers.classes)).sum(-1) for r in residuals]
    stacked = torch.stack(tuple(residuals), dim=1)
    products = stacked @ keys.view(movers.count, movers.shots, -1).transpose(1, 2)  # (C, residuals, K)
    return [part.flatten() for part in products.unbind(1)]


def cache_logits(
    dots: Tensor,
    shift: Tensor,
    inverse: Tensor,
    weights: Tensor,
    slope: float,
    offset: float,
    movers: Groups,
    speakers: Groups,
) -> Tensor:
    """The evidence of a cache of moved keys: for each class, the sum of w_n exp(slope a_n + offset) over its rows n.

    Here a_n = f . norm(k_n + r_c) = (f.k_n + f.r_c) / |k_n + r_c|. Only f.k needs N products of length D, and it does
    not depend on anything learned. Source: Tip-Adapter, Eq. 4, with SimNL's residuals and weights.

    Args:
        dots: f.k, (B, N).
        shift: f.r, (B, C).
        inverse: 1 / |k_n + r_c|, (N,), from `inverse_norms`.
        weights: the constants w >= 0, (N,).
        slope, offset: beta and -beta give exp(-beta (1 - a)).
        movers: the class whose residual moves a row; speakers: the class for which a row's evidence counts.

    Returns:
        (B, C), differentiable in dots, shift and inverse.
    """
    return _CacheLogits.apply(dots, shift, inverse, weights, slope, offset, movers, speakers)


class _CacheLogits(torch.autograd.Function):
    """`cache_logits` in blocks of rows that fit the processor's cache, with buffers that are reused.

    It stores nothing of size (B, N) except its input, because computing the exponentials again for the gradient is
    cheaper than writing and reading them. w exp(x) is computed as exp(x + log w), which saves a pass.
    """

    @staticmethod
    def forward(ctx, dots, shift, inverse, weights, slope, offset, movers, speakers):
        ctx.constants = slope, offset, movers, speakers
        ctx.save_for_backward(dots, shift, inverse, weights)
        logits, factor, constant = (
            dots.new_empty(dots.shape[0], speakers.count),
            inverse * slope,
            weights.log() + offset,
        )
        for rows, (buffer,) in _row_blocks(dots, 1):
            lengths = movers.combine(torch.add, dots[rows], shift[rows], buffer)
            logits[rows] = speakers.sum(torch.addcmul(constant, lengths, factor, out=buffer).exp_())
        return logits

    @staticmethod
    def backward(ctx, grad):
        dots, shift, inverse, weights = ctx.saved_tensors
        slope, offset, movers, speakers = ctx.constants
        grad_dots = torch.empty_like(dots) if ctx.needs_input_grad[0] else None
        grad_shift, grad_inverse = torch.empty_like(shift), torch.zeros_like(inverse)
        grad, factor, constant = (grad * slope).contiguous(), inverse * slope, weights.log() + offset
        for rows, (lengths, evidence) in _row_blocks(dots, 2):
            movers.combine(torch.add, dots[rows], shift[rows], lengths)
            torch.addcmul(constant, lengths, factor, out=evidence).exp_()
            speakers.combine(torch.mul, evidence, grad[rows], evidence)  # from here on, the gradient of the cosine
            grad_inverse += lengths.mul_(evidence).sum(0)
            grad_shift[rows] = movers.sum(evidence.mul_(inverse))
            if grad_dots is not None:
                grad_dots[rows] = evidence
        return grad_dots, grad_shift, grad_inverse, None, None, None, None, None


def _row_blocks(tensor: Tensor, number: int) -> Iterator[tuple[slice, list[Tensor]]]:
    """Slices of rows of a (rows, keys) tensor, each with buffers of its shape, which are reused.

    An exported program (torch.export) takes any number of rows. It has one block, because a loop would fix the number.
    """
    if torch.compiler.is_compiling():
        yield slice(None), [torch.empty_like(tensor) for _ in range(number)]
        return
    rows, width = tensor.shape
    step = max(1, (GPU_NUMBERS if tensor.is_cuda else CACHED_NUMBERS) // max(1, width))
    buffers = [tensor.new_empty(min(step, rows), width) for _ in range(number)]
    for start in range(0, rows, step):
        yield slice(start, start + step), [buffer[: rows - start] for buffer in buffers]


def instance_weights(keys: Tensor, labels: Tensor, num_classes: int, tau: float, shots: int | None = None) -> Tensor:
    """Few-shot instance reweighting: a support image that is typical of its label's rows has a larger weight.

        a_n = mean cosine to the other rows of the same label,   w_n = K softmax(a_n / tau) over the label's rows

    A label with a single row gives it the weight 1; the authors' code divides 0 by 0 there.

    Args:
        keys: unit rows, (N, D).
        labels: (N,) int64, any order.
        tau: the temperature, > 0; large values give weights near 1.
        shots: K for all labels, as in the authors' code, even if noise makes the groups unequal. None takes the number
            of rows of each label.

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

    Up to its length, the mean over the C-1 other classes is the sum over all classes minus the key, so this is O(CKD).
    """
    sums, inverse = slot_sums(keys, shots)
    return (sums - keys.view(num_classes, shots, -1)).flatten(0, 1).mul_(inverse.unsqueeze(-1))


def slot_sums(keys: Tensor, shots: int) -> tuple[Tensor, Tensor]:
    """The sums and lengths from which products with the slot-wise negative keys n = (S_s - k) / m follow.

    Args:
        keys: unit rows, (C*K, D), sorted by class; shots: K.

    Returns:
        S, the sum of each slot over the classes, (K, D), and 1 / m = 1 / |S_s - k|, (C*K,).
    """
    blocks = keys.view(-1, shots, keys.shape[-1])
    sums = blocks.sum(dim=0)
    dots = (blocks.transpose(0, 1) @ sums.unsqueeze(-1)).squeeze(-1).T  # k.S_s, (C, K), in one pass over the keys
    square = 1 + sums.square().sum(-1) - 2 * dots
    return sums, square.clamp(min=1e-12).rsqrt().flatten()


def slot_products(dots: Tensor, sum_dots: Tensor, inverse: Tensor) -> Tensor:
    """Products x.n with the slot-wise negative keys, from x.k: (x.S_s - x.k) / m.

    Args:
        dots: x.k, (..., C*K).
        sum_dots: x.S, in a shape from which (..., C, K) can be subtracted.
        inverse: 1 / m, (C*K,).

    Returns:
        (..., C*K).
    """
    blocks = dots.unflatten(-1, (-1, sum_dots.shape[-1]))
    return (sum_dots - blocks).flatten(-2).mul_(inverse)


def class_negative_keys(keys: Tensor, classes: Tensor, num_classes: int) -> Tensor:
    """One negative key per class: the unit mean of all support rows of other classes, (C, D)."""
    sums = keys.new_zeros(num_classes, keys.shape[1]).index_add(0, classes, keys)
    return F.normalize(sums.sum(dim=0, keepdim=True) - sums, dim=-1)
