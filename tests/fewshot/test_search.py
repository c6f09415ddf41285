"""The factored search against the direct one: every grid point, computed alone."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.brute_force import counts_of
from helpers.simnl_head import make_head
from simnl.fewshot.search import Grid, axis, choose, count_grid, count_plane


@pytest.mark.parametrize("options", [{}, {"negative_keys": "slot"}])
@pytest.mark.parametrize("chunk", [2**24, 40])
def test_counts_equal_brute_force_at_every_point(options, chunk, monkeypatch):
    monkeypatch.setattr("simnl.fewshot.search.CHUNK_ELEMENTS", chunk)
    head = make_head(**options)
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(60, 8, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 5, (60,), generator=generator)
    grid = Grid({"beta": axis(0, 7, 6), "alpha": axis(0, 7, 5), "lam": axis(0.6, 1, 4)})
    counts = count_grid(head, features, labels, grid)
    assert counts.shape == (6, 5, 4)
    assert grid.size == 120
    assert torch.equal(counts, counts_of(head, features, labels, grid))


@given(
    rows=st.lists(
        st.tuples(
            st.lists(st.integers(-3, 3), min_size=3, max_size=3),  # small integers: ties everywhere
            st.lists(st.integers(-3, 3), min_size=3, max_size=3),
            st.integers(0, 2),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_ties_fall_as_argmax_decides_them(rows):
    base, slope, labels = (torch.tensor(column) for column in zip(*rows, strict=True))
    base, slope = base.double(), slope.double()
    alphas = [0.0, 0.5, 1.0, 2.0, 3.0]
    direct = [((base + a * slope).argmax(1) == labels).sum().item() for a in alphas]
    assert count_plane([(base, slope)], [0.0], labels, alphas)[:, 0].tolist() == direct


def test_the_upper_end_of_an_axis_is_excluded():
    assert axis(0.6, 1.0, 4) == pytest.approx([0.6, 0.7, 0.8, 0.9])
    assert len(axis(0, 7, 200)) * len(axis(0, 7, 40)) * len(axis(0.6, 1, 20)) == 160_000


def test_choose_first_follows_the_loops_and_nearest_stays_near():
    grid = Grid({"beta": [0.0, 1.0, 2.0], "alpha": [0.0, 1.0]})
    counts = torch.tensor([[5, 1], [3, 5], [5, 5]])
    start = {"beta": 2.1, "alpha": 0.9}
    assert choose(counts, grid, start, "first") == {"beta": 0.0, "alpha": 0.0}
    assert choose(counts, grid, start, "nearest") == {"beta": 2.0, "alpha": 1.0}
    with pytest.raises(ValueError, match=r"SEARCH\.TIES"):
        choose(counts, grid, start, "last")


@pytest.mark.parametrize("axes", [{"alpha": 5, "lam": 4, "beta": 6}, {"lam": 1, "beta": 3, "alpha": 1}])
def test_any_order_and_length_of_axes(axes):
    head = make_head()
    features = torch.randn(40, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.randint(0, 5, (40,), generator=torch.Generator().manual_seed(2))
    grid = Grid({name: axis(0.5, 3, steps) for name, steps in axes.items()})
    counts = count_grid(head, features, labels, grid)
    for place in itertools.product(*(range(n) for n in grid.shape)):
        head.hparams = {name: grid.axes[name][i] for name, i in zip(grid.axes, place, strict=True)}
        with torch.no_grad():
            assert counts[place] == (head(features).argmax(1) == labels).sum(), place


@given(
    numbers=st.lists(st.lists(st.integers(-2, 2), min_size=12, max_size=12), min_size=1, max_size=5),
    label=st.integers(0, 2),
)
def test_a_plane_is_decided_as_every_point_of_it(numbers, label):
    """Small integers: leads of exactly zero at corners, on edges and inside."""
    rows = torch.tensor(numbers, dtype=torch.float64).view(len(numbers), 4, 3)
    (base, slope), (last_base, last_slope) = (rows[:, 0], rows[:, 1]), (rows[:, 2], rows[:, 3])
    labels = torch.full((len(numbers),), label)
    alphas, shares = [0.0, 0.5, 1.0, 2.0], [0.0, 0.25, 0.5, 1.0]
    counts = count_plane([(base, slope), (last_base, last_slope)], shares, labels, alphas)
    for i, a in enumerate(alphas):
        for j, t in enumerate(shares):
            logits = (1 - t) * base + t * last_base + a * ((1 - t) * slope + t * last_slope)
            assert counts[i, j] == (logits.argmax(1) == labels).sum(), (a, t)


def test_coarse_to_fine_counts_exactly_where_it_looks_and_finds_a_single_peak():
    head = make_head()
    features = torch.randn(200, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    grid = Grid({"beta": axis(0, 20, 100), "alpha": axis(0, 7, 5), "lam": axis(0.6, 1, 4)})
    with torch.no_grad():
        labels = head(features).argmax(1)  # right at beta = 2, so that accuracy has its peak there
    full = count_grid(head, features, labels, grid)
    some = count_grid(head, features, labels, grid, mode="coarse-to-fine")
    looked = some >= 0
    assert torch.equal(some[looked], full[looked])
    assert 0.1 < looked.double().mean() < 0.35
    assert some.max() >= 0.98 * full.max()
    with pytest.raises(ValueError, match=r"SEARCH\.MODE"):
        count_grid(head, features, labels, grid, mode="guess")
