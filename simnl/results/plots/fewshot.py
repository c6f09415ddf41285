"""Few-shot curves."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simnl.results.plots import style
from simnl.results.plots.series import average, nothing, panel_of, stats, titled_settings
from simnl.results.published import AVERAGE, ZEROSHOT
from simnl.results.tables.common import fewer_images, method_order
from simnl.results.tables.model import Stat


def fewshot(records: Sequence[dict], ci: str = "t") -> dict[str, Figure]:
    """Few-shot curves, one panel per data set and the average first; one figure per setting, under its description.
    Runs with wrong labels are in the noise curves.

    The average of a method at a number of shots is drawn where all data sets of the figure have it.

    Raises:
        ValueError: no two points of a curve.
    """
    standard = [r for r in records if not r.get("options") and not r.get("label_noise")]
    figures = {}
    with matplotlib.rc_context(style.RC):
        for title, group in titled_settings(standard).items():
            if len({(r["method"], r["shots"]) for r in group}) > 1:  # one point is no curve
                figures[title] = _figure(title, group, ci)
    if not figures:
        needed = "no runs of a standard config that differ in method or shots"
        raise nothing("few-shot curves", needed, "bash scripts/benchmark.sh fewshot")
    return figures


def _figure(title: str, records: Sequence[dict], ci: str) -> Figure:
    table = stats(records, lambda r: (panel_of(r), r["method"], 0 if r["method"] == ZEROSHOT else r["shots"]), ci)
    data_sets = sorted({panel for panel, _, _ in table})
    methods = method_order(method for _, method, _ in table)
    shots = sorted({k for _, _, k in table} - {0})
    if len(data_sets) > 1:
        for method in methods:
            for k in [0, *shots]:
                parts = [table.get((panel, method, k)) for panel in data_sets]
                if all(parts):
                    table[AVERAGE, method, k] = average(parts)
        data_sets = [AVERAGE, *data_sets]
    about = "\n".join([title, style.statistics(table.values()), *fewer_images(records)])
    figure, axes = style.panels(len(data_sets), methods, about)
    for panel, ax in zip(data_sets, axes, strict=True):
        ax.set_title(
            f"average of {len(data_sets) - 1}" if panel == AVERAGE else style.panel_title(panel, len(data_sets))
        )
        _panel(ax, {(m, k): cell for (p, m, k), cell in table.items() if p == panel}, methods, shots)
    style.label_rows(axes)
    style.legend_below(figure, [style.handle(**style.method_style(m)) for m in methods], methods)
    return figure


def _panel(ax: Axes, table: dict[tuple[str, int], Stat], methods: Sequence[str], shots: Sequence[int]) -> None:
    for method in methods:
        own = [k for k in [0, *shots] if (method, k) in table]
        look = style.method_style(method)
        if own == [0]:
            level = table[method, 0].mean
            ax.axhline(level, color=look["color"], linestyle=look["linestyle"], linewidth=look["linewidth"], zorder=1)
        if own:
            style.curve(ax, [style.shot_position(k) for k in own], [table[method, k] for k in own], **look)
    style.limit(ax, table.values())
    style.shot_axis(ax, shots or [1], zero=ZEROSHOT in methods)
    if not table:
        ax.text(0.5, 0.5, "no method has all data sets", ha="center", va="center", transform=ax.transAxes)
