"""The layouts of methods on other data than that of training: `dg`, `cross`, `base2new`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from simnl.fewshot.capabilities import CROSS, NEW_CLASSES, is_on_new_classes
from simnl.results.published import (
    ARROW,
    AVERAGE,
    PAPER_A2,
    Figure,
    harmonic,
    published_accuracy,
    published_base2new,
)
from simnl.results.published import HARMONIC as PUBLISHED_HARMONIC
from simnl.results.tables import common
from simnl.results.tables.beside import Rows
from simnl.results.tables.common import ELEVEN, SHIFTED, Request
from simnl.results.tables.comparison import Average, Comparison
from simnl.results.tables.records import by_setting, grid, is_clean, is_standard
from simnl.runs.names import dataset_name

HARMONIC = "harmonic mean"
PARTS = ("base", NEW_CLASSES, HARMONIC)


def accuracies(place: dict, block: Any, sources: Sequence[str]) -> dict[Any, Figure]:
    """Published accuracies of a run's method, backbone and shots, by data set."""
    return published_accuracy(place["method"], place["backbone"], place["shots"], sources)


def _headers(columns: Sequence[str]) -> list[str]:
    names = [column.partition(ARROW)[2].removeprefix(CROSS) for column in columns]
    alike = Counter(name.partition("@")[0] for name in names)
    titles = {"": f"{dataset_name(columns[0])} (source)", AVERAGE: f"Average ({len(columns) - 2} targets)"}
    plain = {name: name.partition("@")[0] if alike[name.partition("@")[0]] == 1 else name for name in names}
    return [titles.get(name) or dataset_name(plain[name]) for name in names]


def _onto(kind: Callable[[str], bool], order: Sequence[str], **declared: Any) -> Comparison:
    """A layout of the source and its targets of a kind, in an order, one table per source."""

    def groups(records: Sequence[dict], request: Request) -> list[list[dict]]:
        """Records by setting and source, at numbers of shots at which a run has such targets."""
        # runs of the same source without targets are missing figures, not missing methods
        whole = by_setting(records, also=["dataset"])
        shots = [{r["shots"] for r in group if any(map(kind, r.get("targets", {})))} for group in whole]
        kept = [[r for r in group if r["shots"] in of_group] for group, of_group in zip(whole, shots, strict=True)]
        return [group for group in kept if group]

    def figures(record: dict) -> dict[str, float]:
        """The accuracy on the source, and on each target under `source -> target`."""
        source, targets = record["dataset"], record.get("targets", {})
        return {source: record["accuracy"]} | {f"{source}{ARROW}{t}": a for t, a in targets.items() if kind(t)}

    def columns(there: set[str], request: Request) -> list[str]:
        targets = {column.split(ARROW)[1]: column for column in there if ARROW in column}
        return [*(c for c in there if ARROW not in c), *(targets[name] for name in common.in_order(targets, order))]

    def average(columns: Sequence[str]) -> Average:
        return Average(f"{columns[0]}{ARROW}{AVERAGE}", columns[1:], "targets, without the source,", apart=False)

    return Comparison(groups=groups, figures=figures, columns=columns, headers=_headers, average=average, **declared)


DG = _onto(
    lambda target: not is_on_new_classes(target),
    SHIFTED,
    name="dg",
    title=lambda records: f"Domain generalisation from {dataset_name(records[0]['dataset'])}",
    caption=("Trained and selected on the source alone; nothing is selected on a target.",),
    task="dg",
    published=accuracies,
    paper=lambda columns: PAPER_A2,
    whole=SHIFTED,
    missing="No run was tested on a shifted data set. Run one first, e.g.\n  bash scripts/simnl/dg.sh shapes 16",
)

CROSS_DATA_SETS = _onto(
    lambda target: target.startswith(CROSS),
    [f"{CROSS}{name}" for name in ELEVEN],
    name="cross",
    title=lambda records: f"Cross-data-set transfer from {dataset_name(records[0]['dataset'])}",
    caption=(
        "Trained and selected on the source alone; tested on the classes of each target, which are new to what was "
        "learned, with the target's own prompts where a method takes fixed ones.",
    ),
    task="cross",
    missing="No run was tested on a data set of other classes. Run one first, e.g.\n"
    "  bash scripts/cross.sh CoOp shapes 16 --targets FOLDER",
)


def _base_and_new(record: dict) -> dict[str, float]:
    return dict(zip(PARTS, (record["accuracy"], record["targets"][NEW_CLASSES]), strict=False))


def _base_new_rows(records: Sequence[dict], request: Request) -> Rows:
    """Rows of each data set; where there are several, those of their average, whose harmonic mean is of averages."""
    parts = [{**r, "part": part, "accuracy": a} for r in records for part, a in _base_and_new(r).items()]
    rows = grid(parts, lambda r: (r["dataset"], r["part"]), request.ci)
    blocks = common.over_data_sets(rows, common.dataset_order({r["dataset"] for r in records}, request), request.ci)
    for of_block in blocks.values():
        common.add_average(of_block, HARMONIC, PARTS[:2], request.ci, harmonic)
    return blocks


def _base2new_published(place: dict, block: Any, sources: Sequence[str]) -> dict[Any, Figure]:
    found = published_base2new(place["method"], place["backbone"], place["shots"], block, sources)
    return {HARMONIC if part == PUBLISHED_HARMONIC else part: theirs for part, theirs in found.items()}


def _all_classes(record: dict) -> dict:
    """A run on the base classes as if it were on all: in all else it must be as one that others published."""
    return {**record, "subsample_classes": "all"}


BASE2NEW = Comparison(
    name="base2new",
    title=lambda records: f"Base to new classes, {common.shots_title(records[0]['shots'])}",
    groups=lambda records, request: by_setting(
        [r for r in records if r.get("subsample_classes") == "base" and NEW_CLASSES in r.get("targets", {})],
        also=["shots"],
    ),
    figures=lambda record: {**_base_and_new(record), HARMONIC: harmonic([*_base_and_new(record).values()])},
    columns=lambda there, request: [part for part in PARTS if part in there],
    block="dataset",
    rows=_base_new_rows,
    caption=(
        "Trained on the first half of the classes, tested on that half (base) and on the other (new), each among "
        "the classes of its half; harmonic mean of the two, of each seed.",
    ),
    place=lambda first, block, column: {"dataset": block, "part": column},
    task="base2new",
    published=_base2new_published,
    like_published=lambda record: is_clean(_all_classes(record)),
    compared=(lambda record: is_standard(_all_classes(record)), "our run has no options"),
    whole=ELEVEN,
    missing="No run was trained on the base classes and tested on the new ones. Run some first, e.g.\n"
    "  bash scripts/benchmark.sh base2new --datasets shapes",
)
