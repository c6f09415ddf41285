"""Calibration errors and calibrators against naive loops, exact optima, and three repositories."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from helpers.detection_golden import golden, unit
from simnl.metrics import calibration, calibrators, classification, published

CONFIDENCES = st.lists(st.sampled_from([0.0, 0.2, 1 / 3, 0.5, 1.0]) | st.floats(0, 1), min_size=1, max_size=40)


def naive_ece(confidence, right, bins) -> tuple[float, float]:
    total, worst = 0.0, 0.0
    for k in range(bins):
        inside = [i for i, c in enumerate(confidence) if k / bins < c <= (k + 1) / bins or (c == 0 and k == 0)]
        if inside:
            gap = abs(sum(right[i] for i in inside) - sum(confidence[i] for i in inside)) / len(inside)
            total, worst = total + len(inside) / len(confidence) * gap, max(worst, gap)
    return total, worst


def naive_ace(confidence, right, bins) -> float:
    order = sorted(range(len(confidence)), key=lambda i: confidence[i])
    total, start = 0.0, 0
    for k in range(bins):
        stop = start + len(order) // bins + (k < len(order) % bins)
        total += abs(sum(right[i] - confidence[i] for i in order[start:stop])) / len(order)
        start = stop
    return total


@settings(max_examples=80, deadline=None)
@given(CONFIDENCES, st.randoms(use_true_random=False), st.integers(1, 20))
def test_naive_loops_with_confidences_on_edges(confidence, random, bins):
    right = [random.random() < 0.6 for _ in confidence]
    ece, mce = naive_ece(confidence, right, bins)
    assert calibration.ece(confidence, right, bins) == pytest.approx(ece, abs=1e-12)
    assert calibration.mce(confidence, right, bins) == pytest.approx(mce, abs=1e-12)
    assert calibration.ace(confidence, right, bins) == pytest.approx(naive_ace(confidence, right, bins), abs=1e-12)


@pytest.fixture
def case():
    """Logits (300, 7) that are three times too sharp, and labels drawn from their true probabilities."""
    rng = np.random.default_rng(11)
    logits = 2 * rng.normal(size=(300, 7))
    labels = np.array([rng.choice(7, p=row) for row in softmax(logits, axis=1)])
    return 3 * logits, labels


def test_classwise(case):
    logits, labels = case
    rows = softmax(logits, axis=1)
    expected = [naive_ece(rows[:, c].tolist(), (labels == c).tolist(), 15)[0] for c in range(7)]
    assert calibration.classwise_ece(rows, labels) == pytest.approx(sum(expected) / 7, abs=1e-12)


def test_nothing_depends_on_the_order_of_images_or_classes(case):
    logits, labels = case
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(300), rng.permutation(7)
    other, moved = logits[rows][:, columns], columns.argsort()[labels[rows]]
    for before, after in ((logits, other),):
        first, second = softmax(before, axis=1), softmax(after, axis=1)
        right = [(p.argmax(1) == y) for p, y in ((first, labels), (second, moved))]
        assert calibration.ece(first.max(1), right[0]) == pytest.approx(calibration.ece(second.max(1), right[1]))
        assert calibration.classwise_ece(first, labels) == pytest.approx(calibration.classwise_ece(second, moved))
        assert classification.brier(first, labels) == pytest.approx(classification.brier(second, moved))


def test_a_calibrated_set_has_an_error_that_falls_with_its_size():
    rng = np.random.default_rng(1)

    def error(size: int) -> float:
        confidence = rng.uniform(0, 1, size)
        return calibration.ece(confidence, rng.uniform(0, 1, size) < confidence)

    small, large = (np.mean([error(size) for _ in range(40)]) for size in (400, 6400))
    assert 3 < small / large < 5  # a factor of 16 in size is a factor of 4


def test_confidence_of_right_and_wrong():
    assert calibration.failure_auroc([0.9, 0.8, 0.1], [True, True, False]) == 1
    assert calibration.failure_auroc([0.9, 0.8], [True, True]) is None
    assert calibration.overconfidence([0.5, 1.0], [True, False]) == pytest.approx(0.25)


# ---------------------------------------------------------------------- calibrators


def nll(logits: np.ndarray, labels: np.ndarray) -> float:
    return classification.nll_of(softmax(logits, axis=1), labels)


def test_the_temperature_is_the_optimum(case):
    logits, labels = case
    found = calibrators.fit_temperature(logits, labels)
    grid = np.exp(np.linspace(math.log(0.01), math.log(100), 4001))
    losses = [nll(logits / t, labels) for t in grid]
    assert found.value == pytest.approx(grid[int(np.argmin(losses))], rel=3e-3)
    nearby = [nll(logits / (found.value * (1 + step)), labels) for step in (-1e-3, 0, 1e-3)]
    assert nearby[1] == min(nearby)
    assert 2.2 < found.value < 3.9  # 3 within its error
    assert abs(math.log(found.value / 3)) < 4 * found.log_error < 0.6


def test_the_temperature_scales_with_the_logits_and_changes_no_prediction(case):
    logits, labels = case
    one = calibrators.fit_temperature(logits, labels)
    for factor in (0.1, 7.0):
        other = calibrators.fit_temperature(factor * logits, labels)
        assert other.value == pytest.approx(factor * one.value, rel=1e-9)
        assert other.log_error == pytest.approx(one.log_error, rel=1e-6)
    np.testing.assert_array_equal(calibrators.scaled(logits, one.value).argmax(1), logits.argmax(1))


def test_temperatures_without_an_optimum_stop_at_the_bounds():
    logits = np.array([[4.0, 0.0], [0.0, 4.0]])
    right, wrong = np.array([0, 1]), np.array([1, 0])
    assert calibrators.fit_temperature(logits, right).value == calibrators.LOWEST
    assert calibrators.fit_temperature(logits, wrong).value == calibrators.HIGHEST
    assert calibrators.fit_temperature(logits, right).at_bound
    assert calibrators.fit_temperature(np.zeros((3, 2)), np.array([0, 1, 1])).value in (0.01, 100.0)  # equal logits
    nothing = calibrators.fit_temperature(np.zeros((0, 2)), np.zeros(0, np.int64))
    assert (nothing.value, nothing.images, nothing.at_bound) == (1.0, 0, False)


def test_isotonic_regression_keeps_the_order_and_sums_to_one(case):
    logits, labels = case
    rows = softmax(logits, axis=1)
    model = calibrators.fit_isotonic(rows[:200], labels[:200])
    mapped = calibrators.isotonic(model, rows[200:])
    np.testing.assert_allclose(mapped.sum(1), 1, atol=1e-12)
    np.testing.assert_array_equal(mapped.argmax(1), rows[200:].argmax(1))
    assert calibration.ece(mapped.max(1), mapped.argmax(1) == labels[200:]) < calibration.ece(
        rows[200:].max(1), rows[200:].argmax(1) == labels[200:]
    )


# ---------------------------------------------------------------------- parity


def test_parity_of_errors():
    tensors = golden("calibration")
    labels, compared = tensors["labels"], 0
    for name in (key.split("/")[1] for key in tensors if key.startswith("probs/")):
        rows = tensors[f"probs/{name}"]
        confidence, right = rows.max(1), rows.argmax(1) == labels
        ours = {"torch_uncertainty_brier": (classification.brier(rows, labels), 1e-9)}
        for bins in (10, 15):
            ece, mce = published.clip_calibration(confidence, right, bins)
            ours[f"clip_calibration_ece_bins{bins}"] = ece, 1e-9
            ours[f"clip_calibration_mce_bins{bins}"] = mce, 1e-9
            ours[f"torch_uncertainty_ace_bins{bins}"] = calibration.ace(confidence, right, bins), 1e-9
            for norm, value in published.torchmetrics(confidence, right, bins).items():
                ours[f"torchmetrics_{norm}_bins{bins}"] = value, 1e-6
        for figure, (value, within) in ours.items():
            assert value == pytest.approx(float(tensors[f"{name}/{figure}"]), abs=within), (name, figure)
            compared += 1
    assert compared >= 26


@pytest.mark.parametrize("neighbours", [1, 5, 10])
def test_parity_of_dac(neighbours):
    tensors = golden("calibration")
    names = ("base_zero_shot", "base_tuned", "new_zero_shot", "new_tuned")
    texts = [np.float64(tensors[f"dac/{name}"]) for name in names]
    factors = published.dac_factors(*texts, neighbours=neighbours)
    np.testing.assert_allclose(factors, tensors[f"dac/k{neighbours}/factor"], rtol=2e-6)
    logits = published.dac(np.float64(tensors["dac/logits_in"]), factors)
    np.testing.assert_allclose(logits, tensors[f"dac/k{neighbours}/logits"], rtol=2e-6, atol=1e-5)


def test_texts_that_did_not_move_keep_their_logits():
    rng = np.random.default_rng(0)
    texts, others = unit(rng.normal(size=(6, 8))), unit(rng.normal(size=(4, 8)))
    np.testing.assert_array_equal(published.dac_factors(texts, texts, others, others), np.ones(4))
    np.testing.assert_array_equal(published.dac_factors(others, texts, others[:2], texts[:2]), np.ones(2))


def test_parity_of_isotonic_regression():
    """Fitted on the first half. Theirs is given probabilities where logits are meant, so that softmax acts twice."""
    tensors = golden("calibration")
    if "isotonic/mild/logits_in" not in tensors:
        pytest.skip("isotonic regression is not bundled")
    fit, test = slice(0, 200), slice(200, 400)
    for name in ("mild", "sharp"):
        once = softmax(tensors[f"logits/{name}"], axis=1)
        for key, rows in (("logits_in", once), ("probs_in", softmax(once, axis=1))):
            model = calibrators.fit_isotonic(rows[fit], tensors["labels"][fit])
            found = calibrators.isotonic_raw(model, rows[test])
            np.testing.assert_allclose(found, tensors[f"isotonic/{name}/{key}"], atol=1e-9)


def test_the_optimum_of_the_golden_logits():
    """Their optima are 5.303, 1.768 and 0.3535, all with an NLL of 2.1693 (the released fit stops elsewhere)."""
    tensors = golden("calibration")
    if "logits/mild" not in tensors:
        pytest.skip("these logits are not bundled")
    for name, value in (("sharp", 5.303), ("mild", 1.768), ("flat", 0.3535)):
        logits = tensors[f"logits/{name}"]
        found = calibrators.fit_temperature(logits, tensors["labels"])
        assert found.value == pytest.approx(value, abs=6e-4)
        assert nll(logits / found.value, tensors["labels"]) == pytest.approx(2.1693, abs=5e-5)
