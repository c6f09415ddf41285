"""Every kind of architecture that open_clip has, in small and with random weights: what is read from it is what
docs/backbones.md says, and a method runs exactly where it does not say why not."""

from __future__ import annotations

import importlib.util

import open_clip
import pytest
import torch
from PIL import Image

from dassl.engine import TRAINER_REGISTRY
from helpers import small_vlm
from helpers.methods import make_trainer
from simnl.clip import architectures, transforms
from simnl.clip.projection import before_projection
from simnl.clip.store import FeatureStore
from simnl.clip.text import PromptFeatures
from simnl.clip.views import ViewSpec
from simnl.fewshot.capabilities import refusal
from simnl.fewshot.task import FewShotTask
from simnl.runs.backbone_table import ARCHITECTURES, NEEDS, PAGE, TABLES, methods_by_need
from simnl.runs.pages import filled

NAMES = ("a", "b", "c")
ONE_PER_NEED = {need: methods[0] for need, methods in methods_by_need().items()}


@pytest.fixture(params=ARCHITECTURES)
def arch(request) -> str:
    """Each kind; those whose tokenizer is a hub's need the package transformers."""
    if small_vlm.needs_transformers(request.param) and importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed (requirements-transformers.txt)")
    return request.param


def images(count: int = 6) -> torch.Tensor:
    return torch.randn(count, 3, small_vlm.SIZE, small_vlm.SIZE, generator=torch.Generator().manual_seed(0))


def test_the_transform_is_the_one_that_the_weights_tag_states(arch):
    clip = small_vlm.load(arch)
    tag = small_vlm.tag_of(arch)
    stated = open_clip.get_pretrained_cfg(arch, tag) if tag else small_vlm.HALF.given
    for field, default in transforms.OPENAI.items():
        found = clip.preprocess[field]
        assert (tuple(found) if isinstance(found, list) else found) == (stated.get(field) or default)
    picture = Image.effect_noise((80, 50), 60).convert("RGB")
    config = open_clip.transform.PreprocessCfg(**clip.preprocess)
    theirs = open_clip.transform.image_transform_v2(config, is_train=False)(picture)
    ours = ViewSpec.test(clip.preprocess).build()(picture)
    assert ours.shape == (3, small_vlm.SIZE, small_vlm.SIZE)
    assert torch.equal(ours, theirs)


def test_scale_and_bias_are_read_from_the_weights(arch):
    clip = small_vlm.load(arch)
    assert clip.logit_scale == pytest.approx(small_vlm.SCALE, rel=1e-5)
    has_bias = "init_logit_bias" in architectures.settings(arch)
    assert clip.logit_bias == (small_vlm.BIAS if has_bias else 0.0)


def test_features_are_the_towers_own_and_raw(arch):
    clip = small_vlm.load(arch)
    pixels, tokens = images(), clip.tokenize([f"a photo of {name}." for name in NAMES])
    with torch.no_grad():
        image = clip.model.visual(pixels)
        image = image[0] if isinstance(image, tuple) else image  # CoCa's tower gives its tokens, too
    features = clip.image_rows(pixels)
    assert features.shape == (6, clip.embed_dim) == (6, small_vlm.WIDTH)
    torch.testing.assert_close(features, image, atol=1e-5, rtol=1e-4)
    texts = clip.text_rows(tokens)
    assert texts.shape == (3, clip.embed_dim)
    assert texts.isfinite().all()
    assert (texts.norm(dim=1) - 1).abs().max() > 1e-3
    assert (features.norm(dim=1) - 1).abs().max() > 1e-3
    assert not torch.allclose(texts[0], texts[1])


def test_prompts_are_cut_at_the_context_length_which_is_told(arch, tmp_path, caplog):
    clip = small_vlm.load(arch)
    assert clip.context_length == architectures.context_length(arch)
    most = clip.context_length - 4  # start, end, and the full stop
    fits, long = "word " * most + ".", "word " * clip.context_length + "a"
    assert clip.tokenize([fits, long]).shape == (2, clip.context_length)
    assert clip.num_cut([fits]) == 0
    assert clip.num_cut([fits, long]) == 1
    FeatureStore(tmp_path, clip, progress=False).texts([fits, long])
    assert f"1 of 2 prompts are longer than the {clip.context_length} tokens" in caplog.text


def run(method: str, arch: str) -> torch.Tensor:
    """Logits (6, 3) of a method's head for six images, made on the small model; ValueError where it cannot be."""
    trainer, clip = make_trainer(method), small_vlm.load(arch)
    clip = before_projection(clip) if trainer.before_projection else clip
    pixels, labels = images(), torch.arange(3).repeat_interleave(2)
    inputs = clip.image_rows(pixels) if trainer.image_encoder_frozen else pixels
    texts = clip.text_rows(clip.tokenize([f"a photo of {name}." for name in NAMES]))
    sets = {name: PromptFeatures(texts, torch.arange(3)) for name in ("template", "negative", "cupl")}
    device, templates = torch.device("cpu"), ("a photo of {}.",)
    task = FewShotTask(inputs[None], labels, labels, sets, NAMES, 2, clip.logit_scale, clip, device, templates)
    return trainer.build_head(task, trainer.node).eval()(inputs).detach()


@pytest.mark.parametrize("need", NEEDS, ids=ONE_PER_NEED.get)
def test_a_method_runs_or_says_why_not(arch, need):
    """What is declared is true in both directions: what is refused could not have run."""
    method = ONE_PER_NEED[need]
    reason = refusal(TRAINER_REGISTRY.get(method), arch=arch)
    if reason is None:
        logits = run(method, arch)
        assert logits.shape == (6, 3)
        assert logits.isfinite().all()
        if method == "CLIPLoRA":  # whose changes are zero at first: its towers are the frozen ones
            torch.testing.assert_close(logits, run("ZeroshotCLIP", arch), atol=1e-3, rtol=1e-4)
    else:
        assert arch in reason
        with pytest.raises(ValueError, match=f"small-{arch}|none of open_clip's|not a transformer of open_clip"):
            run(method, arch)


def test_every_method_has_one_of_the_needs_that_are_tried():
    assert set(methods_by_need()) == set(NEEDS)


def test_the_page_is_up_to_date():
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page, TABLES, PAGE) == page, "Run: python tools/methods.py"
