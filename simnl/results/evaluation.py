"""Figures of runs beyond their accuracy, from the logits that they keep."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from simnl.metrics import calibration, classification
from simnl.metrics.classification import Floats, Integers
from simnl.metrics.names import PREDICTED
from simnl.runs.calibration import calibrators, plain
from simnl.runs.logits import SELECTION, TARGET, is_of_new_classes, read_logits
from simnl.runs.restored import restore_logits

log = logging.getLogger(__name__)

DAC_BINS = 10  # as in the published tables of DAC


def predicted_figures(probabilities: Floats, labels: Integers) -> dict[str, float]:
    """Accuracy, class-balanced accuracy and macro F1 in percent."""
    predicted = probabilities.argmax(1)
    functions = (classification.accuracy, classification.balanced_accuracy, classification.macro_f1)
    return {name: 100 * f(predicted, labels) for name, f in zip(PREDICTED, functions, strict=True)}


def confidence_figures(probabilities: Floats, labels: Integers) -> dict[str, float | None]:
    """Likelihood and calibration of probabilities, by name; errors are shares, not percent."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    return {
        "nll": classification.nll_of(probabilities, labels),
        "brier": classification.brier(probabilities, labels),
        "ece": calibration.ece(confidence, right),
        "ece10": calibration.ece(confidence, right, DAC_BINS),
        "ace": calibration.ace(confidence, right),
        "classwise_ece": calibration.classwise_ece(probabilities, labels),
        "mce": calibration.mce(confidence, right),
        "overconfidence": calibration.overconfidence(confidence, right),
        "failure_auroc": calibration.failure_auroc(confidence, right),
    }


def evaluate(record: Mapping[str, Any], kind: str = "temperature") -> Iterator[dict[str, Any]]:
    """Figures of the test images of a run, and of each of its targets, before and after calibration.

    Args:
        record: the record of the run, with its `path`.
        kind: the kind of the calibrator (`simnl.metrics.names.CALIBRATORS`); `none` for figures before it alone.

    Yields:
        For each part, test images first: `part` (the target's name; `test`), `images`, `calibrator` (empty before
        calibration), `temperature`, `temperature_error` (of its logarithm), `note`, and the figures.

    Raises:
        FileNotFoundError, ValueError: see `read_logits`.
    """
    kept = read_logits(record)
    fitted = calibrators(record, kept, kind)
    parts = sorted((name for name in kept.parts if name != SELECTION), key=lambda name: (TARGET in name, name))
    for name in parts:
        logits, labels = kept.parts[name]
        for calibrator, found in [("", plain()), *([(kind, fitted(name))] if kind != "none" else [])]:
            probabilities, t = found.apply(logits), found.temperature
            yield {
                "part": name.removeprefix(TARGET),
                "images": len(labels),
                "calibrator": calibrator,
                "temperature": t.value,
                "temperature_error": t.log_error if t.images else None,
                "note": found.note,
                **predicted_figures(probabilities, labels),
                **confidence_figures(probabilities, labels),
            }


def complete_logits(records: Sequence[Mapping[str, Any]], kind: str = "temperature") -> None:
    """Compute the logits of runs that have no usable ones, from their trained heads; nothing is trained.

    kind: of the calibrator that is to be used; `dac` needs factors beside the logits of new classes.

    Raises:
        FileNotFoundError, ValueError: the head or the data are not there or not those of the run.
    """
    for record in records:
        try:
            kept = read_logits(record)
            done = kind != "dac" or all(name in kept.factors for name in kept.parts if is_of_new_classes(name))
        except (OSError, ValueError):
            done = False
        if not done:
            log.warning("%s: its logits are computed from its head.", Path(record["path"]).parent)
            restore_logits(record)


def evaluate_all(records: Sequence[Mapping[str, Any]], kind: str) -> tuple[list[tuple[Mapping, dict]], list[str]]:
    """(record, figures) of every part of every run that keeps its logits, and why the others have none."""
    found, problems = [], []
    for record in records:
        try:
            found += [(record, figures) for figures in evaluate(record, kind)]
        except (OSError, ValueError) as error:
            problems.append(str(error))
    return found, problems
