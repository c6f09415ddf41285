"""Paired differences over the same draws: which runs are pairs, and tables of them in the columns of a layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from simnl.results.stats import CI_METHODS
from simnl.results.tables import common
from simnl.results.tables.beside import Rows
from simnl.results.tables.common import Request
from simnl.results.tables.comparison import Average, Layout
from simnl.results.tables.grids import PAIRS, PLAIN_PAIRS
from simnl.results.tables.model import Block, Cell, Stat, Table, text
from simnl.results.tables.records import COLUMN, SETTING, GridRow, is_imported, prompts_text
from simnl.results.tables.sight import footnotes
from simnl.runs.names import display_name

ALL = "all draws"
AVERAGED = "Average: of each draw's differences on the targets, of draws that have all of them."
# runs of one setting that agree in these saw the same images and labels
DRAW = ("dataset", "shots", "seed", "split_hash", "label_noise")


def baseline_by_draw(records: Sequence[dict], is_baseline: Callable[[dict], bool]) -> dict[tuple, dict]:
    """The runs of the baseline among records of one setting, by draw.

    Raises:
        ValueError: there are runs of more than one config on the same data set, shots and split.
    """
    baseline: dict[tuple, dict] = {}
    configs: dict[tuple, dict] = {}
    for record in filter(is_baseline, records):
        baseline[draw_of(record)] = record
        other = configs.setdefault(draw_of({**record, "seed": ""}), record)
        if (other["config_hash"], prompts_text(other)) != (record["config_hash"], prompts_text(record)):
            raise ValueError(
                f"{record['method']} has runs of two configs on {record['dataset']} with {record['shots']} shots: "
                f"{other.get('path')} and {record.get('path')}. Give the folders of one."
            )
    return baseline


def differences(
    records: Sequence[dict], is_baseline: Callable[[dict], bool], figures: Callable[[dict], dict[Any, float]]
) -> list[dict]:
    """Each run that has a draw in common with the baseline, once per figure of `figures` that both have.

    The difference is its `accuracy`, the draw its `seed`, and the figure's name its `column`.

    Raises:
        ValueError: runs of the baseline of more than one config on the same data set, shots and split.
    """
    baseline = baseline_by_draw(records, is_baseline)
    return [
        {**record, COLUMN: column, "accuracy": value - theirs[column], "seed": draw_of(record)}
        for record in records
        if draw_of(record) in baseline and not is_baseline(record)
        for theirs in [figures(baseline[draw_of(record)])]
        for column, value in figures(record).items()
        if column in theirs
    ]


def draw_of(record: dict) -> tuple:
    """What tells draws apart."""
    return tuple(record.get(key, "") for key in DRAW)


def union(stats: Sequence[Stat]) -> Stat:
    """One or more sets of differences as one; each draw counts once."""
    return Stat({draw: value for stat in stats for draw, value in stat.by_seed.items()}, stats[0].ci)


def merged(rows: Sequence[GridRow]) -> list[GridRow]:
    """Rows of the same label as one, with the draws of all."""
    whole: dict[str, GridRow] = {}
    for row in rows:
        same = whole.setdefault(row.label, replace(row, stats={}))
        same.stats |= {c: union([same.stats[c], stat] if c in same.stats else [stat]) for c, stat in row.stats.items()}
    return list(whole.values())


def difference_cell(stat: Stat | None, usual_n: int | None = None) -> Cell:
    """Mean and interval of differences, and their number unless it is the usual one."""
    if stat is None:
        return Cell()
    return Cell(stat.mean, stat.half, signed=True, note="" if stat.n == usual_n else f"(n={stat.n})")


def paired_tables(records: Sequence[dict], against: str, request: Request, layout: str = "") -> list[Table]:
    """One table per setting: mean differences to a method over the draws that both have.

    Args:
        records: those of `dg`, `base2new` and `noise` are compared per target, half of the classes, share of noise.
        against: the method; its runs without options are the baseline.
        request: what was asked for.
        layout: whose columns; one that is not in `PAIRS`: the runs' own test images, by data set.

    Raises:
        ValueError: runs of that method of more than one config on the same data, or no draws in common.
    """
    cut = PAIRS.get(layout, PLAIN_PAIRS)
    records = [record for record in records if not is_imported(record)]  # nothing says that their draws are ours
    groups = cut.groups_of(records, request)
    found = [differences(g, lambda r: r["method"] == against and not r.get("options"), cut.figures) for g in groups]
    if not any(found):
        methods = ", ".join(sorted({r["method"] for r in records}))
        also = ", with figures in the same columns," if layout in PAIRS else ""
        raise ValueError(
            f"Nothing to compare with '{against}': no other run has the same data set, shots, seed, split, weights, "
            f"preset, protocol and noise{also} as a run of it without options. There are runs of {methods}."
        )
    return [_table(g, these, against, request, cut) for g, these in zip(groups, found, strict=True) if these]


def _table(records: Sequence[dict], found: Sequence[dict], against: str, request: Request, layout: Layout) -> Table:
    columns = layout.columns({r[COLUMN] for r in found}, request)
    summary = layout.averaged(columns)
    if summary and summary.apart:  # all draws, of all columns; else each draw's mean over the columns that share it
        summary = summary._replace(name=ALL)
    blocks = _blocks(found, summary, layout, request)
    columns += [summary.name] if summary else []
    first, baseline, title = layout.setting(records[0]), display_name(against), layout.title(records[0])
    where = f", {title[0].lower()}{title[1:]}" if title else ""
    table = Table(f"Differences to {baseline} over the same draws{where} ({common.run_title(first)}): points")
    table.caption = [
        common.setting_text(first),
        *common.fewer_images(records),
        *footnotes(found),
        f"Mean of a method's accuracy minus that of {baseline} over the n draws (data set, shots, seed, split) "
        f"that both have; ±: half width of its 95 % interval ({CI_METHODS[request.ci]}); none for one draw.",
        *layout.caption,
        *([AVERAGED] if summary and not summary.apart else []),
        f"Prompts: {common.by_value(records, prompts_text)}.",
    ]
    every = "All shots" if layout.block == "shots" else "All data sets"
    for key, rows in blocks.items():
        body = [[text(row.shown), *(difference_cell(row.stats.get(column)) for column in columns)] for row in rows]
        heading = every if key == ALL else common.block_title(key)
        table.blocks.append(Block(["method", *layout.headers(columns)], body, heading))
        for row in rows:
            shown = [column for column in columns if column in row.stats]
            table.tidy += [_tidy(against, key, row, column, layout, request.ci) for column in shown]
    return table


def _blocks(found: Sequence[dict], summary: Average | None, layout: Layout, request: Request) -> Rows:
    """Rows by block, with the summary; those of all blocks last, where there are several."""
    blocks = layout.grids(found, request)
    for rows in blocks.values():
        if summary and not summary.apart:
            common.add_average(rows, summary.name, summary.over, request.ci)
        for row in rows if summary and summary.apart else []:
            row.stats[ALL] = union(list(row.stats.values()))
    if len(blocks) > 1:
        blocks[ALL] = merged([row for rows in blocks.values() for row in rows])
    return {key: common.ordered(rows, request) for key, rows in blocks.items()}


def _tidy(against: str, key: Any, row: GridRow, column: Any, layout: Layout, ci: str) -> dict[str, object]:
    """A difference for csv."""
    stat = row.stats[column]
    shots = {"dataset": column, "shots": "all" if key == ALL else key}
    part = {"dataset": key, "part": column, "shots": row.first["shots"]}
    return {
        "layout": "paired",
        "method": row.method,
        "row": row.label,
        "against": against,
        **(shots if layout.block == "shots" else part),
        **{name: row.first.get(name, "") for name in SETTING},
        "difference": stat.mean,
        "ci95": stat.half,
        "interval": ci,
        "n": stat.n,
    }
