"""Cross-data-set transfer: a head that was trained on one folder of images is tested on another, with other classes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from helpers.images import make_images
from simnl.locations import CONFIGS
from simnl.metrics import published
from simnl.results.evaluation import complete_logits, evaluate
from simnl.results.tables import Request, build
from simnl.runs.config import assemble
from simnl.runs.logits import FILE, read_logits
from simnl.runs.record import is_done
from simnl.runs.reload import reload_trainer
from simnl.runs.restored import restore_logits
from simnl.runs.run import run_one, seeded_trainer
from simnl.runs.target_configs import check_other, named_targets, target_config
from simnl.runs.targets import build_targets, checked_targets, head_for
from simnl.sealed import read_sealed, read_tensors, write_tensors

SOURCE, TARGET = ("cat", "dog", "owl", "yak"), ("bus", "car", "jet")
QUICK = ["OPTIM.MAX_EPOCH", "1", "DATASET.NUM_SHOTS", "1", "VIEWS.CACHE", "1", "VIEWS.TRAIN", "1", "VERBOSE", "False"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with two folders of images, of which the target has templates of its own."""
    root = tmp_path_factory.mktemp("root")
    for folder, names in (("source", SOURCE), ("target", TARGET)):
        for number, name in enumerate(names):
            make_images(root / folder / name, 8 + number, size=32)
    (root / "target" / "templates.txt").write_text("a drawing of a {}.\n")
    return root


@pytest.fixture
def config(root, tmp_path):
    def make(method, *options, folder="source", targets=("cross:target",), dataset="imagefolder", **settings):
        files = [CONFIGS / "backbones" / "tiny.yaml", CONFIGS / "datasets" / f"{dataset}.yaml"]
        files.append(CONFIGS / "trainers" / f"{method}.yaml")
        typed = ["DATASET.FOLDER", folder, "DATALOADER.NUM_WORKERS", "0", "SWEEP", "[]", *QUICK, *options]
        given = {"TRAINER.NAME": method, "SEED": 1, "DATASET.ROOT": str(root), "STORE.ROOT": str(root / "cache"),
                 "TEST.TARGETS": list(targets), "OUTPUT_DIR": str(tmp_path / f"{method}-{folder}")}  # fmt: skip
        return assemble(files, typed, given | settings)

    return make


@pytest.mark.parametrize("method", ["ZeroshotCLIP", "CLIPAdapter", "CoOp"])
def test_what_was_learned_on_a_folder_is_tested_on_another(config, method, tmp_path):
    cfg = config(method)
    (key,) = named_targets(cfg)
    assert key.startswith("cross:imagefolder-target@")
    made = run_one(cfg)
    again = {**made, "path": f"{cfg.OUTPUT_DIR}/result.json"}
    restore_logits(again)  # fails where the head gives other accuracies, on the target, too
    assert f"target/{key}" in read_logits(again).parts
    assert made["num_classes"] == len(SOURCE)
    assert list(made["targets"]) == [key]
    assert is_done(cfg.OUTPUT_DIR, made["config_hash"], [key])
    assert not is_done(cfg.OUTPUT_DIR, made["config_hash"], ["cross:dtd"])
    if method == "ZeroshotCLIP":  # the classes, images and templates are those of the target alone
        alone = run_one(config(method, folder="target", targets=()))
        assert made["targets"][key] == alone["accuracy"]


@pytest.mark.parametrize("method", ["CLIPAdapter", "CoOp", "CoCoOp"])
def test_distance_aware_calibration_of_new_classes(config, method, monkeypatch):
    """DAC by `tools/evaluate.py`, from texts of the head, the run's classes, and the target's own templates."""
    monkeypatch.setattr(published, "SAME_TEXT", 0.0)  # to the tiny tower these names are almost the same
    cfg = config(method, *(["OPTIM.LR", "3.0"] if method != "CLIPAdapter" else []))
    (key,) = named_targets(cfg)
    record = {**run_one(cfg), "path": f"{cfg.OUTPUT_DIR}/result.json"}
    kept = read_logits(record)
    rows = {(row["part"], row["calibrator"]): row for row in evaluate(record, "dac")}
    before, after = rows[key, ""], rows[key, "dac"]
    assert rows["test", "dac"]["nll"] == rows["test", ""]["nll"]
    assert after["accuracy"] == before["accuracy"]
    factors = kept.factors[f"target/{key}"]
    if method == "CoCoOp":
        assert len(factors) == 0
        assert "has other texts for each image" in after["note"]
        return
    if method == "CLIPAdapter":  # which changes no text
        assert factors.tolist() == [1, 1, 1]
        return
    trainer = reload_trainer(record)
    with torch.no_grad():
        tuned = F.normalize(trainer.head.texts(), dim=1)
        (dataset,) = build_targets(cfg).values()
        new = F.normalize(head_for(trainer, dataset, target_config(cfg, cfg.TEST.TARGETS[0])).texts(), dim=1)
    frozen = [
        F.normalize(F.normalize(trainer.store.texts([t.format(name) for t in templates]), dim=1).mean(0), dim=0)
        for names, templates in ((SOURCE, cfg.PROMPTS.POSITIVE), (TARGET, ["a drawing of a {}."]))
        for name in names
    ]
    expected = []
    for c in range(len(TARGET)):
        ds = [
            sum((row - x).norm().item() for x in texts) / 5  # four trained classes, divided by k
            for row, texts in ((frozen[len(SOURCE) + c], frozen[: len(SOURCE)]), (new[c], tuned))
        ]
        expected.append(math.exp(ds[0] - ds[1]))
    assert max(abs(1 - factor) for factor in expected) > 0.01
    np.testing.assert_allclose(factors, expected, atol=2e-5)
    logits, labels = kept.parts[f"target/{key}"]
    p = torch.tensor(logits * factors[logits.argmax(1)][:, None]).softmax(1)
    assert after["nll"] == pytest.approx(-p[range(len(labels)), labels].log().mean().item(), abs=1e-9)
    (table,) = build("metrics", [record], Request(calibrator="dac"))
    assert table.tidy[0]["nll/DAC"] == after["nll"]
    assert "NLL/DAC" in table.blocks[0].headers


def test_factors_of_earlier_runs_are_computed_on_demand(config):
    cfg = config("CoOp")
    record = {**run_one(cfg), "path": f"{cfg.OUTPUT_DIR}/result.json"}
    path = Path(cfg.OUTPUT_DIR) / FILE
    tensors, about = read_tensors(path)
    write_tensors(path, {name: rows for name, rows in tensors.items() if not name.endswith("/dac")}, about)
    assert "--again --calibrator dac" in list(evaluate(record, "dac"))[-1]["note"]
    complete_logits([record], "dac")
    assert list(evaluate(record, "dac"))[-1]["note"] == ""
    assert read_tensors(path)[0].keys() == tensors.keys()


def test_a_target_needs_no_more_images_than_it_has(config, caplog):
    made = run_one(config("CLIPAdapter", "PROTOCOL", "held-shot", "DATASET.NUM_SHOTS", "4"))
    assert len(made["targets"]) == 1
    assert not [r for r in caplog.records if "fewer than 4 training images" in r.message and "bus" in r.message]


def test_targets_change_nothing_that_is_learned(config, tmp_path):
    heads = []
    for targets in ((), ("cross:target",)):
        made = run_one(config("CoOp", targets=targets, OUTPUT_DIR=str(tmp_path / str(len(targets)))))
        heads.append(load_file(tmp_path / str(len(targets)) / "head.safetensors"))
    torch.testing.assert_close(heads[0], heads[1], rtol=0, atol=0)
    assert read_sealed(tmp_path / "1" / "result.json")["accuracy"] == made["accuracy"]


def test_a_target_has_its_own_data_prompts_and_names(config):
    cfg = config("KgCoOp", "PRESET", "official", "PROMPTS.CUPL", "/x.json", "DATASET.CLASSNAMES_FILE", "names.txt")
    own = target_config(cfg, "cross:target")
    assert (own.DATASET.FOLDER, own.DATASET.CLASSNAMES_FILE, own.PROMPTS.CUPL) == ("target", "", "cupl.json")
    assert own.PROMPTS.POSITIVE == ["a drawing of a {}."]
    dtd = target_config(cfg, "cross:dtd")
    assert (dtd.DATASET.NAME, dtd.DATASET.CONFIG, dtd.DATASET.FOLDER) == ("DescribableTextures", "dtd", "")
    assert dtd.PROMPTS.POSITIVE == ["a photo of a {}, a type of texture."]  # KgCoOp's own for this data set
    assert dtd.TRAINER == cfg.TRAINER
    assert cfg.DATASET.FOLDER == "source"


def test_a_task_has_the_templates_of_the_target(config):
    """Those of methods that run the text tower on them, beside the text features that others take."""
    cfg = config("CLIPAdapter")
    trainer = seeded_trainer(cfg)
    (target,) = build_targets(cfg).values()
    task = trainer.build_task(target, TARGET, None, target_config(cfg, "cross:target"))
    assert task.templates == ("a drawing of a {}.",)
    assert trainer.task.templates == ("a photo of a {}.",)
    wanted = trainer.store.texts([f"a drawing of a {name}." for name in TARGET])
    torch.testing.assert_close(task.prompts["template"].features, wanted, rtol=0, atol=0)


def test_a_changed_target_is_another_one(config, root):
    keys = []
    for text in ("a drawing of a {}.\n", "a sketch of a {}.\n", "a drawing of a {}.\n"):
        (root / "target" / "templates.txt").write_text(text)
        keys += named_targets(config("CoOp"))
    assert keys[0] == keys[2] != keys[1]
    same = ["cross:dtd", "shapes_noise", "new"]
    assert named_targets(config("CoOp", targets=same)) == dict(zip(same, same, strict=True))


def test_what_cannot_be_is_refused_with_the_reason(config, root):
    with pytest.raises(ValueError, match="SimNL on new classes: what it learns belongs to the classes of training"):
        build_targets(config("SimNL"))
    with pytest.raises(ValueError, match="has the classes of the data of the run, so they are not new"):
        checked_targets(config("CoOp", targets=["cross:source"]))
    with pytest.raises(ValueError, match="has all classes, but the run has only some"):
        build_targets(config("CoOp", "DATASET.SUBSAMPLE_CLASSES", "base"))
    with pytest.raises(
        ValueError, match=f"a folder of images: there is no folder {root}/nothing and no folder {Path.cwd()}/nothing"
    ):
        build_targets(config("CoOp", targets=["cross:nothing"]))
    with pytest.raises(ValueError, match="each class has its own context"):
        run_one(config("CoOp", "TRAINER.COOP.CSC", "True", "TRAINER.COOP.CTX_INIT", ""))
    with pytest.raises(ValueError, match="neither a data set nor a folder"):
        check_other(str(root), "imagefolder")
