"""PROTOCOL held-shot: what is chosen on the held-out images, and that the method is then fitted on all of them."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from simnl.fewshot.support import held_out
from simnl.locations import CONFIGS
from simnl.runs import held_shot
from simnl.runs.cli import check_pairs
from simnl.runs.config import assemble
from simnl.runs.identity import RunIdentity
from simnl.runs.run import run_one, seeded_trainer
from simnl.runs.sweep import with_settings
from simnl.sealed import read_sealed

COLOURS = {"blue": (40, 60, 220), "green": (40, 200, 60), "red": (220, 50, 40)}
GRID = {"TRAINER.TIPADAPTERF.GRID.BETA": [0.5, 8.5, 4], "TRAINER.TIPADAPTERF.GRID.ALPHA": [0.5, 4.5, 4]}
QUICK = {
    "OPTIM.MAX_EPOCH": 2,
    "VIEWS.CACHE": 2,
    "VIEWS.TRAIN": 2,
    "VERBOSE": False,
    "DATALOADER.NUM_WORKERS": 0,
    "USE_CUDA": False,
    "SEED": 1,
    "DATASET.NUM_SHOTS": 3,
    "PROTOCOL": "held-shot",
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of three classes of colours under much noise, and a store."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, (name, colour) in enumerate(COLOURS.items()):
        (folder / name).mkdir()
        for i in range(10):
            noise = np.random.default_rng(100 * number + i).normal(colour, 110, (40, 40, 3))
            Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).save(folder / name / f"{i:02d}.png")
    return folder, tmp_path_factory.mktemp("store")


@pytest.fixture
def config(pictures, tmp_path):
    def make(method="TipAdapterF", folder="run", **changes):
        files = [CONFIGS / "backbones" / "tiny.yaml", CONFIGS / "datasets" / "imagefolder.yaml"]
        settings = {**QUICK, "TRAINER.NAME": method, "DATASET.FOLDER": str(pictures[0])}
        settings |= {"STORE.ROOT": str(pictures[1]), "OUTPUT_DIR": str(tmp_path / folder), **changes}
        return assemble([*files, CONFIGS / "trainers" / f"{method}.yaml"], [], settings)

    return make


def items(labels):
    return [SimpleNamespace(label=label, impath=f"{i}.png") for i, label in enumerate(labels)]


def test_the_last_image_of_each_label_is_held_out_and_a_lone_one_stays():
    assert [item.impath for item in held_out(items([0, 0, 0, 1, 2, 2]))] == ["2.png", "5.png"]
    assert held_out(items([0, 1])) == []


def test_the_choosing_training_sees_no_held_out_image(config):
    cfg = held_shot.without_test(config(**GRID), config().OUTPUT_DIR)
    trainer = seeded_trainer(cfg)
    held = {item.impath for item in held_out(trainer.dm.dataset.train_x)}
    assert (trainer.num_val, len(held)) == (3, 3)
    assert Counter(trainer.support.labels.tolist()) == {0: 2, 1: 2, 2: 2}
    assert not held & {item.impath for item in trainer.support.train_items}
    assert trainer.task.num_shots == 2


def test_nor_does_it_in_a_second_draw(config):
    cfg = held_shot.without_test(config("SimNL", **{"DATASET.TRAIN_DRAW": "separate"}), config().OUTPUT_DIR)
    trainer = seeded_trainer(cfg)
    held = {item.impath for item in held_out(trainer.dm.dataset.train_x)}
    assert not held & {item.impath for item in trainer.support.train_items}


def test_a_run_is_that_of_the_choice_given_by_hand(config, tmp_path):
    """Chosen by an exhaustive look at the held-out images; learned as without any selection."""
    cfg = config(**GRID)
    record = run_one(cfg)
    assert (record["protocol"], record["num_val"], record["num_settings"]) == ("held-shot", 3, 16)
    assert record["val_accuracy_per_epoch"] == []
    chooser = seeded_trainer(with_settings(held_shot.without_test(cfg, ""), {}, str(tmp_path / "chooser")))
    chooser.train()
    assert record["hparams"] == chooser.head.hparams
    features, labels = chooser.validation.features, chooser.validation.labels
    right = {}
    for beta in (0.5, 2.5, 4.5, 6.5):
        for alpha in (0.5, 1.5, 2.5, 3.5):
            chooser.head.hparams.update(beta=beta, alpha=alpha)
            right[beta, alpha] = int((chooser.head(features).argmax(1) == labels).sum())
    chooser.head.hparams.update(record["hparams"])
    chosen = int((chooser.head(features).argmax(1) == labels).sum())
    assert chosen == max(right.values()) or record["hparams"] == {"beta": 1.0, "alpha": 1.17}
    plain = run_one(config(folder="plain", PROTOCOL="no-val", **GRID))
    ours, theirs = (load_file(tmp_path / name / "head.safetensors") for name in ("run", "plain"))
    assert torch.equal(ours["cache_keys"], theirs["cache_keys"])  # all images, to the last epoch
    assert len(ours["cache_keys"]) == 9
    assert plain["num_val"] == 0
    assert not (tmp_path / "run" / "held-shot").exists()
    assert read_sealed(tmp_path / "run" / "held_shot.json")["hparams"] == record["hparams"]


def test_a_loaded_head_gives_the_accuracy_of_the_run(config, tmp_path):
    cfg = config(**GRID)
    record = run_one(cfg)
    again = run_one(cfg, eval_only=True, model_dir=str(tmp_path / "run"))
    assert again["accuracy"] == record["accuracy"]


def test_an_interrupted_run_does_not_choose_again(config, tmp_path, monkeypatch):
    cfg = config(**GRID)
    record = run_one(cfg)
    (tmp_path / "run" / "result.json").unlink()
    monkeypatch.setattr(held_shot, "without_test", lambda *args: pytest.fail("it chose again"))
    again = run_one(cfg)
    assert (again["hparams"], again["accuracy"]) == (record["hparams"], record["accuracy"])
    assert again["num_settings"] == 16


def test_a_damaged_choice_is_made_anew(config, tmp_path, caplog):
    cfg = config(**GRID)
    record = run_one(cfg)
    path = tmp_path / "run" / "held_shot.json"
    path.write_text(path.read_text().replace("3", "4", 1))
    (tmp_path / "run" / "result.json").unlink()
    assert run_one(cfg)["hparams"] == record["hparams"]
    assert "Hyper-parameters are chosen again." in caplog.text


def test_a_sweep_is_scored_on_the_held_out_images(config):
    record = run_one(config("CLIPAdapter", SWEEP=[["TRAINER.CLIPADAPTER.RATIO", [0.2, 0.6]]]))
    assert record["num_settings"] == 2
    assert record["swept"]["TRAINER.CLIPADAPTER.RATIO"] in (0.2, 0.6)


def test_a_penalty_is_chosen_too(config):
    record = run_one(config("LinearProbe", **{"TRAINER.LINEARPROBE.MAX_ITER": 20}))
    chosen = seeded_trainer(held_shot.without_test(config("LinearProbe", folder="other"), config().OUTPUT_DIR))
    assert record["num_val"] == 3
    assert record["num_settings"] > 7
    assert chosen.num_val == 3


def test_the_penalty_is_chosen_below_another_method_as_it_is_alone(config):
    few = {"TRAINER.LINEARPROBE.MAX_ITER": 20}
    alone = run_one(config("LinearProbe", **few))
    below = run_one(config("WithNegative", folder="below", **{"TRAINER.WITHNEGATIVE.BASE": "LinearProbe", **few}))
    assert below["hparams"] == alone["hparams"]
    assert below["num_settings"] == alone["num_settings"]


def test_what_follows_from_the_support_is_that_of_all_images(config):
    """FUSION support: the choosing training has a lambda of its own images, which is no choice."""
    options = {"TRAINER.SIMNL.FUSION": "support", "TRAINER.SIMNL.GRID.BETA": [0.5, 2.5, 2], "OPTIM.MAX_EPOCH": 1}
    record = run_one(config("SimNL", **options))
    plain = run_one(config("SimNL", folder="plain", **{"PROTOCOL": "no-val", **options}))
    assert record["hparams"]["lam"] == plain["hparams"]["lam"] != 0.75


def test_a_method_with_nothing_to_choose_is_fitted_once(config, monkeypatch):
    trained = []
    monkeypatch.setattr("trainers.coop.CoOp.before_train", lambda self: trained.append(1) or base(self), raising=False)
    from simnl.fewshot.trainer import VLTrainer

    base = VLTrainer.before_train
    record = run_one(config("CoOp"))
    assert (len(trained), record["num_val"]) == (1, 0)
    assert not held_shot.chooses(seeded_trainer(config("WithNegative", PROTOCOL="fewshot-val")))  # on CLIP-Adapter


def test_a_fit_that_chooses_nothing_leaves_nothing_behind(config, tmp_path):
    """Cross-modal LP mixes the zero-shot classifier in after training, and its head has no hyper-parameters."""
    record = run_one(config("CrossModalLP", **{"TRAINER.CROSSMODALLP.EPOCH_STEPS": 2, "SWEEP": []}))
    assert (record["hparams"], record["num_val"]) == ({}, 0)
    assert not list((tmp_path / "run").glob("held*"))


def test_one_shot_is_refused_before_anything_is_left(config, tmp_path):
    with pytest.raises(ValueError, match=r"holds out one image of each class.*DATASET.NUM_SHOTS is 1"):
        run_one(config(**{"DATASET.NUM_SHOTS": 1}))
    assert not (tmp_path / "run").exists()


def test_a_negative_number_of_epochs_is_refused_before_anything_is_left(config, tmp_path):
    with pytest.raises(ValueError, match=r"OPTIM.MAX_EPOCH is -1. Set it to 0 \(nothing is trained\) or more"):
        run_one(config(**{"OPTIM.MAX_EPOCH": -1}))
    assert not (tmp_path / "run").exists()


def test_the_key_is_the_programs_own(config):
    with pytest.raises(ValueError, match="PROTOCOL held-shot"):
        check_pairs(["SELECTION.HOLD_OUT", "True"])
    cfg = config()
    inner = with_settings(cfg, {"SELECTION.HOLD_OUT": True}, cfg.OUTPUT_DIR)
    assert RunIdentity.of(inner).config_hash == RunIdentity.of(cfg).config_hash
