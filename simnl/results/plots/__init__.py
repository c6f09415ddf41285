"""Figures from run records and run folders."""

from __future__ import annotations

from simnl.results.plots.curves import FEWSHOT, NOISE
from simnl.results.plots.drawing import FORMATS, check_format, save, svg, without_title
from simnl.results.plots.points import COST, OPTIMISM, TRADEOFF
from simnl.results.plots.runs import confusion, features
from simnl.results.plots.sensitivity import SENSITIVITY
from simnl.results.plots.series import CURVES, Kind, RunKind, Wanted
from simnl.results.plots.trust import reliability, roc_curves, score_histograms

RECORD_KINDS: dict[str, Kind] = {
    "fewshot": FEWSHOT, "sensitivity": SENSITIVITY, "noise": NOISE, "cost": COST, "audit": OPTIMISM,
    "tradeoff": TRADEOFF,
}  # fmt: skip
RUN_KINDS = {
    name: RunKind(name, draw)
    for name, draw in {
        "confusion": confusion, "features": features, "reliability": reliability, "roc": roc_curves,
        "scores": score_histograms,
    }.items()
}  # fmt: skip

KINDS = {**RECORD_KINDS, **RUN_KINDS}

__all__ = [
    "CURVES", "FORMATS", "KINDS", "RECORD_KINDS", "RUN_KINDS", "Wanted", "check_format", "save", "svg", "without_title",
]  # fmt: skip
