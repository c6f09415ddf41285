"""What methods say that they cannot do."""

from __future__ import annotations

import pytest

from simnl.config_names import known
from simnl.runs.capabilities import refusal


@pytest.mark.parametrize("method", known("trainers"))
def test_every_method_runs_few_shot_and_under_domain_shift(method):
    for task in ("few-shot", "dg"):
        assert refusal(method, task=task, arch="ViT-B-32") is None


def test_reasons():
    assert "choose a ViT" in refusal("CLIPLoRA", arch="RN50")
    assert "read at its class token" in refusal("VPT", arch="coca_ViT-B-32")
    assert "CLIP's own text tower" in refusal("CoOp", arch="ViT-B-16-SigLIP")
    assert "one of Hugging Face" in refusal("CLIPLoRA", arch="roberta-ViT-B-32")
    assert refusal("CoOp", arch="no-such-architecture") is None  # records of a plugin that is gone
    assert "learns the projection" in refusal("ProLIP", arch="convnext_base")
    assert "cannot classify new ones" in refusal("SimNL", task="base2new")
    assert refusal("CoOp", task="base2new") is None
    assert "cannot classify new ones" in refusal("SimNL", task="cross")
    assert refusal("CoOp", task="cross") is None
    assert "only test images" in refusal("TaskRes", eval_only=True)
    assert refusal("ZeroshotCLIP", eval_only=True) is None
    with pytest.raises(ValueError, match="few-shot, dg, base2new, cross"):
        refusal("SimNL", task="regression")
