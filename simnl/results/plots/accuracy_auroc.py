"""Accuracy on known classes against AUROC of unknown ones, a point per method."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simnl.escaping import figure_text
from simnl.results.plots import style
from simnl.results.plots.series import titled_settings
from simnl.results.tables.common import method_order, shots_title
from simnl.results.tables.ood import NONE, detected
from simnl.results.tables.tradeoff import points
from simnl.runs.names import dataset_name, display_name


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
    usable = detected(records)
    if not usable:
        raise ValueError(NONE)
    figures = {}
    with matplotlib.rc_context(style.RC):
        for setting, group in titled_settings(usable).items():
            for place in sorted({(one["dataset"], one["shots"]) for one in group}):
                found = points([one for one in group if (one["dataset"], one["shots"]) == place], score)
                if found:
                    title = f"{dataset_name(place[0])}, {shots_title(place[1])}, AUROC of {score}, {setting}"
                    figures[title] = _figure(title, found)
    if not figures:
        raise ValueError(f"None of these runs has the score '{score}'. Choose another one with --score, e.g. energy.")
    return figures


def _figure(title: str, sets: dict[str, dict[str, tuple[float, float]]]) -> Figure:
    methods = method_order({method for of_set in sets.values() for method in of_set})
    looks = {method: {**style.method_style(method), "linestyle": "none"} for method in methods}

    def draw(ax: Axes, outliers: str) -> None:
        for method, (accuracy, auroc) in sets[outliers].items():
            ax.plot(accuracy, auroc, looks[method]["marker"], color=looks[method]["color"], markersize=6)
        ax.margins(0.12)
        ax.set(xlabel="accuracy on known classes (%)", title=figure_text(outliers))

    names = [(figure_text(display_name(method)), look) for method, look in looks.items()]
    return style.panelled(list(sets), names, title, draw, "AUROC (%)")
