"""A tuned image tower computes what it computed before; the text tower's type follows the device."""

from __future__ import annotations

from dataclasses import replace

import open_clip
import pytest
import torch
from open_clip.modified_resnet import ModifiedResNet
from safetensors.torch import load_file
from torch import nn

from simnl.clip.database import FeatureDatabase
from simnl.clip.model import load_clip
from simnl.clip.store import FeatureStore
from simnl.clip.tuning import tune
from simnl.clip.views import ViewSpec


def untuned(clip_checkpoints) -> nn.Module:
    """The random ResNet with running statistics that are not those of a new model."""
    model = open_clip.create_model("test-resnet").eval().requires_grad_(False)
    model.load_state_dict(load_file(clip_checkpoints["test-resnet"]))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.weight.uniform_(0.5, 2)
            module.bias.normal_()
    return model


def test_folding_changes_features_by_rounding_alone(clip_checkpoints):
    torch.manual_seed(0)
    model, pixels = untuned(clip_checkpoints), torch.randn(5, 3, 32, 32)
    before = model.encode_image(pixels)
    assert isinstance(tune(model).visual, ModifiedResNet)
    torch.testing.assert_close(model.encode_image(pixels), before, atol=1e-5, rtol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.visual.modules())


def test_a_loaded_resnet_is_tuned_and_keeps_the_fingerprint_of_its_file(random_clip, clip_checkpoints):
    has_norms = any(isinstance(module, nn.BatchNorm2d) for module in random_clip.model.modules())
    assert not has_norms
    again = load_clip(random_clip.arch, str(clip_checkpoints[random_clip.arch]))
    assert again.fingerprint == random_clip.fingerprint


def test_half_types_are_for_images_alone_on_a_cpu(tmp_path, clip_checkpoints):
    path = str(clip_checkpoints["test-vit"])
    full, half = load_clip("test-vit", path), load_clip("test-vit", path, "bf16")
    tokens, pixels = full.tokenize(["a cat"]), torch.randn(2, 3, 32, 32)
    assert torch.equal(half.encode_text(tokens), full.encode_text(tokens))
    assert not torch.equal(half.encode_image(pixels), full.encode_image(pixels))
    assert replace(half, device=torch.device("cuda")).text_precision == "bf16"
    stores = [FeatureStore(tmp_path, clip, progress=False) for clip in (full, half)]
    for store in stores:
        store.texts(["a cat"])
    assert len(list((tmp_path / "features").glob("text-*.sqlite"))) == 1  # shared, as they are equal


def test_writing_overlaps_encoding_and_its_failure_ends_the_run(tmp_path, vit, image_files, monkeypatch):
    def broken(self, records):
        raise OSError("no disk")

    monkeypatch.setattr(FeatureDatabase, "_insert", broken)
    store = FeatureStore(tmp_path, vit, progress=False)
    with pytest.raises(OSError, match="no disk"):
        store.images(image_files, ViewSpec.test(vit.preprocess))
    assert store.encoded_images == 0
