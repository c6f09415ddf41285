"""No mix-up of devices: everything that is learned lives on the GPU, and everything that is given back on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simnl import FewShotClassifier

OPTIONS = {"OPTIM.MAX_EPOCH": 2, "SEARCH.ENABLED": False}  # the search runs in tests/trainers/test_on_a_gpu.py


@pytest.mark.parametrize("method", ["SimNL", "GDA"])
def test_features_on_a_gpu(method, make_believe_gpu):
    labels = np.arange(24) % 3
    x = np.random.RandomState(0).randn(3, 8)[labels] + 0.1 * np.random.RandomState(1).randn(24, 8)
    texts = torch.from_numpy(x[:3]).float().cuda()
    given = {"text_features": {"template": texts, "negative": -texts}, "validation": (x, labels)}
    classifier = FewShotClassifier(method, device="cuda", options=OPTIONS, **given)
    classifier.fit(torch.from_numpy(x).cuda(), labels)
    assert classifier.score(x, labels) > 0.9
    given = {name: value for name, value in given.items() if name != "text_features"}
    given["text_features"] = {"template": texts.cpu(), "negative": -texts.cpu()}
    on_cpu = FewShotClassifier(method, device="cpu", options=OPTIONS, **given).fit(x, labels)
    np.testing.assert_allclose(classifier.logits(x), on_cpu.logits(x), atol=1e-4)


def test_pictures_on_a_gpu(make_believe_gpu, pictures, features_cache, tmp_path):
    paths, labels = pictures["train"]
    settings = {"backbone": "tiny", "options": {"OPTIM.MAX_EPOCH": 1}, "cache": features_cache}
    classifier = FewShotClassifier("CoOp", device="auto", **settings).fit(paths, labels)
    classifier.save(tmp_path / "head.safetensors")
    loaded = FewShotClassifier.load(tmp_path / "head.safetensors", device="cuda", cache=False)
    np.testing.assert_allclose(loaded.logits(paths), classifier.logits(paths), atol=1e-4)
