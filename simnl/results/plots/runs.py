"""Figures of one run: its confusion matrix, and a map of its test features with the method's prototypes."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from torch import Tensor

from simnl.escaping import figure_text
from simnl.fewshot.cache import class_negative_keys
from simnl.results.plots import style
from simnl.results.plots.reload import Run, one_run, reload, title_of_run

CONFUSION_CLASSES, MAP_CLASSES = 40, 7
PROTOTYPES = {  # kind -> marker; text prototypes are large, those of images smaller
    "text": ("*", 260), "negative text": ("X", 130), "image": ("D", 80), "negative image": ("P", 130),
}  # fmt: skip
SEED = 0


@matplotlib.rc_context(style.RC)
def confusion(records: Sequence[dict], classes: int = 0, **_) -> dict[str, Figure]:
    """Share of predictions (columns) among the test images of a class (rows), in percent.

    Args:
        records: the record of one run.
        classes: the most classes that are shown, those with the lowest accuracy (default 40). The columns are the same
            classes, so rows may add up to less than 100 %.
    """
    run = reload(one_run(records, "confusion"))
    matrix = confusion_matrix(run.logits.argmax(1), run.labels, len(run.classnames))
    wanted = classes or CONFUSION_CLASSES
    worst = torch.argsort(matrix.diagonal(), stable=True)[:wanted].sort().values.tolist()
    title = _title(run, f"{len(worst)} of {len(matrix)} classes, the least accurate" if wanted < len(matrix) else "")
    return {title: _draw_confusion(matrix[worst][:, worst].numpy(), _names(run, worst), title)}


def confusion_matrix(predictions: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """(C, C) float64, percent: row = true class, column = prediction; a class without images has a row of zeros."""
    counts = torch.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    counts = counts.view(num_classes, num_classes).double()
    return 100 * counts / counts.sum(1, keepdim=True).clamp(min=1)


def _draw_confusion(matrix: np.ndarray, names: Sequence[str], title: str) -> Figure:
    size = max(4.6, 0.19 * len(names) + 2.6)
    figure = style.titled_figure(title, size + 0.6, size)
    ax = figure.subplots()
    image = ax.imshow(matrix, cmap="Blues", norm=PowerNorm(0.5, 0, 100), interpolation="nearest")
    ax.grid(False)
    ax.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    ax.set_yticks(range(len(names)), names, fontsize=7)
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class")
    if len(names) <= 12:
        for (row, column), value in np.ndenumerate(matrix):
            if value >= 0.5:
                ax.text(column, row, f"{value:.0f}", ha="center", va="center", color="w" if value > 25 else "k")
    figure.colorbar(image, ax=ax, label="% of the class's images", shrink=0.8, ticks=[0, 5, 10, 25, 50, 75, 100])
    return figure


@matplotlib.rc_context(style.RC)
def features(records: Sequence[dict], classes: int = 0, projection: str = "tsne", **_) -> dict[str, Figure]:
    """Test features of a run in two dimensions, coloured by class, with the prototypes of these classes.

    Prototypes: the text classifiers (as learned, where a method has them) and the class means of the cache keys; of
    SimNL the negative text classifiers and negative keys too. In CLIP's space texts, images and negatives are
    far from each other, so each kind is centred over all classes and scaled to unit length before the projection: what
    is seen is where a class lies among the others of its kind.

    Args:
        records: the record of one run.
        classes: the most classes that are shown (default 7), evenly spaced in the data set's order.
        projection: pca or tsne, seeded.

    Raises:
        ValueError: a method that changes the image tower.
    """
    run = reload(one_run(records, "features"))
    if not len(run.features):
        raise ValueError(f"{run.record['method']} changes the image tower: a map of its features is not drawn.")
    count = len(run.classnames)
    wanted = min(count, classes or MAP_CLASSES)
    shown = [i * count // wanted for i in range(wanted)]
    place = {label: i for i, label in enumerate(shown)}
    keep = torch.tensor([int(label) in place for label in run.labels])
    labels = [place[int(label)] for label in run.labels[keep]]
    kinds = {kind: centred(rows)[shown] for kind, rows in prototypes(run).items()}
    flat = project(torch.cat([centred(run.features)[keep], *kinds.values()]), projection)
    maps = dict(zip(kinds, flat[len(labels) :].reshape(len(kinds), len(shown), 2), strict=True))
    title = _title(run, f"{wanted} of {count} classes" if wanted < count else "")
    return {title: _draw_map(flat[: len(labels)], labels, maps, _names(run, shown), title)}


def prototypes(run: Run) -> dict[str, Tensor]:
    """Rows (C, D) by kind; of a head that learned them as they are at test."""
    head, task = run.trainer.head, run.trainer.task
    keys, classes, count = task.cache_keys(), task.support_labels, task.num_classes
    with torch.no_grad():
        has_text, has_negative = (callable(getattr(head, n, None)) for n in ("positive_text", "negative_text"))
        rows = {}
        if has_text or "template" in task.prompts:
            rows["text"] = head.positive_text() if has_text else task.text_features("template")
        if has_negative:
            rows["negative text"] = head.negative_text()
        if len(keys):
            sums = keys.new_zeros(count, keys.shape[1]).index_add(0, classes, keys)
            rows["image"] = F.normalize(sums, dim=-1)
        if len(keys) and has_negative:
            rows["negative image"] = class_negative_keys(keys, classes, count)
    return {kind: rows.float().cpu() for kind, rows in rows.items()}


def centred(rows: Tensor) -> Tensor:
    """Unit rows, less their mean, to unit length again, (n, D)."""
    unit = F.normalize(rows, dim=-1)
    return F.normalize(unit - unit.mean(0), dim=-1)


def project(rows: Tensor, projection: str) -> np.ndarray:
    """(n, D) to (n, 2), the same each time.

    Raises:
        ValueError: an unknown projection; ModuleNotFoundError: scikit-learn is not installed.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    data = rows.double().numpy()
    if projection == "pca":
        return PCA(2, random_state=SEED).fit_transform(data)
    if projection == "tsne":
        return TSNE(2, init="pca", perplexity=min(30, len(data) // 4), random_state=SEED).fit_transform(data)
    raise ValueError(f"Unknown projection '{projection}'. Choose pca or tsne.")


def _names(run: Run, labels: Sequence[int]) -> list[str]:
    return [figure_text(run.classnames[label]) for label in labels]


def _title(run: Run, shown: str) -> str:
    accuracy = 100 * (run.logits.argmax(1) == run.labels).double().mean().item()
    return title_of_run(run.record, f"{accuracy:.2f} %", shown)


def _draw_map(points: np.ndarray, labels: Sequence[int], maps: dict, names: Sequence[str], title: str) -> Figure:
    figure = style.titled_figure(title, 6.4, 6.2)
    ax = figure.subplots()
    looks = [style.numbered_style(number) for number in range(len(names))]
    for number, look in enumerate(looks):
        mine = points[np.array(labels) == number]
        ax.scatter(mine[:, 0], mine[:, 1], s=11, color=look["color"], marker=look["marker"], alpha=0.45, linewidths=0)
    handles = [style.handle(**{**look, "linestyle": "none"}) for look in looks]
    for kind, rows in maps.items():
        marker, size = PROTOTYPES[kind]
        colours = [look["color"] for look in looks]
        across, up = rows.T
        ax.scatter(across, up, s=size, c=colours, marker=marker, edgecolors="black", linewidths=0.8, zorder=3)
        for number, (x, y) in enumerate(rows, 1):  # the number inside tells the class where colours do not
            ax.text(x, y, str(number), ha="center", va="center_baseline", fontsize=5.5, color="white", zorder=4)
        plain = {"color": "white", "markeredgecolor": "black", "linestyle": "none"}
        handles.append(style.handle(marker=marker, markersize=size**0.5 * 0.7, **plain))
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(True)
    numbered = [f"{number} {name}" for number, name in enumerate(names, 1)]
    style.legend_below(figure, handles, [*numbered, *(f"{kind} prototype" for kind in maps)])
    return figure
