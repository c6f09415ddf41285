"""fp32 means fp32 unless a run asks for less, and never less in what is stored."""

from __future__ import annotations

import pytest
import torch

from simnl.clip.arithmetic import exact_products, set_arithmetic
from simnl.clip.model import load_clip
from simnl.clip.views import ViewSpec
from simnl.locations import CONFIGS
from simnl.runs.config import assemble
from simnl.runs.identity import config_hash
from simnl.runs.run import seeded_trainer
from trainers.simnl import SimNL


@pytest.fixture(autouse=True)
def as_it_was():
    yield
    set_arithmetic("highest", cuda=False)
    torch.use_deterministic_algorithms(False)


def config(tmp_path, *options):
    files = [CONFIGS / "backbones" / "tiny.yaml", CONFIGS / "datasets" / "shapes.yaml"]
    files.append(CONFIGS / "trainers" / "ZeroshotCLIP.yaml")
    return assemble(files, ["OUTPUT_DIR", str(tmp_path), *options], {"TRAINER.NAME": "ZeroshotCLIP", "SEED": 1})


def test_the_towers_stay_exact_whatever_the_run_asked_for():
    clip = load_clip("tiny-clip", "bundled")
    size = ViewSpec.test(clip.preprocess).size
    pixels = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    tokens = clip.tokenize(["a photo of a thing."])
    exact = clip.encode_image(pixels), clip.encode_text(tokens)
    set_arithmetic("medium", cuda=False)
    assert torch.equal(clip.encode_image(pixels), exact[0])
    assert torch.equal(clip.encode_text(tokens), exact[1])
    assert torch.get_float32_matmul_precision() == "medium"  # as the run asked


def test_within_nothing_is_rounded_and_after_an_error_all_is_as_before():
    set_arithmetic("high", cuda=False)
    assert torch.backends.cudnn.allow_tf32

    def failing():
        with exact_products():
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert torch.get_float32_matmul_precision() == "high"
    assert torch.backends.cudnn.allow_tf32
    set_arithmetic("highest", cuda=False)
    assert not torch.backends.cudnn.allow_tf32


def test_on_a_gpu_repeatable_operations_are_asked_for():
    set_arithmetic("highest", cuda=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory


def test_each_run_sets_its_own(tmp_path):
    for wanted in ("medium", "highest"):
        seeded_trainer(config(tmp_path, "MATMUL", wanted))
        assert torch.get_float32_matmul_precision() == wanted
    with pytest.raises(ValueError, match=r"MATMUL is 'low'. Choose one of highest, high, medium"):
        seeded_trainer(config(tmp_path, "MATMUL", "low"))


def test_a_corrected_method_and_another_arithmetic_are_other_runs(tmp_path, monkeypatch):
    plain = config_hash(config(tmp_path))
    assert config_hash(config(tmp_path, "MATMUL", "high")) != plain
    monkeypatch.setattr(SimNL, "revision", 7)
    assert config_hash(config(tmp_path)) == plain  # another method's correction
    monkeypatch.setattr("trainers.zeroshot_clip.ZeroshotCLIP.revision", 7, raising=True)
    assert config_hash(config(tmp_path)) != plain
