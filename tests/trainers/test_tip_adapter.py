"""Tip-Adapter and Tip-Adapter-F against naive loops in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from helpers.brute_force import counts_of
from helpers.cache_heads import LABELS, queries, support
from simnl.fewshot.search import axis, count_grid
from simnl.locations import CONFIGS
from simnl.runs.config import assemble
from trainers.tip_adapter import TipAdapter, TipAdapterHead


def naive(x, text, keys, labels, beta, alpha):
    """Logits one number at a time; keys are used at the length they have."""
    rows = []
    for b in range(len(x)):
        f = x[b] / x[b].norm()
        logits = [10.0 * (f @ text[c]) for c in range(len(text))]
        for n, label in enumerate(labels):
            logits[label] = logits[label] + alpha * torch.exp(-beta * (1 - f @ keys[n]))
        rows.append(torch.stack(logits))
    return torch.stack(rows)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("learn_keys", [False, True])
def test_logits_equal_a_naive_evaluation(labels, learn_keys):
    given = support(labels)
    head = TipAdapterHead(**given, learn_keys=learn_keys, beta=2.5, alpha=1.7)
    wanted = naive(queries(), given["text"], given["cache_keys"], labels, 2.5, 1.7)
    torch.testing.assert_close(head(queries()).detach(), wanted, atol=1e-12, rtol=0)


def test_loss_and_gradient_of_learned_keys():
    labels = LABELS["equal"]
    given = support(labels)
    head = TipAdapterHead(**given, learn_keys=True, beta=2.5, alpha=1.7)
    with torch.no_grad():
        head.cache_keys.mul_(1.3)  # no longer unit rows: nothing may normalise them
    target = torch.tensor([0, 3, 1, 2, 2])
    keys = head.cache_keys.detach().clone().requires_grad_()
    logits = naive(queries(), given["text"], keys, labels, 2.5, 1.7)
    wanted = -sum(logits[b].log_softmax(0)[target[b]] for b in range(5)) / 5
    losses = head.losses(queries(), target)
    assert set(losses) == {"ce"}
    assert losses["ce"].item() == pytest.approx(wanted.item(), abs=1e-12)
    losses["ce"].backward()
    wanted.backward()
    torch.testing.assert_close(head.cache_keys.grad, keys.grad, atol=1e-12, rtol=0)


def test_what_is_learned_and_that_learning_starts_from_the_training_free_cache():
    given = support(LABELS["equal"])
    free, learned = (TipAdapterHead(**given, learn_keys=k, beta=1.0, alpha=2.0) for k in (False, True))
    assert dict(free.state_dict()) == {}
    assert free.parameter_groups() == [(1.0, [])]
    assert {name: tuple(p.shape) for name, p in learned.state_dict().items()} == {"cache_keys": (8, 6)}  # C K D
    torch.testing.assert_close(free(queries()), learned(queries()).detach(), atol=1e-12, rtol=0)
    with torch.no_grad():
        learned.cache_keys.zero_()
    assert torch.equal(free.cache_keys, given["cache_keys"])  # the learned keys are a copy


def test_limits():
    given = support(LABELS["equal"])
    head = TipAdapterHead(**given, learn_keys=False, beta=0.0, alpha=1.0)
    text = 10.0 * F.normalize(queries(), dim=-1) @ given["text"].T
    torch.testing.assert_close(head(queries()), text + 2)  # beta = 0: every class gets K
    head.hparams = {"beta": 3.0, "alpha": 0.0}
    torch.testing.assert_close(head(queries()), text)


def test_the_search_is_the_authors():
    """200 x 20 settings from 0.1, the maximum excluded; counted as an evaluation of each alone counts."""
    cfg = assemble(
        [CONFIGS / "datasets" / "oxford_flowers.yaml", CONFIGS / "trainers" / "TipAdapter.yaml"],
        settings={"TRAINER.NAME": "TipAdapter"},
    )
    node = cfg.TRAINER.TIPADAPTER
    grid = TipAdapter.search_space(None, node)
    assert list(grid.axes) == ["beta", "alpha"]
    assert grid.shape == (200, 20)
    assert (node.BETA, node.ALPHA) == (1.0, 10.0)
    for values, step in ((grid.axes["beta"], 49.9 / 200), (grid.axes["alpha"], 49.9 / 20)):
        assert values[0] == 0.1
        assert values[-1] == pytest.approx(50 - step)
    small = type(grid)({"beta": axis(0.1, 12, 4), "alpha": axis(0.1, 5, 3)})
    head = TipAdapterHead(**support(LABELS["equal"]), learn_keys=False, beta=1.0, alpha=1.0)
    x, y = queries(40), torch.arange(40) % 4
    assert torch.equal(count_grid(head, x, y, small), counts_of(head, x, y, small))


def test_hyper_parameters_are_named():
    with pytest.raises(ValueError, match=r"has hyper-parameters \['alpha', 'beta'\], not .*gamma"):
        TipAdapterHead(**support([0, 1]), learn_keys=False, beta=1.0, alpha=1.0, gamma=0.1)


def test_affinities_lie_in_the_unit_interval_at_unit_keys():
    head = TipAdapterHead(**support([0, 1, 2, 3]), learn_keys=False, beta=5.5, alpha=1.0)
    cache = head.stage(head.terms(queries()), beta=5.5)["cache"]
    assert cache.min() >= math.exp(-11.0)
    assert cache.max() <= 1.0
