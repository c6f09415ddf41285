"""The layouts by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from simnl.results.tables.ablation import ablation_tables
from simnl.results.tables.common import Request
from simnl.results.tables.curves import sensitivity_tables
from simnl.results.tables.declared import datasets_tables, prompts_tables
from simnl.results.tables.grids import BASE2NEW, DG, FEWSHOT, NOISE
from simnl.results.tables.lists import cost_tables
from simnl.results.tables.metrics import metrics_tables
from simnl.results.tables.model import Table
from simnl.results.tables.ood import ood_tables
from simnl.results.tables.paired import paired_tables

DEFAULT_LAYOUT = "runs"
LAYOUTS: dict[str, Callable[[Sequence[dict], Request], list[Table]]] = {
    "fewshot": FEWSHOT.tables,
    "dg": DG.tables,
    "base2new": BASE2NEW.tables,
    "sensitivity": sensitivity_tables,
    "noise": NOISE.tables,
    "ablation": ablation_tables,
    "cost": cost_tables,
    "metrics": metrics_tables,
    "ood": ood_tables,
    "datasets": datasets_tables,
    "prompts": prompts_tables,
}
STANDARD = ("fewshot", "dg", "cost")  # runs of studies (options, wrong labels, half of the classes) only if asked for
PAIRED_ON_STUDIES = ("base2new", "noise")  # layouts whose paired differences are of their study's runs
UNPAIRED = ("sensitivity", "ablation")  # layouts of one method's variants: differences are of its standard runs
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


def build_paired(layout: str, records: Sequence[dict], against: str, request: Request) -> list[Table]:
    """Tables of paired differences to a method, in a layout's columns; the captions say which runs were left out.

    Raises:
        ValueError: see `paired_tables`.
    """
    studies = layout in PAIRED_ON_STUDIES
    kept, note = (records, "") if studies else standard_runs(records, request)
    tables = paired_tables(kept, against, request, layout)
    for table in tables:
        if note and layout in UNPAIRED:
            table.caption.append(f"Of standard runs alone, not of the rows of {layout}: those runs have options.")
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
        f"Left out: {left} runs with options of their own, wrong labels or a part of the classes; tools/table.py "
        "--all-runs shows them."
    )
