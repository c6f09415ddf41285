"""Runs of methods that look at the test images: what they see and what not, and on which method they work."""

from __future__ import annotations

import pytest
import torch

from dassl.engine import TRAINER_REGISTRY
from helpers.images import make_images
from simnl.data.base import FewShotDataset
from simnl.fewshot.loaders import Whole
from simnl.fewshot.trainer import VLTrainer
from simnl.locations import CONFIGS
from simnl.runs import targets
from simnl.runs.config import ConfigError, assemble, relevant
from simnl.runs.identity import config_hash
from simnl.runs.logits import Keeper
from simnl.runs.run import run_one, seeded_trainer

NAMES = ("cat", "dog", "owl", "yak")
LOOKING = {
    "TDA": ("online", ()),
    "TransCLIP": ("transductive", ()),
    "ReHARK": ("transductive", ("TRAINER.REHARK.TRANSDUCTIVE", "True", "TRAINER.REHARK.TRIALS", "3")),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number, name in enumerate(NAMES):
        make_images(folder / name, 10, size=20 + number)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def config(images, store, tmp_path):
    def make(method, *options, name="run"):
        files = [CONFIGS / "backbones" / "tiny.yaml", CONFIGS / "datasets" / "imagefolder.yaml"]
        settings = {
            "TRAINER.NAME": method, "SEED": 1, "DATASET.FOLDER": str(images), "DATASET.NUM_SHOTS": 2,
            "STORE.ROOT": str(store), "OUTPUT_DIR": str(tmp_path / name), "DATALOADER.NUM_WORKERS": 0,
            "VERBOSE": False, "VIEWS.CACHE": 2, "PROMPTS.POSITIVE": ["a photo of a {}."],
        }  # fmt: skip
        return assemble([*files, CONFIGS / "trainers" / f"{method}.yaml"], options, settings)

    return make


@pytest.fixture
def tested(monkeypatch):
    """The logits of each call of an evaluation, and the features that it was given."""
    calls = []
    inference = VLTrainer.model_inference

    def noted(trainer, features):
        calls.append((inference(trainer, features), features))
        return calls[-1][0]

    monkeypatch.setattr(VLTrainer, "model_inference", noted)
    return calls


@pytest.mark.parametrize("method", LOOKING)
def test_labels_of_test_images_decide_nothing(config, tested, monkeypatch, method):
    inference, options = LOOKING[method]
    plain = run_one(config(method, *options))
    assert plain["inference"] == inference
    test = FewShotDataset.test.fget

    def permuted(self):
        items = test(self)
        return [type(item)(item.impath, (item.label + 1) % self.num_classes, 0, item.classname) for item in items]

    monkeypatch.setattr(FewShotDataset, "test", property(permuted))
    changed = run_one(config(method, *options, name="permuted"))
    assert changed["hparams"] == plain["hparams"]
    ((before, features), (after, _)) = tested  # one call each, of all test images
    assert len(features) == plain["num_test"]
    assert torch.equal(before, after)


def test_of_other_methods_a_record_says_that_they_see_one_image(config):
    assert run_one(config("GDA"))["inference"] == "inductive"


def test_a_target_is_a_set_of_its_own(config, monkeypatch):
    trainer = seeded_trainer(config("TransCLIP"))
    seen = []
    transduce = type(trainer.head).transduce
    monkeypatch.setattr(type(trainer.head), "transduce", lambda head, x: seen.append(len(x)) or transduce(head, x))
    dataset = trainer.dm.dataset
    targets.test_on(trainer, "shifted", dataset, Keeper(dataset.num_classes, 1), "shifted")
    assert seen == [len(dataset.test)]


def test_a_whole_is_its_batches_in_their_order():
    batches = [
        {"img": torch.ones(2, 3), "label": torch.tensor([0, 1])},
        {"img": torch.zeros(1, 3), "label": torch.tensor([2])},
    ]
    for _ in range(2):
        (whole,) = Whole(batches)
        assert whole["img"].shape == (3, 3)
        assert whole["label"].tolist() == [0, 1, 2]


def test_the_base_is_selected_as_it_is_alone(config):
    alone = run_one(config("TipAdapter", name="alone"))
    options = ("TRAINER.TRANSCLIP.BASE", "TipAdapter")
    below = run_one(config("TransCLIP", *options, name="below"))
    assert below["hparams"] == alone["hparams"]
    assert below["num_settings"] == alone["num_settings"] > 1
    assert below["method"] == "TransCLIP"
    assert below["options"] == {"TRAINER.TRANSCLIP.BASE": "TipAdapter"}


def test_the_base_s_config_is_read_first_and_names_the_run(config, monkeypatch):
    cfg = config("TransCLIP", "TRAINER.TRANSCLIP.BASE", "CLIPAdapter")
    base = config("CLIPAdapter")
    assert cfg.OPTIM == base.OPTIM
    assert cfg.TRAINER.CLIPADAPTER == base.TRAINER.CLIPADAPTER
    assert {key.split(".")[1] for key in relevant(cfg) if key.startswith("TRAINER.")} == {
        "NAME",
        "TRANSCLIP",
        "CLIPADAPTER",
    }
    ratio = ("TRAINER.TRANSCLIP.BASE", "CLIPAdapter", "TRAINER.CLIPADAPTER.RATIO", "0.3")
    hashes = {config_hash(cfg), config_hash(config("TransCLIP")), config_hash(config("TransCLIP", *ratio))}
    monkeypatch.setattr(TRAINER_REGISTRY.get("CLIPAdapter"), "revision", 99)
    assert len(hashes | {config_hash(cfg)}) == 4


def test_a_base_that_is_no_method_is_told(config):
    with pytest.raises(ConfigError, match=r"Tip\.yaml: there is no such file. The folder has APE"):
        config("TransCLIP", "TRAINER.TRANSCLIP.BASE", "Tip")


@pytest.mark.parametrize(
    ("base", "more"),
    [(name, ()) for name in ("TDA", "TransCLIP", "CLIPLoRA", "LoCoOp")]
    + [("ReHARK", ("TRAINER.REHARK.TRANSDUCTIVE", "True"))],
)
def test_a_base_that_does_not_suit_is_refused(config, base, more):
    cfg = config("TransCLIP", "TRAINER.TRANSCLIP.BASE", base, *more)
    with pytest.raises(ValueError, match=f"BASE is '{base}', which does not suit: .* Choose one of .*TipAdapter"):
        run_one(cfg)
