"""TransCLIP against an evaluation in float64, written out image by image from the formulas."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from simnl.fewshot.neighbours import nearest
from trainers.transclip import Mixture, TransCLIPOptions, TransCLIPTransduction

CLASSES, WIDTH, QUERIES = 3, 5, 14
LABELS = [0, 0, 1, 1, 1]  # none of the last class


def data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """y^ (Q, C), queries (Q, D), support (N, D)."""
    g = torch.Generator().manual_seed(3)
    centres = torch.randn(CLASSES, WIDTH, generator=g).double()
    queries = centres[torch.arange(QUERIES) % CLASSES] + 0.7 * torch.randn(QUERIES, WIDTH, generator=g).double()
    support = centres[LABELS] + 0.5 * torch.randn(len(LABELS), WIDTH, generator=g).double()
    queries, support = F.normalize(queries, dim=-1), F.normalize(support, dim=-1)
    return (6 * queries @ F.normalize(centres, dim=-1).T).softmax(1), queries, support


def naive(gamma: float, with_support: bool, outer: int, inner: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    start, q, s = data()
    labels = LABELS if with_support else []
    tau, trust = 50.0, 0.5 if with_support else 1.0
    w = [[0.0] * QUERIES for _ in range(QUERIES + len(labels))]
    for r, row in enumerate([*q, *s[: len(labels)]]):
        cosines = sorted(((float(row @ q[j]), j) for j in range(QUERIES)), reverse=True)
        for cosine, j in cosines[1:4] if r < QUERIES else cosines[:3]:
            w[r][j] = cosine
    mu = []
    for c in range(CLASSES):
        mine = [s[n] for n, y in enumerate(labels) if y == c]
        best = sorted(range(QUERIES), key=lambda i: -float(start[i, c]))[:8]
        total = sum(mine) if mine else sum(start[i, c] * q[i] for i in best)
        mu.append(total / total.norm())
    sigma, z = torch.full((WIDTH,), 1 / WIDTH, dtype=torch.float64), start.clone()

    def assign(z):
        for _ in range(inner):
            hot = torch.zeros(QUERIES + len(labels), CLASSES).double()
            hot[:QUERIES] = z
            for n, y in enumerate(labels):
                hot[QUERIES + n, y] = 1
            new = torch.zeros_like(z)
            for i in range(QUERIES):
                u = [
                    -0.5 * float(((q[i] - mu[c]) ** 2 / sigma).sum())
                    + tau / 6 * sum(w[r][i] * float(hot[r, c]) for r in range(len(hot)))
                    + tau / 6 * sum(w[i][j] * float(z[j, c]) for j in range(QUERIES))
                    for c in range(CLASSES)
                ]
                parts = [float(start[i, c]) ** trust * math.exp((u[c] - max(u)) / tau) for c in range(CLASSES)]
                new[i] = torch.tensor(parts, dtype=torch.float64) / sum(parts)
            z = new
        return z

    for _ in range(outer):
        z = assign(z)
        weight = tau * gamma / len(labels) if labels else 0.0
        for c in range(CLASSES):
            total = sum(z[i, c] * q[i] for i in range(QUERIES)) / QUERIES
            total = total + weight * sum((s[n] for n, y in enumerate(labels) if y == c), torch.zeros(WIDTH))
            mu[c] = total / total.norm()
        spread = sum(z[i, c] * (q[i] - mu[c]) ** 2 for i in range(QUERIES) for c in range(CLASSES)) / QUERIES
        spread = spread + weight * sum(((s[n] - mu[y]) ** 2 for n, y in enumerate(labels)), torch.zeros(WIDTH))
        sigma = spread / (1 + (tau * gamma if labels else 0.0))
    return assign(z), torch.stack(mu), sigma


def mixture(with_support: bool, **options) -> Mixture:
    start, queries, support = data()
    labels = torch.tensor(LABELS)
    if not with_support:
        support, labels = support[:0], labels[:0]
    return Mixture(start, queries, support, labels, TransCLIPOptions(**options))


@pytest.mark.parametrize(("with_support", "gamma"), [(False, 0.0), (True, 0.002), (True, 0.2)])
def test_the_mixture_equals_a_naive_evaluation(with_support, gamma):
    wanted = naive(gamma, with_support, outer=3, inner=2)
    ours = mixture(with_support, outer=3, inner=2)
    state = ours.fit(ours.initial(), gamma)
    for mine, theirs in zip((state.z, state.means, state.variances), wanted, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-9, rtol=0)


def test_a_product_with_neighbours_is_that_with_their_matrix():
    _, queries, support = data()
    affinity = nearest(support, queries, 3)
    matrix = torch.zeros(len(support), QUERIES).double().scatter(1, affinity.columns, affinity.values)
    z, hot = torch.rand(QUERIES, 2).double(), torch.rand(len(support), 2).double()
    torch.testing.assert_close(affinity.times(z), matrix @ z)
    torch.testing.assert_close(affinity.transposed_times(hot, QUERIES), matrix.T @ hot)
    kept = (support @ queries.T).sort(1, descending=True).values
    torch.testing.assert_close(affinity.values, kept[:, :3])
    torch.testing.assert_close(nearest(support, queries, 2, skip=1).values, kept[:, 1:3])


def test_blocks_of_neighbours_change_nothing(monkeypatch):
    _, queries, _ = data()
    whole = nearest(queries, queries, 3, skip=1)
    monkeypatch.setattr("simnl.fewshot.neighbours.BLOCK_NUMBERS", 3 * QUERIES)
    assert torch.equal(nearest(queries, queries, 3, skip=1).columns, whole.columns)


def test_permuting_the_test_images_permutes_the_answer():
    start, queries, support = data()
    order = torch.randperm(QUERIES, generator=torch.Generator().manual_seed(1))
    first = Mixture(start, queries, support, torch.tensor(LABELS), TransCLIPOptions())
    again = Mixture(start[order], queries[order], support, torch.tensor(LABELS), TransCLIPOptions())
    torch.testing.assert_close(again.fit(again.initial(), 0.02).z, first.fit(first.initial(), 0.02).z[order])


def test_a_gamma_does_not_depend_on_those_before_it_unless_the_authors_way_is_asked_for():
    gammas, run, chained = [0.2, 0.002], mixture(True, outer=1), mixture(True, outer=1, reset=False)
    (alone,) = run.runs(gammas[1:])
    torch.testing.assert_close(list(run.runs(gammas))[1].z, alone.z)
    assert (list(chained.runs(gammas))[1].z - alone.z).abs().max() > 1e-6


def test_a_class_without_mass_keeps_its_mean():
    start, queries, support = data()
    start = torch.cat([start, torch.zeros(QUERIES, 1).double()], dim=1)
    run = Mixture(start, queries, support[:0], torch.zeros(0, dtype=torch.int64), TransCLIPOptions())
    state = run.initial()
    state.means[3] = queries[0]
    state.z = start
    assert torch.equal(run.means_given(state, 0.0)[3], queries[0])


def transduction(gammas=(0.002, 0.2), validation: int = 4) -> TransCLIPTransduction:
    _, queries, support = data()
    labels = torch.arange(validation) % CLASSES
    return TransCLIPTransduction(
        support, torch.tensor(LABELS), queries[:validation], labels, TransCLIPOptions(gammas=gammas)
    )


def test_gamma_is_the_first_best_on_the_selection_images():
    start, queries, _ = data()
    plugin = transduction()
    states = list(mixture(True).runs([0.002, 0.2]))
    right = [(s.z[:4].argmax(1) == plugin.validation_labels).sum().item() for s in states]
    expected = states[right.index(max(right))].z
    torch.testing.assert_close(plugin(2 * queries, start.log()).exp(), expected, atol=1e-6, rtol=0)


def test_without_selection_images_gamma_is_the_first():
    start, queries, _ = data()
    (state,) = mixture(True).runs([0.2])
    ours = transduction(gammas=(0.2, 0.002), validation=0)(queries, start.log()).exp()
    torch.testing.assert_close(ours, state.z, atol=1e-6, rtol=0)


@pytest.mark.parametrize("number", [1, 2, 3, 7])
def test_few_images_are_no_reason_to_fail(number):
    start, queries, _ = data()
    logits = transduction(validation=0)(queries[:number], start[:number].log())
    assert logits.shape == (number, CLASSES)
    assert logits.isfinite().all()


@pytest.mark.parametrize("wrong", [{"gammas": ()}, {"tau": 0.0}, {"outer": 0}, {"inner": 0}, {"rows": "mixed"}])
def test_options_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="TRAINER.TRANSCLIP"):
        TransCLIPOptions(**wrong)
