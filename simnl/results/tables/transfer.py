"""The layouts of methods on classes that training did not see: `base2new`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simnl.results.published import HARMONIC as PUBLISHED_HARMONIC
from simnl.results.published import Figure, published_base2new
from simnl.results.tables import common
from simnl.results.tables.common import ELEVEN, Request
from simnl.results.tables.comparison import Layout, Rows
from simnl.results.tables.records import by_setting, grid, is_clean, is_standard
from simnl.runs.record import NEW_CLASSES

HARMONIC = "harmonic mean"
PARTS = ("base", NEW_CLASSES, HARMONIC)


def harmonic(values: Sequence[float]) -> float:
    """Harmonic mean of two numbers from 0; 0 where both are."""
    return 2 * values[0] * values[1] / sum(values) if any(values) else 0.0


def _base_groups(records: Sequence[dict], request: Request) -> list[list[dict]]:
    """By setting and number of shots, of runs on the base classes that were tested on the new ones."""
    base = [r for r in records if r.get("subsample_classes") == "base" and NEW_CLASSES in r.get("targets", {})]
    return by_setting(base, also=["shots"])


def _base_new_harmonic(record: dict) -> dict[str, float]:
    """A run's accuracy on the base and on the new classes, and their harmonic mean."""
    pair = (record["accuracy"], record["targets"][NEW_CLASSES])
    return dict(zip(PARTS, (*pair, harmonic(pair)), strict=True))


def _base_new_rows(records: Sequence[dict], request: Request) -> Rows:
    """Rows of each data set; where there are several, those of their average, whose harmonic mean is of averages."""
    parts = [
        {**record, "part": part, "accuracy": accuracy}
        for record in records
        for part, accuracy in zip(PARTS, (record["accuracy"], record["targets"][NEW_CLASSES]), strict=False)
    ]
    rows = grid(parts, lambda r: (r["dataset"], r["part"]), request.ci)
    blocks = common.over_data_sets(rows, common.dataset_order({r["dataset"] for r in records}, request), request.ci)
    for row in (row for of_block in blocks.values() for row in of_block):
        common.add_average([row], HARMONIC, PARTS[:2], request.ci, harmonic)
    return blocks


def _base2new_published(place: dict, block: Any, sources: Sequence[str]) -> dict[Any, Figure]:
    found = published_base2new(place["method"], place["backbone"], place["shots"], block, sources)
    return {HARMONIC if part == PUBLISHED_HARMONIC else part: theirs for part, theirs in found.items()}


def _all_classes(record: dict) -> dict:
    """A run on the base classes as if it were on all: in all else it must be as one that others published."""
    return {**record, "subsample_classes": "all"}


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
    place=lambda first, block, column: {"dataset": block, "part": column},
    task="base2new",
    published=_base2new_published,
    like_published=lambda record: is_clean(_all_classes(record)),
    compared=(lambda record: is_standard(_all_classes(record)), "our run has no options"),
    whole=ELEVEN,
    missing="No run was trained on the base classes and tested on the new ones. Run some first, e.g.\n"
    "  bash scripts/benchmark.sh base2new --datasets shapes",
)
