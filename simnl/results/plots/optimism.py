"""What choosing on the test images is worth: a line per method, from an honest protocol to the oracle."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from simnl.escaping import figure_text
from simnl.results.plots import series, style
from simnl.results.tables.common import method_order
from simnl.results.tables.paired import HONEST, ORACLE, PROTOCOLS
from simnl.results.tables.records import without_studies

ROW = 0.24  # inches per method
LOOKS = {
    "no-val": ("o", "#8C8C8C"), "held-shot": ("s", "#56B4E9"), "fewshot-val": ("D", "#0072B2"),
    "full-val": ("^", "#009E73"), ORACLE: ("X", "#D55E00"),
}  # fmt: skip


def _draw(title: str, records: Sequence[dict], ci: str, wanted: style.Wanted) -> Figure | None:
    """A row for each method that has the oracle and an honest protocol."""
    levels: dict[str, dict] = {}
    for (method, protocol), runs in series.drawn(records, lambda r: (r["method"], r["protocol"])).items():
        levels.setdefault(method, {})[protocol] = series.stat_of(runs, ci)
    levels = {m: of for m, of in levels.items() if ORACLE in of and any(name in of for name in HONEST)}
    if not levels:
        return None
    records = [r for r in records if r["method"] in levels]
    shown = series.legend_names(records)
    methods = method_order(levels)[::-1]
    figure = Figure(figsize=(style.SINGLE[0], 1.3 + ROW * len(methods)), layout="constrained")
    ax = figure.add_subplot()
    for height, method in enumerate(methods):
        means = {name: stat.mean for name, stat in levels[method].items()}
        honest = next(name for name in HONEST if name in means)
        ax.plot([means[honest], means[ORACLE]], [height, height], color=LOOKS[ORACLE][1], alpha=0.5, zorder=1)
        for name in PROTOCOLS:
            if name in means:
                marker, colour = LOOKS[name]
                ax.plot(means[name], height, marker, color=colour, markersize=4.5, alpha=0.85, zorder=2)
    ax.set_yticks(range(len(methods)), [figure_text(shown[method]) for method in methods])
    ax.set_xlabel("accuracy (%)")
    ax.set_ylim(-0.7, len(methods) - 0.3)
    there = [name for name in PROTOCOLS if any(name in of for of in levels.values())]
    handles = [style.handle(marker=LOOKS[n][0], color=LOOKS[n][1], linestyle="none") for n in there]
    style.legend_below(figure, handles, there, series.notes_on(records))
    seeds = style.points([stat for of in levels.values() for stat in of.values()])
    figure.suptitle(
        figure_text(f"{title}\n{seeds}; lines: from an honest choice to the choice on test images"), fontsize="medium"
    )
    return figure


optimism = series.Kind(
    what="protocols",
    usable=without_studies,
    draw=_draw,
    needed=f"no method ran under {ORACLE} and under another protocol",
    command="python tools/audit.py shapes 16",
    but=("protocol",),
    apart=series.by_place,
)
