"""The figures of one run, which are made from what the run left in its folder, by name. They need PyTorch."""

from __future__ import annotations

from simnl.results.plots.runs import confusion, features
from simnl.results.plots.series import RunKind
from simnl.results.plots.trust import reliability, roc_curves, score_histograms

RUN_KINDS = {
    name: RunKind(name, draw)
    for name, draw in {
        "confusion": confusion, "features": features, "reliability": reliability, "roc": roc_curves,
        "scores": score_histograms,
    }.items()
}  # fmt: skip
