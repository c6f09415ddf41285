"""Carry out the cells of a matrix in this process, or in several processes on this machine or on a SLURM cluster.

A process claims a cell by a lock on the cell's folder (simnl/runs/folder.py). So any number of processes, of one study
or of several, can work on the same cells, and no cell is run to completion twice.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from simnl import interrupts, sharing
from simnl.errors import describe, summary
from simnl.runs.folder import claimed
from simnl.runs.logs import run_log
from simnl.runs.run import run_one
from simnl.studies.cells import Cell, is_finished

BUSY_PAUSE = 1.0  # seconds between two checks of cells that other processes run

Report = Callable[[int, dict], None]  # number of the cell, its result


def execute(cell: Cell) -> dict | None:
    """Run a cell with its output in its folder's log.txt. Returns the record, or None if nothing was tested."""
    cfg: Any = cell.cfg  # of a cell that can be run
    with run_log(cell.folder, quiet=True):
        return run_one(cfg, cell.identity)


def attempt(cell: Cell) -> dict | None:
    """Run a cell unless it is finished or cannot be run.

    Returns:
        `state` (done, skipped, failed or n/a) and details; None if another process has the cell.
    """
    if cell.refusal:
        return {"state": "n/a", "reason": cell.refusal}
    if cell.error:
        return {"state": "failed", "error": cell.error, "log": ""}
    if is_finished(cell):
        return {"state": "skipped"}
    try:
        with claimed(cell.folder, wait=False) as mine:
            if not mine:
                return None
            if is_finished(cell):  # by another process, since the first check
                return {"state": "skipped"}
            return _run(cell)
    except OSError as error:  # the folder cannot be used
        return {"state": "failed", "error": describe(error), "log": ""}


def _run(cell: Cell) -> dict:
    start = time.perf_counter()
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):  # progress bars of single runs
            record = execute(cell)
    except Exception as error:  # any error is reported, and the other cells go on
        interrupts.raise_received()  # a worker that was stopped with this process ends in an error here
        return {"state": "failed", "error": summary(error), "log": f"{cell.folder}/log.txt"}
    seconds = time.perf_counter() - start
    return {"state": "done", "seconds": seconds, "accuracy": record["accuracy"] if record else None}


def work(
    cells: Sequence[Cell],
    report: Report,
    *,
    order: Sequence[int] | None = None,
    is_settled: Callable[[int], bool] = lambda number: False,
) -> None:
    """Attempt all cells. Cells of other processes are checked again until they are finished or free.

    Args:
        report: called when a cell starts (`state` running) and when it is settled.
        order: numbers of the cells in the order in which to try them.
        is_settled: true for a cell that another process of this benchmark has settled; it is left out.
    """
    with sharing.shared():
        _work(cells, report, list(range(len(cells)) if order is None else order), is_settled)


def _work(cells: Sequence[Cell], report: Report, waiting: list[int], is_settled: Callable[[int], bool]) -> None:
    while waiting:
        busy = []
        for number in waiting:
            interrupts.raise_received()
            if is_settled(number):
                continue
            report(number, {"state": "running"})
            outcome = attempt(cells[number])
            report(number, outcome or {"state": "busy"})
            busy += [number] if outcome is None else []
        if len(busy) == len(waiting):
            time.sleep(BUSY_PAUSE)
        waiting = busy
