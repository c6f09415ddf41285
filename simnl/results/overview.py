"""What a command shows at its end: the table of what it made, and what it could not make."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from simnl.results import tables
from simnl.results.tables.fit import folded
from simnl.results.tables.model import NOT_APPLICABLE, Block, Stat, Table, figure, text
from simnl.results.tables.model import Cell as TableCell
from simnl.results.tables.records import sight_notes, sight_of
from simnl.runs.names import dataset_name, display_name
from simnl.runs.record import FILE, read_record
from simnl.studies.cells import Cell, is_finished

NAMED = 3  # cells of one reason that are named


def runs_at_hand(folders: Sequence[Path], targets: Sequence[str] = ()) -> str:
    """The table of one command's runs: its own, and the standard ones of the same data, shots, seeds and setting.

    Args:
        folders: the folders of the runs, one per seed, below OUTPUT/<data set>.
        targets: the shifted data sets that the command names; figures of others, from earlier commands, are left out.
    """
    mine = tables.find_records([folder for folder in folders if (folder / FILE).is_file()])
    seeds, configs = {r["seed"] for r in mine}, {r["config_hash"] for r in mine}
    same = [r for r in tables.comparable(tables.find_records([folders[0].parents[3]]), mine[0]) if r["seed"] in seeds]
    ours = [r for r in same if r["config_hash"] in configs]
    kinds = {(r["method"], bool(r["options"])) for r in ours}
    others = [r for r in same if not r["options"] and (r["method"], False) not in kinds]
    shown = [{**r, "targets": {k: v for k, v in r.get("targets", {}).items() if k in targets}} for r in ours + others]
    table = tables.runs_table(tables.summarise(shown))
    table.blocks = [folded(block) for block in table.blocks]
    return tables.render_tables([table], "terminal", tables.terminal_width())


def closing_table(cells: Sequence[Cell], layout: str) -> str:
    """The table of a layout from the records of these cells alone; the plain one where there is no such layout."""
    folders = [cell.folder for cell in cells if is_finished(cell)]
    if layout and folders:
        with contextlib.suppress(ValueError):  # too few runs for the layout
            found = tables.build(layout, tables.find_records(folders), tables.Request())
            return tables.render_tables(found, "terminal", tables.terminal_width())
    return overview(cells)


def overview(cells: Sequence[Cell]) -> str:
    """One row per data set, method and variant; a column per number of shots."""
    shots = list(dict.fromkeys(cell.plan.shots for cell in cells))
    records = [read_record(f"{cell.folder}/{FILE}") for cell in cells if is_finished(cell)]
    marks = {record["method"]: sight_of(record) for record in records}
    groups: dict[tuple[str, str, str], dict[int, list[Cell]]] = {}
    for cell in cells:
        method = display_name(cell.plan.method) + marks.get(cell.plan.method, "")
        key = (dataset_name(cell.plan.dataset), method, cell.plan.variant.name)
        groups.setdefault(key, {}).setdefault(cell.plan.shots, []).append(cell)
    headers = ["data set", "method", *(["variant"] if any(key[2] for key in groups) else [])]
    rows = [
        [*map(text, key[: len(headers)]), *(_entry(by_shots.get(count, [])) for count in shots)]
        for key, by_shots in groups.items()
    ]
    table = Table("", sight_notes(records), [Block([*headers, *(f"{count} shots" for count in shots)], rows)])
    return tables.render_tables([table], "terminal", tables.terminal_width())


def _entry(cells: Sequence[Cell]) -> TableCell:
    """Mean, half width of the 95 % interval, and how many seeds where some are missing."""
    if cells and all(cell.refusal for cell in cells):
        return text(NOT_APPLICABLE)
    finished = [cell for cell in cells if is_finished(cell)]
    found = {cell.seed: read_record(f"{cell.folder}/{FILE}")["accuracy"] for cell in finished}
    note = f"({len(found)} of {len(cells)} seeds)" if len(found) < len(cells) else ""
    return replace(figure(Stat(found) if found else None), note=note)


def problems(cells: Sequence[Cell], outcomes: dict[int, dict]) -> tuple[list[str], list[str]]:
    """Lines on the cells that failed (once per reason), and on those that a method cannot do (once per method and
    reason)."""
    failed = []
    for number, cell in enumerate(cells):
        outcome = outcomes.get(number, {"state": "failed", "error": "not run: its process ended early"})
        if outcome["state"] == "failed":
            log = f"\n    log: {outcome['log']}" if outcome.get("log") else ""
            failed.append((cell, f"{outcome['error']}{log}"))
    refused = dict.fromkeys(
        f"{cell.plan.method} on {cell.plan.dataset}: {cell.refusal}" for cell in cells if cell.refusal
    )
    return by_reason(failed), list(refused)


def by_reason(failed: Iterable[tuple[Cell, str]]) -> list[str]:
    """A line per reason: the first cells that it is about, how many more there are, and the reason itself."""
    reasons: dict[str, list[Cell]] = {}
    for cell, reason in failed:
        reasons.setdefault(reason, []).append(cell)
    return [f"{_some(cells)}: {reason}" for reason, cells in reasons.items()]


def _some(cells: Sequence[Cell]) -> str:
    """The first cells by name, and how many more there are."""
    more = [f"{len(cells) - NAMED} more"] if len(cells) > NAMED else []
    return ", ".join([*map(str, cells[:NAMED]), *more])
