"""Layouts `dg` (source and shifted targets, the paper's Table A2) and `base2new` (base and new classes)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from simnl.results.published import AVERAGE, PAPER_A2
from simnl.results.tables import common
from simnl.results.tables.common import Request
from simnl.results.tables.compare import Comparison
from simnl.results.tables.model import Block, Stat, Table
from simnl.results.tables.records import ARROW, GridRow, by_setting, grid, with_targets
from simnl.runs.names import dataset_name
from simnl.runs.record import NEW_CLASSES

HARMONIC = "harmonic mean"
PARTS = ("base", NEW_CLASSES, HARMONIC)


def dg_tables(records: Sequence[dict], request: Request) -> list[Table]:
    """One table per setting and source data set; one block per number of shots.

    Raises:
        ValueError: no run was tested on a shifted data set.
    """
    return [_dg_table(group, records, request) for group in dg_groups(records)]


def dg_groups(records: Sequence[dict]) -> list[list[dict]]:
    """The records of each table: of one setting and source, at numbers of shots at which a run has shifted targets.

    Raises:
        ValueError: no run was tested on a shifted data set.
    """
    shifted = [r for r in records if _is_shifted(r)]
    if not shifted:
        raise ValueError(
            "No run was tested on a shifted data set. Run one first, e.g.\n  bash scripts/simnl/dg.sh shapes 16"
        )
    # runs of the same source without targets are missing figures, not missing methods
    groups = by_setting(records, also=["dataset"])
    shots = [{r["shots"] for r in group if _is_shifted(r)} for group in groups]
    kept = [[r for r in group if r["shots"] in of_group] for group, of_group in zip(groups, shots, strict=True)]
    return [group for group in kept if group]


def _is_shifted(record: dict) -> bool:
    """True for a run that was tested on a shifted data set."""
    return bool(set(record.get("targets", {})) - {NEW_CLASSES})


def source_and_targets(record: dict) -> dict[str, float]:
    """A run's accuracy on its own data set and on each shifted one, `source -> target`."""
    return {one["dataset"]: one["accuracy"] for one in _expanded([record])}


def shifted_columns(there: Iterable[str]) -> list[str]:
    """The source, then `source -> target` in the order of the targets."""
    targets = {column.split(ARROW)[1]: column for column in there if ARROW in column}
    return [*(c for c in there if ARROW not in c), *(targets[name] for name in common.target_order(targets))]


def average_column(source: str) -> str:
    """The name of the average over the targets of a source."""
    return f"{source}{ARROW}{AVERAGE}"


def shifted_headers(columns: Sequence[str]) -> list[str]:
    """What stands above a source, its targets, and their average."""
    names = [column.partition(ARROW)[2] for column in columns]
    titles = {"": f"{dataset_name(columns[0])} (source)", AVERAGE: f"Average ({len(columns) - 2} targets)"}
    return [titles.get(name) or dataset_name(name) for name in names]


def _dg_table(records: Sequence[dict], everything: Sequence[dict], request: Request) -> Table:
    source, *targets = shifted_columns({column for r in records for column in source_and_targets(r)})
    names = [target.split(ARROW)[1] for target in targets]
    comparison = Comparison("dg", "dg", records, request, everything)
    blocks = []
    for shots in sorted({r["shots"] for r in records}):
        rows = grid(_expanded([r for r in records if r["shots"] == shots]), lambda r: r["dataset"], request.ci)
        columns = [source, *targets]
        for row in rows:
            average = common.average_of([row.stats.get(target) for target in targets], request.ci)
            if average:
                row.stats[average_column(source)] = average
        columns += [average_column(source)] if len(targets) > 1 else []
        comparison.rows += rows
        body = comparison.block(rows, columns, _published_columns(columns, names), shots, PAPER_A2)
        blocks.append(Block(["method", *shifted_headers(columns)], body, common.shots_title(shots)))
    return Table(
        title=f"Domain generalisation from {dataset_name(source)} ({common.run_title(records[0])}): accuracy in %",
        caption=[
            "Trained and selected on the source alone; nothing is selected on a target.",
            *common.common_caption(records, comparison.rows, request),
            *([common.average_caption(len(targets), "targets, without the source,")] if len(targets) > 1 else []),
            *comparison.caption(),
        ],
        blocks=blocks,
        tidy=comparison.tidy,
        marked=True,
    )


def _published_columns(columns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Columns with a published counterpart: an average only over the paper's four targets."""
    return [c for c in columns if not c.endswith(AVERAGE) or set(names) == set(common.SHIFTED)]


def _expanded(records: Sequence[dict]) -> list[dict]:
    several = itertools.chain.from_iterable(map(with_targets, records))
    return [one for one in several if not one["dataset"].endswith(ARROW + NEW_CLASSES)]


def base2new_tables(records: Sequence[dict], request: Request) -> list[Table]:
    """One table per setting and number of shots; one block per data set, and one of averages.

    Raises:
        ValueError: no run was trained on the base classes and tested on the new ones.
    """
    return [_base2new_table(group, records, request) for group in base2new_groups(records)]


def base2new_groups(records: Sequence[dict]) -> list[list[dict]]:
    """The records of each table.

    Raises:
        ValueError: no run was trained on the base classes and tested on the new ones.
    """
    base = [r for r in records if r.get("subsample_classes") == "base" and NEW_CLASSES in r.get("targets", {})]
    if not base:
        raise ValueError(
            "No run was trained on the base classes and tested on the new ones. Run some first, e.g.\n"
            "  bash scripts/benchmark.sh base2new --datasets shapes"
        )
    return by_setting(base, also=["shots"])


def base_new_harmonic(record: dict) -> dict[str, float]:
    """A run's accuracy on the base and on the new classes, and their harmonic mean."""
    base, new = record["accuracy"], record["targets"][NEW_CLASSES]
    return dict(zip(PARTS, (base, new, harmonic(base, new)), strict=True))


def _base2new_table(base: Sequence[dict], everything: Sequence[dict], request: Request) -> Table:
    datasets = common.dataset_order({r["dataset"] for r in base}, request)
    comparison = Comparison("base2new", "base2new", base, request, everything)
    pairs = [one for r in base for one in _base_and_new(r)]
    rows = grid(pairs, lambda r: (r["home"], r["part"]), request.ci)
    blocks = []
    for dataset in [*datasets, *([AVERAGE] if len(datasets) > 1 else [])]:
        per = [_three(row, [dataset] if dataset != AVERAGE else datasets, request.ci) for row in rows]
        per = [row for row in per if row.stats]
        title = dataset_name(dataset) if dataset != AVERAGE else f"Average over {len(datasets)} data sets"
        body = comparison.block(per, PARTS, [], base[0]["shots"], "", dataset=dataset)
        comparison.rows += per
        blocks.append(Block(["method", *PARTS], body, title))
    where = f"{common.shots_title(base[0]['shots'])} ({common.run_title(base[0])})"
    return Table(
        title=f"Base to new classes, {where}: accuracy in %",
        caption=[
            "Trained on the first half of the classes, tested on that half (base) and on the other (new), each among "
            "the classes of its half; harmonic mean of the two, of each seed.",
            *common.common_caption(base, comparison.rows, request),
            *([common.average_caption(len(datasets), "data sets")] if len(datasets) > 1 else []),
            *comparison.caption(),
        ],
        blocks=blocks,
        tidy=comparison.tidy,
        marked=True,
    )


def _base_and_new(record: dict) -> list[dict]:
    home = {**record, "home": record["dataset"]}
    return [{**home, "part": "base"}, {**home, "part": NEW_CLASSES, "accuracy": record["targets"][NEW_CLASSES]}]


def _three(row: GridRow, datasets: Sequence[str], ci: str) -> GridRow:
    """Base, new and harmonic mean of one data set, or of the average over several."""
    stats = {}
    for part in ("base", NEW_CLASSES):
        parts = [row.stats.get((dataset, part)) for dataset in datasets]
        stat = parts[0] if len(parts) == 1 else common.average_of(parts, ci)
        if stat:
            stats[part] = stat
    if len(stats) == 2:
        base, new = stats["base"].by_seed, stats[NEW_CLASSES].by_seed
        means = {seed: harmonic(base[seed], new[seed]) for seed in base if seed in new}
        stats[HARMONIC] = Stat(means, ci, stats["base"].split)
    return GridRow(row.method, row.label, row.first, stats)


def harmonic(a: float, b: float) -> float:
    """Harmonic mean of two numbers from 0; 0 where both are."""
    return 2 * a * b / (a + b) if a + b else 0.0
