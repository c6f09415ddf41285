"""Figures of one run, of what its confidence is worth: reliability, and known against unknown classes."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simnl.escaping import figure_text
from simnl.metrics import calibration
from simnl.metrics.detection import auroc, fpr95_id, roc
from simnl.metrics.scores import LOGIT_SCORES
from simnl.results.plots.drawing import titled_figure, wrapped
from simnl.results.plots.series import Wanted, title_of_run
from simnl.results.plots.style import numbered_style
from simnl.runs.calibration import calibrate, plain
from simnl.runs.detection import KNOWN, read_scores
from simnl.runs.logits import TEST, read_logits

HISTOGRAM_BINS = 40


def reliability(record: dict, wanted: Wanted) -> tuple[str, Figure]:
    """Accuracy over confidence on a run's test images, before and after its temperature, with the share of images.

    Raises:
        FileNotFoundError, ValueError: it keeps no usable logits.
    """
    kept = read_logits(record)
    logits, labels = kept.parts[TEST]
    found = calibrate(record, kept)
    maps = {"as it is": plain(), f"temperature {found.temperature.value:.2f}": found}
    if found.note:
        maps = {f"as it is (temperature {found.note})": plain()}
    title = title_of_run(record, "reliability")
    figure = Figure(figsize=(3.7 * len(maps) + 0.4, 4.2), layout="constrained")
    figure.suptitle(wrapped(title, 3.7 * len(maps)))
    for ax, (name, one) in zip(np.atleast_1d(figure.subplots(1, len(maps))), maps.items(), strict=True):
        probabilities = one.apply(logits)
        _draw_reliability(ax, probabilities.max(1), probabilities.argmax(1) == labels, name)
    return title, figure


def _draw_reliability(ax: Axes, confidence: np.ndarray, right: np.ndarray, name: str) -> None:
    bins = calibration.equal_width(confidence, right)
    there, width = bins.counts > 0, 1 / len(bins.counts)
    edges = np.arange(len(bins.counts)) / len(bins.counts)
    ax.bar(edges, bins.shares, width=width, align="edge", color="0.85", label="share of images")
    ax.plot([0, 1], [0, 1], color="0.4", linewidth=0.8, linestyle="--")
    ax.plot(bins.confidence[there], bins.accuracy[there], marker="o", markersize=4, label="accuracy of a bin")
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy, share of images", aspect="equal")
    ax.set_title(f"{wrapped(name, 3.2)}\nECE {100 * calibration.ece(confidence, right):.2f} %", fontsize=9)
    ax.legend(loc="upper left", fontsize=7)


def _scores(record: dict, wanted: Wanted) -> tuple[np.ndarray, dict[str, np.ndarray], str]:
    """The score that was asked for, or the one that the run chose: on known images, on each set of outliers; its name.

    Raises:
        FileNotFoundError, ValueError: the run has no scores of outliers, or none of that name.
    """
    found, chosen = read_scores(record)
    known = found.pop(KNOWN)
    names = [name for name in known if name != "right"]
    name = wanted.score or chosen
    if name not in names:
        first = sorted(names, key=lambda one: (one not in LOGIT_SCORES, one))
        raise ValueError(f"--score: the run has no score '{name}'. Choose one of {', '.join(first)}.")
    return known[name], {figure_text(outliers): values[name] for outliers, values in sorted(found.items())}, name


def roc_curves(record: dict, wanted: Wanted) -> tuple[str, Figure]:
    """ROC of known against unknown classes, a curve for each set of outliers. Errors: as of `_scores`."""
    known, sets, name = _scores(record, wanted)
    title = title_of_run(record, f"known against unknown classes by {name}")
    figure = titled_figure(title, 4.8, 4.9)
    ax = figure.subplots()
    for number, (outliers, values) in enumerate(sets.items()):
        look = {**numbered_style(number), "marker": ""}
        accepted, reached = roc(known, values)
        ax.plot(100 * accepted, 100 * reached, **look, label=f"{outliers}: AUROC {100 * auroc(known, values):.1f} %")
    ax.axhline(95, color="0.6", linewidth=0.8, linestyle=":")
    ax.set(xlim=(0, 100), ylim=(0, 100), xlabel="unknown images accepted, %", ylabel="known images accepted, %")
    ax.legend(loc="lower right", fontsize=7)
    return title, figure


def score_histograms(record: dict, wanted: Wanted) -> tuple[str, Figure]:
    """Histograms of a score on known images and on each set of outliers. Errors: as of `_scores`."""
    known, sets, name = _scores(record, wanted)
    title = title_of_run(record, f"{name} of known and unknown classes")
    finite = np.concatenate([known, *sets.values()])
    edges = np.histogram_bin_edges(finite[np.isfinite(finite)], HISTOGRAM_BINS)
    figure = titled_figure(title, 5.6, 1.5 * len(sets) + 1.2)
    axes = np.atleast_1d(figure.subplots(len(sets), 1, sharex=True))
    for ax, (outliers, values) in zip(axes, sets.items(), strict=True):
        for number, (label, rows) in enumerate({"known": known, outliers: values}.items()):
            weights, colour = np.full(len(rows), 100 / len(rows)), numbered_style(number)["color"]
            ax.hist(rows, edges, weights=weights, alpha=0.55, label=label, color=colour)
        ax.set_ylabel("% of images")
        ax.set_title(f"FPR95 (ID) {100 * fpr95_id(known, values):.1f} %", fontsize=8)
        ax.legend(loc="upper left", fontsize=7)
    axes[-1].set_xlabel(name)
    return title, figure
