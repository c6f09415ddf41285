"""The linear probe against its objective, and CoOp's search for C against a plain account of it."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from trainers.linear_probe import LinearProbeHead, search_c


def rows(classes: int, shots: int, width: int = 8):
    generator = torch.Generator().manual_seed(classes)
    labels = torch.arange(classes).repeat_interleave(shots)
    centres = torch.randn(classes, width, generator=generator)
    return centres[labels] + 0.7 * torch.randn(len(labels), width, generator=generator), labels


def objective(x, y, weight, bias, c):
    """Sum of cross-entropies + |W|^2 / (2 C), in float64, image by image."""
    total = weight.square().sum() / (2 * c)
    for image, label in zip(x.double(), y.tolist(), strict=True):
        logits = torch.stack([w @ image for w in weight]) + bias
        total = total - logits[label] + torch.logsumexp(logits, 0)
    return total


@pytest.mark.parametrize("classes", [2, 3, 6])
@pytest.mark.parametrize("c", [0.01, 1.0])
def test_the_fit_is_a_minimum_of_the_objective(classes, c):
    x, y = rows(classes, 5)
    head = LinearProbeHead(classes, x.shape[1])
    head.fit(x, y, c, 1000)
    weight = head.weight.detach().double().requires_grad_()
    bias = head.bias.detach().double().requires_grad_()
    grads = torch.autograd.grad(objective(x, y, weight, bias, c), (weight, bias))
    assert max(g.abs().max().item() for g in grads) < 2e-2


def test_logits_are_what_the_docstring_says():
    x, y = rows(3, 4)
    head = LinearProbeHead(3, 8)
    head.fit(x, y, 1.0, 1000)
    torch.testing.assert_close(head(x), x @ head.weight.T + head.bias)
    assert sum(p.numel() for p in head.parameters()) == 3 * (8 + 1)
    assert F.cross_entropy(head(x), y) < math.log(3)


def test_a_class_without_images_never_wins():
    x, y = rows(4, 3)
    head = LinearProbeHead(4, 8)
    head.fit(x[y != 2], y[y != 2], 1.0, 1000)
    assert 2 not in head(torch.randn(200, 8, generator=torch.Generator().manual_seed(1)) * 5).argmax(1)
    assert head.weight[2].abs().sum() == 0


def test_an_untrained_probe_says_nothing():
    assert LinearProbeHead(4, 8)(torch.ones(2, 8)).abs().sum() == 0


COARSE = [1e6, 1e4, 1e2, 1.0, 1e-2, 1e-4, 1e-6]


@pytest.mark.parametrize("peak", [-5.2, -0.7, 0.0, 1.3, 4.9])
def test_the_search_closes_in_on_a_single_peak(peak):
    for rule in ("best", "last"):
        found = search_c(lambda c: -abs(math.log10(c) - peak), COARSE, 8, rule)
        assert abs(math.log10(found) - peak) < 0.6


def test_the_search_is_the_source_s_step_by_step():
    """Two halvings by hand: centre 1, ends 0.1 and 10; 10 is better, so left moves to 1; equal, so right moves."""
    accuracy = {0.1: 50.0, 10.0: 60.0, 1.0: 60.0}
    asked = []

    def score(c):
        asked.append(round(c, 9))
        return accuracy.get(round(c, 9), 40.0)

    assert search_c(score, COARSE, 2, "last") == pytest.approx(1.0)
    assert asked[len(COARSE) :] == [0.1, 10.0, 1.0, 10.0]


def test_the_first_of_equals_is_the_largest_of_the_coarse_values_and_the_smallest_overall():
    assert search_c(lambda c: 1.0, COARSE, 0, "last") == 1e6
    assert search_c(lambda c: 1.0, COARSE, 0, "best") == 1e-6
