"""Differences between runs on the same draws: which runs are pairs, and what is made of their differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from simnl.results.tables.model import Cell, Stat
from simnl.results.tables.records import GridRow, prompts_text

# runs of one setting that agree in these saw the same images and labels
DRAW = ("dataset", "shots", "seed", "split_hash", "label_noise")
COLUMN = "column"


def differences(
    records: Sequence[dict], is_baseline: Callable[[dict], bool], figures: Callable[[dict], dict[Any, float]]
) -> list[dict]:
    """Each run that has a draw in common with the baseline, once per figure that both have.

    Args:
        records: of one setting, the baseline's among them.
        is_baseline: whether a run is one of the baseline.
        figures: {column: accuracy} of a run.

    Returns:
        The runs with the difference to the baseline as `accuracy`, their draw as `seed`, and the figure's `column`.

    Raises:
        ValueError: runs of the baseline of more than one config on the same data set, shots and split.
    """
    baseline: dict[tuple, dict] = {}
    configs: dict[tuple, dict] = {}
    for record in filter(is_baseline, records):
        baseline[draw_of(record)] = record
        other = configs.setdefault(tuple(record.get(key, "") for key in DRAW if key != "seed"), record)
        if (other["config_hash"], prompts_text(other)) != (record["config_hash"], prompts_text(record)):
            raise ValueError(
                f"{record['method']} has runs of two configs on {record['dataset']} with {record['shots']} shots: "
                f"{other.get('path')} and {record.get('path')}. Give the folders of one."
            )
    found = []
    for record in records:
        draw = draw_of(record)
        if draw in baseline and not is_baseline(record):
            theirs = figures(baseline[draw])
            found += [
                {**record, COLUMN: column, "accuracy": value - theirs[column], "seed": draw}
                for column, value in figures(record).items()
                if column in theirs
            ]
    return found


def draw_of(record: dict) -> tuple:
    """What tells draws apart."""
    return tuple(record.get(key, "") for key in DRAW)


def union(stats: Sequence[Stat]) -> Stat:
    """One or more sets of differences as one; each draw counts once."""
    return Stat({draw: value for stat in stats for draw, value in stat.by_seed.items()}, stats[0].ci)


def merged(rows: Sequence[GridRow]) -> list[GridRow]:
    """Rows of the same label as one, with the draws of all."""
    by_label: dict[str, list[GridRow]] = {}
    for row in rows:
        by_label.setdefault(row.label, []).append(row)
    whole = []
    for label, same in by_label.items():
        columns = dict.fromkeys(column for row in same for column in row.stats)
        stats = {c: union([row.stats[c] for row in same if c in row.stats]) for c in columns}
        whole.append(GridRow(same[0].method, label, same[0].first, stats))
    return whole


def difference_cell(stat: Stat | None, usual_n: int | None = None) -> Cell:
    """Mean and interval of differences, and their number unless it is the usual one."""
    if stat is None:
        return Cell()
    return Cell(stat.mean, stat.half, signed=True, note="" if stat.n == usual_n else f"(n={stat.n})")
