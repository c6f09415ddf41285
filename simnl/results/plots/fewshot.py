"""Few-shot curves.

The average is over the standard data sets alone, never over one's own; that of a method at a number of shots is drawn
where all of them have it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simnl.results.plots import series, style
from simnl.results.published import AVERAGE, ORDER, ZEROSHOT, published_accuracy, same_weights, sources_of
from simnl.results.published.audit import marks_of, ordered, raised
from simnl.results.stats import mean
from simnl.results.tables.common import fewer_images
from simnl.results.tables.model import Stat
from simnl.results.tables.records import is_own_data, without_studies
from simnl.runs.names import display_name

Points = dict[tuple[str, str, int], Stat]  # (panel, method, shots) -> figure


def _draw(title: str, records: list[dict], ci: str, wanted: style.Wanted) -> Figure | None:
    if len({(r["method"], r["shots"]) for r in records}) < 2:  # one point is no curve
        return None
    table = series.stats(
        records, lambda r: (series.panel_of(r), r["method"], 0 if r["method"] == ZEROSHOT else r["shots"]), ci
    )
    methods = series.few_enough({(m, (p, k)): cell.mean for (p, m, k), cell in table.items()}, wanted.curves, title)
    table = {place: cell for place, cell in table.items() if place[1] in methods}
    shots = sorted({k for _, _, k in table} - {0})
    panels = sorted({panel for panel, _, _ in table})
    averaged = sorted({series.panel_of(r) for r in records if not is_own_data(r)} & set(panels))
    if len(averaged) > 1:
        table |= averages(table, averaged)
        panels = [AVERAGE, *panels]
    others = published(records, methods, shots, averaged) if wanted.published else {}
    drawn = [r for r in records if r["method"] in methods]
    shown = series.legend_names(drawn)
    marks: dict[str, str] = {}  # the letters of all points of a published curve
    for (_, method, _), point in others.items():
        marks[method] = ordered(marks.get(method, "") + point.audit)
    looks = [(shown[m], style.method_style(m)) for m in methods]
    also = [m for m in methods if m in marks]
    looks += [(f"{display_name(m)}, published{raised(marks[m])}", _look_of_published(m)) for m in also]
    about = "\n".join([title, style.statistics(table.values()), *fewer_images(records)])

    def fill(ax: Axes, panel: str) -> None:
        name = f"average of {len(averaged)}" if panel == AVERAGE else series.panel_name(panel)
        ax.set_title(style.panel_title(name, len(panels)))
        ours, theirs = ({(m, k): c for (p, m, k), c in points.items() if p == panel} for points in (table, others))
        _panel(ax, ours, theirs, methods, shots)

    notes = series.notes_on(drawn, ((letters, method) for method, letters in marks.items()))
    return style.panelled(panels, looks, about, fill, notes)


def averages(table: Points, panels: Sequence[str]) -> Points:
    """The average over panels of each method and number of shots that all of them have."""
    found = {}
    for _, method, k in table:
        parts = [table[panel, method, k] for panel in panels if (panel, method, k) in table]
        if len(parts) == len(panels):
            found[AVERAGE, method, k] = series.average(parts)
    return found


def published(records: Sequence[dict], methods: Sequence[str], shots: Sequence[int], averaged: Sequence[str]) -> Points:
    """Published figures of the same backbone, weights, methods and shots; each panel, and their average where all of
    its data sets have one."""
    if not same_weights(records):
        return {}
    panels = {series.panel_of(r): r["dataset"] for r in records if not is_own_data(r)}
    found: Points = {}
    for method in methods:
        for k in [0] if method == ZEROSHOT else shots:
            figures = published_accuracy(method, records[0]["backbone"], k, sources_of(ORDER))
            there = {panel: figures[name] for panel, name in panels.items() if name in figures}
            points = {panel: Stat({0: one.accuracy}, audit=marks_of(one)) for panel, one in there.items()}
            found |= {(panel, method, k): point for panel, point in points.items()}
            if len(averaged) > 1 and set(averaged) <= set(points):
                found[AVERAGE, method, k] = Stat({0: mean([points[panel].mean for panel in averaged])})
    return found


def _look_of_published(method: str) -> dict:
    look = style.method_style(method)
    return {**look, **style.PUBLISHED, "markeredgecolor": look["color"]}


def _panel(ax: Axes, ours: dict, others: dict, methods: Sequence[str], shots: Sequence[int]) -> None:
    """Curves over a base-2 logarithmic axis of shots, with 0 one step before 1."""
    for table, look_of in ((others, _look_of_published), (ours, style.method_style)):
        for method in methods:
            own = [k for k in [0, *shots] if (method, k) in table]
            look = look_of(method)
            if own == [0]:
                line = {key: look[key] for key in ("color", "linestyle", "linewidth")}
                ax.axhline(table[method, 0].mean, zorder=1, **line)
            if own:
                style.curve(ax, [_position(k) for k in own], [table[method, k] for k in own], **look)
    style.limit(ax, [*ours.values(), *others.values()])
    ticks = [0, *(shots or [1])] if ZEROSHOT in methods else shots or [1]
    ax.set_xticks([_position(k) for k in ticks], [str(k) for k in ticks])
    ax.set_xlim(_position(ticks[0]) - 0.4, _position(ticks[-1]) + 0.4)
    ax.set_xlabel("shots per class")
    if not ours:
        ax.text(0.5, 0.5, "no method has all data sets", ha="center", va="center", transform=ax.transAxes)


def _position(shots: int) -> float:
    return 1 + math.log2(shots) if shots else 0.0


fewshot = series.Kind(  # a panel per data set and the average first; runs with wrong labels are in the noise curves
    what="few-shot curves",
    usable=without_studies,
    draw=_draw,
    needed="no runs of a standard config that differ in method or shots",
    command="bash scripts/benchmark.sh fewshot",
)
