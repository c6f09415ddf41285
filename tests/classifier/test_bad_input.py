"""What is wrong is said in one sentence: what, and where."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.exceptions import NotFittedError

from simnl import FewShotClassifier
from simnl.classifier import training

X = np.random.RandomState(0).randn(8, 4)
Y = ["ant", "bee"] * 4
MEANS = {"text_features": "class-means", "device": "cpu"}

CASES = {
    "an unknown method": ({"method": "SimNLL"}, X, Y, "Unknown method 'SimNLL'. Did you mean SimNL?"),
    "no word as a method": ({"method": 3}, X, Y, "method is 3. Give the name of a method"),
    "an unknown backbone": ({"backbone": "vit_b61"}, X, Y, "Unknown backbone 'vit_b61'. Did you mean vit_b16?"),
    "an unknown device": ({"device": "tpu"}, X, Y, "device is 'tpu'. Choose auto, cpu or cuda"),
    "an unknown option": ({"options": {"OPTIM.EPOCHS": 1}}, X, Y, r"options: unknown key OPTIM.EPOCHS. Did you mean"),
    "an option of another type": ({"options": {"BETA": "big"}}, X, Y, "options: TRAINER.SIMNL.BETA: expected float"),
    "an option that is a parameter": ({"options": {"SEED": 2}}, X, Y, "SEED. Use the parameter"),
    "an option of runs": ({"options": {"TEST.TARGETS": []}}, X, Y, "TEST.TARGETS, which is for runs"),
    "options that are no dict": ({"options": ["BETA"]}, X, Y, "options must be a dict of config keys"),
    "a preset that draws twice": ({"options": {"PRESET": "official"}}, X, Y, "DATASET.TRAIN_DRAW is 'separate'"),
    "one class": ({}, X, ["ant"] * 8, "y has one class, 'ant'"),
    "labels that are too few": ({}, X, Y[:7], "inconsistent numbers of samples"),
    "NaN in X": ({}, np.where(X > 1, np.nan, X), Y, "Input X contains NaN"),
    "a share of one example": ({"validation": 0.5}, X[:3], ["ant", "bee", "bee"], "Class 'ant' has 1 example"),
    "a share that is none": ({"validation": 2.0}, X, Y, "validation is 2.0, but a share must be above 0 and below 1"),
    "validation of another kind": ({"validation": "some"}, X, Y, "validation must be None, a pair"),
    "a class of validation alone": ({"validation": (X[:1], ["cow"])}, X, Y, "y of validation has the label 'cow'"),
    "another width of validation": ({"validation": (X[:, :2], Y)}, X, Y, "X of validation has 2 columns, but X has 4"),
    "labels of validation": ({"validation": (X, Y[:2])}, X, Y, "y of validation has 2 labels, but there are 8"),
    "pictures to select on": (
        {"validation": ([Image.new("RGB", (4, 4))], ["ant"])}, X, Y, "must be of the same kind as X",
    ),  # fmt: skip
    "too few names": ({"classnames": ["ant"]}, X, Y, "classnames has 1 names, but y has 2 classes"),
    "a name that is missing": ({"classnames": {"ant": "an ant"}}, X, Y, "classnames has no name for 1 of the labels"),
    "a name that is none": ({"classnames": ["ant", 3]}, X, Y, "classnames must be words, but 3 is not one"),
    "an unknown word for texts": ({"text_features": "means"}, X, Y, "text_features is 'means'"),
    "texts of another width": ({"text_features": X[:2, :3]}, X, Y, r"the shape (2, 3), but it must be (C, D)"),
    "texts of an unknown set": ({"text_features": {"positive": X[:2]}}, X, Y, "text_features has the key 'positive'"),
    "NaN in texts": ({"text_features": np.full((2, 4), np.nan)}, X, Y, "text_features (template) contains NaN"),
    "a set that is missing": ({"text_features": X[:2]}, X, Y, "SimNL needs text features of negative prompts"),
    "a scale below 0": ({"logit_scale": -1.0}, X, Y, "logit_scale is -1.0"),
    "a negative seed": ({"random_state": -1}, X, Y, "random_state is -1"),
    "features of no backbone": ({"text_features": None}, X, Y, "X has 4 columns, but the features of tiny have 128"),
    "labels that are no words": ({"text_features": None}, X, [1, 2] * 4, "SimNL reads the names of classes"),
    "a file that is not there": ({"text_features": None}, ["a.png", "b.png"], Y[:2], "X[0] is 'a.png', but there"),
    "texts beside pictures": ({}, [Image.new("RGB", (4, 4))] * 2, Y[:2], "text_features goes with X of features"),
    "a scale that is no number": ({"logit_scale": "big"}, X, Y, "logit_scale is 'big', but it must be a number"),
    "a key that is no text": ({"options": {1: 2}}, X, Y, "options has the key 1"),
    "a backbone that is no text": ({"backbone": 3}, X, Y, "backbone is 3, but it must be a text"),
    "no data set": ({"constants_of": None}, X, Y, "constants_of is None, but it must be a text"),
    "a template that is no text": ({"templates": 3}, X, Y, "templates has 3 in the place of a text"),
    "no template": ({"templates": []}, X, Y, "templates has [] in the place of a text"),
    "sentences of no class": ({"cupl": ["It flies."]}, X, Y, "cupl is ['It flies.']. Give sentences by class"),
    "a cache that is none": ({"cache": True}, X, Y, "cache is True. Give a folder"),
    "a text as labels": ({}, [Image.new("RGB", (4, 4))] * 3, "ant", "y is the single text 'ant'"),
    "no example": ({}, [], [], "X is empty. Give one picture or more"),
    "a label without a letter": ({"text_features": None}, X, ["ant", " "] * 4, "the labels are not words (' ', 'ant')"),
    "an unknown data set": ({"constants_of": "shaps"}, X, Y, "Unknown data set 'shaps'. Did you mean shapes?"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_it_is_said(case):
    parameters, x, y, said = CASES[case]
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(said)) as error:
        FewShotClassifier(**{**MEANS, **parameters}).fit(x, y)
    assert not isinstance(error.value, AssertionError)


def test_pictures_that_are_none(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    classifier = FewShotClassifier("ZeroshotCLIP", backbone="tiny", cache=False, device="cpu")
    image = Image.new("RGB", (8, 8))
    with pytest.raises(TypeError, match=re.escape("X[1] has the type int. Give paths or PIL images")):
        classifier.fit([image, 3], ["ant", "bee"])
    with pytest.raises(TypeError, match=re.escape("X[0] has the type bytes. Give paths")):
        classifier.fit([b"a.png"], ["ant"])
    for x in (iter([image]), {"a.png"}, {"a.png": image}):
        with pytest.raises(TypeError, match="X has the type .* Give a list of pictures"):
            classifier.fit(x, ["ant"])
    with pytest.raises(TypeError, match="X holds arrays of pixels"):
        classifier.fit([np.zeros((4, 4, 3)), np.zeros((5, 4, 3))], ["ant", "bee"])
    with pytest.raises(TypeError, match=re.escape("X is a single picture ('a.png'). Give a list")):
        classifier.fit("a.png", ["ant"])
    with pytest.raises(ValueError, match=re.escape("X[1], a PIL image of 8 x 8, mode F, cannot be read")):
        classifier.fit([image, Image.new("F", (8, 8))], ["ant", "bee"])
    with pytest.raises(OSError, match="Cannot decode the image .*text.png"):
        classifier.fit([image, image], ["ant", "bee"]).predict([tmp_path / "text.png"])
    with pytest.raises(ValueError, match=re.escape("y has 1 labels, but there are 2 examples")):
        classifier.fit([image, image], ["ant"])
    with pytest.raises(ValueError, match="has no sentences for 1 of 2 classes, e.g. 'bee'"):
        FewShotClassifier(backbone="tiny", cupl={"ant": ["It is an ant."]}).fit([image, image], ["ant", "bee"])


def test_prediction_on_what_does_not_fit():
    classifier = FewShotClassifier("TipAdapter", **MEANS).fit(X, Y)
    with pytest.raises(ValueError, match="X has 3 features, but FewShotClassifier is expecting 4"):
        classifier.predict(X[:, :3])
    with pytest.raises(ValueError, match="Pictures cannot be encoded: the features were given"):
        classifier.predict([Image.new("RGB", (8, 8))])
    with pytest.raises(ValueError, match="text_features goes"):
        FewShotClassifier("TipAdapter", **MEANS).fit([Image.new("RGB", (8, 8))] * 2, ["ant", "bee"])


def test_pictures_under_the_tiny_clip_are_warned_of():
    with pytest.warns(UserWarning, match="No backbone is named, so this is the bundled tiny CLIP"):
        FewShotClassifier("ZeroshotCLIP", cache=False, device="cpu").fit(
            [Image.new("RGB", (8, 8), color) for color in ("red", "blue")], ["red", "blue"]
        )


def test_one_sentence_of_a_class_needs_no_list(monkeypatch):
    """A text is not taken for a list of letters."""
    found = {}
    monkeypatch.setattr(training, "train", lambda cfg, *_: found.update(json.loads(Path(cfg.PROMPTS.CUPL).read_text())))
    classifier = FewShotClassifier(backbone="tiny", cupl={"ant": "It is an ant.", "bee": ["It flies.", "It stings."]})
    with pytest.raises(TypeError):  # nothing was trained
        classifier.fit([Image.new("RGB", (8, 8))] * 2, ["ant", "bee"])
    assert found == {"ant": ["It is an ant."], "bee": ["It flies.", "It stings."]}


def test_labels_are_asked_of_a_fitted_classifier_alone():
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        FewShotClassifier().indices_of(["ant"])


def test_a_share_may_be_a_number_of_numpy():
    assert FewShotClassifier("TipAdapter", validation=np.float32(0.5), **MEANS).fit(X, Y).record_["num_val"] == 4
