"""Configs: merge order, overrides, errors; and that every trainer x data set x backbone loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from simnl.clip import tiny_clip
from simnl.config_names import check_name, known
from simnl.locations import CONFIGS
from simnl.runs.backbones import backbone_names, backbone_settings
from simnl.runs.config import ConfigError, assemble, coerce
from simnl.runs.identity import config_hash
from simnl.runs.yaml_files import read_yaml

BACKBONE = CONFIGS / "backbones" / "rn50.yaml"
DTD = CONFIGS / "datasets" / "dtd.yaml"
SIMNL = CONFIGS / "trainers" / "SimNL.yaml"
NAME = {"TRAINER.NAME": "SimNL"}


def simnl(*options: str, dataset: Path = DTD, **settings):
    return assemble([BACKBONE, dataset, SIMNL], options, {**NAME, **settings})


@pytest.mark.parametrize("trainer", known("trainers"))
def test_every_trainer_loads_with_every_dataset_and_every_backbone(trainer):
    method = CONFIGS / "trainers" / f"{trainer}.yaml"
    pairs = [(dataset, "rn50") for dataset in known("datasets")]
    pairs += [(dataset, backbone) for dataset in ("imagenet", "shapes") for backbone in known("backbones")]
    for dataset, backbone in pairs:
        files = [CONFIGS / "backbones" / f"{backbone}.yaml", CONFIGS / "datasets" / f"{dataset}.yaml", method]
        cfg = assemble(files, [], {"TRAINER.NAME": trainer})
        assert cfg.DATASET.NAME
        assert trainer.upper() in cfg.TRAINER
        if backbone == "rn50":
            assemble(files, ["PRESET", "official"], {"TRAINER.NAME": trainer})


@pytest.mark.parametrize("trainer", known("trainers"))
def test_what_any_override_sets_is_a_key_of_the_right_type(trainer):
    """Whatever the data set, the backbone and the shots: each entry is applied by itself."""
    method = CONFIGS / "trainers" / f"{trainer}.yaml"
    for override in read_yaml(method).get("OVERRIDES", []):
        alone = {key: values[0] if isinstance(values, list) else values for key, values in override["WHEN"].items()}
        assemble([BACKBONE, DTD, method], [], {"TRAINER.NAME": trainer, **alone})


def test_merge_order(tmp_path):
    cfg = simnl()
    assert cfg.MODEL.BACKBONE.ARCH == "RN50-quickgelu"  # backbone yaml over defaults
    assert cfg.OPTIM.MAX_EPOCH == 20  # OVERRIDES over the trainer's yaml (30)
    assert simnl("OPTIM.MAX_EPOCH", "7").OPTIM.MAX_EPOCH == 7  # command line over OVERRIDES
    mine = tmp_path / "mine.yaml"
    mine.write_text("OPTIM: {LR: 0.5}\nDATASET: {NAME: DescribableTextures}\n")
    assert assemble([BACKBONE, mine, SIMNL], [], NAME).OPTIM.LR == 1e-4  # trainer yaml over data set yaml


def test_overrides_depend_on_preset_dataset_and_shots(tmp_path):
    assert simnl().TRAINER.SIMNL.CONSISTENCY_AXIS == "class"
    official = simnl("PRESET", "official")
    assert official.TRAINER.SIMNL.CONSISTENCY_AXIS == "channel"
    assert official.DATASET.TRAIN_DRAW == "separate"
    food = CONFIGS / "datasets" / "food101.yaml"
    assert simnl(dataset=food).TRAINER.SIMNL.LAM == 0.75
    assert simnl("PRESET", "official", dataset=food).TRAINER.SIMNL.LAM == 0.15
    shots = tmp_path / "SimNL.yaml"
    shots.write_text("OVERRIDES:\n- {WHEN: {DATASET.NUM_SHOTS: [1, 2]}, SET: {OPTIM: {LR: 0.25}}}\n")
    assert assemble([BACKBONE, DTD, shots], ["DATASET.NUM_SHOTS", "2"], NAME).OPTIM.LR == 0.25
    assert assemble([BACKBONE, DTD, shots], ["DATASET.NUM_SHOTS", "4"], NAME).OPTIM.LR != 0.25


def test_simnls_own_templates_reach_no_other_method():
    ucf = CONFIGS / "datasets" / "ucf101.yaml"
    assert len(simnl("PRESET", "official", dataset=ucf).PROMPTS.NEGATIVE) == 2
    assert len(simnl(dataset=ucf).PROMPTS.NEGATIVE) == 1
    tip = CONFIGS / "trainers" / "TipAdapter.yaml"
    other = assemble([BACKBONE, ucf, tip], ["PRESET", "official"], {"TRAINER.NAME": "TipAdapter"})
    assert len(other.PROMPTS.POSITIVE) == 1


def test_the_authors_grids():
    cfg = simnl(dataset=CONFIGS / "datasets" / "imagenet.yaml")
    assert cfg.TRAINER.SIMNL.GRID == {"BETA": [0.0, 4.0, 200], "ALPHA": [0.0, 4.0, 40], "LAM": [0.6, 0.9, 20]}
    assert list(cfg.TRAINER.SIMNL.GRID) == ["BETA", "ALPHA", "LAM"]  # the order of their loops
    assert (cfg.TRAINER.SIMNL.BETA, cfg.TRAINER.SIMNL.ALPHA, cfg.TRAINER.SIMNL.LAM) == (2.0, 1.2, 0.75)


def test_all_problems_are_told_at_once_with_the_nearest_key(tmp_path):
    broken = tmp_path / "SimNL.yaml"
    broken.write_text("OPTIM: {LRR: 1.0, MAX_EPOCH: many}\nOVERRIDES:\n- {WHEN: {DATASET.NAMES: [x]}, SET: {}}\n")
    with pytest.raises(ConfigError) as error:
        assemble([BACKBONE, DTD, broken], ["TRAINER.SIMNL.TAUU", "1", "PROTOCOL"], NAME)
    text = str(error.value)
    for part in (
        "OPTIM.LRR",
        "OPTIM.LR?",
        "expected int",
        "DATASET.NAMES",
        "DATASET.NAME?",
        "TRAINER.SIMNL.TAU?",
        "PROTOCOL",
    ):
        assert part in text
    assert str(broken) in text


@pytest.mark.parametrize(
    ("content", "message"),
    [("[1, 2]", "KEY: VALUE"), ("a: [", "not valid yaml"), ("OVERRIDES: {WHEN: 1}", "list of entries")],
)
def test_broken_yaml_is_named(tmp_path, content, message):
    path = tmp_path / "x.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        assemble([path], [], NAME)
    with pytest.raises(ConfigError, match="no such file.*rn50"):
        assemble([CONFIGS / "backbones" / "rn51.yaml"], [], NAME)


def test_coercion():
    assert coerce(1.0, "2") == 2.0
    assert coerce(1.0, "1e-5") == 1e-5
    assert coerce("x", "1") == "1"
    assert coerce(False, "true") is True
    assert coerce([1], (2, 3)) == [2, 3]
    for old, new in ((1, "1.5"), (1, "true"), ([], "a"), (True, "maybe"), (1.0, "x")):
        with pytest.raises(ValueError, match="expected"):
            coerce(old, new)


def test_the_hash_follows_what_changes_figures_only(tmp_path):
    base = config_hash(simnl())
    assert config_hash(simnl("OPTIM.LR", "0.5")) != base
    assert config_hash(simnl("TRAINER.SIMNL.TAU", "0.1")) != base
    assert config_hash(simnl("PROMPTS.POSITIVE", "['{}']")) != base
    for same in (("SEED", "3"), ("OUTPUT_DIR", "x"), ("STORE.ROOT", "x"), ("DATASET.ROOT", "x"), ("USE_CUDA", "False"),
                 ("DATALOADER.NUM_WORKERS", "0"), ("TRAINER.ZEROSHOTCLIP.PROMPTS", "cupl")):  # fmt: skip
        assert config_hash(simnl(*same)) == base, same
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"one")
    one = config_hash(simnl("MODEL.BACKBONE.WEIGHTS", str(weights)))
    weights.write_bytes(b"two")
    assert config_hash(simnl("MODEL.BACKBONE.WEIGHTS", str(weights))) != one


def test_new_bundled_weights_make_new_runs(tmp_path, monkeypatch):
    tiny = assemble([CONFIGS / "backbones" / "tiny.yaml", DTD, SIMNL], [], NAME)
    before = config_hash(tiny)
    monkeypatch.setitem(tiny_clip.BUNDLED, "tiny-clip", tiny_clip.Bundled("tiny-clip", tmp_path))
    (tmp_path / "weights.safetensors").write_bytes(b"other weights")
    assert config_hash(tiny) != before


def test_backbones_by_any_spelling():
    for spelling in ("rn50", "RN50", "vit_b32", "ViT-B/32", "ViT-B-32"):
        files, settings = backbone_settings(spelling)
        assert files[0].stem in backbone_names()
        assert not settings
    files, settings = backbone_settings("ViT-B-16-SigLIP", "webli")
    assert settings["MODEL.BACKBONE.ARCH"] == "ViT-B-16-SigLIP"
    with pytest.raises(ConfigError, match="WEIGHTS.*webli"):
        backbone_settings("ViT-B-16-SigLIP")
    with pytest.raises(ConfigError, match="Did you mean rn50"):
        backbone_settings("rn5")


def test_names():
    assert check_name("datasets", "dtd") == "dtd"
    with pytest.raises(ValueError, match=r"data set 'imgenet'\. Did you mean imagenet\? Valid: caltech101"):
        check_name("datasets", "imgenet")


def test_all_of_coops_names_are_there():
    coop = "caltech101 dtd eurosat fgvc_aircraft oxford_flowers food101 imagenet oxford_pets stanford_cars sun397"
    coop += " ucf101"
    variants = "imagenetv2 imagenet_sketch imagenet_a imagenet_r"
    assert {*coop.split(), *variants.split(), "shapes"} <= set(known("datasets"))
