"""Figures of what the confidence of a run is worth: reliability, and known against unknown classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from simnl.escaping import figure_text
from simnl.metrics import calibration
from simnl.metrics.detection import auroc, fpr95_id, roc
from simnl.metrics.scores import LOGIT_SCORES
from simnl.results.plots import style
from simnl.results.plots.reload import one_run, title_of_run
from simnl.runs.calibration import calibrate, plain
from simnl.runs.detection import KNOWN, read_scores
from simnl.runs.logits import TEST, read_logits

HISTOGRAM_BINS = 40


@matplotlib.rc_context(style.RC)
def reliability(records: Sequence[dict], **_) -> dict[str, Figure]:
    """Accuracy over confidence on a run's test images, before and after its temperature, with the share of images.

    Args:
        records: the record of one run.

    Raises:
        FileNotFoundError, ValueError: it keeps no usable logits.
    """
    record = one_run(records, "reliability")
    kept = read_logits(record)
    logits, labels = kept.parts[TEST]
    found = calibrate(record, kept)
    maps = {"as it is": plain(), f"temperature {found.temperature.value:.2f}": found}
    if found.note:
        maps = {f"as it is (temperature {found.note})": plain()}
    title = title_of_run(record, "reliability")
    figure = Figure(figsize=(3.7 * len(maps) + 0.4, 4.2), layout="constrained")
    figure.suptitle(style.wrapped(title, 3.7 * len(maps)))
    for ax, (name, one) in zip(np.atleast_1d(figure.subplots(1, len(maps))), maps.items(), strict=True):
        probabilities = one.apply(logits)
        _draw_reliability(ax, probabilities.max(1), probabilities.argmax(1) == labels, name)
    return {title: figure}


def _draw_reliability(ax, confidence: np.ndarray, right: np.ndarray, name: str) -> None:
    bins = calibration.equal_width(confidence, right)
    there = bins.counts > 0
    edges = np.arange(len(bins.counts)) / len(bins.counts)
    width = 1 / len(bins.counts)
    ax.bar(edges, bins.shares, width=width, align="edge", color="0.85", label="share of images")
    ax.plot([0, 1], [0, 1], color="0.4", linewidth=0.8, linestyle="--")
    ax.plot(bins.confidence[there], bins.accuracy[there], marker="o", markersize=4, label="accuracy of a bin")
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy, share of images", aspect="equal")
    ax.set_title(f"{style.wrapped(name, 3.2)}\nECE {100 * calibration.ece(confidence, right):.2f} %", fontsize=9)
    ax.legend(loc="upper left", fontsize=7)


@matplotlib.rc_context(style.RC)
def roc_curves(records: Sequence[dict], score: str = "", **_) -> dict[str, Figure]:
    """ROC of known against unknown classes, a curve for each set of outliers.

    Args:
        records: the record of one run that was tested on outliers.
        score: the name of the score in detection.json; empty: the one that the run chose.

    Raises:
        FileNotFoundError, ValueError: the run has no scores of outliers, or none of that name.
    """
    record, known, sets, name = _scores(records, "roc", score)
    title = title_of_run(record, f"known against unknown classes by {name}")
    figure = style.titled_figure(title, 4.8, 4.9)
    ax = figure.subplots()
    for number, (outliers, values) in enumerate(sets.items()):
        look = style.numbered_style(number)
        accepted, reached = roc(known, values)
        label = f"{figure_text(outliers)}: AUROC {100 * auroc(known, values):.1f} %"
        ax.plot(100 * accepted, 100 * reached, color=look["color"], linestyle=look["linestyle"], label=label)
    ax.axhline(95, color="0.6", linewidth=0.8, linestyle=":")
    ax.set(xlim=(0, 100), ylim=(0, 100), xlabel="unknown images accepted, %", ylabel="known images accepted, %")
    ax.legend(loc="lower right", fontsize=7)
    return {title: figure}


@matplotlib.rc_context(style.RC)
def score_histograms(records: Sequence[dict], score: str = "", **_) -> dict[str, Figure]:
    """Histograms of a score on known images and on each set of outliers. Arguments and errors: as of `roc_curves`."""
    record, known, sets, name = _scores(records, "scores", score)
    title = title_of_run(record, f"{name} of known and unknown classes")
    finite = np.concatenate([known, *sets.values()])
    finite = finite[np.isfinite(finite)]
    edges = np.histogram_bin_edges(finite, HISTOGRAM_BINS)
    figure = style.titled_figure(title, 5.6, 1.5 * len(sets) + 1.2)
    axes = np.atleast_1d(figure.subplots(len(sets), 1, sharex=True))
    for ax, (outliers, values) in zip(axes, sets.items(), strict=True):
        for rows, label, number in ((known, "known", 0), (values, figure_text(outliers), 1)):
            weights, colour = np.full(len(rows), 100 / len(rows)), style.numbered_style(number)["color"]
            ax.hist(rows, edges, weights=weights, alpha=0.55, label=label, color=colour)
        ax.set_ylabel("% of images")
        ax.set_title(f"FPR95 (ID) {100 * fpr95_id(known, values):.1f} %", fontsize=8)
        ax.legend(loc="upper left", fontsize=7)
    axes[-1].set_xlabel(name)
    return {title: figure}


def _scores(records: Sequence[dict], kind: str, score: str) -> tuple[dict, np.ndarray, Mapping[str, np.ndarray], str]:
    """The record, the scores of known images, those of each set of outliers, and the score's name."""
    record = one_run(records, kind)
    found, chosen = read_scores(record)
    known = found.pop(KNOWN)
    names = [name for name in known if name != "right"]
    name = score or chosen
    if name not in names:
        first = sorted(names, key=lambda one: (one not in LOGIT_SCORES, one))
        raise ValueError(f"--score: the run has no score '{name}'. Choose one of {', '.join(first)}.")
    return record, known[name], {outliers: values[name] for outliers, values in sorted(found.items())}, name
