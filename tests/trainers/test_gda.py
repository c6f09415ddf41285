"""GDA against a textbook evaluation in float64."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from helpers.cache_heads import LABELS, queries, support
from simnl.fewshot.discriminant import gda_classifier
from simnl.fewshot.search import count_grid
from simnl.fewshot.task import FewShotTask
from simnl.locations import CONFIGS
from simnl.runs.config import assemble
from trainers.gda import GDA, GDAHead


def make_head(labels: list[int], alpha: float = 0.3) -> GDAHead:
    given = support(labels)
    weights, biases = gda_classifier(given.pop("cache_keys"), given.pop("labels"), len(given["text"]))
    return GDAHead(weights=weights, biases=biases, **given, alpha=alpha)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_logits_equal_a_naive_evaluation(labels):
    given = support(labels)
    x, count, width = given["cache_keys"], len(labels), 6
    means = []
    for c in range(4):
        rows = [x[n] for n in range(count) if labels[n] == c] or list(x)
        means.append(sum(rows) / len(rows))
    covariance = sum(torch.outer(x[n] - means[y], x[n] - means[y]) for n, y in enumerate(labels)) / (count - 1)
    shrunk = (count - 1) * covariance + covariance.trace() * torch.eye(width, dtype=torch.float64)
    precision = width * torch.linalg.inv(shrunk)
    wanted = torch.zeros(5, 4, dtype=torch.float64)
    for b, query in enumerate(queries()):
        f = query / query.norm()
        for c in range(4):
            gda = f @ precision @ means[c] + math.log(1 / 4) - means[c] @ precision @ means[c] / 2
            wanted[b, c] = 10 * (f @ given["text"][c]) + 0.3 * gda
    torch.testing.assert_close(make_head(labels)(queries()), wanted, atol=1e-9, rtol=0)


def test_it_is_the_bayes_rule_of_gaussians_with_one_covariance():
    """Up to what all classes share, the discriminant is minus half the Mahalanobis distance to the mean."""
    given = support(LABELS["equal"])
    weights, biases = gda_classifier(given["cache_keys"], given["labels"], 4)
    means = given["cache_keys"].view(4, 2, 6).mean(1)
    centred = given["cache_keys"].view(4, 2, 6) - means[:, None]
    scatter = centred.flatten(0, 1).T @ centred.flatten(0, 1)
    precision = 6 * torch.linalg.inv(scatter + scatter.trace() / 7 * torch.eye(6, dtype=torch.float64))
    offset = queries()[:, None] - means
    distance = torch.einsum("bcd,de,bce->bc", offset, precision, offset)
    ours = queries() @ weights.T + biases
    torch.testing.assert_close(
        ours - ours.mean(1, keepdim=True), (distance.mean(1, keepdim=True) - distance) / 2, atol=1e-9, rtol=0
    )


def test_a_shared_covariance_beats_distances_where_noise_has_a_direction():
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(2).repeat_interleave(200)
    noise = torch.randn(400, 2, generator=g) * torch.tensor([4.0, 0.2])
    rows = noise + labels[:, None] * torch.tensor([3.0, 1.0])
    weights, biases = gda_classifier(rows, labels, 2)
    right = ((rows @ weights.T + biases).argmax(1) == labels).float().mean()
    nearest = torch.cdist(rows, rows.view(2, 200, 2).mean(1)).argmin(1)
    assert right > 0.95 > 0.8 > (nearest == labels).float().mean()


def test_every_view_is_a_row_and_one_shot_has_a_covariance():
    g = torch.Generator().manual_seed(0)
    views = torch.randn(5, 4, 6, generator=g)  # V views of one image of each of 4 classes, not of unit length
    task = SimpleNamespace(
        support_features=views,
        support_labels=torch.arange(4),
        logit_scale=10.0,
        device=torch.device("cpu"),
        text_features=lambda name: support([0])["text"].float(),
    )
    task.view_rows = lambda: FewShotTask.view_rows(task)
    head = GDA.build_head(None, task, SimpleNamespace(ALPHA=0.1))
    rows, labels = F.normalize(views, dim=-1).reshape(20, 6), torch.arange(4).repeat(5)
    weights, biases = gda_classifier(rows, labels, 4)
    torch.testing.assert_close(head.weights, weights, atol=1e-4, rtol=1e-4)  # of an inverse, in float32
    torch.testing.assert_close(head.biases, biases, atol=1e-4, rtol=1e-4)
    assert torch.isfinite(weights).all()


def test_rows_without_any_spread_are_refused():
    with pytest.raises(ValueError, match=r"VIEWS\.CACHE"):
        make_head([0, 1, 2, 3])


def test_nothing_is_learned_and_alpha_zero_is_zero_shot():
    head = make_head(LABELS["equal"], alpha=0.0)
    assert dict(head.state_dict()) == {}
    assert head.parameter_groups() == [(1.0, [])]
    torch.testing.assert_close(head(queries()), 10 * F.normalize(queries(), dim=-1) @ head.text.T)


def test_search():
    node = assemble([CONFIGS / "trainers" / "GDA.yaml"], settings={"TRAINER.NAME": "GDA"}).TRAINER.GDA
    grid = GDA.search_space(None, node)
    assert grid.axes["alpha"] == pytest.approx([1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0])
    head, x, y = make_head(LABELS["equal"]), queries(40), torch.arange(40) % 4
    counts = count_grid(head, x, y, grid)
    assert counts.shape == (7,)
    for count, alpha in zip(counts, grid.axes["alpha"], strict=True):
        head.hparams["alpha"] = alpha
        assert count == (head(x).argmax(1) == y).sum()
