"""WEIGHTS on the hub: huggingface_hub fetches them from a server on the loopback."""

from __future__ import annotations

import json

import pytest

from helpers.hub_server import serve
from simnl.clip.fetching import WeightsUnavailable, fetch_file
from simnl.clip.model import check_known, load_clip
from simnl.clip.transforms import Transform

HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bilinear", "resize_mode": "squash"}
GIVEN = Transform((0.1, 0.2, 0.3), (1.0, 1.0, 1.0), "bicubic", "shortest")


@pytest.fixture
def hub(tmp_path, clip_checkpoints):
    """A hub that has the small ViT, with open_clip's config and without."""
    content = clip_checkpoints["test-vit"].read_bytes()
    config = json.dumps({"model_cfg": {}, "preprocess_cfg": HALF}).encode()
    with serve(tmp_path) as hub:
        hub.repositories["me/whole"] = {"open_clip_model.safetensors": content, "open_clip_config.json": config}
        hub.repositories["me/bare"] = {"vit.safetensors": content}
        yield hub


def test_a_repository_states_the_transform_itself(hub, vit):
    clip = load_clip("test-vit", "hf-hub:me/whole")
    assert clip.fingerprint == vit.fingerprint
    assert clip.weights == "hf-hub:me/whole"  # which means the same on another machine
    assert {
        field: list(v) if isinstance(v, tuple) else v for field, v in clip.preprocess.items() if field in HALF
    } == HALF
    given = load_clip("test-vit", "hf-hub:me/whole", transform=Transform(mean=GIVEN.mean))
    assert given.preprocess["mean"] == GIVEN.mean
    assert given.preprocess["resize_mode"] == "squash"
    asked = len(hub.requests)
    hub.fail = 500
    assert fetch_file("test-vit", "hf-hub:me/whole")[1]["preprocess_cfg"] == HALF
    assert len(hub.requests) == asked  # what is here is not asked for again


def test_a_file_of_a_repository_without_a_config(hub, vit):
    clip = load_clip("test-vit", "hf-hub:me/bare/vit.safetensors", transform=GIVEN)
    assert clip.fingerprint == vit.fingerprint
    assert clip.preprocess["mean"] == GIVEN.mean
    assert fetch_file("test-vit", "hf-hub:me/bare/vit.safetensors")[1] == {}


def test_another_activation_is_refused(hub):
    stated = {"model_cfg": {"quick_gelu": True}}
    hub.repositories["me/whole"]["open_clip_config.json"] = json.dumps(stated).encode()
    with pytest.raises(ValueError, match="model 'hf-hub:me/whole' was trained with QuickGELU.*'ViT-B-32-quickgelu'"):
        load_clip("ViT-B-32", "hf-hub:me/whole")


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("hf-hub:me/none", "weights 'hf-hub:me/none' of test-vit: .*404"),
        ("hf-hub:me/bare", "me/bare has no file open_clip_model.safetensors or open_clip_pytorch_model.bin"),
        ("hf-hub:me/bare/other.pt", "me/bare has no file other.pt"),
    ],
)
def test_what_cannot_be_had(hub, weights, said):
    with pytest.raises(WeightsUnavailable, match=f"{said}"):
        load_clip("test-vit", weights)


def test_without_a_network_it_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(WeightsUnavailable, match="127.0.0.1:9 does not answer"):
        fetch_file("test-vit", "hf-hub:me/whole")


@pytest.mark.parametrize("weights", ["hf-hub:", "hf-hub:me", "hf-hub:me/", "hf-hub:me//x"])
def test_a_wrong_name_is_told_before_anything_is_asked(weights):
    with pytest.raises(ValueError, match="OWNER/NAME or hf-hub:OWNER/NAME/FILE"):
        check_known("ViT-B-32", weights)
