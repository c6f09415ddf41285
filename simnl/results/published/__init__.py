"""Figures that others published, from `simnl/results/published/*.csv`."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parent

PAPER_A1, PAPER_A2, PAPER_A3 = (f"SimNL paper, Table A{number}" for number in (1, 2, 3))
# The sources that tables use by default: a method's figures are of the first of these that has the method. Sources of
# one figure, and figures that a better source replaces, are shown only where a user asks for them. Of the sources that
# print the same base-to-new figures, the authors' own come first, because it is known how these came about.
ORDER = (
    "paper", "tip", "ape", "timo", "gda", "cca", "ldc", "so", "amu-tuning", "rehark", "tda", "maple", "kgcoop",
    "promptsrc", "prolip", "clip-svd",
)  # fmt: skip
AVERAGE = "average"
ARROW = " -> "  # between source and target, where a target stands for a data set
HARMONIC = "harmonic"
ROUNDED = 0.015  # what rounding to two decimals can do to a harmonic mean, and less than two kinds of means differ
ZEROSHOT = "ZeroshotCLIP"  # the same at every number of shots; published with 0 shots by some

# Of each file of figures: what places a figure beside source, method, backbone and shots, the column that tells the
# figures of a place apart, and the task where the data set's name does not say it.
FILES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "accuracy": ((), "dataset", ""),
    "base2new": (("dataset",), "classes", "base2new"),
    "sensitivity": (("parameter", "dataset"), "value", ""),
}

# File names under which OpenAI publishes the weights of its models.
OPENAI_FILES = {"RN50.pt", "RN101.pt", "ViT-B-32.pt", "ViT-B-16.pt", "ViT-L-14.pt"}


class Figure(NamedTuple):
    """One published accuracy in percent; the half width of its 95 % interval, and single seeds, where published.

    `method` and `dataset` are those of the published files, so that it can be said how the figure came about; `task` is
    the audit's, where the data set's name does not say it.
    """

    accuracy: float
    ci: float | None
    source: str
    per_seed: str = ""
    method: str = ""
    dataset: str = ""
    task: str = ""


@cache
def read(name: str) -> tuple[dict, ...]:
    """The rows of `simnl/results/published/<name>.csv`.

    Raises:
        FileNotFoundError: no such file.
    """
    with (FOLDER / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


def source_row(source: str) -> dict:
    """The row of `sources.csv` of a source.

    Raises:
        KeyError: an unknown source.
    """
    return {row["source"]: row for row in read("sources")}[source]


def source_keys() -> tuple[str, ...]:
    """The short names of all sources, as `--published` takes them."""
    return tuple(dict.fromkeys(row["key"] for row in read("sources")))


def sources_of(names: Iterable[str]) -> tuple[str, ...]:
    """Full names of sources, in order of preference, for short names.

    Raises:
        ValueError: an unknown name.
    """
    names, known = list(names), source_keys()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"Unknown source '{unknown[0]}'. Choose from {', '.join(known)}.")
    return tuple(row["source"] for name in names for row in read("sources") if row["key"] == name)


def published_accuracy(method: str, backbone: str, shots: int, sources: Sequence[str]) -> dict[str, Figure]:
    """Published accuracies of a method, by data set, all of one source: the first that has any.

    Args:
        method: registered name; methods that are not ours under their own.
        backbone: as in `configs/backbones`, e.g. `RN50`.
        shots: images per class; a zero-shot figure without shots serves for any.
        sources: full names, most preferred first.

    Returns:
        {data set: figure}; `source -> target` for a shifted data set, `average` for the mean of the eleven.
    """
    return _of_first_source("accuracy", sources, method, backbone, shots)


def published_base2new(
    method: str, backbone: str, shots: int, dataset: str, sources: Sequence[str]
) -> dict[str, Figure]:
    """Published base-to-new accuracies of a method on a data set, all of one source: the first that has any.

    Args:
        method, backbone, shots, sources: see `published_accuracy`.
        dataset: a name, or `average` for the mean of the eleven.

    Returns:
        {`base`, `new` or `harmonic`: figure}. A harmonic mean that is not that of the other two figures is of another
        kind (a mean of harmonic means) and is left out.
    """
    rows = _of_first_source("base2new", sources, method, backbone, shots, dataset)
    if HARMONIC in rows:
        base, new, printed = (rows[part].accuracy for part in ("base", "new", HARMONIC))
        if abs(harmonic([base, new]) - printed) >= ROUNDED:  # all are rounded to two decimals
            return {part: theirs for part, theirs in rows.items() if part != HARMONIC}
    return rows


def published_sensitivity(method: str, parameter: str, backbone: str, dataset: str, shots: int) -> dict[float, Figure]:
    """Published accuracies by value of a hyper-parameter; empty where there are none."""
    rows = _of_first_source("sensitivity", [PAPER_A3], method, backbone, shots, parameter, dataset)
    return {float(value): theirs for value, theirs in rows.items()}


def published_detection(sets: Iterable[str]) -> list[dict[str, str]]:
    """Rows of `detection.csv`, ImageNet against unknown classes, all of whose sets are among these."""
    there = set(sets)
    return [row for row in read("detection") if there.issuperset(row["sets"].split())]


def published_methods(backbone: str, shots: int, source: str) -> list[str]:
    """Methods of a source, in its order."""
    return [key[1] for key in _figures("accuracy") if (key[0], *key[2:]) == (source, backbone, shots)]


def published_names() -> list[str]:
    """Methods with any published accuracy."""
    return sorted({row["method"] for file in ("accuracy", "base2new") for row in read(file)})


def harmonic(values: Sequence[float]) -> float:
    """Harmonic mean of two numbers from 0; 0 where both are."""
    return 2 * values[0] * values[1] / sum(values) if any(values) else 0.0


def _of_first_source(
    file: str, sources: Sequence[str], method: str, backbone: str, shots: int, *place: str
) -> dict[str, Figure]:
    for source in sources:
        for wanted in (shots, 0) if method == ZEROSHOT else (shots,):
            rows = _figures(file).get((source, method, backbone, wanted, *place))
            if rows:
                return rows
    return {}


@cache
def _figures(file: str) -> dict[tuple, dict[str, Figure]]:
    """The figures of a file of `FILES`: {(source, method, backbone, shots and what else it says): {column: figure}}."""
    also, column, task = FILES[file]
    table: dict[tuple, dict[str, Figure]] = {}
    for row in read(file):
        key = (row["source"], row["method"], row["backbone"], int(row["shots"]), *(row[name] for name in also))
        interval, per_seed = float(row["ci"]) if row.get("ci") else None, row.get("per_seed", "")
        table.setdefault(key, {})[row[column]] = Figure(
            float(row["accuracy"]), interval, row["source"], per_seed, row["method"], row["dataset"], task
        )
    return table


def same_weights(records: Iterable[dict]) -> bool:
    """True where records of the same weights are of OpenAI's, as every published figure here: by tag, or by the name of
    the file in any of them."""
    names = {record.get("weights", "") for record in records}
    return "openai" in names or any(Path(name).name in OPENAI_FILES for name in names)
