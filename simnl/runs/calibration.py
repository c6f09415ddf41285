"""Calibrators of a run, fitted on the images that its protocol allows to select on, and on no others.

The head is calibrated as it is tested: after all other choices were made. It is fitted once; the test images, shifted
data sets and new classes get the same calibrator. DAC is fitted on no image: its factors are those of the texts of new
classes, which the run keeps beside their logits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from simnl.metrics.calibrators import LOWEST, Temperature, fit_isotonic, fit_temperature, isotonic, scaled
from simnl.metrics.classification import Floats, Integers
from simnl.metrics.names import CALIBRATORS
from simnl.metrics.published import dac
from simnl.runs.logits import ORACLE, SELECTION, Logits, is_of_new_classes

UNSTEADY = 2.0  # a temperature that differs by more than this factor between two halves of the images is not used


@dataclass(frozen=True)
class Calibration:
    """Logits (N, C) to probabilities (N, C).

    Attributes:
        apply: the map.
        temperature: T; 1 if none was fitted.
        note: why nothing was fitted, or that the calibrator was fitted on test images; else empty.
    """

    apply: Callable[[Floats], Floats]
    temperature: Temperature
    note: str = ""


def plain(note: str = "") -> Calibration:
    """The plain softmax."""
    return Calibration(lambda logits: scaled(logits, 1.0), Temperature(), note)


def calibrate(record: Mapping[str, Any], logits: Logits, kind: str = "temperature", part: str = SELECTION):
    """Fit a calibrator for the run of a record.

    Args:
        record: the record of the run, whose protocol says on which images a temperature may be fitted.
        logits: the logits that the run keeps.
        kind: `temperature`, `isotonic` or `none`.
        part: the images to fit on.

    Raises:
        ValueError: the kind is unknown, or `part` has test images under a protocol other than `oracle-test`.
    """
    if kind not in KINDS:
        raise ValueError(f"Unknown calibrator '{kind}'. Choose one of {', '.join(CALIBRATORS)}.")
    if part != SELECTION and record["protocol"] != ORACLE:
        raise ValueError(
            f"A calibrator may not be fitted on the part '{part}': the protocol {record['protocol']} allows only its "
            f"selection images. Runs under {ORACLE} give the bound that test images would give."
        )
    if kind == "none":
        return plain()
    if part not in logits.parts:
        return plain(f"not fitted, because the protocol {record['protocol']} has no selection images")
    return KINDS[kind](*logits.parts[part], "fitted on test images" if record["protocol"] == ORACLE else "")


def steady_temperature(rows: Floats, labels: Integers) -> tuple[Temperature, str]:
    """The temperature of labelled logits (N, C), and the reason if it is 1 because no fitted value can be trusted."""
    found = fit_temperature(rows, labels)
    if found.at_bound:
        why = "all of them are right" if found.value == LOWEST else "they are no better than chance"
        return Temperature(), f"not fitted: no temperature is best for the selection images, because {why}"
    halves = [fit_temperature(rows[half], labels[half]).value for half in _halves(labels)]
    if max(halves) > UNSTEADY * min(halves):
        values = " and ".join(f"{value:.2f}" for value in halves)
        return Temperature(), f"not used: two halves of the {len(labels)} images give temperatures of {values}"
    return found, ""


def _by_temperature(rows: Floats, labels: Integers, note: str) -> Calibration:
    found, problem = steady_temperature(rows, labels)
    return plain(problem) if problem else Calibration(lambda logits: scaled(logits, found.value), found, note)


def _halves(labels: Integers) -> tuple[Integers, Integers]:
    """The positions of two halves of the images, by turns in the order of classes, so that both have each class."""
    order = np.argsort(labels, kind="stable")
    return order[0::2], order[1::2]


def _by_isotonic(rows: Floats, labels: Integers, note: str) -> Calibration:
    model = fit_isotonic(scaled(rows, 1.0), labels)
    return Calibration(lambda logits: isotonic(model, scaled(logits, 1.0)), Temperature(), note)


KINDS: dict[str, Callable[[Floats, Integers, str], Calibration]] = {
    "temperature": _by_temperature,
    "isotonic": _by_isotonic,
    "none": lambda rows, labels, note: plain(),
}


def calibrators(record: Mapping[str, Any], logits: Logits, kind: str) -> Callable[[str], Calibration]:
    """The calibrator of each part of a run's logits, by the part's name; what is fitted is fitted once.

    Args:
        record, logits: as for `calibrate`.
        kind: a name of `CALIBRATORS`.

    Raises:
        ValueError: an unknown kind.
    """
    if kind == "dac":
        return lambda part: _by_distance(logits, part)
    fitted = calibrate(record, logits, kind)
    return lambda part: fitted


def _by_distance(logits: Logits, part: str) -> Calibration:
    """DAC; trained classes, which shifted data sets have too, keep their logits."""
    if not is_of_new_classes(part):
        return plain()
    factors = logits.factors.get(part)
    if factors is None:
        return plain("not used, for want of the factors that tools/evaluate.py --again --calibrator dac computes")
    if not len(factors):
        return plain("not used, as the method has other texts for each image, not one per class")
    return Calibration(lambda rows: scaled(dac(rows, factors), 1.0), Temperature())
