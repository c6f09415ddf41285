"""What a table is made of: cells, rows, blocks, marks; and a cell as text in each format."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from simnl import escaping
from simnl.results.published.audit import raised
from simnl.results.stats import interval, mean

MISSING = "–"
NOT_APPLICABLE = "n/a"
BEST, SECOND = "best", "second"
TERMINAL_MARKS = {BEST: "*", SECOND: "_", "": ""}  # they stand before the number, so that columns stay aligned
LATEX_ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "±": r"$\pm$", "²": r"$^2$", "->": r"$\to$",
    "<": r"$<$", ">": r"$>$", "|": r"$|$", "Δ": r"$\Delta$", "✓": r"$\checkmark$", "✗": r"$\times$",
    "†": r"\dag{}", "‡": r"\ddag{}",
}  # fmt: skip
LATEX_SPECIAL = re.compile("|".join(map(re.escape, LATEX_ESCAPES)))


@dataclass(frozen=True)
class Stat:
    """Accuracies of one setting by seed, in percent.

    Attributes:
        by_seed: the accuracies; differences have draws in place of seeds.
        ci: name of the interval to make of them.
        split: the split from which the seeds drew; figures of other splits share no draws with these.
        images: the number of training images of a class where that is not the number of shots, e.g. `32 per class`.
        ranked: False for a figure that is not compared with the others of its column.
        sign: 1 where higher figures are better, -1 where lower ones are.
        audit: letters on how the figures of an imported run came about.
    """

    by_seed: dict[Any, float]
    ci: str = "t"
    split: str = ""
    images: str = ""
    ranked: bool = True
    sign: int = 1
    audit: str = ""

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return mean(list(self.by_seed.values()))

    @property
    def half(self) -> float | None:
        """Half width of the 95 % interval; None for one seed."""
        return interval(list(self.by_seed.values()), self.ci)

    @property
    def n(self) -> int:
        """Number of seeds."""
        return len(self.by_seed)

    def minus(self, other: Stat) -> Stat | None:
        """The differences to another figure, by seed; None where the two have no seed of one split in common."""
        seeds = [seed for seed in self.by_seed if seed in other.by_seed] if self.split == other.split else []
        return Stat({seed: self.by_seed[seed] - other.by_seed[seed] for seed in seeds}, self.ci) if seeds else None

    def is_beaten_by(self, best: Stat) -> bool:
        """False where the interval of the paired difference to a better figure contains 0.

        Where there is nothing to test (other splits, or fewer than two common seeds), the worse mean is beaten.
        """
        if self.sign * (best.mean - self.mean) <= 0:
            return False
        paired = best.minus(self)
        return paired is None or paired.half is None or self.sign * paired.mean > paired.half


@dataclass(frozen=True)
class Cell:
    """A figure, or text where `value` is None.

    Attributes:
        value, half: a number and the half width of its interval.
        text: the text that is shown without a value.
        signed: show a plus sign.
        mark: "", "best" or "second".
        note: short text after the figure, e.g. `(n=2)`.
        audit: letters on how a published or imported figure came about, shown as superscripts.
        decimals: the decimals of value and half.
        grouped: thousands apart by commas.
        stat: the figures that the value is the mean of, to be marked.
    """

    value: float | None = None
    half: float | None = None
    text: str = MISSING
    signed: bool = False
    mark: str = ""
    note: str = ""
    audit: str = ""
    decimals: int = 2
    grouped: bool = False
    stat: Stat | None = None


Row = list[Cell]


@dataclass
class Block:
    """Rows under one header; a table has one or more. shared: what columns that were left out said in all rows."""

    headers: list[str]
    rows: list[Row]
    title: str = ""
    shared: str = ""


@dataclass
class Table:
    """A table with all that is said about it.

    title: one line; caption: sentences; marked: whether a legend of the marks is needed; tidy: one dict of full
    precision per figure, for csv.
    """

    title: str
    caption: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    tidy: list[dict] = field(default_factory=list)
    marked: bool = False


def text(content: object) -> Cell:
    """A cell of text."""
    return Cell(text=str(content))


def figure(stat: Stat | None, usual_n: int | None = None) -> Cell:
    """Mean and interval; `usual_n`: the number of seeds that the caption states, any other is noted in the cell."""
    if stat is None:
        return Cell()
    notes = ["" if stat.n == usual_n or usual_n is None else f"n={stat.n}", stat.images]
    note = ", ".join(filter(None, notes))
    return Cell(stat.mean, stat.half, note=f"({note})" if note else "", audit=stat.audit, stat=stat)


def mark_columns(rows: Sequence[Row]) -> list[Row]:
    """The rows with the best and second best figures of each column marked.

    Best are the best mean and all figures that it does not beat (`Stat.is_beaten_by`); second, only where the best
    stands alone, are the next mean and all that this one does not beat. The only figure of a column has no mark.
    """
    marked = [list(row) for row in rows]
    for column, cells in enumerate(zip(*rows, strict=True)):
        stats = {i: cell.stat for i, cell in enumerate(cells) if cell.stat and cell.stat.ranked}
        best = _unbeaten(stats) if len(stats) > 1 else []
        rest = {i: stat for i, stat in stats.items() if i not in best} if len(best) == 1 else {}
        for i, mark in [*((i, BEST) for i in best), *((i, SECOND) for i in _unbeaten(rest))]:
            marked[i][column] = replace(cells[i], mark=mark)
    return marked


def _unbeaten(stats: dict[int, Stat]) -> list[int]:
    """The best mean (of equals all), and what any of these does not beat."""
    top = max((stat.sign * stat.mean for stat in stats.values()), default=0.0)
    equal = [stat for stat in stats.values() if stat.sign * stat.mean == top]
    first = {(tuple(stat.by_seed.items()), stat.split, stat.ci): stat for stat in equal}.values()  # each test once
    return [i for i, stat in stats.items() if not all(stat.is_beaten_by(best) for best in first)]


# ---------------------------------------------------------------------- a cell as text


def shown(content: Cell | str, fmt: str) -> str:
    """A cell, or text, in a format."""
    return cell_text(content, fmt) if isinstance(content, Cell) else escape(content, fmt)


def cell_text(cell: Cell, fmt: str) -> str:
    """A cell as text in a format, in `plain` without its mark. The mark is on the mean alone, not on its interval."""
    if cell.value is None:
        return escape(cell.text, fmt)
    number = f"{cell.value:{'+' if cell.signed else ''}{',' if cell.grouped else ''}.{cell.decimals}f}"
    half = "" if cell.half is None else f" ± {cell.half:.{cell.decimals}f}"
    note = f" {cell.note}" if cell.note else ""
    letters = ",".join(cell.audit)
    if fmt == "latex":
        command = {BEST: r"\mathbf", SECOND: r"\underline"}.get(cell.mark)
        number = f"{command}{{{number}}}" if command else number
        half = half and f"\\,{{\\scriptstyle\\pm{half[3:]}}}"
        above = f"^{{\\mathrm{{{cell.audit}}}}}" if letters else ""
        return f"${number.replace(',', '{,}')}{half}{above}$" + escape(note, fmt)
    if fmt == "markdown":
        number = {BEST: f"**{number}**", SECOND: f"<u>{number}</u>"}.get(cell.mark, number)
        return number + half + (f"<sup>{letters}</sup>" if letters else "") + note
    mark = TERMINAL_MARKS[cell.mark] if fmt == "terminal" else ""
    return mark + number + half + raised(cell.audit) + note


def escape(content: str, fmt: str) -> str:
    """Text in which nothing is read as markup, as a formula or by a terminal."""
    if fmt == "markdown":
        return escaping.markdown(content)
    content = escaping.printable(content)
    return LATEX_SPECIAL.sub(lambda found: LATEX_ESCAPES[found[0]], content) if fmt == "latex" else content
