"""The names of figures and of their files, for help texts: nothing that draws is imported here."""

from __future__ import annotations

from pathlib import Path

FORMATS = ("png", "svg", "pdf")
CURVES = 8  # the most curves that can be told apart in one panel
OF_RECORDS = ("fewshot", "sensitivity", "noise", "cost", "audit", "tradeoff")  # keys of `RECORD_KINDS`
OF_RUNS = ("confusion", "features", "reliability", "roc", "scores")  # keys of `RUN_KINDS`


def check_format(path: str | Path) -> str:
    """The format that the ending of a file's name stands for.

    Raises:
        ValueError: an ending other than .png, .svg, .pdf.
    """
    suffix = Path(path).suffix.lower().lstrip(".")
    if suffix not in FORMATS:
        raise ValueError(f"--output is '{path}'. Its ending must be one of: {', '.join('.' + f for f in FORMATS)}.")
    return suffix
