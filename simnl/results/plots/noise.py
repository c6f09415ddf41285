"""Accuracy over the share of wrong training labels."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure

from simnl.results.plots import style
from simnl.results.plots.series import (
    few_enough,
    legend_names,
    notes_on,
    nothing,
    panel_name,
    panel_of,
    stats,
    titled_settings,
)
from simnl.results.tables.common import shots_title
from simnl.runs.record import reweighting_off

WITHOUT = ", no reweighting"
HOLLOW = {"linestyle": ":", "markerfacecolor": "white", "markeredgewidth": 1.0}


def noise(records: Sequence[dict], ci: str = "t", wanted: style.Wanted = style.USUAL) -> dict[str, Figure]:
    """Accuracy over label noise, one panel per data set and number of shots, with and without reweighting.

    Raises:
        ValueError: no method has runs at two or more noise levels.
    """
    mine = [{**r, "line": line} for r in records if (line := line_of(r)) is not None]
    figures = {}
    with matplotlib.rc_context(style.RC):
        for title, group in titled_settings(mine, but=("label_noise",)).items():
            noisy = {_place(r) for r in group if r.get("label_noise", 0.0) > 0}
            group = [r for r in group if _place(r) in noisy]
            if len({r.get("label_noise", 0.0) for r in group}) > 1:
                figures[title] = _figure(title, group, ci, wanted)
    if not figures:
        needed = "no runs at two or more levels of label noise that have no other options"
        raise nothing("noise curves", needed, "bash scripts/noise.sh shapes 16")
    return figures


def _place(record: dict) -> tuple:
    return (panel_of(record), record["shots"], record["line"])


def line_of(record: dict) -> str | None:
    """The method, and whether it ran without reweighting; None for a run with other options."""
    options = record.get("options") or {}
    if not options:
        return record["method"]
    if set(reweighting_off(record)) == set(options):
        return record["method"] + WITHOUT
    return None


def _figure(title: str, records: Sequence[dict], ci: str, wanted: style.Wanted) -> Figure:
    table = stats(records, lambda r: (panel_of(r), r["shots"], r["line"], 100 * r.get("label_noise", 0.0)), ci)
    plain = {(line, (*place, k)): c.mean for (*place, line, k), c in table.items() if WITHOUT not in line}
    without = {(line.removesuffix(WITHOUT), (*place, k)): c.mean for (*place, line, k), c in table.items()}
    methods = few_enough(without | plain, wanted.curves, title)
    table = {place: cell for place, cell in table.items() if place[2].removesuffix(WITHOUT) in methods}
    present = {line for _, _, line, _ in table}
    lines = [name for line in methods for name in (line, line + WITHOUT) if name in present]
    places = sorted({(panel, shots) for panel, shots, _, _ in table})
    drawn = [r for r in records if r["line"] in lines]
    shown = legend_names(drawn)
    names = [shown[line.removesuffix(WITHOUT)] + (WITHOUT if WITHOUT in line else "") for line in lines]
    figure, axes = style.panels(len(places), names, f"{title}\n{style.statistics(table.values())}")
    for (panel, shots), ax in zip(places, axes, strict=True):
        here = {(line, level): cell for (p, k, line, level), cell in table.items() if (p, k) == (panel, shots)}
        for line in lines:
            levels = sorted(level for owner, level in here if owner == line)
            if levels:
                style.curve(ax, levels, [here[line, level] for level in levels], **_look(line))
        style.limit(ax, here.values())
        ax.set_title(style.panel_title(f"{panel_name(panel)}, {shots_title(shots)}", len(places)))
        ax.set_xlabel("wrong training labels (%)")
        ax.set_xticks(sorted({level for _, level in here}))
    style.label_rows(axes)
    style.legend_below(figure, [style.handle(**_look(line)) for line in lines], names, notes_on(drawn))
    return figure


def _look(line: str) -> dict:
    """As the method everywhere; without reweighting hollow and dotted."""
    look = style.method_style(line.removesuffix(WITHOUT))
    if line.endswith(WITHOUT):
        return {**look, **HOLLOW, "markeredgecolor": look["color"]}
    return look
