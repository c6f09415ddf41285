"""`dassl.modeling.ops` against straight-line references."""

from __future__ import annotations

import math
import random
from contextlib import suppress

import pytest
import torch
from torch import nn

from dassl.modeling import build_backbone, ops


def maps(batch: int = 6) -> torch.Tensor:
    return torch.randn(batch, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def mixer(request, monkeypatch):
    """A mixer that always mixes, with known weights and partners."""

    def make(kind, weights, partners):
        mixer = kind(p=1.0)
        monkeypatch.setattr(mixer.beta, "sample", lambda shape: torch.tensor(weights).view(shape))
        monkeypatch.setattr(type(mixer), "_partners", lambda self, x: torch.tensor(partners))
        return mixer.train()

    return make


def test_mixstyle(mixer):
    x, partners, weights = maps(2), [1, 0], [0.25, 1.0]
    out = mixer(ops.MixStyle, weights, partners)(x)
    for i, (j, w) in enumerate(zip(partners, weights, strict=True)):
        for c in range(3):
            mean, other = x[i, c].mean(), x[j, c].mean()
            std, other_std = (x[i, c].var() + 1e-6).sqrt(), (x[j, c].var() + 1e-6).sqrt()
            expected = (x[i, c] - mean) / std * (w * std + (1 - w) * other_std) + w * mean + (1 - w) * other
            torch.testing.assert_close(out[i, c], expected)
    torch.testing.assert_close(out[1], x[1])  # its own statistics alone


def test_efdmix(mixer):
    x, weights = maps(2).requires_grad_(), [0.25, 1.0]
    out = mixer(ops.EFDMix, weights, [1, 0])(x)
    torch.testing.assert_close(out[1], x[1])
    for c in range(3):
        own, other = x[0, c].flatten().tolist(), sorted(x[1, c].flatten().tolist())
        matched = torch.tensor([other[sorted(own).index(value)] for value in own], dtype=torch.float64)
        torch.testing.assert_close(out[0, c].flatten(), x[0, c].flatten() * 0.25 + 0.75 * matched)
    out[1].sum().backward()
    assert torch.equal(x.grad[1], torch.ones(3, 4, 5, dtype=torch.float64))


@pytest.mark.parametrize(("kind", "name"), [(ops.MixStyle, "mixstyle"), (ops.EFDMix, "efdmix")])
def test_when_styles_are_mixed(kind, name):
    mixer, x = kind(p=1.0, alpha=0.1), maps()
    model = nn.Sequential(nn.Identity(), mixer)
    assert not torch.equal(model(x), x)
    model.apply(getattr(ops, f"deactivate_{name}"))
    assert torch.equal(model(x), x)
    with getattr(ops, f"run_with_{name}")(model, mix="crossdomain"):
        assert mixer.mix == "crossdomain"
        assert not torch.equal(model(x), x)
    assert torch.equal(model(x), x)
    model.apply(getattr(ops, f"activate_{name}"))
    model.apply(getattr(ops, f"random_{name}"))
    assert mixer.mix == "random"
    with suppress(KeyError), getattr(ops, f"run_without_{name}")(model):
        assert torch.equal(model(x), x)
        raise KeyError
    assert not torch.equal(model(x), x)
    assert torch.equal(model.eval()(x), x)
    assert torch.equal(kind(p=0.0)(x), x)
    with pytest.raises(ValueError, match="crossdomain"):
        mixer.update_mix_method("across")


def test_partners_across_domains():
    mixer = ops.MixStyle(mix="crossdomain")
    for _ in range(10):
        partners = mixer._partners(maps()).tolist()
        assert (sorted(partners[:3]), sorted(partners[3:])) == ([3, 4, 5], [0, 1, 2])


def test_whether_is_drawn_with_pythons_generator():
    mixer, x = ops.MixStyle(p=0.5), maps()
    random.seed(0)
    mixed = [not torch.equal(mixer(x), x) for _ in range(20)]
    random.seed(0)
    assert mixed == [random.random() <= 0.5 for _ in range(20)]


def test_resnet_with_styles():
    model = build_backbone("resnet18_ms_l12", verbose=False, pretrained=False)
    assert model.ms_layers == ["layer1", "layer2"]
    assert type(model.mixstyle) is ops.MixStyle
    plain = build_backbone("resnet18", verbose=False, pretrained=False).eval()
    plain.load_state_dict(model.state_dict())
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model.eval()(images), plain(images))
    from dassl.modeling.backbone.resnet import BasicBlock, ResNet

    assert ResNet(BasicBlock, [1, 1, 1, 1]).out_features == 512
    with pytest.raises(ValueError, match="layer4"):
        ResNet(BasicBlock, [1, 1, 1, 1], ms_class=ops.MixStyle, ms_layers=["layer4"])
    with pytest.raises(ValueError, match="no ms_class"):
        ResNet(BasicBlock, [1, 1, 1, 1], ms_layers=["layer1"])


def test_mixup():
    x1, x2, y1, y2 = torch.ones(50, 1, 2, 2), torch.zeros(50, 1, 2, 2), torch.ones(50, 3), torch.zeros(50, 3)
    x, y = ops.mixup(x1, x2, y1, y2, 0.75)
    assert torch.equal(x[:, 0, 0, 0], y[:, 0])
    assert 0 <= y.min() < 0.5 < y.max() <= 1
    assert ops.mixup(x1, x2, y1, y2, 0.75, preserve_order=True)[1].min() >= 0.5


def test_gradient_reversal():
    x = torch.ones(2, requires_grad=True)
    out = ops.ReverseGrad()(x, grad_scaling=0.5)
    assert torch.equal(out, x)
    (3 * out).sum().backward()
    assert x.grad.tolist() == [-1.5, -1.5]
    with pytest.raises(ValueError, match="zero or more"):
        ops.ReverseGrad()(x, grad_scaling=-1)


def test_domain_specific_batch_norm():
    norm, x = ops.DSBN2d(3, 2), maps().float()
    norm.select_bn(1)
    torch.testing.assert_close(norm(x), nn.BatchNorm2d(3)(x))
    assert norm.bn[0].num_batches_tracked == 0
    assert norm.bn[1].num_batches_tracked == 1
    with pytest.raises(ValueError, match=r"domain_idx is 2.*\[0, 1\]"):
        norm.select_bn(2)
    assert ops.DSBN1d(3, 2)(torch.rand(4, 3)).shape == (4, 3)


def test_transferable_normalisation():
    norm, x = ops.TransNorm2d(3).double(), maps()
    out = norm(x)
    stats = [(half.mean((0, 2, 3)), half.var((0, 2, 3), unbiased=False)) for half in (x[:3], x[3:])]
    distances = [abs(stats[0][0][c] / (stats[0][1][c] + 1e-5) ** 0.5 - stats[1][0][c] / (stats[1][1][c] + 1e-5) ** 0.5)
                 for c in range(3)]  # fmt: skip
    for c in range(3):
        alpha = 3 * (1 / (1 + distances[c])) / sum(1 / (1 + d) for d in distances)
        for half, (mean, var) in zip((slice(3), slice(3, 6)), stats, strict=True):
            expected = (x[half, c] - mean[c]) / (var[c] + 1e-5).sqrt() * (1 + alpha)
            torch.testing.assert_close(out[half, c], expected)
    norm.eval()
    target = nn.functional.batch_norm(x, norm.running_mean_t, norm.running_var_t)
    assert (norm(x) / target).std((0, 2, 3)).max() < 1e-9
    plain = ops.TransNorm1d(3, adaptive_alpha=False).eval()
    torch.testing.assert_close(plain(torch.ones(2, 3)), torch.ones(2, 3))
    for batch, text in ((torch.ones(2, 3), "4 dimensions"), (maps(5), "5 rows")):
        with pytest.raises(ValueError, match=text):
            norm.train()(batch)


@pytest.mark.parametrize("kernel", ["linear", "poly", "rbf"])
def test_maximum_mean_discrepancy(kernel):
    x, y = torch.randn(4, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64) + 1
    functions = {
        "linear": lambda a, b: a @ b,
        "poly": lambda a, b: (a @ b + 2) ** 2,
        "rbf": lambda a, b: sum(torch.exp(-(a - b).pow(2).sum() / (2 * s**2)) for s in (1, 5, 10)),
    }
    k = functions[kernel]

    def others(z):
        return sum(k(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j) / (len(z) * (len(z) - 1))

    expected = others(x) + others(y) - 2 * sum(k(a, b) for a in x for b in y) / 20
    torch.testing.assert_close(ops.MaximumMeanDiscrepancy(kernel)(x, y), expected)
    with pytest.raises(ValueError, match="rbf"):
        ops.MaximumMeanDiscrepancy("gauss")


def test_optimal_transport():
    transport = ops.OptimalTransport("euclidean", eps=0.01, max_iter=500)
    x = torch.tensor([[0.0], [1.0], [5.0]], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([[5.5], [0.5], [1.5]], dtype=torch.float64)
    assert transport.transport_cost(x, y).item() == pytest.approx(0.25, abs=1e-3)  # each to its nearest
    plan = transport.sinkhorn_iterate(transport.distance(x, y, "euclidean"))
    torch.testing.assert_close(plan.sum(0), torch.full((3,), 1 / 3, dtype=torch.float64))
    divergence = ops.SinkhornDivergence("euclidean", max_iter=500)
    assert divergence(x, x).item() == pytest.approx(0, abs=1e-6)
    divergence(x, y).backward()
    assert x.grad.isfinite().all()
    energy = ops.MinibatchEnergyDistance("euclidean", max_iter=500)
    batch = torch.tensor([[0.0], [0.0]], dtype=torch.float64)
    assert energy(batch, batch + 2).item() == pytest.approx(16)  # twice the mean squared distance times two
    with pytest.raises(ValueError, match="halved"):
        energy(x, y)


def test_small_helpers():
    p = torch.tensor([[0.2, 0.8]])
    torch.testing.assert_close(ops.sharpen_prob(p, 2), torch.tensor([[0.04, 0.64]]) / 0.68)
    data, label = torch.arange(3), torch.arange(3) * 10
    assert [t.tolist() for t in ops.reverse_index(data, label)] == [[2, 1, 0], [20, 10, 0]]
    shuffled = ops.shuffle_index(data, label)
    assert torch.equal(shuffled[0] * 10, shuffled[1])
    assert ops.create_onehot(torch.tensor([1, 0]), 2).tolist() == [[0, 1], [1, 0]]
    assert [ops.linear_rampup(c, 4) for c in (-1, 1, 9)] == [0, 0.25, 1]
    assert [ops.sigmoid_rampup(c, 4) for c in (4, 9)] == [1, 1]
    assert ops.sigmoid_rampup(0, 4) == pytest.approx(math.exp(-5))
    assert ops.linear_rampup(0, 0) == ops.sigmoid_rampup(0, 0) == 1
    model, average = nn.Linear(1, 1), nn.Linear(1, 1)
    expected = 0.9 * average.weight.item() + 0.1 * model.weight.item()
    ops.ema_model_update(model, average, 0.9)
    assert average.weight.item() == pytest.approx(expected)
    weights = ops.Attention(32, 4)(torch.rand(2, 32, 3, 3))
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    with pytest.raises(ValueError, match="squeeze"):
        ops.Attention(8, 4)


def test_cross_entropy():
    logits, target = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    smooth = 0.7 * ops.create_onehot(target, 3) + 0.1
    expected = -(smooth * logits.log_softmax(1)).sum(1)
    torch.testing.assert_close(ops.cross_entropy(logits, target, 0.3, "none"), expected)
    torch.testing.assert_close(ops.cross_entropy(logits, target, 0.3), expected.mean())


def test_sequence_of_several_inputs():
    class Swap(nn.Module):
        def forward(self, a, b):
            return b, a

    class Difference(nn.Module):
        def forward(self, a, b):
            return a - b

    assert ops.Sequential2(Swap(), Difference(), nn.Identity())(torch.tensor(1), torch.tensor(3)) == 2
