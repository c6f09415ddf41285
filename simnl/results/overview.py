"""What a benchmark shows at its end: the table of what it made, and what it could not make."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from statistics import fmean

from tabulate import tabulate

from simnl.results.stats import interval
from simnl.results.tables import Request, build, find_records, render_tables
from simnl.runs.record import FILE, read_record
from simnl.studies.cells import Cell, is_finished

MISSING = "-"


def closing_table(cells: Sequence[Cell], layout: str) -> str:
    """The table of a layout from the records of these cells alone; the plain one where there is no such layout."""
    folders = [cell.folder for cell in cells if cell.cfg is not None and is_finished(cell.cfg)]
    if layout and folders:
        with contextlib.suppress(ValueError):  # too few runs for the layout
            tables = build(layout, find_records(folders), Request())
            return render_tables(tables, "terminal")
    return overview(cells)


def overview(cells: Sequence[Cell]) -> str:
    """One row per data set, method and variant; a column per number of shots."""
    shots = list(dict.fromkeys(cell.plan.shots for cell in cells))
    groups: dict[tuple[str, str, str], dict[int, list[Cell]]] = {}
    for cell in cells:
        key = (cell.plan.dataset, cell.plan.method, cell.plan.variant.name)
        groups.setdefault(key, {}).setdefault(cell.plan.shots, []).append(cell)
    rows, columns = [], ["data set", "method", "variant"]
    for key, by_shots in groups.items():
        row = dict(zip(columns, key, strict=True))
        row |= {f"{count} shots": _entry(by_shots.get(count, [])) for count in shots}
        rows.append(row)
    headers = list(dict.fromkeys(column for row in rows for column in row))
    headers = [header for header in headers if any(row.get(header) for row in rows)]
    cells_of_rows = [[row.get(header, "") for header in headers] for row in rows]
    return tabulate(cells_of_rows, headers=headers, tablefmt="simple", disable_numparse=True)


def _entry(cells: Sequence[Cell]) -> str:
    if cells and all(cell.refusal for cell in cells):
        return "n/a"
    records = [read_record(f"{cell.folder}/{FILE}") for cell in cells if cell.cfg is not None and is_finished(cell.cfg)]
    return _figure([record["accuracy"] for record in records], len(cells))


def _figure(values: Sequence[float], wanted: int) -> str:
    """Mean, half width of the 95 % interval, and how many seeds where some are missing."""
    if not values:
        return MISSING
    half = interval(values)
    text = f"{fmean(values):.2f}" + (f" ± {half:.2f}" if half is not None else "")
    return text if len(values) == wanted else f"{text} ({len(values)} of {wanted} seeds)"


def problems(cells: Sequence[Cell], outcomes: dict[int, dict]) -> tuple[list[str], list[str]]:
    """Lines on the cells that failed, and on those that a method cannot do (once per method and reason)."""
    failed = []
    for number, cell in enumerate(cells):
        outcome = outcomes.get(number, {"state": "failed", "error": "not run: its process ended early"})
        if outcome["state"] == "failed":
            log = f"\n    log: {outcome['log']}" if outcome.get("log") else ""
            failed.append(f"{cell}: {outcome['error']}{log}")
    refused = dict.fromkeys(
        f"{cell.plan.method} on {cell.plan.dataset}: {cell.refusal}" for cell in cells if cell.refusal
    )
    return failed, list(refused)
