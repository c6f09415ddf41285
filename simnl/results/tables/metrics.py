"""Layout `metrics`: figures that follow from the logits of runs, one row per method and config."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from simnl.metrics.names import PREDICTED
from simnl.results.stats import interval, mean
from simnl.results.tables import common
from simnl.results.tables.common import Request
from simnl.results.tables.lists import labelled_runs, listed
from simnl.results.tables.model import Cell, Table, text
from simnl.results.tables.records import SETTING, by_setting, is_imported, options_text, prompts_text
from simnl.runs.names import dataset_name

log = logging.getLogger(__name__)

CALIBRATOR = "temperature"
# Figure of `simnl.results.evaluation` -> header, factor, decimals. Those after calibration end with `/T` in tables.
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
    "T: temperature, fitted by likelihood on the images that the protocol allows to select on, and on no others; "
    "columns with /T are after it. A temperature changes no prediction.",
]


def metrics_tables(records: Sequence[dict], request: Request) -> list[Table]:
    """Accuracy and its kin, likelihood and calibration: one table per setting, data set and number of shots.

    Runs that keep no logits are named in a warning, and left out, as are imported runs, which have neither logits nor
    a head to compute them from.

    Raises:
        ValueError: no run keeps its logits.
    """
    ours = [record for record in records if not is_imported(record)]
    found = [{**record, "figures": figures} for record, figures in _evaluated(ours)]
    if not found:
        raise ValueError("None of these runs has usable logits, of which the layout metrics is made; see the warnings.")
    return [_metrics_table(group, request) for group in by_setting(found, also=["dataset", "shots"])]


def _evaluated(records: Sequence[dict]) -> list[tuple[dict, dict[str, Any]]]:
    """Records with the figures of their own test images, those after calibration under names with `/T`."""
    from simnl.results.evaluation import evaluate  # logits and calibrators, which other layouts do not need

    found = []
    for record in records:
        try:
            before, after = [f for f in evaluate(record, CALIBRATOR) if f["part"] == "test"]
        except (OSError, ValueError) as error:
            log.warning("%s", error)
            continue
        figures = {name: before[name] for name in COLUMNS} | {f"{name}/T": after[name] for name in AFTER}
        found.append((record, figures | {"temperature": after["temperature"], "note": after["note"]}))
    return found


def _metrics_table(records: Sequence[dict], request: Request) -> Table:
    lines = [mean_line("metrics", label, runs, request.ci) for label, runs in labelled_runs(records, request)]
    columns: dict[str, Callable[[dict], Cell]] = {"method": lambda line: text(line["label"])}
    for name, (header, factor, decimals) in COLUMNS.items():
        columns[header] = column(name, factor, decimals)
    columns["T"] = column("temperature", 1, 2)
    for name in AFTER:
        header, factor, decimals = COLUMNS[name]
        columns[f"{header}/T"] = column(f"{name}/T", factor, decimals)
    first = records[0]
    title = f"Metrics on {dataset_name(first['dataset'])}, {common.shots_title(first['shots'])}"
    notes = sorted({f"{line['label']}: temperature {line['note']}." for line in lines if line["note"]})
    caption = [common.setting_text(first), *common.fewer_images(records), *METRICS_CAPTION, seeds_text(lines), *notes]
    return listed(lines, columns, f"{title} ({common.run_title(first)})", caption)


def seeds_text(lines: Sequence[Mapping]) -> str:
    """Over how many seeds means are."""
    return f"Means over {' or '.join(map(str, sorted({line['n'] for line in lines})))} seeds."


def mean_line(layout: str, label: str, runs: Sequence[dict], ci: str) -> dict[str, Any]:
    """One row: means of the figures of the runs of one method and config, and half widths under `<name> ci`."""
    first = runs[0]
    line: dict[str, Any] = {
        "layout": layout,
        **{key: first[key] for key in ("method", "dataset", "shots")},
        **{key: first.get(key, "") for key in SETTING},
        "options": options_text(first),
        "prompts": prompts_text(first),
        "n": len(runs),
        "label": label,
    }
    for name, value in first["figures"].items():
        values = [run["figures"].get(name) for run in runs]
        if isinstance(value, str):
            line[name] = "; ".join(sorted({str(v) for v in values if v}))
            continue
        numbers = [float(v) for v in values if v is not None]
        line[name] = mean(numbers) if numbers else None
        line[f"{name} ci"] = interval(numbers, ci) if numbers else None
    return line


def column(name: str, factor: float, decimals: int) -> Callable[[dict], Cell]:
    """Cells of a figure; the interval stands beside figures of predictions alone, to keep tables narrow."""

    def cell(line: dict) -> Cell:
        value, half = line[name], line.get(f"{name} ci") if name in PREDICTED else None
        if value is None:
            return Cell()
        return Cell(factor * value, None if half is None else factor * half, decimals=decimals)

    return cell


def _words(key: str) -> Callable[[dict], Cell]:
    return lambda line: text(line[key] or "none")


def evaluation_table(found: Sequence[tuple[Mapping[str, Any], dict[str, Any]]]) -> Table:
    """One row per run, part and calibrator; csv has every figure at full precision.

    found: (record, figures) of `simnl.results.evaluation.evaluate_all`.
    """
    keys = ("method", "dataset", "shots", "seed", "backbone", "preset", "protocol", "config_hash")
    lines = [{**{key: record[key] for key in keys}, **figures} for record, figures in found]
    shown = ("method", "dataset", "shots", "seed", "part", "calibrator")
    columns: dict[str, Callable[[dict], Cell]] = {key: _words(key) for key in shown}
    columns["T"] = column("temperature", 1, 2)
    for name, (header, factor, decimals) in COLUMNS.items():
        columns[header] = column(name, factor, decimals)
    notes = sorted({f"{line['method']}, seed {line['seed']}: {line['note']}." for line in lines if line["note"]})
    return listed(lines, columns, "Metrics of runs", [*METRICS_CAPTION[:2], *notes])
