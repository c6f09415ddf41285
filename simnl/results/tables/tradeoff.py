"""Layout `tradeoff`: one row per method, what it is worth on known classes and at telling unknown ones, by score."""

from __future__ import annotations

from collections.abc import Sequence

from simnl.metrics.names import DEFINITIONS
from simnl.results.stats import mean
from simnl.results.tables import common
from simnl.results.tables.common import Request
from simnl.results.tables.listing import Listing, figure_of, labelled_runs, mean_line, seeds_text, words
from simnl.results.tables.ood import AVERAGE, FIGURES, NONE, SHOWN, detected, seen_notes
from simnl.results.tables.records import by_setting
from simnl.runs.names import dataset_name

NEW = "new"


def sets_of(records: Sequence[dict]) -> list[str]:
    """The sets of outliers that stand in columns: new classes, and the average over far sets or, without it, all."""
    names = list(dict.fromkeys(record["outliers"] for record in records))
    return [name for name in names if name in (NEW, AVERAGE)] if AVERAGE in names else names


def _lines(group: tuple[str, Sequence[dict]], request: Request) -> list[dict]:
    figure, records = group
    sets, lines = sets_of(records), []
    for label, runs in labelled_runs([one for one in records if one["outliers"] == sets[0]], request):
        singles = [{**run, "figures": {**run["shared"], **_figures(run, records, sets, figure)}} for run in runs]
        lines.append(mean_line("tradeoff", label, singles, request.ci, figure=figure))
    return sorted(lines, key=lambda line: -line["accuracy"])


TRADEOFFS = Listing(
    groups=lambda records, request: [
        (figure, group)
        for group in by_setting(detected(records), also=["dataset", "shots"])
        for figure in ("auroc", "fpr95_id")
    ],
    lines=_lines,
    columns=lambda group, lines: {
        "method": words("label"),
        "accuracy": figure_of("accuracy", half="accuracy ci"),
        "ECE": figure_of("ece", 100),
        **{f"{one}: {score}": figure_of(f"{one}: {score}", 100) for one in sets_of(group[1]) for score in SHOWN},
    },
    title=lambda group, request: common.titled(
        f"{FIGURES[group[0]]} of {dataset_name(group[1][0]['dataset'])} against {' and '.join(sets_of(group[1]))}, "
        f"{common.shots_title(group[1][0]['shots'])}",
        group[1][0],
    ),
    caption=lambda group, lines, request: [
        common.setting_text(group[1][0]),
        f"{FIGURES[group[0]]} in %: {DEFINITIONS[group[0]]}. Columns: the set of unknown images, and the score. A "
        "score that is read off this table was chosen on outliers; choose it before.",
        "By falling accuracy. Accuracy and ECE are of the known classes, ECE before calibration.",
        seeds_text(lines),
        *seen_notes(group[1]),
    ],
    missing=NONE,
)


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
