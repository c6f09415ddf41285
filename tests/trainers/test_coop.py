"""CoOp and CoCoOp against straight-line references on the bundled model's text tower."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from helpers.text_by_hand import text_by_hand
from simnl.clip.prompt_learning import LearnedPrompts, context_from_words
from simnl.fewshot.adapters import NegativeText
from simnl.fewshot.negative import NegativeBranch, NegativeOptions
from simnl.fewshot.prompt_head import initial_context
from simnl.locations import CONFIGS
from simnl.runs.config import assemble
from trainers.cocoop import CoCoOpHead
from trainers.coop import CoOp, CoOpHead

NAMES = ("cat", "grand piano", "lemur")
SCALE = 20.0


def images(count, clip, seed=0):
    return torch.randn(count, clip.embed_dim, generator=torch.Generator().manual_seed(seed))


def coop(tower, context, chunk=0):
    return CoOpHead(LearnedPrompts(tower, NAMES, context.shape[-2]), context, SCALE, chunk)


def cocoop(tower, context, clip, chunk=100):
    prompts = LearnedPrompts(tower, NAMES, len(context))
    return CoCoOpHead(prompts, context, SCALE, width=clip.embed_dim, reduction=16, chunk=chunk, seed=1)


def test_coop_logits_and_loss_equal_a_tower_written_out(clip, tower):
    context = initial_context(tower, "", 3, seed=1) * 20
    head, x = coop(tower, context), images(4, clip)
    text = torch.stack([text_by_hand(clip, tower, context, name) for name in NAMES])
    expected = torch.stack([SCALE * (text @ (f / f.norm())) for f in x.double()])
    torch.testing.assert_close(head(x).double(), expected, atol=2e-4, rtol=1e-4)
    labels = torch.tensor([0, 2, 1, 1])
    loss = -sum(e.log_softmax(0)[y] for e, y in zip(expected, labels, strict=True)) / 4
    torch.testing.assert_close(head.losses(x, labels)["ce"].double(), loss, atol=1e-4, rtol=1e-4)


def test_coop_gradient_equals_finite_differences(clip, tower):
    context = initial_context(tower, "", 2, seed=1) * 5
    head, x, labels = coop(tower, context), images(3, clip), torch.tensor([0, 1, 2])
    (grad,) = torch.autograd.grad(head.losses(x, labels)["ce"], head.context)
    direction, h = F.normalize(grad.flatten(), dim=0).view_as(grad), 1e-2
    ends = [coop(tower, context + s * h * direction).losses(x, labels)["ce"].item() for s in (1, -1)]
    assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(grad.norm().item(), rel=0.02)


def test_the_negative_branch_is_added_and_learns_at_its_own_rate(clip, tower):
    context, x = initial_context(tower, "", 2, seed=1), images(4, clip)
    unit = F.normalize(images(3, clip, seed=2), dim=-1)
    branch = NegativeBranch(NegativeText(unit, SCALE), None, NegativeOptions(enabled=True))
    prompts = LearnedPrompts(tower, NAMES, 2)
    head = CoOpHead(prompts, context, SCALE, 0, branch)
    torch.testing.assert_close(head(x), coop(tower, context)(x) + branch(x))
    assert [(factor, len(params)) for factor, params in head.parameter_groups()] == [(1.0, 1), (5.0, 1)]
    assert set(head.state_dict()) == {"context", "negative.text.residual"}
    assert set(coop(tower, context).state_dict()) == {"context"}


@pytest.mark.parametrize("kind", ["coop", "cocoop"])
def test_words_give_zero_shot_at_the_start(clip, tower, kind):
    context = context_from_words(tower, "a photo of a")
    head = coop(tower, context) if kind == "coop" else cocoop(tower, context, clip)
    if kind == "cocoop":
        with torch.no_grad():
            head.meta[2].weight.zero_()
            head.meta[2].bias.zero_()
    x = images(5, clip)
    text = F.normalize(clip.encode_text(clip.tokenize([f"a photo of a {name}." for name in NAMES])), dim=-1)
    torch.testing.assert_close(head(x), SCALE * F.normalize(x, dim=-1) @ text.T, atol=1e-3, rtol=1e-3)


def test_parameter_counts_of_the_papers(clip, tower):
    """16 vectors of a 512 wide tower; a network and 4 vectors for D = 512 (ViT-B/16) and D = 1024 (ResNet-50)."""
    width, m = tower.width, 16
    assert sum(p.numel() for p in coop(tower, initial_context(tower, "", m, 1)).parameters()) == m * width
    own = initial_context(tower, "", m, 1).expand(3, m, width)
    assert sum(p.numel() for p in coop(tower, own).parameters()) == 3 * m * width

    def count(d, w):
        return 4 * w + d * (d // 16) + d // 16 + (d // 16) * w + w

    assert (count(512, 512), count(1024, 512)) == (35360, 100928)
    head = cocoop(tower, context_from_words(tower, "a photo of a"), clip)
    assert sum(p.numel() for p in head.parameters()) == count(clip.embed_dim, width)


def test_each_class_may_have_its_own_context(clip, tower):
    own = torch.stack([initial_context(tower, "", 4, seed) * 10 for seed in range(3)])
    x = images(2, clip)
    together = coop(tower, own)(x)
    for c in range(3):
        torch.testing.assert_close(together[:, c], coop(tower, own[c])(x)[:, c], atol=1e-4, rtol=1e-4)


def test_each_class_starts_at_a_draw_of_its_own(tower):
    own = initial_context(tower, "", 4, seed=1, num_classes=3)
    assert own.shape == (3, 4, tower.width)
    assert len(own.unique(dim=0)) == 3
    assert own.std().item() == pytest.approx(0.02, rel=0.1)
    assert torch.equal(own, initial_context(tower, "", 4, seed=1, num_classes=3))


def test_words_are_one_context_for_all_classes(tower):
    assert initial_context(tower, "a photo of a", 16, seed=1, num_classes=3).shape == (4, tower.width)


@pytest.mark.parametrize(("words", "warned"), [("", False), ("a photo of a", True)])
def test_a_context_per_class_that_starts_from_words_is_told_to_have_no_effect(words, warned, caplog):
    options = ["TRAINER.COOP.CSC", "True", "TRAINER.COOP.CTX_INIT", words]
    cfg = assemble([CONFIGS / "datasets" / "shapes.yaml", CONFIGS / "trainers" / "CoOp.yaml"], options)
    CoOp.check_cfg(CoOp.__new__(CoOp), cfg)
    assert ("TRAINER.COOP.CSC has no effect" in caplog.text) == warned


def test_the_text_is_encoded_once_until_the_context_changes(clip, tower, monkeypatch):
    head, x, calls = coop(tower, initial_context(tower, "", 4, 1)), images(2, clip), []
    monkeypatch.setattr(head.prompts.tower, "encode", lambda *a: calls.append(1) or torch.ones(3, clip.embed_dim))
    with torch.no_grad():
        head(x), head(x)
        assert len(calls) == 1
        head.context.add_(1)
        head(x)
        assert len(calls) == 2
        head.load_state_dict({"context": torch.zeros_like(head.context)})
        head(x)
        assert len(calls) == 3


def test_cocoop_moves_the_context_by_each_image(clip, tower):
    context = context_from_words(tower, "a photo of a")
    head, x = cocoop(tower, context, clip), images(4, clip)
    for image, row in zip(x, head(x), strict=True):
        f = image / image.norm()
        moved = context + head.meta(f).detach()
        text = torch.stack([text_by_hand(clip, tower, moved, name) for name in NAMES])
        torch.testing.assert_close(row.double(), SCALE * text @ f.double(), atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(cocoop(tower, context, clip, chunk=1)(x), head(x), atol=1e-4, rtol=1e-4)


def test_the_start_is_a_function_of_the_seed(tower, clip):
    context = context_from_words(tower, "a photo of a")
    a, b = cocoop(tower, context, clip), cocoop(tower, context, clip)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert torch.equal(initial_context(tower, "", 4, 7), initial_context(tower, "", 4, 7))
    assert not torch.equal(initial_context(tower, "", 4, 7), initial_context(tower, "", 4, 8))
    many = initial_context(tower, "", 1000, 1)
    assert many.std().item() == pytest.approx(0.02, rel=0.02)


def test_a_wrong_width_is_refused(tower, clip):
    prompts = LearnedPrompts(tower, NAMES, 4)
    with pytest.raises(ValueError, match=r"TRAINER.COCOOP.REDUCTION is 0"):
        CoCoOpHead(prompts, torch.zeros(4, tower.width), SCALE, width=8, reduction=0, chunk=9, seed=1)
