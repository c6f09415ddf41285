"""What a layout of figures declares, and the table that records make under it: ours, published below, differences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from simnl.config_names import known
from simnl.results.published import AVERAGE, Figure, protocol_of, published_accuracy, published_methods, same_weights
from simnl.results.tables import common
from simnl.results.tables.common import Request
from simnl.results.tables.model import NOT_APPLICABLE, Block, Cell, Row, Table, figure, mark_columns, text
from simnl.results.tables.records import ARROW, GridRow, grid, is_clean, is_standard
from simnl.runs.names import display_name

COLUMN = "column"
Rows = dict[Any, list[GridRow]]  # by block
Place = Callable[[Any], dict[str, object]]


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
        columns: the columns in order, of those that there are.
        headers: what stands above the columns.
        block: key of the records that makes the blocks, and how blocks without it are made.
        rows: the rows of each block from the records of a table; None: a grid of each block's records.
        expected: the columns that are there even without a figure, from those with figures.
        average: one more column, of two or more; None: none.
        caption: sentences on the columns.
        part: where a column is no data set, what csv calls it.
        setting: what a table's records agree in, for its title and caption.
        task: name of the task, for methods that cannot do it; empty: methods without a run are not shown.
        shows_unable: all methods of the records that cannot do the task have a row.
        paper: the source whose methods are shown even without runs, from the columns; None: nothing is published.
        whole: the data sets of a published average.
        missing: the error where there is no group.
    """

    name: str
    title: Callable[[dict], str]
    groups: Callable[[Sequence[dict], Request], list[list[dict]]]
    figures: Callable[[dict], dict[Any, float]]
    columns: Callable[[set, Request], list]
    headers: Callable[[Sequence], list[str]] = lambda columns: list(columns)
    block: str = "shots"
    rows: Callable[[Sequence[dict], Request], Rows] | None = None
    expected: Callable[[set, Request], set] = lambda there, request: there
    average: Callable[[Sequence], Average] | None = None
    caption: tuple[str, ...] = ()
    part: str = ""
    setting: Callable[[dict], dict] = lambda record: record
    task: str = ""
    shows_unable: bool = True
    paper: Callable[[Sequence], str] | None = None
    whole: tuple[str, ...] = ()
    missing: str = ""

    def tables(self, records: Sequence[dict], request: Request) -> list[Table]:
        """One table per group of records, see `groups_of`."""
        return [self._table(group, records, request) for group in self.groups_of(records, request)]

    def groups_of(self, records: Sequence[dict], request: Request) -> list[list[dict]]:
        """The records of each table.

        Raises:
            ValueError: there is nothing to show.
        """
        groups = self.groups(records, request)
        if self.missing and not groups:
            raise ValueError(self.missing)
        return groups

    def averaged(self, columns: Sequence) -> Average | None:
        """The average over these columns; None where there is none to make."""
        found = self.average(columns) if self.average else None
        return found if found and len(found.over) > 1 else None

    def _table(self, records: Sequence[dict], everything: Sequence[dict], request: Request) -> Table:
        first = self.setting(records[0])
        found = [{**r, COLUMN: column, "accuracy": a} for r in records for column, a in self.figures(r).items()]
        columns = self.columns(self.expected({r[COLUMN] for r in found}, request), request)
        average = self.averaged(columns)
        names = [*columns, average.name] if average else columns
        comparable = self._comparable(columns, average)
        comparison = Comparison(self.name, records, request, self.task, everything if self.shows_unable else ())
        blocks = []
        by_block = self.rows(records, request) if self.rows else self.grids(found, request)
        for key, rows in by_block.items():
            if average:
                common.add_average(rows, average.name, average.over, request.ci)
            place = self._place(key or records[0]["dataset"])
            shots = key if self.block == "shots" else records[0]["shots"]
            body = comparison.block(rows, names, comparable, shots, self.paper(columns) if self.paper else "", place)
            blocks.append(Block(["method", *self.headers(names)], body, common.block_title(key, len(by_block) - 1)))
        averaged = average or (Average(AVERAGE, list(by_block)[:-1], "data sets") if AVERAGE in by_block else None)
        return Table(
            title=f"{self.title(records[0])} ({common.run_title(first)}): accuracy in %",
            caption=[
                *self.caption,
                *common.common_caption([first, *records[1:]], comparison.rows, request),
                *([common.average_caption(len(averaged.over), averaged.what)] if averaged else []),
                *comparison.caption(),
            ],
            blocks=blocks,
            tidy=comparison.tidy,
            marked=True,
        )

    def _comparable(self, columns: Sequence, average: Average | None) -> Sequence:
        """The columns with published counterparts; an average over other data sets than the published one has none."""
        if not self.paper:
            return []
        if average is None or {column.split(ARROW)[-1] for column in average.over} != set(self.whole):
            return columns
        return [*columns, average.name]

    def grids(self, records: Sequence[dict], request: Request) -> Rows:
        """The rows of each block, from records with their `column`."""
        there = {record[self.block] for record in records}
        keys = sorted(there) if self.block == "shots" else common.dataset_order(there, request)
        of_block = {key: [r for r in records if r[self.block] == key] for key in keys}
        return {key: grid(same, lambda r: r[COLUMN], request.ci) for key, same in of_block.items()}

    def _place(self, key: Any) -> Place:
        """Where a figure stands, by its column, for csv."""
        return lambda column: {"dataset": key, self.part: column} if self.part else {"dataset": column}


class Comparison:
    """Builds the rows of one table and gathers captions and tidy rows on the way.

    Args:
        layout: its name, for csv.
        records: all of the table.
        request: what was asked for.
        task: for methods that cannot do it; empty: methods without a run are not shown.
        everything: records whose methods are shown as such if they cannot do the task.
    """

    def __init__(
        self, layout: str, records: Sequence[dict], request: Request, task: str = "", everything: Sequence[dict] = ()
    ):
        self.layout, self.task, self.request, self.first = layout, task, request, records[0]
        self.shows_published = same_weights(records) and is_clean(self.first)
        unable = filter(self._reason_against, {record["method"] for record in everything})
        self.methods = {record["method"] for record in records} | set(request.methods) | set(unable) if task else set()
        self.rows: list[GridRow] = []
        self.tidy: list[dict] = []
        self.notes: list[str] = []
        self.used: dict[str, set[str]] = defaultdict(set)
        self.compared = False

    def block(
        self, rows: Sequence[GridRow], columns: Sequence, comparable: Sequence, shots: int, source: str, place: Place
    ) -> list[Row]:
        """The rows of a block, marked, in order, with methods that have no run here.

        Args:
            rows: our figures.
            columns: keys of `rows[...].stats`, and data sets of published figures.
            comparable: the columns that have published counterparts.
            shots: of the block.
            source: the methods of this published table are shown even without runs; empty: none.
            place: where a figure of a column stands, for csv.
        """
        n = common.usual_n(rows)
        self.rows += rows
        rows = common.ordered(rows, self.request)
        marked = mark_columns(
            [[figure(r.stats[c], n) if c in r.stats else self._missing(r.method) for c in columns] for r in rows]
        )
        extra = self._without_runs(shots, source) if comparable else []
        methods = [*self.methods, *(row.method for row in rows), *extra]
        body: list[Row] = []
        for method in common.method_order(methods, self.request.methods):
            published = self._published(method, shots, columns, comparable)
            mine = [(row, cells) for row, cells in zip(rows, marked, strict=True) if row.method == method]
            for row, cells in mine:
                theirs = published if is_standard(row.first) else [None] * len(columns)
                body += self.with_published(row, row.shown, cells, theirs, columns, place)
            if not mine:
                body += self._absent(method, published, columns, shots)
        return body

    def with_published(
        self, row: GridRow, label: str, cells: Row, published: Sequence[Figure | None], columns: Sequence, place: Place
    ) -> list[Row]:
        """Our row; below it, where there are any, the published figures and the differences."""
        for column, theirs in zip(columns, published, strict=True):
            stat = row.stats.get(column)
            self.compared |= bool(stat and theirs)
            if stat or theirs:
                tidy = common.tidy(self.layout, row, stat, theirs, self.request.ci, **place(column))
                self.tidy.append(tidy)
        self._use(row.method, published)
        return _triple(label, cells, published)

    def caption(self, ours: str = "our run is a standard one") -> list[str]:
        """Sentences on published figures and on methods that do not apply; `ours`: when there is a difference."""
        sentences = [
            f"Published: {source} ({', '.join(sorted(map(display_name, methods)))}): {protocol_of(source)}."
            for source, methods in sorted(self.used.items())
        ]
        if sentences:
            sentences.append(
                "Difference: ours minus published, in points, only where backbone, weights and shots agree and "
                f"{ours}{'' if self.compared else '; here there is no such pair'}."
            )
        return sentences + self.notes

    def _without_runs(self, shots: int, source: str) -> list[str]:
        if source not in self.request.sources or self.request.methods or not self.shows_published:
            return []
        return published_methods(self.first["backbone"], shots, source)

    def _published(self, method: str, shots: int, columns: Sequence, comparable: Sequence) -> list[Figure | None]:
        """Published figures by column, where data and weights are those of the published figures."""
        if not self.shows_published:
            return [None] * len(columns)
        found = published_accuracy(method, self.first["backbone"], shots, self.request.sources)
        return [found.get(column) if column in comparable else None for column in columns]

    def _absent(self, method: str, published: list[Figure | None], columns: Sequence, shots: int) -> list[Row]:
        place = {"shots": shots, "backbone": self.first["backbone"]}
        for column, theirs in zip(columns, published, strict=True):
            if theirs:
                self.tidy.append(common.tidy_published(self.layout, method, theirs, dataset=column, **place))
        self._use(method, published)
        ours = self._missing(method) if method in known("trainers") else text("")
        return _triple(display_name(method), [ours] * len(columns), published)

    def _reason_against(self, method: str) -> str | None:
        return reason_against(method, self.task, self.first.get("arch", "")) if self.task else None

    def _missing(self, method: str) -> Cell:
        """`n/a`, with the reason in the notes, once; or a missing figure."""
        reason = self._reason_against(method)
        note = f"n/a ({display_name(method)}): {reason.rstrip('.')}." if reason else ""
        self.notes += [note] if note and note not in self.notes else []
        return text(NOT_APPLICABLE) if reason else Cell()

    def _use(self, method: str, published: Sequence[Figure | None]) -> None:
        for theirs in filter(None, published):
            self.used[theirs.source].add(method)


@cache
def reason_against(method: str, task: str, arch: str) -> str | None:
    """Why a method cannot do a task on an architecture; None if it can, or is not one of this program's."""
    from simnl.runs.capabilities import refusal  # imports every trainer, which most tables do not need

    try:
        return refusal(method, task=task, arch=arch)
    except KeyError:
        return None


def _triple(label: str, ours: Row, published: Sequence[Figure | None]) -> list[Row]:
    rows = [[text(label), *ours]]
    if any(published):
        rows.append([text("published"), *(Cell(p.accuracy, p.ci) if p else Cell() for p in published)])
        if any(cell.value is not None and p for cell, p in zip(ours, published, strict=True)):
            rows.append([text("difference"), *map(_difference, ours, published)])
    return rows


def _difference(ours: Cell, published: Figure | None) -> Cell:
    if ours.value is None or published is None:
        return Cell(text="")
    return Cell(ours.value - published.accuracy, signed=True)
