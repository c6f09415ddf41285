"""Points of methods: accuracy over what it costs and over AUROC, and what choosing on the test images is worth."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from simnl.escaping import figure_text
from simnl.numbers import shots_in_words
from simnl.results.plots import drawing, series
from simnl.results.plots.series import SCORE, Kind, Wanted
from simnl.results.plots.style import method_style
from simnl.results.stats import mean
from simnl.results.tables.common import ORACLE, PROTOCOLS, method_order
from simnl.results.tables.ood import detected, points, seen_notes
from simnl.results.tables.paired import HONEST
from simnl.results.tables.records import is_own_data, without_studies

# What accuracy costs, of a record; features are encoded once for all methods.
COSTS = {
    "seconds to train and select": lambda r: r["seconds"].get("train", 0.0) + r["seconds"].get("select", 0.0),
    "learned parameters": lambda r: r["trainable_parameters"],
}
ROW = 0.24  # inches per method
LOOKS: dict[str, dict[str, Any]] = {
    "no-val": {"marker": "o", "color": "#8C8C8C"}, "held-shot": {"marker": "s", "color": "#56B4E9"},
    "fewshot-val": {"marker": "D", "color": "#0072B2"}, "full-val": {"marker": "^", "color": "#009E73"},
    ORACLE: {"marker": "X", "color": "#D55E00"},
}  # fmt: skip


def _look(method: str) -> dict:
    return {**method_style(method), "linestyle": "none"}


def _cost(setting: str, records: list[dict], wanted: Wanted) -> Figure | None:
    """The number of shots that most methods ran with (the largest of equals), and the average of the data sets that all
    of these methods have."""
    ran = Counter(shots for _, shots in {(r["method"], r["shots"]) for r in records})
    shots = max(ran, key=lambda shots: (ran[shots], shots))
    if ran[shots] < 2:
        return None
    records = [r for r in records if r["shots"] == shots]
    ran = Counter(dataset for _, dataset in {(r["method"], r["dataset"]) for r in records})
    fullest = max(sorted(ran), key=lambda dataset: ran[dataset])
    methods = method_order(r["method"] for r in records if r["dataset"] == fullest)
    mine = [r for r in records if r["method"] in methods]
    runs = series.drawn(mine, lambda r: (r["method"], series.by_dataset(r)))
    table = {place: series.stat_of(members, wanted.ci) for place, members in runs.items()}
    everywhere = [p for p in sorted({p for _, p in table}) if all((m, p) in table for m in methods)]
    standard = {series.by_dataset(r) for r in mine if not is_own_data(r)}
    everywhere = [p for p in everywhere if p in standard] or everywhere  # one's own data are in no average with them
    where = series.place_name(everywhere[0]) if len(everywhere) == 1 else f"average of {len(everywhere)} data sets"
    levels = {m: series.average([table[m, p] for p in everywhere]) for m in methods}

    def fill(ax: Axes, label: str) -> None:
        costs = {  # below a millisecond: nothing
            m: mean([round(float(COSTS[label](r)), 3) for panel in everywhere for r in runs[m, panel]]) for m in methods
        }
        _scatter(ax, costs, levels)
        ax.set_xlabel(label)

    names = series.legend_names(mine)
    about = f"{where}, {shots_in_words(shots)}, {setting}\n{drawing.statistics(table.values())}"
    return drawing.panelled(list(COSTS), [(names[m], _look(m)) for m in methods], about, fill, series.notes_on(mine))


def _scatter(ax: Axes, costs: dict, levels: dict) -> None:
    """Logarithmic x; no cost at all stands at the left, on a tick of its own."""
    positive = [x for x in costs.values() if x > 0] or [1.0]
    nothing_at, is_free = min(positive) / 10, min(costs.values()) <= 0
    for method, x in costs.items():
        look, level = {**_look(method), "alpha": 0.85}, levels[method]
        look["markersize"] = look.get("markersize", 4.5) + 3
        ax.errorbar(x or nothing_at, level.mean, drawing.band(level), fmt="none", ecolor=look["color"], alpha=0.35)
        ax.plot(x or nothing_at, level.mean, markeredgecolor="white", markeredgewidth=0.5, **look)
    ticks = {x: _short(x) for x in _ticks(min(positive), max(positive))}
    if is_free:
        ticks = {nothing_at: "0", **ticks}
    ax.set(xscale="log", xlim=((nothing_at if is_free else min(positive)) / 2.5, max(positive) * 2.5))
    # Plain numbers: matplotlib sets powers of ten as formulas, which takes most of the time of a figure.
    ax.xaxis.set_major_locator(FixedLocator(list(ticks)))
    ax.xaxis.set_major_formatter(FixedFormatter(list(ticks.values())))
    ax.xaxis.set_minor_locator(NullLocator())
    drawing.limit(ax, levels.values())


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


COST = Kind(
    what="costs",
    usable=lambda records: [r for r in without_studies(records) if {"seconds", "trainable_parameters"} <= set(r)],
    draw=_cost,
    needed="no two methods of a standard config ran with the same number of shots",
    command="bash scripts/benchmark.sh fewshot",
)


def _optimism(title: str, records: Sequence[dict], wanted: Wanted) -> Figure | None:
    """A row for each method that has the oracle and an honest protocol, and a line from this one to the oracle."""
    levels: dict[str, dict] = defaultdict(dict)
    for (method, protocol), stat in series.stats(records, lambda r: (r["method"], r["protocol"]), wanted.ci).items():
        levels[method][protocol] = stat
    levels = {m: of for m, of in levels.items() if ORACLE in of and any(name in of for name in HONEST)}
    if not levels:
        return None
    records = [r for r in records if r["method"] in levels]
    names, methods = series.legend_names(records), method_order(levels)[::-1]
    figure = Figure(figsize=(drawing.SINGLE[0], 1.3 + ROW * len(methods)), layout="constrained")
    ax = figure.add_subplot()
    for height, method in enumerate(methods):
        means = {name: levels[method][name].mean for name in PROTOCOLS if name in levels[method]}
        honest = next(name for name in HONEST if name in means)
        ax.plot([means[honest], means[ORACLE]], [height] * 2, color=LOOKS[ORACLE]["color"], alpha=0.5, zorder=1)
        for name, value in means.items():
            ax.plot(value, height, linestyle="none", markersize=4.5, alpha=0.85, zorder=2, **LOOKS[name])
    ax.set_yticks(range(len(methods)), [figure_text(names[method]) for method in methods])
    ax.set(xlabel="accuracy (%)", ylim=(-0.7, len(methods) - 0.3))
    there = [name for name in PROTOCOLS if any(name in of for of in levels.values())]
    legend = [(name, {**LOOKS[name], "linestyle": "none"}) for name in there]
    drawing.legend_below(figure, legend, series.notes_on(records))
    seeds = drawing.seeds_text([stat for of in levels.values() for stat in of.values()])
    about = f"{title}\n{seeds}; lines: from an honest choice to the choice on test images"
    figure.suptitle(figure_text(about), fontsize="medium")
    return figure


OPTIMISM = Kind(
    what="protocols",
    usable=without_studies,
    draw=_optimism,
    needed=f"no method ran under {ORACLE} and under another protocol",
    command="python tools/audit.py shapes 16",
    but=("protocol",),
    apart=series.by_place,
)


def _tradeoff(title: str, records: Sequence[dict], wanted: Wanted) -> Figure | None:
    """A panel for each set of unknown images; all methods are drawn, each by the runs of one config."""
    score = wanted.score or SCORE
    runs = series.drawn(records, lambda r: r["method"])
    paths = {run["path"] for of_method in runs.values() for run in of_method}
    records = [r for r in records if r["path"] in paths]
    sets = points(records, score)
    if not sets:
        return None

    def fill(ax: Axes, outliers: str) -> None:
        for method, (accuracy, auroc) in sets[outliers].items():
            look = {"markersize": 5, **_look(method)}
            look["markersize"] += 2
            ax.plot(accuracy, auroc, markeredgecolor="white", markeredgewidth=0.5, alpha=0.85, **look)
        ax.margins(0.12)
        ax.set(xlabel="accuracy on known classes (%)", title=figure_text(outliers))

    methods = method_order({method for of_set in sets.values() for method in of_set})
    names = series.legend_names(records)
    about = f"{title}\n{drawing.seeds_text([series.stat_of(runs[method]) for method in methods])}"
    legend = [(figure_text(names[method]), _look(method)) for method in methods]
    return drawing.panelled(list(sets), legend, about, fill, seen_notes(records), f"AUROC of {score} (%)")


TRADEOFF = Kind(
    what="accuracy against AUROC",
    usable=detected,
    draw=_tradeoff,
    needed="no run was tested on unknown classes, or none has the score '{score}' (--score names another, e.g. energy)",
    command="bash scripts/simnl/ood.sh shapes 16",
    apart=series.by_place,
)
