"""What was learned in one file, and in a pickle; what a file says, and the head file of a run."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from PIL import Image

from simnl import FewShotClassifier

SETTINGS = {"backbone": "tiny", "device": "cpu", "options": {"OPTIM.MAX_EPOCH": 2}}
METHODS = ("SimNL", "TipAdapter", "LinearProbe", "CoOp", "ZeroshotCLIP")


@pytest.mark.parametrize("method", METHODS)
def test_a_file_gives_the_same_predictions(method, pictures, features_cache, tmp_path):
    paths, labels = pictures["train"]
    classifier = FewShotClassifier(method, cache=features_cache, **SETTINGS).fit(paths, labels)
    classifier.save(tmp_path / "head.safetensors")
    loaded = FewShotClassifier.load(tmp_path / "head.safetensors", device="cpu", cache=features_cache)
    test = pictures["test"][0]
    expected = classifier.logits(test)
    np.testing.assert_allclose(loaded.logits(test), expected, atol=1e-5 * np.abs(expected).max())
    assert loaded.predict(test).tolist() == classifier.predict(test).tolist()
    assert loaded.method == method
    assert loaded.classes_.tolist() == classifier.classes_.tolist()
    known = loaded.record_
    assert known == {key: classifier.record_[key] for key in known}
    assert [path.name for path in tmp_path.iterdir()] == ["head.safetensors"]


@pytest.mark.parametrize("labels", [[3, 1, 2], [3.0, 1.0, 2.0], [True, False, False], ["c", "a", "b"]])
def test_labels_come_back_as_they_were(labels, tmp_path):
    x = np.eye(3)
    classifier = FewShotClassifier("TipAdapter", text_features="class-means", device="cpu").fit(x, labels)
    classifier.save(tmp_path / "head.safetensors")
    loaded = FewShotClassifier.load(tmp_path / "head.safetensors", device="cpu")
    assert loaded.predict(x).tolist() == classifier.predict(x).tolist()
    assert loaded.classes_.dtype.kind == classifier.classes_.dtype.kind
    assert loaded.score(x, labels) == classifier.score(x, labels)


def test_a_pickle_holds_no_model(pictures, features_cache):
    paths, labels = pictures["train"]
    classifier = FewShotClassifier("TipAdapter", cache=features_cache, **SETTINGS).fit(paths, labels)
    content = pickle.dumps(classifier)
    assert len(content) < 200_000  # the tiny CLIP has some 7 MB
    np.testing.assert_array_equal(pickle.loads(content).logits(paths), classifier.logits(paths))


def test_what_cannot_be_loaded_or_saved(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no head file"):
        FewShotClassifier.load(tmp_path / "none.safetensors")
    (tmp_path / "head.safetensors").write_bytes(b"not this")
    with pytest.raises(ValueError, match="is not a trained head of this program, or is damaged"):
        FewShotClassifier.load(tmp_path)
    with pytest.raises(ValueError, match="not fitted yet"):
        FewShotClassifier().save(tmp_path / "head.safetensors")
    classifier = FewShotClassifier("TipAdapter", text_features="class-means", device="cpu")
    with pytest.raises(IsADirectoryError, match="is a folder. Name a file, such as .*/head.safetensors"):
        classifier.fit(np.eye(2), ["ant", "bee"]).save(tmp_path)
    with pytest.raises(ValueError, match="has half of a character, so a file cannot hold it"):
        classifier.fit(np.eye(2), ["ant\udce9", "bee"]).save(tmp_path / "other.safetensors")
    assert (tmp_path / "head.safetensors").read_bytes() == b"not this"
    assert [path.name for path in tmp_path.iterdir()] == ["head.safetensors"]


def test_a_method_that_changes_the_image_tower(clip_checkpoints, pictures, tmp_path):
    """Its head takes pixels, and its file says where the weights of the backbone were."""
    weights = clip_checkpoints["test-vit"]
    options = {"STEPS_PER_SHOT": 1, "OPTIM.MAX_EPOCH": 1}
    classifier = FewShotClassifier(
        "CLIPLoRA", backbone="test-vit", weights=str(weights), options=options, cache=tmp_path / "cache", device="cpu"
    )
    paths, labels = pictures["train"]
    logits = classifier.fit(paths, labels).logits(paths)
    assert logits.shape == (6, 3)
    classifier.save(tmp_path / "head.safetensors")
    moved = weights.rename(tmp_path / "moved.safetensors")
    try:
        loaded = FewShotClassifier.load(tmp_path / "head.safetensors", weights=str(moved), device="cpu", cache=False)
        np.testing.assert_allclose(loaded.logits(paths), logits, atol=1e-5)
        np.testing.assert_allclose(loaded.logits([Image.open(path) for path in paths]), logits, atol=1e-5)
        with pytest.raises(ValueError, match="CLIPLoRA changes the image tower: give pictures, not their features"):
            loaded.predict(np.zeros((2, loaded.n_features_in_)))
        with pytest.raises(ValueError, match="CLIPLoRA changes the image tower: X must hold pictures"):
            classifier.fit(np.zeros((4, 16)), [0, 1, 0, 1])
    finally:
        moved.rename(weights)
