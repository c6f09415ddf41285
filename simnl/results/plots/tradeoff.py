"""Accuracy on known classes against AUROC of unknown ones, a point per method."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simnl.escaping import figure_text
from simnl.results.plots import style
from simnl.results.plots.series import Kind, by_place
from simnl.results.tables.common import method_order
from simnl.results.tables.ood import detected, points
from simnl.runs.names import display_name


def _draw(title: str, records: Sequence[dict], ci: str, wanted: style.Wanted) -> Figure | None:
    """A panel for each set of unknown images; all methods are drawn."""
    sets = points(records, wanted.score)
    methods = method_order({method for of_set in sets.values() for method in of_set})
    looks = {method: {**style.method_style(method), "linestyle": "none"} for method in methods}

    def fill(ax: Axes, outliers: str) -> None:
        for method, (accuracy, auroc) in sets[outliers].items():
            ax.plot(accuracy, auroc, looks[method]["marker"], color=looks[method]["color"], markersize=6)
        ax.margins(0.12)
        ax.set(xlabel="accuracy on known classes (%)", title=figure_text(outliers))

    names = [(figure_text(display_name(method)), look) for method, look in looks.items()]
    return style.panelled(list(sets), names, title, fill, label=f"AUROC of {wanted.score} (%)") if sets else None


tradeoff = Kind(
    what="accuracy against AUROC",
    usable=detected,
    draw=_draw,
    needed="no run was tested on unknown classes, or none has the score '{score}' (--score names another, e.g. energy)",
    command="bash scripts/simnl/ood.sh shapes 16",
    apart=by_place,
)
