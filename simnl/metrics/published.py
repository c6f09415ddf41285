"""Definitions of other repositories, to compare with figures that they published. Our own are in the other modules.

Detection: scores of known images (n,) and of unknown ones (m,), larger = known, as in `detection`. Calibration:
confidences (N,) and whether the prediction is right (N,), as in `calibration`. Calibrators: logits (N, C) float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from simnl.metrics.detection import RECALL, Floats, Integers, checked, curve, roc, trapezoid

NEIGHBOURS = 5  # of DAC
SAME_TEXT = 0.05  # Euclidean distance below which a class counts as one of those that were trained on

# ---------------------------------------------------------------------- detection


def fpr95_id_nearest(known: ArrayLike, unknown: ArrayLike, recall: float = RECALL) -> float:
    """F at the recall nearest to 0.95, which may lie below it. Source: MCM, NegLabel, LoCoOp (`fpr_and_fdr_at_recall`).

    Thresholds are tried from the largest one that accepts all known images upwards; the first nearest is taken.
    """
    c = curve(known, unknown)
    last = int((c.known == c.n).argmax())
    distances = np.abs(c.known[last::-1] / c.n - recall)
    return int(c.unknown[last - int(distances.argmin())]) / c.m


def fpr95_id_linear(known: ArrayLike, unknown: ArrayLike, recall: float = RECALL) -> float:
    """F interpolated at a recall of 0.95; where a vertex has it exactly, the largest F with it. Source: CLIPN."""
    rejected, reached = roc(known, unknown)
    last = int(np.flatnonzero(reached <= recall)[-1])
    if reached[last] == recall:
        return float(rejected[last])
    slope = (rejected[last + 1] - rejected[last]) / (reached[last + 1] - reached[last])
    return float(rejected[last] + slope * (recall - reached[last]))


def fpr95_ood_nearest(known: ArrayLike, unknown: ArrayLike, recall: float = RECALL) -> float:
    """`fpr95_id_nearest` with the roles exchanged. Source: Torch-Uncertainty."""
    known, unknown = checked(known, unknown)
    return fpr95_id_nearest(-unknown, -known, recall)


def fpr95_ood_official(known: ArrayLike, unknown: ArrayLike, recall: float = RECALL) -> float:
    """`fpr95_ood` on a curve without the vertices on straight lines; larger than it with some ties. Source: OpenOOD."""
    known, unknown = checked(known, unknown)
    c = curve(-unknown, -known)
    caught, lost = c.known, c.unknown
    bends = (np.diff(caught, 2) != 0) | (np.diff(lost, 2) != 0)
    kept = np.r_[True, bends, True] if len(caught) > 1 else np.array([True])
    caught, lost = np.r_[0, caught[kept]], np.r_[0, lost[kept]]
    return int(lost[int((caught / c.n >= recall).argmax())]) / c.m


def aupr_in_trapezoid(known: ArrayLike, unknown: ArrayLike) -> float:
    """Trapezoid through recall and precision, from recall 0 at precision 1. Source: OpenOOD."""
    c = curve(known, unknown)
    return trapezoid(np.r_[1.0, c.known / (c.known + c.unknown)], np.r_[0, c.known] / c.n)


def aupr_out_trapezoid(known: ArrayLike, unknown: ArrayLike) -> float:
    """The area of `aupr_in_trapezoid` with unknown images positive. Source: OpenOOD."""
    known, unknown = checked(known, unknown)
    return aupr_in_trapezoid(-unknown, -known)


def kept_one_by_one(known: ArrayLike, unknown: ArrayLike) -> tuple[Integers, Integers]:
    """Known and unknown images still kept while images go one by one by rising score, (n + m + 1,) each.

    Of equal scores the known image goes first.
    """
    known, unknown = checked(known, unknown)
    is_known = np.r_[np.ones(len(known), bool), np.zeros(len(unknown), bool)]
    order = np.lexsort((~is_known, np.concatenate([known, unknown])))
    gone = np.r_[0, np.cumsum(is_known[order])]
    return len(known) - gone, len(unknown) - (np.arange(len(order) + 1) - gone)


def arpl(known: ArrayLike, unknown: ArrayLike) -> dict[str, float]:
    """TNR, AUROC, DTACC, AUIN and AUOUT in percent, in which ties count against the score. Source: ARPL, NegPrompt."""
    (tp, fp), (a, b) = kept_one_by_one(known, unknown), checked(known, unknown)
    n, m = len(a), len(b)
    recall, false = tp / n, fp / m
    some = tp + fp > 0
    inside = (np.r_[1, recall[some], 0], np.r_[0.5, tp[some] / (tp + fp)[some], 0])
    gone = n - tp + m - fp
    out = gone > 0
    outside = (np.r_[0, (1 - false)[out], 1], np.r_[0, (m - fp)[out] / gone[out], 0.5])
    return {
        "tnr": 100 * (1 - false[int(np.abs(recall - RECALL).argmin())]),
        "auroc": -100 * trapezoid(np.r_[recall, 0], np.r_[false, 0]),
        "dtacc": 50 * float((recall + 1 - false).max()),
        "auin": -100 * trapezoid(inside[1], inside[0]),
        "auout": 100 * trapezoid(outside[1], outside[0]),
    }


def arpl_oscr(known: ArrayLike, right: ArrayLike, unknown: ArrayLike) -> float:
    """OSCR in which the image at a threshold counts as rejected if known, and as accepted if unknown. Source: ARPL.

    right: whether a known image gets its class, (n,). The order among equal scores, which is undefined there, is that
    of the arguments here.
    """
    known, unknown = checked(known, unknown)
    n, m = len(known), len(unknown)
    order = np.argsort(np.concatenate([known, unknown]), kind="stable")
    hits = np.r_[np.asarray(right, bool), np.zeros(m, bool)][order]
    strangers = np.r_[np.zeros(n, bool), np.ones(m, bool)][order]
    above = np.cumsum(hits[::-1])[::-1] - hits
    at_least = np.cumsum(strangers[::-1])[::-1]
    points = np.stack([np.r_[at_least[:-1] / m, 0, 0, 1], np.r_[above[:-1] / n, 0, 0, 1]])
    rate, correct = points[:, np.lexsort((points[1], points[0]))]
    return trapezoid(correct, rate)


# ---------------------------------------------------------------------- calibration


def clip_calibration(confidence: Floats, right: ArrayLike, bins: int) -> tuple[float, float]:
    """ECE and the largest term of ECE, which is called MCE there, as shares. Source: CLIP_Calibration (DAC).

    Bins are [k/B, (k+1)/B). In the ECE a confidence of exactly 1 adds to the weight of the last bin, but neither to its
    accuracy nor to its mean confidence; in the MCE it belongs to the last bin.
    """
    edges = np.linspace(0, 1, bins + 1)
    weights = np.histogram(confidence, edges)[0] / len(confidence)
    index, right = np.digitize(confidence, edges) - 1, np.asarray(right, bool)
    open_ended, closed = (_gaps(confidence, right, i, bins) for i in (index, np.minimum(index, bins - 1)))
    return float((weights * open_ended).sum()), float((weights * closed).max())


def torchmetrics(confidence: Floats, right: ArrayLike, bins: int) -> dict[str, float]:
    """l1 (ECE), max (MCE) and l2 with confidences and edges in float32 and [k/B, (k+1)/B). Source: torchmetrics."""
    single = np.asarray(confidence, np.float32)
    index = np.searchsorted(np.linspace(0, 1, bins + 1, dtype=np.float32), single, side="right") - 1
    shares = np.bincount(index, minlength=bins + 1) / len(single)
    gaps = _gaps(single.astype(np.float64), np.asarray(right, bool), index, bins + 1)
    l2 = float(np.sqrt((shares * gaps**2).sum()))
    return {"l1": float((shares * gaps).sum()), "max": float(gaps.max()), "l2": l2}


def _gaps(confidence: Floats, right: Floats, index: Integers, bins: int) -> Floats:
    """|mean right - mean confidence| of each bin, 0 of an empty one, (bins,)."""
    inside = index < bins
    counts = np.bincount(index[inside], minlength=bins)
    sums = np.bincount(index[inside], weights=(right - confidence)[inside], minlength=bins)
    return np.abs(sums / np.maximum(counts, 1))


# ---------------------------------------------------------------------- calibrators


def dac_factors(
    base_frozen: Floats, base_tuned: Floats, frozen: Floats, tuned: Floats, neighbours: int = NEIGHBOURS
) -> Floats:
    """What the logits of an image are multiplied by if it is predicted to be of a class, (C,). Source: DAC, ICML 2024.

    A class whose text has moved away from those of the trained classes gets a factor below 1. d is the mean of the
    distances to the nearest texts of trained classes (their sum over k, where there are fewer than k), and the factor
    exp(d before - d after); 1 for a trained class.

    Args:
        base_frozen, base_tuned: unit texts of the trained classes, before and after training, (B, D).
        frozen, tuned: the same texts of the classes to test, (C, D).
        neighbours: k.
    """
    before, _ = _distances(frozen, base_frozen, neighbours)
    after, nearest = _distances(tuned, base_tuned, neighbours)
    return np.where(nearest < SAME_TEXT, 1.0, np.exp(before - after))


def _distances(texts: Floats, base: Floats, neighbours: int) -> tuple[Floats, Floats]:
    from scipy.spatial.distance import cdist  # imported here: every run imports this module, and few take distances

    distances = np.sort(cdist(texts, base), axis=1)
    return distances[:, :neighbours].sum(1) / neighbours, distances[:, 0]


def dac(logits: Floats, factors: Floats) -> Floats:
    """Logits times the factor of the predicted class, (N, C)."""
    return logits * factors[logits.argmax(1)][:, None]
