"""Paired differences over the same draws: which runs are pairs, and tables of them in the columns of a layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from simnl.results.stats import CI_METHODS
from simnl.results.tables import common
from simnl.results.tables.beside import Rows
from simnl.results.tables.common import Request
from simnl.results.tables.comparison import Average, Comparison
from simnl.results.tables.grids import PAIRS, PLAIN_PAIRS
from simnl.results.tables.listing import Line, Listing, columns_of
from simnl.results.tables.model import Cell, Stat, Table
from simnl.results.tables.records import COLUMN, GridRow, is_imported, prompts_text, sight_notes
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
    """The runs that have a draw in common with the baseline, each once per figure of `figures` that both have.

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


def _union(stats: Sequence[Stat]) -> Stat:
    """One or more sets of differences as one; each draw counts once."""
    return Stat({draw: value for stat in stats for draw, value in stat.by_seed.items()}, stats[0].ci)


def _merged(rows: Sequence[GridRow]) -> list[GridRow]:
    """Rows of the same label as one, with the draws of all."""
    alike: dict[str, list[GridRow]] = {}
    for row in rows:
        alike.setdefault(row.label, []).append(row)
    return [
        replace(same[0], stats={c: _union([r.stats[c] for r in same if c in r.stats]) for r in same for c in r.stats})
        for same in alike.values()
    ]


def difference_cell(stat: Stat | None, usual_n: int | None = None) -> Cell:
    """Mean and interval of differences, and their number unless it is the usual one."""
    if stat is None:
        return Cell()
    return Cell(stat.mean, stat.half, signed=True, note="" if stat.n == usual_n else f"(n={stat.n})")


class Pairs(NamedTuple):
    """The runs of one table and what is compared of them: the differences to a method, in the columns of a layout.

    `summary` is one more column, of all draws or of each draw's mean, or None.
    """

    records: list[dict]
    against: str
    cut: Comparison
    found: list[dict]
    columns: list
    summary: Average | None


def paired_tables(records: Sequence[dict], against: str, request: Request, layout: str = "") -> list[Table]:
    """One table per setting: mean differences to a method over the draws that both have.

    Args:
        records: those of `dg`, `base2new` and `noise` are compared per target, half of the classes, share of noise.
        against: the method; its runs without options are the baseline.
        request: what was asked for.
        layout: the layout with these columns; one that is not in `PAIRS`: the runs' own test images, by data set.

    Raises:
        ValueError: runs of that method of more than one config on the same data, or no draws in common.
    """
    cut = PAIRS.get(layout, PLAIN_PAIRS)
    records = [record for record in records if not is_imported(record)]  # nothing says that their draws are ours
    every = [_pairs(group, against, cut, request) for group in cut.some(cut.groups(records, request))]
    some = [pairs for pairs in every if pairs.found]
    if not some:
        methods = ", ".join(sorted({r["method"] for r in records}))
        also = ", with figures in the same columns," if layout in PAIRS else ""
        raise ValueError(
            f"Nothing to compare with '{against}': no other run has the same data set, shots, seed, split, weights, "
            f"preset, protocol and noise{also} as a run of it without options. There are runs of {methods}."
        )
    return [PAIRED.table(pairs, request) for pairs in some]


def _pairs(records: list[dict], against: str, cut: Comparison, request: Request) -> Pairs:
    found = differences(records, lambda r: r["method"] == against and not r.get("options"), cut.figures)
    columns = cut.columns({r[COLUMN] for r in found}, request) if found else []
    summary = cut.averaged(columns) if columns else None
    if summary and summary.apart:  # all draws, of all columns; else each draw's mean over the columns that share it
        summary = summary._replace(name=ALL)
    return Pairs(records, against, cut, found, [*columns, *([summary.name] if summary else [])], summary)


def _lines(pairs: Pairs, request: Request) -> list[Line]:
    every = "All shots" if pairs.cut.block == "shots" else "All data sets"
    lines = []
    for key, rows in _blocks(pairs, request).items():
        for row in rows:
            cells = {column: difference_cell(row.stats.get(column)) for column in pairs.columns}
            shown = [column for column in pairs.columns if column in row.stats]
            tidy = [_tidy(pairs, key, row, column) for column in shown]
            lines.append(Line(row.shown, cells, tidy, every if key == ALL else common.block_title(key)))
    return lines


def _title(pairs: Pairs) -> str:
    title = f"Differences to {display_name(pairs.against)} over the same draws"
    of_layout = pairs.cut.title(pairs.records)
    return f"{title}, {of_layout[0].lower()}{of_layout[1:]}" if of_layout else title


def _caption(pairs: Pairs, lines: Sequence[Line], request: Request) -> list[str]:
    return [
        common.setting_text(pairs.cut.setting(pairs.records)),
        *common.fewer_images(pairs.records),
        *sight_notes(pairs.found),
        f"Mean of a method's accuracy minus that of {display_name(pairs.against)} over the n draws (data set, shots, "
        f"seed, split) that both have; ±: half width of its 95 % interval ({CI_METHODS[request.ci]}); none for one "
        "draw.",
        *pairs.cut.caption,
        *([AVERAGED] if pairs.summary and not pairs.summary.apart else []),
        f"Prompts: {common.by_value(pairs.records, prompts_text)}.",
    ]


PAIRED = Listing(
    lines=_lines,
    columns=lambda pairs, lines: columns_of(dict(zip(pairs.columns, pairs.cut.headers(pairs.columns), strict=True))),
    title=_title,
    setting=lambda pairs: pairs.cut.setting(pairs.records),
    unit="points",
    caption=_caption,
)


def _blocks(pairs: Pairs, request: Request) -> Rows:
    """Rows by block, with the summary; those of all blocks last, where there are several."""
    blocks, summary = pairs.cut.grids(pairs.found, request), pairs.summary
    for rows in blocks.values():
        if summary and not summary.apart:
            common.add_average(rows, summary.name, summary.over, request.ci)
        elif summary:
            for row in rows:
                row.stats[ALL] = _union(list(row.stats.values()))
    if len(blocks) > 1:
        blocks[ALL] = _merged([row for rows in blocks.values() for row in rows])
    return {key: common.ordered(rows, request) for key, rows in blocks.items()}


def _tidy(pairs: Pairs, key: Any, row: GridRow, column: Any) -> dict[str, object]:
    """A difference for csv."""
    stat, by_shots = row.stats[column], {"dataset": column, "shots": "all" if key == ALL else key}
    place = by_shots if pairs.cut.block == "shots" else {"dataset": key, "part": column}
    return common.place_in_csv("paired", row, against=pairs.against, **place) | common.figure_in_csv("difference", stat)
