"""Paired differences against one method over the same draws."""

from __future__ import annotations

from collections.abc import Sequence

from experiment.stats import CI_METHODS
from experiment.tables import common
from experiment.tables.common import Request
from experiment.tables.model import MISSING, Block, Cell, Row, Stat, Table, text
from experiment.tables.records import SETTING, GridRow, by_setting, grid, prompts_text

ALL = "all draws"
DRAW = ("dataset", "shots", "seed", "split_hash")  # runs of one setting that agree in these saw the same images


def paired_tables(records: Sequence[dict], against: str, request: Request) -> list[Table]:
    """One table per setting: mean differences to a method over the draws that both have.

    Raises:
        ValueError: runs of that method of more than one config, or no draws in common.
    """
    tables = [_table(group, against, request) for group in by_setting(records)]
    tables = [table for table in tables if table.blocks]
    if not tables:
        methods = ", ".join(sorted({r["method"] for r in records}))
        raise ValueError(
            f"Nothing to compare with '{against}': no other run has the same data set, shots, seed, split, weights, "
            f"preset, protocol and noise as a run of it without options. There are runs of {methods}."
        )
    return tables


def _table(records: Sequence[dict], against: str, request: Request) -> Table:
    differences = _differences(records, against)
    shots = sorted({r["shots"] for r in differences})
    names = common.dataset_order({r["dataset"] for r in differences}, request)
    grids = {k: _with_all(_grid(differences, k, request)) for k in shots}
    titles = {k: common.shots_title(k) for k in shots}
    if len(shots) > 1:
        grids[0], titles[0] = _merged([row for rows in grids.values() for row in rows]), "All shots"
    columns = [*names, ALL] if len(names) > 1 else names
    headers = ["method", *(common.title_of(name) for name in columns)]
    blocks = [Block(headers, _body(rows, columns, request), titles[k]) for k, rows in grids.items()]
    return Table(
        title=f"Differences to {against} over the same draws ({common.run_title(records[0])}): points",
        caption=[
            common.setting_text(records[0]),
            f"Mean of a method's accuracy minus that of {against} over the n draws (data set, shots, seed, split) that "
            f"both have; ±: half width of its 95 % interval ({CI_METHODS[request.ci]}); none for one draw.",
            f"Prompts: {common.by_value(records, prompts_text)}.",
        ],
        blocks=blocks,
        tidy=[
            line
            for k, rows in grids.items()
            for row in common.ordered(rows, request)
            for line in _tidy(row, columns, k, against, request.ci)
        ],
    )


def _differences(records: Sequence[dict], against: str) -> list[dict]:
    """The runs of other methods that have a draw in common with the baseline, with the difference as accuracy."""
    baseline: dict[tuple, dict] = {}
    for record in records:
        if record["method"] != against or record.get("options"):
            continue
        other = baseline.setdefault(_draw(record), record)
        if (other["config_hash"], prompts_text(other)) != (record["config_hash"], prompts_text(record)):
            raise ValueError(
                f"{against} has runs of two configs on the same draw: {other.get('path')} and {record.get('path')}. "
                "Give the folders of one."
            )
    chosen = [r for r in records if _draw(r) in baseline and (r["method"] != against or r.get("options"))]
    return [{**r, "accuracy": r["accuracy"] - baseline[_draw(r)]["accuracy"], "seed": _draw(r)} for r in chosen]


def _draw(record: dict) -> tuple:
    return tuple(record.get(key, "") for key in DRAW)


def _grid(differences: Sequence[dict], shots: int, request: Request) -> list[GridRow]:
    return grid([r for r in differences if r["shots"] == shots], lambda r: r["dataset"], request.ci)


def _with_all(rows: Sequence[GridRow]) -> list[GridRow]:
    """Rows with one more column, of all draws of all data sets."""
    for row in rows:
        row.stats[ALL] = _union(list(row.stats.values()))
    return list(rows)


def _merged(rows: Sequence[GridRow]) -> list[GridRow]:
    """Rows of the same label as one, with the draws of all."""
    by_label: dict[str, list[GridRow]] = {}
    for row in rows:
        by_label.setdefault(row.label, []).append(row)
    merged = []
    for label, same in by_label.items():
        columns = dict.fromkeys(column for row in same for column in row.stats)
        stats = {c: _union([row.stats[c] for row in same if c in row.stats]) for c in columns}
        merged.append(GridRow(same[0].method, label, same[0].first, stats))
    return merged


def _union(stats: Sequence[Stat]) -> Stat:
    return Stat({draw: value for stat in stats for draw, value in stat.by_seed.items()}, stats[0].ci)


def _body(rows: Sequence[GridRow], columns: Sequence[str], request: Request) -> list[Row]:
    def cell(stat: Stat | None) -> Cell:
        if stat is None:
            return text(MISSING)
        return Cell(stat.mean, stat.half, signed=True, note=f"(n={stat.n})")

    return [[text(row.label), *(cell(row.stats.get(c)) for c in columns)] for row in common.ordered(rows, request)]


def _tidy(row: GridRow, columns: Sequence[str], shots: int, against: str, ci: str) -> list[dict[str, object]]:
    return [
        {
            "layout": "paired",
            "method": row.method,
            "row": row.label,
            "against": against,
            "dataset": column,
            "shots": shots or "all",
            **{key: row.first.get(key, "") for key in SETTING},
            "difference": row.stats[column].mean,
            "ci95": row.stats[column].half,
            "interval": ci,
            "n": row.stats[column].n,
        }
        for column in columns
        if column in row.stats
    ]
