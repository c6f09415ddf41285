"""Layouts `dg` (source and shifted targets, the paper's Table A2) and `base2new` (base and new classes)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from experiment.published import AVERAGE, PAPER_A2
from experiment.tables import common
from experiment.tables.common import Request
from experiment.tables.compare import Comparison
from experiment.tables.model import Block, Stat, Table
from experiment.tables.records import GridRow, by_setting, grid, with_targets

NEW = "new"  # the target that stands for the new half of the classes
HARMONIC = "harmonic mean"


def dg_tables(records: Sequence[dict], request: Request) -> list[Table]:
    """One table per setting and source data set; one block per number of shots.

    Raises:
        ValueError: no run was tested on a shifted data set.
    """
    shifted = [r for r in records if _is_shifted(r)]
    if not shifted:
        raise ValueError(
            "No run was tested on a shifted data set. Run one first, e.g.\n  bash scripts/simnl/dg.sh shapes 16"
        )
    # runs of the same source without targets are missing figures, not missing methods
    sources = {record["dataset"] for record in shifted}
    groups = by_setting([r for r in records if r["dataset"] in sources], also=["dataset"])
    return [_dg_table(group, records, request) for group in groups if any(map(_is_shifted, group))]


def _is_shifted(record: dict) -> bool:
    """True for a run that was tested on a shifted data set."""
    return bool(set(record.get("targets", {})) - {NEW})


def _dg_table(records: Sequence[dict], everything: Sequence[dict], request: Request) -> Table:
    source = records[0]["dataset"]
    names = common.target_order({t for r in records for t in r.get("targets", {}) if t != NEW})
    targets = [f"{source} -> {name}" for name in names]
    comparison = Comparison("dg", "dg", records, request, everything)
    blocks = []
    for shots in sorted({r["shots"] for r in records if _is_shifted(r)}):
        rows = grid(_expanded(records, shots), lambda r: r["dataset"], request.ci)
        columns = [source, *targets]
        for row in rows:
            average = common.average_of([row.stats.get(target) for target in targets], request.ci)
            if average:
                row.stats[f"{source} -> {AVERAGE}"] = average
        columns += [f"{source} -> {AVERAGE}"] if len(targets) > 1 else []
        comparison.rows += rows
        headers = ["method", f"{common.title_of(source)} (source)", *map(common.title_of, names)]
        headers += [f"Average ({len(targets)} targets)"] if len(targets) > 1 else []
        body = comparison.block(rows, columns, _published_columns(columns, names), shots, PAPER_A2)
        blocks.append(Block(headers, body, common.shots_title(shots)))
    return Table(
        title=f"Domain generalisation from {common.title_of(source)} ({common.run_title(records[0])}): accuracy in %",
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


def _expanded(records: Sequence[dict], shots: int) -> list[dict]:
    return [
        one
        for one in itertools.chain.from_iterable(with_targets(r) for r in records if r["shots"] == shots)
        if not one["dataset"].endswith(f"-> {NEW}")
    ]


def base2new_tables(records: Sequence[dict], request: Request) -> list[Table]:
    """One table per setting and number of shots; one block per data set, and one of averages.

    Raises:
        ValueError: no run was trained on the base classes and tested on the new ones.
    """
    base = [r for r in records if r.get("subsample_classes") == "base" and NEW in r.get("targets", {})]
    if not base:
        raise ValueError(
            "No run was trained on the base classes and tested on the new ones. Run some first, e.g.\n"
            "  bash scripts/benchmark.sh base2new --datasets shapes"
        )
    return [_base2new_table(group, records, request) for group in by_setting(base, also=["shots"])]


def _base2new_table(base: Sequence[dict], everything: Sequence[dict], request: Request) -> Table:
    datasets = common.dataset_order({r["dataset"] for r in base}, request)
    comparison = Comparison("base2new", "base2new", base, request, everything)
    pairs = [one for r in base for one in _base_and_new(r)]
    rows = grid(pairs, lambda r: (r["home"], r["part"]), request.ci)
    blocks = []
    for dataset in [*datasets, *([AVERAGE] if len(datasets) > 1 else [])]:
        per = [_three(row, [dataset] if dataset != AVERAGE else datasets, request.ci) for row in rows]
        per = [row for row in per if row.stats]
        title = common.title_of(dataset) if dataset != AVERAGE else f"Average over {len(datasets)} data sets"
        body = comparison.block(per, ["base", NEW, HARMONIC], [], base[0]["shots"], "", dataset=dataset)
        comparison.rows += per
        blocks.append(Block(["method", "base", "new", "harmonic mean"], body, title))
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
    return [{**home, "part": "base"}, {**home, "part": NEW, "accuracy": record["targets"][NEW]}]


def _three(row: GridRow, datasets: Sequence[str], ci: str) -> GridRow:
    """Base, new and harmonic mean of one data set, or of the average over several."""
    stats = {}
    for part in ("base", NEW):
        parts = [row.stats.get((dataset, part)) for dataset in datasets]
        stat = parts[0] if len(parts) == 1 else common.average_of(parts, ci)
        if stat:
            stats[part] = stat
    if len(stats) == 2:
        base, new = stats["base"].by_seed, stats[NEW].by_seed
        stats[HARMONIC] = Stat({seed: harmonic(base[seed], new[seed]) for seed in base if seed in new}, ci)
    return GridRow(row.method, row.label, row.first, stats)


def harmonic(a: float, b: float) -> float:
    """Harmonic mean of two numbers from 0; 0 where both are."""
    return 2 * a * b / (a + b) if a + b else 0.0
