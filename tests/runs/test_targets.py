"""Shifted data sets: what makes no sense is told before training, and no figure is lost when others are asked for."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from helpers.images import make_images
from helpers.table_records import record
from simnl.locations import CONFIGS
from simnl.runs.config import assemble
from simnl.runs.record import with_earlier, write_record
from simnl.runs.run import run_one
from simnl.runs.target_configs import target_config
from simnl.runs.targets import build_targets, check_targets

NAMES = ("cat", "dog", "owl", "yak")


def data_set(*names, indices=None):
    return SimpleNamespace(num_classes=len(names), lab2cname=dict(enumerate(names)), class_indices=indices)


def shapes(*options):
    files = [CONFIGS / "datasets" / "shapes.yaml", CONFIGS / "trainers" / "CLIPAdapter.yaml"]
    return assemble(files, options, {"TRAINER.NAME": "CLIPAdapter", "SEED": 1})


@pytest.mark.parametrize("part", ["base", "new"])
def test_shifted_data_need_a_run_on_all_classes(part):
    cfg = shapes("DATASET.SUBSAMPLE_CLASSES", part, "TEST.TARGETS", "['shapes_inverted']")
    with pytest.raises(
        ValueError, match=f"shapes_inverted has all classes.*SUBSAMPLE_CLASSES is {part}.*Set that key to all"
    ):
        build_targets(cfg)


def test_a_split_of_the_source_is_not_looked_for_in_the_target():
    """Nor the names that stand for its classes; names for the data set's own classes hold for its variants, too."""
    names = ("DATASET.CLASSNAMES_FILE", "names.txt")
    own = target_config(shapes("DATASET.SPLIT_FILE", "mine.json", *names), "shapes_noise")
    assert (own.DATASET.NAME, own.DATASET.SPLIT_FILE, own.DATASET.CLASSNAMES_FILE) == ("ShapesNoise", "", "")
    assert target_config(shapes(*names), "shapes_noise").DATASET.CLASSNAMES_FILE == "names.txt"


@pytest.mark.parametrize(
    "target",
    [data_set(*NAMES), data_set("cat", "dog", "owl", "gnu"), data_set("yak", "cat", indices=[3, 0])],
    ids=["the same", "one other name", "some of the classes"],
)
def test_what_fits(target):
    check_targets(data_set(*NAMES), {"shifted": target})


def test_data_of_other_classes_are_asked_for_by_another_name():
    others = data_set("bus", "car", "jet", "van")
    check_targets(data_set(*NAMES), {"cross:vehicles": others, "new": others})
    with pytest.raises(ValueError, match="Use cross:vehicles to test on it as a data set of other classes"):
        check_targets(data_set(*NAMES), {"vehicles": others})
    with pytest.raises(ValueError, match="The target cross:shifted has the classes of the data of the run"):
        check_targets(data_set(*NAMES), {"cross:shifted": data_set(*NAMES)})


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (data_set(*NAMES[:3]), "it has 3 classes, and the head 4"),
        (data_set("yak", "gnu", indices=[3, 4]), "its classes go up to number 5, and those of the head to 4"),
        (data_set("elm", "oak", "fir", "yak"), r"3 of 4 classes have other names \(cat / elm"),
        (data_set("cat", "yak", indices=[3, 0]), "2 of 2 classes have other names"),
    ],
)
def test_what_does_not_fit(target, told):
    with pytest.raises(ValueError, match=f"The target shifted is not a shifted version of .*: {told}"):
        check_targets(data_set(*NAMES), {"shifted": target})


@pytest.mark.parametrize("sweep", ["[]", "[['OPTIM.LR', [0.1, 0.2]]]"])
def test_a_misfit_is_told_before_training(tmp_path, monkeypatch, sweep):
    for number, name in enumerate(NAMES):
        make_images(tmp_path / "images" / name, 10, size=20 + number)
    files = [CONFIGS / "backbones" / "tiny.yaml", CONFIGS / "datasets" / "imagefolder.yaml"]
    typed = [
        "DATASET.FOLDER",
        str(tmp_path / "images"),
        "DATASET.NUM_SHOTS",
        "1",
        "STORE.ROOT",
        str(tmp_path / "store"),
    ]
    typed += [
        "OUTPUT_DIR",
        str(tmp_path / "run"),
        "DATALOADER.NUM_WORKERS",
        "0",
        "VIEWS.CACHE",
        "1",
        "VERBOSE",
        "False",
    ]
    cfg = assemble([*files, CONFIGS / "trainers" / "CLIPAdapter.yaml"], [*typed, "SWEEP", sweep], {
        "TRAINER.NAME": "CLIPAdapter", "SEED": 1})  # fmt: skip
    monkeypatch.setattr("simnl.runs.run.checked_targets", lambda _: {"shifted": data_set("cat")})
    with pytest.raises(ValueError, match="it has 1 classes, and the head 4"):
        run_one(cfg)
    assert not list((tmp_path / "run").rglob("head*"))


def test_figures_of_other_targets_are_kept(tmp_path):
    first = record(targets={"noise": 40.0, "outline": 50.0}, config_hash="abc")
    write_record(tmp_path, first)
    new = first | {"targets": {"outline": 51.0, "inverted": 60.0}, "seconds": {"train": 0.0}, "encoded_images": 0}
    both = {"noise": 40.0, "outline": 51.0, "inverted": 60.0}
    assert with_earlier(tmp_path, new, resumed=False) == new | {"targets": both}
    assert with_earlier(tmp_path, new, resumed=True) == first | {"targets": both}  # with what learning had cost


@pytest.mark.parametrize("change", [{"config_hash": "abd"}, {"seed": 2}, {"accuracy": 60.1}])
def test_figures_of_another_head_are_not_taken_over(tmp_path, change):
    write_record(tmp_path, record(targets={"noise": 40.0}, config_hash="abc"))
    new = record(targets={}, config_hash="abc") | change
    assert with_earlier(tmp_path, new, resumed=True) == new


@pytest.mark.parametrize("content", [None, "", "[]", json.dumps(record(config_hash="abc", targets=[1]))])
def test_no_earlier_record_or_a_damaged_one(tmp_path, content):
    if content is not None:
        (tmp_path / "result.json").write_text(content)
    new = record(targets={"noise": 40.0}, config_hash="abc")
    assert with_earlier(tmp_path, new, resumed=True) == new
