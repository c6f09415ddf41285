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
HARMONIC = "harmonic"
ROUNDED = 0.015  # what rounding to two decimals can do to a harmonic mean, and less than two kinds of means differ
ZEROSHOT = "ZeroshotCLIP"  # the same at every number of shots; published with 0 shots by some

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
    for source in sources:
        for wanted in (shots, 0) if method == ZEROSHOT else (shots,):
            rows = _accuracies().get((source, method, backbone, wanted))
            if rows:
                return rows
    return {}


def published_methods(backbone: str, shots: int, source: str) -> list[str]:
    """Methods of a source, in its order."""
    return [key[1] for key in _accuracies() if (key[0], key[2], key[3]) == (source, backbone, shots)]


def published_names() -> list[str]:
    """Methods with any published accuracy."""
    return sorted({row["method"] for file in ("accuracy", "base2new") for row in read(file)})


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
    for source in sources:
        for wanted in (shots, 0) if method == ZEROSHOT else (shots,):
            rows = _base2new().get((source, method, backbone, wanted, dataset))
            if rows:
                return {part: theirs for part, theirs in rows.items() if part != HARMONIC or _is_harmonic(rows)}
    return {}


def _is_harmonic(rows: dict[str, Figure]) -> bool:
    """True where the harmonic mean of a row is that of its base and new figures, all rounded to two decimals."""
    base, new, mean = (rows[part].accuracy for part in ("base", "new", HARMONIC))
    return abs(2 * base * new / (base + new) - mean) < ROUNDED


@cache
def _base2new() -> dict[tuple[str, str, str, int, str], dict[str, Figure]]:
    """{(source, method, backbone, shots, data set): {part: figure}}."""
    table: dict[tuple[str, str, str, int, str], dict[str, Figure]] = {}
    for row in read("base2new"):
        key = (row["source"], row["method"], row["backbone"], int(row["shots"]), row["dataset"])
        accuracy, task = float(row["accuracy"]), "base2new"
        figure = Figure(accuracy, None, row["source"], row["per_seed"], row["method"], row["dataset"], task)
        table.setdefault(key, {})[row["classes"]] = figure
    return table


def published_sensitivity(method: str, parameter: str, backbone: str, dataset: str, shots: int) -> dict[float, Figure]:
    """Published accuracies by value of a hyper-parameter; empty where there are none."""
    wanted = (method, parameter, backbone, dataset, str(shots))
    keys = ("method", "parameter", "backbone", "dataset", "shots")
    rows = [row for row in read("sensitivity") if tuple(row[key] for key in keys) == wanted]
    return {
        float(row["value"]): Figure(float(row["accuracy"]), None, row["source"], "", method, dataset) for row in rows
    }


def same_weights(records: Iterable[dict]) -> bool:
    """True where records of the same weights are of OpenAI's, as every published figure here: by tag, or by the name of
    the file in any of them."""
    names = {record.get("weights", "") for record in records}
    return "openai" in names or any(Path(name).name in OPENAI_FILES for name in names)


@cache
def _accuracies() -> dict[tuple[str, str, str, int], dict[str, Figure]]:
    """{(source, method, backbone, shots): {data set: figure}}."""
    table: dict[tuple[str, str, str, int], dict[str, Figure]] = {}
    for row in read("accuracy"):
        key = (row["source"], row["method"], row["backbone"], int(row["shots"]))
        interval = float(row["ci"]) if row["ci"] else None
        figure = Figure(float(row["accuracy"]), interval, row["source"], row["per_seed"], row["method"], row["dataset"])
        table.setdefault(key, {})[row["dataset"]] = figure
    return table
