"""Figures from run records and run folders."""

from __future__ import annotations

from simnl.results.plots.cost import cost
from simnl.results.plots.fewshot import fewshot
from simnl.results.plots.noise import noise
from simnl.results.plots.optimism import optimism
from simnl.results.plots.runs import confusion, features
from simnl.results.plots.sensitivity import sensitivity
from simnl.results.plots.series import Kind
from simnl.results.plots.style import FORMATS, save
from simnl.results.plots.tradeoff import tradeoff
from simnl.results.plots.trust import reliability, roc_curves, score_histograms

RECORD_KINDS: dict[str, Kind] = {
    "fewshot": fewshot, "sensitivity": sensitivity, "noise": noise, "cost": cost, "audit": optimism,
    "tradeoff": tradeoff,
}  # fmt: skip
RUN_KINDS = {
    "confusion": confusion, "features": features, "reliability": reliability, "roc": roc_curves,
    "scores": score_histograms,
}  # fmt: skip

__all__ = ["FORMATS", "RECORD_KINDS", "RUN_KINDS", "save"]
