"""Paired differences against one method over the same draws, in the columns of a layout."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from simnl.results.stats import CI_METHODS
from simnl.results.tables import common, shift, studies
from simnl.results.tables.common import Request
from simnl.results.tables.model import Block, Row, Stat, Table, text
from simnl.results.tables.pairs import COLUMN, difference_cell, differences, merged, union
from simnl.results.tables.records import SETTING, GridRow, by_setting, grid, prompts_text
from simnl.runs.names import dataset_name, display_name

ALL = "all draws"


class Summary(NamedTuple):
    """One more column: its name; how it is made of a row, given the name of the interval; what the caption says."""

    name: str
    of_row: Callable[[GridRow, str], Stat | None]
    caption: str = ""


@dataclass(frozen=True)
class View:
    """What is compared, and how it is cut into tables, blocks and columns.

    Attributes:
        groups: the records of each table.
        figures: {column: accuracy} of a run.
        columns: the figures' columns in order, of those that there are.
        summary: one more column, of a row's figures in these columns; None: none.
        headers: what stands above the columns.
        block: key of the records that makes the blocks.
        where: what a table is of, from its first record; empty: nothing more than the setting.
        caption: sentences on the columns.
        part: True where a block is a data set and a column a part of it, for csv.
        setting: what a table's records agree in, for its title and caption.
    """

    groups: Callable[[Sequence[dict]], list[list[dict]]]
    figures: Callable[[dict], dict[Any, float]]
    columns: Callable[[set[Any], Request], list[Any]]
    summary: Callable[[Sequence[str]], Summary | None] = lambda columns: None
    headers: Callable[[Sequence[Any]], list[str]] = lambda columns: [dataset_name(column) for column in columns]
    block: str = "shots"
    where: Callable[[dict], str] = lambda record: ""
    caption: tuple[str, ...] = ()
    part: bool = False
    setting: Callable[[Sequence[dict]], dict] = lambda records: records[0]


def _over_all(columns: Sequence[str]) -> Summary | None:
    """All draws of all data sets."""
    if len(columns) < 2:
        return None
    return Summary(ALL, lambda row, ci: union(list(row.stats.values())))


def _over_targets(columns: Sequence[str]) -> Summary | None:
    """Each draw's mean over the targets: they share their training images, so they are no draws of their own."""
    targets = columns[1:]
    if len(targets) < 2:
        return None
    return Summary(
        shift.average_column(columns[0]),
        lambda row, ci: common.average_of([row.stats.get(target) for target in targets], ci),
        "Average: of each draw's differences on the targets, of draws that have all of them.",
    )


PLAIN = View(
    groups=by_setting,
    figures=lambda record: {record["dataset"]: record["accuracy"]},
    columns=common.dataset_order,
    summary=_over_all,
)
VIEWS = {
    "dg": View(
        groups=shift.dg_groups,
        figures=shift.source_and_targets,
        columns=lambda there, request: shift.shifted_columns(there),
        summary=_over_targets,
        headers=shift.shifted_headers,
        where=lambda record: f", domain generalisation from {dataset_name(record['dataset'])}",
    ),
    "base2new": View(
        groups=shift.base2new_groups,
        figures=shift.base_new_harmonic,
        columns=lambda there, request: [part for part in shift.PARTS if part in there],
        block="dataset",
        where=lambda record: f", base to new classes, {common.shots_title(record['shots'])}",
        caption=("Harmonic mean: of base and new of each draw, then compared.",),
        part=True,
    ),
    "noise": View(
        groups=lambda records: studies.noise_groups(records, ["shots"]),
        figures=lambda record: {studies.noise_of(record): record["accuracy"]},
        columns=lambda there, request: sorted(there),
        headers=lambda columns: [common.percent(share) for share in columns],
        block="dataset",
        where=lambda record: f", wrong training labels, {common.shots_title(record['shots'])}",
        caption=("Columns: share of the few-shot training labels that are replaced by another class, in both runs.",),
        part=True,
        setting=lambda records: {**records[0], "label_noise": 0.0},
    ),
}


def paired_tables(records: Sequence[dict], against: str, request: Request, layout: str = "") -> list[Table]:
    """One table per setting: mean differences to a method over the draws that both have.

    Args:
        records: those of `dg`, `base2new` and `noise` are compared per target, half of the classes, share of noise.
        against: the method; its runs without options are the baseline.
        request: what was asked for.
        layout: whose columns; one that is not in `VIEWS`: the runs' own test images, by data set.

    Raises:
        ValueError: runs of that method of more than one config on the same data, or no draws in common.
    """
    view = VIEWS.get(layout, PLAIN)
    groups = view.groups(records)
    found = [differences(g, lambda r: r["method"] == against and not r.get("options"), view.figures) for g in groups]
    if not any(found):
        methods = ", ".join(sorted({r["method"] for r in records}))
        also = ", with figures in the same columns," if layout in VIEWS else ""
        raise ValueError(
            f"Nothing to compare with '{against}': no other run has the same data set, shots, seed, split, weights, "
            f"preset, protocol and noise{also} as a run of it without options. There are runs of {methods}."
        )
    return [_table(g, these, against, request, view) for g, these in zip(groups, found, strict=True) if these]


def _table(records: Sequence[dict], found: Sequence[dict], against: str, request: Request, view: View) -> Table:
    columns = view.columns({r[COLUMN] for r in found}, request)
    summary = view.summary(columns)
    grids = {}
    for key in _blocks(found, view, request):
        grids[key] = grid([r for r in found if r[view.block] == key], lambda r: r[COLUMN], request.ci)
        for row in grids[key]:
            stat = summary.of_row(row, request.ci) if summary else None
            row.stats |= {summary.name: stat} if summary and stat else {}
    if len(grids) > 1:
        grids[ALL] = merged([row for rows in grids.values() for row in rows])
    columns += [summary.name] if summary else []
    headers, first = ["method", *view.headers(columns)], view.setting(records)
    baseline = display_name(against)
    return Table(
        title=f"Differences to {baseline} over the same draws{view.where(first)} ({common.run_title(first)}): points",
        caption=[
            common.setting_text(first),
            *common.fewer_images(records),
            f"Mean of a method's accuracy minus that of {baseline} over the n draws (data set, shots, seed, split) "
            f"that both have; ±: half width of its 95 % interval ({CI_METHODS[request.ci]}); none for one draw.",
            *view.caption,
            *([summary.caption] if summary and summary.caption else []),
            f"Prompts: {common.by_value(records, prompts_text)}.",
        ],
        blocks=[Block(headers, _body(rows, columns, request), _title(key, view)) for key, rows in grids.items()],
        tidy=[
            line
            for key, rows in grids.items()
            for row in common.ordered(rows, request)
            for line in _tidy(row, columns, _place(key, row, view), against, request.ci)
        ],
    )


def _blocks(found: Sequence[dict], view: View, request: Request) -> list[Any]:
    there = {record[view.block] for record in found}
    return sorted(there) if view.block == "shots" else common.dataset_order(there, request)


def _title(key: Any, view: View) -> str:
    if view.block == "shots":
        return "All shots" if key == ALL else common.shots_title(key)
    return "All data sets" if key == ALL else dataset_name(key)


def _body(rows: Sequence[GridRow], columns: Sequence[str], request: Request) -> list[Row]:
    ordered = common.ordered(rows, request)
    return [[text(row.shown), *(difference_cell(row.stats.get(c)) for c in columns)] for row in ordered]


def _place(key: Hashable, row: GridRow, view: View) -> Callable[[str], dict[str, object]]:
    """Where a figure stands, by its column, for csv."""
    if view.part:
        return lambda column: {"dataset": key, "part": column, "shots": row.first["shots"]}
    return lambda column: {"dataset": column, "shots": "all" if key == ALL else key}


def _tidy(row: GridRow, columns: Sequence[str], place: Callable, against: str, ci: str) -> list[dict[str, object]]:
    return [
        {
            "layout": "paired",
            "method": row.method,
            "row": row.label,
            "against": against,
            **place(column),
            **{key: row.first.get(key, "") for key in SETTING},
            "difference": row.stats[column].mean,
            "ci95": row.stats[column].half,
            "interval": ci,
            "n": row.stats[column].n,
        }
        for column in columns
        if column in row.stats
    ]
