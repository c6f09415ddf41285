"""Few-shot curves.

The average is over the standard data sets alone, never over one's own; that of a method at a number of shots is drawn
where all of them have it.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simnl.results.plots import style
from simnl.results.plots.series import (
    Kind,
    average,
    few_enough,
    is_own,
    panel_name,
    panel_of,
    standard_runs,
    stats,
)
from simnl.results.published import AVERAGE, ORDER, ZEROSHOT, published_accuracy, same_weights, sources_of
from simnl.results.stats import mean
from simnl.results.tables.common import fewer_images
from simnl.results.tables.model import Stat
from simnl.runs.names import display_name

Points = dict[tuple[str, str, int], Stat]  # (panel, method, shots) -> figure


def _draw(title: str, records: list[dict], ci: str, wanted: style.Wanted) -> dict[str, Figure]:
    if len({(r["method"], r["shots"]) for r in records}) < 2:  # one point is no curve
        return {}
    table = stats(records, lambda r: (panel_of(r), r["method"], 0 if r["method"] == ZEROSHOT else r["shots"]), ci)
    methods = few_enough({(m, (p, k)): cell.mean for (p, m, k), cell in table.items()}, wanted.curves, title)
    table = {place: cell for place, cell in table.items() if place[1] in methods}
    shots = sorted({k for _, _, k in table} - {0})
    panels = sorted({panel for panel, _, _ in table})
    averaged = sorted({panel_of(r) for r in records if not is_own(r)} & set(panels))
    if len(averaged) > 1:
        table |= averages(table, averaged)
        panels = [AVERAGE, *panels]
    others = published(records, methods, shots, averaged) if wanted.published else {}
    looks = [(display_name(m), style.method_style(m)) for m in methods]
    also = [m for m in methods if m in {method for _, method, _ in others}]
    looks += [(f"{display_name(m)}, published", _look_of_published(m)) for m in also]
    about = "\n".join([title, style.statistics(table.values()), *fewer_images(records)])

    def fill(ax: Axes, panel: str) -> None:
        name = f"average of {len(averaged)}" if panel == AVERAGE else panel_name(panel)
        ax.set_title(style.panel_title(name, len(panels)))
        _panel(ax, _of(panel, table), _of(panel, others), methods, shots)

    return {title: style.panelled(panels, looks, about, fill)}


def averages(table: Points, panels: Sequence[str]) -> Points:
    """The average over panels of each method and number of shots that all of them have."""
    found = {}
    for _, method, k in table:
        parts = [table[panel, method, k] for panel in panels if (panel, method, k) in table]
        if len(parts) == len(panels):
            found[AVERAGE, method, k] = average(parts)
    return found


def published(records: Sequence[dict], methods: Sequence[str], shots: Sequence[int], averaged: Sequence[str]) -> Points:
    """Published figures of the same backbone, weights, methods and shots; each panel, and their average where all of
    its data sets have one."""
    if not same_weights(records):
        return {}
    panels = {panel_of(r): r["dataset"] for r in records if not is_own(r)}
    found: Points = {}
    for method in methods:
        for k in [0] if method == ZEROSHOT else shots:
            figures = published_accuracy(method, records[0]["backbone"], k, sources_of(ORDER))
            values = {panel: figures[name].accuracy for panel, name in panels.items() if name in figures}
            found |= {(panel, method, k): Stat({0: value}) for panel, value in values.items()}
            if len(averaged) > 1 and set(averaged) <= set(values):
                found[AVERAGE, method, k] = Stat({0: mean([values[panel] for panel in averaged])})
    return found


def _look_of_published(method: str) -> dict:
    look = style.method_style(method)
    return {**look, **style.PUBLISHED, "markeredgecolor": look["color"]}


def _of(panel: str, table: Points) -> dict[tuple[str, int], Stat]:
    return {(m, k): cell for (p, m, k), cell in table.items() if p == panel}


def _panel(ax: Axes, ours: dict, others: dict, methods: Sequence[str], shots: Sequence[int]) -> None:
    for table, look_of in ((others, _look_of_published), (ours, style.method_style)):
        for method in methods:
            own = [k for k in [0, *shots] if (method, k) in table]
            look = look_of(method)
            if own == [0]:
                line = {key: look[key] for key in ("color", "linestyle", "linewidth")}
                ax.axhline(table[method, 0].mean, zorder=1, **line)
            if own:
                style.curve(ax, [style.shot_position(k) for k in own], [table[method, k] for k in own], **look)
    style.limit(ax, [*ours.values(), *others.values()])
    style.shot_axis(ax, shots or [1], zero=ZEROSHOT in methods)
    if not ours:
        ax.text(0.5, 0.5, "no method has all data sets", ha="center", va="center", transform=ax.transAxes)


fewshot = Kind(  # a panel per data set and the average first; runs with wrong labels are in the noise curves
    what="few-shot curves",
    usable=standard_runs,
    draw=_draw,
    needed="no runs of a standard config that differ in method or shots",
    command="bash scripts/benchmark.sh fewshot",
)
