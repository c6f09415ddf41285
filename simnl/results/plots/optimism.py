"""What choosing on the test images is worth: a line per method, from an honest protocol to the oracle."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from simnl.results.plots import style
from simnl.results.plots.series import Kind, drawn, panel_name, panel_of, standard_runs, stat_of
from simnl.results.tables.common import method_order, shots_title
from simnl.results.tables.protocols import HONEST, ORACLE, PROTOCOLS
from simnl.runs.names import display_name

ROW = 0.24  # inches per method
LOOKS = {
    "no-val": ("o", "#8C8C8C"), "held-shot": ("s", "#56B4E9"), "fewshot-val": ("D", "#0072B2"),
    "full-val": ("^", "#009E73"), ORACLE: ("X", "#D55E00"),
}  # fmt: skip


def _draw(setting: str, records: list[dict], ci: str, wanted: style.Wanted) -> dict[str, Figure]:
    """A figure for each data set and number of shots."""
    figures = {}
    for place in sorted({(panel_of(r), r["shots"]) for r in records}):
        found = _levels([r for r in records if (panel_of(r), r["shots"]) == place], ci)
        if found:
            title = f"{panel_name(place[0])}, {shots_title(place[1])}, {setting}"
            figures[title] = _figure(title, found)
    return figures


def _levels(records: Sequence[dict], ci: str) -> dict[str, dict]:
    """{method: {protocol: accuracies}} of the methods that have the oracle and an honest protocol."""
    levels: dict[str, dict] = {}
    for (method, protocol), runs in drawn(records, lambda r: (r["method"], r["protocol"])).items():
        levels.setdefault(method, {})[protocol] = stat_of(runs, ci)
    return {m: of for m, of in levels.items() if ORACLE in of and any(name in of for name in HONEST)}


def _figure(title: str, levels: dict[str, dict]) -> Figure:
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
    ax.set_yticks(range(len(methods)), [style.plain(display_name(method)) for method in methods])
    ax.set_xlabel("accuracy (%)")
    ax.set_ylim(-0.7, len(methods) - 0.3)
    there = [name for name in PROTOCOLS if any(name in of for of in levels.values())]
    handles = [style.handle(marker=LOOKS[n][0], color=LOOKS[n][1], linestyle="none") for n in there]
    style.legend_below(figure, handles, there)
    figure.suptitle(style.plain(title), fontsize="medium")
    return figure


optimism = Kind(
    what="protocols",
    usable=standard_runs,
    draw=_draw,
    needed=f"no method ran under {ORACLE} and under another protocol",
    command="python tools/audit.py shapes 16",
    but=("protocol",),
)
