"""Layouts `ood` and `tradeoff`: known against unknown classes, by method and score, and beside accuracy."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from simnl.commands import as_typed
from simnl.data.outliers import FAR
from simnl.metrics.names import DEFINITIONS
from simnl.results.stats import mean
from simnl.results.tables import common
from simnl.results.tables.common import Request
from simnl.results.tables.listing import Listing, figure_of, labelled_runs, mean_line, seeds_text, words
from simnl.results.tables.model import Table
from simnl.results.tables.records import by_setting, split_by
from simnl.runs.names import dataset_name, display_name

log = logging.getLogger(__name__)

AVERAGE, NEW = "all far sets", "new"  # sets of outliers
FIGURES = {
    "auroc": "AUROC", "fpr95_id": "FPR95 (ID)", "fpr95_ood": "FPR95 (OOD)", "aupr_in": "AUPR in",
    "aupr_out": "AUPR out",
}  # fmt: skip
CCR = ("ccr_at_fpr1", "ccr_at_fpr10")  # csv: known, right and accepted where 1 % or 10 % of the unknown are
SHOWN = ("maxlogit", "msp", "mcm@T1", "energy")  # scores with a row in every table; csv has all of them
NONE = "None of these runs was tested on unknown classes. Run a method that way first, e.g.\n  " + as_typed(
    "bash scripts/simnl/ood.sh shapes 16"
)
CAPTION = [
    "AUROC, FPR95 and AUPR in %. "
    + "; ".join(f"{FIGURES[name]}: {meaning}" for name, meaning in DEFINITIONS.items() if name != "auroc")
    + ".",
    "A score marked 'chosen' was chosen by pseudo-open sets within the support, and every threshold without outliers; "
    "one marked 'test-time' learns from the images of this table, known and unknown, without their labels. "
    "Accuracy and ECE are of the known classes, ECE before calibration.",
]


def ood_tables(records: Sequence[dict], request: Request) -> list[Table]:
    """One table per setting, data set, number of shots and set of outliers, and one of the average over far sets; then
    one per setting, data set and number of shots of the share of the positive side.

    Raises:
        ValueError: no run has figures of detection.
    """
    found = detected(records)
    return [*DETECTION.tables(found, request), *SHARES.tables(found, request)]


def detected(records: Sequence[dict]) -> list[dict]:
    """A record for each run and set of outliers, and for the average over far sets, with the figures of each score."""
    return [one for record in records for one in _detected(record)]


def _detected(record: dict) -> Iterator[dict]:
    from simnl.runs.detection import read_detection  # what carries it out, which other layouts do not need

    try:
        content = read_detection(record)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        log.warning("%s", error)
        return
    sets: dict[str, dict[str, Any]] = content["sets"]
    by_share = content.get("accuracy_by_share", {})
    of_run = {
        "shared": {"accuracy": content["accuracy"], "ece": _ece(record)},
        "chosen": content["detectors"]["chosen"] if by_share else "",
        "by_share": by_share,
        "own": content.get("own", []),
        "missing": content.get("extra", {}).get("missing", {}),
        "seen": content.get("inference", "inductive"),
    }
    scores = {name: (one["images"], one["figures"]) for name, one in sets.items()}
    far = [one["figures"] for one in sets.values() if one["distance"] == FAR]
    if len(far) > 1:
        names = set.intersection(*map(set, far))
        keys = [key for key in (*FIGURES, *CCR) if all(key in figures for one in far for figures in one.values())]
        means = {s: {k: mean([one[s][k] for one in far]) for k in keys} for s in far[0] if s in names}
        scores[AVERAGE] = (len(far), means)
    for name, (size, figures) in scores.items():
        of_set = {"outliers": name, "sizes": (content["images"], size), "scores": figures}
        yield {**record, **of_set, **of_run, "ablation": sets.get(name, {}).get("ablation", {})}


def _ece(record: dict) -> float | None:
    from simnl.results.evaluation import evaluate  # logits and calibrators, which other layouts do not need

    try:
        return next(iter(evaluate(record, "none")))["ece"]
    except (OSError, ValueError) as error:
        log.warning("%s", error)
        return None


def _line(label: str, runs: Sequence[dict], score: str, figures: Sequence[dict], own: bool, ci: str) -> dict[str, Any]:
    """The means of a score's figures, one dict per run."""
    singles = [{**run, "figures": of_run} for run, of_run in zip(runs, figures, strict=True)]
    return {**mean_line("ood", label, singles, ci, own=own), "outliers": runs[0]["outliers"], "score": score}


def _lines(records: Sequence[dict], request: Request) -> list[dict]:
    """Of each method a line for each score, for the score that each run chose, and for each that could not be made."""
    lines: list[dict] = []
    for label, runs in labelled_runs(records, request):
        names = set.intersection(*(set(run["scores"]) for run in runs))
        for name in sorted(names, key=lambda one: (SHOWN.index(one) if one in SHOWN else len(SHOWN), one)):
            figures = [run["shared"] | run["scores"][name] for run in runs]
            lines.append(_line(label, runs, name, figures, name in runs[0]["own"], request.ci))
        if all(run["chosen"] for run in runs):
            chosen = " / ".join(sorted({run["chosen"] for run in runs}))
            figures = [run["shared"] | run["scores"][run["chosen"]] for run in runs]
            lines.append(_line(label, runs, f"chosen ({chosen})", figures, False, request.ci))
        nothing = [dict.fromkeys(["accuracy", "ece", *FIGURES])] * len(runs)
        absent = sorted({name for run in runs for name in run["missing"]})
        lines += [_line(label, runs, f"{name}: n/a", nothing, True, request.ci) for name in absent]
    return lines


def seen_notes(records: Sequence[dict]) -> list[str]:
    """A sentence on the methods that are not scored as they are tested; none where there are no such."""
    names = sorted({display_name(one["method"]) for one in records if one["seen"] != "inductive"})
    many = f"Made for many test images, and scored one image at a time here, but for ECE: {', '.join(names)}."
    return [many] if names else []


DETECTION = Listing(
    groups=lambda records, request: by_setting(records, also=["dataset", "shots", "outliers"]),
    lines=_lines,
    columns=lambda records, lines: {
        "method": words("label"),
        "score": words("score"),
        "accuracy": figure_of("accuracy", half="accuracy ci"),
        "ECE": figure_of("ece", 100),
        **{header: figure_of(name, 100) for name, header in FIGURES.items()},
    },
    shown=lambda line: line["own"] or line["score"] in SHOWN or line["score"].startswith("chosen"),
    title=lambda records, request: common.titled(
        f"{dataset_name(records[0]['dataset'])} against {records[0]['outliers']}, "
        f"{common.shots_title(records[0]['shots'])}",
        records[0],
    ),
    caption=lambda records, lines, request: [
        common.setting_text(records[0]),
        "{} known images; {} {}.".format(
            *records[0]["sizes"],
            "sets, each weighing the same" if records[0]["outliers"] == AVERAGE else "unknown images",
        ),
        *CAPTION,
        seeds_text(lines),
        *sorted(
            {f"{display_name(r['method'])}, {s}: n/a ({why})." for r in records for s, why in r["missing"].items()}
        ),
        *seen_notes(records),
    ],
    missing=NONE,
)


def _share_lines(records: Sequence[dict], request: Request) -> list[dict]:
    """Of each method a line for each share of its positive side."""
    lines = []
    for label, runs in labelled_runs([one for one in records if one["outliers"] == records[0]["outliers"]], request):
        mine = {run["path"]: [one for one in records if one["path"] == run["path"]] for run in runs}
        for lam in runs[0]["by_share"]:
            accuracies = [{"accuracy": run["by_share"][lam]} for run in runs]
            aurocs = [{one["outliers"]: one["ablation"][lam] for one in of_run} for of_run in mine.values()]
            singles = [{**r, "figures": a | b} for r, a, b in zip(runs, accuracies, aurocs, strict=True)]
            lines.append({**mean_line("ood-share", label, singles, request.ci), "lambda": lam})
    return lines


SHARES = Listing(  # accuracy, and AUROC of the largest logit on each set of outliers
    groups=lambda records, request: by_setting(
        [one for one in records if one["by_share"] and one["outliers"] != AVERAGE], also=["dataset", "shots"]
    ),
    lines=_share_lines,
    columns=lambda records, lines: {
        "method": words("label"),
        "lambda": words("lambda"),
        "accuracy": figure_of("accuracy", half="accuracy ci"),
        **{f"AUROC {name}": figure_of(name, 100) for name in sorted({one["outliers"] for one in records})},
    },
    title=lambda records, request: common.titled(
        f"Share of the positive side on {common.place_text(records[0])}", records[0]
    ),
    caption=lambda records, lines, request: [
        common.setting_text(records[0]),
        "The logits are lambda times the positive side plus 1 - lambda times the negative side; lambda 1 is the method "
        "without its negative side. The other hyper-parameters are those of the run. Nothing is chosen by this table.",
        seeds_text(lines),
    ],
)


def sets_of(records: Sequence[dict]) -> list[str]:
    """The sets of outliers that stand in columns: new classes, and the average over far sets or, without it, all."""
    names = list(dict.fromkeys(record["outliers"] for record in records))
    return [name for name in names if name in (NEW, AVERAGE)] if AVERAGE in names else names


def _figures(run: dict, records: Sequence[dict], sets: Sequence[str], figure: str) -> dict[str, float | None]:
    mine = {one["outliers"]: one["scores"] for one in records if one["path"] == run["path"]}
    scores = {f"{one}: {score}": (one, score) for one in sets for score in SHOWN}
    return {key: mine[one][score][figure] if one in mine else None for key, (one, score) in scores.items()}


def _tradeoff_lines(group: tuple[str, Sequence[dict]], request: Request) -> list[dict]:
    figure, records = group
    sets, lines = sets_of(records), []
    for label, runs in labelled_runs([one for one in records if one["outliers"] == sets[0]], request):
        singles = [{**run, "figures": {**run["shared"], **_figures(run, records, sets, figure)}} for run in runs]
        lines.append(mean_line("tradeoff", label, singles, request.ci, figure=figure))
    return sorted(lines, key=lambda line: -line["accuracy"])


TRADEOFF = Listing(
    groups=lambda records, request: [
        (figure, group)
        for group in by_setting(detected(records), also=["dataset", "shots"])
        for figure in ("auroc", "fpr95_id")
    ],
    lines=_tradeoff_lines,
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


def points(records: Sequence[dict], score: str) -> dict[str, dict[str, tuple[float, float]]]:
    """{set of outliers: {method: (accuracy, AUROC)}}, means over runs in percent, of runs of one setting."""
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for outliers in sets_of(records):
        scored = [one for one in records if one["outliers"] == outliers and score in one["scores"]]
        for runs in split_by(scored, lambda one: one["method"]):
            accuracy, auroc = ([r["shared"]["accuracy"] for r in runs], [r["scores"][score]["auroc"] for r in runs])
            found.setdefault(outliers, {})[runs[0]["method"]] = (mean(accuracy), 100 * mean(auroc))
    return found
