"""What a table is made of, before it is text: cells, rows, blocks, marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from simnl.results.stats import interval, mean

MISSING = "–"
NOT_APPLICABLE = "n/a"
BEST, SECOND = "best", "second"


@dataclass(frozen=True)
class Stat:
    """Accuracies of one setting by seed, in percent, and the name of the interval to make of them.

    images: how many training images a class had where that is not the number of shots, e.g. `32 per class`.
    """

    by_seed: dict[int, float]
    ci: str = "t"
    images: str = ""

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return mean([self.by_seed[seed] for seed in sorted(self.by_seed)])

    @property
    def half(self) -> float | None:
        """Half width of the 95 % interval; None for one seed."""
        return interval([self.by_seed[seed] for seed in sorted(self.by_seed)], self.ci)

    @property
    def n(self) -> int:
        """Number of seeds."""
        return len(self.by_seed)


@dataclass(frozen=True)
class Cell:
    """A figure, or text where `value` is None.

    Attributes:
        value, half: a number and the half width of its interval.
        text: what to show without a value.
        signed: show a plus sign.
        mark: "", "best" or "second".
        note: short text after the figure, e.g. `(n=2)`.
        decimals: of value and half.
        grouped: thousands apart by commas.
    """

    value: float | None = None
    half: float | None = None
    text: str = MISSING
    signed: bool = False
    mark: str = ""
    note: str = ""
    decimals: int = 2
    grouped: bool = False


Row = list[Cell]


@dataclass
class Block:
    """Rows under one header; a table has one or more."""

    headers: list[str]
    rows: list[Row]
    title: str = ""


@dataclass
class Table:
    """A table with all that is said about it.

    title: one line; caption: sentences; marked: whether a legend of the marks is needed; tidy: one dict of full
    precision per figure, for csv.
    """

    title: str
    caption: list[str]
    blocks: list[Block]
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
    return Cell(stat.mean, stat.half, note=f"({note})" if note else "")


def mark_columns(rows: Sequence[Row], skip: int = 1) -> list[Row]:
    """The rows with the best and second best of each column marked; the first `skip` columns are not figures.

    Two figures are *tied* unless they differ by more than the half width of each one's interval: a difference within
    an interval is no win. Marked as best are the highest figure and all tied with it; as second, only where the best
    stands alone, the next figure and all tied with that one. A column is left unmarked where a figure has no interval
    (one seed), where there is only one figure, and where all are tied.
    """
    marked = [list(row) for row in rows]
    for column in range(skip, max((len(row) for row in rows), default=0)):
        cells = {i: row[column] for i, row in enumerate(rows) if column < len(row) and row[column].value is not None}
        for index, mark in _marks(cells).items():
            marked[index][column] = replace(cells[index], mark=mark)
    return marked


def _marks(cells: dict[int, Cell]) -> dict[int, str]:
    if len(cells) < 2 or any(cell.half is None for cell in cells.values()):
        return {}
    best = _group(cells)
    rest = {i: cell for i, cell in cells.items() if i not in best}
    if not rest:
        return {}
    marks = dict.fromkeys(best, BEST)
    if len(best) == 1:
        marks |= dict.fromkeys(_group(rest), SECOND)
    return marks


def _group(cells: dict[int, Cell]) -> list[int]:
    """The highest figure and those tied with it."""
    top = max(cells.values(), key=lambda cell: (cell.value, cell.half))  # of equals the wider: the order says nothing
    return [i for i, cell in cells.items() if top.value - cell.value <= max(top.half, cell.half)]
