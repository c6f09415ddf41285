"""How figures look: colours that the colour-blind and a grey printer keep apart, legends outside, same bytes each time.

Colours: Okabe and Ito, "Color Universal Design" (2008), without the yellow, which vanishes on white. A method has the
same colour, marker and line in every figure; of two methods at least one of the three differs.
"""

from __future__ import annotations

import io
import math
import textwrap
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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
from simnl.results.published import ZEROSHOT
from simnl.results.tables.model import Stat

T = TypeVar("T")  # what a panel is of

FORMATS = ("png", "svg", "pdf")
COLOURS = ("#0072B2", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#7A5C00", "#8C8C8C")
MARKERS = ("s", "^", "D", "v", "P", "X", "<", ">", "h")
LINES = ("-", "--", "-.", ":")
LAST_LINE = (0, (5, 1, 1, 1, 1, 1))  # for methods beyond all pairs of a marker and a line
METHODS = (  # a method's place here is its look, so new ones go to the end; the first seven get unlike colours
    "TipAdapterF", "CoOp", "TaskRes", "GraphAdapter", "APET", "CLIPAdapter", "TipAdapter", "APE", "CLAP", "CLIPLoRA",
    "CoCoOp", "CrossModalLP", "GDA", "LPPlusPlus", "LinearProbe", "ProKeR", "ZSLP", "MaPLe", "IVLP", "VPT", "TwoStage",
    "CLIPSVD", "PromptSRC", "TCP", "MMRL", "TIMO", "TIMOS", "ReHARK", "TransCLIP", "TDA", "KgCoOp", "ProGrad", "ProLIP",
    "CCA", "CCAFT", "NLPrompt", "JoAPR", "WithNegative", "RPL", "LSN", "NegPrompt", "LoCoOp",
)  # fmt: skip
SPECIAL: dict[str, dict[str, Any]] = {
    "SimNL": {"color": "#D55E00", "marker": "o", "linestyle": "-", "linewidth": 2.2, "zorder": 5},
    ZEROSHOT: {"color": "#000000", "marker": "*", "linestyle": (0, (1, 2)), "linewidth": 1.0, "zorder": 4},
}
RC: dict[Any, Any] = {  # keys are names that matplotlib knows
    "font.size": 8,
    "axes.titlesize": 9,
    "figure.titlesize": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "lines.markersize": 4.5,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "font.family": "DejaVu Sans",  # matplotlib's own, so that figures do not depend on the machine's fonts
    "svg.hashsalt": "simnl",  # fixed ids: the same figure is the same file
    "savefig.dpi": 150,
}
OTHERS = len(COLOURS) * len(MARKERS) * len(LINES) - len(METHODS)  # looks left for methods that are not ours
PUBLISHED = {"linestyle": ":", "markerfacecolor": "white", "markeredgewidth": 0.8, "linewidth": 1.0, "alpha": 0.8}
CURVES = 8  # the most curves that can be told apart in one panel
PANEL = (2.9, 2.3)  # inches
SINGLE = (5.2, 3.6)  # the only panel of a figure
PER_ROW = 4
BAND_FROM = 3  # runs
TITLE_LETTER = 0.085  # inches
NOTE_SIZE, NOTE_LETTER, NOTE_LINE = 6.5, 0.054, 0.125  # points; inches of a letter and of a line
LEGEND_PAD = 0.5  # between the legend and the figure's edge, in sizes of the font
LEGEND_ENTRY, LETTER, LEGEND_LINE = 1.45, 0.065, 0.2  # inches: an entry of 13 letters, one more letter, a line


@dataclass(frozen=True)
class Wanted:
    """What was asked for beyond the records.

    Attributes:
        curves: the most curves in a panel, SimNL, zero-shot CLIP and the best; 0: all.
        published: draw published curves beside ours.
        score: the score of unknown classes.
    """

    curves: int = CURVES
    published: bool = False
    score: str = "energy"


USUAL = Wanted()


def method_style(method: str) -> dict:
    """Line properties of a method, the same in every figure."""
    if method in SPECIAL:
        return {"markersize": 9 if method == ZEROSHOT else 5, **SPECIAL[method]}
    number = METHODS.index(method) if method in METHODS else len(METHODS) + zlib.crc32(method.encode()) % OTHERS
    return numbered_style(number)


def line_style(method: str, number: int) -> dict:
    """The look of one of several lines of a method: its colour; from the second on, another line and marker."""
    look = method_style(method)
    if not number:
        return look
    return {**look, "linestyle": LINES[number % len(LINES)], "marker": MARKERS[number % len(MARKERS)]}


def numbered_style(number: int) -> dict:
    """Line properties by number, for what is no method."""
    beyond = len(MARKERS) * len(LINES) <= number < len(METHODS)
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": LAST_LINE if beyond else LINES[number % len(LINES)],
    }


def band(stat: Stat) -> float:
    """Half width of what is drawn: 0 below three runs, whose intervals say nothing (t(0.975, 1) is 12.7)."""
    return (stat.half or 0.0) if stat.n >= BAND_FROM else 0.0


def statistics(cells: Iterable[Stat]) -> str:
    """The meaning of points and bands, for a figure's title."""
    cells = list(cells)
    most = max(cell.n for cell in cells)
    if most == 1:
        return f"{points(cells)}, no intervals"
    ci = {"t": "Student t", "normal": "normal"}[next(iter(cells)).ci]
    return f"{points(cells)}; " + (f"bands: 95 % intervals ({ci})" if most >= BAND_FROM else "too few for bands")


def points(cells: Iterable[Stat]) -> str:
    """The meaning of points: `one seed`, `mean of 3 seeds`, `mean of 2 to 3 seeds`."""
    counts = sorted({cell.n for cell in cells})
    if counts == [1]:
        return "one seed"
    return f"mean of {counts[0]} seeds" if len(counts) == 1 else f"mean of {counts[0]} to {counts[-1]} seeds"


def panelled(
    places: Sequence[T],
    looks: Sequence[tuple[str, dict]],
    title: str,
    draw: Callable[[Axes, T], None],
    notes: Sequence[str] = (),
    label: str = "accuracy (%)",
) -> Figure:
    """A figure with a panel for each place, and one legend below all of them.

    Args:
        places: the subjects of the panels.
        looks: the names in the legend with their line properties.
        title: the title of the figure.
        draw: the function that fills the panel of a place.
        notes: sentences below the legend.
        label: the label of the y axes.
    """
    names, count = [name for name, _ in looks], len(places)
    columns = min(count, PER_ROW)
    rows = math.ceil(count / columns)
    width, height = SINGLE if count == 1 else (PANEL[0] * columns, PANEL[1] * rows)
    lines = math.ceil(len(names) / legend_columns(width, names))  # of the legend
    extra = LEGEND_LINE * (lines + max(0, wrapped(title, width).count("\n") - 1))
    figure = titled_figure(title, width, height + 0.55 + extra)
    axes = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for unused in axes[count:]:
        unused.remove()
    for place, ax in zip(places, axes[:count], strict=True):
        draw(ax, place)
    for ax in axes[:count:columns]:  # the first of each row
        ax.set_ylabel(label)
    legend_below(figure, [handle(**look) for _, look in looks], names, notes)
    return figure


def titled_figure(title: str, width: float, height: float) -> Figure:
    """An empty figure of a size in inches, whose title is cut into lines that fit it."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(wrapped(title, width))
    return figure


def wrapped(text: str, width: float) -> str:
    """A title cut into lines that fit a width in inches."""
    return "\n".join(textwrap.fill(line, int(width / TITLE_LETTER)) for line in text.splitlines())


def panel_title(text: str, count: int) -> str:
    """A title of one of so many panels, cut into lines that fit it."""
    return wrapped(text, (SINGLE if count == 1 else PANEL)[0])


def without_title(figure: Figure) -> None:
    """Take a figure's title away, and that of its panel where there is only one: a paper's caption says it."""
    figure.suptitle("")
    panels = [ax for ax in figure.axes if ax.get_subplotspec() is not None]
    if len(panels) == 1:
        panels[0].set_title("")


def legend_columns(width: float, labels: Sequence[str]) -> int:
    """How many legend entries fit side by side; width in inches."""
    entry = LEGEND_ENTRY + max(0, max(map(len, labels)) - 13) * LETTER
    return max(1, min(len(labels), int(width / entry)))


def legend_below(figure: Figure, handles: Sequence, labels: Sequence[str], notes: Sequence[str] = ()) -> None:
    """One legend for all panels, outside of them, and below it notes, for which the figure grows."""
    columns = legend_columns(figure.get_figwidth(), labels)
    strip = _notes_at_the_bottom(figure, notes) if notes else 0.0
    lifted = LEGEND_PAD + 72 * strip / RC["font.size"]  # in sizes of the font
    look = {"ncols": columns, "handlelength": 3.2, "borderaxespad": lifted}
    figure.legend(handles, labels, loc="outside lower center", **look)


def _notes_at_the_bottom(figure: Figure, notes: Sequence[str]) -> float:
    """Write notes below all that is drawn, in a strip by which the figure grows; its height in inches."""
    width, height = figure.get_size_inches()
    text = "\n".join(textwrap.fill(note, int(width / NOTE_LETTER), break_on_hyphens=False) for note in notes)
    strip = NOTE_LINE * (text.count("\n") + 2)
    figure.set_size_inches(width, height + strip)
    share = strip / (height + strip)
    figure.set_layout_engine("constrained", rect=(0.0, share, 1.0, 1.0 - share))
    figure.text(0.02, NOTE_LINE / 2 / (height + strip), figure_text(text), va="bottom", fontsize=NOTE_SIZE)
    return strip


def handle(**style) -> Line2D:
    """A legend entry."""
    return Line2D([], [], **style)


def curve(axes: Axes, x: Sequence[float], cells: Sequence[Stat], **style) -> None:
    """A line of means with its band; a bar where there is only one point."""
    means, halves = [cell.mean for cell in cells], [band(cell) for cell in cells]
    axes.plot(x, means, **{"markeredgecolor": "white", "markeredgewidth": 0.4, **style})
    if len(means) == 1:
        axes.errorbar(x, means, halves, fmt="none", ecolor=style["color"], elinewidth=1, capsize=2, alpha=0.6)
    else:
        lower, upper = ([m + s * h for m, h in zip(means, halves, strict=True)] for s in (-1, 1))
        axes.fill_between(x, lower, upper, color=style["color"], alpha=0.13, linewidth=0)


def limit(axes: Axes, cells: Iterable[Stat], whole: bool = False) -> None:
    """Show all means, and the bands as far as they do not squeeze the means together (a wider band is cut off).

    Args:
        axes: the axes whose y axis is set.
        cells: the figures that are drawn there.
        whole: never cut a band off.
    """
    pairs = [(cell.mean, band(cell)) for cell in cells]
    if not pairs:
        return
    low, high = min(m for m, _ in pairs), max(m for m, _ in pairs)
    room = math.inf if whole else max(0.35 * (high - low), 1.0)
    pad = 0.07 * (high - low) + 0.3
    bottom = max(min(m - h for m, h in pairs), low - room) - pad
    axes.set_ylim(bottom, min(max(m + h for m, h in pairs), high + room) + pad)


def svg(figure: Figure) -> bytes:
    """A figure as SVG, the same bytes for the same figure.

    The layout is found once, by the renderer that measures texts fastest, and the figure is drawn once: matplotlib's
    own `savefig` draws it twice and takes four times as long, which counts in a report of many figures.
    """
    FigureCanvasAgg(figure)
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")
    buffer = io.BytesIO()
    with matplotlib.rc_context(RC):
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    return buffer.getvalue()


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure; the suffix says the format.

    Raises:
        ValueError: a suffix other than png, svg, pdf.
    """
    path = Path(path)
    suffix = path.suffix.lower().lstrip(".")
    if suffix not in FORMATS:
        raise ValueError(f"--output is '{path}'. Its ending must be one of: {', '.join('.' + f for f in FORMATS)}.")
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(suffix)
    with replacing(path) as temporary, matplotlib.rc_context(RC):
        figure.savefig(temporary, format=suffix, metadata=dates)
    return path
