"""LP++: start, step sizes, formulas and the rhythm of its two blocks, against naive loops in float64."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from yacs.config import CfgNode as CN

from helpers.golden import official_cfg
from trainers.lp_plus_plus import BlockDescent, LPPlusPlus, LPPlusPlusHead, initial_bias

LABELS = torch.arange(4).repeat_interleave(3)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_head(shots: int = 3, views: int = 1) -> LPPlusPlusHead:
    labels = torch.arange(4).repeat_interleave(shots)
    features = 0.4 * random(views, len(labels), 6, seed=1) + random(4, 6, seed=2)[labels]
    text = F.normalize(random(4, 6, seed=2) + 0.5 * random(4, 6, seed=3), dim=-1)
    head = LPPlusPlusHead(text, features, labels, 250.0)
    head.support, head.labels = features, labels
    return head


def test_logits_loss_and_gradient_equal_a_naive_evaluation():
    head, x, labels = make_head(), random(5, 6, seed=4), torch.tensor([0, 3, 1, 1, 2])
    head.alpha.data, head.bias.data = random(4, seed=5), random(4, seed=6)
    learned = [head.weight, head.bias, head.alpha]
    w, bias, alpha = copies = [p.detach().clone().requires_grad_() for p in learned]
    loss = 0.0
    for b in range(5):
        f = x[b] / x[b].norm()
        logits = torch.stack([f @ w[c] + bias[c] + alpha[c] * (f @ head.text[c]) for c in range(4)])
        torch.testing.assert_close(head(x)[b], logits)
        loss += (logits.exp().sum().log() - logits[labels[b]]) / 5
    ours = head.losses(x, labels)["ce"]
    assert ours.item() == pytest.approx(loss.item())
    torch.testing.assert_close(torch.autograd.grad(ours, learned), torch.autograd.grad(loss, copies))


def test_the_start():
    head = make_head()
    unit = F.normalize(head.support[0], dim=-1)
    for c in range(4):
        torch.testing.assert_close(head.weight[c], sum(unit[n] for n in range(12) if LABELS[n] == c))  # a sum, no mean
    cosines = [(unit[n] @ head.text[LABELS[n]]).item() for n in range(12)]
    assert head.alpha.tolist() == pytest.approx([250 * sum(cosines) / 12] * 4)
    assert head.bias.abs().max() == 0
    assert make_head(shots=12).weight.norm() > 3 * make_head(shots=3).weight.norm()


def test_step_sizes():
    head = make_head()
    unit = F.normalize(head.support[0], dim=-1)
    largest = torch.linalg.svdvals(unit)[0].item() ** 2
    squares = [sum((unit[n] @ head.text[c]).item() ** 2 for n in range(12)) for c in range(4)]
    assert head.step_sizes == pytest.approx((4 * 12 / largest, 12 / (4 * max(squares))))
    (lr_w, probe), (lr_alpha, blend) = head.parameter_groups()
    assert (lr_w, lr_alpha) == head.step_sizes
    assert [id(p) for p in (*probe, *blend)] == [id(head.weight), id(head.bias), id(head.alpha)]


def test_equal_views_change_nothing():
    one = make_head()
    many = LPPlusPlusHead(one.text, one.support.expand(5, -1, -1), one.labels, 250.0)
    torch.testing.assert_close(many.weight, one.weight)
    torch.testing.assert_close(many.alpha, one.alpha)
    assert many.step_sizes == pytest.approx(one.step_sizes)


def optim_of(head: LPPlusPlusHead, gradient: str, period: int = 10) -> BlockDescent:
    """As the trainer builds it, without a trainer."""
    trainer = LPPlusPlus.__new__(LPPlusPlus)
    trainer.cfg = CN({"OPTIM": {"MOMENTUM": 0.9}, "TRAINER": {"LPPLUSPLUS": LPPlusPlus.default_cfg()}})
    trainer.cfg.TRAINER.LPPLUSPLUS.ALPHA_GRADIENT = gradient
    trainer.cfg.TRAINER.LPPLUSPLUS.ALPHA_PERIOD = period
    return trainer.build_optim([{"params": p, "lr": lr, "eps": 1e-8} for lr, p in head.parameter_groups()])


@pytest.mark.parametrize("gradient", ["current", "accumulated"])
def test_thirty_iterations_equal_a_naive_loop(gradient):
    """alpha moves in iterations 10, 20, 30 alone; accumulated: by the sum of all gradients so far."""
    head = make_head()
    x, labels = head.support[0], head.labels
    w, bias, alpha = (p.detach().clone() for p in (head.weight, head.bias, head.alpha))
    velocity_w, velocity_bias, total = torch.zeros_like(w), torch.zeros_like(bias), torch.zeros_like(alpha)
    optim, (lr_w, lr_alpha) = optim_of(head, gradient), head.step_sizes
    for iteration in range(1, 31):
        before = head.alpha.detach().clone()
        optim.zero_grad()
        head.losses(x, labels)["ce"].backward()
        optim.step()
        f = F.normalize(x, dim=-1)
        error = ((f @ w.T + bias + alpha * (f @ head.text.T)).softmax(1) - F.one_hot(labels)) / 12
        grad_w, grad_bias, grad_alpha = error.T @ f, error.sum(0), (error * (f @ head.text.T)).sum(0)
        velocity_w, velocity_bias, total = (
            0.9 * velocity_w + grad_w,
            0.9 * velocity_bias + grad_bias,
            total + grad_alpha,
        )
        w, bias = w - lr_w * velocity_w, bias - lr_w * velocity_bias
        if iteration % 10 == 0:
            alpha = alpha - lr_alpha * (total if gradient == "accumulated" else grad_alpha)
        assert torch.equal(before, head.alpha) == (iteration % 10 != 0)
        for ours, naive in ((head.weight, w), (head.bias, bias), (head.alpha, alpha)):
            torch.testing.assert_close(ours.detach(), naive)


def test_a_resumed_optimiser_goes_on_as_an_undisturbed_one():
    head = make_head()
    x, labels = head.support[0], head.labels

    def iterate(model, optim, times):
        for _ in range(times):
            optim.zero_grad()
            model.losses(x, labels)["ce"].backward()
            optim.step()

    optim = optim_of(head, "accumulated", period=4)
    iterate(head, optim, 6)
    other = make_head()
    other.load_state_dict(copy.deepcopy(head.state_dict()))
    resumed = optim_of(other, "accumulated", period=4)
    resumed.load_state_dict(copy.deepcopy(optim.state_dict()))
    iterate(head, optim, 7)
    iterate(other, resumed, 7)
    for ours, undisturbed in zip(other.parameters(), head.parameters(), strict=True):
        assert torch.equal(ours, undisturbed)


def test_training_lowers_the_loss():
    head = make_head()
    optim, first = optim_of(head, "current"), head.losses(head.support[0], head.labels)["ce"].item()
    for _ in range(50):
        optim.zero_grad()
        head.losses(head.support[0], head.labels)["ce"].backward()
        optim.step()
    assert head.losses(head.support[0], head.labels)["ce"].item() < first


def test_parameters():
    labels = torch.arange(1000)
    head = LPPlusPlusHead(torch.ones(1000, 16), torch.ones(1, 1000, 16), labels, 250.0)
    assert sum(p.numel() for p in head.parameters()) == 1000 * 16 + 2 * 1000
    assert set(head.state_dict()) == {"weight", "bias", "alpha"}


@pytest.mark.parametrize(("options", "key"), [(("sum", 10), "ALPHA_GRADIENT"), (("current", 0), "ALPHA_PERIOD")])
def test_wrong_options_are_refused_by_name(options, key):
    with pytest.raises(ValueError, match=rf"TRAINER\.LPPLUSPLUS\.{key}"):
        optim_of(make_head(), *options)


def test_the_random_bias_is_that_of_a_linear_layer_and_follows_from_the_seed():
    bias = initial_bias("random", 4000, 64, seed=1)
    assert bias.abs().max() <= 1 / 8
    assert bias.mean().abs() < 0.005
    assert bias.std().item() == pytest.approx(1 / 8 / 3**0.5, rel=0.03)  # uniform
    assert torch.equal(bias, initial_bias("random", 4000, 64, seed=1))
    assert not torch.equal(bias, initial_bias("random", 4000, 64, seed=2))
    assert torch.equal(initial_bias("zeros", 4, 64, seed=1), torch.zeros(4))
    with pytest.raises(ValueError, match=r"TRAINER\.LPPLUSPLUS\.INIT_BIAS is 'ones'"):
        initial_bias("ones", 4, 64, seed=1)
    one = make_head()
    other = LPPlusPlusHead(one.text, one.support, one.labels, 250.0, bias[:4])
    torch.testing.assert_close(other.bias, bias[:4].double())
    assert torch.equal(other.weight, one.weight)


def test_official_keeps_the_quirks_of_the_authors_code():
    cfg = official_cfg("LPPlusPlus")
    node = cfg.TRAINER.LPPLUSPLUS
    assert (cfg.SELECTION.TIES, node.INIT_BIAS, node.ALPHA_GRADIENT) == ("last", "random", "accumulated")
    assert (cfg.VIEWS.CACHE, cfg.VIEWS.TRAIN) == (1, 1)
