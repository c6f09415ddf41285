"""What methods say that they cannot do."""

from __future__ import annotations

import pytest

from simnl.config_names import known
from simnl.fewshot.capabilities import has_projection, is_vit
from simnl.runs.capabilities import refusal


def test_vision_transformers_are_known_by_their_config():
    assert [a for a in ("ViT-B-32", "ViT-L-14-quickgelu", "RN50", "ViT-B-16-SigLIP", "convnext_base") if is_vit(a)] == [
        "ViT-B-32",
        "ViT-L-14-quickgelu",
    ]


def test_image_towers_with_a_projection_are_known_by_their_config(monkeypatch):
    monkeypatch.setattr("open_clip.get_model_config", {"RN50": {"vision_cfg": {"layers": [3, 4, 6, 3]}}}.get)
    assert has_projection("RN50")
    assert has_projection("tiny-clip")  # which open_clip does not know before it has been loaded
    assert not has_projection("unknown")
    monkeypatch.undo()
    assert has_projection("ViT-B-32")
    assert not has_projection("ViT-B-16-SigLIP")
    assert not has_projection("convnext_base")


@pytest.mark.parametrize("method", known("trainers"))
def test_every_method_runs_few_shot_and_under_domain_shift(method):
    for task in ("few-shot", "dg"):
        assert refusal(method, task=task, arch="ViT-B-32") is None


def test_reasons():
    assert "choose a ViT" in refusal("CLIPLoRA", arch="RN50")
    assert "learns the projection" in refusal("ProLIP", arch="convnext_base")
    assert "says nothing about new ones" in refusal("SimNL", task="base2new")
    assert refusal("CoOp", task="base2new") is None
    assert "test images only" in refusal("TaskRes", eval_only=True)
    assert refusal("ZeroshotCLIP", eval_only=True) is None
    with pytest.raises(ValueError, match="few-shot, dg, base2new"):
        refusal("SimNL", task="regression")
