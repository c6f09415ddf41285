"""What accuracy costs: seconds (training and selection; features are encoded once for all methods) and parameters."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from simnl.results.plots import series, style
from simnl.results.stats import mean
from simnl.results.tables.common import method_order, shots_title
from simnl.results.tables.records import is_own_data, without_studies

COSTS: dict[str, str | tuple[str, ...]] = {
    "seconds to train and select": ("train", "select"),
    "learned parameters": "trainable_parameters",
}
COST_KEYS = {"seconds", "trainable_parameters"}


def _methods(records: Sequence[dict], key: str, value: object) -> set[str]:
    return {r["method"] for r in records if r[key] == value}


def _draw(setting: str, records: list[dict], ci: str, wanted: style.Wanted) -> Figure | None:
    """The number of shots that most methods ran with (the largest of equals), and the average of the data sets that all
    of these methods have."""
    shots = max({r["shots"] for r in records}, key=lambda k: (len(_methods(records, "shots", k)), k))
    if len(_methods(records, "shots", shots)) < 2:
        return None
    records = [r for r in records if r["shots"] == shots]
    fullest = max(sorted({r["dataset"] for r in records}), key=lambda d: len(_methods(records, "dataset", d)))
    methods = method_order(_methods(records, "dataset", fullest))
    mine = [r for r in records if r["method"] in methods]
    runs = series.drawn(mine, lambda r: (r["method"], series.panel_of(r)))
    table = {place: series.stat_of(members, ci) for place, members in runs.items()}
    everywhere = [p for p in sorted({p for _, p in table}) if all((m, p) in table for m in methods)]
    standard = {series.panel_of(r) for r in mine if not is_own_data(r)}
    everywhere = [p for p in everywhere if p in standard] or everywhere  # one's own data are in no average with them
    where = series.panel_name(everywhere[0]) if len(everywhere) == 1 else f"average of {len(everywhere)} data sets"
    levels = {m: series.average([table[m, p] for p in everywhere]) for m in methods}

    def fill(ax: Axes, label: str) -> None:
        costly = [r for (_, panel), members in runs.items() if panel in everywhere for r in members]
        costs = _costs(costly, COSTS[label])
        _scatter(ax, {m: (costs[m], levels[m]) for m in methods})
        ax.set_xlabel(label)

    shown = series.legend_names(mine)
    looks = [(shown[m], {**style.method_style(m), "linestyle": "none"}) for m in methods]
    about = f"{where}, {shots_title(shots)}, {setting}\n{style.statistics(table.values())}"
    return style.panelled(list(COSTS), looks, about, fill, series.notes_on(mine))


def _costs(records: Sequence[dict], source: str | tuple[str, ...]) -> dict[str, float]:
    """Mean cost by method."""
    values = defaultdict(list)
    for record in records:
        seconds = record["seconds"]
        value = record[source] if isinstance(source, str) else sum(seconds.get(phase, 0.0) for phase in source)
        values[record["method"]].append(round(float(value), 3))  # below a millisecond: nothing
    return {method: mean(numbers) for method, numbers in values.items()}


def _scatter(ax: Axes, points: dict) -> None:
    """Logarithmic x; no cost at all stands at the left, on a tick of its own."""
    positive = [x for x, _ in points.values() if x > 0] or [1.0]
    nothing_at = min(positive) / 10
    for method, (x, cell) in points.items():
        look = {**style.method_style(method), "linestyle": "none", "alpha": 0.85}
        look["markersize"] = look.get("markersize", 4.5) + 3
        ax.errorbar(x or nothing_at, cell.mean, style.band(cell), fmt="none", ecolor=look["color"], alpha=0.35)
        ax.plot(x or nothing_at, cell.mean, markeredgecolor="white", markeredgewidth=0.5, **look)
    ax.set_xscale("log")
    none = any(x <= 0 for x, _ in points.values())
    ax.set_xlim((nothing_at if none else min(positive)) / 2.5, max(positive) * 2.5)
    ticks = _ticks(min(positive), max(positive))
    places, names = ([nothing_at], ["0"]) if none else ([], [])
    # Plain numbers: matplotlib sets powers of ten as formulas, which takes most of the time of a figure.
    ax.xaxis.set_major_locator(FixedLocator([*places, *ticks]))
    ax.xaxis.set_major_formatter(FixedFormatter([*names, *map(_short, ticks)]))
    ax.xaxis.set_minor_locator(NullLocator())
    style.limit(ax, [cell for _, cell in points.values()])


def _ticks(low: float, high: float) -> list[float]:
    """Powers of ten between two positive numbers; where these are few, with their triples; without any, the numbers."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in ((1,), (1, 3)):
        ticks = [step * 10.0**e for e in range(first, last + 1) for step in steps if low <= step * 10.0**e <= high]
        if len(ticks) > 2:
            break
    return ticks or sorted({low, high})


def _short(value: float) -> str:
    """0.01, 5, 20k, 3M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


cost = series.Kind(
    what="costs",
    usable=lambda records: [r for r in without_studies(records) if set(r) >= COST_KEYS],
    draw=_draw,
    needed="no two methods of a standard config ran with the same number of shots",
    command="bash scripts/benchmark.sh fewshot",
)
