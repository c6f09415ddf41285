"""ZS-LP's and CLAP's formulas against naive loops in float64; the loader that CLAP's official preset asks for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from simnl.fewshot.loaders import SupportLoader
from trainers.clap import CLAPHead, ZSLPHead, class_multipliers
from trainers.zeroshot_clip import ZeroshotHead

LABELS = torch.tensor([0, 0, 1, 2, 2, 2])  # unequal classes, none of class 3


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_clap(base: torch.Tensor) -> CLAPHead:
    return CLAPHead(base, 10.0, class_multipliers(random(2, 6, 5, seed=4), LABELS, base, 10.0, "zero-shot"))


def test_logits_losses_and_gradient_equal_a_naive_evaluation():
    base, x, labels = 3 * random(4, 5), random(6, 5, seed=2), torch.tensor([0, 3, 1, 1, 2, 0])
    head = make_clap(base)
    head.prototypes.data = base + random(4, 5, seed=1)
    w = head.prototypes.detach().clone().requires_grad_()
    ce = 0.0
    for b in range(6):
        logits = torch.stack([10 * (x[b] @ w[c]) / (x[b].norm() * w[c].norm()) for c in range(4)])
        torch.testing.assert_close(head(x)[b], logits)
        ce += (logits.exp().sum().log() - logits[labels[b]]) / 6
    pull = sum(head.multipliers[c] * sum((w[c, d] - base[c, d]) ** 2 for d in range(5)) for c in range(4)) / 4
    ours = head.losses(x, labels)
    assert ours["ce"].item() == pytest.approx(ce.item())
    assert ours["constraint"].item() == pytest.approx(pull.item())
    (wanted,) = torch.autograd.grad(ce + pull, w)
    (got,) = torch.autograd.grad(sum(ours.values()), head.prototypes)
    torch.testing.assert_close(got, wanted)


def test_the_start_is_zero_shot_clip_without_a_pull():
    base, x, labels = 3 * random(4, 5), random(20, 5, seed=3), torch.randint(0, 4, (20,))
    head = make_clap(base)
    zero_shot = ZeroshotHead(F.normalize(base, dim=-1), 10.0)(x)
    torch.testing.assert_close(head(x), zero_shot)
    torch.testing.assert_close(ZSLPHead(base, 10.0)(x), zero_shot)
    pull = head.losses(x, labels)["constraint"]
    assert pull.item() == 0
    assert torch.autograd.grad(pull, head.prototypes)[0].abs().max() == 0
    assert list(ZSLPHead(base, 10.0).losses(x, labels)) == ["ce"]


def test_training_does_not_move_the_base():
    base = 3 * random(4, 5)
    kept, head = base.clone(), make_clap(base)
    head.prototypes.data += 1
    assert torch.equal(base, kept)
    assert torch.equal(head.base, kept)


def test_multipliers_are_mean_probabilities_of_the_true_class():
    base, views = 3 * random(4, 5), random(2, 6, 5, seed=4)
    wanted = []
    for c in range(3):
        rows = [views[v, n] for v in range(2) for n in range(6) if LABELS[n] == c]
        cosines = [torch.stack([f @ b / f.norm() / b.norm() for b in base]) for f in rows]
        wanted.append(sum((10 * cos).softmax(0)[c].item() for cos in cosines) / len(rows))
    wanted.append(1.0)  # no image of class 3
    got = class_multipliers(views, LABELS, base, 10.0, "zero-shot")
    assert got.tolist() == pytest.approx(wanted)
    assert ((got > 0) & (got <= 1)).all()
    mean = sum(wanted) / 4
    assert class_multipliers(views, LABELS, base, 10.0, "constant").tolist() == pytest.approx([mean] * 4)
    corrected = class_multipliers(views, LABELS, base, 10.0, "corrected")
    assert corrected.tolist() == pytest.approx([w / mean for w in wanted])
    assert class_multipliers(views, LABELS, base, 10.0, "balanced").tolist() == [1.0] * 4


def test_unknown_multipliers_are_refused_by_name():
    with pytest.raises(ValueError, match=r"TRAINER\.CLAP\.MULTIPLIERS.*zeroshot"):
        class_multipliers(random(2, 6, 5), LABELS, random(4, 5), 10.0, "zeroshot")


@pytest.mark.parametrize("head", [ZSLPHead, CLAPHead])
def test_parameters(head):
    extra = (torch.ones(1000),) if head is CLAPHead else ()
    made = head(torch.ones(1000, 1024), 100.0, *extra)
    assert sum(p.numel() for p in made.parameters()) == 1_024_000
    assert list(made.state_dict()) == ["prototypes"]


@pytest.mark.parametrize(
    ("rows", "views", "batch", "drop", "lengths"),
    [(40, 4, 128, True, [128]), (20, 4, 128, True, [80]), (320, 4, 128, True, [128, 128]), (10, 3, 4, False, [4] * 3)],
)
def test_a_pooled_epoch_draws_from_all_views(rows, views, batch, drop, lengths):
    features = torch.arange(views * rows, dtype=torch.float32).view(views, rows, 1)
    loader = SupportLoader(features, torch.arange(rows), batch, 1, drop, order="pool")
    batches = list(loader)
    assert [len(b["label"]) for b in batches] == lengths
    assert len(loader) == len(lengths)
    seen = torch.cat([b["img"] for b in batches]).flatten().long()
    assert len(seen.unique()) == len(seen)
    assert set((seen // rows).tolist()) == set(range(views))
    assert torch.equal(seen % rows, torch.cat([b["index"] for b in batches]))
    assert torch.equal(seen % rows, torch.cat([b["label"] for b in batches]))
    loader.epoch = 1
    assert not torch.equal(torch.cat([b["img"] for b in loader]).flatten().long(), seen)


def test_an_unknown_order_is_refused_by_name():
    with pytest.raises(ValueError, match=r"VIEWS\.ORDER.*pooled"):
        SupportLoader(torch.ones(1, 2, 3), torch.zeros(2), 2, 1, False, order="pooled")
