"""What the shared trainer promises of every method, on a folder of small noise images and the bundled model."""

from __future__ import annotations

from math import nan
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from dassl.data.datasets import Datum
from dassl.engine import TRAINER_REGISTRY
from helpers.images import make_images
from helpers.methods import METHODS as ALL
from simnl.clip.finite import NotFinite
from simnl.clip.model import fingerprint, load_clip
from simnl.data.own_images import ImageFolder
from simnl.locations import CONFIGS
from simnl.runs.config import assemble
from simnl.runs.logits import Keeper
from simnl.runs.run import run_one, seeded_trainer
from simnl.runs.targets import test_on as accuracy_on
from simnl.sealed import read_sealed

CLASSES = ("cat", "dog", "owl", "yak")
QUICK = ["OPTIM.MAX_EPOCH", "2", "DATASET.NUM_SHOTS", "2", "VIEWS.CACHE", "2", "VIEWS.TRAIN", "2", "VERBOSE", "False"]
QUICK += ["TRAINER.LINEARPROBE.MAX_ITER", "20"]
METHODS = [m for m in ALL if TRAINER_REGISTRY.get(m).image_encoder_frozen and m != "ZeroshotCLIP"]
SELECTING = ("SimNL", "LinearProbe", "LPPlusPlus", "CrossModalLP", "TipAdapterF")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    for number, name in enumerate(CLASSES):
        make_images(root / name, 12 + number, size=48)
    return root


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def config(folder, store, tmp_path):
    def make(method, *options, name="run"):
        files = [CONFIGS / "backbones" / "tiny.yaml", CONFIGS / "datasets" / "imagefolder.yaml"]
        files.append(CONFIGS / "trainers" / f"{method}.yaml")
        typed = ["DATASET.FOLDER", str(folder), "PROMPTS.POSITIVE", "['a photo of a {}.']"]
        typed += ["PROMPTS.NEGATIVE", "['a photo without a {}.']", "STORE.ROOT", str(store), "SWEEP", "[]"]
        typed += ["DATALOADER.NUM_WORKERS", "0", "OUTPUT_DIR", str(tmp_path / name), *QUICK, *options]
        return assemble(files, typed, {"TRAINER.NAME": method, "SEED": 1})

    return make


def learned(folder):
    return load_file(folder / "head.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_same_result_and_the_model_is_untouched(config, tmp_path, method):
    clip = load_clip("tiny-clip", "bundled")
    before = fingerprint(clip.model.state_dict())
    search = ["SEARCH.ENABLED", str(method in SELECTING)]
    first, second = (run_one(config(method, *search, name=name)) for name in ("a", "b"))
    assert first["accuracy"] == second["accuracy"]
    assert first["hparams"] == second["hparams"]
    assert same(learned(tmp_path / "a"), learned(tmp_path / "b"))
    assert fingerprint(clip.model.state_dict()) == before
    assert all(p.grad is None and not p.requires_grad for p in clip.model.parameters())


@pytest.mark.parametrize("method", SELECTING)
def test_labels_of_test_images_change_nothing_that_is_learned(config, tmp_path, monkeypatch, method):
    kept = run_one(config(method, name="true"))
    original = ImageFolder.__init__

    def shuffled(self, cfg):
        original(self, cfg)
        for item in self._test:
            item._label = (item._label + 1) % len(CLASSES)

    monkeypatch.setattr(ImageFolder, "__init__", shuffled)
    other = run_one(config(method, name="shuffled"))
    assert same(learned(tmp_path / "true"), learned(tmp_path / "shuffled"))
    assert kept["hparams"] == other["hparams"]
    assert kept["val_accuracy_per_epoch"] == other["val_accuracy_per_epoch"]
    assert kept["accuracy"] != other["accuracy"]  # the labels did change


@pytest.mark.parametrize("method", ["LinearProbe", "TaskRes", "SimNL", "CoCoOp", "GDA"])
def test_a_trained_head_is_loaded_as_it_was(config, tmp_path, method):
    record = run_one(config(method))
    trainer = seeded_trainer(config(method, name="other"))
    trainer.load_model(str(tmp_path / "run"))
    assert trainer.test() == record["accuracy"]


@pytest.mark.parametrize(
    ("method", "rule"),
    [
        ("CoOp", "refuse"),
        ("CoCoOp", "refuse"),
        ("CLIPAdapter", "refuse"),
        ("ZeroshotCLIP", "refuse"),
        ("TDA", "refuse"),
        ("GDA", "neighbours"),
        ("TaskRes", "text"),
    ],
)
def test_base_to_new(config, method, rule):
    """Two classes to train on, the other two to test on as well."""
    base = ["DATASET.SUBSAMPLE_CLASSES", "base", "TEST.NEW_CLASSES", rule]
    record = run_one(config(method, *base, "TEST.TARGETS", "['new']"))
    assert record["num_classes"] == 2
    assert 0 <= record["targets"]["new"] <= 100
    if rule == "text":
        method = "ZeroshotCLIP"
    if method in ("ZeroshotCLIP", "TDA"):
        alone = run_one(config(method, "DATASET.SUBSAMPLE_CLASSES", "new", name="new"))
        assert record["targets"]["new"] == alone["accuracy"]


def test_several_views_of_each_test_image(config):
    """The first is the test transform, the others are drawn for the image and nothing else."""
    cfg = config("TDA", "TRAINER.TDA.TEST_VIEWS", "10")
    batches = [next(iter(seeded_trainer(cfg).test_loader))["img"] for _ in range(2)]
    (plain,) = seeded_trainer(config("TDA", name="plain")).test_loader
    assert torch.equal(*batches)
    assert torch.equal(batches[0][:, 0], plain["img"])
    assert batches[0].shape == (len(plain["img"]), 10, plain["img"].shape[1])
    assert len(batches[0][0].unique(dim=0)) == 10
    assert 0 <= run_one(cfg)["accuracy"] <= 100


def test_what_cannot_be_is_refused_with_the_reason(config):
    with pytest.raises(ValueError, match="cannot classify new ones"):
        run_one(config("SimNL", "DATASET.SUBSAMPLE_CLASSES", "base", "TEST.TARGETS", "['new']", name="simnl"))
    own = config("CoOp", "TRAINER.COOP.CSC", "True", "DATASET.SUBSAMPLE_CLASSES", "base", "TEST.TARGETS", "['new']")
    with pytest.raises(ValueError, match="each class has its own context"):
        run_one(own)
    with pytest.raises(ValueError, match="Set DATASET.SUBSAMPLE_CLASSES to base"):
        run_one(config("CoOp", "TEST.TARGETS", "['new']", name="all"))
    with pytest.raises(ValueError, match="choose a ViT backbone"):
        run_one(config("CLIPLoRA", name="lora"))


def test_a_swept_run_is_the_run_with_the_best_setting(config, tmp_path):
    sweep = ["SWEEP", "[['OPTIM.LR', [0.5, 0.001, 0.1]]]"]
    swept = run_one(config("CLIPAdapter", *sweep, name="swept"))
    tried = read_sealed(tmp_path / "swept" / "sweep.json")["done"]
    best = max(tried, key=lambda entry: entry["accuracy"])["settings"]
    assert swept["swept"] == best
    assert swept["num_settings"] == 3
    assert not list((tmp_path / "swept" / "sweep").glob("*"))
    run_one(config("CLIPAdapter", "OPTIM.LR", str(best["OPTIM.LR"]), name="alone"))
    assert same(learned(tmp_path / "swept"), learned(tmp_path / "alone"))


def test_a_coarse_search_tries_fewer_settings(config):
    full = run_one(config("SimNL"))
    coarse = run_one(config("SimNL", "SEARCH.MODE", "coarse-to-fine", name="coarse"))
    assert full["num_settings"] == 200 * 40 * 20
    assert 1000 < coarse["num_settings"] < full["num_settings"] / 2
    assert full["config_hash"] != coarse["config_hash"]


def test_a_setting_that_diverges_is_not_taken(config, tmp_path):
    sweep = ["SWEEP", "[['OPTIM.LR', [1e30, 0.001]]]", "OPTIM.NAME", "sgd", "OPTIM.MAX_EPOCH", "4"]
    record = run_one(config("CLIPAdapter", *sweep, "OPTIM.WARMUP_EPOCH", "-1"))
    assert record["swept"] == {"OPTIM.LR": 0.001}
    assert read_sealed(tmp_path / "run" / "sweep.json")["done"][0]["accuracy"] == 0.0


def test_nothing_is_swept_or_searched_without_selection_images(config, tmp_path):
    options = ["PROTOCOL", "no-val", "SWEEP", "[['OPTIM.LR', [0.5, 0.001]]]"]
    record = run_one(config("SimNL", *options))
    assert (record["num_settings"], record["swept"], record["best_epoch"]) == (1, {}, None)
    probe = run_one(config("LinearProbe", "PROTOCOL", "no-val", name="probe"))
    assert probe["hparams"] == {"c": 1.0}


@pytest.mark.parametrize("method", ["SimNL", "APET"])
def test_kept_products_change_nothing_and_are_kept_where_views_come_again(config, tmp_path, method):
    found = {}
    for megabytes in ("0", "512"):
        cfg = config(method, "OPTIM.MAX_EPOCH", "5", "STORE.PRODUCTS_MB", megabytes, name=megabytes)
        trainer = seeded_trainer(cfg)
        loaders = trainer.train_loader_x, trainer.validation
        assert [loader.kept is not None for loader in loaders] == 2 * [megabytes == "512"]
        trainer.train()
        found[megabytes] = learned(tmp_path / megabytes)
    torch.testing.assert_close(found["0"], found["512"], atol=1e-6, rtol=1e-4)
    once = seeded_trainer(config(method, "OPTIM.MAX_EPOCH", "2", name="once"))
    assert once.train_loader_x.kept is None  # two views in two epochs: none is seen again
    assert once.validation.kept is not None


def test_a_target_is_told_by_its_own_names_and_leaves_the_confusion_matrix_alone(config, tmp_path, caplog, monkeypatch):
    trainer = seeded_trainer(config("ZeroshotCLIP", "TEST.PER_CLASS_RESULT", "True", "TEST.COMPUTE_CMAT", "True"))
    trainer.train()
    matrix = (tmp_path / "run" / "cmat.pt").read_bytes()
    items = [Datum(i.impath, i.label, 0, f"other {i.classname}") for i in trainer.dm.dataset.test[:9]]
    names = {item.label: item.classname for item in items}
    target = SimpleNamespace(test=items, class_indices=None, lab2cname=names, num_classes=len(CLASSES))
    keeper = Keeper(len(CLASSES), 0)
    with caplog.at_level("INFO"):
        accuracy = accuracy_on(trainer, "shapes_outline", target, keeper, "shapes_outline")
    assert f"{items[0].classname} ({items[0].label})" in caplog.text
    assert f"Accuracy on the target shapes_outline: {accuracy:.2f} %" in caplog.text
    monkeypatch.setattr(trainer.head, "forward", lambda features, **given: features.new_full((len(features), 4), nan))
    with pytest.raises(NotFinite, match="ZeroshotCLIP gives NaN or infinite logits"):
        accuracy_on(trainer, "shapes_outline", target, keeper, "shapes_outline")
    assert (tmp_path / "run" / "cmat.pt").read_bytes() == matrix
