"""Detection metrics against naive loops, scikit-learn, and the functions of six repositories."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from helpers.detection_golden import golden
from simnl.metrics import detection, published

SCORES = st.lists(
    st.sampled_from([-np.inf, -2.5, -1.0, 0.0, 0.1, 0.1 + 1e-12, 1.0, 7.0, np.inf]) | st.floats(-3, 3),
    min_size=1,
    max_size=30,
)
QUICK = settings(max_examples=60, deadline=None)


def naive_auroc(known, unknown) -> float:
    pairs = list(itertools.product(known, unknown))
    return sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)


def naive_fpr95_id(known, unknown) -> float:
    fits = [t for t in {*known, *unknown} if sum(a >= t for a in known) / len(known) >= 0.95]
    return sum(b >= max(fits) for b in unknown) / len(unknown)


def naive_fpr95_ood(known, unknown) -> float:
    fits = [t for t in {*known, *unknown} if sum(b <= t for b in unknown) / len(unknown) >= 0.95]
    return sum(a <= min(fits) for a in known) / len(known)


def naive_precision(known, unknown) -> float:
    area, before = 0.0, 0
    for t in sorted({*known, *unknown}, reverse=True):
        hits, others = sum(a >= t for a in known), sum(b >= t for b in unknown)
        area += (hits - before) / len(known) * hits / (hits + others)
        before = hits
    return area


@QUICK
@given(SCORES, SCORES)
def test_naive_loops_with_ties_and_infinities(known, unknown):
    found = detection.measures(known, unknown)
    assert found["auroc"] == pytest.approx(naive_auroc(known, unknown), abs=1e-12)
    assert found["fpr95_id"] == pytest.approx(naive_fpr95_id(known, unknown), abs=1e-12)
    assert found["fpr95_ood"] == pytest.approx(naive_fpr95_ood(known, unknown), abs=1e-12)
    assert found["aupr_in"] == pytest.approx(naive_precision(known, unknown), abs=1e-12)
    negated = [-b for b in unknown], [-a for a in known]
    assert found["aupr_out"] == pytest.approx(naive_precision(*negated), abs=1e-12)


@QUICK
@given(SCORES, SCORES)
def test_roles_and_maps(known, unknown):
    known, unknown = np.array(known), np.array(unknown)
    assert detection.auroc(known, unknown) + detection.auroc(unknown, known) == pytest.approx(1, abs=1e-12)
    assert detection.fpr95_ood(known, unknown) == detection.fpr95_id(-unknown, -known)
    order = np.unique(np.concatenate([known, unknown]))
    ranks = [np.searchsorted(order, side) ** 3 for side in (known, unknown)]  # a strictly increasing map
    assert detection.measures(*ranks) == detection.measures(known, unknown)


@pytest.mark.parametrize("decimals", [1, 8])
def test_scikit_learn(decimals):
    rng = np.random.default_rng(decimals)
    known, unknown = rng.normal(1, 1, 300).round(decimals), rng.normal(0, 1, 170).round(decimals)
    truth, scores = np.r_[np.ones(300), np.zeros(170)], np.r_[known, unknown]
    assert detection.auroc(known, unknown) == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert detection.aupr_in(known, unknown) == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    assert detection.aupr_out(known, unknown) == pytest.approx(average_precision_score(1 - truth, -scores), abs=1e-12)


def test_extremes():
    assert detection.fpr95_id([0.5] * 9, [0.5] * 4) == detection.fpr95_ood([0.5] * 9, [0.5] * 4) == 1
    assert detection.auroc([0.5] * 9, [0.5] * 4) == 0.5
    best = {"auroc": 1.0, "fpr95_id": 0.0, "fpr95_ood": 0.0, "aupr_in": 1.0, "aupr_out": 1.0}
    assert detection.measures([3, 4, 5], [0, 1]) == best
    assert detection.measures([np.inf], [-np.inf]) == best
    twenty = np.arange(20.0)
    assert detection.fpr95_id(twenty, [0.5, 1.0, -1.0]) == pytest.approx(1 / 3)  # 19 of 20 are 0.95 exactly


@pytest.mark.parametrize(
    ("known", "unknown", "message"),
    [
        ([], [1.0], "at least one known image"),
        ([1.0], [], "at least one unknown image"),
        ([1.0, np.nan], [1.0], "1 of 2 scores of known images are NaN"),
        ([1.0], [np.nan], "unknown images are NaN"),
        ([[1.0]], [1.0], r"shape is \(1, 1\)"),
    ],
)
def test_what_cannot_be_measured(known, unknown, message):
    with pytest.raises(ValueError, match=message):
        detection.measures(known, unknown)


def test_right_and_known():
    known, right, unknown = np.array([5.0, 4, 3, 2]), np.array([1, 1, 0, 1], bool), np.array([3.0, 1, 0, -1])
    assert detection.ccr_at_fpr(known, right, unknown, 0.25) == 0.5
    assert detection.oscr(known, right, unknown) == pytest.approx(0 * 0.5 + 0.25 * (0.5 + 0.5) / 2 + 0.75 * 0.75)
    assert detection.oscr(known, np.zeros(4, bool), unknown) == 0


def figures(known, unknown, right) -> dict[str, list[float]]:
    """Our figures, under the names of the golden tensors."""
    d, p = detection, published
    auroc, nearest = d.auroc(known, unknown), p.fpr95_id_nearest(known, unknown)
    both = [d.aupr_in(known, unknown), d.aupr_out(known, unknown)]
    openood = [p.fpr95_ood_official, d.auroc, p.aupr_in_trapezoid, p.aupr_out_trapezoid]
    return {
        "arpl_metric_ood[tnr,auroc,dtacc,auin,auout]": list(p.arpl(known, unknown).values()),
        "arpl_oscr": [p.arpl_oscr(known, right, unknown)],
        "clipn_cal_auc_fpr[auroc,fpr]": [auroc, p.fpr95_id_linear(known, unknown)],
        "mcm_get_measures[auroc,aupr,fpr]": [auroc, both[0], nearest],
        "neglabel_evaluate_all[auroc,aupr_in,aupr_out,fpr]": [auroc, *both, nearest],
        "openood_ccr_fpr10": [d.ccr_at_fpr(known, right, unknown, 0.1)],
        "openood_compute_all_metrics[fpr,auroc,aupr_in,aupr_out,acc]": [
            *(f(known, unknown) for f in openood), right.mean(),
        ],
        "openood_fpr_recall_id_positive": [d.fpr95_id(known, unknown)],
        "torch_uncertainty_fpr95_ood": [p.fpr95_ood_nearest(known, unknown)],
    }  # fmt: skip


def test_parity_with_six_repositories():
    tensors = golden("metrics")
    sets = sorted({key.split("/")[0] for key in tensors})
    assert len(sets) == 12
    for name in sets:
        known, unknown = tensors[f"{name}/id"], tensors[f"{name}/ood"]
        right = tensors[f"{name}/id_pred"] == tensors[f"{name}/id_label"]
        compared = 0
        for figure, ours in figures(known, unknown, right).items():
            if f"{name}/{figure}" in tensors:
                within = 1e-6 if figure.startswith("torch_uncertainty") else 1e-12
                np.testing.assert_allclose(ours, np.atleast_1d(tensors[f"{name}/{figure}"]), rtol=0, atol=within)
                compared += 1
        assert compared >= 8


def test_the_official_curve_without_straight_vertices():
    for known, official, strict in (([0, 1, 2, 9, 9], 0.6, 0.4), ([0, 1, 2, 3, 9], 0.8, 0.4)):
        unknown = [0.0] * 37 + known[1:4]
        assert published.fpr95_ood_official(known, unknown) == official
        assert detection.fpr95_ood(known, unknown) == strict
