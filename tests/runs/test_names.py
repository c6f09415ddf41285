"""What tables and figures call methods and data sets."""

from __future__ import annotations

import pytest

from simnl.runs import names
from simnl.runs.config import ConfigError, assemble
from simnl.runs.names import dataset_name, display_name


@pytest.mark.parametrize(
    ("method", "shown"),
    [("TipAdapterF", "Tip-Adapter-F"), ("APET", "APE-T"), ("LPPlusPlus", "LP++"), ("CLIPLoRA", "CLIP-LoRA"),
     ("ZeroshotCLIP", "Zero-shot CLIP"), ("SimNL", "SimNL"), ("TipX", "Tip-X"), ("Unheard", "Unheard")],
)  # fmt: skip
def test_methods(method, shown):
    assert display_name(method) == shown


@pytest.mark.parametrize(
    ("dataset", "shown"),
    [("oxford_pets", "OxfordPets"), ("oxford_flowers", "Flowers102"), ("shapes", "shapes"),
     ("imagenet -> imagenet_a", "ImageNet -> ImageNet-A"), ("dtd@0123abcd", "DTD@0123abcd"),
     ("imagefolder-my pets", "imagefolder-my pets"), ("../trainers/APET", "../trainers/APET")],
)  # fmt: skip
def test_data_sets(dataset, shown):
    assert dataset_name(dataset) == shown


def test_a_new_method_is_named_by_its_yaml_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "NearestMean.yaml").write_text("DISPLAY_NAME: Nearest mean\n")
    (tmp_path / "trainers" / "Plain.yaml").write_text("OPTIM: {MAX_EPOCH: 0}\n")
    (tmp_path / "trainers" / "Broken.yaml").write_text("OPTIM: {\n")
    monkeypatch.setattr("simnl.config_names.folders", lambda: (tmp_path,))
    names._declared.cache_clear()
    assert [display_name(name) for name in ("NearestMean", "Plain", "Broken")] == ["Nearest mean", "Plain", "Broken"]
    names._declared.cache_clear()


def test_the_name_is_text_and_no_key_of_a_run(tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("DISPLAY_NAME: Nearest mean\n")
    bad.write_text("DISPLAY_NAME: [1]\n")
    assert assemble([good]) == assemble([])
    with pytest.raises(ConfigError, match="bad.yaml: DISPLAY_NAME must be text"):
        assemble([bad])
