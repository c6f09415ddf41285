"""The cross-modal linear probe against naive loops in float64; its batches; its settings."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from simnl.clip.text import PromptFeatures
from simnl.fewshot.loaders import SupportLoader
from simnl.fewshot.support import SupportSet
from simnl.locations import CONFIGS
from simnl.runs.config import assemble
from simnl.runs.sweep import combinations
from trainers.cross_modal_lp import CrossModalHead, CrossModalLoader, CrossModalLP
from trainers.zeroshot_clip import ZeroshotHead


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def official_cfg(dataset: str, *options: str):
    files = [CONFIGS / "backbones" / "rn50.yaml", CONFIGS / "datasets" / f"{dataset}.yaml"]
    settings = {"TRAINER.NAME": "CrossModalLP", "PRESET": "official"}
    return assemble([*files, CONFIGS / "trainers" / "CrossModalLP.yaml"], options, settings)


def test_logits_loss_and_gradient_equal_a_naive_evaluation():
    head, x, labels = CrossModalHead(F.normalize(random(4, 6), dim=-1), 10.0), random(5, 6, seed=2), [0, 3, 1, 1, 2]
    head.weight.data = 2 * random(4, 6, seed=1)  # weights keep their length
    weight, loss = head.weight.detach().clone().requires_grad_(), 0.0
    for b in range(5):
        logits = [10 * (x[b] @ weight[c]) / x[b].square().sum().sqrt() for c in range(4)]
        torch.testing.assert_close(head(x)[b], torch.stack(logits))
        loss += torch.stack(logits).exp().sum().log() - logits[labels[b]]
    ours = head.losses(x, torch.tensor(labels))
    assert list(ours) == ["ce"]
    assert ours["ce"].item() == pytest.approx(loss.item() / 5)
    (wanted,) = torch.autograd.grad(loss / 5, weight)
    (got,) = torch.autograd.grad(ours["ce"], head.weight)
    torch.testing.assert_close(got, wanted)


def test_it_starts_at_zero_shot_clip():
    classifier, x = F.normalize(random(4, 6), dim=-1), random(20, 6, seed=3)
    torch.testing.assert_close(CrossModalHead(classifier, 10.0)(x), ZeroshotHead(classifier, 10.0)(x))


def test_parameters():
    head = CrossModalHead(torch.ones(1000, 1024), 100.0)
    assert {name: tuple(p.shape) for name, p in head.state_dict().items()} == {"weight": (1000, 1024)}  # C D


def test_wise_ft_averages_with_the_start():
    start, learned = F.normalize(random(4, 6), dim=-1), random(4, 6, seed=1)
    for share, wanted in ((0.0, learned), (0.5, (start + learned) / 2), (1.0, start)):
        head = CrossModalHead(start, 10.0)
        head.weight.data = learned.clone()
        head.mix_zero_shot(share)
        torch.testing.assert_close(head.weight.detach(), wanted)


# ---------------------------------------------------------------- batches


def loader(steps: int, images: int = 10, texts: int = 7, batch: int = 4, drop_last: bool = True) -> CrossModalLoader:
    """Samples are their own number: images 0, 1, ..., sentences 100, 101, ..."""
    rows = torch.arange(images).view(1, -1, 1), 100 + torch.arange(texts).view(1, -1, 1)
    halves = [SupportLoader(r, r.flatten() % 3, batch, seed, drop_last) for r, seed in zip(rows, (1, "t"), strict=True)]
    return CrossModalLoader(*halves, steps)


def batches(source: CrossModalLoader, epochs) -> list[list[int]]:
    numbers = []
    for source.epoch in epochs:
        for batch in source:
            assert torch.equal(batch["label"], batch["img"].flatten() % 3)
            numbers.append(batch["img"].flatten().tolist())
    return numbers


def test_half_images_half_sentences():
    for batch in batches(loader(6), range(4)):
        assert [n < 100 for n in batch] == [True] * 4 + [False] * 4
    assert len(list(loader(6))) == len(loader(6)) == 6


def test_each_pass_sees_every_sample_once():
    every = batches(loader(4, images=8, texts=12), [0])
    assert sorted(n for b in every[:2] for n in b if n < 100) == list(range(8))
    assert sorted(n for b in every[2:] for n in b if n < 100) == list(range(8))
    assert every[0] != every[2]
    assert sorted(n for b in every[:3] for n in b if n >= 100) == list(range(100, 112))


def test_a_resumed_run_goes_on_as_an_undisturbed_one():
    undisturbed = batches(loader(5), range(6))
    assert batches(loader(5), range(3, 6)) == undisturbed[15:]
    assert batches(loader(3), range(10)) == undisturbed  # nor does it matter how steps are cut into epochs


def test_fewer_sentences_than_a_batch_are_used_whole():
    for batch in batches(loader(6, texts=2), [0]):
        assert sorted(batch[4:]) == [100, 101]


def test_an_epoch_of_short_last_batches():
    sizes = [len(b) for b in batches(loader(6, images=6, texts=8, drop_last=False), [0])]
    assert sizes == [8, 6, 8, 6, 8, 6]


def test_every_view_and_every_sentence_is_a_sample():
    views, labels = torch.arange(6.0).view(2, 3, 1), torch.tensor([0, 1, 2])
    prompts = {"template": PromptFeatures(100 + torch.arange(6.0).view(6, 1), torch.arange(3).repeat_interleave(2))}
    trainer = CrossModalLP.__new__(CrossModalLP)
    trainer.cfg = official_cfg("dtd", "DATALOADER.TRAIN_X.BATCH_SIZE", "50", "SEED", "1")
    trainer.device = torch.device("cpu")
    trainer.support = SupportSet(views, labels, labels, views, labels)
    batch = next(iter(trainer.build_train_loader(SimpleNamespace(prompts=prompts))))
    samples = dict(zip(batch["img"].flatten().tolist(), batch["label"].tolist(), strict=True))
    assert samples == {0: 0, 1: 1, 2: 2, 3: 0, 4: 1, 5: 2, 100: 0, 101: 0, 102: 1, 103: 1, 104: 2, 105: 2}


def test_wise_ft_comes_after_the_epochs():
    trainer = CrossModalLP.__new__(CrossModalLP)
    trainer.cfg = official_cfg("dtd", "TRAINER.CROSSMODALLP.WISE_FT", "0.5")
    trainer.head = CrossModalHead(torch.eye(3), 10.0)
    trainer.head.weight.data.mul_(3.0)
    trainer.fit()
    torch.testing.assert_close(trainer.head.weight.detach(), 2 * torch.eye(3))


# ---------------------------------------------------------------- settings


def test_the_authors_settings():
    cfg = official_cfg("dtd")
    assert cfg.OPTIM.MAX_EPOCH * cfg.TRAINER.CROSSMODALLP.EPOCH_STEPS == 12_800
    assert (cfg.VIEWS.KIND, cfg.OPTIM.NAME, cfg.SELECTION.EPOCH) == ("centre+flip", "adamw", "best")
    tried = combinations(cfg)
    assert len(tried) == 12
    assert tried[0] == {"OPTIM.LR": 1e-3, "OPTIM.WEIGHT_DECAY": 0.0, "DATALOADER.TRAIN_X.BATCH_SIZE": 4}
    assert len(combinations(official_cfg("eurosat"))) == 6  # 10 sentences make no half of 32


def test_the_warm_up_and_the_cosine_count_steps():
    cfg = official_cfg("dtd")
    trainer = CrossModalLP.__new__(CrossModalLP)
    trainer.cfg, trainer.train_loader_x = cfg, loader(cfg.TRAINER.CROSSMODALLP.EPOCH_STEPS)
    optim = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule, rates = trainer.build_schedule(optim), []
    for _ in range(60):
        rates.append(optim.param_groups[0]["lr"])
        optim.step()
        schedule.step()
    cosine = [(1 + torch.cos(torch.tensor(torch.pi * i / 12_800)).item()) / 2 for i in range(10)]
    assert rates == pytest.approx([1e-5, *(i / 50 for i in range(1, 50)), *cosine])


@pytest.mark.parametrize(("key", "value"), [("EPOCH_STEPS", 0), ("WISE_FT", 1.5)])
def test_wrong_values_are_refused_by_name(key, value):
    cfg = official_cfg("dtd", f"TRAINER.CROSSMODALLP.{key}", str(value))
    with pytest.raises(ValueError, match=rf"TRAINER\.CROSSMODALLP\.{key}"):
        CrossModalLP.check_cfg(CrossModalLP.__new__(CrossModalLP), cfg)
