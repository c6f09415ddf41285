"""TaskRes's formulas against naive loops in float64."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from simnl.clip.model import FrozenCLIP
from simnl.fewshot.loaders import SupportLoader
from simnl.fewshot.trainer import VLTrainer
from simnl.locations import CONFIGS
from simnl.runs.config import assemble
from trainers.task_res import ProjectionHead, TaskRes, TaskResHead
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


# ---------------------------------------------------------------- the enhanced base, by a recipe of our own


def test_stage_1_equals_a_naive_evaluation():
    head, x, labels = ProjectionHead(random(4, 3), random(3, 6, seed=1), 10.0), random(5, 6, seed=2), [0, 3, 1, 1, 2]
    projection, loss = head.projection.detach().clone().requires_grad_(), 0.0
    for b in range(5):
        logits = []
        for c in range(4):
            t = sum(head.hidden[c, h] * projection[h] for h in range(3))
            logits.append(10 * (x[b] @ t) / (x[b].square().sum().sqrt() * t.square().sum().sqrt()))
        torch.testing.assert_close(head(x)[b], torch.stack(logits))
        loss += torch.stack(logits).exp().sum().log() - logits[labels[b]]
    ours = head.losses(x, torch.tensor(labels))["ce"]
    assert ours.item() == pytest.approx(loss.item() / 5)
    (wanted,) = torch.autograd.grad(loss / 5, projection)
    (got,) = torch.autograd.grad(ours, head.projection)
    torch.testing.assert_close(got, wanted)
    assert [name for name, _ in head.named_parameters()] == list(head.state_dict()) == ["projection"]


def enhanced_trainer(clip: FrozenCLIP, monkeypatch, start_epoch: int = 0) -> TaskRes:
    """A trainer on five classes, ready for `before_train`."""
    trainer = TaskRes.__new__(TaskRes)
    files = [
        CONFIGS / "backbones" / "tiny.yaml",
        CONFIGS / "datasets" / "dtd.yaml",
        CONFIGS / "trainers" / "TaskRes.yaml",
    ]
    options = ["TRAINER.TASKRES.BASE", "enhanced-ours", "TRAINER.TASKRES.STAGE1.MAX_EPOCH", "3"]
    trainer.cfg = assemble(files, options, {"TRAINER.NAME": "TaskRes"})
    trainer.clip, trainer.device, trainer.num_classes, trainer.support = clip, torch.device("cpu"), 5, None
    trainer.task = SimpleNamespace(classnames=tuple("abcde"), logit_scale=clip.logit_scale)
    features, labels = random(2, 10, clip.embed_dim).float(), torch.arange(5).repeat(2)
    trainer.inputs = SimpleNamespace(train_loader=lambda support: SupportLoader(features, labels, 4, 1, False))
    base = trainer.projection_head().base().detach()
    trainer.head, trainer.num_parameters = (
        TaskResHead(base, clip.logit_scale, 0.5, learned_base=True),
        5 * clip.embed_dim,
    )
    monkeypatch.setattr(VLTrainer, "before_train", lambda self: setattr(self, "start_epoch", start_epoch))
    return trainer


def test_stage_1_sets_the_base_and_nothing_else(random_clip, monkeypatch):
    trainer = enhanced_trainer(random_clip, monkeypatch)
    regular = trainer.head.base.clone()
    (template,) = trainer.cfg.PROMPTS.POSITIVE
    wanted = random_clip.encode_text(random_clip.tokenize([template.format(name) for name in "abcde"]))
    torch.testing.assert_close(regular, wanted, atol=1e-4, rtol=1e-4)  # it starts at CLIP's own text features
    frozen = {name: tensor.clone() for name, tensor in random_clip.model.state_dict().items()}
    trainer.before_train()
    assert not torch.equal(trainer.head.base, regular)
    assert not trainer.head.residual.any()
    assert trainer.num_parameters == (5 + 32) * random_clip.embed_dim  # C D + H D
    assert all(torch.equal(tensor, frozen[name]) for name, tensor in random_clip.model.state_dict().items())
    again = enhanced_trainer(random_clip, monkeypatch)
    again.before_train()
    assert torch.equal(again.head.base, trainer.head.base)  # deterministic
    other = TaskResHead(regular, 1.0, 0.5, learned_base=True)
    other.load_state_dict(trainer.head.state_dict())
    assert torch.equal(other.base, trainer.head.base)  # a checkpoint holds the base


def test_a_resumed_run_keeps_the_base_of_its_checkpoint(random_clip, monkeypatch):
    trainer = enhanced_trainer(random_clip, monkeypatch, start_epoch=2)
    trainer.head.base.zero_()
    trainer.before_train()
    assert not trainer.head.base.any()
    assert trainer.num_parameters == (5 + 32) * random_clip.embed_dim
