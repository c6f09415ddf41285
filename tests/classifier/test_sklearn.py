"""scikit-learn's own checks and tools, on features."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from dassl.engine import TRAINER_REGISTRY
from simnl import FewShotClassifier
from simnl.config_names import known
from simnl.plugins import load_plugins

load_plugins()
WIDTH, WORDS = 16, np.array(["ant", "bee", "cat"])
METHODS = {name: TRAINER_REGISTRY.get(name) for name in known("trainers")}
INDUCTIVE = [name for name, method in METHODS.items() if method.inference == "inductive"]
ON_FEATURES = [
    name
    for name in INDUCTIVE
    if METHODS[name].image_encoder_frozen and METHODS[name].text_features_cached and not METHODS[name].before_projection
]
FAST = {"OPTIM.MAX_EPOCH": 2, "SWEEP": [], "SEARCH.MODE": "coarse-to-fine"}
CHECKED = FewShotClassifier("TipAdapter", text_features="class-means", device="cpu")


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    """60 clustered features of three classes."""
    generator = np.random.RandomState(0)
    labels = np.arange(60) % 3
    centres = generator.randn(3, WIDTH)
    return (centres[labels] + 0.5 * generator.randn(60, WIDTH)).astype(np.float32), WORDS[labels]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("estimator", "check"),
    list(estimator_checks_generator(CHECKED)),
    ids=lambda x: getattr(getattr(x, "func", x), "__name__", ""),
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("method", ON_FEATURES)
def test_every_method_on_features(method, data):
    x, y = data
    classifier = FewShotClassifier(method, text_features="class-means", validation=0.2, options=FAST, device="cpu")
    before = pickle.dumps(classifier.get_params())
    classifier.fit(x, y)
    assert classifier.score(x, y) > 0.9
    assert classifier.classes_.tolist() == WORDS.tolist()
    assert classifier.n_features_in_ == WIDTH
    np.testing.assert_allclose(sum(classifier.evidence(x).values()), classifier.logits(x), atol=2e-3, rtol=1e-4)
    probabilities = classifier.predict_proba(torch.from_numpy(x))
    np.testing.assert_allclose(probabilities.sum(1), 1.0)
    assert (WORDS[probabilities.argmax(1)] == classifier.predict(x)).all()
    assert pickle.dumps(classifier.get_params()) == before
    if METHODS[method].uses_support:
        assert classifier.record_["protocol"] == "fewshot-val"
        assert (classifier.record_["num_train"], classifier.record_["num_val"]) == (48, 12)


def test_methods_that_features_do_not_do_for(data):
    said = []
    for method in sorted(set(INDUCTIVE) - set(ON_FEATURES)):
        reasons = "(changes the image tower|reads patches|.*needs a text tower)"
        with pytest.raises(ValueError, match=f"{method} {reasons}") as error:
            FewShotClassifier(method, text_features="class-means").fit(*data)
        said.append(str(error.value))
    assert len(said) >= 3


@pytest.mark.parametrize("method", sorted(set(METHODS) - set(INDUCTIVE)))
def test_methods_that_look_at_several_test_examples(method, data):
    with pytest.raises(ValueError, match=f"{method} sees .*, but a classifier predicts each example by itself"):
        FewShotClassifier(method, text_features="class-means", device="cpu").fit(*data)


def test_it_works_within_scikit_learn(data):
    x, y = data
    classifier = FewShotClassifier("TipAdapter", text_features="class-means", device="cpu")
    assert cross_val_score(make_pipeline(StandardScaler(), classifier), x, y, cv=2).min() > 0.8
    grid = {"method": ["TipAdapter", "GDA"], "options": [{"ALPHA": 0.1}, {"ALPHA": 1.0}]}
    found = GridSearchCV(classifier, grid, cv=2, error_score="raise").fit(x, y)
    assert found.best_score_ > 0.8
    assert found.best_estimator_.record_["hparams"]["alpha"] in (0.1, 1.0)
    assert clone(found.best_estimator_).get_params() == found.best_estimator_.get_params()


def test_the_seed_alone_decides(data):
    x, y = data

    def logits(seed, disturb):
        torch.manual_seed(disturb)
        np.random.seed(disturb)
        settings = {"text_features": "class-means", "validation": 0.25, "device": "cpu", "options": FAST}
        return FewShotClassifier("CLIPAdapter", random_state=seed, **settings).fit(x, y).logits(x)

    first = logits(1, 5)
    assert np.array_equal(first, logits(1, 6))
    assert not np.array_equal(first, logits(2, 5))
    assert not np.array_equal(logits(None, 5), logits(None, 6))  # numpy's global generator
    assert np.array_equal(logits(np.random.RandomState(3), 5), logits(np.random.RandomState(3), 6))


def test_two_classes_have_one_column_of_decisions(data):
    x, y = data[0][data[1] != "cat"], data[1][data[1] != "cat"]
    classifier = FewShotClassifier("TipAdapter", text_features="class-means", device="cpu").fit(x, y)
    decisions, logits = classifier.decision_function(x), classifier.logits(x)
    assert decisions.shape == (len(x),)
    np.testing.assert_array_equal(decisions, logits[:, 1] - logits[:, 0])


def test_given_texts_and_scale_are_what_is_used(data):
    """Zero-shot on features: scale times cosine with the given rows, of several prompts by their mean."""
    x, y = data
    texts = np.random.RandomState(1).randn(3, 2, WIDTH).astype(np.float32)
    classifier = FewShotClassifier("ZeroshotCLIP", text_features=texts, logit_scale=7.0, device="cpu").fit(x, y)

    def unit(rows):
        return rows / np.linalg.norm(rows.astype(float), axis=-1, keepdims=True)

    expected = 7.0 * unit(x) @ unit(unit(texts).mean(1)).T
    np.testing.assert_allclose(classifier.logits(x), expected, atol=1e-5)


def test_a_method_without_text_needs_neither_words_nor_texts(data):
    x, y = data
    numbers = np.searchsorted(WORDS, y)
    assert FewShotClassifier("LinearProbe", device="cpu").fit(x, numbers).score(x, numbers) > 0.9


def test_validation_examples_are_selected_on(data):
    x, y = data
    pair = (x[40:], y[40:])
    classifier = FewShotClassifier("TipAdapter", text_features="class-means", validation=pair, device="cpu")
    classifier.fit(x[:40], y[:40])
    assert (classifier.record_["protocol"], classifier.record_["num_val"]) == ("full-val", 20)
    assert classifier.record_["num_settings"] > 1


def test_a_held_shot_chooses_and_is_learned_from(data):
    x, y = data
    settings = {"text_features": "class-means", "device": "cpu"}
    classifier = FewShotClassifier("TipAdapter", validation="held-shot", **settings).fit(x, y)
    record = classifier.record_
    assert (record["protocol"], record["num_val"], record["num_train"]) == ("held-shot", 3, 60)
    assert record["num_settings"] > 1
    given = {name.upper(): value for name, value in record["hparams"].items()}
    by_hand = FewShotClassifier("TipAdapter", options=given, **settings).fit(x, y)
    np.testing.assert_array_equal(by_hand.logits(x), classifier.logits(x))
