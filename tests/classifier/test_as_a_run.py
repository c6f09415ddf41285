"""The classifier is a run: on the same pictures, its logits are those of tools/train.py."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
import train
from PIL import Image

from simnl import FewShotClassifier
from simnl.fewshot.head import SearchableHead
from simnl.locations import CONFIGS
from simnl.runs.run import seeded_trainer


def trained(method: str, pictures, cache, output, monkeypatch, *options: str):
    """The trainer of a finished run of tools/train.py, with its deployed head."""
    arguments = [
        "train.py", "--trainer", method, "--seed", "2", "--device", "cpu", "--output-dir", str(output),
        "--dataset-config-file", str(CONFIGS / "datasets" / "imagefolder.yaml"),
        "--backbone-config-file", str(CONFIGS / "backbones" / "tiny.yaml"),
        "DATASET.FOLDER", str(pictures.folder), "DATASET.NUM_SHOTS", "2", "STORE.ROOT", str(cache),
        "DATALOADER.NUM_WORKERS", "0", *options,
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", arguments)
    assert train.main() == 0
    trainer = seeded_trainer(train.config_from(train.build_parser().parse_args(arguments[1:])))
    trainer.load_model(str(output))
    return trainer


@torch.no_grad()
def run_logits(trainer) -> np.ndarray:
    """Of the run's test pictures."""
    trainer.set_model_mode("eval")
    batches = [trainer.model_inference(trainer.parse_batch_test(batch)[0]) for batch in trainer.test_loader]
    return torch.cat(batches).float().numpy()


def of(items) -> tuple[list[str], list[str]]:
    return [item.impath for item in items], [item.classname for item in items]


SETTINGS = {
    "SimNL": {},
    "TipAdapterF": {"OPTIM.MAX_EPOCH": 3},
    "CrossModalLP": {"OPTIM.MAX_EPOCH": 1, "TRAINER.CROSSMODALLP.EPOCH_STEPS": 5},
    "LinearProbe": {},
    "CoOp": {"OPTIM.MAX_EPOCH": 3},
}


@pytest.mark.parametrize("method", SETTINGS)
def test_the_same_logits(method, pictures, features_cache, tmp_path, monkeypatch):
    """SimNL searches its hyper-parameters, CrossModalLP sweeps, LinearProbe has a solver, CoOp runs the text tower."""
    epochs = [str(word) for pair in SETTINGS[method].items() for word in pair]
    trainer = trained(method, pictures, features_cache, tmp_path / "run", monkeypatch, *epochs)
    dataset = trainer.dm.dataset
    classifier = FewShotClassifier(
        method, backbone="tiny", random_state=2, validation=of(dataset.val), options=SETTINGS[method],
        cache=features_cache, device="cpu",
    )  # fmt: skip
    classifier.fit(*of(dataset.train_x))
    paths, _ = of(dataset.test)
    expected = run_logits(trainer)
    np.testing.assert_allclose(classifier.decision_function(paths), expected, atol=1e-6 * abs(expected).max(), rtol=0)
    assert classifier.predict(paths).tolist() == [trainer.lab2cname[label] for label in expected.argmax(1).tolist()]
    assert classifier.record_["num_val"] == len(dataset.val)
    if isinstance(trainer.head, SearchableHead):
        assert classifier.record_["hparams"] == trainer.head.hparams


def test_pictures_in_memory_have_the_features_of_their_files(pictures, features_cache):
    """Training-free on the test view, where nothing is drawn by a file's content."""
    options = {"VIEWS.KIND": "centre"}
    classifier = FewShotClassifier("TipAdapter", backbone="tiny", options=options, cache=features_cache, device="cpu")
    paths, labels = pictures["train"]
    by_path = classifier.fit(paths, labels).logits(paths)
    images = [Image.open(path) for path in paths]
    np.testing.assert_array_equal(classifier.fit(images, labels).logits(images), by_path)
    np.testing.assert_array_equal(classifier.logits([*images[:1], *paths[1:]]), by_path)


def test_features_of_the_backbone_are_as_good_as_its_pictures(pictures, features_cache, clip):
    """X of features with a backbone: prompts are encoded by it, and pictures can be predicted, too."""
    from simnl.clip.store import FeatureStore
    from simnl.clip.views import ViewSpec

    paths, labels = pictures["train"]
    features = FeatureStore(features_cache, clip, progress=False).images(paths, ViewSpec.test(clip.preprocess))[0]
    settings = {"backbone": "tiny", "cache": features_cache, "device": "cpu"}
    by_path = FewShotClassifier("TipAdapter", options={"VIEWS.KIND": "centre"}, **settings).fit(paths, labels)
    given = FewShotClassifier("TipAdapter", **settings).fit(features, labels)
    np.testing.assert_array_equal(given.logits(features), by_path.logits(paths))
    np.testing.assert_array_equal(given.logits(paths), by_path.logits(features.numpy()))
