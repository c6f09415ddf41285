"""Accuracy over the share of wrong training labels, with and without reweighting."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simnl.results.plots import series, style
from simnl.runs.record import reweighting_off

WITHOUT = ", no reweighting"
HOLLOW = {"linestyle": ":", "markerfacecolor": "white", "markeredgewidth": 1.0}


def line_of(record: dict) -> str | None:
    """The method, and whether it ran without reweighting; None for a run with other options."""
    options = record.get("options") or {}
    if not options:
        return record["method"]
    if set(reweighting_off(record)) == set(options):
        return record["method"] + WITHOUT
    return None


def _draw(title: str, records: list[dict], ci: str, wanted: style.Wanted) -> Figure | None:
    """One panel per data set and number of shots, of lines that have wrong labels somewhere."""
    noisy = {(series.by_place(r), r["line"]) for r in records if r.get("label_noise", 0.0) > 0}
    records = [r for r in records if (series.by_place(r), r["line"]) in noisy]
    if len({r.get("label_noise", 0.0) for r in records}) < 2:
        return None
    table = series.stats(records, lambda r: (series.by_place(r), r["line"], 100 * r.get("label_noise", 0.0)), ci)
    plain = {(line, (place, k)): c.mean for (place, line, k), c in table.items() if WITHOUT not in line}
    without = {(line.removesuffix(WITHOUT), (place, k)): c.mean for (place, line, k), c in table.items()}
    methods = series.few_enough(without | plain, wanted.curves, title)
    table = {place: cell for place, cell in table.items() if place[1].removesuffix(WITHOUT) in methods}
    present = {line for _, line, _ in table}
    lines = [name for line in methods for name in (line, line + WITHOUT) if name in present]
    places = sorted({place for place, _, _ in table})

    def fill(ax: Axes, place: tuple[str, int]) -> None:
        here = {(line, level): cell for (owner, line, level), cell in table.items() if owner == place}
        for line in lines:
            levels = sorted(level for owner, level in here if owner == line)
            if levels:
                style.curve(ax, levels, [here[line, level] for level in levels], **_look(line))
        style.limit(ax, here.values())
        ax.set_title(style.panel_title(series.place_name(place), len(places)))
        ax.set_xlabel("wrong training labels (%)")
        ax.set_xticks(sorted({level for _, level in here}))

    drawn = [r for r in records if r["line"] in lines]
    shown = series.legend_names(drawn)
    named = [shown[line.removesuffix(WITHOUT)] + (WITHOUT if WITHOUT in line else "") for line in lines]
    looks = [(name, _look(line)) for name, line in zip(named, lines, strict=True)]
    about = f"{title}\n{style.statistics(table.values())}"
    return style.panelled(places, looks, about, fill, series.notes_on(drawn))


def _look(line: str) -> dict:
    """The look that the method has everywhere; without reweighting, it is hollow and dotted."""
    look = style.method_style(line.removesuffix(WITHOUT))
    if line.endswith(WITHOUT):
        return {**look, **HOLLOW, "markeredgecolor": look["color"]}
    return look


noise = series.Kind(
    what="noise curves",
    usable=lambda records: [{**r, "line": line} for r in records if (line := line_of(r)) is not None],
    draw=_draw,
    needed="no runs at two or more levels of label noise that have no other options",
    command="bash scripts/noise.sh shapes 16",
    but=("label_noise",),
)
