"""Layout `tradeoff`: one row per method, what it is worth on known classes and at telling unknown ones, by score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from simnl.metrics.names import DEFINITIONS
from simnl.results.stats import mean
from simnl.results.tables import common
from simnl.results.tables.common import Request
from simnl.results.tables.lists import labelled_runs, listed
from simnl.results.tables.metrics import column, mean_line, seeds_text
from simnl.results.tables.model import Cell, Table, text
from simnl.results.tables.ood import AVERAGE, FIGURES, SHOWN, detected, seen_notes
from simnl.results.tables.records import by_setting
from simnl.runs.names import dataset_name

NEW = "new"


def tradeoff_tables(records: Sequence[dict], request: Request) -> list[Table]:
    """One table per setting, data set, number of shots and figure (AUROC, FPR95).

    Raises:
        ValueError: no run has figures of detection.
    """
    found = detected(records)
    groups = by_setting(found, also=["dataset", "shots"])
    return [_table(group, figure, request) for group in groups for figure in ("auroc", "fpr95_id")]


def sets_of(records: Sequence[dict]) -> list[str]:
    """The sets of outliers that stand in columns: new classes, and the average over far sets or, without it, all."""
    names = list(dict.fromkeys(record["outliers"] for record in records))
    return [name for name in names if name in (NEW, AVERAGE)] if AVERAGE in names else names


def _table(records: Sequence[dict], figure: str, request: Request) -> Table:
    sets = sets_of(records)
    lines: list[dict[str, Any]] = []
    for label, runs in labelled_runs([one for one in records if one["outliers"] == sets[0]], request):
        singles = [{**run, "figures": {**run["shared"], **_figures(run, records, sets, figure)}} for run in runs]
        lines.append({**mean_line("tradeoff", label, singles, request.ci), "figure": figure})
    lines.sort(key=lambda line: -line["accuracy"])
    columns: dict[str, Callable[[dict], Cell]] = {
        "method": lambda line: text(line["label"]),
        "accuracy": column("accuracy", 1, 2),
        "ECE": column("ece", 100, 2),
        **{f"{one}: {score}": column(f"{one}: {score}", 100, 2) for one in sets for score in SHOWN},
    }
    first = records[0]
    where = f"{FIGURES[figure]} of {dataset_name(first['dataset'])} against {' and '.join(sets)}"
    caption = [
        common.setting_text(first),
        f"{FIGURES[figure]} in %: {DEFINITIONS[figure]}. Columns: the set of unknown images, and the score. A score "
        "that is read off this table was chosen on outliers; choose it before.",
        "By falling accuracy. Accuracy and ECE are of the known classes, ECE before calibration.",
        seeds_text(lines),
        *seen_notes(records),
    ]
    return listed(lines, columns, f"{where}, {common.shots_title(first['shots'])} ({common.run_title(first)})", caption)


def _figures(run: dict, records: Sequence[dict], sets: Sequence[str], figure: str) -> dict[str, float | None]:
    mine = {one["outliers"]: one["scores"] for one in records if one["path"] == run["path"]}
    scores = {f"{one}: {score}": (one, score) for one in sets for score in SHOWN}
    return {key: mine[one][score][figure] if one in mine else None for key, (one, score) in scores.items()}


def points(records: Sequence[dict], score: str) -> dict[str, dict[str, tuple[float, float]]]:
    """{set of outliers: {method: (accuracy, AUROC)}}, means over runs in percent, of runs of one setting."""
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for outliers in sets_of(records):
        of_set = [one for one in records if one["outliers"] == outliers and score in one["scores"]]
        for method in dict.fromkeys(one["method"] for one in of_set):
            runs = [one for one in of_set if one["method"] == method]
            pair = (
                mean([r["shared"]["accuracy"] for r in runs]),
                100 * mean([r["scores"][score]["auroc"] for r in runs]),
            )
            found.setdefault(outliers, {})[method] = pair
    return found
