"""CLIP-LoRA: formulas against naive ones in float64, what is frozen, what is drawn."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import open_clip
import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from helpers import tiny_vit
from helpers.tiny_vit import PROMPTS, adapted, generator, pixels
from simnl.clip.lora import AdaptedCLIP, LoRAOptions, add_lora
from simnl.clip.model import FrozenCLIP
from simnl.locations import CONFIGS
from simnl.runs.config import assemble
from trainers.clip_lora import CLIPLoRA, CLIPLoRAHead

CLASSES = torch.tensor([0, 1, 0, 1])


def make_head(moved: bool = False, **options) -> CLIPLoRAHead:
    towers = adapted(moved, **options)
    return CLIPLoRAHead(towers, towers.shorten_context(tiny_vit.load().tokenize(PROMPTS)), CLASSES, 20.0)


def zero_shot(clip: FrozenCLIP, images: torch.Tensor) -> torch.Tensor:
    text = F.normalize(clip.encode_text(clip.tokenize(PROMPTS)), dim=-1)
    classifier = F.normalize(torch.stack([text[0] + text[2], text[1] + text[3]]), dim=-1)
    return 20.0 * F.normalize(clip.encode_image(images), dim=-1) @ classifier.T


# ------------------------------------------------------------------ formulas


@pytest.mark.parametrize("training", [True, False])
def test_training_starts_at_zero_shot_clip(training):
    head = make_head().train(training)
    torch.testing.assert_close(head(pixels()), zero_shot(tiny_vit.load(), pixels()), atol=1e-5, rtol=0)


def test_logits_loss_and_gradients_are_those_of_changed_weights():
    """open_clip's own forward, in float64, with W + (alpha / sqrt(r)) B A in the place of W."""
    head, labels, images = make_head(moved=True, alpha=1.5, dropout=0.0), torch.tensor([0, 1, 1, 0]), pixels()
    reference = open_clip.CLIP(**tiny_vit.CONFIG)
    reference.load_state_dict(tiny_vit.load().model.state_dict())
    reference = reference.double().eval()
    frozen = dict(reference.named_parameters())
    names = [name for name in frozen if name.endswith("in_proj_weight") and "visual" in name]
    names += [name for name in frozen if name.endswith("in_proj_weight") and "visual" not in name]
    learned = [(a.a.detach().double().requires_grad_(), a.b.detach().double().requires_grad_()) for a in head.adapters]
    for name, (a, b) in zip(names, learned, strict=True):
        frozen[name] = frozen[name] + 1.5 / 2**0.5 * torch.cat([b[p] @ a[p] for p in range(3)])
    tokens = tiny_vit.load().tokenize(PROMPTS)
    f, t, _ = functional_call(reference, frozen, (images.double(), tokens))
    logits = 20 * f @ F.normalize(torch.stack([t[0] + t[2], t[1] + t[3]]), dim=-1).T
    loss = -logits.log_softmax(1)[range(4), labels].mean()
    wanted = torch.autograd.grad(loss, [tensor for pair in learned for tensor in pair])
    ours = head.losses(images, labels)
    assert list(ours) == ["ce"]
    assert ours["ce"].item() == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(head(images).double(), logits, atol=1e-4, rtol=1e-5)
    got = torch.autograd.grad(ours["ce"], list(head.parameters()))
    for ours_, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours_.double(), theirs, atol=1e-5, rtol=1e-3)


def test_dropout_is_for_training():
    head = make_head(moved=True)
    assert not torch.equal(head(pixels()), head(pixels()))
    assert torch.equal(head.eval()(pixels()), head(pixels()))


def test_merged_equals_unmerged_and_leaves_nothing_behind():
    head, images = make_head(moved=True, dropout=0.0), pixels()
    before = tiny_vit.copy_of(tiny_vit.load())
    torch.testing.assert_close(head.train()(images), head.eval()(images), atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        changed = head(images)
        for lora in head.adapters:
            lora.b.zero_()
        assert torch.equal(head(images), make_head().eval()(images))  # not a rounding error remains
    assert not torch.allclose(changed, head(images), atol=1e-2)
    after = tiny_vit.load().model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


# ------------------------------------------------------------------ what is learned, what is drawn


def test_only_the_changes_are_learned_and_kept():
    clip = tiny_vit.load()
    head = make_head()
    assert sum(p.numel() for p in head.parameters()) == tiny_vit.PARAMETERS
    assert set(head.state_dict()) == {f"adapters.{i}.{name}" for i in range(4) for name in "ab"}
    head.losses(pixels(), torch.tensor([0, 1, 0, 1]))["ce"].backward()
    assert all(lora.b.grad.any() and not lora.a.grad.any() for lora in head.adapters)  # at B = 0
    for name, parameter in head.towers.model.named_parameters():
        assert parameter.requires_grad == ("lora" in name)
        assert (parameter.grad is not None) == ("lora" in name)
    assert not any(p.requires_grad for p in clip.model.parameters())


# ------------------------------------------------------------------ text


def test_text_is_encoded_in_each_step_and_once_per_evaluation(monkeypatch):
    head, calls = make_head(moved=True), []
    encode = AdaptedCLIP.encode_text
    monkeypatch.setattr(AdaptedCLIP, "encode_text", lambda self, tokens: calls.append(1) or encode(self, tokens))
    for _ in range(2):
        head(pixels())
    assert len(calls) == 2
    head.eval()
    with torch.no_grad():
        first = [head(pixels()) for _ in range(3)][-1]
        assert len(calls) == 3
        head.load_state_dict({name: 0.5 * value for name, value in head.state_dict().items()})
        assert not torch.allclose(head(pixels()), first)
        assert len(calls) == 4


def test_recomputing_changes_no_gradient():
    heads = [make_head(moved=True) for _ in range(2)]
    heads[1].towers.save_memory()
    assert not tiny_vit.load().model.transformer.grad_checkpointing
    grads = []
    for head in heads:
        torch.manual_seed(3)  # of dropout
        loss = head.losses(pixels(), torch.tensor([0, 1, 0, 1]))["ce"]
        grads.append(torch.autograd.grad(loss, list(head.parameters())))
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


# ------------------------------------------------------------------ options and refusals


def config(*options: str, preset: str = "official"):
    files = [CONFIGS / "backbones" / "vit_b16.yaml", CONFIGS / "datasets" / "eurosat.yaml"]
    return assemble(
        [*files, CONFIGS / "trainers" / "CLIPLoRA.yaml"], options, {"TRAINER.NAME": "CLIPLoRA", "PRESET": preset}
    )


def trainer_of(cfg) -> CLIPLoRA:
    trainer = CLIPLoRA.__new__(CLIPLoRA)
    trainer.cfg = cfg
    trainer.check_cfg(cfg)
    return trainer


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [("MODEL.BACKBONE.PRECISION", "fp16", "bf16"), ("TRAINER.CLIPLORA.STEPS_PER_SHOT", "-1", "pass")],
)
def test_wrong_values_in_a_config(key, value, word):
    with pytest.raises(ValueError, match=f"{key}.*{word}"):
        trainer_of(config(key, value))


def test_the_rate_follows_a_cosine_to_its_end():
    trainer = trainer_of(config("DATASET.NUM_SHOTS", "4"))
    assert trainer.cfg.OPTIM.MAX_EPOCH * trainer.node.STEPS_PER_SHOT == 500
    trainer.train_loader_x = range(trainer.node.STEPS_PER_SHOT * 4)  # only its length is asked for
    optim = trainer.build_optim([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 2e-4, "eps": 1e-8}])
    assert isinstance(optim, torch.optim.AdamW)
    assert (optim.defaults["weight_decay"], optim.defaults["betas"]) == (1e-2, (0.9, 0.999))
    schedule, rates = trainer.build_schedule(optim), []
    for _ in range(2001):
        rates.append(optim.param_groups[0]["lr"])
        optim.step()
        schedule.step()
    steps = torch.arange(2001, dtype=torch.float64)
    wanted = 1e-6 + (2e-4 - 1e-6) * (1 + torch.cos(torch.pi * steps / 2000)) / 2
    torch.testing.assert_close(torch.tensor(rates, dtype=torch.float64), wanted, atol=1e-12, rtol=1e-6)


def build(*options: str, classnames=("annual_crop", "forest", "a lake of the north")) -> CLIPLoRAHead:
    trainer = trainer_of(config(*options))
    templates = tuple(trainer.cfg.PROMPTS.POSITIVE)
    task = SimpleNamespace(classnames=classnames, clip=tiny_vit.load(), logit_scale=20.0, templates=templates)
    return trainer.build_head(task, trainer.node)


def test_the_head_of_a_task():
    head, clip = build("SEED", "1"), tiny_vit.load()
    tokens = clip.tokenize([f"a photo of a {name}." for name in ("annual crop", "forest", "a lake of the north")])
    wanted = F.normalize(clip.encode_text(tokens), dim=-1)
    torch.testing.assert_close(head.text_features(), wanted, atol=1e-5, rtol=0)
    assert torch.equal(head.adapters[0].a, build("SEED", "1").adapters[0].a)
    assert not torch.equal(head.adapters[0].a, build("SEED", "2").adapters[0].a)
    permuted = build("SEED", "1", classnames=("forest", "a lake of the north", "annual_crop"))
    torch.testing.assert_close(permuted(pixels()), head(pixels())[:, [1, 2, 0]], atol=1e-5, rtol=0)


def test_many_prompts_are_recomputed():
    assert not build().towers.model.transformer.grad_checkpointing
    assert build("TRAINER.CLIPLORA.RECOMPUTE_FROM", "3").towers.model.transformer.grad_checkpointing


def test_presets():
    official, repaired = config(), config(preset="repaired")
    assert official.PROMPTS.POSITIVE == ["a photo of a {}."]
    assert repaired.PROMPTS.POSITIVE == ["a centered satellite photo of {}."]
    assert (official.INPUT.RRCROP_SCALE, official.VIEWS.TRAIN) == ((0.08, 1.0), 0)
    assert (official.DATALOADER.TRAIN_X.BATCH_SIZE, official.DATALOADER.TRAIN_X.DROP_LAST) == (32, False)


def test_brain_floats():
    clip = dataclasses.replace(tiny_vit.load(), precision="bf16")
    towers = add_lora(clip, LoRAOptions(), generator())
    head = CLIPLoRAHead(towers, clip.tokenize(PROMPTS), CLASSES, 20.0)
    loss = head.losses(pixels(), torch.tensor([0, 1, 0, 1]))["ce"]
    loss.backward()
    assert all(p.dtype == p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in head.parameters())
    torch.testing.assert_close(head.eval()(pixels()), zero_shot(tiny_vit.load(), pixels()), atol=0.5, rtol=0)
