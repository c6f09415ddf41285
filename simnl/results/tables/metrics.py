"""Layouts `metrics` and `cost`: what follows from the logits of runs, and what runs cost, by method and config."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from simnl.metrics.names import PREDICTED
from simnl.results.tables import common
from simnl.results.tables.common import Request
from simnl.results.tables.listing import Listing, figure_of, labelled_runs, mean_line, number, seeds_text, words
from simnl.results.tables.model import Table
from simnl.results.tables.records import by_setting, is_imported

log = logging.getLogger(__name__)

DAC = "dac"
MARKS = {"temperature": "/T", "isotonic": "/iso", DAC: "/DAC"}  # behind the names of figures after calibration
# Figure of `simnl.results.evaluation` -> header, factor, decimals. `MARKS` tells those after calibration.
COLUMNS = {
    "accuracy": ("accuracy", 1, 2), "balanced_accuracy": ("balanced", 1, 2), "macro_f1": ("macro F1", 1, 2),
    "nll": ("NLL", 1, 3), "brier": ("Brier", 1, 3), "ece": ("ECE", 100, 2), "ace": ("ACE", 100, 2),
    "classwise_ece": ("class-wise ECE", 100, 2), "mce": ("MCE", 100, 2), "overconfidence": ("conf. - acc.", 100, 2),
}  # fmt: skip
AFTER = ("nll", "brier", "ece", "ace")
METRICS_CAPTION = [
    "Accuracy, class-balanced accuracy (mean over classes), macro F1 and all calibration errors in %; NLL in nats; "
    "Brier from 0 to 2.",
    "ECE: 15 bins of equal width; ACE: 15 bins of equal mass; class-wise ECE: mean over all classes; MCE: largest gap "
    "of a bin. conf. - acc.: mean confidence minus accuracy, positive where a method is too sure.",
]
CALIBRATED = {
    "temperature": "T: temperature, fitted by likelihood on the images that the protocol allows to select on, and on "
    "no others; columns with /T are after it. A temperature changes no prediction.",
    "isotonic": "Columns with /iso are after isotonic regression, fitted on the images that the protocol allows to "
    "select on, and on no others.",
    DAC: "Columns with /DAC are after distance-aware calibration, whose factors follow from the texts of trained and "
    "of new classes alone. Images are those of new classes: others keep their logits. It changes no prediction.",
}


def _evaluated(records: Sequence[dict], kind: str) -> list[dict]:
    """Records with the figures of their own test images, or for DAC of each target of new classes; those after
    calibration have a mark of `MARKS` behind their names.

    Runs that keep no logits are named in a warning, and left out, as are imported runs, which have neither logits nor
    a head to compute them from.
    """
    from simnl.results.evaluation import evaluate_all  # logits and calibrators, which other layouts do not need
    from simnl.runs.logits import TARGET, is_of_new_classes

    rows, problems = evaluate_all([record for record in records if not is_imported(record)], kind)
    for problem in problems:
        log.warning("%s", problem)
    found = []
    for (record, before), (_, after) in zip(rows[::2], rows[1::2], strict=True):  # before and after calibration
        part = before["part"]
        if is_of_new_classes(f"{TARGET}{part}") if kind == DAC else part == "test":
            figures = {name: before[name] for name in COLUMNS}
            figures |= {f"{name}{MARKS[kind]}": after[name] for name in AFTER}
            figures |= {key: after[key] for key in ("temperature", "note")}
            found.append({**record, "part": part, "calibrator": kind, "figures": figures})
    return found


def _lines(records: Sequence[dict], request: Request) -> list[dict]:
    more = {key: records[0][key] for key in ("part", "calibrator")}
    return [
        mean_line("metrics", label, runs, [run["figures"] for run in runs], request.ci, **more)
        for label, runs in labelled_runs(records, request)
    ]


def _figures(names: Sequence[str], after: str = "") -> dict[str, Any]:
    """Columns of figures; the interval stands beside figures of predictions alone, to keep tables narrow."""
    return {
        COLUMNS[name][0] + after: figure_of(name + after, *COLUMNS[name][1:], f"{name} ci" if name in PREDICTED else "")
        for name in names
    }


METRICS = Listing(
    groups=lambda records, request: by_setting(
        _evaluated(records, request.calibrator), also=["dataset", "shots", "part"]
    ),
    lines=_lines,
    columns=lambda records, lines: {
        "method": words("label"),
        **_figures(tuple(COLUMNS)),
        **({"T": figure_of("temperature")} if records[0]["calibrator"] == "temperature" else {}),
        **_figures(AFTER, MARKS[records[0]["calibrator"]]),
    },
    title=lambda records: (
        f"Metrics on {'' if records[0]['part'] == 'test' else records[0]['part'] + ', after training on '}"
        f"{common.place_text(records[0])}"
    ),
    caption=lambda records, lines, request: [
        common.setting_text(records[0]),
        *common.fewer_images(records),
        *METRICS_CAPTION,
        CALIBRATED[request.calibrator],
        seeds_text(lines),
        *sorted({f"{line['label']}: {request.calibrator} {line['note']}." for line in lines if line["note"]}),
    ],
    missing="None of these runs has usable logits, of which the layout metrics is made (for dac: of new classes); see "
    "the warnings.",
)

EVALUATION = Listing(  # one row per run, part and calibrator; csv has every figure at full precision
    columns=lambda records, lines: {
        **{key: words(key, "none") for key in ("method", "dataset", "shots", "seed", "part", "calibrator")},
        "T": figure_of("temperature"),
        **_figures(tuple(COLUMNS)),
    },
    title=lambda lines: "Metrics of runs",
    setting=lambda lines: {},
    caption=lambda records, lines, request: [
        *METRICS_CAPTION,
        *sorted({f"{line['method']}, seed {line['seed']}: {line['note']}." for line in lines if line["note"]}),
    ],
)


def evaluation_table(found: Sequence[tuple[Mapping[str, Any], dict[str, Any]]]) -> Table:
    """The figures of single runs. found: (record, figures) of `simnl.results.evaluation.evaluate_all`."""
    keys = ("method", "dataset", "shots", "seed", "backbone", "preset", "protocol", "config_hash")
    lines = [{**{key: record[key] for key in keys}, **figures} for record, figures in found]
    return EVALUATION.table(lines, Request())


COSTS = {  # column: where it stands in a record, decimals
    "trainable parameters": ("trainable_parameters", 0),
    **{f"{phase} s": (f"seconds.{phase}", 2) for phase in ("features", "train", "select", "test", "total")},
    "peak host MB": ("peak_memory_mb.host", 0),
    "peak GPU MB": ("peak_memory_mb.gpu", 0),
    "settings tried": ("num_settings", 0),
    "encoded images": ("encoded_images", 0),
}


def _costs(record: dict) -> dict[str, float | None]:
    """The costs of a run, by column; None where the record has no such number."""
    found = {}
    for column, (path, _) in COSTS.items():
        value: Any = record
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        found[column.replace(" ", "_")] = value if isinstance(value, int | float) else None
    return found


COST = Listing(
    groups=lambda records, request: by_setting(records, also=["dataset", "shots", "device"]),
    lines=lambda records, request: [
        mean_line("cost", label, runs, [_costs(run) for run in runs], device=runs[0].get("device", ""))
        for label, runs in labelled_runs(records, request)
    ],
    columns=lambda records, lines: {
        "method": words("label"),
        **{column: number(column.replace(" ", "_"), decimals) for column, (_, decimals) in COSTS.items()},
    },
    title=lambda records: f"Cost on {common.place_text(records[0])}",
    caption=lambda records, lines, request: [
        *common.runs_caption(records[0], records),
        f"Device: {records[0].get('device') or 'not recorded'}.",
        f"{seeds_text(lines)} Seconds and encoded images depend on what was in the feature store: the first run on "
        "some images encodes them for all others. Memory is the peak of the process, which may have done other runs "
        "before.",
    ],
)
