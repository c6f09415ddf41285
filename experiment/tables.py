"""Tables from run records: rows of runs that differ in nothing but the seed."""

from __future__ import annotations

import csv
import io
import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from tabulate import tabulate

from experiment.record import FILE, read_record
from experiment.stats import interval, mean

SAME = (
    "dataset", "method", "backbone", "weights", "shots", "preset", "protocol", "split_origin", "subsample_classes",
    "label_noise", "config_hash",
)  # fmt: skip
COLUMNS = ("dataset", "method", "backbone", "shots", "preset", "protocol", "prompts", "accuracy", "ci95", "seeds")
FORMATS = ("terminal", "markdown", "latex", "csv")
DECIMALS = 2


def find_records(paths: Iterable[str | Path]) -> list[dict]:
    """All records at or below the paths, each with the key `path` added.

    Raises:
        FileNotFoundError: a path that is not there, or no record below any of them.
        ValueError: a damaged record; the message names it.
    """
    records = []
    for given in map(Path, paths):
        if not given.exists():
            raise FileNotFoundError(f"No such file or folder: {given}")
        files = [given] if given.is_file() else sorted(given.rglob(FILE))
        records += [{**read_record(file), "path": str(file)} for file in files]
    if not records:
        raise FileNotFoundError(
            f"No {FILE} below {', '.join(map(str, paths))}. Run something first, e.g.\n"
            "  bash scripts/simnl/main.sh shapes 16"
        )
    return records


def with_targets(record: dict) -> list[dict]:
    """The record, and one like it for each shifted data set that the run was tested on."""
    targets = record.get("targets", {})
    return [record, *({**record, "dataset": f"{record['dataset']} -> {t}", "accuracy": a} for t, a in targets.items())]


def comparable(records: Sequence[dict], to: dict) -> list[dict]:
    """The records that may stand in one table with a record: same data, shots, model, preset and protocol."""
    keys = ("dataset", "shots", "weights_fingerprint", "preset", "protocol", "split_hash", "label_noise")
    return [r for r in records if all(r.get(key) == to.get(key) for key in keys)]


def summarise(records: Sequence[dict], ci: str = "t") -> list[dict]:
    """One row per setting: mean accuracy over the seeds and the half width of its 95 % interval (None for n = 1)."""
    groups = defaultdict(list)
    for record in itertools.chain.from_iterable(map(with_targets, records)):
        groups[tuple(record.get(key) for key in SAME)].append(record)
    rows = []
    for group in groups.values():
        runs = {r["seed"]: r for r in sorted(group, key=lambda r: r["path"])}  # a seed counts once
        accuracies = [runs[seed]["accuracy"] for seed in sorted(runs)]
        first = group[0]
        rows.append(
            {
                **{key: first.get(key, "") for key in COLUMNS},
                "prompts": "+".join(first.get("prompts", [])),
                "protocol": first["protocol"] + ("" if first.get("split_origin") == "standard" else " (own split)"),
                "accuracy": mean(accuracies),
                "ci95": interval(accuracies, ci),
                "seeds": " ".join(map(str, sorted(runs))),
            }
        )
    order = ("dataset", "backbone", "shots", "method", "preset", "protocol")
    return sorted(rows, key=lambda row: [row[key] for key in order])


def render(rows: Sequence[dict], fmt: str) -> str:
    """The rows as text.

    Raises:
        ValueError: unknown format.
    """
    if fmt not in FORMATS:
        raise ValueError(f"Unknown format '{fmt}'. Choose one of {', '.join(FORMATS)}.")
    if fmt == "csv":
        return _csv(rows)
    cells = [[_cell(row, column, fmt) for column in COLUMNS if column != "ci95"] for row in rows]
    headers = ["accuracy (95 % CI)" if c == "accuracy" else c for c in COLUMNS if c != "ci95"]
    style = {"terminal": "simple", "markdown": "github", "latex": "latex_raw"}[fmt]
    if fmt == "latex":
        headers = [h.replace("%", r"\%") for h in headers]
    return tabulate(cells, headers=headers, tablefmt=style, disable_numparse=True)


def _cell(row: dict, column: str, fmt: str) -> str:
    if column != "accuracy":
        text = str(row[column])
        return text.replace("_", r"\_").replace("%", r"\%") if fmt == "latex" else text
    plus_minus = r"\pm" if fmt == "latex" else "±"
    text = f"{row['accuracy']:.{DECIMALS}f}"
    if row["ci95"] is not None:
        text += f" {plus_minus} {row['ci95']:.{DECIMALS}f}"
    return f"${text}$" if fmt == "latex" else text


def _csv(rows: Sequence[dict]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if row[key] is None else row[key] for key in COLUMNS} for row in rows)
    return out.getvalue().rstrip("\n")
