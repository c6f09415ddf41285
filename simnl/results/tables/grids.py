"""The layouts of methods by columns: `fewshot`, `dg`, `base2new`, `noise`, and how their runs are compared in pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from simnl.results.published import AVERAGE, PAPER_A1, PAPER_A2
from simnl.results.tables import common
from simnl.results.tables.common import ELEVEN, SHIFTED, Request
from simnl.results.tables.comparison import Average, Layout, Rows
from simnl.results.tables.model import Stat
from simnl.results.tables.records import ARROW, GridRow, by_setting, grid, options_text, prompts_text, with_targets
from simnl.runs.names import dataset_name
from simnl.runs.record import NEW_CLASSES, reweighting_off

HARMONIC = "harmonic mean"
PARTS = ("base", NEW_CLASSES, HARMONIC)


def _by_data_sets(records: Sequence[dict], request: Request) -> list[list[dict]]:
    """By setting; data sets beside the eleven apart, unless data sets were asked for by name."""
    if request.datasets:
        return by_setting(records)
    parts = [[r for r in records if (r["dataset"] in ELEVEN) is eleven] for eleven in (True, False)]
    return [members for part in parts for members in by_setting(part)]


def _expected(there: set[str], request: Request) -> set[str]:
    """The data sets asked for; else the eleven where records are of any of these; else those with records."""
    return set(request.datasets) or (set(ELEVEN) if there & set(ELEVEN) else there)


FEWSHOT = Layout(
    name="fewshot",
    title=lambda record: "Few-shot classification",
    groups=_by_data_sets,
    figures=lambda record: {record["dataset"]: record["accuracy"]},
    columns=common.dataset_order,
    headers=lambda columns: [f"Avg. ({len(columns) - 1})" if c == AVERAGE else dataset_name(c) for c in columns],
    expected=_expected,
    average=lambda columns: Average(AVERAGE, columns, "data sets"),
    task="few-shot",
    shows_unable=False,
    paper=lambda columns: PAPER_A1 if set(columns) & set(ELEVEN) else "",
    whole=ELEVEN,
)


def _shifted_groups(records: Sequence[dict], request: Request) -> list[list[dict]]:
    """By setting and source, at numbers of shots at which a run has shifted targets."""
    # runs of the same source without targets are missing figures, not missing methods
    groups = by_setting(records, also=["dataset"])
    shots = [{r["shots"] for r in group if _is_shifted(r)} for group in groups]
    kept = [[r for r in group if r["shots"] in of_group] for group, of_group in zip(groups, shots, strict=True)]
    return [group for group in kept if group]


def _is_shifted(record: dict) -> bool:
    return bool(set(record.get("targets", {})) - {NEW_CLASSES})


def _source_and_targets(record: dict) -> dict[str, float]:
    """A run's accuracy on its own data set and on each shifted one, `source -> target`."""
    figures = {one["dataset"]: one["accuracy"] for one in with_targets(record)}
    return {name: accuracy for name, accuracy in figures.items() if not name.endswith(ARROW + NEW_CLASSES)}


def _shifted_columns(there: set[str], request: Request) -> list[str]:
    """The source, then `source -> target` in the order of the targets."""
    targets = {column.split(ARROW)[1]: column for column in there if ARROW in column}
    return [*(c for c in there if ARROW not in c), *(targets[name] for name in common.in_order(targets, SHIFTED))]


def _shifted_headers(columns: Sequence[str]) -> list[str]:
    names = [column.partition(ARROW)[2] for column in columns]
    titles = {"": f"{dataset_name(columns[0])} (source)", AVERAGE: f"Average ({len(columns) - 2} targets)"}
    return [titles.get(name) or dataset_name(name) for name in names]


DG = Layout(
    name="dg",
    title=lambda record: f"Domain generalisation from {dataset_name(record['dataset'])}",
    groups=_shifted_groups,
    figures=_source_and_targets,
    columns=_shifted_columns,
    headers=_shifted_headers,
    average=lambda columns: Average(
        f"{columns[0]}{ARROW}{AVERAGE}", columns[1:], "targets, without the source,", apart=False
    ),
    caption=("Trained and selected on the source alone; nothing is selected on a target.",),
    task="dg",
    paper=lambda columns: PAPER_A2,
    whole=SHIFTED,
    missing="No run was tested on a shifted data set. Run one first, e.g.\n  bash scripts/simnl/dg.sh shapes 16",
)


def _base_groups(records: Sequence[dict], request: Request) -> list[list[dict]]:
    """By setting and number of shots, of runs on the base classes that were tested on the new ones."""
    base = [r for r in records if r.get("subsample_classes") == "base" and NEW_CLASSES in r.get("targets", {})]
    return by_setting(base, also=["shots"])


def _base_new_harmonic(record: dict) -> dict[str, float]:
    """A run's accuracy on the base and on the new classes, and their harmonic mean."""
    base, new = record["accuracy"], record["targets"][NEW_CLASSES]
    return dict(zip(PARTS, (base, new, harmonic(base, new)), strict=True))


def _base_new_rows(records: Sequence[dict], request: Request) -> Rows:
    """Rows of each data set; where there are several, those of their average last."""
    parts = [
        {**record, "part": part, "accuracy": accuracy}
        for record in records
        for part, accuracy in _base_new_harmonic(record).items()
        if part != HARMONIC
    ]
    rows = grid(parts, lambda r: (r["dataset"], r["part"]), request.ci)
    datasets = common.dataset_order({r["dataset"] for r in records}, request)
    blocks = {name: [name] for name in datasets} | ({AVERAGE: datasets} if len(datasets) > 1 else {})
    found = {key: [_three(row, names, request.ci) for row in rows] for key, names in blocks.items()}
    return {key: [row for row in of_block if row.stats] for key, of_block in found.items()}


def _three(row: GridRow, datasets: Sequence[str], ci: str) -> GridRow:
    """Base, new and harmonic mean of one data set, or of the average over several."""
    stats: dict[Any, Stat] = {}
    for part in ("base", NEW_CLASSES):
        parts = [row.stats.get((dataset, part)) for dataset in datasets]
        stat = parts[0] if len(parts) == 1 else common.average_of(parts, ci)
        stats |= {part: stat} if stat else {}
    if len(stats) == 2:
        base, new = stats["base"].by_seed, stats[NEW_CLASSES].by_seed
        means = {seed: harmonic(base[seed], new[seed]) for seed in base if seed in new}
        stats[HARMONIC] = Stat(means, ci, stats["base"].split)
    return GridRow(row.method, row.label, row.first, stats)


def harmonic(a: float, b: float) -> float:
    """Harmonic mean of two numbers from 0; 0 where both are."""
    return 2 * a * b / (a + b) if a + b else 0.0


BASE2NEW = Layout(
    name="base2new",
    title=lambda record: f"Base to new classes, {common.shots_title(record['shots'])}",
    groups=_base_groups,
    figures=_base_new_harmonic,
    columns=lambda there, request: [part for part in PARTS if part in there],
    block="dataset",
    rows=_base_new_rows,
    caption=(
        "Trained on the first half of the classes, tested on that half (base) and on the other (new), each among "
        "the classes of its half; harmonic mean of the two, of each seed.",
    ),
    part="part",
    task="base2new",
    missing="No run was trained on the base classes and tested on the new ones. Run some first, e.g.\n"
    "  bash scripts/benchmark.sh base2new --datasets shapes",
)


def _noise_groups(records: Sequence[dict], request: Request, also: Sequence[str] = ()) -> list[list[dict]]:
    """By setting but for wrong labels, by number of shots and `also`.

    Those without wrong labels are there where runs with such labels have the same data set, shots, method, options and
    prompts (others are of another study), or where their method was asked for.
    """
    noisy = {(r["dataset"], r["shots"]) for r in records if r.get("label_noise")}
    groups = by_setting(records, without=["label_noise"], also=[*also, "shots"])
    there = [{_variant(r) for r in group if _noise_of(r)} for group in groups]
    asked = {_variant(r) for r in records if r["method"] in request.methods and (r["dataset"], r["shots"]) in noisy}
    return [[r for r in g if _variant(r) in rows | asked] for g, rows in zip(groups, there, strict=True) if rows]


def _variant(record: dict) -> tuple:
    return (record["dataset"], record["shots"], record["method"], options_text(record), prompts_text(record))


def _noise_of(record: dict) -> float:
    return float(record.get("label_noise", 0))


def _noise_rows(records: Sequence[dict], request: Request) -> Rows:
    """Methods, with and without reweighting; a row without any figure at wrong labels is of another config."""
    rows = grid(records, _noise_of, request.ci, _reweighting(records))
    return {"": [row for row in rows if any(row.stats) or row.method in request.methods]}


def _reweighting(records: Sequence[dict]) -> Callable[[dict], str]:
    """Names the options of a record; those of reweighting in words, for methods that were run both ways."""
    both = {r["method"] for r in records if reweighting_off(r)}

    def describe(record: dict) -> str:
        if record["method"] not in both:
            return options_text(record)
        off = reweighting_off(record)
        words = f"without {off[0].rsplit('.', 1)[-1]}" if len(off) == 1 else "without reweighting" if off else ""
        return ", ".join(part for part in (words or "with reweighting", options_text(record, off)) if part)

    return describe


NOISE = Layout(
    name="noise",
    title=lambda r: f"Wrong training labels on {dataset_name(r['dataset'])}, {common.shots_title(r['shots'])}",
    groups=lambda records, request: _noise_groups(records, request, also=["dataset"]),
    figures=lambda record: {_noise_of(record): record["accuracy"]},
    columns=lambda there, request: sorted(there),
    headers=lambda columns: [common.percent(share) for share in columns],
    block="dataset",
    rows=_noise_rows,
    caption=(
        "Columns: share of the few-shot training labels that are replaced by another class; the test labels are clean.",
    ),
    part="label_noise",
    missing="No run with wrong training labels. Run some first, e.g.\n"
    "  bash scripts/benchmark.sh noise --datasets shapes",
    setting=lambda record: {**record, "label_noise": 0.0},
)

# How the runs of a layout are cut where pairs of them are compared; of any other layout as those of `fewshot`.
PLAIN_PAIRS = replace(FEWSHOT, title=lambda record: "", groups=lambda records, request: by_setting(records))
PAIRS = {
    "dg": replace(DG, caption=()),
    "base2new": replace(BASE2NEW, caption=("Harmonic mean: of base and new of each draw, then compared.",)),
    "noise": replace(
        NOISE,
        title=lambda record: f"Wrong training labels, {common.shots_title(record['shots'])}",
        groups=lambda records, request: _noise_groups(records, replace(request, methods=())),
        caption=("Columns: share of the few-shot training labels that are replaced by another class, in both runs.",),
        part="part",
    ),
}
