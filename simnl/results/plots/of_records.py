"""The figures of many runs, which are made from their records, by name."""

from __future__ import annotations

from simnl.results.plots.curves import FEWSHOT, NOISE
from simnl.results.plots.points import COST, OPTIMISM, TRADEOFF
from simnl.results.plots.sensitivity import SENSITIVITY
from simnl.results.plots.series import Kind

RECORD_KINDS: dict[str, Kind] = {
    "fewshot": FEWSHOT, "sensitivity": SENSITIVITY, "noise": NOISE, "cost": COST, "audit": OPTIMISM,
    "tradeoff": TRADEOFF,
}  # fmt: skip
