"""Exhaustive search over a head's hyper-parameters on validation features, factored.

A full grid is |stage| x |alpha| x |mixing| points (the authors' is 200 x 40 x 20 = 160,000). Evaluated as written,
each point is one pass over (image, key) pairs. Here a stage value costs one such pass, a (stage, mixing) pair one pass
over (image, class), and all alphas of that pair are counted at once: since logits = base + alpha * slope, an image is
classified right on an interval of alpha. Equal to the direct evaluation up to rounding at the ends of an interval.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from fewshot.head import SearchableHead

CHUNK_ELEMENTS = 2**24  # numbers per temporary (image, key) tensor


@dataclass(frozen=True)
class Grid:
    """Hyper-parameter values in the order of the authors' loops: the first axis is the outermost.

    axes: name -> values; the names are the head's hyper-parameters, alpha's values ascend.
    """

    axes: Mapping[str, Sequence[float]]

    @property
    def size(self) -> int:
        """The number of settings."""
        return int(torch.tensor([len(v) for v in self.axes.values()]).prod())

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return tuple(len(v) for v in self.axes.values())


def axis(low: float, high: float, steps: int) -> list[float]:
    """`steps` equispaced values from low, the upper end excluded, as in the authors' searches."""
    return [low + i * (high - low) / steps for i in range(steps)]


@torch.no_grad()
def count_grid(head: SearchableHead, features: Tensor, labels: Tensor, grid: Grid, progress: bool = False) -> Tensor:
    """Number of right answers at every point of the grid.

    Args:
        head: its learned parameters are used as they are.
        features: raw validation features, (M, D).
        labels: (M,) int64.

    Returns:
        int64 tensor of shape `grid.shape`.
    """
    rows = max(1, CHUNK_ELEMENTS // max(1, head.search_width))
    counts = torch.zeros(grid.shape, dtype=torch.int64)
    chunks = list(zip(features.split(rows), labels.split(rows), strict=True))
    stage_points = list(itertools.product(*(enumerate(grid.axes[name]) for name in head.STAGE)))
    mixing_points = list(itertools.product(*(enumerate(grid.axes[name]) for name in head.MIXING)))
    with tqdm(total=len(chunks) * len(stage_points), desc="Searching", disable=not progress, leave=False) as bar:
        for chunk, target in chunks:
            terms = head.terms(chunk)
            for stage_point in stage_points:
                stage = head.stage(terms, **_values(head.STAGE, stage_point))
                for mixing_point in mixing_points:
                    base, slope = head.affine(stage, **_values(head.MIXING, mixing_point))
                    where = {**_places(head.STAGE, stage_point), **_places(head.MIXING, mixing_point)}
                    index = tuple(where.get(name, slice(None)) for name in grid.axes)
                    counts[index] += count_alphas(base, slope, target, grid.axes["alpha"])
                bar.update()
    return counts


def count_alphas(base: Tensor, slope: Tensor, labels: Tensor, alphas: Sequence[float]) -> Tensor:
    """How many rows of base + alpha * slope have their maximum at the label, for each alpha, (len(alphas),) int64.

    A tie with an earlier class is lost and with a later class won, as argmax decides it. `alphas` ascends.
    """
    values = torch.tensor(alphas, dtype=base.dtype, device=base.device)
    lead = base.gather(1, labels[:, None]) - base  # (M, C): the label's lead over each class at alpha = 0
    gain = slope.gather(1, labels[:, None]) - slope  # and how it grows with alpha
    turn = -lead / gain
    inf = torch.inf
    classes = torch.arange(base.shape[1], device=base.device)
    lost_tie = classes < labels[:, None]
    # Right for alpha in [low, high]; an end that an earlier class decides is open.
    rising, falling = gain > 0, gain < 0
    low = torch.where(rising & ~lost_tie, turn, -inf).amax(1)
    low_open = torch.where(rising & lost_tie, turn, -inf).amax(1)
    high = torch.where(falling & ~lost_tie, turn, inf).amin(1)
    high_open = torch.where(falling & lost_tie, turn, inf).amin(1)
    never = ((gain == 0) & ((lead < 0) | ((lead == 0) & lost_tie))).any(1)
    first = torch.maximum(torch.searchsorted(values, low), torch.searchsorted(values, low_open, right=True))
    stop = torch.minimum(torch.searchsorted(values, high, right=True), torch.searchsorted(values, high_open))
    right = ~never & (first < stop)
    change = torch.zeros(len(alphas) + 1, dtype=torch.int64, device=base.device)
    ones = torch.ones_like(first[right])
    change.index_add_(0, first[right], ones).index_add_(0, stop[right], -ones)
    return change.cumsum(0)[:-1].cpu()


def choose(counts: Tensor, grid: Grid, initial: Mapping[str, float], ties: str) -> dict[str, float]:
    """The best setting.

    Args:
        counts: of `count_grid`.
        initial: the setting before the search.
        ties: among equally good settings, `first`: the first in loop order (the authors' rule), or `nearest`: the
            one with the fewest grid steps to the initial setting (small validation sets tie thousands of settings,
            and the first of them is a corner of the grid).
    """
    best = (counts == counts.max()).nonzero()
    if ties == "first":
        winner = best[0]
    elif ties == "nearest":
        values = [torch.tensor(v, dtype=torch.float64) for v in grid.axes.values()]
        centre = torch.tensor([int((v - initial[n]).abs().argmin()) for n, v in zip(grid.axes, values, strict=True)])
        steps = ((best - centre).abs() / torch.tensor(grid.shape)).sum(1)
        winner = best[steps.argmin()]
    else:
        raise ValueError(f"Unknown rule for ties '{ties}' (SEARCH.TIES). Choose 'first' or 'nearest'.")
    return {name: float(grid.axes[name][i]) for name, i in zip(grid.axes, winner.tolist(), strict=True)}


def _values(names: Sequence[str], point: tuple[tuple[int, float], ...]) -> dict[str, float]:
    return {name: value for name, (_, value) in zip(names, point, strict=True)}


def _places(names: Sequence[str], point: tuple[tuple[int, float], ...]) -> dict[str, int]:
    return {name: place for name, (place, _) in zip(names, point, strict=True)}
