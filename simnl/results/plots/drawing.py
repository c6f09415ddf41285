"""How figures are drawn: panels of curves, titles and notes that fit, one legend outside, the same bytes each time."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import re
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from simnl.escaping import figure_text
from simnl.files import replacing
from simnl.results.plots.names import check_format
from simnl.results.plots.style import RC
from simnl.results.tables.model import Stat

log = logging.getLogger(__name__)

T = TypeVar("T")  # what a panel is of
Look = tuple[str, dict]  # a name in a legend, and its line properties

PANEL = (2.9, 2.3)  # inches
SINGLE = (5.2, 3.6)  # the only panel of a figure
PER_ROW = 4
BAND_FROM = 3  # runs
TITLE_LETTER = 0.085  # inches
TICK_LABEL = 0.4  # inches that the label of a tick takes, with the room beside it
NOTE_SIZE, NOTE_LETTER, NOTE_LINE = 6.5, 0.054, 0.125  # points; inches of a letter and of a line
LACKING = re.compile(r"Glyph (\d+) ")  # matplotlib's warning of a letter
LEGEND_PAD = 0.5  # between the legend and the figure's edge, in sizes of the font
LEGEND_ENTRY, LETTER, LEGEND_LINE = 1.45, 0.065, 0.2  # inches: an entry of 13 letters, one more letter, a line


def band(stat: Stat) -> float:
    """Half width of what is drawn: 0 below three runs, whose intervals say nothing (t(0.975, 1) is 12.7)."""
    return (stat.half or 0.0) if stat.n >= BAND_FROM else 0.0


def statistics(cells: Iterable[Stat]) -> str:
    """The meaning of points and bands, for a figure's title."""
    cells = list(cells)
    most = max(cell.n for cell in cells)
    if most == 1:
        return f"{seeds_text(cells)}, no intervals"
    ci = {"t": "Student t", "normal": "normal"}[next(iter(cells)).ci]
    return f"{seeds_text(cells)}; " + (f"bands: 95 % intervals ({ci})" if most >= BAND_FROM else "too few for bands")


def seeds_text(cells: Iterable[Stat]) -> str:
    """The meaning of points: `one seed`, `mean of 3 seeds`, `mean of 2 to 3 seeds`."""
    counts = sorted({cell.n for cell in cells})
    if counts == [1]:
        return "one seed"
    return f"mean of {counts[0]} seeds" if len(counts) == 1 else f"mean of {counts[0]} to {counts[-1]} seeds"


def panelled(
    panels: Sequence[T],
    legend: Sequence[Look],
    title: str,
    draw: Callable[[Axes, T], None],
    notes: Sequence[str] = (),
    label: str = "accuracy (%)",
) -> Figure:
    """A figure with some panels, and one legend below all of them.

    Args:
        panels: the subjects of the panels.
        legend: the names in the legend with their line properties.
        title: the title of the figure.
        draw: the function that fills the panel of a subject, such as `curves` gives.
        notes: sentences below the legend.
        label: the label of the y axes.
    """
    count = len(panels)
    columns = min(count, PER_ROW)
    rows = math.ceil(count / columns)
    width, height = SINGLE if count == 1 else (PANEL[0] * columns, PANEL[1] * rows)
    lines = math.ceil(len(legend) / legend_columns(width, legend))
    extra = LEGEND_LINE * (lines + max(0, wrapped(title, width).count("\n") - 1))
    figure = titled_figure(title, width, height + 0.55 + extra)
    axes = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for unused in axes[count:]:
        unused.remove()
    for panel, ax in zip(panels, axes[:count], strict=True):
        draw(ax, panel)
    for ax in axes[:count:columns]:  # the first of each row
        ax.set_ylabel(label)
    legend_below(figure, legend, notes)
    return figure


def curves(
    table: Mapping[tuple, Stat],
    lines: Mapping[Any, Look],
    finish: Callable[[Axes, Any, list[float]], None],
    level: float | None = None,
    one_scale: bool = False,
) -> Callable[[Axes, Any], None]:
    """The function that fills a panel with curves.

    Args:
        table: figures by (panel, line, x).
        lines: the lines in the order in which they are drawn, with their names and properties.
        finish: what names the panel and its x axis; it gets the axes, the panel and the x of its points.
        level: a line whose only point is at this x is drawn across the panel, too.
        one_scale: all panels have the same y axis.
    """

    def draw(ax: Axes, panel: Any) -> None:
        here = {(line, x): stat for (owner, line, x), stat in table.items() if owner == panel}
        for line, (_, look) in lines.items():
            points = {x: here[owner, x] for owner, x in sorted(here, key=lambda place: place[1]) if owner == line}
            if set(points) == {level}:
                ax.axhline(points[level].mean, zorder=1, **{k: look[k] for k in ("color", "linestyle", "linewidth")})
            if points:
                curve(ax, points, look)
        limit(ax, table.values() if one_scale else here.values(), whole=one_scale and len(lines) == 1)
        finish(ax, panel, sorted({x for _, x in here}))

    return draw


def curve(ax: Axes, points: Mapping[float, Stat], look: dict) -> None:
    """A line of means over x with its band; a bar where there is only one point."""
    x, means, halves = list(points), [stat.mean for stat in points.values()], list(map(band, points.values()))
    ax.plot(x, means, **{"markeredgecolor": "white", "markeredgewidth": 0.4, **look})
    if len(means) == 1:
        ax.errorbar(x, means, halves, fmt="none", ecolor=look["color"], elinewidth=1, capsize=2, alpha=0.6)
    else:
        lower, upper = ([m + s * h for m, h in zip(means, halves, strict=True)] for s in (-1, 1))
        ax.fill_between(x, lower, upper, color=look["color"], alpha=0.13, linewidth=0)


def limit(ax: Axes, cells: Iterable[Stat], whole: bool = False) -> None:
    """Show all means on the y axis, and the bands as far as they do not squeeze the means together (a wider band is cut
    off), or `whole`."""
    pairs = [(cell.mean, band(cell)) for cell in cells]
    if not pairs:
        return
    low, high = min(m for m, _ in pairs), max(m for m, _ in pairs)
    room = math.inf if whole else max(0.35 * (high - low), 1.0)
    pad = 0.07 * (high - low) + 0.3
    bottom = max(min(m - h for m, h in pairs), low - room) - pad
    ax.set_ylim(bottom, min(max(m + h for m, h in pairs), high + room) + pad)


def titled_figure(title: str, width: float, height: float) -> Figure:
    """An empty figure of a size in inches, whose title is cut into lines that fit it."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(wrapped(title, width))
    return figure


def wrapped(text: str, width: float) -> str:
    """A title cut into lines that fit a width in inches, as few as can be, and of like lengths."""
    return "\n".join(_even(line, int(width / TITLE_LETTER)) for line in text.splitlines())


def _even(line: str, most: int) -> str:
    """A line cut into as few as fit so many letters, and these as narrow as they can be: the last is no single word."""
    least = min(most, max([most // 2, *map(len, line.split())]))  # a narrower line would cut a word
    cut = {letters: textwrap.wrap(line, letters, break_on_hyphens=False) for letters in range(least, most + 1)}
    return "\n".join(next(lines for lines in cut.values() if len(lines) == len(cut[most])))


def panel_title(text: str, count: int) -> str:
    """The title of one of so many panels, cut into lines that fit it."""
    return wrapped(text, panel_width(count))


def panel_width(count: int) -> float:
    """The width of one of so many panels, in inches."""
    return (SINGLE if count == 1 else PANEL)[0]


def sparse_labels(ticks: Sequence[float], width: float) -> list[str]:
    """The labels of ticks in increasing order on an axis of a width in inches: empty where one would meet the last."""
    labels: list[str] = []
    last, room = -math.inf, TICK_LABEL / width * (ticks[-1] - ticks[0])
    for tick in ticks:
        shown = tick - last >= room
        labels.append(f"{tick:g}" if shown else "")
        last = tick if shown else last
    return labels


def without_title(figure: Figure) -> None:
    """Take a figure's title away, and that of its panel where there is only one: a paper's caption says it."""
    figure.suptitle("")
    panels = [ax for ax in figure.axes if ax.get_subplotspec() is not None]
    if len(panels) == 1:
        panels[0].set_title("")


def legend_columns(width: float, legend: Sequence[Look]) -> int:
    """How many entries of a legend fit side by side; width in inches."""
    entry = LEGEND_ENTRY + max(0, max(len(name) for name, _ in legend) - 13) * LETTER
    return max(1, min(len(legend), int(width / entry)))


def legend_below(figure: Figure, legend: Sequence[Look], notes: Sequence[str] = ()) -> None:
    """One legend for all panels, outside of them, and below it notes, in a strip by which the figure grows."""
    width, height = figure.get_size_inches()
    strip = 0.0  # inches
    if notes:
        text = "\n".join(textwrap.fill(note, int(width / NOTE_LETTER), break_on_hyphens=False) for note in notes)
        strip = NOTE_LINE * (text.count("\n") + 2)
        figure.set_size_inches(width, height + strip)
        share = strip / (height + strip)
        figure.set_layout_engine("constrained", rect=(0.0, share, 1.0, 1.0 - share))
        figure.text(0.02, NOTE_LINE / 2 / (height + strip), figure_text(text), va="bottom", fontsize=NOTE_SIZE)
    handles, names = [Line2D([], [], **look) for _, look in legend], [name for name, _ in legend]
    place = {"loc": "outside lower center", "borderaxespad": LEGEND_PAD + 72 * strip / RC["font.size"]}
    figure.legend(handles, names, ncols=legend_columns(width, legend), handlelength=3.2, **place)


def svg(figure: Figure) -> bytes:
    """A figure as SVG, the same bytes for the same figure.

    The layout is found once, by the renderer that measures texts fastest, and the figure is drawn once: matplotlib's
    own `savefig` draws it twice and takes four times as long, which counts in a report of many figures.
    """
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    with _saying_what_letters_lack(), matplotlib.rc_context(RC):
        if (engine := figure.get_layout_engine()) is not None:
            engine.execute(figure)
        figure.set_layout_engine("none")
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    return buffer.getvalue()


@contextlib.contextmanager
def _saying_what_letters_lack() -> Iterator[None]:
    """Say once and plainly which letters the font lacks; matplotlib warns of each, and several times."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    lacking = set()
    for warning in caught:
        if letter := LACKING.match(str(warning.message)):
            lacking.add(chr(int(letter[1])))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if lacking:
        log.warning(
            "The font of figures lacks %s, so that boxes are drawn in their places. Names of classes in other letters "
            "can be given in classnames.txt.",
            ", ".join(sorted(lacking)),
        )


def save(figure: Figure, path: Path) -> Path:
    """Write a figure into a file of the format that its ending says, as `check_format` knows it; the file."""
    suffix = check_format(path)
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(suffix)
    with replacing(path) as temporary, matplotlib.rc_context(RC), _saying_what_letters_lack():
        figure.savefig(temporary, format=suffix, metadata=dates)
    return path
