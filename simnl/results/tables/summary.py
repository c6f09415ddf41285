"""Layout `runs`: the plain list, one row per setting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain

from simnl.results.published.audit import footnotes as marks_text
from simnl.results.stats import interval, mean
from simnl.results.tables import common
from simnl.results.tables.common import Request
from simnl.results.tables.listing import Listing, words
from simnl.results.tables.model import Cell, Table, text
from simnl.results.tables.records import (
    IDENTITY,
    SETTING,
    by_seed,
    images_text,
    marked_name,
    marks_of_run,
    options_text,
    prompts_text,
    sight_notes,
    values_of,
    with_targets,
)
from simnl.runs.names import dataset_name, display_name

SAME = ("dataset", "method", "shots", *SETTING, *IDENTITY)  # runs of one row agree in these, in prompts and in options
SUMMARY = (
    "dataset", "method", "backbone", "shots", "preset", "protocol", "prompts", "variant", "accuracy", "ci95", "seeds",
)  # fmt: skip
FIGURES = ("accuracy", "ci95", "seeds")
HIDDEN = {"weights_fingerprint": "weights", "split_hash": "split", "config_hash": "config"}  # shown where rows need it


def summarise(records: Sequence[dict], ci: str = "t") -> list[dict]:
    """One row per setting: mean accuracy over the seeds and the half width of its 95 % interval (None for n = 1)."""
    groups = defaultdict(list)
    for record in chain.from_iterable(map(with_targets, records)):
        groups[values_of(record, SAME) + (prompts_text(record), options_text(record))].append(record)
    rows = [(_row(group, ci), group[0]) for group in groups.values()]
    for key, name in HIDDEN.items():
        _tell_apart(rows, key, name)
    order = ("dataset", "backbone", "shots", "method", "preset", "protocol", "variant")
    return sorted((row for row, _ in rows), key=lambda row: [row[key] for key in order])


def _tell_apart(rows: Sequence[tuple[dict, dict]], key: str, name: str) -> None:
    """Add a key of the records to the variants of rows that agree in all that is shown and differ in that key."""
    alike = defaultdict(list)
    for row, first in rows:
        alike[tuple(row[column] for column in SUMMARY if column not in FIGURES)].append((row, str(first.get(key, ""))))
    for same in alike.values():
        if len({value for _, value in same}) > 1:
            for row, value in same:
                row["variant"] = "; ".join(filter(None, [row["variant"], f"{name} {value[:8] or 'unknown'}"]))


def _row(group: Sequence[dict], ci: str) -> dict:
    runs, first = by_seed(group), group[0]
    accuracies = [run["accuracy"] for run in runs.values()]
    unlike = common.unlike_standard(first)[::-1]
    images = images_text(first).removesuffix(" per class")
    return {
        **{key: first.get(key, "") for key in SUMMARY},
        "prompts": prompts_text(first),
        "protocol": first["protocol"] + ("" if first.get("split_origin", "standard") == "standard" else " (own split)"),
        "variant": "; ".join(filter(None, [options_text(first), *unlike, images and f"{images} images per class"])),
        "accuracy": mean(accuracies),
        "ci95": interval(accuracies, ci),
        "seeds": " ".join(map(str, runs)),
        "inference": first.get("inference", ""),
        "marks": marks_of_run(first),
    }


RUNS = Listing(
    groups=lambda records, request: [summarise(records, request.ci)],
    columns=lambda rows, lines: {
        "dataset": lambda row: text(dataset_name(row["dataset"])),
        "method": lambda row: text(marked_name(row)),  # csv keeps registered names
        **{key: words(key) for key in SUMMARY[2:7]},
        # only where a run is not a standard one
        **({"variant": words("variant")} if any(row["variant"] for row in rows) else {}),
        "accuracy (95 % CI)": lambda row: Cell(row["accuracy"], row["ci95"], audit=row["marks"]),
        "seeds": words("seeds"),
    },
    title=lambda rows: "",
    setting=lambda rows: {},
    caption=lambda rows, lines, request: [
        *sight_notes(rows),
        *marks_text((row["marks"], display_name(row["method"])) for row in rows),
    ],
)


def runs_table(rows: Sequence[dict]) -> Table:
    """The table of rows of `summarise`."""
    return RUNS.table(list(rows), Request())
