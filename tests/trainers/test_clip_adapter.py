"""CLIP-Adapter's formulas against naive loops in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from trainers.clip_adapter import CLIPAdapterHead
from trainers.zeroshot_clip import ZeroshotHead


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_head(ratio: float = 0.2, seed: int = 1) -> CLIPAdapterHead:
    return CLIPAdapterHead(F.normalize(random(3, 8), dim=-1), 10.0, ratio=ratio, reduction=4, seed=seed).double()


def naive_logits(x, down, up, text, ratio):
    rows = []
    for feature in x:
        hidden = [torch.clamp(sum(w[d] * feature[d] for d in range(8)), min=0) for w in down]
        adapted = [torch.clamp(sum(up[d][h] * hidden[h] for h in range(2)), min=0) for d in range(8)]
        blend = torch.stack([ratio * a + (1 - ratio) * f for a, f in zip(adapted, feature, strict=True)])
        rows.append(torch.stack([10 * (blend @ t) / blend.square().sum().sqrt() for t in text]))
    return torch.stack(rows)


def test_logits_loss_and_gradient_equal_a_naive_evaluation():
    head, x, labels = make_head(), random(5, 8, seed=2), torch.tensor([0, 2, 1, 1, 2])
    down, up = (p.detach().clone().requires_grad_() for p in (head.down, head.up))
    naive = naive_logits(x, down, up, head.text, 0.2)
    torch.testing.assert_close(head(x), naive)
    loss = sum(-naive[b].log_softmax(0)[labels[b]] for b in range(5)) / 5
    ours = head.losses(x, labels)["ce"]
    assert ours.item() == pytest.approx(loss.item())
    wanted = torch.autograd.grad(loss, [down, up])
    got = torch.autograd.grad(ours, [head.down, head.up])
    assert all(w.abs().sum() > 0 for w in wanted)
    torch.testing.assert_close(got, wanted)


def test_the_adapter_sees_the_raw_feature_and_is_nowhere_negative():
    head, x = make_head(), random(9, 8, seed=3)
    assert (head.adapter(x) >= 0).all()
    torch.testing.assert_close(head.adapter(3 * x), 3 * head.adapter(x))  # no bias, no normalisation before it


def test_ratio_zero_is_zero_shot_clip():
    head, x = make_head(ratio=0.0), random(9, 8, seed=3)
    torch.testing.assert_close(head(x), ZeroshotHead(head.text, 10.0)(x))


def test_initial_weights_are_those_of_a_linear_layer_and_a_function_of_the_seed():
    text = F.normalize(torch.ones(2, 1024), dim=-1)
    head = CLIPAdapterHead(text, 100.0, 0.2, 4, seed=1)
    for weight, fan_in in ((head.down, 1024), (head.up, 256)):
        bound = fan_in**-0.5
        assert weight.abs().max() <= bound
        assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert torch.equal(head.down, CLIPAdapterHead(text, 100.0, 0.2, 4, seed=1).down)
    assert not torch.equal(head.down, CLIPAdapterHead(text, 100.0, 0.2, 4, seed=2).down)


@pytest.mark.parametrize(("width", "count"), [(1024, 524_288), (512, 131_072)])
def test_parameters(width, count):
    head = CLIPAdapterHead(torch.ones(1000, width), 100.0, 0.2, 4, seed=1)
    assert sum(p.numel() for p in head.parameters()) == count
    assert set(head.state_dict()) == {"down", "up"}


@pytest.mark.parametrize(("wrong", "key"), [({"ratio": 1.5}, "RATIO"), ({"reduction": 0}, "REDUCTION")])
def test_wrong_options_are_refused_by_name(wrong, key):
    with pytest.raises(ValueError, match=rf"TRAINER\.CLIPADAPTER\.{key}"):
        CLIPAdapterHead(random(3, 8), 10.0, **{"ratio": 0.2, "reduction": 4, "seed": 1, **wrong})
