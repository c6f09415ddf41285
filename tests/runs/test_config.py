"""Configs: merge order, overrides, errors; and that every trainer, data set and backbone loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from simnl.clip import tiny_clip
from simnl.config_names import check_name, config_file, known
from simnl.locations import CONFIGS
from simnl.runs.backbones import backbone_names, backbone_settings
from simnl.runs.config import ConfigError, assemble
from simnl.runs.identity import config_hash
from simnl.runs.targets import target_config
from simnl.runs.values import coerce
from simnl.runs.yaml_files import read_yaml

BACKBONE = CONFIGS / "backbones" / "rn50.yaml"
DTD = CONFIGS / "datasets" / "dtd.yaml"
SIMNL = CONFIGS / "trainers" / "SimNL.yaml"
NAME = {"TRAINER.NAME": "SimNL"}

DOMAINS = {  # backbone -> the prompt for pictures of one's own
    "biomedclip": "this is a photo of {}.",
    "remoteclip": "a satellite photo of {}.",
    "bioclip2": "a photo of {}.",
}


def simnl(*options: str, dataset: Path = DTD, **settings):
    return assemble([BACKBONE, dataset, SIMNL], options, {**NAME, **settings})


USUAL = {"backbones": BACKBONE, "datasets": DTD, "trainers": SIMNL}


def beside_the_usual(path: Path, options: tuple[str, ...] = (), **settings):
    """The config of a file and of the usual ones of the other two kinds."""
    files = {**USUAL, path.parent.name: path}
    return assemble(list(files.values()), options, {"TRAINER.NAME": files["trainers"].stem, **settings})


@pytest.mark.parametrize("kind", USUAL)
def test_every_trainer_data_set_and_backbone_loads(kind):
    """Each beside the usual ones, as what a file sets is right or wrong whatever the others set."""
    for name in known(kind):
        for preset in ("repaired", "official"):
            cfg = beside_the_usual(CONFIGS / kind / f"{name}.yaml", ("PRESET", preset))
            assert cfg.DATASET.NAME
            assert cfg.TRAINER.NAME.upper() in cfg.TRAINER


@pytest.mark.parametrize("kind", USUAL)
def test_what_any_override_sets_is_a_key_of_the_right_type(kind):
    """Whatever the data set, the backbone and the shots: each entry is applied by itself."""
    for name in known(kind):
        path = CONFIGS / kind / f"{name}.yaml"
        for override in read_yaml(path).get("OVERRIDES", []):
            alone = {key: values[0] if isinstance(values, list) else values for key, values in override["WHEN"].items()}
            beside_the_usual(path, **alone)


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


def of_setting(method: str, dataset: str, targets: tuple = (), *options: str, **settings):
    files = [CONFIGS / "backbones" / "vit_b16.yaml", CONFIGS / "datasets" / f"{dataset}.yaml"]
    files.append(CONFIGS / "trainers" / f"{method}.yaml")
    return assemble(files, options, {"TRAINER.NAME": method, "TEST.TARGETS": list(targets), **settings})


def test_a_run_knows_its_setting():
    """By its classes and targets, or by what is typed; it names no run, whose constants do that."""
    cases = [
        ((), "few-shot"),
        (("imagenetv2",), "dg"),
        (("cross:dtd",), "cross"),
        (("cross:dtd", "imagenetv2"), "cross"),
    ]
    runs = [of_setting("CoOp", "imagenet", targets) for targets, _ in cases]
    assert [cfg.SETTING for cfg in runs] == [wanted for _, wanted in cases]
    assert len({config_hash(cfg) for cfg in runs}) == 1
    base = of_setting("CoOp", "imagenet", ("new",), **{"DATASET.SUBSAMPLE_CLASSES": "base"})
    assert base.SETTING == "base2new"
    typed = of_setting("PromptSRC", "imagenet", ("imagenetv2",), "SETTING", "few-shot")
    assert config_hash(typed) == config_hash(of_setting("PromptSRC", "imagenet"))


def test_constants_of_the_settings():
    """Epochs, blocks, rates and weights are those of the authors' configs."""
    base = {"DATASET.SUBSAMPLE_CLASSES": "base"}
    expected = {"few-shot": (50, 9, 30, 30), "base2new": (20, 9, 15, 1), "cross": (20, 3, 6, 10), "dg": (20, 3, 6, 10)}
    runs = [
        ("few-shot", (), {}),
        ("base2new", ("new",), base),
        ("cross", ("cross:dtd",), {}),
        ("dg", ("imagenetv2",), {}),
    ]
    for setting, targets, more in runs:
        cfg = of_setting("PromptSRC", "imagenet", targets, **more)
        node = cfg.TRAINER.PROMPTSRC
        found = cfg.OPTIM.MAX_EPOCH, node.DEPTH_TEXT, node.GPA_MEAN, node.GPA_STD
        assert found == expected[setting], setting
        assert node.DEPTH_VISION == node.DEPTH_TEXT
    expected = {
        "few-shot": (5, 1, 0.5, 32),
        "base2new": (5, 1, 0.5, 32),
        "cross": (1, -1, 0.2, 32),
        "dg": (1, -1, 0.2, 32),
    }
    for setting, targets, more in runs:
        cfg = of_setting("MMRL", "imagenet", targets, **more)
        found = cfg.OPTIM.MAX_EPOCH, cfg.OPTIM.WARMUP_EPOCH, cfg.TRAINER.MMRL.WEIGHT, cfg.DATALOADER.TRAIN_X.BATCH_SIZE
        assert found == expected[setting], setting
    maple = [of_setting("MaPLe", "imagenet", targets, **more) for _, targets, more in runs]
    assert [(cfg.OPTIM.MAX_EPOCH, cfg.TRAINER.MAPLE.DEPTH) for cfg in maple] == [(2, 3), (5, 9), (2, 3), (2, 3)]
    svd = [of_setting("CLIPSVD", "dtd", targets, **more) for _, targets, more in runs[:3]]
    assert [(cfg.OPTIM.LR, cfg.TRAINER.CLIPSVD.STEPS_PER_SHOT) for cfg in svd] == [(5e-4, 20), (4e-4, 0), (5e-4, 20)]
    prolip = of_setting("ProLIP", "dtd", ("new",), **base, PRESET="official")
    assert (prolip.OPTIM.LR, prolip.SWEEP) == (1e-5, [])


def test_a_target_has_the_templates_of_the_setting():
    """CLIP-SVD's authors name Food101 in other words where it is no data set of training."""
    official = {"PRESET": "official"}
    assert of_setting("CLIPSVD", "food101", **official).PROMPTS.POSITIVE == ["a photo of a {}, a type of food."]
    cross = of_setting("CLIPSVD", "imagenet", ("cross:food101",), **official)
    assert target_config(cross, "cross:food101").PROMPTS.POSITIVE == ["a photo of {}, a type of food."]


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


@pytest.mark.parametrize(("backbone", "template"), DOMAINS.items())
def test_models_for_a_domain_bring_prompts_for_own_images_alone(backbone, template):
    files, _ = backbone_settings(backbone)
    own, other = (config_file("datasets", name) for name in ("imagefolder", "eurosat"))
    assert [template] == assemble([*files, own]).PROMPTS.POSITIVE
    given = assemble([*files, own], ["PROMPTS.POSITIVE", "['a {}.']"])
    assert given.PROMPTS.POSITIVE == ["a {}."]
    assert assemble([*files, other]).PROMPTS.POSITIVE == assemble([other]).PROMPTS.POSITIVE
