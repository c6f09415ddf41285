"""Prompts that the text tower cannot tell apart are told, or refused where the names are a person's own."""

from __future__ import annotations

import json

import pytest

from helpers.images import make_images
from simnl.clip.prompts import check_told_apart
from simnl.clip.text import read_cupl
from simnl.locations import CONFIGS
from simnl.runs.config import assemble
from simnl.runs.run import run_one

PHOTO = ["a photo of a {}."]
LONG = "very " * 100


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("red car", "Red Car"),
        ("red car", "red_car"),
        ("red car", " red  car "),
        ("caf\u00e9", "cafe\u0301"),
        (f"{LONG}old", f"{LONG}new"),
        ("_", "__"),
    ],
)
def test_equal_tokens_are_refused_or_told(clip, first, second, caplog):
    names = [first, "dog", second]
    with pytest.raises(ValueError, match="are equal: .*DATASET.CLASSNAMES_FILE") as caught:
        check_told_apart(clip, PHOTO, names, own_names=True)
    assert f"{first!r} = {second!r}" in str(caught.value)
    check_told_apart(clip, PHOTO, names, own_names=False)
    assert f"{first!r} = {second!r}" in caplog.text
    assert "dog" not in caplog.text


def test_one_template_that_differs_is_enough(clip, caplog):
    name = "word " * (clip.context_length - 5)
    check_told_apart(clip, ["in the photo there is a {}.", "{}"], [f"{name}a", f"{name}b"], own_names=True)
    assert not caplog.text


def test_other_faults_of_templates_are_left_to_who_reads_them(clip):
    check_told_apart(clip, [], ["a", "b"], own_names=True)
    with pytest.raises(ValueError, match="placeholder"):
        check_told_apart(clip, ["{} and {}"], ["a", "b"], own_names=True)


def test_equal_sentences_are_told(tmp_path, caplog):
    path = tmp_path / "cupl.json"
    path.write_text(json.dumps({"a": ["It is round.", "It rolls."], "b": ["it  rolls.", "It is round."], "c": ["No."]}))
    assert len(read_cupl(path, ["a", "b", "c"]).prompts) == 5
    assert "cupl.json has the same sentences for several classes: 'a' = 'b'." in caplog.text
    caplog.clear()
    read_cupl(path, ["a", "c"])
    assert not caplog.text


@pytest.mark.parametrize(("trainer", "refused"), [("ZeroshotCLIP", True), ("CoOp", True), ("LinearProbe", False)])
def test_runs_on_own_folders(tmp_path, trainer, refused):
    """Capitals: refused by whoever reads the names; a linear probe reads none."""
    for number, name in enumerate(("A", "a")):
        make_images(tmp_path / "mine" / name, 6 + number)
    settings = {
        "TRAINER.NAME": trainer, "DATASET.FOLDER": str(tmp_path / "mine"), "DATASET.NUM_SHOTS": 1, "SEED": 1,
        "OUTPUT_DIR": str(tmp_path / "run"), "STORE.ROOT": str(tmp_path / "store"), "DATALOADER.NUM_WORKERS": 0,
        "VERBOSE": False, "OPTIM.MAX_EPOCH": 1,
    }  # fmt: skip
    files = [CONFIGS / "datasets" / "imagefolder.yaml", CONFIGS / "trainers" / f"{trainer}.yaml"]
    cfg = assemble(files, (), settings)
    if refused:
        with pytest.raises(ValueError, match="'A' = 'a'"):
            run_one(cfg)
    else:
        assert run_one(cfg)["num_classes"] == 2
