"""The layouts by name. A new layout gets a line in `LAYOUTS`; docs/results.md says what else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from simnl.results.tables.ablation import ABLATION
from simnl.results.tables.common import Request
from simnl.results.tables.declared import DATA_SETS, PROMPTS
from simnl.results.tables.grids import BASE2NEW, CROSS_DATA_SETS, DG, FEWSHOT, NOISE, SENSITIVITY
from simnl.results.tables.metrics import COST, METRICS
from simnl.results.tables.model import Table
from simnl.results.tables.ood import TRADEOFF, ood_tables
from simnl.results.tables.paired import OPTIMISMS, paired_tables
from simnl.results.tables.records import without_studies
from simnl.results.tables.summary import RUNS

DEFAULT_LAYOUT = "runs"
STANDARD, STUDY, VARIANTS = "standard", "study", "variants"


class Entry(NamedTuple):
    """What makes the tables of a layout, from records and what was asked for, and of which runs.

    Attributes:
        tables: makes the tables.
        runs: `standard`: those of studies (options, wrong labels, half of the classes) only if asked for; `study`: all,
            and paired differences are of the study's runs; `variants`: all, of one method, while paired differences are
            of its standard runs; else all.
        without_records: it says something without any run, too.
    """

    tables: Callable[[Sequence[dict], Request], list[Table]]
    runs: str = ""
    without_records: bool = False


LAYOUTS = {
    DEFAULT_LAYOUT: Entry(RUNS.tables),
    "fewshot": Entry(FEWSHOT.tables, STANDARD),
    "dg": Entry(DG.tables, STANDARD),
    "cross": Entry(CROSS_DATA_SETS.tables, STANDARD),
    "base2new": Entry(BASE2NEW.tables, STUDY),
    "sensitivity": Entry(SENSITIVITY.tables, VARIANTS),
    "noise": Entry(NOISE.tables, STUDY),
    "ablation": Entry(ABLATION.tables, VARIANTS),
    "cost": Entry(COST.tables, STANDARD),
    "metrics": Entry(METRICS.tables),
    "ood": Entry(ood_tables),
    "tradeoff": Entry(TRADEOFF.tables),
    "audit": Entry(OPTIMISMS.tables, STANDARD),
    "datasets": Entry(DATA_SETS.tables, without_records=True),
    "prompts": Entry(PROMPTS.tables, without_records=True),
}
WITHOUT_RECORDS = tuple(name for name, entry in LAYOUTS.items() if entry.without_records)


def build(layout: str, records: Sequence[dict], request: Request) -> list[Table]:
    """The tables of a layout.

    Raises:
        ValueError: an unknown layout, or records that it has nothing to show of.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"Unknown layout '{layout}'. Choose one of {', '.join(LAYOUTS)}.")
    entry = LAYOUTS[layout]
    kept, notes = standard_runs(records, request) if entry.runs == STANDARD else (records, [])
    return _noted(entry.tables(kept, request), notes)


def build_paired(layout: str, records: Sequence[dict], against: str, request: Request) -> list[Table]:
    """Tables of paired differences to a method, in a layout's columns; the captions say which runs were left out.

    Raises:
        ValueError: see `paired_tables`.
    """
    runs = LAYOUTS[layout].runs
    kept, notes = (records, []) if runs == STUDY else standard_runs(records, request)
    if notes and runs == VARIANTS:
        notes = [f"Of standard runs alone, not of the rows of {layout}: those runs have options.", *notes]
    return _noted(paired_tables(kept, against, request, layout), notes)


def _noted(tables: list[Table], notes: Sequence[str]) -> list[Table]:
    return [replace(table, caption=[*table.caption, *notes]) for table in tables]


def standard_runs(records: Sequence[dict], request: Request) -> tuple[Sequence[dict], list[str]]:
    """The runs that belong to no study, and a sentence on the others; all runs where there is none such."""
    standard = [r for r in without_studies(records) if r.get("subsample_classes", "all") == "all"]
    left = len(records) - len(standard)
    if request.all_runs or not standard or not left:
        return records, []
    return standard, [
        f"Left out: {left} runs with options of their own, wrong labels or a part of the classes; tools/table.py "
        "--all-runs shows them."
    ]
