"""Figures of one run, of its trained head: its confusion matrix, and a map of its test features with the prototypes.

The head is loaded from the run's folder and applied to the test images again; nothing is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from torch import Tensor

from simnl.escaping import figure_text
from simnl.fewshot.cache import class_negative_keys
from simnl.results.plots.drawing import legend_below, titled_figure
from simnl.results.plots.series import Wanted, title_of_run
from simnl.results.plots.style import numbered_style
from simnl.runs.reload import reload_trainer

CONFUSION_CLASSES, MAP_CLASSES = 40, 7
PROTOTYPES = {  # kind -> marker; text prototypes are large, those of images smaller
    "text": ("*", 260), "negative text": ("X", 130), "image": ("D", 80), "negative image": ("P", 130),
}  # fmt: skip
SEED = 0


class Run(NamedTuple):
    """What a run left, and what its head says of the M test images: the `VLTrainer` with the head loaded, raw test
    features (M, D), which are empty for a method that changes the image tower, logits (M, C), and labels (M,)."""

    record: dict
    trainer: Any
    features: Tensor
    logits: Tensor
    labels: Tensor

    def names(self, labels: Sequence[int]) -> list[str]:
        """The names of classes, without formulas."""
        return [figure_text(self.trainer.lab2cname[label]) for label in labels]

    def title(self, shown: str) -> str:
        """The title of a figure, with the accuracy and which classes are `shown`."""
        accuracy = 100 * (self.logits.argmax(1) == self.labels).double().mean().item()
        return title_of_run(self.record, f"{accuracy:.2f} %", shown)


def reload(record: dict) -> Run:
    """Load the head of a run and apply it to the test images; their features come from the store.

    Raises:
        FileNotFoundError, ValueError: see `reload_trainer`.
    """
    trainer = reload_trainer(record)
    features, logits, labels = [], [], []
    with torch.no_grad():
        for batch in trainer.test_loader:
            inputs, truth = trainer.parse_batch_test(batch)
            logits.append(trainer.model_inference(inputs).float().cpu())
            labels.append(truth.cpu())
            if trainer.image_encoder_frozen:
                features.append(inputs.float().cpu())
    rows = torch.cat(features) if features else torch.empty(0, 0)
    return Run(record, trainer, rows, torch.cat(logits), torch.cat(labels))


def confusion(record: dict, wanted: Wanted) -> tuple[str, Figure]:
    """Share of predictions (columns) among the test images of a class (rows), in percent.

    The classes are those with the lowest accuracy. The columns are the same classes, so rows may add up to less than
    100 %.
    """
    run = reload(record)
    matrix = confusion_matrix(run.logits.argmax(1), run.labels, run.trainer.num_classes)
    most = wanted.classes or CONFUSION_CLASSES
    worst = torch.argsort(matrix.diagonal(), stable=True)[:most].sort().values.tolist()
    title = run.title(f"{len(worst)} of {len(matrix)} classes, the least accurate" if most < len(matrix) else "")
    return title, _draw_confusion(matrix[worst][:, worst].numpy(), run.names(worst), title)


def confusion_matrix(predictions: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """(C, C) float64, percent: row = true class, column = prediction; a class without images has a row of zeros."""
    counts = torch.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    counts = counts.view(num_classes, num_classes).double()
    return 100 * counts / counts.sum(1, keepdim=True).clamp(min=1)


def _draw_confusion(matrix: np.ndarray, names: Sequence[str], title: str) -> Figure:
    size = max(4.6, 0.19 * len(names) + 2.6)
    figure = titled_figure(title, size + 0.6, size)
    ax = figure.subplots()
    image = ax.imshow(matrix, cmap="Blues", norm=PowerNorm(0.5, 0, 100), interpolation="nearest")
    ax.grid(False)
    ax.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    ax.set_yticks(range(len(names)), names, fontsize=7)
    ax.set(xlabel="predicted class", ylabel="true class")
    if len(names) <= 12:
        for (row, column), value in np.ndenumerate(matrix):
            if value >= 0.5:
                ax.text(column, row, f"{value:.0f}", ha="center", va="center", color="w" if value > 25 else "k")
    figure.colorbar(image, ax=ax, label="% of the class's images", shrink=0.8, ticks=[0, 5, 10, 25, 50, 75, 100])
    return figure


def features(record: dict, wanted: Wanted) -> tuple[str, Figure]:
    """Test features of a run in two dimensions, coloured by class, with the prototypes of these classes.

    Prototypes: the text classifiers (as learned, where a method has them) and the class means of the cache keys; of
    SimNL the negative text classifiers and negative keys too. In CLIP's space texts, images and negatives are
    far from each other, so each kind is centred over all classes and scaled to unit length before the projection: what
    is seen is where a class lies among the others of its kind. The classes are evenly spaced in the data set's order.

    Raises:
        ValueError: a method that changes the image tower.
    """
    run = reload(record)
    if not len(run.features):
        raise ValueError(f"{record['method']} changes the image tower: a map of its features is not drawn.")
    count = run.trainer.num_classes
    most = min(count, wanted.classes or MAP_CLASSES)
    shown = [i * count // most for i in range(most)]
    keep = torch.isin(run.labels, torch.tensor(shown))
    labels = np.array([shown.index(label) for label in run.labels[keep].tolist()])
    kinds = {kind: centred(rows)[shown] for kind, rows in prototypes(run).items()}
    flat = project(torch.cat([centred(run.features)[keep], *kinds.values()]), wanted.projection)
    maps = dict(zip(kinds, flat[len(labels) :].reshape(len(kinds), len(shown), 2), strict=True))
    title = run.title(f"{most} of {count} classes" if most < count else "")
    return title, _draw_map(flat[: len(labels)], labels, maps, run.names(shown), title)


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
    """(n, D) to (n, 2) by `pca` or `tsne`, the same each time.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    data = rows.double().numpy()
    if projection == "pca":
        return PCA(2, random_state=SEED).fit_transform(data)
    return TSNE(2, init="pca", perplexity=min(30, len(data) // 4), random_state=SEED).fit_transform(data)


def _draw_map(points: np.ndarray, labels: np.ndarray, maps: dict, names: Sequence[str], title: str) -> Figure:
    figure = titled_figure(title, 6.4, 6.2)
    ax = figure.subplots()
    looks = [numbered_style(number) for number in range(len(names))]
    for number, look in enumerate(looks):
        across, up = points[labels == number].T
        ax.scatter(across, up, s=11, color=look["color"], marker=look["marker"], alpha=0.45, linewidths=0)
    legend = [(f"{n} {name}", {**numbered_style(n - 1), "linestyle": "none"}) for n, name in enumerate(names, 1)]
    for kind, rows in maps.items():
        marker, size = PROTOTYPES[kind]
        colours = [look["color"] for look in looks]
        across, up = rows.T
        ax.scatter(across, up, s=size, c=colours, marker=marker, edgecolors="black", linewidths=0.8, zorder=3)
        for number, (x, y) in enumerate(rows, 1):  # the number inside tells the class where colours do not
            ax.text(x, y, str(number), ha="center", va="center_baseline", fontsize=5.5, color="white", zorder=4)
        plain = {"color": "white", "markeredgecolor": "black", "linestyle": "none"}
        legend.append((f"{kind} prototype", {"marker": marker, "markersize": size**0.5 * 0.7, **plain}))
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(True)
    legend_below(figure, legend)
    return figure
