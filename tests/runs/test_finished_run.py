"""What a run leaves for later: its config, its TensorBoard log, and a head that figures can be drawn from."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from helpers.images import make_images
from simnl.locations import CONFIGS
from simnl.results.plots.of_runs import RUN_KINDS
from simnl.results.plots.runs import prototypes, reload
from simnl.results.plots.series import Wanted
from simnl.results.report import make_report
from simnl.results.tables import find_records
from simnl.runs.config import assemble, relevant
from simnl.runs.hparams import settings_of, write_hparams
from simnl.runs.identity import config_hash
from simnl.runs.logits import FILE as LOGITS
from simnl.runs.logits import read_logits
from simnl.runs.logs import run_log
from simnl.runs.record import FILE, is_done
from simnl.runs.restored import restore_logits
from simnl.runs.run import run_one
from simnl.runs.stored_config import read_config, stored_keys, write_config
from simnl.sealed import read_sealed

NAMES = ("cat", "dog $1 $2", "fish")  # dollar signs start no formula


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of a SimNL and a zero-shot run on 30 images of noise."""
    root = tmp_path_factory.mktemp("runs")
    for name in NAMES:
        make_images(root / "images" / name, 10, size=16)
    return {method: train(root, method) for method in ("SimNL", "ZeroshotCLIP")}


def train(root: Path, method: str, *options: str) -> Path:
    settings = {
        "TRAINER.NAME": method, "DATASET.CONFIG": "imagefolder", "DATASET.NUM_SHOTS": 2, "SEED": 3,
        "STORE.ROOT": str(root / "cache"), "OUTPUT_DIR": str(root / method), "USE_CUDA": False,
        "DATASET.FOLDER": str(root / "images"), "PROMPTS.POSITIVE": ["a photo of a {}."], "VERBOSE": False,
    }  # fmt: skip
    files = [CONFIGS / "backbones" / "tiny.yaml", CONFIGS / "datasets" / "imagefolder.yaml"]
    cfg = assemble([*files, CONFIGS / "trainers" / f"{method}.yaml"], ["OPTIM.MAX_EPOCH", "3", *options], settings)
    with run_log(cfg.OUTPUT_DIR, quiet=True):
        run_one(cfg)
    return Path(cfg.OUTPUT_DIR)


def record_of(folder: Path) -> dict:
    return json.loads((folder / FILE).read_text())


@pytest.mark.parametrize("method", ["SimNL", "ZeroshotCLIP"])
def test_the_stored_config_is_the_config(runs, method):
    cfg = read_config(runs[method])
    assert config_hash(cfg) == record_of(runs[method])["config_hash"]
    assert (3, 3, method) == (cfg.OPTIM.MAX_EPOCH, cfg.SEED, cfg.TRAINER.NAME)
    others = [key for key in stored_keys(runs[method]) if key.startswith("TRAINER.") and method.upper() not in key]
    assert others == ["TRAINER.NAME"]
    assert set(stored_keys(runs[method])) == set(relevant(cfg))


@pytest.mark.parametrize(
    ("base", "options"),
    [
        ("CoOp", ("TRAINER.COOP.N_CTX", "4", "OPTIM.MAX_EPOCH", "7", "PRESET", "official")),
        ("ZSLP", ("VIEWS.TRAIN", "3", "PRESET", "official")),  # whose node is empty
    ],
)
def test_the_stored_config_has_the_options_of_the_base_method(tmp_path, base, options):
    """OVERRIDES in the yaml of the base method must not win over what the command line gave it."""
    files = [CONFIGS / folder / f"{name}.yaml" for folder, name in (("backbones", "tiny"), ("trainers", "TransCLIP"))]
    settings = {"TRAINER.NAME": "TransCLIP", "TRAINER.TRANSCLIP.BASE": base, "OUTPUT_DIR": str(tmp_path)}
    cfg = assemble(files, options, settings)
    write_config(cfg)
    stored, given = relevant(read_config(tmp_path)), relevant(cfg)
    assert {key for key in given if stored[key] != given[key]} <= {"OPTIONS"}


def test_templates_are_those_of_the_run_whatever_their_file_holds_now(tmp_path):
    file = tmp_path / "templates.txt"
    file.write_text("a photo of a {}.")
    files = [CONFIGS / "backbones" / "tiny.yaml", CONFIGS / "trainers" / "ZeroshotCLIP.yaml"]
    settings = {"TRAINER.NAME": "ZeroshotCLIP", "PROMPTS.POSITIVE_FILE": str(file), "OUTPUT_DIR": str(tmp_path)}
    write_config(assemble(files, [], settings))
    for change in (lambda: file.write_text("a drawing of a {}."), file.unlink):
        change()
        assert read_config(tmp_path).PROMPTS.POSITIVE == ["a photo of a {}."]


@pytest.mark.parametrize("method", ["SimNL", "ZeroshotCLIP"])
def test_the_logits_that_are_kept_are_those_of_the_record(runs, method):
    one = {**record_of(runs[method]), "path": str(runs[method] / FILE)}
    kept = read_logits(one)
    assert {name: len(labels) for name, (_, labels) in kept.parts.items()} == one["logits"]["images"]
    assert set(kept.parts) == ({"test", "selection"} if method == "SimNL" else {"test"})
    logits, labels = kept.parts["test"]
    assert len(labels) == one["num_test"]
    assert 100 * np.mean(logits.argmax(1) == labels) == pytest.approx(one["accuracy"], abs=1e-9)
    assert kept.classnames == NAMES
    again = reload(one)
    np.testing.assert_allclose(logits, again.logits.double().numpy(), atol=1e-4)
    np.testing.assert_array_equal(labels, again.labels.numpy())


def test_a_run_without_its_logits_is_still_finished(runs):
    folder, one = runs["ZeroshotCLIP"], record_of(runs["ZeroshotCLIP"])
    before = read_logits(find_records([folder])[0])
    (folder / LOGITS).unlink()
    assert is_done(folder, one["config_hash"])
    assert len(find_records([folder])) == 1
    with pytest.raises(FileNotFoundError, match=r"tools/evaluate\.py --again"):
        read_logits(find_records([folder])[0])
    restore_logits(find_records([folder])[0])
    after = read_logits(find_records([folder])[0])
    for one_time, other_time in zip(before.parts["test"], after.parts["test"], strict=True):
        np.testing.assert_array_equal(one_time, other_time)
    other = {**find_records([folder])[0], "accuracy": 3.0}
    with pytest.raises(ValueError, match=r"has an accuracy of 3\.00 %, but the head beside it gives"):
        restore_logits(other)


def test_a_missing_or_damaged_config_is_named(runs, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.yaml is missing"):
        read_config(tmp_path)
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(ValueError, match="not valid yaml"):
        read_config(tmp_path)
    assert stored_keys(tmp_path) == {}


def log_of(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return events


def test_tensorboard_has_losses_by_term_accuracy_and_learning_rate(runs):
    events, record = log_of(runs["SimNL"]), record_of(runs["SimNL"])
    last = {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"]}
    assert last["train/loss"] == pytest.approx(
        sum(last[f"train/{t}"] for t in ("ce", "rerank", "consistency")), rel=1e-4
    )
    rates = [event.value for event in events.Scalars("train/lr")]
    assert rates == sorted(rates, reverse=True)
    assert [event.value for event in events.Scalars("val/accuracy")] == pytest.approx(record["val_accuracy_per_epoch"])
    assert last["test/accuracy"] == pytest.approx(record["accuracy"])


def test_tensorboard_lists_the_run_with_its_hyper_parameters(runs):
    events, record = log_of(runs["SimNL"]), record_of(runs["SimNL"])
    contents = events.PluginTagToContent("hparams")
    start = plugin_data_pb2.HParamsPluginData.FromString(contents["_hparams_/session_start_info"])
    values = {name: getattr(v, v.WhichOneof("kind")) for name, v in start.session_start_info.hparams.items()}
    assert {
        "method": "SimNL",
        "dataset": "imagefolder-images",
        "shots": 2,
        "seed": 3,
        "epochs": 3,
    }.items() <= values.items()
    assert values["OPTIM.MAX_EPOCH"] == 3  # an option of the command line
    for name in ("alpha", "beta", "lam"):
        assert values[name] == pytest.approx(record["hparams"][name])
    assert events.Scalars("result/accuracy")[0].value == pytest.approx(record["accuracy"])


def test_a_method_without_training_lists_no_learning_rate(runs):
    cfg, record = read_config(runs["ZeroshotCLIP"]), record_of(runs["ZeroshotCLIP"])
    assert not {"lr", "epochs"} & set(settings_of(cfg, record))


def test_a_reloaded_run_says_what_the_run_said(runs):
    (record,) = find_records([runs["SimNL"]])
    run = reload(record)
    accuracy = 100 * (run.logits.argmax(1) == run.labels).double().mean().item()
    assert accuracy == pytest.approx(record["accuracy"])
    assert [name.replace("\\", "") for name in run.names(range(3))] == list(NAMES)
    torch.testing.assert_close(run.trainer.head(run.features), run.logits)
    kinds = prototypes(run)
    assert list(kinds) == ["text", "negative text", "image", "negative image"]
    assert {rows.shape for rows in kinds.values()} == {(3, run.features.shape[1])}
    keys, labels = run.trainer.task.cache_keys(), run.trainer.task.support_labels
    others = keys[labels != 0].sum(0)
    torch.testing.assert_close(kinds["negative image"][0], others / others.norm())


def test_a_run_on_another_split_is_not_drawn(runs):
    (record,) = find_records([runs["SimNL"]])
    with pytest.raises(ValueError, match=r"SimNL is a run on another split of imagefolder.*split_hash 0000"):
        reload(record | {"split_hash": 64 * "0"})


def test_a_run_with_other_weights_is_not_drawn(runs):
    (record,) = find_records([runs["SimNL"]])
    with pytest.raises(ValueError, match=r"SimNL is a run with other weights of tiny-clip.*fingerprint 0000"):
        reload(record | {"weights_fingerprint": 64 * "0"})


def test_confusion_matrix_of_a_run(runs):
    (record,) = find_records([runs["SimNL"]])
    ((title, figure),) = RUN_KINDS["confusion"]([record]).items()
    assert f"{record['accuracy']:.2f} %" in title
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert np.diagonal(shown).mean() == pytest.approx(record["accuracy"])  # classes of equal size
    assert [t.get_text().replace("\\", "") for t in figure.axes[0].get_yticklabels()] == list(NAMES)
    figure.savefig("/dev/null", format="svg")


def test_confusion_matrix_of_the_least_accurate_classes(runs):
    figure = next(iter(RUN_KINDS["confusion"](find_records([runs["SimNL"]]), Wanted(classes=2)).values()))
    assert figure.axes[0].images[0].get_array().shape == (2, 2)


@pytest.mark.parametrize(("method", "kinds"), [("SimNL", 4), ("ZeroshotCLIP", 1)])
def test_feature_map_of_a_run(runs, method, kinds):
    figure = next(iter(RUN_KINDS["features"](find_records([runs[method]]), Wanted(projection="pca")).values()))
    (ax,) = figure.axes
    assert len(ax.collections) == len(NAMES) + kinds
    points = sum(len(c.get_offsets()) for c in ax.collections[: len(NAMES)])
    assert points == record_of(runs[method])["num_test"]
    figure.savefig("/dev/null", format="svg")


def test_a_report_shows_of_a_run_what_can_be_drawn(runs):
    page = "".join(make_report(runs["SimNL"], shown=[runs["SimNL"]]))
    assert [kind for kind in RUN_KINDS if f"<figcaption>{kind}: " in page] == ["confusion", "features", "reliability"]
    assert f"roc: {runs['SimNL'] / 'outliers.safetensors'} is not there." in page
    with pytest.raises(ValueError, match="confusion shows one run, and there are 2"):
        "".join(make_report(runs["SimNL"], shown=[runs["SimNL"].parent]))


def test_a_run_without_its_config_says_what_to_do(runs, tmp_path):
    (tmp_path / FILE).write_text((runs["SimNL"] / FILE).read_text())
    with pytest.raises(FileNotFoundError, match="run its command again"):
        RUN_KINDS["confusion"](find_records([tmp_path]))


def test_without_tensorboard_a_warning(runs, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with caplog.at_level(logging.WARNING):
        write_hparams(read_config(runs["SimNL"]), record_of(runs["SimNL"]))
    assert "not written for TensorBoard's HPARAMS view" in caplog.text


@pytest.mark.parametrize("rule", ["exact", "confusable", "instance"])
def test_wrong_labels_are_listed_and_looked_for(runs, tmp_path, rule):
    root = tmp_path / rule
    root.mkdir()
    for name in NAMES:
        make_images(root / "images" / name, 10, size=16, seed=len(name))
    noisy = str(rule == "confusable")
    options = ("DATASET.LABEL_NOISE", "0.5", "DATASET.NOISE_RULE", rule, "DATASET.NOISY_SELECTION", noisy)
    folder = train(root, "SimNL", *options)
    told, flips = record_of(folder)["label_flips"], read_sealed(folder / "flips.json")
    assert (told["file"], told["rule"], told["count"]) == ("flips.json", rule, len(flips["flips"]))
    assert all(given != true and path.startswith(NAMES[true]) for path, given, true in flips["flips"])
    assert told["images"] == 6
    assert 1 <= told["count"] <= 5 if rule == "instance" else told["count"] == 3  # floor(0.5 * 6)
    assert told["selection"] == ("noisy" if rule == "confusable" else "clean")
    assert all(0 <= told[name] <= 1 for name in ("auroc", "auroc_loss", "auroc_sides"))
    assert record_of(runs["SimNL"])["label_flips"] is None
