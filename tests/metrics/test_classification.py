"""Figures of predictions and probabilities against naive loops and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss

from simnl.metrics import classification


@pytest.fixture
def case():
    """Logits (200, 6) with ties, and labels of which one class is missing."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 5, 200)
    logits = rng.normal(size=(200, 6)).round(1) + 1.5 * np.eye(6)[labels]
    return logits, labels


def softmax_row(row) -> list[float]:
    parts = [math.exp(x - max(row)) for x in row]
    return [x / sum(parts) for x in parts]


def test_scikit_learn(case):
    logits, labels = case
    predicted = logits.argmax(1)
    assert classification.accuracy(predicted, labels) == (predicted == labels).mean()
    assert classification.macro_f1(predicted, labels) == pytest.approx(
        f1_score(labels, predicted, average="macro"), abs=1e-12
    )
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        expected = balanced_accuracy_score(labels, predicted)
    assert classification.balanced_accuracy(predicted, labels) == pytest.approx(expected, abs=1e-12)


def test_probabilities_in_naive_loops(case):
    logits, labels = case
    rows = np.array([softmax_row(row) for row in logits])
    assert classification.nll_of(rows, labels) == pytest.approx(log_loss(labels, rows, labels=range(6)), abs=1e-12)
    squares = [sum((p - (c == y)) ** 2 for c, p in enumerate(row)) for row, y in zip(rows, labels, strict=True)]
    assert classification.brier(rows, labels) == pytest.approx(sum(squares) / 200, abs=1e-12)


def test_a_class_that_is_never_predicted_counts_as_zero():
    assert classification.balanced_accuracy([0, 0, 0, 0], [0, 0, 0, 1]) == 0.5
    assert classification.macro_f1([0, 0, 0, 0], [0, 0, 0, 1]) == pytest.approx((6 / 7 + 0) / 2)
    assert classification.accuracy([0, 0, 0, 0], [0, 0, 0, 1]) == 0.75


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        ([[1.0, np.nan]], [0], "1 of 1 rows hold NaN"),
        ([[1.0, 2.0]], [2], "from 0 to 1"),
        ([[1.0, 2.0]], [0, 1], "got \\(1, 2\\), \\(2,\\)"),
        (np.zeros((0, 3)), [], "at least one"),
    ],
)
def test_what_cannot_be_measured(rows, labels, message):
    with pytest.raises(ValueError, match=message):
        classification.checked(rows, labels)
