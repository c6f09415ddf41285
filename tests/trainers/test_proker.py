"""ProKeR against a naive evaluation and against what its formula minimises, in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from helpers.brute_force import counts_of
from helpers.cache_heads import LABELS, queries, support
from simnl.fewshot.ridge import ridge_coefficients
from simnl.fewshot.search import Grid, count_grid
from simnl.locations import CONFIGS
from simnl.runs.config import assemble
from trainers.proker import ProKeR, ProKeRHead


def make_head(labels: list[int], **hparams: float) -> ProKeRHead:
    return ProKeRHead(**support(labels), **{"beta": 1.5, "lam": 0.3, "alpha": 1.0, **hparams})


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("alpha", [1.0, 0.4])
def test_logits_equal_a_naive_evaluation(labels, alpha):
    given = support(labels)
    text, keys, count = given["text"], given["cache_keys"], len(labels)

    def kernel(a, b):
        return math.exp(-1.5 * ((a - b) ** 2).sum() / 2)

    gram = torch.tensor([[kernel(a, b) for b in keys] for a in keys], dtype=torch.float64)
    inverse = torch.linalg.inv(gram + 0.3 * torch.eye(count, dtype=torch.float64))
    wanted = torch.zeros(5, 4, dtype=torch.float64)
    for b, query in enumerate(queries()):
        f = query / query.norm()
        near = torch.tensor([kernel(f, k) for k in keys], dtype=torch.float64) @ inverse
        for c in range(4):
            lack = sum(near[n] * (alpha * (labels[n] == c) - keys[n] @ text[c]) for n in range(count))
            wanted[b, c] = 10 * (f @ text[c] + lack)
    torch.testing.assert_close(make_head(labels, alpha=alpha)(queries()), wanted, atol=1e-10, rtol=0)


def test_the_correction_minimises_the_proximal_ridge_loss():
    """f = f_zs + sum_n a_n k(., x_n): |f(X) - Y|^2 + lambda a'Ka has zero gradient at ours, and grows nearby."""
    given = support(LABELS["equal"])
    text, keys = given["text"], given["cache_keys"]
    zero_shot, labels = keys @ text.T, F.one_hot(given["labels"], 4).double()
    gram = torch.exp(-1.5 * torch.cdist(keys, keys).square() / 2)
    smooth_zero_shot, smooth_labels = make_head(LABELS["equal"]).coefficients(1.5, 0.3).chunk(2, dim=1)
    ours = (smooth_labels - smooth_zero_shot).requires_grad_()

    def loss(a):
        return (zero_shot + gram @ a - labels).square().sum() + 0.3 * (a * (gram @ a)).sum()

    (gradient,) = torch.autograd.grad(loss(ours), ours)
    assert gradient.abs().max() < 1e-10
    for seed in range(5):
        step = torch.randn(8, 4, generator=torch.Generator().manual_seed(seed)).double()
        assert loss(ours + 0.01 * step) > loss(ours)


def test_limits():
    """A large ridge is zero-shot; none at all gives the support images their labels."""
    given = support(LABELS["equal"])
    zero_shot = 10 * F.normalize(queries(), dim=-1) @ given["text"].T
    torch.testing.assert_close(make_head(LABELS["equal"], lam=1e9)(queries()), zero_shot, atol=1e-6, rtol=0)
    fitted = make_head(LABELS["equal"], lam=1e-9)(given["cache_keys"])
    torch.testing.assert_close(fitted, 10 * F.one_hot(given["labels"], 4).double(), atol=1e-4, rtol=0)


def test_a_small_ridge_is_solved_accurately_in_single_precision():
    """Nearly equal keys and a small beta: K is all but singular."""
    g = torch.Generator().manual_seed(0)
    text, centre = F.normalize(torch.randn(4, 6, generator=g), dim=-1), torch.randn(1, 6, generator=g)
    keys = F.normalize(centre + 0.05 * torch.randn(8, 6, generator=g), dim=-1)
    labels = torch.tensor(LABELS["equal"])
    single = ProKeRHead(text=text, cache_keys=keys, labels=labels, logit_scale=10.0, beta=0.1, lam=1e-3, alpha=1.0)
    double = ProKeRHead(
        text=text.double(), cache_keys=keys.double(), labels=labels, logit_scale=10.0, beta=0.1, lam=1e-3, alpha=1.0
    )
    x = F.normalize(centre + 0.05 * torch.randn(9, 6, generator=g), dim=-1)
    assert single(x).dtype is torch.float32
    torch.testing.assert_close(single(x).double(), double(x.double()), atol=2e-3, rtol=0)


def test_nothing_is_learned_and_solutions_follow_the_hyper_parameters():
    head = make_head(LABELS["equal"])
    assert dict(head.state_dict()) == {}
    assert head.parameter_groups() == [(1.0, [])]
    first = head(queries())
    assert head.coefficients(1.5, 0.3) is head.coefficients(1.5, 0.3)
    head.hparams["lam"] = 2.0
    torch.testing.assert_close(head(queries()), make_head(LABELS["equal"], lam=2.0)(queries()))
    head.hparams["lam"] = 0.3
    assert torch.equal(head(queries()), first)


@pytest.mark.parametrize("lam", [0.0, -1.0])
def test_a_ridge_that_is_not_positive_is_refused(lam):
    with pytest.raises(ValueError, match=r"TRAINER\.PROKER\.LAM"):
        make_head(LABELS["equal"], lam=lam)(queries())


def test_search():
    node = assemble([CONFIGS / "trainers" / "ProKeR.yaml"], settings={"TRAINER.NAME": "ProKeR"}).TRAINER.PROKER
    grid = ProKeR.search_space(None, node)
    assert list(grid.axes) == ["beta", "lam", "alpha"]
    assert grid.shape == (10, 9, 1)
    assert grid.axes["alpha"] == [1.0]
    assert (grid.axes["beta"][0], grid.axes["lam"][0]) == pytest.approx((0.1, 1e-3))
    assert (grid.axes["beta"][-1], grid.axes["lam"][-1]) == pytest.approx((10**1.25, 10.0))
    small = Grid({"beta": [0.1, 3.0], "lam": [0.01, 1.0], "alpha": [0.5, 1.0, 2.0]})
    head, x, y = make_head(LABELS["equal"]), queries(40), torch.arange(40) % 4
    assert torch.equal(count_grid(head, x, y, small), counts_of(head, x, y, small))


def test_a_setting_is_solved_once_however_few_images_a_chunk_holds(monkeypatch):
    solved = []
    monkeypatch.setattr("trainers.proker.ridge_coefficients", lambda *a: solved.append(a[2]) or ridge_coefficients(*a))
    monkeypatch.setattr("simnl.fewshot.search.CHUNK_ELEMENTS", 1)
    grid = Grid({"beta": [0.1, 3.0], "lam": [0.01, 1.0], "alpha": [1.0]})
    count_grid(make_head(LABELS["equal"]), queries(8), torch.arange(8) % 4, grid)
    assert solved == [0.01, 1.0, 0.01, 1.0]
