"""The plain list: one row per setting, whatever has been run."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence

from simnl.results.stats import interval, mean
from simnl.results.tables.common import percent
from simnl.results.tables.model import Block, Cell, Table, text
from simnl.results.tables.records import by_seed, images_text, options_text, prompts_text, values_of, with_targets
from simnl.results.tables.render import render_tables
from simnl.results.tables.terminal import FULL
from simnl.runs.names import dataset_name, display_name

SAME = (
    "dataset", "method", "backbone", "weights", "weights_fingerprint", "shots", "preset", "protocol", "split_origin",
    "split_hash", "subsample_classes", "label_noise", "config_hash",
)  # fmt: skip
COLUMNS = (
    "dataset", "method", "backbone", "shots", "preset", "protocol", "prompts", "variant", "accuracy", "ci95", "seeds",
)  # fmt: skip
FIGURES = ("accuracy", "ci95", "seeds")
HIDDEN = {"weights_fingerprint": "weights", "split_hash": "split", "config_hash": "config"}  # shown where rows need it
NAMES = {"dataset": dataset_name, "method": display_name}


def summarise(records: Sequence[dict], ci: str = "t") -> list[dict]:
    """One row per setting: mean accuracy over the seeds and the half width of its 95 % interval (None for n = 1)."""
    groups = defaultdict(list)
    for record in itertools.chain.from_iterable(map(with_targets, records)):
        groups[(*values_of(record, SAME), prompts_text(record), options_text(record))].append(record)
    rows = [(_row(group, ci), group[0]) for group in groups.values()]
    for key, name in HIDDEN.items():
        _tell_apart(rows, key, name)
    order = ("dataset", "backbone", "shots", "method", "preset", "protocol", "variant")
    return sorted((row for row, _ in rows), key=lambda row: [row[key] for key in order])


def _tell_apart(rows: Sequence[tuple[dict, dict]], key: str, name: str) -> None:
    """Add a key of the records to the variants of rows that agree in all that is shown and differ in that key."""
    alike = defaultdict(list)
    for row, first in rows:
        alike[tuple(row[column] for column in COLUMNS if column not in FIGURES)].append((row, str(first.get(key, ""))))
    for same in alike.values():
        if len({value for _, value in same}) > 1:
            for row, value in same:
                row["variant"] = "; ".join(filter(None, [row["variant"], f"{name} {value[:8] or 'unknown'}"]))


def _row(group: Sequence[dict], ci: str) -> dict:
    runs, first = by_seed(group), group[0]
    accuracies = [run["accuracy"] for run in runs.values()]
    return {
        **{key: first.get(key, "") for key in COLUMNS},
        "prompts": prompts_text(first),
        "protocol": first["protocol"] + ("" if first.get("split_origin") == "standard" else " (own split)"),
        "variant": _variant(first),
        "accuracy": mean(accuracies),
        "ci95": interval(accuracies, ci),
        "seeds": " ".join(map(str, runs)),
    }


def _variant(record: dict) -> str:
    """What sets a run apart from a standard one: options, wrong labels, a part of the classes, too few images."""
    noise, classes = record.get("label_noise"), record.get("subsample_classes", "all")
    images = images_text(record)
    parts = [f"{percent(noise)} wrong labels" if noise else "", f"{classes} classes" if classes != "all" else ""]
    parts += [f"{images.removesuffix(' per class')} images per class" if images else ""]
    return "; ".join(part for part in [options_text(record), *parts] if part)


def runs_table(rows: Sequence[dict]) -> Table:
    """The rows as a table; the column `variant` only where a run is not a standard one. csv keeps registered names."""
    columns = [c for c in COLUMNS if c != "ci95" and (c != "variant" or any(row["variant"] for row in rows))]
    headers = ["accuracy (95 % CI)" if column == "accuracy" else column for column in columns]
    cells = [[_cell(row, column) for column in columns] for row in rows]
    return Table("", [], [Block(headers, cells)], tidy=[{key: row[key] for key in COLUMNS} for row in rows])


def render(rows: Sequence[dict], fmt: str, width: int = FULL) -> str:
    """The rows as text.

    Raises:
        ValueError: unknown format.
    """
    return render_tables([runs_table(rows)], fmt, width)


def _cell(row: dict, column: str) -> Cell:
    if column == "accuracy":
        return Cell(row["accuracy"], row["ci95"])
    return text(NAMES.get(column, str)(row[column]))
