"""CCA and CCA-FT against their formulas, image by image in float64."""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F

from helpers.methods import make_head, make_task, make_trainer
from simnl.fewshot.search import Grid, count_grid
from simnl.fewshot.unmixing import unmixing, whitening
from trainers.cca import CCAFTHead, CCAHead, around, search_in_turn
from trainers.tip_adapter import TipAdapterHead

SCALE, C, D, R = 20.0, 3, 6, 4
HPARAMS = {"beta": 2.0, "alpha": 1.5, "gamma": 0.3, "eta": 0.2}
LABELS = torch.tensor([0, 0, 1, 1, 2, 2])


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit(*shape, seed=0):
    return F.normalize(randn(*shape, seed=seed), dim=-1)


def make(learn=False, unmix=None, **hparams):
    inputs = {"text": unit(C, D, seed=1), "cache_keys": unit(len(LABELS), D, seed=2), "labels": LABELS}
    inputs |= {"logit_scale": SCALE, "unmix": randn(R, D, seed=3) if unmix is None else unmix, **HPARAMS, **hparams}
    return CCAFTHead(**inputs, l1=1e-2, classifier_rate=0.1) if learn else CCAHead(**inputs)


def by_hand(x, text, keys, u, classifier, adapter, bag):
    """Logits of one image (D,); `bag`: the rows that z1 attends to."""
    f = x.double() / x.double().norm()
    z0 = torch.stack([SCALE * f @ w for w in classifier])
    z1 = []
    for w in text:
        weights = torch.stack([b @ w for b in bag]).softmax(0)
        z1.append(SCALE * f @ sum(a * b for a, b in zip(weights, bag, strict=True)))
    p = torch.stack([f @ w for w in text]).softmax(0)
    z2 = torch.stack([SCALE * sum(p[c] * text[c] for c in range(C)) @ w for w in text])
    affinity = torch.stack([(u @ f) @ (adapter @ (u @ k)) for k in keys])
    d = (affinity - affinity.min()) / (affinity.max() - affinity.min())
    cache = torch.zeros(C, dtype=torch.float64)
    for n, label in enumerate(LABELS):
        cache[label] += torch.exp(-HPARAMS["beta"] * (1 - d[n]))
    return z0 + HPARAMS["gamma"] * torch.stack(z1) + HPARAMS["eta"] * z2 + HPARAMS["alpha"] * cache


def test_logits():
    head, x = make(), randn(5, D, seed=4)
    text, keys, u = (t.double() for t in (head.text, head.cache_keys, head.unmix))
    expected = torch.stack([by_hand(row, text, keys, u, text, torch.eye(R).double(), keys) for row in x])
    torch.testing.assert_close(head(x).double(), expected, atol=1e-4, rtol=1e-5)


def test_logits_and_losses_with_what_is_learned():
    head, x, labels = make(learn=True), randn(5, D, seed=4), torch.tensor([0, 2, 1, 1, 0])
    with torch.no_grad():
        head.adapter.add_(0.3 * randn(R, R, seed=5))
        head.classifier.add_(0.3 * randn(C, D, seed=6))
    moved = head.classifier.detach().double(), head.adapter.detach().double()
    text, keys, u = (t.double() for t in (head.text, head.cache_keys, head.unmix))
    expected = torch.stack([by_hand(row, text, keys, u, *moved, keys) for row in x])
    torch.testing.assert_close(head(x).double(), expected, atol=1e-4, rtol=1e-5)
    batch = F.normalize(x.double(), dim=-1)
    rows = [by_hand(row, text, keys, u, *moved, batch) for row in x]
    losses = head.losses(x, labels)
    ce = -sum(row.log_softmax(0)[y] for row, y in zip(rows, labels, strict=True)) / 5
    assert losses["ce"].item() == pytest.approx(ce.item(), rel=1e-4)
    assert losses["l1"].item() == pytest.approx(1e-2 * moved[1].abs().sum().item(), rel=1e-5)


def test_the_gradient_equals_finite_differences():
    head, x, labels = make(learn=True), randn(5, D, seed=4), torch.tensor([0, 2, 1, 1, 0])
    head.double()
    for parameter in head.parameters():
        head.zero_grad()
        loss = sum(head.losses(x.double(), labels).values())
        (grad,) = torch.autograd.grad(loss, parameter)
        step, ends = 1e-6 * grad / grad.norm(), []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(sign * step)
                ends.append(sum(head.losses(x.double(), labels).values()).item())
                parameter.sub_(sign * step)
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(grad.norm().item(), rel=1e-4)


def test_before_training_the_heads_agree():
    x = randn(5, D, seed=4)
    torch.testing.assert_close(make(learn=True)(x), make()(x))


def test_with_weights_of_zero_it_is_zero_shot():
    head, x = make(alpha=0.0, gamma=0.0, eta=0.0), randn(5, D, seed=4)
    torch.testing.assert_close(head(x), SCALE * F.normalize(x, dim=-1) @ head.text.T)


def test_with_nothing_unmixed_and_no_stretching_it_is_tip_adapter(monkeypatch):
    monkeypatch.setattr("trainers.cca.min_max", lambda affinity: affinity)
    head, x = make(unmix=torch.eye(D), gamma=0.0, eta=0.0), randn(5, D, seed=4)
    tip = TipAdapterHead(
        text=head.text, cache_keys=head.cache_keys, labels=LABELS, logit_scale=SCALE, beta=2.0, alpha=1.5
    )
    torch.testing.assert_close(head(x), tip(x))


def test_one_key_is_no_division_by_zero():
    head = make()
    equal = CCAHead(
        text=head.text,
        cache_keys=head.cache_keys[:1],
        labels=LABELS[:1],
        logit_scale=SCALE,
        unmix=head.unmix,
        **HPARAMS,
    )
    assert equal(randn(5, D, seed=4)).isfinite().all()


def test_of_the_unmixing_only_the_covariance_counts():
    rows, x = unit(200, D, seed=7), randn(5, D, seed=4)
    torch.testing.assert_close(make(unmix=whitening(rows))(x), make(unmix=unmixing(rows, 1))(x), atol=1e-4, rtol=1e-4)


def test_what_is_learned_and_at_which_rate():
    head, task = make_head("CCAFT", 4)
    width = task.support_features.shape[-1]
    components = min(width, task.support_features.flatten(0, 1).shape[0] // 5)
    shapes = {name: tuple(p.shape) for name, p in head.named_parameters()}
    assert shapes == {"adapter": (components, components), "classifier": (task.num_classes, width)}
    assert [factor for factor, _ in head.parameter_groups()] == [1.0, 0.1]


@pytest.mark.parametrize("ties", ["first", "nearest"])
def test_the_searches_are_those_written_as_loops(ties):
    """Stage by stage, with the counts of the heads themselves."""
    head, x, labels = make(), randn(80, D, seed=8), torch.arange(80) % C
    sharpness = Grid({"beta": [0.5, 2.0, 6.0], "alpha": [0.5, 1.0, 5.0]})
    mixing = Grid({name: around(HPARAMS[name], 5.0, 4) for name in ("gamma", "eta")})

    def right(**setting):
        return int((make(**setting)(x).argmax(1) == labels).sum())

    count = functools.partial(count_grid, head, x, labels)
    chosen, counts = search_in_turn(count, HPARAMS, sharpness, mixing, ties=ties, first_mixing={}, factor=1.0)
    first = {(b, a): right(**{**HPARAMS, "beta": b, "alpha": a}) for b in (0.5, 2.0, 6.0) for a in (0.5, 1.0, 5.0)}
    assert counts[0].flatten().tolist() == list(first.values())
    picked = {"beta": chosen["beta"], "alpha": chosen["alpha"]}
    if ties == "first":
        assert tuple(picked.values()) == max(first, key=first.get)  # the first of equals
    else:
        assert right(**{**HPARAMS, **picked}) == max(*first.values(), right(**HPARAMS))
    values = [mixing.axes[name] for name in ("gamma", "eta")]
    second = {(g, e): right(**{**picked, "gamma": g, "eta": e}) for g in values[0] for e in values[1]}
    assert counts[1].flatten().tolist() == list(second.values())
    if max(second.values()) > max(first.values()):
        assert second[chosen["gamma"], chosen["eta"]] == max(second.values())
    else:
        assert (chosen["gamma"], chosen["eta"]) == (HPARAMS["gamma"], HPARAMS["eta"])


def test_the_grid_is_around_the_initial_value():
    assert around(0.01, 5.0, 3) == pytest.approx([0.002, 0.026, 0.05])


def test_the_trainer_unmixes_by_whitening_where_the_rotation_means_nothing():
    task, trainer = make_task(4), make_trainer("CCA")
    rows = F.normalize(task.support_features.flatten(0, 1), dim=-1)
    torch.testing.assert_close(trainer.build_head(task, trainer.node).unmix, whitening(rows))
