"""Layouts `ood` and `tradeoff`: known against unknown classes, by method and score, and beside accuracy."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from simnl.commands import as_typed
from simnl.data.outliers import FAR
from simnl.metrics.names import DEFINITIONS, OF_OTHERS
from simnl.numbers import shots_in_words
from simnl.results.published import published_detection
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
KNOWN = {"accuracy": figure_of("accuracy", half="accuracy ci"), "ECE": figure_of("ece", 100)}  # columns
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
    """The runs that were tested on unknown classes, with what was found on each set of outliers under `sets`, where the
    average over far sets stands, too. The `missing` of a set says why it lacks scores that were asked for."""
    from simnl.runs.detection import read_detection, scores_made  # what carries it out: no other layout needs it

    found = []
    for record in records:
        try:
            content = read_detection(record)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            log.warning("%s", error)
            continue
        by_share, missing = content.get("accuracy_by_share", {}), content.get("extra", {}).get("missing", {})
        sets = content["sets"] | _average(content["sets"])
        for one in sets.values():
            one["missing"] = {score: why for score, why in missing.items() if score not in scores_made(one)}
        of_run = {
            "sets": sets,
            "known": {"accuracy": content["accuracy"], "ece": _ece(record)},
            "known_images": content["images"],
            "chosen": content["detectors"]["chosen"] if by_share else "",
            "by_share": by_share,
            "own": content.get("own", []),
            "seen": content.get("inference", "inductive"),
        }
        found += [record | of_run] if content["sets"] else []
    return found


def _average(sets: dict[str, dict]) -> dict[str, dict]:
    """The average over two or more far sets, whose `images` are the number of sets."""
    far = [one["figures"] for one in sets.values() if one["distance"] == FAR]
    if len(far) < 2:
        return {}
    keys = [key for key in (*FIGURES, *CCR) if all(key in figures for one in far for figures in one.values())]
    scores = [score for score in far[0] if all(score in one for one in far)]
    means = {score: {key: mean([one[score][key] for one in far]) for key in keys} for score in scores}
    return {AVERAGE: {"images": len(far), "figures": means}}


def _ece(record: dict) -> float | None:
    from simnl.results.evaluation import evaluate  # logits and calibrators, which other layouts do not need

    try:
        return next(iter(evaluate(record, "none")))["ece"]
    except (OSError, ValueError) as error:
        log.warning("%s", error)
        return None


def _lines(records: Sequence[dict], request: Request) -> list[dict]:
    """Of each method a line for each score, for the score that each run chose, and for each that could not be made."""
    lines: list[dict] = []
    for label, runs in labelled_runs(records, request):
        names = set.intersection(*(set(run["figures"]) for run in runs))
        ordered = sorted(names, key=lambda one: (SHOWN.index(one) if one in SHOWN else len(SHOWN), one))
        found = [(name, [run["figures"][name] for run in runs], name in runs[0]["own"]) for name in ordered]
        if all(run["chosen"] for run in runs):
            chosen = " / ".join(sorted({run["chosen"] for run in runs}))
            found.append((f"chosen ({chosen})", [run["figures"][run["chosen"]] for run in runs], False))
        nothing = [dict.fromkeys(["accuracy", "ece", *FIGURES])] * len(runs)
        found += [(f"{name}: n/a", nothing, True) for name in sorted({name for run in runs for name in run["missing"]})]
        for score, figures, own in found:
            every = [run["known"] | of_run for run, of_run in zip(runs, figures, strict=True)]
            line = mean_line("ood", label, runs, every, request.ci, own=own)
            lines.append({**line, "outliers": runs[0]["outliers"], "score": score})
    return lines


def seen_notes(records: Sequence[dict]) -> list[str]:
    """A sentence on the methods that are not scored as they are tested; none where there are no such."""
    names = sorted({display_name(one["method"]) for one in records if one["seen"] != "inductive"})
    many = f"Made for many test images, and scored one image at a time here, but for ECE: {', '.join(names)}."
    return [many] if names else []


def _published(run: dict) -> list[str]:
    """A sentence on each published figure of the sets that a table is of; there are some on all classes of ImageNet."""
    if (run["dataset"], run.get("subsample_classes", "all")) != ("imagenet", "all"):
        return []
    notes = []
    for row in published_detection(run["sets"]):
        sets = row["sets"].split()
        if run["outliers"] in sets or (run["outliers"] == AVERAGE and run["sets"][sets[0]]["distance"] == FAR):
            what = ", ".join(filter(None, (row["method"], row["score"], row["backbone"] or "backbone not stated")))
            notes.append(
                f"Published, {what}, mean over {', '.join(sets)}: AUROC {row['auroc']}, FPR95 {row['fpr95']} "
                f"({(DEFINITIONS | OF_OTHERS)[row['definition']]}); {row['note']}. {row['source']}."
            )
    return notes


def _against(run: dict, outliers: str) -> str:
    return f"{dataset_name(run['dataset'])} against {outliers}, {shots_in_words(run['shots'])}"


DETECTION = Listing(
    groups=lambda records, request: by_setting(
        [{**run, "outliers": name, **of_set} for run in records for name, of_set in run["sets"].items()],
        also=["dataset", "shots", "outliers"],
    ),
    lines=_lines,
    columns=lambda records, lines: {
        "method": words("label"),
        "score": words("score"),
        **KNOWN,
        **{header: figure_of(name, 100) for name, header in FIGURES.items()},
    },
    shown=lambda line: line["own"] or line["score"] in SHOWN or line["score"].startswith("chosen"),
    title=lambda records: _against(records[0], records[0]["outliers"]),
    caption=lambda records, lines, request: [
        common.setting_text(records[0]),
        f"{records[0]['known_images']} known images; {records[0]['images']} "
        + ("sets, each weighing the same." if records[0]["outliers"] == AVERAGE else "unknown images."),
        *CAPTION,
        seeds_text(lines),
        *sorted(
            {f"{display_name(r['method'])}, {s}: n/a ({why})." for r in records for s, why in r["missing"].items()}
        ),
        *seen_notes(records),
        *_published(records[0]),
    ],
    missing=NONE,
)


def _share_lines(records: Sequence[dict], request: Request) -> list[dict]:
    """Of each method a line for each share of its positive side; of runs with the first run's first set of outliers."""
    lines, first_set = [], next(iter(records[0]["sets"]))
    for label, runs in labelled_runs([run for run in records if first_set in run["sets"]], request):
        for lam in runs[0]["by_share"]:
            aurocs = [{n: one["ablation"][lam] for n, one in r["sets"].items() if n != AVERAGE} for r in runs]
            figures = [{"accuracy": run["by_share"][lam]} | of_run for run, of_run in zip(runs, aurocs, strict=True)]
            lines.append({**mean_line("ood-share", label, runs, figures, request.ci), "lambda": lam})
    return lines


SHARES = Listing(  # accuracy, and AUROC of the largest logit on each set of outliers
    groups=lambda records, request: by_setting([r for r in records if r["by_share"]], also=["dataset", "shots"]),
    lines=_share_lines,
    columns=lambda records, lines: {
        "method": words("label"),
        "lambda": words("lambda"),
        "accuracy": KNOWN["accuracy"],
        **{f"AUROC {n}": figure_of(n, 100) for n in sorted({n for r in records for n in r["sets"] if n != AVERAGE})},
    },
    title=lambda records: f"Share of the positive side on {common.place_text(records[0])}",
    caption=lambda records, lines, request: [
        common.setting_text(records[0]),
        "The logits are lambda times the positive side plus 1 - lambda times the negative side; lambda 1 is the method "
        "without its negative side. The other hyper-parameters are those of the run. Nothing is chosen by this table.",
        seeds_text(lines),
    ],
)


def sets_of(records: Sequence[dict]) -> list[str]:
    """The sets of outliers that stand in columns: new classes, and the average over far sets or, without it, all."""
    names = list(dict.fromkeys(name for run in records for name in run["sets"]))
    return [name for name in names if name in (NEW, AVERAGE)] if AVERAGE in names else names


def _tradeoff_lines(records: Sequence[dict], request: Request) -> list[dict]:
    sets, figure, lines = sets_of(records), records[0]["figure"], []
    for label, runs in labelled_runs([run for run in records if sets[0] in run["sets"]], request):
        figures = [
            run["known"] | {f"{n}: {s}": of[n]["figures"][s][figure] if n in of else None for n in sets for s in SHOWN}
            for run in runs
            for of in [run["sets"]]
        ]
        lines.append(mean_line("tradeoff", label, runs, figures, request.ci, figure=figure))
    return sorted(lines, key=lambda line: -line["accuracy"])


TRADEOFF = Listing(
    groups=lambda records, request: [
        [{**run, "figure": figure} for run in group]
        for group in by_setting(detected(records), also=["dataset", "shots"])
        for figure in ("auroc", "fpr95_id")
    ],
    lines=_tradeoff_lines,
    columns=lambda records, lines: {
        "method": words("label"),
        **KNOWN,
        **{f"{one}: {score}": figure_of(f"{one}: {score}", 100) for one in sets_of(records) for score in SHOWN},
    },
    title=lambda records: f"{FIGURES[records[0]['figure']]} of {_against(records[0], ' and '.join(sets_of(records)))}",
    caption=lambda records, lines, request: [
        common.setting_text(records[0]),
        f"{FIGURES[records[0]['figure']]} in %: {DEFINITIONS[records[0]['figure']]}. Columns: the set of unknown "
        "images, and the score. A score that is read off this table was chosen on outliers; choose it before.",
        "By falling accuracy. Accuracy and ECE are of the known classes, ECE before calibration.",
        seeds_text(lines),
        *seen_notes(records),
    ],
    missing=NONE,
)


def points(records: Sequence[dict], score: str) -> dict[str, dict[str, tuple[float, float]]]:
    """{set of outliers: {method: (accuracy, AUROC)}}, means over runs in percent, of runs of one setting."""
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for name in sets_of(records):
        scored = [run for run in records if score in run["sets"].get(name, {"figures": {}})["figures"]]
        for runs in split_by(scored, lambda run: run["method"]):
            accuracy = mean([run["known"]["accuracy"] for run in runs])
            auroc = mean([run["sets"][name]["figures"][score]["auroc"] for run in runs])
            found.setdefault(name, {})[runs[0]["method"]] = (accuracy, 100 * auroc)
    return found
