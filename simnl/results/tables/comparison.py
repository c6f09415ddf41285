"""What a layout of methods by columns declares, and its tables: our figures, published ones below, and differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from simnl.config_names import known
from simnl.results.published import ARROW, AVERAGE, Figure, published_methods, same_weights
from simnl.results.published.audit import has_protocol, marks_of
from simnl.results.tables import common
from simnl.results.tables.beside import Line, Rows, beside, published_caption, with_published
from simnl.results.tables.common import Request
from simnl.results.tables.listing import Layout
from simnl.results.tables.model import NOT_APPLICABLE, Block, Cell, Stat, Table, figure, mark_columns, text
from simnl.results.tables.records import COLUMN, GridRow, grid, is_clean, is_imported, is_standard, split_by
from simnl.runs.names import display_name


class Average(NamedTuple):
    """One more column: its name, the columns it is made of, what these are called, and whether they share no draws."""

    name: str
    over: Sequence
    what: str
    apart: bool = True


@dataclass(frozen=True, kw_only=True)
class Comparison(Layout):
    """How records become tables of methods by columns, in blocks. A group is a list of records.

    Attributes:
        name: of the layout, for csv.
        figures: {column: accuracy} of a run.
        columns: the columns in order, from those with figures; none: each block has those of its figures, sorted.
        headers: what stands above the columns.
        cell: a figure as it is shown, from its column, its runs, and the number of seeds that the caption states.
        block: key of the records that makes the blocks, and how blocks without it are made.
        rows: the rows of each block from the records of a table; None: a grid of each block's records.
        heading: of a block, from its key and the number of other blocks: a title, and what stands above the methods.
        average: one more column, of two or more; None: none.
        caption: sentences on the columns; remarks: sentences on the rows.
        place: where a figure stands, for csv, from the table's first record, the block and the column.
        task: name of the task, for methods that cannot do it; empty: methods without a run are not shown.
        shows_unable: all methods of the records that cannot do the task have a row.
        published: figures by column from a run's place, the block and the sources; None: nothing is published.
        classes: the part of the classes that published figures are of.
        compared: whether a run may stand beside published figures, and the same in words.
        paper: the source whose methods are shown even without runs, from the columns.
        whole: the data sets of a published average.
    """

    name: str
    figures: Callable[[dict], dict[Any, float]]
    columns: Callable[[set, Request], list]
    headers: Callable[[Sequence], list[str]] = lambda columns: list(columns)
    unit: str = "accuracy in %"
    cell: Callable[[Any, Stat, int | None], Cell] = lambda column, stat, usual_n: figure(stat, usual_n)
    block: str = "shots"
    rows: Callable[[Sequence[dict], Request], Rows] | None = None
    heading: Callable[[Any, int], tuple[str, str]] = lambda key, others: (common.block_title(key, others), "method")
    average: Callable[[Sequence], Average] | None = None
    caption: tuple[str, ...] = ()
    remarks: Callable[[Rows], list[str]] = lambda rows: []
    place: Callable[[dict, Any, Any], dict[str, object]] = lambda first, block, column: {"dataset": column}
    task: str = ""
    shows_unable: bool = True
    published: Callable[[dict, Any, Sequence[str]], dict[Any, Figure]] | None = None
    classes: str = "all"
    compared: tuple[Callable[[dict], bool], str] = (is_standard, "our run is a standard one")
    paper: Callable[[Sequence], str] = lambda columns: ""
    whole: tuple[str, ...] = ()
    marked: bool = True

    def tables(self, records: Sequence[dict], request: Request) -> list[Table]:
        """One table per group that has a block; a ValueError says that there is nothing to show."""
        records = beside(records, request.comparable)
        methods = {record["method"] for record in records}
        made = [_Sheet(self, group, methods, request).table() for group in self.some(self.groups(records, request))]
        return self.some([table for table in made if table.blocks])

    def averaged(self, columns: Sequence) -> Average | None:
        """The average over these columns; None where there is none to make."""
        found = self.average(columns) if self.average else None
        return found if found and len(found.over) > 1 else None

    def grids(self, records: Sequence[dict], request: Request) -> Rows:
        """The rows of each block, from records with their `column`."""
        of_block = {same[0][self.block]: same for same in split_by(records, lambda r: r[self.block])}
        keys = list(of_block) if self.block == "shots" else common.dataset_order(of_block, request)
        return {key: grid(of_block[key], lambda r: r[COLUMN], request.ci) for key in keys}


class _Sheet:
    """One table in the making, from the records of a group and the methods of all records.

    `columns` are those of all blocks; none: each block has its own. `average` is one more column, or the last block.
    `others` are methods with a row even without a run; `notes` gathers why methods cannot do the task.
    """

    def __init__(self, layout: Comparison, records: Sequence[dict], methods: set[str], request: Request):
        self.layout, self.records, self.first, self.request = layout, records, records[0], request
        found = [{**r, COLUMN: column, "accuracy": a} for r in records for column, a in layout.figures(r).items()]
        columns = layout.columns({r[COLUMN] for r in found}, request)
        self.rows = layout.rows(records, request) if layout.rows else layout.grids(found, request)
        self.average = layout.averaged(columns)
        self.columns = [*columns, self.average.name] if self.average else columns
        if self.average:
            for rows in self.rows.values():
                common.add_average(rows, self.average.name, self.average.over, request.ci)
        elif AVERAGE in self.rows:
            self.average = Average(AVERAGE, list(self.rows)[:-1], "data sets")
        # an average over other data sets than the published one has no published counterpart
        over = {name.split(ARROW)[-1] for name in self.average.over} if self.average and layout.whole else set()
        self.is_whole = bool(over) and over == set(layout.whole)
        self.comparable = self.columns if self.is_whole else columns
        self.shows_published = bool(layout.published) and same_weights(records) and is_clean(self.first, layout.classes)
        self.notes: dict[str, None] = {}
        unable = {method for method in methods if self._reason(method)} if layout.shows_unable else set()
        self.others = {r["method"] for r in records} | set(request.methods) | unable if layout.task else set()

    def table(self) -> Table:
        """The table with its caption and the lines of csv."""
        layout, every = self.layout, []
        table = Table(layout.titled(self.records), marked=layout.marked)
        for key, rows in self.rows.items():
            shots = key if layout.block == "shots" else self.first["shots"]
            names, lines = self._block(key, shots, common.ordered(rows, self.request))
            title, corner = layout.heading(key, len(self.rows) - 1)
            body = [row for line in lines for row in with_published(line, names)]
            table.blocks.append(Block([corner, *layout.headers(names)], body, title))
            table.tidy += [self._tidy(line, key, shots, name) for line in lines for name in names if line.has(name)]
            every += lines
        all_rows = [row for rows in self.rows.values() for row in rows]
        average = self.average
        table.caption = [
            *layout.caption,
            *common.common_caption([layout.setting(self.records), *self.records[1:]], all_rows, self.request),
            *layout.remarks(self.rows),
            *([common.average_caption(len(average.over), average.what)] if average else []),
            *published_caption(every, layout.compared[1]),
            *self.notes,
        ]
        return table

    def _block(self, key: Any, shots: int, rows: Sequence[GridRow]) -> tuple[list, list[Line]]:
        """The columns of a block, and its lines in order, marked, with methods that have no run here."""
        ours = {row.method for row in rows}
        there = ours | self.others
        source = self.layout.paper(self.columns)
        if self.shows_published and source in self.request.sources and not self.request.methods:
            there |= set(published_methods(self.first["backbone"], shots, source))
        theirs = {method: self._published(method, key, shots) for method in there}
        of_rows = [theirs[row.method] if self._shows_published_at(row, rows) else {} for row in rows]
        names = self.columns or sorted({c for row in rows for c in row.stats} | {c for of in of_rows for c in of})
        n = common.usual_n(rows)
        cells = [[self._cell(row.method, column, row.stats.get(column), n) for column in names] for row in rows]
        cells = mark_columns(cells) if self.layout.marked else cells
        lines = [
            Line(row.shown, row.method, row, *of_row)
            for row, of_row in zip(rows, zip(cells, of_rows, strict=True), strict=True)
        ]
        order = common.method_order(there, self.request.methods)
        for method in (name for name in order if name not in ours):
            can_run = method in known("trainers")
            no_run = [self._cell(method, column, None, n) if can_run else text("") for column in names]
            lines.append(Line(display_name(method), method, None, no_run, theirs[method]))
        return names, sorted(lines, key=lambda line: order.index(line.method))

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

    def _tidy(self, line: Line, key: Any, shots: int, column: Any) -> dict[str, object]:
        """One figure for csv, ours and the published one."""
        stat, theirs = line.stats.get(column), line.published.get(column)
        place = self.layout.place(self.first, key or self.first["dataset"], column)
        if line.row:
            said = common.tidy(self.layout.name, line.row, stat, self.request.ci, **place)
        else:
            of_method = {"layout": self.layout.name, "method": line.method, "row": line.method}
            said = {**of_method, **place, "shots": shots, "backbone": self.first["backbone"]}
        compared = stat.mean - theirs.accuracy if stat and theirs and not line.is_imported else None
        return said | {
            "published": theirs and theirs.accuracy,
            "published_ci95": theirs and theirs.ci,
            "published_per_seed": theirs and theirs.per_seed,
            **({"difference": compared} if line.row else {}),
            "source": theirs and theirs.source,
            "published_marks": theirs and marks_of(theirs),
        }


@cache
def reason_against(method: str, task: str, arch: str) -> str | None:
    """Why a method cannot do a task on an architecture; None if it can, or is not one of this program's."""
    from simnl.runs.capabilities import refusal  # late: it reads the data sets, too, which most tables do not need

    try:
        return refusal(method, task=task, arch=arch)
    except KeyError:
        return None
