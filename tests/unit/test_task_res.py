"""TaskRes's formulas against naive loops in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from experiment.config import CONFIGS, assemble
from trainers.task_res import TaskResHead
from trainers.zeroshot_clip import ZeroshotHead


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moved_head(scale: float = 0.5) -> TaskResHead:
    head = TaskResHead(3 * random(4, 6), logit_scale=10.0, scale=scale)
    head.residual.data = random(4, 6, seed=1)
    return head


def test_logits_loss_and_gradient_equal_a_naive_evaluation():
    head, x, labels = moved_head(), random(5, 6, seed=2), [0, 3, 1, 1, 2]
    residual = head.residual.detach().clone().requires_grad_()
    loss = 0.0
    for b in range(5):
        logits = []
        for c in range(4):
            t = head.base[c] + 0.5 * residual[c]
            logits.append(10 * (x[b] @ t) / (x[b].square().sum().sqrt() * t.square().sum().sqrt()))
            assert head(x)[b, c].item() == pytest.approx(logits[c].item())
        loss += -logits[labels[b]] + torch.stack(logits).exp().sum().log()
    loss = loss / 5
    ours = head.losses(x, torch.tensor(labels))
    assert list(ours) == ["ce"]
    assert ours["ce"].item() == pytest.approx(loss.item())
    (wanted,) = torch.autograd.grad(loss, residual)
    (got,) = torch.autograd.grad(ours["ce"], head.residual)
    torch.testing.assert_close(got, wanted)


def test_a_zero_residual_is_zero_shot_clip():
    base, x = 3 * random(4, 6), random(20, 6, seed=3)
    ours = TaskResHead(base, 10.0, 0.5)(x)
    torch.testing.assert_close(ours, ZeroshotHead(F.normalize(base, dim=-1), 10.0)(x))


def test_the_raw_length_of_the_base_matters():
    """Twice the base: the same residual turns the classifier half as far."""
    short = TaskResHead(random(1, 6), 1.0, 0.5)
    long = TaskResHead(2 * random(1, 6), 1.0, 0.5)
    short.residual.data = long.residual.data = 1e-4 * random(1, 6, seed=1)
    x = random(1, 6, seed=2)
    start = TaskResHead(random(1, 6), 1.0, 0.5)(x)
    assert ((short(x) - start) / (long(x) - start)).item() == pytest.approx(2, rel=1e-2)


def test_parameters():
    head = TaskResHead(torch.ones(1000, 1024), 100.0, 0.5)
    assert sum(p.numel() for p in head.parameters()) == 1_024_000
    assert list(head.state_dict()) == ["residual"]


def test_a_useless_scale_is_refused_by_name():
    with pytest.raises(ValueError, match=r"TRAINER\.TASKRES\.SCALE"):
        TaskResHead(random(4, 6), 10.0, 0.0)


@pytest.mark.parametrize(
    ("dataset", "shots", "epochs", "lr", "scale"),
    [("dtd", 4, 100, 2e-3, 0.5), ("oxford_flowers", 16, 200, 2e-3, 1.0), ("imagenet", 8, 200, 2e-4, 0.5)],
)
def test_the_authors_settings(dataset, shots, epochs, lr, scale):
    files = [CONFIGS / "backbones" / "rn50.yaml", CONFIGS / "datasets" / f"{dataset}.yaml"]
    options = ["PRESET", "official", "DATASET.NUM_SHOTS", str(shots)]
    cfg = assemble([*files, CONFIGS / "trainers" / "TaskRes.yaml"], options, {"TRAINER.NAME": "TaskRes"})
    settings = (cfg.OPTIM.MAX_EPOCH, cfg.OPTIM.LR, cfg.TRAINER.TASKRES.SCALE)
    assert settings == (epochs, lr, scale)
    assert (cfg.OPTIM.WARMUP_EPOCH, cfg.DATALOADER.TRAIN_X.DROP_LAST) == (1, True)
    assert tuple(cfg.INPUT.RRCROP_SCALE) == (0.08, 1.0)
    assert len(cfg.PROMPTS.POSITIVE) == (8 if dataset == "imagenet" else 1)
