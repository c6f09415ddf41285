"""How lines look: in colours that the colour-blind and a grey printer keep apart.

Colours: Okabe and Ito, "Color Universal Design" (2008), without the yellow, which vanishes on white. A method has the
same colour, marker and line in every figure; of two methods at least one of the three differs.
"""

from __future__ import annotations

import zlib
from typing import Any

from simnl.results.published import ZEROSHOT

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
HOLLOW = {"linestyle": ":", "markerfacecolor": "white", "markeredgewidth": 1.0}


def method_style(method: str) -> dict:
    """Line properties of a method, the same in every figure."""
    if method in SPECIAL:
        return {"markersize": 9 if method == ZEROSHOT else 5, **SPECIAL[method]}
    number = METHODS.index(method) if method in METHODS else len(METHODS) + zlib.crc32(method.encode()) % OTHERS
    return numbered_style(number)


def hollow_style(method: str, **more: Any) -> dict:
    """The look of a second line of a method, hollow and dotted, with other line properties."""
    look = method_style(method)
    return {**look, **HOLLOW, "markeredgecolor": look["color"], **more}


def numbered_style(number: int) -> dict:
    """Line properties by number, for what is no method."""
    beyond = len(MARKERS) * len(LINES) <= number < len(METHODS)
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": LAST_LINE if beyond else LINES[number % len(LINES)],
    }
