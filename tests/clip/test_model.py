"""Loading CLIP: tags, files, activation check, fingerprints."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from simnl.clip.architectures import CONTEXT_LENGTH, model_config
from simnl.clip.building import Undrawn
from simnl.clip.fetching import WeightsUnavailable, fetch_weights
from simnl.clip.model import TINY, check_known, fingerprint, load_clip
from simnl.clip.store import FeatureStore
from simnl.clip.views import ViewSpec, seeded, view_seed
from simnl.config_names import config_file, known
from simnl.runs.yaml_files import read_yaml


def test_what_is_read_from_the_model(random_clip):
    assert random_clip.embed_dim == 16
    assert random_clip.context_length == 77
    assert ViewSpec.test(random_clip.preprocess).size == 32
    assert random_clip.logit_scale == pytest.approx(1 / 0.07, rel=1e-5)
    pixels = torch.randn(2, 3, 32, 32)
    assert random_clip.encode_image(pixels).shape == (2, 16)
    assert random_clip.encode_text(random_clip.tokenize(["a cat"])).dtype is torch.float32


def test_the_model_is_frozen(random_clip):
    assert not any(p.requires_grad for p in random_clip.model.parameters())
    assert not random_clip.model.training


def test_it_is_loaded_once_per_process(clip_checkpoints):
    path = str(clip_checkpoints["test-vit"])
    assert load_clip("test-vit", path) is load_clip("test-vit", path)


def test_no_random_weights_are_drawn_for_a_model_that_gets_others():
    before = torch.get_rng_state()
    with Undrawn():
        layers = torch.nn.Linear(3, 4), torch.nn.Conv2d(3, 4, 2), torch.nn.Embedding(5, 2), torch.nn.LayerNorm(2)
        torch.nn.init.trunc_normal_(layers[0].weight)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(layers[-1].weight, torch.ones(2))
    assert torch.nn.Linear(3, 4).weight.abs().max() > 0
    assert not torch.equal(torch.get_rng_state(), before)


def test_fingerprints_tell_weights_apart(random_clip, clip_checkpoints):
    state = load_file(clip_checkpoints[random_clip.arch])  # the model in memory may have batch norms folded
    assert fingerprint(state) == random_clip.fingerprint
    name = next(k for k, v in state.items() if v.is_floating_point() and v.numel() > 1)
    state[name].view(-1)[0] += 1e-3
    assert fingerprint(state) != random_clip.fingerprint


def test_an_openai_archive_is_read_and_its_activation_checked(tmp_path, clip_checkpoints, caplog):
    """OpenAI publishes TorchScript archives; the activation inside is QuickGELU."""
    plain = load_clip("test-vit", str(clip_checkpoints["test-vit"]))
    archive = tmp_path / "ViT.pt"
    torch.jit.script(Holder(plain.model.state_dict())).save(str(archive))
    with pytest.raises(ValueError, match="QuickGELU.*test-vit-quickgelu"):
        load_clip("test-vit", str(archive))
    config = clip_checkpoints["test-vit"].with_name("test-vit-quickgelu.json")
    config.write_text('{"quick_gelu": true, ' + clip_checkpoints["test-vit"].with_suffix(".json").read_text()[1:])
    open_clip.add_model_config(config)
    loaded = load_clip("test-vit-quickgelu", str(archive))
    assert loaded.fingerprint == plain.fingerprint
    pixels = torch.randn(1, 3, 32, 32)
    assert not torch.allclose(loaded.encode_image(pixels), plain.encode_image(pixels))  # the activation does matter
    texts = ["a photo of a cat."]
    stored = [FeatureStore(tmp_path / "cache", clip, progress=False).texts(texts) for clip in (plain, loaded)]
    assert not torch.allclose(*stored)  # nor are features of one file kept for both
    assert "activation" not in caplog.text
    load_clip("test-vit-quickgelu", str(clip_checkpoints["test-vit"]))  # tensors alone do not say
    assert "test-vit-quickgelu uses QuickGELU; if that is wrong, choose test-vit (" in caplog.text


class Holder(torch.nn.Module):
    """A module whose scripted state dict has the given names."""

    def __init__(self, state):
        super().__init__()
        for name, value in state.items():
            *path, leaf = name.split(".")
            node = self
            for part in path:
                if not hasattr(node, part):
                    node.add_module(part, torch.nn.Module())
                node = getattr(node, part)
            node.register_buffer(leaf, value.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_the_activation_must_fit_the_weights_tag(monkeypatch):
    with pytest.raises(ValueError, match="RN50-quickgelu"):
        load_clip("RN50", "openai")
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda arch, tag: {"url": "x"})  # a tag trained with GELU
    with pytest.raises(ValueError, match="'ViT-B-32'"):
        load_clip("ViT-B-32-quickgelu", "openai")


def test_unknown_names_get_the_nearest(tmp_path):
    with pytest.raises(ValueError, match="Did you mean.*RN50"):
        load_clip("RN-50", "openai")
    with pytest.raises(ValueError, match="openai.*yfcc15m"):
        load_clip("RN50-quickgelu", "opnai")
    with pytest.raises(ValueError, match="precision"):
        load_clip("RN50-quickgelu", "openai", "fp8")


def test_weights_of_another_architecture_are_refused(clip_checkpoints):
    with pytest.raises(ValueError, match="does not hold the weights of test-resnet"):
        load_clip("test-resnet", str(clip_checkpoints["test-vit"]))


def test_weights_that_cannot_be_had_say_what_to_do_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setattr("simnl.clip.fetching._in_hub_cache", lambda location: False)
    monkeypatch.setattr(open_clip, "download_pretrained", lambda source: pytest.fail("must not be tried"))
    with pytest.raises(WeightsUnavailable, match="127.0.0.1:9 does not answer.*\n.*WEIGHTS=.*BACKBONE=tiny"):
        load_clip("RN50-quickgelu", "openai")


def test_weights_in_the_cache_need_no_network(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repository, name: str(tmp_path / name))
    monkeypatch.setattr(open_clip, "download_pretrained", lambda source: "here")
    assert fetch_weights("RN50-quickgelu", "openai") == "here"


def test_bf16_towers_give_float32_features_near_those_of_fp32(clip_checkpoints):
    full = load_clip("test-vit", str(clip_checkpoints["test-vit"]))
    half = load_clip("test-vit", str(clip_checkpoints["test-vit"]), "bf16")
    pixels = torch.randn(4, 3, 32, 32)
    features = half.encode_image(pixels)
    assert features.dtype is torch.float32
    assert torch.cosine_similarity(features, full.encode_image(pixels)).min() > 0.99


def test_the_bundled_model_loads():
    clip = load_clip(TINY, "bundled")
    assert clip.weights == "bundled"
    assert clip.logit_scale > 1


def test_the_test_view_is_the_models_own(vit):
    spec = ViewSpec.test(vit.preprocess)
    image = Image.effect_noise((50, 40), 60).convert("RGB")
    own = open_clip.image_transform(
        32, is_train=False, mean=vit.preprocess["mean"], std=vit.preprocess["std"], interpolation="bicubic"
    )
    assert torch.equal(spec.build()(image), own(image))


def test_random_views_are_functions_of_content_and_number(vit):
    spec, image = ViewSpec.random(vit.preprocess, (0.5, 1.0)), Image.effect_noise((50, 40), 60).convert("RGB")

    def view(content, number):
        with seeded(view_seed(content, number)):
            return spec.build()(image)

    assert torch.equal(view(b"a", 1), view(b"a", 1))
    assert not torch.equal(view(b"a", 1), view(b"a", 2))
    assert not torch.equal(view(b"a", 1), view(b"b", 1))
    assert spec.digest != ViewSpec.random(vit.preprocess, (0.08, 1.0)).digest
    assert spec.digest != replace(spec, augmix=True).digest
    newer = ("augmix", "decoder")  # fields which older entries lack
    fields = {name: value for name, value in asdict(spec).items() if name not in newer}
    assert spec.digest == hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def test_the_backbones_of_the_configs_are_known_to_open_clip():
    for name in known("backbones"):
        node = read_yaml(config_file("backbones", name))["MODEL"]["BACKBONE"]
        check_known(node["ARCH"], node["WEIGHTS"])
    assert model_config("RN50") == open_clip.get_model_config("RN50")
    assert model_config("no-such-tower") is None
    assert CONTEXT_LENGTH == open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH
