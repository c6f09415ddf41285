"""Accuracy on known classes against AUROC of unknown ones, a point per method."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure

from simnl.results.plots import style
from simnl.results.plots.series import titled_settings
from simnl.results.tables.common import shots_title
from simnl.results.tables.ood import detected
from simnl.results.tables.tradeoff import points
from simnl.runs.names import dataset_name, display_name

SIZE = (4.6, 4.2)  # inches of a panel


def tradeoff(
    records: Sequence[dict], ci: str = "t", wanted: style.Wanted = style.USUAL, score: str = "energy"
) -> dict[str, Figure]:
    """A panel for each set of unknown images, by setting, data set and number of shots.

    Args:
        records: of any runs; those that were tested on unknown classes are drawn, all methods of them.
        ci, wanted: not used, as there are no intervals and no curves.
        score: whose AUROC is drawn.

    Raises:
        ValueError: no run was tested on unknown classes, or none has this score.
    """
    figures = {}
    with matplotlib.rc_context(style.RC):
        for setting, group in titled_settings(detected(records)).items():
            for place in sorted({(one["dataset"], one["shots"]) for one in group}):
                found = points([one for one in group if (one["dataset"], one["shots"]) == place], score)
                if found:
                    title = f"{dataset_name(place[0])}, {shots_title(place[1])}, AUROC of {score}, {setting}"
                    figures[title] = _figure(title, found)
    if not figures:
        raise ValueError(f"None of these runs has the score '{score}'. Choose another one with --score, e.g. energy.")
    return figures


def _figure(title: str, sets: dict[str, dict[str, tuple[float, float]]]) -> Figure:
    figure = Figure(figsize=(SIZE[0] * len(sets), SIZE[1]), layout="constrained")
    for ax, (outliers, methods) in zip(figure.subplots(1, len(sets), squeeze=False)[0], sets.items(), strict=True):
        for method, (accuracy, auroc) in methods.items():
            look = style.method_style(method)
            ax.plot(accuracy, auroc, look["marker"], color=look["color"], markersize=6)
            name = style.plain(display_name(method))
            ax.annotate(name, (accuracy, auroc), textcoords="offset points", xytext=(4, 2), fontsize=5.5)
        ax.margins(0.12)
        ax.set(xlabel="accuracy on known classes, %", ylabel="AUROC, %", title=style.plain(outliers))
    figure.suptitle(style.wrapped(title, SIZE[0] * len(sets)))
    return figure
