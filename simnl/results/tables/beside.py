"""What stands beside our figures: published ones in rows below, and runs imported from the logs of other programs.

Both bear letters that say how they came about, and neither is ranked. An imported run has a row of its own in each
table of ours with its backbone and classes, and no difference to it is shown: its log does not say that its weights,
split and draws are ours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from simnl.results.published import Figure
from simnl.results.published.audit import footnotes, marks_of
from simnl.results.tables.model import Cell, Row, Stat, text
from simnl.results.tables.records import OWN_SETTING, SETTING, GridRow, equals, is_clean, is_imported, values_of
from simnl.runs.names import display_name

Rows = dict[Any, list[GridRow]]  # by block


class Line(NamedTuple):
    """A method in a block: our row and its cells (no row: we have no run of it), and published figures by column."""

    label: str
    method: str
    row: GridRow | None
    cells: Row
    published: dict[Any, Figure]

    @property
    def stats(self) -> dict[Any, Stat]:
        """Our figures by column."""
        return self.row.stats if self.row else {}

    @property
    def is_imported(self) -> bool:
        """True where our row is of runs from the logs of another program."""
        return self.row is not None and is_imported(self.row.first)

    def has(self, column: Any) -> bool:
        """True where there is a figure, ours or a published one."""
        return bool(self.stats.get(column) or self.published.get(column))


def beside(records: Sequence[dict], comparable: bool = False) -> list[dict]:
    """The records, with each imported run once per setting of ours that it may stand beside, as if it had this setting:
    one that is standard but for the part of the classes, and has its backbone and classes.

    What it says of its setting itself is under `OWN_SETTING`. One that no setting of ours suits is left as it is.

    Args:
        records: any.
        comparable: leave out imported runs whose protocol is not known to equal that of ours.
    """
    ours = [record for record in records if not is_imported(record)]
    settings = {values_of(r, SETTING): {key: r[key] for key in SETTING if key in r} for r in ours}
    found = list(ours)
    for record in filter(is_imported, records):
        classes = record.get("subsample_classes", "all")
        suiting = [
            setting
            for setting in settings.values()
            if is_clean(setting, classes) and record["backbone"] == setting["backbone"]
            if equals(record, setting["protocol"]) or not comparable
        ]
        own = {key: record.get(key, "") for key in SETTING}
        found += [{**record, **setting, OWN_SETTING: own} for setting in suiting]
        found += [record] if not suiting and not (ours and comparable) else []
    return found


def published_caption(lines: Sequence[Line], standard: str) -> list[str]:
    """The sources of published figures, and when there is a difference: where our run is as `standard` says."""
    used: dict[str, set[str]] = defaultdict(set)
    marked = []
    for line in lines:
        name = display_name(line.method)
        for theirs in line.published.values():
            used[theirs.source].add(name)
        shown = [marks_of(theirs) for theirs in line.published.values()] + [cell.audit for cell in line.cells]
        marked.append(("".join(shown), name))
    named = "; ".join(f"{source} ({', '.join(sorted(methods))})" for source, methods in sorted(used.items()))
    sentences = [f"Published: {named}."] if named else []
    compared = any(line.stats.keys() & line.published for line in lines if not line.is_imported)
    if sentences:
        sentences.append(
            "Difference: ours minus published, in points, only where backbone, weights and shots agree and "
            f"{standard}{'' if compared else '; here there is no such pair'}."
        )
    return sentences + footnotes(marked)


def with_published(line: Line, names: Sequence) -> list[Row]:
    """A row; below it, where there are any, the published figures, and below a row of ours the differences."""
    rows = [[text(line.label), *line.cells]]
    theirs = [line.published.get(name) for name in names]
    if line.published:
        rows.append([text("published"), *(Cell(p.accuracy, p.ci, audit=marks_of(p)) if p else Cell() for p in theirs)])
    differences = [
        Cell(text="")
        if ours.value is None or other is None or line.is_imported
        else Cell(ours.value - other.accuracy, signed=True, audit=marks_of(other))
        for ours, other in zip(line.cells, theirs, strict=True)
    ]
    if any(cell.value is not None for cell in differences):
        rows.append([text("difference"), *differences])
    return rows
