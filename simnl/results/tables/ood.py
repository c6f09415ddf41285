"""Layout `ood`: known against unknown classes, one row per method and score."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from simnl.commands import as_typed
from simnl.data.outliers import FAR
from simnl.metrics.names import DEFINITIONS
from simnl.results.stats import mean
from simnl.results.tables import common
from simnl.results.tables.common import Request
from simnl.results.tables.listing import Listing, figure_of, labelled_runs, mean_line, seeds_text, words
from simnl.results.tables.model import Table
from simnl.results.tables.records import by_setting
from simnl.runs.names import dataset_name

log = logging.getLogger(__name__)

AVERAGE = "all far sets"
FIGURES = {
    "auroc": "AUROC", "fpr95_id": "FPR95 (ID)", "fpr95_ood": "FPR95 (OOD)", "aupr_in": "AUPR in",
    "aupr_out": "AUPR out",
}  # fmt: skip
SHOWN = ("maxlogit", "msp", "mcm@T1", "energy")  # scores with a row in every table; csv has all of them
CAPTION = [
    "AUROC, FPR95 and AUPR in %. "
    + "; ".join(f"{FIGURES[name]}: {meaning}" for name, meaning in DEFINITIONS.items() if name != "auroc")
    + ".",
    "A score marked 'chosen' was chosen by pseudo-open sets within the support, and every threshold without outliers. "
    "Accuracy and ECE are of the known classes, ECE before calibration.",
]


def ood_tables(records: Sequence[dict], request: Request) -> list[Table]:
    """One table per setting, data set, number of shots and set of outliers, and one of the average over far sets; then
    one per setting, data set and number of shots of the share of the positive side.

    Raises:
        ValueError: no run has figures of detection.
    """
    found = [one for record in records for one in _detected(record)]
    return [*DETECTION.tables(found, request), *SHARES.tables(found, request)]


def _detected(record: dict) -> list[dict]:
    """A record for each set of outliers and for the average, with `outliers` and the figures of each score."""
    from simnl.runs.detection import read_detection  # what carries it out, which other layouts do not need

    try:
        content = read_detection(record)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        log.warning("%s", error)
        return []
    sets: dict[str, dict[str, Any]] = content["sets"]
    shared = {"accuracy": content["accuracy"], "ece": _ece(record)}
    chosen = content["detectors"]["chosen"]
    found = [
        {**record, "outliers": name, "sizes": (content["images"], one["images"]), "scores": one["figures"]}
        for name, one in sets.items()
    ]
    far = [one["figures"] for one in sets.values() if one["distance"] == FAR]
    if len(far) > 1:
        means = {s: {k: mean([one[s][k] for one in far]) for k in FIGURES} for s in far[0]}
        found.append({**record, "outliers": AVERAGE, "sizes": (content["images"], len(far)), "scores": means})
    by_share = content.get("accuracy_by_share", {})
    own = {"shared": shared, "chosen": chosen if by_share else "", "by_share": by_share}
    return [{**one, **own, "ablation": sets.get(one["outliers"], {}).get("ablation", {})} for one in found]


def _ece(record: dict) -> float | None:
    from simnl.results.evaluation import evaluate  # logits and calibrators, which other layouts do not need

    try:
        return next(iter(evaluate(record, "none")))["ece"]
    except (OSError, ValueError) as error:
        log.warning("%s", error)
        return None


def _place(score: str) -> tuple[int, str]:
    return (SHOWN.index(score) if score in SHOWN else len(SHOWN), score)


def _line(label: str, runs: Sequence[dict], name: str | None, ci: str) -> dict[str, Any]:
    """Means of the figures of one score; of the score that each run chose, where `name` is None."""
    singles = [{**run, "figures": {**run["shared"], **run["scores"][name or run["chosen"]]}} for run in runs]
    chosen = " / ".join(sorted({run["chosen"] for run in runs}))
    line = mean_line("ood", label, singles, ci)
    return {**line, "outliers": runs[0]["outliers"], "score": name or f"chosen ({chosen})"}


def _lines(records: Sequence[dict], request: Request) -> list[dict]:
    lines: list[dict] = []
    for label, runs in labelled_runs(records, request):
        every = sorted(set.intersection(*(set(run["scores"]) for run in runs)), key=_place)
        lines += [_line(label, runs, name, request.ci) for name in every]
        if all(run["chosen"] for run in runs):
            lines.append(_line(label, runs, None, request.ci))
    return lines


def _images_text(record: dict) -> str:
    known, unknown = record["sizes"]
    of_sets = record["outliers"] == AVERAGE
    return f"{known} known images; " + (
        f"{unknown} sets, each weighing the same." if of_sets else f"{unknown} unknown images."
    )


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
    shown=lambda line: line["score"] in SHOWN or line["score"].startswith("chosen"),
    title=lambda records, request: common.titled(
        f"{dataset_name(records[0]['dataset'])} against {records[0]['outliers']}, "
        f"{common.shots_title(records[0]['shots'])}",
        records[0],
    ),
    caption=lambda records, lines, request: [
        common.setting_text(records[0]),
        _images_text(records[0]),
        *CAPTION,
        seeds_text(lines),
    ],
    missing="None of these runs was tested on unknown classes. Run a method that way first, e.g.\n  "
    + as_typed("bash scripts/simnl/ood.sh shapes 16"),
)


def _by_share(run: dict, lam: str, records: Sequence[dict]) -> dict[str, float]:
    same = [one for one in records if one["path"] == run["path"]]
    return {"accuracy": run["by_share"][lam]} | {one["outliers"]: one["ablation"][lam] for one in same}


def _share_lines(records: Sequence[dict], request: Request) -> list[dict]:
    one_of_each = [one for one in records if one["outliers"] == records[0]["outliers"]]
    lines = []
    for label, runs in labelled_runs(one_of_each, request):
        for lam in runs[0]["by_share"]:
            singles = [{**run, "figures": _by_share(run, lam, records)} for run in runs]
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
