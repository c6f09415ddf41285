"""Scores of a positive and a negative side against naive loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simnl.metrics import two_sided
from simnl.metrics.scores import LOGIT_SCORES


def softmax_row(row, temperature=1.0) -> list[float]:
    parts = [math.exp((x - max(row)) / temperature) for x in row]
    return [x / sum(parts) for x in parts]


@pytest.fixture
def sides() -> two_sided.Sides:
    rng = np.random.default_rng(8)
    big, small = ([scale * rng.normal(size=(15, 4)) for _ in range(4)] for scale in (3.0, 0.1))
    return two_sided.Sides(*big, small[0], small[1], lam=0.7, scale=17.0)


def test_naive_loops(sides):
    b = 0.3
    found = {name: score(sides, b) for name, score in two_sided.TWO_SIDED.items()}
    for i in range(15):
        a, n, m, v = (x[i].tolist() for x in (sides.positive, sides.negative, sides.asserted, sides.denied))
        fused = [0.7 * x + 0.3 * y for x, y in zip(a, n, strict=True)]
        p, q, denial = softmax_row(a), softmax_row(fused), softmax_row(v, 0.01)
        affirmed = softmax_row([-x for x in v], 0.01)
        best = p.index(max(p))
        yes = [1 / (1 + math.exp(-(17 * (x - y) - b))) for x, y in zip(m, v, strict=True)]
        expected = {
            "maxlogit": max(fused),
            "msp": max(q),
            "energy": math.log(sum(map(math.exp, fused))),
            "agree": p[best] * (1 - denial[best]),
            "agree_sum": sum(x * (1 - y) for x, y in zip(p, denial, strict=True)),
            "yes_no": sum(x * y for x, y in zip(q, yes, strict=True)),
            "evidence_gap": max(x - y for x, y in zip(m, v, strict=True)),
            "affirmation": sum(x * math.log(x) for x in affirmed if x > 0),
            "least_denied": -min(v),
            "cache": max(sides.cache[i]),
            "negative_cache": -min(sides.negative_cache[i]),
        }
        assert {name: values[i] for name, values in found.items()} == pytest.approx(expected, abs=1e-9)


def test_without_the_negative_side_the_logits_are_the_positive_one(sides):
    np.testing.assert_array_equal(sides.mixed(1.0).logits, sides.positive)
    np.testing.assert_allclose(sides.logits, 0.7 * sides.positive + 0.3 * sides.negative)


def test_names_that_logits_alone_give_mean_the_same(sides):
    for name in set(two_sided.TWO_SIDED) & set(LOGIT_SCORES):
        np.testing.assert_allclose(two_sided.TWO_SIDED[name](sides, 0.0), LOGIT_SCORES[name](sides.logits, 17.0))
    assert "maxlogit" not in two_sided.OWN
    assert "agree" in two_sided.OWN


def test_offset():
    margins = np.array([[1.0, 9.0], [8.0, 3.0], [5.0, 7.0]])
    assert two_sided.offset(margins, np.array([0, 1, 0])) == 3.0


@pytest.mark.parametrize(("size", "place"), [(19, 0), (20, 0), (39, 1), (100, 4), (7, 0)])
def test_the_threshold_is_an_order_statistic(size, place):
    held_out = np.random.default_rng(size).permutation(size).astype(float)
    assert two_sided.conformal_threshold(held_out, 0.95) == place


def test_the_threshold_keeps_what_it_promises():
    rng = np.random.default_rng(4)
    kept = [(rng.normal(size=50) >= two_sided.conformal_threshold(rng.normal(size=99), 0.9)).mean() for _ in range(400)]
    assert np.mean(kept) == pytest.approx(0.9, abs=0.01)
