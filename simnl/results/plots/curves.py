"""Curves of accuracy: over the number of shots, and over the share of wrong training labels."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simnl.results.plots import drawing, series
from simnl.results.plots.series import Kind, Line, Table, Wanted
from simnl.results.plots.style import hollow_style, method_style
from simnl.results.published import AVERAGE, ORDER, ZEROSHOT, published_accuracy, same_weights, sources_of
from simnl.results.published.audit import marks_of, ordered, raised
from simnl.results.stats import mean
from simnl.results.tables.common import fewer_images
from simnl.results.tables.model import Stat
from simnl.results.tables.records import is_own_data, without_studies
from simnl.runs.names import display_name
from simnl.runs.record import reweighting_off

PUBLISHED, WITHOUT = ", published", ", no reweighting"
AVERAGE_PLACE = (AVERAGE,)


def _position(shots: int) -> float:
    """The place of a number of shots on a logarithmic axis, with 0 one step before 1."""
    return 1 + math.log2(shots) if shots else 0.0


def _shots(record: dict) -> int:
    """The number of shots; zero-shot CLIP has none."""
    return 0 if record["method"] == ZEROSHOT else record["shots"]


def _fewshot(title: str, records: list[dict], wanted: Wanted) -> Figure | None:
    """A panel for each data set, and the average first. It is over the standard data sets alone, never over one's own;
    that of a method at a number of shots is drawn where all of them have it."""
    if len({(r["method"], r["shots"]) for r in records}) < 2:  # one point is no curve
        return None
    ours = series.stats(records, lambda r: (series.by_dataset(r), Line(r["method"]), _position(_shots(r))), wanted.ci)
    methods, ours = series.few_enough(ours, wanted.curves, title)
    drawn = [r for r in records if r["method"] in methods]
    shots = sorted({_shots(r) for r in drawn} - {0})
    panels = sorted({series.by_dataset(r) for r in drawn})
    averaged = sorted({series.by_dataset(r) for r in drawn if not is_own_data(r)})
    if len(averaged) > 1:
        ours |= _averages(ours, averaged)
        panels = [AVERAGE_PLACE, *panels]
    names = series.legend_names(drawn)
    shown = {Line(m): (names[m], method_style(m)) for m in methods}
    theirs = _published(records, methods, shots, averaged) if wanted.published else {}
    beside = _looks_of_published(theirs)

    def finish(ax: Axes, panel: tuple, xs: list[float]) -> None:
        name = f"average of {len(averaged)}" if panel == AVERAGE_PLACE else series.place_name(panel)
        ticks = [0, *(shots or [1])] if ZEROSHOT in methods else shots or [1]
        ax.set_xticks([_position(k) for k in ticks], [str(k) for k in ticks])
        ax.set_xlim(_position(ticks[0]) - 0.4, _position(ticks[-1]) + 0.4)
        ax.set(title=drawing.panel_title(name, len(panels)), xlabel="shots per class")
        if not any(place == panel for place, _, _ in ours):
            ax.text(0.5, 0.5, "no method has all data sets", ha="center", va="center", transform=ax.transAxes)

    about = "\n".join([title, drawing.statistics(ours.values()), *fewer_images(records)])
    notes = series.notes_on(drawn, ((stat.audit, line.method) for (_, line, _), stat in theirs.items()))
    fill = drawing.curves(theirs | ours, beside | shown, finish, level=_position(0))
    return drawing.panelled(panels, [*shown.values(), *beside.values()], about, fill, notes)


def _looks_of_published(table: Table) -> dict[Line, drawing.Look]:
    """The names in the legend, with the letters of all points of a curve, and the line properties."""
    letters: dict[Line, str] = {}
    for (_, line, _), stat in table.items():
        letters[line] = letters.get(line, "") + stat.audit
    return {
        line: (
            display_name(line.method) + line.more + raised(ordered(marks)),
            hollow_style(line.method, markeredgewidth=0.8, linewidth=1.0, alpha=0.8),
        )
        for line, marks in letters.items()
    }


def _averages(table: Table, panels: Sequence[tuple]) -> Table:
    """The average over panels of each line and number of shots that all of them have."""
    found = {}
    for line, x in dict.fromkeys((line, x) for _, line, x in table):
        parts = [table[panel, line, x] for panel in panels if (panel, line, x) in table]
        if len(parts) == len(panels):
            found[AVERAGE_PLACE, line, x] = series.average(parts)
    return found


def _published(
    records: Sequence[dict], methods: Sequence[str], shots: Sequence[int], averaged: Sequence[tuple]
) -> Table:
    """Published figures of the same backbone, weights, methods and shots; each panel, and their average where all of
    its data sets have one."""
    if not same_weights(records):
        return {}
    panels = {series.by_dataset(r): r["dataset"] for r in records if not is_own_data(r)}
    found: Table = {}
    for method in methods:
        for k in [0] if method == ZEROSHOT else shots:
            figures = published_accuracy(method, records[0]["backbone"], k, sources_of(ORDER))
            there = {panel: figures[name] for panel, name in panels.items() if name in figures}
            points = {panel: Stat({0: one.accuracy}, audit=marks_of(one)) for panel, one in there.items()}
            if len(averaged) > 1 and set(averaged) <= set(points):
                points[AVERAGE_PLACE] = Stat({0: mean([points[panel].mean for panel in averaged])})
            found |= {(panel, Line(method, PUBLISHED), _position(k)): point for panel, point in points.items()}
    return found


FEWSHOT = Kind(  # runs with wrong labels are in the noise curves
    what="few-shot curves",
    usable=without_studies,
    draw=_fewshot,
    needed="no runs of a standard config that differ in method or shots",
    command="bash scripts/benchmark.sh fewshot",
)


def _with_line(record: dict) -> dict | None:
    """The record with its line: the method, and whether it ran without reweighting; None where it has other options."""
    options = record.get("options") or {}
    if options and set(reweighting_off(record)) != set(options):
        return None
    return {**record, "line": Line(record["method"], WITHOUT if options else "")}


def _noise(title: str, records: list[dict], wanted: Wanted) -> Figure | None:
    """A panel for each data set and number of shots, of lines that have wrong labels somewhere."""
    noisy = {(series.by_place(r), r["line"]) for r in records if r.get("label_noise", 0.0) > 0}
    records = [r for r in records if (series.by_place(r), r["line"]) in noisy]
    if len({r.get("label_noise", 0.0) for r in records}) < 2:
        return None
    table = series.stats(records, lambda r: (series.by_place(r), r["line"], 100 * r.get("label_noise", 0.0)), wanted.ci)
    methods, table = series.few_enough(table, wanted.curves, title)
    drawn = [r for r in records if r["method"] in methods]
    places, names = sorted({place for place, _, _ in table}), series.legend_names(drawn)
    lines = {}
    for line in sorted({line for _, line, _ in table}, key=lambda line: (methods.index(line.method), line.more)):
        look = hollow_style(line.method) if line.more else method_style(line.method)
        lines[line] = (names[line.method] + line.more, look)

    def finish(ax: Axes, place: tuple, levels: list[float]) -> None:
        title = drawing.panel_title(series.place_name(place), len(places))
        ax.set(title=title, xlabel="wrong training labels (%)", xticks=levels)

    about, fill = f"{title}\n{drawing.statistics(table.values())}", drawing.curves(table, lines, finish)
    return drawing.panelled(places, list(lines.values()), about, fill, series.notes_on(drawn))


NOISE = Kind(
    what="noise curves",
    usable=lambda records: list(filter(None, map(_with_line, records))),
    draw=_noise,
    needed="no runs at two or more levels of label noise that have no other options",
    command="bash scripts/noise.sh shapes 16",
    but=("label_noise",),
)
