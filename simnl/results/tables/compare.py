"""Blocks of our figures with the published ones below them, and what the caption has to say about those."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from simnl.config_names import known
from simnl.results.published import Figure, published_accuracy, published_methods, same_weights
from simnl.results.tables import common
from simnl.results.tables.absent import absent_cell, reason_against
from simnl.results.tables.common import Request
from simnl.results.tables.model import Cell, Row, figure, mark_columns, text
from simnl.results.tables.records import GridRow, is_clean, is_standard
from simnl.runs.names import display_name


class Comparison:
    """Builds the blocks of one table and gathers captions and tidy rows on the way.

    Args:
        layout, task: names, for csv and for capabilities.
        records: all of the table.
        request: what was asked for.
        everything: all records; their methods that cannot do the task are shown as such.
    """

    def __init__(
        self, layout: str, task: str, records: Sequence[dict], request: Request, everything: Sequence[dict] = ()
    ):
        self.layout, self.task, self.request = layout, task, request
        self.first = records[0]
        self.shows_published = same_weights(records) and is_clean(self.first)
        others = {record["method"] for record in everything}
        unable = {method for method in others if reason_against(method, task, self.first.get("arch", ""))}
        self.methods = {record["method"] for record in records} | set(request.methods) | unable
        self.rows: list[GridRow] = []
        self.tidy: list[dict] = []
        self.notes: list[str] = []
        self.used: dict[str, set[str]] = defaultdict(set)
        self.compared = False

    def block(
        self,
        rows: Sequence[GridRow],
        columns: Sequence[str],
        comparable: Sequence[str],
        shots: int,
        source: str,
        dataset: str = "",
    ) -> list[Row]:
        """The rows of a block, marked, in order, with methods that have no run here.

        Args:
            rows: our figures.
            columns: keys of `rows[...].stats`, and data sets of published figures.
            comparable: the columns that have published counterparts.
            shots: of the block.
            source: the methods of this published table are shown even without runs; empty: none.
            dataset: of the block, where the columns are not data sets; for csv.
        """
        n = common.usual_n(rows)
        rows = common.ordered(rows, self.request)
        marked = mark_columns([self._cells(row, columns, n) for row in rows])
        ours = {id(row): cells for row, cells in zip(rows, marked, strict=True)}
        extra = self._without_runs(shots, source) if comparable else []
        body: list[Row] = []
        for method in common.method_order([*self.methods, *extra], self.request.methods):
            published = self._published(method, shots, columns, comparable)
            mine = [row for row in rows if row.method == method]
            for row in mine:
                standard = published if is_standard(row.first) else [None] * len(columns)
                body += self._with_published(row, ours[id(row)], standard, columns, dataset)
            if not mine:
                body += self._absent(method, published, columns, shots)
        return body

    def caption(self) -> list[str]:
        """Sentences on published figures and on methods that do not apply."""
        return [*common.published_caption(self.used, self.compared), *self.notes]

    def _without_runs(self, shots: int, source: str) -> list[str]:
        if source not in self.request.sources or self.request.methods or not self.shows_published:
            return []
        return published_methods(self.first["backbone"], shots, source)

    def _published(
        self, method: str, shots: int, columns: Sequence[str], comparable: Sequence[str]
    ) -> list[Figure | None]:
        """Published figures by column, where data and weights are those of the published figures."""
        if not self.shows_published:
            return [None] * len(columns)
        found = published_accuracy(method, self.first["backbone"], shots, self.request.sources)
        return [found.get(column) if column in comparable else None for column in columns]

    def _with_published(
        self, row: GridRow, cells: Row, published: Sequence[Figure | None], columns: Sequence[str], dataset: str
    ) -> list[Row]:
        for column, theirs in zip(columns, published, strict=True):
            stat = row.stats.get(column)
            self.compared |= bool(stat and theirs)
            if stat or theirs:
                place = {"dataset": dataset, "part": column} if dataset else {"dataset": column}
                self.tidy.append(common.tidy(self.layout, row, stat, theirs, self.request.ci, **place))
        self._use(row.method, published)
        return common.triple(row.shown, cells, published)

    def _absent(self, method: str, published: Sequence[Figure | None], columns: Sequence[str], shots: int) -> list[Row]:
        place = {"shots": shots, "backbone": self.first["backbone"]}
        for column, theirs in zip(columns, published, strict=True):
            if theirs:
                self.tidy.append(common.tidy_published(self.layout, method, theirs, dataset=column, **place))
        self._use(method, published)
        ours = self._missing(method) if method in known("trainers") else text("")
        return common.triple(display_name(method), [ours] * len(columns), published)

    def _cells(self, row: GridRow, columns: Sequence[str], n: int | None) -> Row:
        return [figure(row.stats[c], n) if c in row.stats else self._missing(row.method) for c in columns]

    def _missing(self, method: str) -> Cell:
        return absent_cell(method, self.task, self.first.get("arch", ""), self.notes)

    def _use(self, method: str, published: Sequence[Figure | None]) -> None:
        for theirs in filter(None, published):
            self.used[theirs.source].add(method)
