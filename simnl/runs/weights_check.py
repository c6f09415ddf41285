"""Whether the weights of the paper's tables are on this machine and are OpenAI's, before hours of runs begin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tabulate import tabulate

from simnl.clip.model import WeightsUnavailable, load_clip
from simnl.escaping import printable
from simnl.runs.backbones import backbone_settings
from simnl.runs.config import assemble

PAPER = {"rn50": "Tables A1 and A3", "vit_b32": "Table A2"}  # backbone yaml: where the paper uses it
LOGIT_SCALE = 100.0  # exp of the scale in every checkpoint that OpenAI published
RIGHT = "right"


@dataclass(frozen=True)
class WeightsReport:
    """What was found of a backbone's weights.

    Attributes:
        name: the name of the backbone's yaml.
        tables: the tables of the paper that need it.
        state: "right", "not here" or "not OpenAI's".
        fingerprint: the hash of the loaded tensors, as run records have it; empty where there are none.
        logit_scale: exp of the model's scale.
        problem: a sentence, where there is one.
    """

    name: str
    tables: str
    state: str
    fingerprint: str = ""
    logit_scale: float | None = None
    problem: str = ""

    @property
    def right(self) -> bool:
        """True where nothing speaks against the weights."""
        return self.state == RIGHT


def check_weights(name: str, tables: str, weights: str = "") -> WeightsReport:
    """Load a backbone as a run would, and look at what tells OpenAI's weights from others.

    Args:
        name: the name of a yaml in configs/backbones.
        tables: the tables that need them.
        weights: a tag or a file in the place of the yaml's.

    Raises:
        ValueError: a file that is none of weights, or does not fit the architecture; the message says what to do.
    """
    files, settings = backbone_settings(name, weights)
    keys = assemble(files, settings=settings).MODEL.BACKBONE
    try:
        clip = load_clip(keys.ARCH, keys.WEIGHTS, keys.PRECISION)
    except WeightsUnavailable as error:
        return WeightsReport(name, tables, "not here", problem=str(error))
    scale = float(clip.logit_scale)
    if not math.isclose(scale, LOGIT_SCALE, rel_tol=1e-3):
        problem = f"their logit scale is {scale:.2f}, and that of all of OpenAI's is {LOGIT_SCALE:g}"
        return WeightsReport(name, tables, "not OpenAI's", clip.fingerprint, scale, problem)
    return WeightsReport(name, tables, RIGHT, clip.fingerprint, scale)


def render(reports: Sequence[WeightsReport]) -> str:
    """A table, and below it what is wrong."""
    rows = [
        [r.name, r.tables, r.state, r.fingerprint[:12] or "-", "-" if r.logit_scale is None else f"{r.logit_scale:.2f}"]
        for r in reports
    ]
    table = tabulate(rows, ["weights", "for", "state", "fingerprint", "logit scale"], tablefmt="simple")
    lines = [f"{report.name}: {report.problem}" for report in reports if report.problem]
    return printable("\n".join([table, *([""] if lines else []), *lines]), lines=True)
