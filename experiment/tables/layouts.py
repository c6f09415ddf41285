"""The layouts by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from experiment.tables.catalogue import datasets_tables, prompts_tables
from experiment.tables.common import Request
from experiment.tables.cost import cost_tables
from experiment.tables.fewshot import fewshot_tables
from experiment.tables.model import Table
from experiment.tables.shift import base2new_tables, dg_tables
from experiment.tables.studies import noise_tables, sensitivity_tables

DEFAULT_LAYOUT = "runs"
LAYOUTS: dict[str, Callable[[Sequence[dict], Request], list[Table]]] = {
    "fewshot": fewshot_tables,
    "dg": dg_tables,
    "base2new": base2new_tables,
    "sensitivity": sensitivity_tables,
    "noise": noise_tables,
    "cost": cost_tables,
    "datasets": datasets_tables,
    "prompts": prompts_tables,
}
STANDARD = ("fewshot", "dg", "cost")  # runs of studies (options, wrong labels, half of the classes) only if asked for
WITHOUT_RECORDS = ("datasets", "prompts")  # these say something without any run, too


def build(layout: str, records: Sequence[dict], request: Request) -> list[Table]:
    """The tables of a layout.

    Raises:
        ValueError: an unknown layout, or records that it has nothing to show of.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"Unknown layout '{layout}'. Choose one of {', '.join([DEFAULT_LAYOUT, *LAYOUTS])}.")
    kept, note = standard_runs(records, request) if layout in STANDARD else (records, "")
    tables = LAYOUTS[layout](kept, request)
    for table in tables:
        table.caption += [note] if note else []
    return tables


def standard_runs(records: Sequence[dict], request: Request) -> tuple[Sequence[dict], str]:
    """The runs that belong to no study, and a sentence on the others; all runs where there is none such."""
    standard = [
        r
        for r in records
        if not r["options"] and not r.get("label_noise") and r.get("subsample_classes", "all") == "all"
    ]
    if request.all_runs or len(standard) in (0, len(records)):
        return records, ""
    left = len(records) - len(standard)
    return standard, (
        f"Left out: {left} runs with options of their own, wrong labels or a part of the classes; --all-runs shows "
        "them."
    )
