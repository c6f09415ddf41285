"""A factored search over the hyper-parameters of a head on validation features.

A full grid has |stage| x |alpha| x |mixing| points (that of the authors has 200 x 40 x 20 = 160,000). A direct
evaluation needs one pass over (image, key) pairs for each point. Here only each stage value needs such a pass. All
points with this stage value are then counted at once, because logits are linear in alpha and, if a head declares it, in
a mixing hyper-parameter:

    lead of the label over class j = lead_j + alpha gain_j      lead_j, gain_j: linear in lambda

This lead is smallest and largest at corners of the (alpha, lambda) plane. A class that is behind the label at all four
corners never matters, and an image with a class ahead at all four is never right. For each of the few (image, class)
pairs that are left, and each lambda, the label leads on an interval of alpha. The counts equal those of a direct
evaluation, except for the rounding of leads that are zero within float precision. Memory is bounded by a chunk of
images.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from simnl.bars import bar as progress_bar
from simnl.fewshot.cache import GPU_NUMBERS
from simnl.fewshot.head import SearchableHead
from simnl.fewshot.loaders import LabelledFeatures
from simnl.fewshot.selection import accuracy_over

log = logging.getLogger(__name__)

CHUNK_ELEMENTS = 2**22  # numbers per temporary (image, key) or (pair, mixing value) tensor
EDGE = 1e-5  # a lead counts as decided if it is larger than this share of the largest logit
MODES = ("full", "coarse-to-fine")
LOG10 = "LOG10_"  # before the name of a hyper-parameter whose decimal logarithm a grid has
FIRST_STEPS = 12  # values per stage axis in the first pass of coarse-to-fine


@dataclass(frozen=True)
class Grid:
    """Hyper-parameter values in the order of the authors' loops: the first axis is the outermost.

    `axes` has the values by name; the names are the head's hyper-parameters, and the values of alpha ascend.
    """

    axes: Mapping[str, Sequence[float]]

    @classmethod
    def of(cls, node: Mapping[str, Sequence[float]]) -> Grid:
        """The grid of a config node, NAME -> [low, high, steps]; of LOG10_NAME, the values are powers of ten."""
        axes = {}
        for name, (low, high, steps) in node.items():
            values, powers = axis(low, high, int(steps)), name.startswith(LOG10)
            axes[name.removeprefix(LOG10).lower()] = [10.0**value for value in values] if powers else values
        return cls(axes)

    @property
    def size(self) -> int:
        """The number of settings."""
        return int(torch.tensor([len(v) for v in self.axes.values()]).prod())

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return tuple(len(v) for v in self.axes.values())

    def at(self, values: Mapping[str, float]) -> Grid:
        """This grid with some axes at one value."""
        return Grid({**self.axes, **{name: [value] for name, value in values.items()}})


def axis(low: float, high: float, steps: int) -> list[float]:
    """`steps` equispaced values from `low`, without the upper end, as in the authors' searches."""
    return [low + i * (high - low) / steps for i in range(steps)]


def random_settings(
    ranges: Mapping[str, Sequence[float]], number: int, generator: torch.Generator
) -> Iterator[dict[str, float]]:
    """Settings drawn evenly from ranges {name: (low, high)}, for spaces with too many axes for a grid."""
    for _ in range(number):
        shares = torch.rand(len(ranges), generator=generator, dtype=torch.float64).tolist()
        pairs = zip(ranges.items(), shares, strict=True)
        yield {name: low + share * (high - low) for (name, (low, high)), share in pairs}


@torch.no_grad()
def count_grid(
    head: SearchableHead, features: Tensor, labels: Tensor, grid: Grid, progress: bool = False, mode: str = "full"
) -> Tensor:
    """The number of right predictions at every point of the grid.

    Args:
        head: the head to search. Its learned parameters are not changed.
        features: raw validation features, (M, D).
        labels: (M,) int64.
        progress: True to show a bar.
        mode: `full`, or the approximation `coarse-to-fine`. This takes every few values of the stage axes (beta), then
            values at half the distance around the best, and so on, each with all alphas and mixing values.

    Returns:
        An int64 tensor of shape `grid.shape`; -1 at points that coarse-to-fine skipped.

    Raises:
        ValueError: the mode (SEARCH.MODE) is unknown.
    """
    if mode not in MODES:
        raise ValueError(f"Unknown mode '{mode}' (SEARCH.MODE). Choose one of {', '.join(MODES)}.")
    counts = torch.full(grid.shape, -1, dtype=torch.int64)
    lengths = [len(grid.axes[name]) for name in head.STAGE]
    if mode == "full":
        _count(head, features, labels, grid, list(itertools.product(*map(range, lengths))), counts, progress)
        return counts
    step = [max(1, n // FIRST_STEPS) for n in lengths]
    known: set[tuple[int, ...]] = set()
    best: list[int] | None = None
    while True:
        centres: list[int | None] = [*best] if best else [None] * len(lengths)
        wanted = set(itertools.product(*map(_places, lengths, step, centres))) - known
        if wanted:
            _count(head, features, labels, grid, sorted(wanted), counts, progress)
        known |= wanted
        if max(step, default=1) == 1 and best is not None:
            return counts
        peak = (counts == counts.max()).nonzero()[0].tolist()
        best = [peak[list(grid.axes).index(name)] for name in head.STAGE]
        step = [max(1, n // 2) for n in step]


def _places(length: int, step: int, centre: int | None) -> list[int]:
    """Positions on an axis: every `step`-th and the last, or the neighbours of a centre."""
    if centre is None:
        return sorted({*range(0, length, step), length - 1})
    return [i for i in (centre - step, centre, centre + step) if 0 <= i < length]


def _count(head, features, labels, grid: Grid, stage_points: list[tuple[int, ...]], counts: Tensor, progress) -> None:
    """Set the counts of some stage points, given as indices on the head's stage axes."""
    rows = max(1, (GPU_NUMBERS if features.is_cuda else CHUNK_ELEMENTS) // max(1, head.search_width))
    chunks = list(zip(features.split(rows), labels.split(rows), strict=True))
    for point in stage_points:
        counts[_index(grid, dict(zip(head.STAGE, point, strict=True)))] = 0
    with progress_bar("Searching", len(chunks) * len(stage_points), "step", shown=progress) as bar:
        for chunk, target in chunks:
            terms = head.terms(chunk)
            for point in stage_points:
                where = dict(zip(head.STAGE, point, strict=True))
                stage = head.stage(terms, **{name: grid.axes[name][i] for name, i in where.items()})
                for more, right in _mixtures(head, stage, target, grid):
                    counts[_index(grid, {**where, **more})] += right
                bar.update()


def _mixtures(head, stage, labels: Tensor, grid: Grid) -> Iterator[tuple[dict[str, int], Tensor]]:
    """Counts at all alphas and mixing values of a stage: (positions on some mixing axes, counts on the other axes)."""
    plane = head.LINEAR
    others = [name for name in head.MIXING if name != plane]
    alphas = grid.axes["alpha"]
    for places in itertools.product(*(range(len(grid.axes[name])) for name in others)):
        where = dict(zip(others, places, strict=True))
        fixed = {name: grid.axes[name][i] for name, i in where.items()}
        if plane is None:
            yield where, count_plane([head.affine(stage, **fixed)], [0.0], labels, alphas)[:, 0]
            continue
        values = grid.axes[plane]
        ends = [head.affine(stage, **fixed, **{plane: value}) for value in (values[0], values[-1])]
        shares = [(value - values[0]) / ((values[-1] - values[0]) or 1.0) for value in values]
        right = count_plane(ends, shares, labels, alphas)
        order = [name for name in grid.axes if name in ("alpha", plane)]
        yield where, right if order[0] == "alpha" else right.T


def _index(grid: Grid, where: Mapping[str, int]) -> tuple:
    return tuple(where.get(name, slice(None)) for name in grid.axes)


def count_plane(
    ends: Sequence[tuple[Tensor, Tensor]], shares: Sequence[float], labels: Tensor, alphas: Sequence[float]
) -> Tensor:
    """How many rows of base + alpha * slope have their maximum at the label, (len(alphas), len(shares)) int64.

    The label loses a tie with an earlier class and wins one with a later class, as argmax decides.

    Args:
        ends: (base, slope), (M, C) each, at the two ends of an axis along which both are linear; or one single pair.
        shares: positions on that axis, from 0 (the first end) to 1 (the last end).
        labels: (M,) int64.
        alphas: the values of alpha, ascending.
    """
    undecided, lost = _undecided(ends, labels, alphas)
    rows, classes = undecided.nonzero(as_tuple=True)
    if len(rows) * len(shares) > CHUNK_ELEMENTS and len(labels) > 1:  # to save memory
        parts = slice(None, len(labels) // 2), slice(len(labels) // 2, None)
        first, second = (count_plane([(b[p], s[p]) for b, s in ends], shares, labels[p], alphas) for p in parts)
        return first + second
    own = labels[rows]
    lines = []  # lead and gain of the label over each undecided class, (pairs, shares)
    t = torch.tensor(shares, dtype=ends[0][0].dtype, device=labels.device)
    for first, last in zip(ends[0], ends[-1], strict=True):
        start = (first[rows, own] - first[rows, classes])[:, None]
        lines.append(start + t * ((last[rows, own] - last[rows, classes])[:, None] - start))
    lead, gain = lines
    low, high = _intervals(lead, gain, (classes < own)[:, None])
    where = rows[:, None].expand_as(low)
    low = low.new_full((len(labels), len(t)), -torch.inf).scatter_reduce(0, where, low, "amax")
    high = high.new_full((len(labels), len(t)), torch.inf).scatter_reduce(0, where, high, "amin")
    values = torch.tensor(alphas, dtype=t.dtype, device=t.device)
    start = torch.searchsorted(values, low)
    stop = torch.searchsorted(values, high, right=True)
    right = (start < stop) & ~lost[:, None]
    column, counted = torch.arange(len(t), device=t.device), right.long().flatten()
    change = start.new_zeros((len(alphas) + 1) * len(t))
    change.index_add_(0, (start * len(t) + column).flatten(), counted)
    change.index_add_(0, (stop * len(t) + column).flatten(), counted, alpha=-1)
    return change.view(-1, len(t)).cumsum(0)[:-1].cpu()


def _undecided(ends: Sequence[tuple[Tensor, Tensor]], labels: Tensor, alphas: Sequence[float]) -> tuple[Tensor, Tensor]:
    """The (row, class) pairs whose order may change on the plane, (M, C), and the rows that are always wrong, (M,)."""
    leads: list[Tensor] = []  # the label's smallest and largest lead so far
    scale = ends[0][0].new_zeros(())  # stays on the device, because reading it would make a GPU wait
    for base, slope in ends:
        for alpha in {alphas[0], alphas[-1]}:
            logits = torch.add(base, slope, alpha=alpha)
            scale = torch.fmax(scale, logits.abs().max())
            lead = torch.sub(logits.gather(1, labels[:, None]), logits, out=logits)
            leads = [torch.minimum(leads[0], lead), torch.maximum(leads[1], lead)] if leads else [lead, lead]
    least, most = leads
    lost = ~(most >= -EDGE * scale).all(1)  # written so that a row of NaN counts as wrong
    undecided = (least <= EDGE * scale) & ~lost[:, None]
    undecided.scatter_(1, labels[:, None], False)
    return undecided, lost


def _intervals(lead: Tensor, gain: Tensor, loses_ties: Tensor) -> tuple[Tensor, Tensor]:
    """The closed interval of alpha on which lead + alpha gain is positive, or also zero if the label wins ties."""
    turn = -lead / gain
    low = torch.where(loses_ties, torch.nextafter(turn, torch.full_like(turn, torch.inf)), turn)
    high = torch.where(loses_ties, torch.nextafter(turn, torch.full_like(turn, -torch.inf)), turn)
    never = (gain == 0) & ((lead < 0) | ((lead == 0) & loses_ties))
    low = torch.where(gain > 0, low, -torch.inf).masked_fill(never, torch.inf)
    return low, torch.where(gain < 0, high, torch.inf)


def choose(counts: Tensor, grid: Grid, initial: Mapping[str, float], ties: str) -> dict[str, float]:
    """Choose the best setting.

    Args:
        counts: the result of `count_grid`.
        initial: the setting before the search.
        ties: which of several equally good settings is chosen. `first` is the first one in loop order, as in the
            authors' code. `nearest` is the one nearest to the initial setting, by the sum of grid steps, each as a
            share of the length of its axis. (On small validation sets thousands of settings tie, and the first is a
            corner of the grid.)
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


def search(
    head: SearchableHead, validation: LabelledFeatures, grid: Grid, *, mode: str, ties: str, progress: bool = False
) -> int:
    """Give a head the best setting of a grid on validation images, and return the number of settings that were tried.

    With `ties` nearest, the setting from before the search stays unless another one is better.

    Args:
        head: the head whose hyper-parameters are set. Its learned parameters are not changed.
        validation: raw features (M, D) with labels.
        mode, progress: see `count_grid`.
        ties: see `choose`.
    """
    features, labels = validation.features, validation.labels
    grid = grid.at({name: head.hparams[name] for name in head.settled})
    initial = accuracy_over(head, validation, features.device)
    counts = count_grid(head, features, labels, grid, progress, mode)
    tried = int((counts >= 0).sum())  # all of them, unless the search is coarse to fine
    best = 100.0 * counts.max().item() / len(labels)
    if ties == "first" or best > initial:
        head.hparams.update(choose(counts, grid, head.hparams, ties))
    log.info(
        "Searched %d settings: %.2f %% before, %.2f %% with %s",
        tried,
        initial,
        best,
        head.hparams,
    )
    return tried
