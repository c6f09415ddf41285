"""Figures from run records and run folders."""

from __future__ import annotations

from experiment.plots.cost import cost
from experiment.plots.fewshot import fewshot
from experiment.plots.noise import noise
from experiment.plots.runs import confusion, features
from experiment.plots.sensitivity import sensitivity
from experiment.plots.style import FORMATS, save

RECORD_KINDS = {"fewshot": fewshot, "sensitivity": sensitivity, "noise": noise, "cost": cost}
RUN_KINDS = {"confusion": confusion, "features": features}

__all__ = ["FORMATS", "RECORD_KINDS", "RUN_KINDS", "save"]
