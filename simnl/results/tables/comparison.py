"""What a layout of figures declares, and the table that records make under it: ours, published below, differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from simnl.config_names import known
from simnl.results.published import ARROW, AVERAGE, Figure, published_methods, same_weights
from simnl.results.published.audit import has_protocol
from simnl.results.tables import common
from simnl.results.tables.beside import Line, Rows, beside, published_caption, with_published
from simnl.results.tables.common import Request
from simnl.results.tables.model import NOT_APPLICABLE, Block, Cell, Stat, Table, figure, mark_columns, text
from simnl.results.tables.records import COLUMN, GridRow, grid, is_clean, is_imported, is_standard, split_by
from simnl.runs.names import display_name


class Average(NamedTuple):
    """One more column: its name, the columns it is made of, what these are called, and whether they share no draws."""

    name: str
    over: Sequence
    what: str
    apart: bool = True


@dataclass(frozen=True)
class Layout:
    """How records become tables, blocks, columns and rows.

    Attributes:
        name: of the layout, for csv.
        title: what a table is of, from its first record.
        groups: the records of each table.
        figures: {column: accuracy} of a run.
        columns: the columns in order, of those that there are; none: each block has the columns of its figures, sorted.
        headers: what stands above the columns.
        unit: of the figures, for the title.
        cell: a figure as it is shown, from its column, its runs, and the number of seeds that the caption states.
        block: key of the records that makes the blocks, and how blocks without it are made.
        rows: the rows of each block from the records of a table; None: a grid of each block's records.
        heading: of a block, from its key and the number of other blocks: a title, and what stands above the methods.
        label: of a row, which is one of several.
        expected: the columns that are there even without a figure, from those with figures.
        average: one more column, of two or more; None: none.
        caption: sentences on the columns; remarks: sentences on the rows.
        place: where a figure stands, for csv, from the table's first record, the block and the column.
        setting: what a table's records agree in, for its title and caption.
        task: name of the task, for methods that cannot do it; empty: methods without a run are not shown.
        shows_unable: all methods of the records that cannot do the task have a row.
        published: figures by column from a run's place, the block and the sources; None: nothing is published.
        like_published: whether the data of a table's runs are those of published figures.
        compared: whether a run may stand beside published figures, and the same in words.
        paper: the source whose methods are shown even without runs, from the columns.
        whole: the data sets of a published average.
        marked: the best figures of a column are marked.
        missing: the error where there is nothing to show.
    """

    name: str
    title: Callable[[dict], str]
    groups: Callable[[Sequence[dict], Request], list[list[dict]]]
    figures: Callable[[dict], dict[Any, float]]
    columns: Callable[[set, Request], list]
    headers: Callable[[Sequence], list[str]] = lambda columns: list(columns)
    unit: str = "accuracy in %"
    cell: Callable[[Any, Stat, int | None], Cell] = lambda column, stat, usual_n: figure(stat, usual_n)
    block: str = "shots"
    rows: Callable[[Sequence[dict], Request], Rows] | None = None
    heading: Callable[[Any, int], tuple[str, str]] = lambda key, others: (common.block_title(key, others), "method")
    label: Callable[[GridRow, Sequence[GridRow]], str] = lambda row, rows: row.shown
    expected: Callable[[set, Request], set] = lambda there, request: there
    average: Callable[[Sequence], Average] | None = None
    caption: tuple[str, ...] = ()
    remarks: Callable[[Rows], list[str]] = lambda rows: []
    place: Callable[[dict, Any, Any], dict[str, object]] = lambda first, block, column: {"dataset": column}
    setting: Callable[[dict], dict] = lambda record: record
    task: str = ""
    shows_unable: bool = True
    published: Callable[[dict, Any, Sequence[str]], dict[Any, Figure]] | None = None
    like_published: Callable[[dict], bool] = is_clean
    compared: tuple[Callable[[dict], bool], str] = (is_standard, "our run is a standard one")
    paper: Callable[[Sequence], str] = lambda columns: ""
    whole: tuple[str, ...] = ()
    marked: bool = True
    missing: str = ""

    def tables(self, records: Sequence[dict], request: Request) -> list[Table]:
        """One table per group of records that has a block; a ValueError says that there is nothing to show."""
        records = beside(records, request.comparable)
        tables = [self._table(group, records, request) for group in self.groups_of(records, request)]
        return self._some([table for table in tables if table.blocks])

    def groups_of(self, records: Sequence[dict], request: Request) -> list[list[dict]]:
        """The records of each table; a ValueError says that there is nothing to show."""
        return self._some(self.groups(records, request))

    def _some(self, found: list) -> list:
        if self.missing and not found:
            raise ValueError(self.missing)
        return found

    def averaged(self, columns: Sequence) -> Average | None:
        """The average over these columns; None where there is none to make."""
        found = self.average(columns) if self.average else None
        return found if found and len(found.over) > 1 else None

    def grids(self, records: Sequence[dict], request: Request) -> Rows:
        """The rows of each block, from records with their `column`."""
        there = {record[self.block] for record in records}
        keys = sorted(there) if self.block == "shots" else common.dataset_order(there, request)
        of_block = {same[0][self.block]: same for same in split_by(records, lambda r: r[self.block])}
        return {key: grid(of_block[key], lambda r: r[COLUMN], request.ci) for key in keys}

    def _table(self, records: Sequence[dict], everything: Sequence[dict], request: Request) -> Table:
        first = self.setting(records[0])
        found = [{**r, COLUMN: column, "accuracy": a} for r in records for column, a in self.figures(r).items()]
        columns = self.columns(self.expected({r[COLUMN] for r in found}, request), request)
        average = self.averaged(columns)
        by_block = self.rows(records, request) if self.rows else self.grids(found, request)
        if average:
            for rows in by_block.values():
                common.add_average(rows, average.name, average.over, request.ci)
        table = Table(f"{self.title(records[0])} ({common.run_title(first)}): {self.unit}", marked=self.marked)
        averaged = average or (Average(AVERAGE, list(by_block)[:-1], "data sets") if AVERAGE in by_block else None)
        maker = _Lines(self, records, everything, request, columns, average, averaged)
        every: list[Line] = []
        for key, rows in by_block.items():
            names, lines = maker.of_block(key, rows)
            title, corner = self.heading(key, len(by_block) - 1)
            body = [row for line in lines for row in with_published(line, names, self._label(line, rows))]
            table.blocks.append(Block([corner, *self.headers(names)], body, title))
            table.tidy += [one for line in lines for one in self._tidy(line, names, records[0], request.ci)]
            every += lines
        all_rows = [row for rows in by_block.values() for row in rows]
        table.caption = [
            *self.caption,
            *common.common_caption([first, *records[1:]], all_rows, request),
            *self.remarks(by_block),
            *([common.average_caption(len(averaged.over), averaged.what)] if averaged else []),
            *published_caption(every, self.compared[1]),
            *maker.notes,
        ]
        return table

    def _label(self, line: Line, rows: Sequence[GridRow]) -> str:
        return self.label(line.row, rows) if line.row else display_name(line.method)

    def _tidy(self, line: Line, names: Sequence, first: dict, ci: str) -> list[dict]:
        """One dict per figure, for csv."""
        found = []
        for column in names:
            stat, theirs = line.row.stats.get(column) if line.row else None, line.published.get(column)
            place = self.place(first, line.block or first["dataset"], column)
            if line.row and (stat or theirs):
                compared = stat.mean - theirs.accuracy if stat and theirs and not is_imported(line.row.first) else None
                ours = common.tidy(self.name, line.row, stat, ci, **place)
                found.append(ours | common.tidy_published(theirs, difference=compared))
            elif theirs:
                place |= {"shots": line.shots, "backbone": first["backbone"]}
                of_method = {"layout": self.name, "method": line.method, "row": line.method}
                found.append({**of_method, **place, **common.tidy_published(theirs)})
        return found


class _Lines:
    """Makes the lines of a table's blocks from its records, and gathers why methods cannot do the task.

    Those methods are of `everything`, all records. The columns are those of all blocks; none: each has its own. The
    average is one more column; what is averaged may also be the blocks.
    """

    def __init__(
        self, layout: Layout, records: Sequence[dict], everything: Sequence[dict], request: Request, columns: list,
        average: Average | None, averaged: Average | None,
    ):  # fmt: skip
        self.layout, self.first, self.request = layout, records[0], request
        self.columns = [*columns, average.name] if average else columns
        # an average over other data sets than the published one has no published counterpart
        over = {name.split(ARROW)[-1] for name in averaged.over} if averaged and layout.whole else set()
        self.is_whole = bool(over) and over == set(layout.whole)
        self.comparable = self.columns if self.is_whole else columns
        self.shows_published = bool(layout.published) and same_weights(records) and layout.like_published(self.first)
        self.source = layout.paper(columns)
        self.notes: dict[str, None] = {}
        unable = {r["method"] for r in everything if self._reason(r["method"])} if layout.shows_unable else set()
        self.others = {r["method"] for r in records} | set(request.methods) | unable if layout.task else set()

    def of_block(self, key: Any, rows: Sequence[GridRow]) -> tuple[list, list[Line]]:
        """The columns of a block, and its lines in order, marked, with methods that have no run here."""
        rows, shots = common.ordered(rows, self.request), key if self.layout.block == "shots" else self.first["shots"]
        there = {row.method for row in rows} | self.others
        if self.shows_published and self.source in self.request.sources and not self.request.methods:
            there |= set(published_methods(self.first["backbone"], shots, self.source))
        theirs = {method: self._published(method, key, shots) for method in there}
        of_rows = [theirs[row.method] if self._shows_published_at(row, rows) else {} for row in rows]
        there_are = {c for row in rows for c in row.stats} | {c for figures in of_rows for c in figures}
        names = self.columns or sorted(there_are)
        n = common.usual_n(rows)
        ours = [[self._cell(row.method, column, row.stats.get(column), n) for column in names] for row in rows]
        cells = mark_columns(ours) if self.layout.marked else ours
        lines: list[Line] = []
        for method in common.method_order(there, self.request.methods):
            whole = zip(rows, cells, of_rows, strict=True)
            mine = [Line(key, shots, method, *of_row) for of_row in whole if of_row[0].method == method]
            if not mine:
                ours_too = method in known("trainers")
                no_run = [self._cell(method, column, None, n) if ours_too else text("") for column in names]
                mine = [Line(key, shots, method, None, no_run, theirs[method])]
            lines += mine
        return names, lines

    def _shows_published_at(self, row: GridRow, rows: Sequence[GridRow]) -> bool:
        """True for our row of a method where it may be compared; for an imported one where there is none of ours."""
        if is_imported(row.first):
            return not any(one.method == row.method and not is_imported(one.first) for one in rows)
        return self.layout.compared[0](row.first)

    def _published(self, method: str, key: Any, shots: int) -> dict[Any, Figure]:
        """Published figures by column, where data and weights are those of the published figures."""
        if not self.shows_published or self.layout.published is None or (key == AVERAGE and not self.is_whole):
            return {}
        place = {**self.first, "method": method, "shots": shots}
        found = self.layout.published(place, key, self.request.sources)
        if self.request.comparable:
            found = {c: theirs for c, theirs in found.items() if has_protocol(theirs, self.first["protocol"])}
        return {c: figure for c, figure in found.items() if c in self.comparable} if self.columns else found

    def _cell(self, method: str, column: Any, stat: Stat | None, usual_n: int | None) -> Cell:
        """A figure; or `n/a`, whose reason is among the notes; or a missing figure."""
        if stat:
            return self.layout.cell(column, stat, usual_n)
        reason = self._reason(method)
        self.notes |= {f"n/a ({display_name(method)}): {reason.rstrip('.')}.": None} if reason else {}
        return text(NOT_APPLICABLE) if reason else Cell()

    def _reason(self, method: str) -> str | None:
        return reason_against(method, self.layout.task, self.first.get("arch", "")) if self.layout.task else None


@cache
def reason_against(method: str, task: str, arch: str) -> str | None:
    """Why a method cannot do a task on an architecture; None if it can, or is not one of this program's."""
    from simnl.runs.capabilities import refusal  # late: it reads the data sets, too, which most tables do not need

    try:
        return refusal(method, task=task, arch=arch)
    except KeyError:
        return None
