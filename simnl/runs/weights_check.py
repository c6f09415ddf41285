"""Check, before hours of runs, that the weights of the paper's tables are on this machine and are OpenAI's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import open_clip
from tabulate import tabulate

from simnl.clip.fetching import WeightsUnavailable
from simnl.clip.model import load_clip
from simnl.escaping import printable
from simnl.files import sha256_of
from simnl.runs.backbones import backbone_settings
from simnl.runs.config import assemble

PAPER = {"rn50": "Tables A1 and A3", "vit_b32": "Table A2"}  # name of the backbone: the tables of the paper that use it
OPENAI = "openai"  # the tag; the address of a file has its SHA-256 before the file name
LOGIT_SCALE = 100.0  # exp of the scale in every checkpoint that OpenAI published
RIGHT = "right"


@dataclass(frozen=True)
class WeightsReport:
    """The result of the check of a backbone's weights.

    Attributes:
        name: the name of the backbone's yaml.
        tables: the tables of the paper that need it.
        state: "right", "not here" or "not OpenAI's".
        fingerprint: the hash of the loaded tensors, as in run records; empty without weights.
        logit_scale: the exponential of the model's scale.
        problem: a sentence about the problem; empty without one.
    """

    name: str
    tables: str
    state: str
    fingerprint: str = ""
    logit_scale: float | None = None
    problem: str = ""

    @property
    def right(self) -> bool:
        """True if the weights have no problem."""
        return self.state == RIGHT


def check_weights(name: str, tables: str, weights: str = "") -> WeightsReport:
    """Load a backbone as a run would, and check that its weights are OpenAI's.

    Args:
        name: the name of a yaml in configs/backbones.
        tables: the tables that need them.
        weights: a tag or a file that replaces the one in the yaml.

    Raises:
        ValueError: the file holds no weights, or does not fit the architecture. The message says what to do.
    """
    files, settings = backbone_settings(name, weights)
    keys = assemble(files, settings=settings).MODEL.BACKBONE
    if problem := _changed(keys.ARCH, Path(weights)) if weights else "":
        return WeightsReport(name, tables, "not OpenAI's", problem=problem)
    try:
        clip = load_clip(keys.ARCH, keys.WEIGHTS, keys.PRECISION)
    except WeightsUnavailable as error:
        return WeightsReport(name, tables, "not here", problem=str(error))
    scale = float(clip.logit_scale)
    if not math.isclose(scale, LOGIT_SCALE, rel_tol=1e-3):
        problem = f"their logit scale is {scale:.2f}, but that of all weights of OpenAI is {LOGIT_SCALE:g}"
        return WeightsReport(name, tables, "not OpenAI's", clip.fingerprint, scale, problem)
    return WeightsReport(name, tables, RIGHT, clip.fingerprint, scale)


def files_for(files: Sequence[str]) -> dict[str, str]:
    """The file of each backbone of `PAPER`, found by the name that OpenAI gave it; empty if there is none.

    Args:
        files: paths that end in `RN50.pt` or `ViT-B-32.pt`.

    Raises:
        ValueError: a file has another name.
    """
    named = {_published(_arch(name))[1]: name for name in PAPER}
    unknown = [file for file in files if Path(file).name not in named]
    if unknown:
        raise ValueError(f"{unknown[0]} has none of the names of OpenAI's files: {', '.join(named)}. Rename it.")
    return dict.fromkeys(PAPER, "") | {named[Path(file).name]: file for file in files}


def _arch(name: str) -> str:
    files, settings = backbone_settings(name, "")
    return assemble(files, settings=settings).MODEL.BACKBONE.ARCH


def _published(arch: str) -> tuple[str, str]:
    """SHA-256 and name of the file that OpenAI published for an architecture, as its address has them."""
    _, digest, name = open_clip.get_pretrained_url(arch, OPENAI).rsplit("/", 2)
    return digest, name


def _changed(arch: str, file: Path) -> str:
    """How a file with a name of OpenAI's differs from theirs; empty if it is equal, or has another name."""
    digest, name = _published(arch)
    if file.name != name or not file.is_file() or sha256_of(file) == digest:
        return ""
    return f"the SHA-256 of {file} begins with {sha256_of(file)[:12]}, and that of OpenAI's {name} with {digest[:12]}"


def render(reports: Sequence[WeightsReport]) -> str:
    """A table, and below it the problems."""
    rows = [
        [r.name, r.tables, r.state, r.fingerprint[:12] or "-", "-" if r.logit_scale is None else f"{r.logit_scale:.2f}"]
        for r in reports
    ]
    table = tabulate(rows, ["weights", "for", "state", "fingerprint", "logit scale"], tablefmt="simple")
    lines = [f"{report.name}: {report.problem}" for report in reports if report.problem]
    return printable("\n".join([table, *([""] if lines else []), *lines]), lines=True)
